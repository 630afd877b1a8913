"""The grasps that ship with the repository, a file for procedural objects and one for a public folder of meshes.

Procedural objects are made again from their seeds, which takes a minute; meshes are imported from their folder, which
does not ship. Grasps, which take hours, are unpacked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.formats.grasps import store
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.settings import seed_of
from dexgrasp_training.storage import read_arrays, write_arrays
from dexgrasp_training.synthesis.method import METHODS

SHIPPED = Path(__file__).parent / "starter"
Source = Literal["family", "mesh"]  # of an object: how its `ObjectAsset.source` begins

_PER_GRASP = ("position", "quaternion", "grasp", "pregrasp", "squeeze", "contacts", "method", "quality")
_SAME = 2e-4  # shapes that differ by less are the same [m]
_PER_OBJECT = ("position_unit", "contact_unit")


def shipped_path(hand: str, source: Source = "family") -> Path:
    """Of the file with one hand's grasps on procedural objects, or on meshes.

    Raises:
        DatasetError: None ship for that hand.
    """
    path = SHIPPED / (f"{hand}.npz" if source == "family" else f"{hand}_meshes.npz")
    if not path.is_file():
        hands = sorted(file.stem for file in SHIPPED.glob("*.npz") if not file.stem.endswith("_meshes"))
        raise DatasetError(f"No grasps of {hand} ship, only of {', '.join(hands)}. Make some: dexgrasp-train make")
    return path


def pack(dataset: Dataset, hand: str, path: Path, most: int, source: Source = "family") -> dict[str, int]:
    """Write the grasps of a dataset's procedural objects, or of its meshes, into one file.

    Args:
        most: Grasps of one object at most; where there are more, a random choice.
        source: Which objects.

    Returns:
        `objects` and `grasps` written.

    Raises:
        DatasetError: There are no such grasps, or the file cannot be written.
    """
    names, shapes, rows = [], [], []
    for name in dataset.objects():
        asset = dataset.asset(name)
        if not asset.source.startswith(f"{source}:") or not dataset.grasps_path(hand, name).is_file():
            continue
        grasps = dataset.grasps(hand, name)
        chosen = np.random.default_rng(seed_of("pack", name)).permutation(len(grasps))[:most]
        if len(chosen):
            names.append(name)
            shapes.append(_shape(asset))
            rows.append(grasps[np.sort(chosen)].named_by(METHODS).encoded())
    if not rows:
        raise DatasetError(f"{dataset.root} has no grasps of {hand} on objects of the source {source!r}.")
    arrays: dict[str, Any] = {key: np.concatenate([row[key] for row in rows]) for key in _PER_GRASP}
    arrays |= {key: np.array([row[key] for row in rows]) for key in _PER_OBJECT}
    counts = np.array([len(row["method"]) for row in rows])
    about = {"hand": hand, "methods": rows[0]["methods"], "objects": np.array(names), "shapes": np.array(shapes)}
    write_arrays(path, {**about, **arrays, "counts": counts})
    return {"objects": len(names), "grasps": int(counts.sum())}


def unpack(dataset: Dataset, path: Path) -> dict[str, int]:
    """Give a dataset's objects the grasps of a file that `pack` wrote; objects that it does not have are left out.

    So are meshes that have only the name of one that was packed.

    Returns:
        `objects` that got grasps, and how many `grasps`.

    Raises:
        DatasetError: The file is damaged, or was made for procedural objects of other shapes.
    """
    data = read_arrays(path, ("hand", "methods", "objects", "shapes", "counts", *_PER_GRASP, *_PER_OBJECT))
    ends = np.cumsum(data["counts"])
    found = {"objects": 0, "grasps": 0}
    for index, (name, end, count) in enumerate(zip(data["objects"], ends, data["counts"], strict=True)):
        if not dataset.object_path(str(name)).is_file():
            continue
        asset = dataset.asset(str(name))
        if np.abs(_shape(asset) - data["shapes"][index]).max() > _SAME:
            if asset.source.startswith("mesh:"):
                continue
            raise DatasetError(
                f"{path.name} holds grasps of another {name} than {dataset.root} does, whose objects were made with "
                "other settings or by another version. Make the objects with --settings starter."
            )
        own: dict[str, NDArray[Any]] = {key: data[key][end - count : end] for key in _PER_GRASP}
        own |= {key: data[key][index] for key in _PER_OBJECT}
        store(dataset, ObjectGrasps.decoded({**own, **{key: data[key] for key in ("hand", "methods")}, "object": name}))
        found["objects"] += 1
        found["grasps"] += int(count)
    return found


def _shape(asset: ObjectAsset) -> NDArray[np.float64]:
    """Corners of the bounding box [m] and the cube root of the volume [m]: no two objects of the set have the same."""
    mesh = asset.model.mesh
    return np.append(mesh.bounds.ravel(), np.cbrt(mesh.volume))
