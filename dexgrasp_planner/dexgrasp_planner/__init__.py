"""Point cloud in; ranked grasps and arm-hand trajectories out."""

from dexgrasp_planner.generators import GRASP_GENERATORS
from dexgrasp_planner.motion_planners import MOTION_PLANNERS

__all__ = ["GRASP_GENERATORS", "MOTION_PLANNERS"]
