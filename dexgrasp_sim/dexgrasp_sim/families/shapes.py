"""Builders that the families share: surfaces, and the convex parts that fill them, from the same parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray

from dexgrasp_sim.objects import Part, part_mesh

SECTIONS = 48  # of a drawn circle
SECTORS = 16  # of a hollow wall, each one convex part

_COLOURS = (
    (0.86, 0.24, 0.20),
    (0.95, 0.55, 0.15),
    (0.96, 0.78, 0.22),
    (0.45, 0.70, 0.30),
    (0.15, 0.60, 0.55),
    (0.20, 0.45, 0.78),
    (0.48, 0.34, 0.68),
    (0.85, 0.45, 0.60),
    (0.62, 0.44, 0.30),
    (0.90, 0.90, 0.86),
)


def colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """One of ten colours."""
    return _COLOURS[int(rng.integers(len(_COLOURS)))]


def named(**parameters: float) -> dict[str, float]:
    """Parameters as plain floats."""
    return {name: float(value) for name, value in parameters.items()}


def at(centre: ArrayLike) -> NDArray[np.float64]:
    """Pose (4, 4) of a frame with its origin at a point (3,) [m], not turned."""
    pose = np.eye(4)
    pose[:3, 3] = centre
    return pose


def box_part(size: ArrayLike, centre: ArrayLike = (0.0, 0.0, 0.0)) -> Part:
    """Box of full edge lengths (3,) about a centre (3,) [m]."""
    x, y, z = (float(edge) / 2 for edge in np.asarray(size))
    return Part("box", (x, y, z), at(centre))


def hull_part(vertices: NDArray[np.float64]) -> Part:
    """Convex hull of vertices (N, 3) [m]."""
    return Part("mesh", (), np.eye(4), np.asarray(vertices, dtype=np.float64))


def lathe(profile: Sequence[tuple[float, float]]) -> trimesh.Trimesh:
    """Solid of revolution about z from (radius, height) pairs that start and end on the axis."""
    return trimesh.creation.revolve(np.array(profile, dtype=np.float64), sections=SECTIONS)


def rings(profile: Sequence[tuple[float, float]], sides: int) -> NDArray[np.float64]:
    """Points (len(profile) * sides, 3) on circles of the (radius, height) pairs about z [m]."""
    angles = np.arange(sides) * 2 * np.pi / sides
    return np.concatenate([np.stack([r * np.cos(angles), r * np.sin(angles), z + 0 * angles], 1) for r, z in profile])


def frusta(profile: Sequence[tuple[float, float]]) -> list[Part]:
    """Stack of cylinders and cones between the consecutive (radius, height) pairs of a solid of revolution."""
    parts = []
    for (r0, z0), (r1, z1) in zip(profile, profile[1:], strict=False):
        if z1 <= z0:
            continue
        if r0 == r1:
            parts.append(Part("cylinder", (float(r0), float(z1 - z0) / 2), at((0.0, 0.0, (z0 + z1) / 2))))
        else:
            parts.append(hull_part(rings([(r0, z0), (r1, z1)], SECTIONS // 2)))
    return parts


def hollow(outer: Sequence[tuple[float, float]], inner: Sequence[tuple[float, float]]) -> trimesh.Trimesh:
    """Vessel of revolution: up the outside, down the inside."""
    return lathe([(0.0, outer[0][1]), *outer, *inner[::-1], (0.0, inner[0][1])])


def hollow_parts(outer: Sequence[tuple[float, float]], inner: Sequence[tuple[float, float]]) -> list[Part]:
    """Floor of a vessel, and its wall as sectors between consecutive pairs of outer and inner points."""
    foot, thickness = outer[0][0], inner[0][1] - outer[0][1]
    parts = [Part("cylinder", (float(foot), float(thickness) / 2), at((0.0, 0.0, outer[0][1] + thickness / 2)))]
    arc = np.linspace(0.0, 2 * np.pi / SECTORS, SECTIONS // SECTORS + 1)
    for sector in range(SECTORS):
        angles = arc + sector * 2 * np.pi / SECTORS
        for level in range(len(outer) - 1):
            corners = [(outer[i], angles) for i in (level, level + 1)]
            corners += [(inner[i], angles[[0, -1]]) for i in (level, level + 1)]
            points = [np.stack([r * np.cos(a), r * np.sin(a), z + 0 * a], axis=1) for (r, z), a in corners]
            parts.append(hull_part(np.concatenate(points)))
    return parts


def tube_rings(path: NDArray[np.float64], radius: float, sides: int, closed: bool) -> NDArray[np.float64]:
    """Circles (len(path), sides, 3) across a plane curve; the curve's plane has the smallest spread of its points."""
    normal = np.linalg.svd(path - path.mean(axis=0))[2][2]
    if closed:
        tangents = np.roll(path[:-1], -1, axis=0) - np.roll(path[:-1], 1, axis=0)
        tangents = np.concatenate([tangents, tangents[:1]])
    else:
        tangents = np.gradient(path, axis=0)
    across = np.cross(tangents / np.linalg.norm(tangents, axis=1, keepdims=True), normal)
    angles = np.arange(sides) * 2 * np.pi / sides
    circle = np.cos(angles)[:, None] * across[:, None] + np.sin(angles)[:, None] * normal
    return path[:, None] + radius * circle


