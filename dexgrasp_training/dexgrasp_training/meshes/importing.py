"""Meshes from files as closed surfaces: read, scaled, repaired, simplified, or refused with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open3d as o3d
import trimesh
from dexgrasp_common.parameters import param
from numpy.typing import NDArray

from dexgrasp_training.errors import MeshError
from dexgrasp_training.meshes.repair import clean, close_holes, deviation, joined_bodies, rebuilt
from dexgrasp_training.meshes.surface import ray_scene

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
SUFFIXES = (".stl", ".obj", ".ply", ".glb", ".gltf")

_PROBES = 20000  # points by which a volume is measured


@dataclass(frozen=True)
class ImportConfig:
    """How files are read and what is accepted."""

    unit: str = param("m", "of the file's coordinates: m, cm, mm or inch")
    scale: float = param(1.0, "factor on top of the unit", range=(1e-6, 1e6))
    most_faces: int = param(20000, "faces to which finer meshes are simplified", range=(500, 1e6))
    smallest: float = param(0.01, "longest side of the bounding box at least [m]", range=(1e-3, 1))
    largest: float = param(0.5, "longest side of the bounding box at most [m]", range=(1e-2, 10))
    open_share: float = param(0.05, "share of the area up to which holes are closed by a patch", range=(0, 1))
    deviation: float = param(0.002, "distance between the file's surface and a rebuilt one at most [m]", range=(0, 1))


@dataclass(frozen=True, eq=False)
class ImportedMesh:
    """A closed surface and what was done to get it.

    Attributes:
        mesh: Closed, faces outward, in the file's frame (z up also where the format has y up) [m].
        faces_read: Faces in the file.
        repairs: What was done, in words; empty for a mesh that was good as it was.
        deviation: Greatest distance between the file's outer surface and `mesh`, found at samples [m].
    """

    mesh: trimesh.Trimesh
    faces_read: int
    repairs: tuple[str, ...]
    deviation: float


def import_mesh(path: Path, config: ImportConfig | None = None) -> ImportedMesh:
    """Read a mesh file as the surface of a solid.

    Raises:
        MeshError: It cannot be read or used; says why and what to do.
    """
    config = config or ImportConfig()
    if config.unit not in UNITS:
        raise MeshError(f"There is no unit {config.unit!r}. Units: {', '.join(UNITS)}.")
    read = _read(path)
    faces_read = len(read.faces)
    read.apply_scale(UNITS[config.unit] * config.scale)
    _check_size(read, path, config)

    mesh, repairs = clean(read)
    if not len(mesh.faces):
        raise MeshError(f"{path.name} has no triangle with an area; export it anew.")
    _check_flat(mesh, path)
    if len(mesh.faces) > config.most_faces:
        mesh, said = clean(_simplified(mesh, config.most_faces))
        repairs += [f"simplified from {faces_read} to {len(mesh.faces)} faces", *said]
    if not mesh.is_watertight:
        mesh, said = close_holes(mesh, config.open_share)
        repairs += said
    if mesh.is_watertight:
        mesh, said = joined_bodies(mesh)
        repairs += said
    if not mesh.is_watertight or mesh.volume <= 0.0:
        mesh, said = rebuilt(mesh, read, config.deviation)
        repairs += said
        if len(mesh.faces) > config.most_faces:
            mesh = clean(_simplified(mesh, config.most_faces))[0]
    if not mesh.is_watertight or mesh.volume <= 0.0:
        raise MeshError(f"{path.name} cannot be closed ({'; '.join(repairs)}); mend it in a mesh editor.")
    _check_overlap(mesh, path)
    return ImportedMesh(mesh, faces_read, tuple(repairs), deviation(read, mesh))


def _read(path: Path) -> trimesh.Trimesh:
    if path.suffix.lower() not in SUFFIXES:
        raise MeshError(f"{path.name} is of no kind that is read here: {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise MeshError(f"{path} does not exist.")
    if not path.stat().st_size:
        raise MeshError(f"{path.name} is empty.")
    try:
        scene = trimesh.load_scene(path, process=False)
        mesh = scene.to_mesh()
    except Exception as error:  # readers fail with whatever a damaged file makes them fail with
        raise MeshError(f"{path.name} cannot be read ({type(error).__name__}: {error}); export it anew.") from error
    if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
        raise MeshError(f"{path.name} holds no triangles: a point cloud, an empty scene or a damaged file.")
    if not np.isfinite(mesh.vertices).all():
        broken = int((~np.isfinite(mesh.vertices)).any(axis=1).sum())
        raise MeshError(f"{path.name} has {broken} vertices that are not finite numbers; export it anew.")
    if path.suffix.lower() in (".glb", ".gltf"):
        mesh.vertices = mesh.vertices[:, [0, 2, 1]] * np.array([1.0, -1.0, 1.0])  # glTF has y up
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def _check_size(mesh: trimesh.Trimesh, path: Path, config: ImportConfig) -> None:
    longest = float(mesh.extents.max())
    if config.smallest <= longest <= config.largest:
        return
    fitting = [
        unit
        for unit, factor in UNITS.items()
        if 2 * config.smallest <= longest / UNITS[config.unit] * factor <= 0.6 * config.largest
    ]
    remedy = f"give --unit {' or '.join(fitting)}" if fitting else "give the right --unit, or a --scale"
    raise MeshError(
        f"{path.name} is {longest:.3g} m long where {config.smallest:g} to {config.largest:g} m are expected; {remedy}."
    )


def _check_flat(mesh: trimesh.Trimesh, path: Path) -> None:
    spread: NDArray[np.float64] = np.linalg.svd(mesh.vertices - mesh.vertices.mean(axis=0), compute_uv=False)
    if spread[2] < 1e-4 * spread[0]:
        raise MeshError(f"{path.name} is flat: it encloses no volume. Give it a thickness.")


def _check_overlap(mesh: trimesh.Trimesh, path: Path) -> None:
    """Where one surface runs through itself, nobody can tell inside from outside: not more than a little of that."""
    low, high = mesh.bounds
    points = np.random.default_rng(0).uniform(low, high, size=(_PROBES, 3)).astype(np.float32)
    inside = ray_scene(mesh).compute_occupancy(points, nthreads=1, nsamples=5).numpy().mean()
    filled, box = float(inside * np.prod(mesh.extents)), float(np.prod(mesh.extents))
    chance = 4 * np.sqrt(inside * (1 - inside) / _PROBES) * box
    if abs(filled - mesh.volume) > 0.1 * mesh.volume + chance:
        raise MeshError(f"{path.name} runs through itself in much of its volume; join its bodies in a mesh editor.")


def _simplified(mesh: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """Quadric error decimation (Garland and Heckbert, 1997)."""
    fine = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(np.array(mesh.vertices)), o3d.utility.Vector3iVector(mesh.faces.astype(np.int32))
    )
    coarse = fine.simplify_quadric_decimation(faces)
    return trimesh.Trimesh(np.asarray(coarse.vertices), np.asarray(coarse.triangles), process=False)
