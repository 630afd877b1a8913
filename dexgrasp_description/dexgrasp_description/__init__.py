"""Robots as data (URDF and one data file per hand and arm) and their kinematics."""
