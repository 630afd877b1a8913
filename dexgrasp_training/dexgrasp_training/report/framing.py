"""Where a drawn picture is seen from, so that everything of interest is in it and nothing much else."""

from __future__ import annotations

import itertools

import mujoco
import numpy as np
from dexgrasp_common.transforms import look_at
from numpy.typing import NDArray

from dexgrasp_description import CameraIntrinsics

FIELD_OF_VIEW = 30.0  # of drawn pictures, from upper to lower edge [deg]


def picture_camera(width: int, height: int) -> CameraIntrinsics:
    """Intrinsics of a drawn picture of that size [px]."""
    focal = 0.5 * height / np.tan(np.radians(FIELD_OF_VIEW / 2.0))
    return CameraIntrinsics(width, height, focal, focal, 0.5 * (width - 1), 0.5 * (height - 1))


def framing(
    points: NDArray[np.float64], towards: NDArray[np.float64], margin: float, aspect: float = 1.0
) -> NDArray[np.float64]:
    """Pose of an optical frame that looks along -`towards`, up in the picture, with all points in the picture.

    Args:
        points: array (N, 3) [m].
        towards: array (3,), from what is seen to the camera, of any length; its frame's z is up in the picture.
        margin: Left free about the points on all sides [m].
        aspect: Width of the picture over its height.

    Returns:
        array (4, 4), in the frame of the points.
    """
    towards = towards / np.linalg.norm(towards)
    if abs(towards[2]) > 0.999:  # straight from above or below, z is no way up
        towards = np.array([0.04, 0.0, np.sign(towards[2])])
    pose = look_at(towards, np.zeros(3))
    seen = points @ pose[:3, :3]
    middle = 0.5 * (seen.min(axis=0) + seen.max(axis=0))
    away = np.abs(seen - middle)[:, :2] + margin
    slope = np.tan(np.radians(FIELD_OF_VIEW / 2.0)) * np.array([aspect, 1.0])
    distance = (away / slope - seen[:, 2:]).max()  # of the camera behind the points' origin
    pose[:3, 3] = pose[:3, :3] @ np.array([middle[0], middle[1], -distance])
    return pose


def geom_corners(model: mujoco.MjModel, data: mujoco.MjData, geoms: NDArray[np.integer]) -> NDArray[np.float64]:
    """Corners of the boxes about G geoms, world frame: array (8 G, 3) [m]."""
    box = model.geom_aabb[geoms]
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    local = box[:, None, :3] + signs * box[:, None, 3:]
    turned = np.einsum("gij,gkj->gki", data.geom_xmat[geoms].reshape(-1, 3, 3), local)
    return np.asarray((data.geom_xpos[geoms, None] + turned).reshape(-1, 3))
