"""Sensor frames in; restored depth and point clouds out."""
