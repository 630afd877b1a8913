"""What is known of a surface point by point: samples with normals, and the signed-distance grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import open3d as o3d
import trimesh
from numpy.typing import NDArray
from scipy import ndimage

from dexgrasp_training.assets import SURFACE_POINTS
from dexgrasp_training.distance_grid import DistanceGrid

SPACING = 0.002  # of the grid, where the object is small enough [m]
MARGIN = 0.03  # of the grid about the object [m]
MOST_VOXELS = 128  # along any axis
PROBE = 0.004  # radius of the smallest ball that stands for a finger [m]

_RAYS = 5  # that vote on the side of a point: one alone may slip through an edge


def ray_scene(mesh: trimesh.Trimesh) -> Any:
    """open3d's scene of one mesh, for distances and rays."""
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(np.asarray(mesh.vertices, dtype=np.float32)),
        o3d.core.Tensor.from_numpy(np.asarray(mesh.faces, dtype=np.uint32)),
    )
    return scene


def signed_distance(scene: Any, points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Distance (...) [m] of points (..., 3) to a closed surface, negative inside."""
    query = np.ascontiguousarray(points, dtype=np.float32)
    return scene.compute_signed_distance(query, nthreads=1, nsamples=_RAYS).numpy().copy()


def distance_grid(mesh: trimesh.Trimesh) -> DistanceGrid:
    """Signed distance to a closed mesh, every 2 mm, or coarser so that no axis has more than 128 samples."""
    low, high = mesh.bounds[0] - MARGIN, mesh.bounds[1] + MARGIN
    spacing = max(SPACING, float((high - low).max()) / (MOST_VOXELS - 1))
    counts = np.ceil((high - low) / spacing - 1e-9).astype(int) + 1
    origin = (low + high - (counts - 1) * spacing) / 2
    axes = [origin[i] + spacing * np.arange(counts[i]) for i in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return DistanceGrid(origin, spacing, signed_distance(ray_scene(mesh), points))


def sample_surface(
    mesh: trimesh.Trimesh, field: DistanceGrid, seed: int, count: int = SURFACE_POINTS
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points on the surface, uniform by area and in random order, with outward normals.

    Walls of closed or all but closed cavities, where no ball of the probe's radius gets to from outside, get none.

    Args:
        mesh: Closed surface [m].
        field: Its distance grid.
        seed: Of the draw; the same seed gives the same points.
        count: N.

    Returns:
        Points (N, 3) [m] and unit normals (N, 3), float32.
    """
    rng = np.random.default_rng(seed)
    area = np.cumsum(mesh.area_faces)
    corners, normals = mesh.triangles, mesh.face_normals
    touched = _reachable(field)
    points = np.empty((0, 3))
    faces = np.empty(0, dtype=np.int64)
    while len(points) < count:
        # One draw from each of `count` equal shares of the area: more even than independent draws.
        drawn = np.searchsorted(area, (np.arange(count) + rng.random(count)) / count * area[-1])
        drawn = rng.permutation(np.minimum(drawn, len(area) - 1))
        r, s = np.sqrt(rng.random(count)), rng.random(count)
        weights = np.stack([1 - r, r * (1 - s), r * s], axis=1)
        places = np.einsum("nk,nkd->nd", weights, corners[drawn])
        kept = touched(places)
        points, faces = np.concatenate([points, places[kept]]), np.concatenate([faces, drawn[kept]])
    return points[:count].astype(np.float32), normals[faces[:count]].astype(np.float32)


def _reachable(field: DistanceGrid) -> Any:
    """Test of surface points (N, 3): does the probe's ball reach them from outside?"""
    probe = max(PROBE, 1.5 * field.spacing)
    free, _ = ndimage.label(field.values > probe)
    outside = free == free[0, 0, 0]
    gap = ndimage.distance_transform_edt(~outside, sampling=field.spacing)
    # The ball's centre lies its radius away; samples and sharp corners ask for some more.
    limit = 2.5 * probe + field.spacing

    def test(points: NDArray[np.float64]) -> NDArray[np.bool_]:
        index = np.rint((points - field.origin) / field.spacing).astype(int)
        near = gap[tuple(np.clip(index, 0, np.array(gap.shape) - 1).T)]
        return near <= limit

    return test
