"""Boxes as objects of a dataset, with exact distance grids, and grasps on them: for tests of scenes."""

from __future__ import annotations

import numpy as np
import trimesh
from dexgrasp_sim.objects import Part, solid
from dexgrasp_training.assets import SURFACE_POINTS, ObjectAsset, Split
from dexgrasp_training.distance_grid import DistanceGrid
from dexgrasp_training.object_grasps import CONTACTS, ObjectGrasps
from dexgrasp_training.synthesis.method import METHODS
from numpy.typing import ArrayLike, NDArray

from dexgrasp_description import load_hand


def box_asset(name: str, size: ArrayLike, split: Split = "train", spacing: float = 0.002) -> ObjectAsset:
    """A box of these edge lengths [m]."""
    edges = np.asarray(size, dtype=np.float64)
    mesh = trimesh.creation.box(extents=edges)
    model = solid("box", {}, mesh, [Part("box", tuple(edges / 2), np.eye(4))], (0.5, 0.5, 0.5)).named(name)
    points, faces = trimesh.sample.sample_surface(mesh, SURFACE_POINTS, seed=0)
    origin = -edges / 2 - 0.03
    counts = np.ceil((edges + 0.06) / spacing).astype(int) + 1
    steps = [origin[i] + spacing * np.arange(counts[i]) for i in range(3)]
    excess = np.abs(np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)) - edges / 2
    distance = np.linalg.norm(np.maximum(excess, 0.0), axis=-1) + np.minimum(excess.max(axis=-1), 0.0)
    field = DistanceGrid(origin, spacing, distance.astype(np.float32))
    normals = mesh.face_normals[faces]
    return ObjectAsset(model, points.astype(np.float32), normals.astype(np.float32), field, split, "family:box")


def grasps_at(
    hand_name: str,
    object_T_palm: NDArray[np.float64],
    grasp: NDArray[np.float64] | None = None,
    pregrasp: NDArray[np.float64] | None = None,
    object_name: str = "box",
) -> ObjectGrasps:
    """Grasps with given palms (N, 4, 4); joints at home unless given."""
    count, home = len(object_T_palm), load_hand(hand_name).home
    joints = np.tile(home, (count, 1)) if grasp is None else grasp
    opened = np.tile(home, (count, 1)) if pregrasp is None else pregrasp
    contacts = np.full((count, CONTACTS, 3), np.nan)
    method, quality = np.zeros(count, np.uint8), np.zeros(count)
    return ObjectGrasps(
        hand_name, object_name, METHODS, object_T_palm, opened, joints, joints, contacts, method, quality
    )


def at(x: float, y: float, z: float) -> NDArray[np.float64]:
    """A pose without rotation."""
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose
