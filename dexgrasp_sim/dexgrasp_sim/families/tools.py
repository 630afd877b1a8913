"""Families of things with a handle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import trimesh
from numpy.typing import NDArray

from dexgrasp_sim.families.shapes import (
    SECTIONS,
    at,
    box_part,
    colour,
    frusta,
    hull_part,
    joined,
    lathe,
    loft,
    loft_parts,
    named,
    rounded_outlines,
    slab,
)
from dexgrasp_sim.objects import ObjectModel, Part, part_mesh, solid


def hammer(rng: np.random.Generator) -> ObjectModel:
    """A round shaft with a block across its end."""
    radius, length = rng.uniform(0.011, 0.016), rng.uniform(0.12, 0.18)
    head = np.array([rng.uniform(0.07, 0.10), rng.uniform(0.03, 0.042), rng.uniform(0.03, 0.042)])
    shaft = lathe([(0, 0.0), (radius, 0.0), (radius, length), (0, length)])
    block = box_part(head, centre=(0.0, 0.0, length + head[2] / 2 - 0.002))
    cylinder = Part("cylinder", (radius, length / 2), at((0.0, 0.0, length / 2)))
    solid_block = trimesh.creation.box(extents=head, transform=block.object_T_part)
    mesh = trimesh.boolean.union([shaft, solid_block], engine="manifold")
    parameters = named(radius=radius, length=length, head=head[0], width=head[1], thickness=head[2])
    return solid("hammer", parameters, mesh, [cylinder, block], colour(rng))


def pen(rng: np.random.Generator) -> ObjectModel:
    """A pen or a felt-tip marker with its cap on the other end."""
    radius, length = rng.uniform(0.0045, 0.009), rng.uniform(0.11, 0.15)
    tip, cap = rng.uniform(1.5, 2.5) * radius, rng.uniform(0.25, 0.4) * length
    profile = [(0.15 * radius, 0.0), (0.9 * radius, tip), (radius, 1.3 * tip), (radius, length - cap)]
    profile += [(1.12 * radius, length - cap), (1.12 * radius, length - 0.002), (0.9 * radius, length)]
    mesh = lathe([(0.0, 0.0), *profile, (0.0, length)])
    parameters = named(radius=radius, length=length, tip=tip, cap=cap)
    return solid("pen", parameters, mesh, frusta(profile), colour(rng))


def screwdriver(rng: np.random.Generator) -> ObjectModel:
    """A bulged handle, a round shank and a flat blade."""
    handle, radius = rng.uniform(0.075, 0.1), rng.uniform(0.011, 0.016)
    shank, thin = rng.uniform(0.06, 0.1), rng.uniform(0.003, 0.0045)
    profile = [
        (0.75 * radius, -handle),
        (radius, -0.93 * handle),
        (radius, -0.5 * handle),
        (0.72 * radius, -0.2 * handle),
        (0.9 * radius, -0.08 * handle),
        (0.6 * radius, 0.0),
        (thin, 0.0),
        (thin, shank),
    ]
    blade = hull_part(
        np.array(
            [
                *[(x * thin * 0.8, y * thin * 0.6, shank - 0.001) for x in (-1, 1) for y in (-1, 1)],
                *[(x * thin * 1.3, y * thin * 0.3, shank + 0.008) for x in (-1, 1) for y in (-1, 1)],
            ]
        )
    )
    body = lathe([(0.0, profile[0][1]), *profile, (0.0, shank)])
    mesh = trimesh.boolean.union([body, part_mesh(blade)], engine="manifold")
    parameters = named(handle=handle, radius=radius, shank=shank, thin=thin)
    return solid("screwdriver", parameters, mesh, [*frusta(profile), blade], colour(rng))


def wrench(rng: np.random.Generator) -> ObjectModel:
    """A combination spanner: open jaw at one end, ring at the other."""
    length, jaw, ring = rng.uniform(0.11, 0.16), rng.uniform(0.014, 0.02), rng.uniform(0.011, 0.015)
    thick, wide = rng.uniform(0.007, 0.01), rng.uniform(0.012, 0.016)
    turn, opening, bore = rng.uniform(0.1, 0.4), jaw * rng.uniform(0.8, 0.95), ring * rng.uniform(0.5, 0.6)
    start, end = 0.8 * ring, length - 0.6 * jaw
    bar = box_part((end - start, wide, 0.75 * thick), ((start + end) / 2, 0.0, 0.0))
    bar_T_head = at((length, 0.0, 0.0))
    bar_T_head[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    slot = box_part((2 * jaw, opening, 2 * thick), (0.75 * jaw, 0.0, 0.0))
    filled = [bar, Part("cylinder", (jaw, thick / 2), bar_T_head), Part("cylinder", (ring, thick / 2), np.eye(4))]
    cut = [replace(slot, object_T_part=bar_T_head @ slot.object_T_part), Part("cylinder", (bore, thick), np.eye(4))]
    mesh = trimesh.boolean.difference([joined(filled), joined(cut)], engine="manifold")

    angles = np.linspace(0.0, 2 * np.pi, SECTIONS // 2 + 1)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    disc, depth = jaw * circle[:-1], -0.25 * jaw
    head = [_cut(disc, (1.0, 0.0), depth)]
    head += [_cut(_cut(disc, (-1.0, 0.0), -depth), (0.0, -side), -opening / 2) for side in (1.0, -1.0)]
    parts = [bar, *[replace(slab(corners, thick), object_T_part=bar_T_head) for corners in head]]
    for i in range(0, SECTIONS // 2, 2):
        parts.append(slab(np.concatenate([ring * circle[i : i + 3], bore * circle[[i, i + 2]]]), thick))
    parameters = named(length=length, jaw=jaw, ring=ring, thick=thick, wide=wide, turn=turn, opening=opening, bore=bore)
    return solid("wrench", parameters, mesh, parts, colour(rng))


def brush(rng: np.random.Generator) -> ObjectModel:
    """A washing-up brush: a slim handle, a head, and a block of bristles under it."""
    handle, wide, high = rng.uniform(0.09, 0.13), rng.uniform(0.008, 0.012), rng.uniform(0.006, 0.009)
    head, half = rng.uniform(0.05, 0.075), rng.uniform(0.016, 0.024)
    bristles = rng.uniform(0.014, 0.024)
    stations = [
        (0.0, 0.5 * wide, 0.6 * high),
        (0.06 * handle, 0.9 * wide, high),
        (0.5 * handle, wide, high),
        (0.9 * handle, 0.65 * wide, 0.8 * high),
        (handle, half * 0.7, high * 0.8),
        (handle + 0.15 * head, half, high * 0.8),
        (handle + 0.85 * head, half, high * 0.8),
        (handle + head, half * 0.7, high * 0.8),
    ]
    outlines = rounded_outlines(stations)
    block = box_part(
        (0.8 * head, 1.6 * half, bristles + 0.8 * high), (handle + head / 2, 0.0, -(bristles + 0.8 * high) / 2)
    )
    mesh = trimesh.boolean.union([loft(outlines), part_mesh(block)], engine="manifold")
    parameters = named(handle=handle, wide=wide, high=high, head=head, half=half, bristles=bristles)
    return solid("brush", parameters, mesh, [*loft_parts(outlines), block], colour(rng))


def spatula(rng: np.random.Generator) -> ObjectModel:
    """A flat blade on a long handle, bent up where they meet."""
    handle, wide, high = rng.uniform(0.1, 0.13), rng.uniform(0.008, 0.011), rng.uniform(0.006, 0.008)
    blade, half, thin = rng.uniform(0.06, 0.08), rng.uniform(0.024, 0.034), rng.uniform(0.0025, 0.004)
    rise = rng.uniform(0.012, 0.022)
    stations = [
        (-handle - 0.025, 0.6 * wide, 0.7 * high),
        (-handle - 0.015, wide, high),
        (-0.5 * handle - 0.025, 0.8 * wide, 0.9 * high),
        (-0.025, 0.6 * wide, 0.6 * high),
        (0.0, 0.6 * half, thin),
        (0.01, 0.85 * half, thin / 2),
        (blade, half, thin / 2),
    ]
    outlines = rounded_outlines(stations, exponent=0.5)
    outlines[:4, :, 2] += rise + 0.25 * (-0.025 - outlines[:4, :, 0])
    parameters = named(handle=handle, wide=wide, high=high, blade=blade, half=half, thin=thin, rise=rise)
    return solid("spatula", parameters, loft(outlines), loft_parts(outlines), colour(rng))


def _cut(polygon: NDArray[np.float64], normal: tuple[float, float], offset: float) -> NDArray[np.float64]:
    """The part of a convex polygon (N, 2) where `normal . p <= offset` [m]."""
    kept = []
    height = polygon @ np.array(normal) - offset
    for here, there, a, b in zip(polygon, np.roll(polygon, -1, axis=0), height, np.roll(height, -1), strict=True):
        if a <= 0:
            kept.append(here)
        if a * b < 0:
            kept.append(here + (there - here) * a / (a - b))
    return np.array(kept)
