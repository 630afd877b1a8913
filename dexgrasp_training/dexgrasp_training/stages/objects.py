"""Stage `objects`: procedural objects and imported meshes, each with parts, surface samples and distance grid."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_sim.families import FAMILIES, make_object
from dexgrasp_sim.objects import ObjectModel, solid

from dexgrasp_training.assets import ObjectAsset, Split
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import MeshError, SettingsError
from dexgrasp_training.meshes.decomposition import decompose
from dexgrasp_training.meshes.importing import SUFFIXES, UNITS, ImportConfig, ImportedMesh, import_mesh
from dexgrasp_training.meshes.surface import distance_grid, sample_surface
from dexgrasp_training.settings import Settings, seed_of
from dexgrasp_training.work import Task

__all__ = ["UNITS", "MeshFolder", "imported_asset", "procedural_asset", "split_of", "tasks"]

_COLOUR = (0.72, 0.70, 0.66)


@dataclass(frozen=True)
class MeshFolder:
    """Meshes to import.

    Attributes:
        path: Folder; every STL, OBJ, PLY, GLB or glTF file in it is one object, named after the file.
        unit: Of the files' coordinates, a key of `UNITS`.
        scale: Factor on top of the unit.
    """

    path: Path
    unit: str = "m"
    scale: float = 1.0


def tasks(dataset: Dataset, settings: Settings, meshes: tuple[MeshFolder, ...] = ()) -> list[Task]:
    """One task for each object that is not in the dataset yet.

    Raises:
        SettingsError: There is no such family.
        MeshError: A folder is missing, holds no meshes, or two files give one name.
    """
    wanted = settings.objects
    families = wanted.families or tuple(FAMILIES)
    unknown = [name for name in families if name not in FAMILIES]
    if unknown:
        raise SettingsError(f"objects.families: there is no {', '.join(unknown)}. Families: {', '.join(FAMILIES)}.")
    made: list[tuple[str, Task]] = []
    order = [families[i % len(families)] for i in range(wanted.procedural)]
    names = [f"{family}_{i // len(families)}" for i, family in enumerate(order)]
    splits = split_of({name: name for name in names}, wanted.test_share, settings.seed)
    for family, name in zip(order, names, strict=True):
        seed = seed_of(settings.seed, "object", name)
        made.append((name, Task(name, make_procedural, (str(dataset.root), family, seed, name, splits[name]))))
    for folder in meshes:
        files = mesh_files(folder.path)
        splits = split_of(same_content(files), wanted.test_share, settings.seed)
        options = ImportConfig(unit=folder.unit, scale=folder.scale)
        for name, path in files.items():
            made.append(
                (name, Task(path.name, make_imported, (str(dataset.root), str(path), options, name, splits[name])))
            )
    seen: set[str] = set()
    for name, _ in made:
        if name in seen:
            raise MeshError(f"Two objects would be named {name!r}; rename a file.")
        seen.add(name)
    return [task for name, task in made if not dataset.object_path(name).is_file()]


def mesh_files(folder: Path) -> dict[str, Path]:
    """Mesh files of a folder by the name that their object gets, sorted.

    Raises:
        MeshError: The folder is missing or holds no meshes, or two files give one name.
    """
    if not folder.is_dir():
        raise MeshError(f"{folder} is not a folder.")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            name = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_") or "object"
            if name in files:
                raise MeshError(f"{path.name} and {files[name].name} would both be named {name!r}; rename one.")
            files[name] = path.absolute()
    if not files:
        raise MeshError(f"{folder} holds no meshes ({', '.join(SUFFIXES)}).")
    return files


def same_content(files: Mapping[str, Path]) -> dict[str, str]:
    """For each name the first name whose file has the same bytes: one mesh under two names is one object."""
    firsts: dict[tuple[int, str], str] = {}
    sizes = Counter(path.stat().st_size for path in files.values())
    alike = {}
    for name, path in files.items():
        size = path.stat().st_size
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if sizes[size] > 1 else ""
        alike[name] = firsts.setdefault((size, digest), name)
    return alike


def split_of(groups: Mapping[str, str], test_share: float, seed: int) -> dict[str, Split]:
    """Train or test for each object of one source: a share of the objects, drawn by seed.

    Args:
        groups: Name of each object to the name of its group; a group is never divided.
        test_share: Share of the objects that is for testing, rounded, and at most that.
        seed: Of the draw.
    """
    members: dict[str, list[str]] = {}
    for name, group in groups.items():
        members.setdefault(group, []).append(name)
    room = round(test_share * len(groups))
    test: set[str] = set()
    for group in sorted(members, key=lambda group: seed_of(seed, "split", group)):
        if len(members[group]) <= room - len(test):
            test.update(members[group])
    return {name: "test" if name in test else "train" for name in groups}


def procedural_asset(family: str, seed: int, name: str, split: Split) -> ObjectAsset:
    """The object that a family makes of a seed.

    Raises:
        ObjectError: There is no such family.
    """
    return _asset(make_object(family, seed).named(name), split, f"family:{family}")


def imported_asset(
    path: Path, options: ImportConfig, name: str, split: Split, cache: Path | None = None
) -> ObjectAsset:
    """An object from a mesh file.

    Args:
        options: Unit, scale and bounds.
        cache: Folder that keeps convex parts.

    Raises:
        MeshError: It cannot be used; says why and what to do.
    """
    return _solid_asset(import_mesh(path, options), path, name, split, cache)


def make_procedural(root: str, family: str, seed: int, name: str, split: Split) -> dict[str, Any]:
    """Task: make a procedural object and write it."""
    start = time.perf_counter()
    return _written(root, procedural_asset(family, seed, name, split), start)


def make_imported(root: str, path: str, options: ImportConfig, name: str, split: Split) -> dict[str, Any]:
    """Task: import a mesh and write it."""
    start = time.perf_counter()
    imported = import_mesh(Path(path), options)
    asset = _solid_asset(imported, Path(path), name, split, Path(root) / "cache" / "parts")
    mended = {"repairs": list(imported.repairs), "deviation": float(f"{imported.deviation:.2g}")}
    return {**_written(root, asset, start), **mended}


def _solid_asset(imported: ImportedMesh, path: Path, name: str, split: Split, cache: Path | None) -> ObjectAsset:
    mesh = imported.mesh.copy()
    centre = mesh.center_mass
    mesh.apply_translation(-centre)  # so that the cache knows it wherever it stood
    # Where the file's origin lies in the object's frame: other people's grasps are told in the file's frame.
    origin = dict(zip(("file_x", "file_y", "file_z"), (-centre).tolist(), strict=True))
    model = solid("mesh", origin, mesh, decompose(mesh, cache=cache), _COLOUR).named(name)
    return _asset(model, split, f"mesh:{path.name}")


def _asset(model: ObjectModel, split: Split, source: str) -> ObjectAsset:
    field = distance_grid(model.mesh)
    points, normals = sample_surface(model.mesh, field, seed_of("surface", model.name))
    return ObjectAsset(model, points, normals, field, split, source)


def _written(root: str, asset: ObjectAsset, start: float) -> dict[str, Any]:
    asset.save(Dataset(Path(root)).object_path(asset.name))
    model = asset.model
    return {
        "name": asset.name,
        "family": model.family,
        "split": asset.split,
        "extents": np.round(model.mesh.extents, 4).tolist(),
        "faces": len(model.mesh.faces),
        "volume": float(f"{model.mesh.volume:.4g}"),
        "parts": len(model.parts),
        "seconds": round(time.perf_counter() - start, 2),
    }
