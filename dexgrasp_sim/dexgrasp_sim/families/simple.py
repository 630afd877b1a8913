"""Families of plain bodies: boxes, rounds, bars at right angles, and unions."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_sim.families.shapes import (
    SECTIONS,
    at,
    box_part,
    colour,
    extruded,
    hull_part,
    joined,
    lathe,
    named,
    rings,
    tube_parts,
)
from dexgrasp_sim.objects import ObjectModel, Part, part_mesh, solid


def ball(rng: np.random.Generator) -> ObjectModel:
    """A sphere."""
    radius = rng.uniform(0.028, 0.042)
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return solid("ball", named(radius=radius), mesh, [Part("sphere", (radius,), np.eye(4))], colour(rng))


def box(rng: np.random.Generator) -> ObjectModel:
    """A carton: at least one side fits between thumb and fingers."""
    size = np.array([rng.uniform(0.035, 0.07), rng.uniform(0.04, 0.10), rng.uniform(0.05, 0.17)])
    mesh = trimesh.creation.box(extents=size)
    return solid("box", named(x=size[0], y=size[1], z=size[2]), mesh, [box_part(size)], colour(rng))


def can(rng: np.random.Generator) -> ObjectModel:
    """A solid cylinder."""
    radius, height = rng.uniform(0.022, 0.038), rng.uniform(0.06, 0.15)
    mesh = lathe([(0, -height / 2), (radius, -height / 2), (radius, height / 2), (0, height / 2)])
    part = Part("cylinder", (radius, height / 2), np.eye(4))
    return solid("can", named(radius=radius, height=height), mesh, [part], colour(rng))


def prism(rng: np.random.Generator) -> ObjectModel:
    """An upright prism over a regular polygon of five to eight corners."""
    corners = int(rng.integers(5, 9))
    radius, height = rng.uniform(0.025, 0.04), rng.uniform(0.05, 0.14)
    mesh = trimesh.convex.convex_hull(rings([(radius, -height / 2), (radius, height / 2)], corners))
    parameters = named(corners=corners, radius=radius, height=height)
    return solid("prism", parameters, mesh, [hull_part(mesh.vertices)], colour(rng))


def superquadric(rng: np.random.Generator) -> ObjectModel:
    """`|x/a|^(2/e2) + |y/b|^(2/e2))^(e2/e1) + |z/c|^(2/e1) = 1` (Barr, 1981) with exponents that keep it convex."""
    axes = np.array([rng.uniform(0.025, 0.04), rng.uniform(0.025, 0.05), rng.uniform(0.025, 0.065)])
    e1, e2 = rng.uniform(0.25, 1.5, size=2)
    sphere = trimesh.creation.uv_sphere(radius=1.0, count=(32, SECTIONS))
    mesh = trimesh.convex.convex_hull(superquadric_points(sphere.vertices, axes, e1, e2))
    coarse = trimesh.creation.uv_sphere(radius=1.0, count=(20, 32))
    part = hull_part(superquadric_points(coarse.vertices, axes, e1, e2))
    parameters = named(a=axes[0], b=axes[1], c=axes[2], e1=e1, e2=e2)
    return solid("superquadric", parameters, mesh, [part], colour(rng))


def torus(rng: np.random.Generator) -> ObjectModel:
    """A ring."""
    ring, tube = rng.uniform(0.032, 0.048), rng.uniform(0.012, 0.019)
    mesh = trimesh.creation.torus(major_radius=ring, minor_radius=tube, major_sections=SECTIONS, minor_sections=24)
    angles = np.linspace(0.0, 2 * np.pi, SECTIONS // 2 + 1)
    path = ring * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    parts = tube_parts(path, tube, 16, closed=True)
    return solid("torus", named(ring=ring, tube=tube), mesh, parts, colour(rng))


def l_shape(rng: np.random.Generator) -> ObjectModel:
    """Two bars at a right angle."""
    long, short = rng.uniform(0.09, 0.14), rng.uniform(0.06, 0.09)
    thick, depth = rng.uniform(0.025, 0.04), rng.uniform(0.03, 0.05)
    parts = [
        box_part((thick, depth, long), centre=(thick / 2, 0.0, long / 2)),
        box_part((short - thick, depth, thick), centre=(thick + (short - thick) / 2, 0.0, thick / 2)),
    ]
    mesh = extruded([(0, 0), (short, 0), (short, thick), (thick, thick), (thick, long), (0, long)], depth)
    parameters = named(long=long, short=short, thick=thick, depth=depth)
    return solid("l_shape", parameters, mesh, parts, colour(rng))


def t_shape(rng: np.random.Generator) -> ObjectModel:
    """A bar across the end of another."""
    stem, across = rng.uniform(0.07, 0.12), rng.uniform(0.07, 0.12)
    thick, depth = rng.uniform(0.02, 0.032), rng.uniform(0.022, 0.04)
    parts = [
        box_part((across, depth, thick), centre=(0.0, 0.0, stem + thick / 2)),
        box_part((thick, depth, stem + thick / 2), centre=(0.0, 0.0, (stem + thick / 2) / 2)),
    ]
    parameters = named(stem=stem, across=across, thick=thick, depth=depth)
    return solid("t_shape", parameters, joined(parts), parts, colour(rng))


def u_shape(rng: np.random.Generator) -> ObjectModel:
    """Two upright bars on the ends of a third."""
    width, height = rng.uniform(0.07, 0.11), rng.uniform(0.06, 0.10)
    thick, depth = rng.uniform(0.016, 0.026), rng.uniform(0.025, 0.045)
    side = (width - thick) / 2
    parts = [
        box_part((width, depth, thick), centre=(0.0, 0.0, thick / 2)),
        *[box_part((thick, depth, height), centre=(x, 0.0, height / 2)) for x in (-side, side)],
    ]
    parameters = named(width=width, height=height, thick=thick, depth=depth)
    return solid("u_shape", parameters, joined(parts), parts, colour(rng))


def bracket(rng: np.random.Generator) -> ObjectModel:
    """Two plates at a right angle with a rib between them."""
    floor, wall = rng.uniform(0.06, 0.10), rng.uniform(0.06, 0.11)
    thick, width = rng.uniform(0.006, 0.011), rng.uniform(0.035, 0.055)
    rib, reach = rng.uniform(0.007, 0.011), rng.uniform(0.5, 0.85)
    corners = [(thick / 2, thick / 2), (reach * floor, thick / 2), (reach * floor, thick)]
    corners += [(thick, reach * wall), (thick / 2, reach * wall)]
    triangle = np.array([(x, y, z) for y in (-rib / 2, rib / 2) for x, z in corners])
    parts = [
        box_part((floor, width, thick), centre=(floor / 2, 0.0, thick / 2)),
        box_part((thick, width, wall), centre=(thick / 2, 0.0, wall / 2)),
        hull_part(triangle),
    ]
    parameters = named(floor=floor, wall=wall, thick=thick, width=width, rib=rib, reach=reach)
    return solid("bracket", parameters, joined(parts), parts, colour(rng))


def capsule(rng: np.random.Generator) -> ObjectModel:
    """A cylinder with round ends."""
    radius, length = rng.uniform(0.017, 0.032), rng.uniform(0.03, 0.09)
    mesh = trimesh.creation.capsule(height=length, radius=radius, count=(SECTIONS, SECTIONS))
    ends = [Part("sphere", (radius,), at((0.0, 0.0, side * length / 2))) for side in (-1, 1)]
    parts = [Part("cylinder", (radius, length / 2), np.eye(4)), *ends]
    return solid("capsule", named(radius=radius, length=length), mesh, parts, colour(rng))


def dumbbell(rng: np.random.Generator) -> ObjectModel:
    """Two hexagonal weights on a round grip."""
    grip, weight = rng.uniform(0.009, 0.015), rng.uniform(0.022, 0.034)
    free, thick = rng.uniform(0.07, 0.1), rng.uniform(0.022, 0.035)
    parts = [Part("cylinder", (grip, free / 2 + thick / 4), np.eye(4))]
    for low in (-free / 2 - thick, free / 2):
        # A chamfer of a tenth of the radius, as such weights have.
        edge = 0.1 * weight
        profile = [
            (weight - edge, low),
            (weight, low + edge),
            (weight, low + thick - edge),
            (weight - edge, low + thick),
        ]
        parts.append(hull_part(rings(profile, 6)))
    parameters = named(grip=grip, weight=weight, free=free, thick=thick)
    return solid("dumbbell", parameters, joined(parts), parts, colour(rng))


def blocks(rng: np.random.Generator) -> ObjectModel:
    """Two to four boxes, cylinders and balls, each stuck into the surface of another."""
    while True:
        parts = [_block(rng, np.zeros(3))]
        for _ in range(int(rng.integers(1, 4))):
            onto = part_mesh(parts[int(rng.integers(len(parts)))])
            place, _ = trimesh.sample.sample_surface(onto, 1, seed=int(rng.integers(2**32)))
            parts.append(_block(rng, place[0]))
        mesh = joined(parts)
        extents = np.sort(mesh.extents)
        seen = mesh.volume > 1.2 * max(part_mesh(part).volume for part in parts)
        if seen and extents[0] < 0.075 and extents[2] < 0.16:
            break
    parameters = named(count=len(parts), x=mesh.extents[0], y=mesh.extents[1], z=mesh.extents[2])
    return solid("blocks", parameters, mesh, parts, colour(rng))


def _block(rng: np.random.Generator, centre: NDArray[np.float64]) -> Part:
    """A box, cylinder or ball about a centre; two of three stand upright."""
    kind = int(rng.integers(3))
    pose = at(centre)
    if rng.random() < 1 / 3:
        pose[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    if kind == 0:
        return Part("box", tuple(float(half) for half in rng.uniform(0.012, 0.035, size=3)), pose)
    if kind == 1:
        return Part("cylinder", (float(rng.uniform(0.012, 0.028)), float(rng.uniform(0.015, 0.045))), pose)
    return Part("sphere", (float(rng.uniform(0.018, 0.032)),), pose)


def superquadric_points(
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
