"""Operations on clouds by open3d: thinning, outliers, normals, clusters, and PLY/PCD files.

All take and return points (N, 3) [m] in any one frame, without NaN (see `cloud.valid_points`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open3d as o3d
from numpy.typing import ArrayLike, NDArray

from dexgrasp_perception.errors import PerceptionError

CLOUD_SUFFIXES = (".ply", ".pcd")


def downsample(points: NDArray[np.floating], voxel: float) -> NDArray[np.float64]:
    """One point, the mean, for each occupied cube of edge `voxel` [m]."""
    return np.asarray(_to_open3d(points).voxel_down_sample(voxel).points)


def statistical_inliers(
    points: NDArray[np.floating], neighbors: int = 20, deviations: float = 2.0
) -> NDArray[np.bool_]:
    """Which points (N,) have a mean distance to their neighbours within `deviations` of the cloud's own spread."""
    _, kept = _to_open3d(points).remove_statistical_outlier(neighbors, deviations)
    return _as_mask(kept, len(points))


def radius_inliers(points: NDArray[np.floating], radius: float = 0.01, neighbors: int = 6) -> NDArray[np.bool_]:
    """Which points (N,) have at least `neighbors` others within `radius` [m]."""
    _, kept = _to_open3d(points).remove_radius_outlier(neighbors, radius)
    return _as_mask(kept, len(points))


def normals(
    points: NDArray[np.floating],
    radius: float = 0.01,
    neighbors: int = 30,
    towards: ArrayLike = (0.0, 0.0, 0.0),
) -> NDArray[np.float64]:
    """Unit normals (N, 3) from the local plane through at most `neighbors` points within `radius` [m].

    Args:
        towards: Every normal is turned to this point [m]: the camera, which is the origin of the camera frame.
    """
    cloud = _to_open3d(points)
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamHybrid(radius=radius, max_nn=neighbors))
    cloud.orient_normals_towards_camera_location(np.asarray(towards, dtype=np.float64))
    return np.asarray(cloud.normals)


def clusters(points: NDArray[np.floating], gap: float = 0.012, smallest: int = 30) -> NDArray[np.int64]:
    """Label (N,) of each point: 0 is the largest connected group, -1 what belongs to none (DBSCAN).

    Args:
        gap: Groups that are farther apart than this are separate [m].
        smallest: Groups of fewer points are not groups.
    """
    if len(points) == 0:
        return np.empty(0, dtype=np.int64)
    found = np.asarray(_to_open3d(points).cluster_dbscan(eps=gap, min_points=5), dtype=np.int64)
    sizes = np.bincount(found[found >= 0], minlength=1)
    by_size = [label for label in np.argsort(-sizes, kind="stable") if sizes[label] >= smallest]
    rank = np.full(len(sizes), -1, dtype=np.int64)
    rank[by_size] = np.arange(len(by_size))
    return np.where(found >= 0, rank[found], -1)


def save_cloud(path: str | Path, points: NDArray[np.floating], colors: NDArray[np.uint8] | None = None) -> None:
    """Write a PLY or PCD file.

    Args:
        colors: (N, 3) uint8 RGB, or None.

    Raises:
        PerceptionError: Another suffix, or the file could not be written.
    """
    _check_suffix(path)
    cloud = _to_open3d(points)
    if colors is not None:
        cloud.colors = o3d.utility.Vector3dVector(colors.reshape(-1, 3) / 255.0)
    if not o3d.io.write_point_cloud(Path(path), cloud):
        raise PerceptionError(f"The cloud could not be written to {path}.")


def load_cloud(path: str | Path) -> NDArray[np.float64]:
    """Points (N, 3) [m] of a PLY or PCD file.

    Raises:
        PerceptionError: No such file, another suffix, or no points in it.
    """
    _check_suffix(path)
    if not Path(path).is_file():
        raise PerceptionError(f"There is no cloud file {path}.")
    points = np.asarray(o3d.io.read_point_cloud(Path(path)).points)
    if len(points) == 0:
        raise PerceptionError(f"{path} holds no points.")
    return points


def _to_open3d(points: NDArray[np.floating]) -> o3d.geometry.PointCloud:
    if points.ndim != 2 or points.shape[1] != 3:
        raise PerceptionError(f"Points must be (N, 3); got {points.shape}. Flatten organised clouds first.")
    return o3d.geometry.PointCloud(o3d.utility.Vector3dVector(np.ascontiguousarray(points, dtype=np.float64)))


def _as_mask(indices: list[int], count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, dtype=bool)
    mask[indices] = True
    return mask


def _check_suffix(path: str | Path) -> None:
    if Path(path).suffix.lower() not in CLOUD_SUFFIXES:
        raise PerceptionError(f"A cloud file ends in {' or '.join(CLOUD_SUFFIXES)}; got {path}.")
