"""The best grasps as lines: palm axes, and a dot for each fingertip."""

from __future__ import annotations

import numpy as np
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from dexgrasp_description import GraspSet, HandModel

_AXIS = 0.04  # length of an axis [m]
_COLOURS = np.array([[0.9, 0.1, 0.1], [0.1, 0.7, 0.1], [0.1, 0.2, 0.9]])
_TIP = (0.95, 0.6, 0.1)


def grasp_markers(grasps: GraspSet, hand: HandModel, header: Header) -> MarkerArray:
    """Two markers for all grasps, in the header's frame, after one that removes those of the result before."""
    clear = Marker(header=header, action=Marker.DELETEALL)
    axes = Marker(header=header, ns="palm_axes", id=0, type=Marker.LINE_LIST, action=Marker.ADD)
    axes.scale.x, axes.pose.orientation.w = 0.002, 1.0
    dots = Marker(header=header, ns="fingertips", id=1, type=Marker.SPHERE_LIST, action=Marker.ADD)
    dots.scale.x = dots.scale.y = dots.scale.z = 0.012
    dots.pose.orientation.w = 1.0
    dots.color = _colour(_TIP)
    poses = ForwardKinematics(hand).link_poses(torch.as_tensor(grasps.grasp))
    for i, world_T_palm in enumerate(grasps.world_T_palm):
        origin = world_T_palm[:3, 3]
        for axis in range(3):
            axes.points += [_point(origin), _point(origin + _AXIS * world_T_palm[:3, axis])]
            axes.colors += [_colour(_COLOURS[axis])] * 2
        for tip in hand.fingertips:
            world_T_tip = world_T_palm @ poses[tip.link][i].numpy()
            dots.points.append(_point(world_T_tip[:3, :3] @ tip.centre + world_T_tip[:3, 3]))
    return MarkerArray(markers=[clear, axes, dots] if len(grasps) else [clear])


def _point(p: NDArray[np.float64]) -> Point:
    return Point(x=float(p[0]), y=float(p[1]), z=float(p[2]))


def _colour(rgb: NDArray[np.float64] | tuple[float, float, float]) -> ColorRGBA:
    return ColorRGBA(r=float(rgb[0]), g=float(rgb[1]), b=float(rgb[2]), a=1.0)
