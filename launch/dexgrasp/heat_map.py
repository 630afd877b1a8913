"""Predicted graspness painted over the camera's image."""

from __future__ import annotations

import cv2
import numpy as np
from dexgrasp_common.transforms import apply
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dexgrasp.casting import Image

_LEAST = np.log(0.01)  # what the generator takes for a seed is above this; the scale begins here
_NEAR = 0.006  # a point farther than this from every voxel that the network saw has no graspness [m]
_OPACITY = 0.75  # of the colours, so that the image shines through
_BAR = 26  # height of the scale [px]


def heat_map(
    color: Image,
    cloud: NDArray[np.floating],
    world_T_camera: NDArray[np.float64],
    voxels: NDArray[np.float64],
    graspness: NDArray[np.float64],
) -> Image:
    """The image with its points coloured by graspness, dark to bright, and the scale below it.

    Args:
        color: array (H, W, 3), uint8, BGR.
        cloud: array (H, W, 3) [m], camera frame; NaN is invalid.
        world_T_camera: array (4, 4).
        voxels: array (V, 3) [m], world, middles of the voxels that the network saw.
        graspness: array (V,), ln(0.001 + votes).

    Returns:
        array (H + 26, W, 3), uint8, BGR.
    """
    height, width = cloud.shape[:2]
    points = cloud.reshape(-1, 3)
    valid = np.flatnonzero(np.isfinite(points).all(axis=1))
    distance, nearest = cKDTree(voxels).query(apply(world_T_camera, points[valid]), distance_upper_bound=_NEAR)
    near = np.isfinite(distance)
    values = graspness[nearest[near]]
    rows, good = valid[near], values > _LEAST
    most = max(float(graspness.max()), _LEAST + 1.0)
    level = np.clip((values[good] - _LEAST) / (most - _LEAST), 0.0, 1.0)
    painted = np.array(color).reshape(-1, 3)
    colours = cv2.applyColorMap(np.rint(255 * level).astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)
    if good.any():
        behind = painted[rows[good]].astype(np.float64)
        painted[rows[good]] = np.rint(_OPACITY * colours[:, 0] + (1.0 - _OPACITY) * behind).astype(np.uint8)
    ramp = np.tile(np.linspace(0, 255, width).astype(np.uint8), (_BAR, 1))
    bar = cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)
    words = f"{_LEAST:.1f}", f"graspness {most:.1f}"
    left = width - 8 - cv2.getTextSize(words[1], cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0]
    cv2.putText(bar, words[0], (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    cv2.putText(bar, words[1], (left, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([painted.reshape(height, width, 3), bar])
