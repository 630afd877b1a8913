"""Grasps of one hand on one object, by four methods."""
