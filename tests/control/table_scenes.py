"""Clouds of simple scenes as the cell's own camera sees them, for tests of what looks at the table."""

from __future__ import annotations

import numpy as np
import open3d as o3d
from dexgrasp_common.transforms import apply, from_xyz_rpy
from numpy.typing import NDArray

from dexgrasp_description import load_cell


def box(xy: tuple[float, float], size: tuple[float, float, float], yaw: float = 0.0) -> o3d.geometry.TriangleMesh:
    """A box that stands on the table."""
    mesh = o3d.geometry.TriangleMesh.create_box(*size)
    mesh.translate([-size[0] / 2, -size[1] / 2, 0.0])
    return mesh.transform(from_xyz_rpy([*xy, 0.0], [0.0, 0.0, yaw]))


def can(xy: tuple[float, float], radius: float, height: float, *, lying: bool = False) -> o3d.geometry.TriangleMesh:
    """A cylinder, upright or lying along y."""
    mesh = o3d.geometry.TriangleMesh.create_cylinder(radius, height, resolution=40)
    if lying:
        return mesh.transform(from_xyz_rpy([*xy, radius], [np.pi / 2, 0.0, 0.0]))
    return mesh.translate([*xy, height / 2])


def look(*objects: o3d.geometry.TriangleMesh, noise: float = 0.0015, seed: int = 0) -> NDArray[np.float64]:
    """The cloud (H * W, 3) of the table with these objects, world frame, with depth noise of one sigma [m]."""
    cell = load_cell()
    table = o3d.geometry.TriangleMesh.create_box(*cell.table.size)
    table.translate(cell.table.center - cell.table.size / 2)
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    for mesh in (table, *objects):
        scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
    lens = cell.intrinsics
    u, v = np.meshgrid(np.arange(lens.width), np.arange(lens.height))
    rays = np.stack([(u - lens.cx) / lens.fx, (v - lens.cy) / lens.fy, np.ones(u.shape)], axis=-1).reshape(-1, 3)
    directions = rays @ cell.world_T_camera[:3, :3].T
    origins = np.broadcast_to(cell.world_T_camera[:3, 3], directions.shape)
    hits = scene.cast_rays(o3d.core.Tensor(np.hstack([origins, directions]).astype(np.float32)))
    depth = hits["t_hit"].numpy().astype(np.float64)
    depth = np.where(np.isfinite(depth), depth + noise * np.random.default_rng(seed).normal(size=depth.shape), np.nan)
    return apply(cell.world_T_camera, rays * depth[:, None])
