"""Objects of other people's data: made from their meshes, and told in the frames of these meshes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dexgrasp_training.assets import ObjectAsset, Split
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.meshes.importing import SUFFIXES, ImportConfig
from dexgrasp_training.stages.objects import imported_asset


def mesh_T_object(asset: ObjectAsset) -> NDArray[np.float64]:
    """Pose (4, 4) of the object's frame in that of the file that its mesh was read from; the unit where there is none.

    Ours has its origin in the centre of mass, and the axes of the file.
    """
    parameters = asset.model.parameters
    pose = np.eye(4)
    pose[:3, 3] = [-parameters.get(key, 0.0) for key in ("file_x", "file_y", "file_z")]
    return pose


def add_mesh_object(
    root: str, name: str, mesh: str, scale: float, split: Split, surface: NDArray[np.float64] | None = None
) -> dict[str, int]:
    """Task: make an object from a mesh in metres times `scale`, and write it.

    Args:
        surface: array (P, 3), points on the mesh in its file's frame that come first among the object's surface
            points [m]: labels that others made for these points can be made again.

    Raises:
        MeshError: The mesh cannot be used.
    """
    dataset = Dataset(Path(root))
    asset = imported_asset(Path(mesh), ImportConfig(scale=scale), name, split, dataset.root / "cache" / "parts")
    if surface is not None:
        asset = _with_surface(asset, surface)
    asset.save(dataset.object_path(name))
    return {"objects": 1}


def find_mesh(folder: Path, name: str) -> Path | None:
    """The mesh of an object somewhere below a folder.

    Names like `contactdb+apple` stand for `contactdb/apple`, a file or a folder with a file of that name.
    """
    *above, last = name.split("+")
    found = [
        path
        for suffix in SUFFIXES
        for path in sorted(folder.rglob(f"{last}{suffix}"))
        if all(part in path.parts for part in above)
    ]
    return found[0] if found else None


def file_name(name: str) -> str:
    """A name as it can stand in a file name."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip(".") or "object"


def _with_surface(asset: ObjectAsset, surface: NDArray[np.float64]) -> ObjectAsset:
    points = (surface - mesh_T_object(asset)[:3, 3]).astype(np.float32)
    # The normal of the nearest of our samples: they lie two millimetres apart.
    nearest = cKDTree(asset.points).query(points)[1]
    count = len(points)
    return replace(
        asset,
        points=np.concatenate([points, asset.points[count:]]),
        normals=np.concatenate([asset.normals[nearest], asset.normals[count:]]),
    )
