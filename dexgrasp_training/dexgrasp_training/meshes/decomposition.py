"""Convex parts of a mesh by CoACD (Wei et al., SIGGRAPH 2022), kept on disk so that no mesh is taken apart twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import coacd
import numpy as np
import trimesh
from dexgrasp_common.parameters import param
from dexgrasp_sim.objects import Part
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from dexgrasp_training.errors import MeshError
from dexgrasp_training.storage import read_arrays, write_arrays

# Half of CoACD's own numbers: half the time for the same parts on everyday objects.
_RESOLUTION, _ITERATIONS = 1000, 60


@dataclass(frozen=True)
class DecompositionConfig:
    """How finely a mesh is taken apart."""

    threshold: float = param(0.002, "concavity below which a piece is not cut [m]", range=(1e-4, 0.1))
    most_hulls: int = param(48, "convex parts at most; solids need about 10, thin vessels all", range=(1, 128))
    most_vertices: int = param(48, "corners of a convex part at most", range=(8, 256))
    convex: float = param(0.985, "share of the hull's volume from which on a mesh counts as convex", range=(0.5, 1))
    seed: int = param(0, "of the search for cuts")


def decompose(
    mesh: trimesh.Trimesh, config: DecompositionConfig | None = None, cache: Path | None = None
) -> list[Part]:
    """Convex parts that together fill a closed mesh.

    Args:
        mesh: Closed surface [m].
        config: Fineness and bounds.
        cache: Folder that keeps the parts by mesh and config; `None`: nothing is kept.

    Raises:
        MeshError: No convex parts can be found.
    """
    config = config or DecompositionConfig()
    path = cache / f"{_key(mesh, config)}.npz" if cache is not None else None
    if path is not None and path.is_file():
        stored = read_arrays(path, ("corners", "counts"))
        pieces = np.split(stored["corners"], np.cumsum(stored["counts"])[:-1])
    else:
        pieces = _pieces(mesh, config)
        if path is not None:
            write_arrays(path, {"corners": np.concatenate(pieces), "counts": np.array([len(p) for p in pieces])})
    return [Part("mesh", (), np.eye(4), corners) for corners in pieces]


def _pieces(mesh: trimesh.Trimesh, config: DecompositionConfig) -> list[NDArray[np.float64]]:
    hull = trimesh.convex.convex_hull(mesh)
    if mesh.volume >= config.convex * hull.volume:
        # All alone, it may have the corners of four.
        return [_thinned(hull.vertices, 4 * config.most_vertices)]
    coacd.set_log_level("off")
    found = coacd.run_coacd(
        coacd.Mesh(mesh.vertices, mesh.faces),
        threshold=config.threshold,
        max_convex_hull=config.most_hulls,
        preprocess_mode="off",  # the surface is closed
        resolution=_RESOLUTION,
        mcts_iterations=_ITERATIONS,
        seed=config.seed,
        real_metric=True,
    )
    pieces = [np.asarray(vertices, dtype=np.float64) for vertices, _ in found]
    if not pieces:
        raise MeshError("CoACD finds no convex parts; is the mesh a closed solid?")
    return [_thinned(corners, config.most_vertices) for corners in pieces]


def _thinned(corners: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """At most so many corners of the convex hull of points (N, 3).

    The next ones are those farthest from the hull so far; the result is enlarged to the volume of the whole hull.
    """
    whole = ConvexHull(corners)
    corners = corners[whole.vertices]
    if len(corners) <= most:
        return corners
    chosen = _simplex(corners)
    while len(chosen) < most:
        facets = ConvexHull(corners[chosen]).equations
        outside = corners @ facets[:, :3].T + facets[:, 3]
        farthest = outside.argmax(axis=0)
        order = np.argsort(-outside[farthest, np.arange(len(facets))], kind="stable")
        several = min(most - len(chosen), max(1, len(chosen) // 8))
        chosen += list(dict.fromkeys(farthest[order].tolist()))[:several]
    thin = ConvexHull(corners[chosen])
    middle = thin.points.mean(axis=0)
    return middle + (thin.points - middle) * (whole.volume / thin.volume) ** (1 / 3)


def _simplex(points: NDArray[np.float64]) -> list[int]:
    """Four of the points (N, 3) that span much: one end, and the farthest from it, from that line, from that plane."""
    first = int(points[:, 0].argmin())
    offset = points - points[first]
    second = int(np.linalg.norm(offset, axis=1).argmax())
    across = np.cross(offset, offset[second])
    third = int(np.linalg.norm(across, axis=1).argmax())
    fourth = int(np.abs(offset @ across[third]).argmax())
    return [first, second, third, fourth]


def _key(mesh: trimesh.Trimesh, config: DecompositionConfig) -> str:
    content = hashlib.sha256(
        json.dumps([asdict(config), _RESOLUTION, _ITERATIONS, version("coacd")], sort_keys=True).encode()
    )
    content.update(np.ascontiguousarray(mesh.vertices, dtype=np.float64).tobytes())
    content.update(np.ascontiguousarray(mesh.faces, dtype=np.int64).tobytes())
    return content.hexdigest()[:32]
