"""Depth image to organised point cloud, and the crop that the generator works on.

Bit-compatible with the public DexGraspNet 2.0 code (its per-pixel label files can only be read after the same
deprojection and crop): integer pixel centres, 64-bit arithmetic in the same order, strict inequalities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dexgrasp_perception.errors import DepthError

if TYPE_CHECKING:
    from dexgrasp_description import CameraIntrinsics

CROP_MARGIN = 0.02  # added to every side of the objects' box [m]; DexGraspNet 2.0
CLOUD_SIZE = 40_000  # points that the generator is given; DexGraspNet 2.0


def deproject(depth: NDArray[Any], intrinsics: CameraIntrinsics, dtype: DTypeLike = np.float32) -> NDArray[np.floating]:
    """Organised cloud (H, W, 3) of a depth image [m], camera optical frame; NaN where the depth is invalid.

    `z = d`, `x = (u - cx) z / fx`, `y = (v - cy) z / fy` with integer u, v, in 64 bits and rounded to `dtype` at the
    end. Labels that depend on every bit (the crop of a training view) need `dtype=np.float64` and float64 depth.

    Args:
        depth: (H, W) float [m]; zero, negative, infinite or NaN is invalid.
        intrinsics: Of an image of that size.

    Raises:
        DepthError: `depth` is not a two-dimensional floating-point array.
    """
    if depth.ndim != 2 or not np.issubdtype(depth.dtype, np.floating):
        raise DepthError(
            f"Depth must be (H, W) floating point in metres; got {depth.dtype} of shape {depth.shape}. "
            "Raw sensor units are divided by units per metre first (load_depth does)."
        )
    z = depth.astype(np.float64)
    z[~(np.isfinite(z) & (z > 0))] = np.nan
    height, width = depth.shape
    x = (np.arange(width) - intrinsics.cx) * z / intrinsics.fx
    y = (np.arange(height)[:, None] - intrinsics.cy) * z / intrinsics.fy
    return np.stack([x, y, z], axis=-1).astype(dtype, copy=False)


def object_box(
    cloud: NDArray[np.floating], labels: NDArray[np.integer], table_T_camera: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper corner (3,) [m], table frame, of the box around all valid points whose label is above zero.

    Args:
        cloud: (H, W, 3) [m], camera frame.
        labels: (H, W); 0 is table or background.

    Raises:
        DepthError: No valid point carries a label.
    """
    marked = cloud.reshape(-1, 3)[labels.ravel() > 0]
    axes = _in_table_frame(marked[np.isfinite(marked[:, 2])], table_T_camera)
    if axes.size == 0:
        raise DepthError("No valid pixel carries an object label; the box around the objects is empty.")
    return axes.min(axis=1).astype(np.float64), axes.max(axis=1).astype(np.float64)


def workspace_mask(
    cloud: NDArray[np.floating],
    table_T_camera: NDArray[np.float64],
    lower: ArrayLike,
    upper: ArrayLike,
    margin: float = CROP_MARGIN,
) -> NDArray[np.bool_]:
    """Which points (..., ) lie strictly inside an axis-aligned box of the table frame, widened by `margin` [m].

    Args:
        cloud: (..., 3) [m], camera frame; NaN is outside.
        lower, upper: Corners (3,) [m], table frame.
    """
    axes = _in_table_frame(cloud, table_T_camera)
    lower_, upper_ = np.asarray(lower, dtype=np.float64) - margin, np.asarray(upper, dtype=np.float64) + margin
    inside = np.ones(axes.shape[1], dtype=bool)
    for axis, low, high in zip(axes, lower_, upper_, strict=True):
        inside &= (axis > low) & (axis < high)
    return inside.reshape(cloud.shape[:-1])


def sample(
    points: NDArray[np.floating], seed: int | np.random.Generator, count: int = CLOUD_SIZE
) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
    """`count` points drawn uniformly with replacement, and their indices in `points` (N, 3).

    Raises:
        DepthError: There is nothing to draw from.
    """
    if len(points) == 0:
        raise DepthError("The cloud is empty; nothing can be sampled. Is the camera looking at the workspace?")
    chosen = np.random.default_rng(seed).integers(0, len(points), count)
    return points[chosen], chosen


def valid_points(cloud: NDArray[np.floating]) -> NDArray[np.floating]:
    """The finite points (N, 3) of an organised or flat cloud (..., 3), in raster order."""
    points = cloud.reshape(-1, 3)
    return points[np.isfinite(points).all(axis=1)]


def _in_table_frame(cloud: NDArray[np.floating], table_T_camera: NDArray[np.float64]) -> NDArray[np.floating]:
    """Coordinates (3, N), axis by axis, of the points of an organised or flat cloud (..., 3)."""
    flat = cloud.reshape(-1, 3)
    if flat.dtype == np.float32:
        rounded = table_T_camera.astype(np.float32)
        return rounded[:3, :3] @ flat.T + rounded[:3, 3:]
    # The homogeneous einsum of the public code: a product with R plus t differs in the last bit.
    homogeneous = np.concatenate([flat, np.ones((len(flat), 1))], axis=1, dtype=np.float64)
    return np.einsum("ab,nb->na", table_T_camera, homogeneous)[:, :3].T