def tube(path: NDArray[np.float64], radius: float, sides: int) -> trimesh.Trimesh:
    """Closed tube along an open plane curve (N, 3)."""
    return loft(tube_rings(path, radius, sides, closed=False), path[[0, -1]])


def loft(outlines: NDArray[np.float64], ends: NDArray[np.float64] | None = None) -> trimesh.Trimesh:
    """Closed surface through outlines of equally many corners.

    Args:
        outlines: array (N, K, 3) [m]; the first and the last are capped.
        ends: array (2, 3), middles of the caps [m]; `None`: the means of their corners.
    """
    count, sides = outlines.shape[:2]
    if ends is None:
        ends = outlines[[0, -1]].mean(axis=1)
    k, ring = np.arange(sides), np.arange(count - 1)[:, None] * sides
    a, b = ring + k, ring + (k + 1) % sides
    walls = np.stack([a, a + sides, b, b, a + sides, b + sides], axis=-1).reshape(-1, 3)
    first, last = count * sides, count * sides + 1
    top = (count - 1) * sides
    caps = [np.stack([k * 0 + first, k, (k + 1) % sides], axis=1)]
    caps.append(np.stack([k * 0 + last, top + (k + 1) % sides, top + k], axis=1))
    mesh = trimesh.Trimesh(np.concatenate([outlines.reshape(-1, 3), ends]), np.concatenate([walls, *caps]))
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def loft_parts(outlines: NDArray[np.float64]) -> list[Part]:
    """Convex pieces of a loft through convex outlines (N, K, 3), one between each two of them."""
    return [hull_part(np.concatenate(pair)) for pair in zip(outlines, outlines[1:], strict=False)]


def rounded_outlines(
    stations: Sequence[tuple[float, float, float]], sides: int = 24, exponent: float = 0.6
) -> NDArray[np.float64]:
    """Outlines (N, sides, 3) across the x axis for `loft` [m].

    Args:
        stations: (x, half width along y, half height along z) of each [m].
        sides: Corners of an outline.
        exponent: 1: ellipses; towards 0: rectangles with ever sharper corners.
    """
    angles = np.arange(sides) * 2 * np.pi / sides
    y = np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** exponent
    z = np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** exponent
    return np.array([np.stack([x + 0 * y, wide * y, high * z], axis=1) for x, wide, high in stations])


def slab(corners: ArrayLike, thickness: float) -> Part:
    """Upright prism over the convex polygon (N, 2) [m], its middle at z = 0."""
    flat = np.asarray(corners, dtype=np.float64)
    return hull_part(np.concatenate([np.insert(flat, 2, side * thickness / 2, axis=1) for side in (-1, 1)]))


def joined(parts: Sequence[Part]) -> trimesh.Trimesh:
    """Surface of the union of parts that touch or overlap."""
    return trimesh.boolean.union([part_mesh(part) for part in parts], engine="manifold")


def tube_parts(path: NDArray[np.float64], radius: float, sides: int, closed: bool = False) -> list[Part]:
    """Convex pieces of a tube, one for each step of its path."""
    return loft_parts(tube_rings(path, radius, sides, closed))


def extruded(outline: Sequence[tuple[float, float]], depth: float) -> trimesh.Trimesh:
    """Prism over a star-shaped outline in the x-z plane that can be fanned from its fourth corner; middle at y = 0."""
    corners, count = np.array(outline), len(outline)
    vertices = np.concatenate([np.insert(corners, 1, side * depth / 2, axis=1) for side in (-1, 1)])
    apex = 3
    fan = [(apex, (apex + i) % count, (apex + i + 1) % count) for i in range(1, count - 1)]
    sides = [((i + 1) % count, i, i + count) for i in range(count)]
    sides += [((i + 1) % count, i + count, (i + 1) % count + count) for i in range(count)]
    back = [(c + count, b + count, a + count) for a, b, c in fan]
    mesh = trimesh.Trimesh(vertices, np.array(fan + sides + back))
    if mesh.volume < 0:
        mesh.invert()
    return mesh
