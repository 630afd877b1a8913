"""Procedural families of household objects, sized for a hand with fingers of 10 cm.

A family is a function from a random generator to an `ObjectModel`; `FAMILIES` names them. Surfaces are closed
meshes, and the convex parts are made with them from the same parameters, so nothing needs to be decomposed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray

from dexgrasp_sim.objects import ObjectError, ObjectModel, Part, solid

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


def box(rng: np.random.Generator) -> ObjectModel:
    """A carton: at least one side fits between thumb and fingers."""
    size = np.array([rng.uniform(0.035, 0.07), rng.uniform(0.04, 0.10), rng.uniform(0.05, 0.17)])
    mesh = trimesh.creation.box(extents=size)
    return solid("box", _named(x=size[0], y=size[1], z=size[2]), mesh, [_box(size)], _colour(rng))


def can(rng: np.random.Generator) -> ObjectModel:
    """A solid cylinder."""
    radius, height = rng.uniform(0.022, 0.038), rng.uniform(0.06, 0.15)
    mesh = _lathe([(0, -height / 2), (radius, -height / 2), (radius, height / 2), (0, height / 2)])
    part = Part("cylinder", (radius, height / 2), np.eye(4))
    return solid("can", _named(radius=radius, height=height), mesh, [part], _colour(rng))


def ball(rng: np.random.Generator) -> ObjectModel:
    """A sphere."""
    radius = rng.uniform(0.028, 0.042)
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return solid("ball", _named(radius=radius), mesh, [Part("sphere", (radius,), np.eye(4))], _colour(rng))


def prism(rng: np.random.Generator) -> ObjectModel:
    """An upright prism over a regular polygon of five to eight corners."""
    corners = int(rng.integers(5, 9))
    radius, height = rng.uniform(0.025, 0.04), rng.uniform(0.05, 0.14)
    mesh = trimesh.convex.convex_hull(_rings([(radius, -height / 2), (radius, height / 2)], corners))
    parameters = _named(corners=corners, radius=radius, height=height)
    return solid("prism", parameters, mesh, [_hull(mesh.vertices)], _colour(rng))


def superquadric(rng: np.random.Generator) -> ObjectModel:
    """`|x/a|^(2/e2) + |y/b|^(2/e2))^(e2/e1) + |z/c|^(2/e1) = 1` (Barr, 1981) with exponents that keep it convex."""
    axes = np.array([rng.uniform(0.025, 0.04), rng.uniform(0.025, 0.05), rng.uniform(0.025, 0.065)])
    e1, e2 = rng.uniform(0.25, 1.5, size=2)
    sphere = trimesh.creation.uv_sphere(radius=1.0, count=(32, SECTIONS))
    mesh = trimesh.convex.convex_hull(_superquadric_points(sphere.vertices, axes, e1, e2))
    coarse = trimesh.creation.uv_sphere(radius=1.0, count=(20, 32))
    part = _hull(_superquadric_points(coarse.vertices, axes, e1, e2))
    parameters = _named(a=axes[0], b=axes[1], c=axes[2], e1=e1, e2=e2)
    return solid("superquadric", parameters, mesh, [part], _colour(rng))


def bottle(rng: np.random.Generator) -> ObjectModel:
    """A closed bottle: body, sloping shoulder, neck and cap."""
    radius, height = rng.uniform(0.024, 0.036), rng.uniform(0.14, 0.21)
    neck, shoulder = radius * rng.uniform(0.35, 0.5), height * rng.uniform(0.55, 0.72)
    slope, cap = rng.uniform(0.6, 1.2) * (radius - neck), 0.12 * height
    profile = [
        (radius, 0.0),
        (radius, shoulder),
        (neck + 0.55 * (radius - neck), shoulder + 0.6 * slope),
        (neck, shoulder + slope),
        (neck, height - cap),
        (neck * 1.15, height - cap),
        (neck * 1.15, height),
    ]
    mesh = _lathe([(0.0, 0.0), *profile, (0.0, height)])
    parameters = _named(radius=radius, height=height, neck=neck, shoulder=shoulder)
    return solid("bottle", parameters, mesh, _frusta(profile), _colour(rng))


def cup(rng: np.random.Generator) -> ObjectModel:
    """A tumbler: hollow, wider at the rim, no handle."""
    rim, foot = rng.uniform(0.034, 0.044), rng.uniform(0.024, 0.032)
    height, wall = rng.uniform(0.08, 0.12), rng.uniform(0.003, 0.005)
    outer, inner = [(foot, 0.0), (rim, height)], [(foot - wall, 1.5 * wall), (rim - wall, height)]
    parameters = _named(rim=rim, foot=foot, height=height, wall=wall)
    return solid("cup", parameters, _hollow(outer, inner), _hollow_parts(outer, inner), _colour(rng))


def mug(rng: np.random.Generator) -> ObjectModel:
    """A straight cup with an ear."""
    radius, height = rng.uniform(0.034, 0.042), rng.uniform(0.08, 0.105)
    wall, ear = rng.uniform(0.004, 0.006), rng.uniform(0.005, 0.0065)
    reach, rise = rng.uniform(0.026, 0.034), height * rng.uniform(0.28, 0.34)
    outer, inner = [(radius, 0.0), (radius, height)], [(radius - wall, 1.2 * wall), (radius - wall, height)]
    angles = np.linspace(-np.pi / 2, np.pi / 2, 13)
    arc = np.stack([radius + reach * np.cos(angles), 0 * angles, height / 2 + rise * np.sin(angles)], axis=1)
    # The ends reach into the wall, so that ear and body are one solid; they stay clear of the inside.
    ends = np.array([[-0.6 * wall, 0.0, 0.0]])
    path = np.concatenate([arc[:1] + ends, arc, arc[-1:] + ends])
    mesh = trimesh.boolean.union([_hollow(outer, inner), _tube(path, ear, 16)], engine="manifold")
    parts = _hollow_parts(outer, inner) + _tube_parts(path[::2], ear, 10)
    parameters = _named(radius=radius, height=height, wall=wall, ear=ear, reach=reach, rise=rise)
    return solid("mug", parameters, mesh, parts, _colour(rng))


def bowl(rng: np.random.Generator) -> ObjectModel:
    """A hollow spherical bowl on a flat foot."""
    rim, height, wall = rng.uniform(0.05, 0.068), rng.uniform(0.04, 0.055), rng.uniform(0.004, 0.006)
    foot = rim * rng.uniform(0.4, 0.55)
    t = np.linspace(0.0, 1.0, 9)
    outer = [(foot + (rim - foot) * np.sin(np.pi / 2 * s), height * (1 - np.cos(np.pi / 2 * s))) for s in t]
    inner = [(r - wall, max(z, wall) if s < 1 else height) for (r, z), s in zip(outer, t, strict=True)]
    inner = [point for point, after in zip(inner, inner[1:] + [(0.0, np.inf)], strict=True) if after[1] > point[1]]
    parameters = _named(rim=rim, height=height, wall=wall, foot=foot)
    coarse = [outer[0], outer[4], outer[6], outer[8]]
    below = [(coarse[0][0] - wall, wall), *[(r - wall, z) for r, z in coarse[1:]]]
    return solid("bowl", parameters, _hollow(outer, inner), _hollow_parts(coarse, below), _colour(rng))


def torus(rng: np.random.Generator) -> ObjectModel:
    """A ring."""
    ring, tube = rng.uniform(0.032, 0.048), rng.uniform(0.012, 0.019)
    mesh = trimesh.creation.torus(major_radius=ring, minor_radius=tube, major_sections=SECTIONS, minor_sections=24)
    angles = np.linspace(0.0, 2 * np.pi, SECTIONS // 2 + 1)
    path = ring * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    parts = _tube_parts(path, tube, 16, closed=True)
    return solid("torus", _named(ring=ring, tube=tube), mesh, parts, _colour(rng))


def l_shape(rng: np.random.Generator) -> ObjectModel:
    """Two bars at a right angle."""
    long, short = rng.uniform(0.09, 0.14), rng.uniform(0.06, 0.09)
    thick, depth = rng.uniform(0.025, 0.04), rng.uniform(0.03, 0.05)
    parts = [
        _box((thick, depth, long), centre=(thick / 2, 0.0, long / 2)),
        _box((short - thick, depth, thick), centre=(thick + (short - thick) / 2, 0.0, thick / 2)),
    ]
    mesh = _extruded([(0, 0), (short, 0), (short, thick), (thick, thick), (thick, long), (0, long)], depth)
    parameters = _named(long=long, short=short, thick=thick, depth=depth)
    return solid("l_shape", parameters, mesh, parts, _colour(rng))


def hammer(rng: np.random.Generator) -> ObjectModel:
    """A round shaft with a block across its end."""
    radius, length = rng.uniform(0.011, 0.016), rng.uniform(0.12, 0.18)
    head = np.array([rng.uniform(0.07, 0.10), rng.uniform(0.03, 0.042), rng.uniform(0.03, 0.042)])
    shaft = _lathe([(0, 0.0), (radius, 0.0), (radius, length), (0, length)])
    block = _box(head, centre=(0.0, 0.0, length + head[2] / 2 - 0.002))
    cylinder = Part("cylinder", (radius, length / 2), _at((0.0, 0.0, length / 2)))
    solid_block = trimesh.creation.box(extents=head, transform=block.object_T_part)
    mesh = trimesh.boolean.union([shaft, solid_block], engine="manifold")
    parameters = _named(radius=radius, length=length, head=head[0], width=head[1], thickness=head[2])
    return solid("hammer", parameters, mesh, [cylinder, block], _colour(rng))


FAMILIES: dict[str, Callable[[np.random.Generator], ObjectModel]] = {
    family.__name__: family
    for family in (ball, bottle, bowl, box, can, cup, hammer, l_shape, mug, prism, superquadric, torus)
}


def make_object(family: str, seed: int) -> ObjectModel:
    """The object that a family makes of a seed.

    Raises:
        ObjectError: There is no such family.
    """
    if family not in FAMILIES:
        raise ObjectError(f"There is no family {family!r}. Families: {', '.join(FAMILIES)}.")
    return FAMILIES[family](np.random.default_rng(seed))


def sample_objects(
    count: int, rng: np.random.Generator, families: Sequence[str] = tuple(FAMILIES)
) -> list[ObjectModel]:
    """Objects named `<family>_<index>`; no family comes again before each has come once."""
    order = [name for _ in range(0, count, len(families)) for name in rng.permutation(families)]
    models = [make_object(str(name), int(rng.integers(2**32))) for name in order[:count]]
    return [model.named(f"{model.family}_{index}") for index, model in enumerate(models)]


def _colour(rng: np.random.Generator) -> tuple[float, float, float]:
    return _COLOURS[int(rng.integers(len(_COLOURS)))]


def _named(**parameters: float) -> dict[str, float]:
    return {name: float(value) for name, value in parameters.items()}


def _at(centre: ArrayLike) -> NDArray[np.float64]:
    pose = np.eye(4)
    pose[:3, 3] = centre
    return pose


def _box(size: ArrayLike, centre: ArrayLike = (0.0, 0.0, 0.0)) -> Part:
    x, y, z = (float(edge) / 2 for edge in np.asarray(size))
    return Part("box", (x, y, z), _at(centre))


def _hull(vertices: NDArray[np.float64]) -> Part:
    return Part("mesh", (), np.eye(4), np.asarray(vertices, dtype=np.float64))


def _lathe(profile: Sequence[tuple[float, float]]) -> trimesh.Trimesh:
    """Solid of revolution about z from (radius, height) pairs that start and end on the axis."""
    return trimesh.creation.revolve(np.array(profile, dtype=np.float64), sections=SECTIONS)


def _rings(profile: Sequence[tuple[float, float]], sides: int) -> NDArray[np.float64]:
    angles = np.arange(sides) * 2 * np.pi / sides
    return np.concatenate([np.stack([r * np.cos(angles), r * np.sin(angles), z + 0 * angles], 1) for r, z in profile])


def _frusta(profile: Sequence[tuple[float, float]]) -> list[Part]:
    """Stack of cylinders and cones between the consecutive (radius, height) pairs of a solid of revolution."""
    parts = []
    for (r0, z0), (r1, z1) in zip(profile, profile[1:], strict=False):
        if z1 <= z0:
            continue
        if r0 == r1:
            parts.append(Part("cylinder", (float(r0), float(z1 - z0) / 2), _at((0.0, 0.0, (z0 + z1) / 2))))
        else:
            parts.append(_hull(_rings([(r0, z0), (r1, z1)], SECTIONS // 2)))
    return parts


def _hollow(outer: Sequence[tuple[float, float]], inner: Sequence[tuple[float, float]]) -> trimesh.Trimesh:
    """Vessel of revolution: up the outside, down the inside."""
    return _lathe([(0.0, outer[0][1]), *outer, *inner[::-1], (0.0, inner[0][1])])


def _hollow_parts(outer: Sequence[tuple[float, float]], inner: Sequence[tuple[float, float]]) -> list[Part]:
    """Floor of a vessel, and its wall as sectors between consecutive pairs of outer and inner points."""
    foot, thickness = outer[0][0], inner[0][1] - outer[0][1]
    parts = [Part("cylinder", (float(foot), float(thickness) / 2), _at((0.0, 0.0, outer[0][1] + thickness / 2)))]
    arc = np.linspace(0.0, 2 * np.pi / SECTORS, SECTIONS // SECTORS + 1)
    for sector in range(SECTORS):
        angles = arc + sector * 2 * np.pi / SECTORS
        for level in range(len(outer) - 1):
            corners = [(outer[i], angles) for i in (level, level + 1)]
            corners += [(inner[i], angles[[0, -1]]) for i in (level, level + 1)]
            points = [np.stack([r * np.cos(a), r * np.sin(a), z + 0 * a], axis=1) for (r, z), a in corners]
            parts.append(_hull(np.concatenate(points)))
    return parts


def _tube_rings(path: NDArray[np.float64], radius: float, sides: int, closed: bool) -> NDArray[np.float64]:
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


def _tube(path: NDArray[np.float64], radius: float, sides: int) -> trimesh.Trimesh:
    """Closed tube along an open plane curve."""
    rings = _tube_rings(path, radius, sides, closed=False)
    count = len(path)
    k, ring = np.arange(sides), np.arange(count - 1)[:, None] * sides
    a, b = ring + k, ring + (k + 1) % sides
    walls = np.stack([a, a + sides, b, b, a + sides, b + sides], axis=-1).reshape(-1, 3)
    first, last = count * sides, count * sides + 1
    top = (count - 1) * sides
    caps = [np.stack([k * 0 + first, k, (k + 1) % sides], axis=1)]
    caps.append(np.stack([k * 0 + last, top + (k + 1) % sides, top + k], axis=1))
    mesh = trimesh.Trimesh(np.concatenate([rings.reshape(-1, 3), path[[0, -1]]]), np.concatenate([walls, *caps]))
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def _tube_parts(path: NDArray[np.float64], radius: float, sides: int, closed: bool = False) -> list[Part]:
    rings = _tube_rings(path, radius, sides, closed)
    return [_hull(np.concatenate(pair)) for pair in zip(rings, rings[1:], strict=False)]


def _extruded(outline: Sequence[tuple[float, float]], depth: float) -> trimesh.Trimesh:
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


def _superquadric_points(
    directions: NDArray[np.float64], axes: NDArray[np.float64], e1: float, e2: float
) -> NDArray[np.float64]:
    """Points of the superquadric at the angles of unit vectors (N, 3)."""
    latitude = np.arcsin(np.clip(directions[:, 2], -1, 1))
    longitude = np.arctan2(directions[:, 1], directions[:, 0])

    def power(value: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
        return np.sign(value) * np.abs(value) ** exponent

    flat = power(np.cos(latitude), e1)
    x = flat * power(np.cos(longitude), e2)
    y = flat * power(np.sin(longitude), e2)
    return axes * np.stack([x, y, power(np.sin(latitude), e1)], axis=1)
