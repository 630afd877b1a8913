"""Where to let go: palm poses from which what the hand holds falls into the bin, where it is emptiest."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from dexgrasp_description.cell import Bin
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_planner.voxel_scene import VoxelScene

Array = NDArray[np.float64]

# The lowest point of object and fingers stays this far above walls and pile [m]; the first within reach is taken.
DROP_HEIGHTS = (0.03, 0.08, 0.15)
# The palm may turn about the vertical, from the orientation of the grasp [rad].
_TURNS = np.radians([0, 30, -30, 60, -60, 90, -90, 120, -120, 150, -150, 180])
# What is held stays this far from the walls [m]; voxels nearer to them are the walls themselves.
_WALL_GAP = 0.015
# Piles that differ by less than this are equally high [m]; the middle of the bin is worth as much.
_PILE_STEP = 0.03


@dataclass(frozen=True, eq=False)
class Drop:
    """One place to let go.

    Attributes:
        world_T_palm: array (4, 4).
        level: Height of the pile below, in steps of 3 cm; lower places are better.
    """

    world_T_palm: Array
    level: int


def drops(
    bin_: Bin, scene: VoxelScene, world_T_palm: Array, inner: Array, center: Array, size: Array, height: float
) -> list[Drop]:
    """Places inside the bin for what is held, just above its walls and what lies in it.

    Args:
        bin_: The bin.
        scene: What the camera sees of it.
        world_T_palm: array (4, 4), pose of the grasp; its orientation is kept but for turns about the vertical.
        inner: array (K, 3), the hand's inner surface at the grasp [m], palm frame.
        center: array (3,), middle of the box around the held object [m], palm frame.
        size: array (3,), edges of that box [m]; zero where nothing is held.
        height: How far above walls and pile [m].
    """
    signs = np.array(list(product((-0.5, 0.5), repeat=3)))
    held = center + signs * size if size.any() else inner
    middle = (held.min(axis=0) + held.max(axis=0)) / 2.0
    room = bin_.inner_size[:2] / 2.0 - _WALL_GAP
    pile = scene.centres
    pile = pile[(np.abs(pile[:, :2] - bin_.center) < room).all(axis=1)]
    found = []
    for turn in _TURNS:
        world_R_palm = Rotation.from_rotvec([0.0, 0.0, turn]).as_matrix() @ world_T_palm[:3, :3]
        extent = np.abs((held - middle) @ world_R_palm.T)[:, :2].max(axis=0)
        lowest = float((np.concatenate([held, inner]) @ world_R_palm.T)[:, 2].min())
        spare = np.maximum(room - extent, 0.0)
        places = {(float(x), float(y)) for x, y in product((-spare[0], 0.0, spare[0]), (-spare[1], 0.0, spare[1]))}
        for offset in sorted(places):
            place = bin_.center + offset
            below = pile[(np.abs(pile[:, :2] - place) < extent).all(axis=1), 2]
            top = float(below.max()) + scene.size / 2.0 if len(below) else 0.0
            pose = np.eye(4)
            pose[:3, :3] = world_R_palm
            pose[:2, 3] = place - (world_R_palm @ middle)[:2]
            pose[2, 3] = max(float(bin_.inner_size[2]), top) + height - lowest
            level = int(np.ceil(top / _PILE_STEP)) + (1 if any(offset) else 0)
            found.append(Drop(pose, level))
    return found
