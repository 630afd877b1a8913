"""Point cloud in; ranked grasps and arm-hand trajectories out."""
