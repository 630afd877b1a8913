"""Where to let go: palm poses from which what the hand holds falls into the bin."""

from __future__ import annotations

from itertools import product

import numpy as np
from dexgrasp_common.transforms import apply
from dexgrasp_description.cell import Bin
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

# The lowest point of object and fingers stays this far above the bin's walls [m], or one of the greater heights.
_HEIGHTS = (0.03, 0.08, 0.15)
# The palm may turn about the vertical, from the orientation of the grasp [rad].
_TURNS = np.radians([0, 30, -30, 60, -60, 90, -90, 120, -120, 150, -150, 180])


def drop_poses(bin_: Bin, world_T_palm: Array, inner: Array, center: Array, size: Array) -> list[Array]:
    """Poses `world_T_palm` (4, 4) with the middle of the held object over the middle of the bin, just above its walls.

    Args:
        bin_: The bin.
        world_T_palm: array (4, 4), pose of the grasp; its orientation is kept but for turns about the vertical.
        inner: array (K, 3), the hand's inner surface at the grasp [m], palm frame.
        center: array (3,), middle of the box around the held object [m], palm frame.
        size: array (3,), edges of that box [m]; zero where nothing is held.
    """
    signs = np.array(list(product((-0.5, 0.5), repeat=3)))
    corners = np.concatenate([center + signs * size, inner]) if size.any() else inner
    middle = center if size.any() else inner.mean(axis=0)
    poses = []
    for height, turn in product(_HEIGHTS, _TURNS):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec([0.0, 0.0, turn]).as_matrix() @ world_T_palm[:3, :3]
        lowest = float(apply(pose, corners)[:, 2].min())
        pose[:2, 3] = bin_.center - (pose[:3, :3] @ middle)[:2]
        pose[2, 3] = bin_.inner_size[2] + height - lowest
        poses.append(pose)
    return poses
