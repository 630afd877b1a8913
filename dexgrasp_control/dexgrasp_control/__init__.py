"""Trajectories in; motion on hardware out; supervision and the clear-the-table behaviour."""
