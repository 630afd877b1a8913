"""What the data engine knows about one object: solid, convex parts, surface samples and distance grid."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import trimesh
from dexgrasp_sim.objects import ObjectModel, Part
from numpy.typing import NDArray

from dexgrasp_training.distance_grid import DistanceGrid
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.storage import read_arrays, write_arrays

SURFACE_POINTS = 10240
UNIT = 1e-5  # of the stored distances: 16 bits reach 0.32 m [m]
Split = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class ObjectAsset:
    """One object. Its frame has its origin in the centre of mass.

    Attributes:
        model: Mesh, convex parts, mass, inertia, colour.
        points: array (10240, 3), float32 [m], on the surface, uniform by area and shuffled: the first 2,048 are a
            uniform sample, too.
        normals: array (10240, 3), float32, outward.
        field: Signed distance to the surface.
        split: Whether models may be trained on it.
        source: Where it came from: `family:mug`, `mesh:apple.stl`.
    """

    model: ObjectModel
    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    field: DistanceGrid
    split: Split
    source: str

    @property
    def name(self) -> str:
        """Unique within a dataset."""
        return self.model.name

    def surface(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points (count, 3) [m] and outward normals (count, 3), uniform by area."""
        return self.points[:count], self.normals[:count]

    def save(self, path: Path) -> None:
        """Write one npz file.

        Raises:
            DatasetError: The file cannot be written.
        """
        model = self.model
        about = {
            "name": model.name,
            "family": model.family,
            "parameters": model.parameters,
            "mass": model.mass,
            "colour": list(model.colour),
            "split": self.split,
            "source": self.source,
            "parts": [{"kind": part.kind, "size": list(part.size)} for part in model.parts],
        }
        corners = [part.vertices if part.vertices is not None else np.zeros((0, 3)) for part in model.parts]
        arrays: dict[str, Any] = {
            "about": json.dumps(about, sort_keys=True),
            "vertices": np.asarray(model.mesh.vertices, dtype=np.float64),
            "faces": np.asarray(model.mesh.faces, dtype=np.int32),
            "inertia": model.inertia,
            "part_poses": np.array([part.object_T_part for part in model.parts]),
            "part_corners": np.concatenate(corners).astype(np.float32),
            "part_sizes": np.array([len(rows) for rows in corners], dtype=np.int32),
            "points": self.points.astype(np.float32),
            "normals": self.normals.astype(np.float32),
            "field": np.clip(np.rint(self.field.values / UNIT), -32767, 32767).astype(np.int16),
            "field_origin": self.field.origin,
            "field_spacing": self.field.spacing,
        }
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> ObjectAsset:
        """Read what `save` wrote.

        Raises:
            DatasetError: The file is missing, damaged or of another kind.
        """
        data = read_arrays(path, ("about", "vertices", "faces", "part_poses", "points", "normals", "field"))
        about = json.loads(str(data["about"]))
        ends = np.cumsum(data["part_sizes"])
        parts = []
        for part, pose, end, size in zip(about["parts"], data["part_poses"], ends, data["part_sizes"], strict=True):
            corners = data["part_corners"][end - size : end].astype(np.float64) if size else None
            parts.append(Part(part["kind"], tuple(part["size"]), pose, corners))
        mesh = trimesh.Trimesh(data["vertices"], data["faces"], process=False)
        model = ObjectModel(
            about["name"],
            about["family"],
            about["parameters"],
            mesh,
            tuple(parts),
            about["mass"],
            data["inertia"],
            tuple(about["colour"]),
        )
        if len(data["points"]) != SURFACE_POINTS:
            raise DatasetError(f"{path} has {len(data['points'])} surface points; {SURFACE_POINTS} are needed.")
        field = DistanceGrid(
            data["field_origin"], float(data["field_spacing"]), data["field"].astype(np.float32) * np.float32(UNIT)
        )
        return cls(model, data["points"], data["normals"], field, about["split"], about["source"])
