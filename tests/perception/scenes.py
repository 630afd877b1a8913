"""Synthetic depth images with known geometry."""

from __future__ import annotations

import numpy as np
from dexgrasp_common.transforms import invert, look_at
from numpy.typing import NDArray

from dexgrasp_description import CameraIntrinsics

INTRINSICS = CameraIntrinsics(width=640, height=480, fx=615.0, fy=616.0, cx=318.7, cy=241.3)


def rays(intrinsics: CameraIntrinsics = INTRINSICS) -> NDArray[np.float64]:
    """Directions (H, W, 3) with z = 1 through the pixel centres."""
    u, v = np.meshgrid(np.arange(intrinsics.width), np.arange(intrinsics.height))
    k = intrinsics
    return np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy, np.ones(u.shape)], axis=-1)


def plane_depth(normal: NDArray[np.float64], offset: float, k: CameraIntrinsics = INTRINSICS) -> NDArray[np.float64]:
    """Depth [m] of the plane `normal . p + offset = 0`."""
    return -offset / (rays(k) @ normal)


def sphere_depth(centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Depth [m] of a sphere, 0 beside it."""
    d = rays()
    a, b, c = (d * d).sum(-1), d @ centre, centre @ centre - radius**2
    hit = b * b > a * c
    return np.where(hit, (b - np.sqrt(np.maximum(b * b - a * c, 0))) / a, 0.0)


def table_with_boxes(tilt: float = 0.5, noise: float = 0.0, seed: int = 0) -> tuple[NDArray, NDArray, NDArray]:
    """Depth (H, W) [m] of a table with three boxes, label (H, W) of each pixel, and table_T_camera.

    Args:
        tilt: Angle between the camera's axis and the vertical [rad].
        noise: Standard deviation along the ray [m].
    """
    eye = 0.7 * np.array([0.0, -np.sin(tilt), np.cos(tilt)])
    table_T_camera = look_at(eye, (0.0, 0.0, 0.0))
    directions = rays() @ table_T_camera[:3, :3].T
    depth = -eye[2] / directions[..., 2]
    label = np.zeros(depth.shape, dtype=np.int64)
    boxes = [((-0.14, 0.0), (0.03, 0.05, 0.10)), ((0.0, 0.05), (0.04, 0.03, 0.06)), ((0.13, -0.04), (0.03, 0.03, 0.14))]
    for index, ((x, y), (hx, hy, height)) in enumerate(boxes, start=1):
        lower, upper = np.array([x - hx, y - hy, 0.0]), np.array([x + hx, y + hy, height])
        t0, t1 = (lower - eye) / directions, (upper - eye) / directions
        enter, leave = np.minimum(t0, t1).max(-1), np.maximum(t0, t1).min(-1)
        hit = (enter < leave) & (enter < depth)
        depth, label = np.where(hit, enter, depth), np.where(hit, index, label)
    depth = depth + np.random.default_rng(seed).normal(0.0, noise, depth.shape) if noise else depth
    return depth, label, table_T_camera


def table_normal(table_T_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """The table's normal in the camera frame."""
    return invert(table_T_camera)[:3, 2]
