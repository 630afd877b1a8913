"""Robots and workcells as data (URDF and one data file each), their kinematics, and sets of grasps."""

from dexgrasp_description.cell import Box, CameraIntrinsics, Cell, load_cell
from dexgrasp_description.grasp_set import GraspSet
from dexgrasp_description.models import ArmModel, Fingertip, HandModel, load_arm, load_hand
from dexgrasp_description.primitives import Primitive

__all__ = [
    "ArmModel",
    "Box",
    "CameraIntrinsics",
    "Cell",
    "Fingertip",
    "GraspSet",
    "HandModel",
    "Primitive",
    "load_arm",
    "load_cell",
    "load_hand",
]
