"""Families that hold something: bottles, cups, bowls, plates, glasses, pans."""

from __future__ import annotations

import numpy as np
import trimesh
from scipy.interpolate import PchipInterpolator

from dexgrasp_sim.families.shapes import (
    colour,
    frusta,
    hollow,
    hollow_parts,
    lathe,
    loft,
    loft_parts,
    named,
    rounded_outlines,
    tube,
    tube_parts,
)
from dexgrasp_sim.objects import ObjectModel, solid


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
    mesh = lathe([(0.0, 0.0), *profile, (0.0, height)])
    parameters = named(radius=radius, height=height, neck=neck, shoulder=shoulder)
    return solid("bottle", parameters, mesh, frusta(profile), colour(rng))


def bowl(rng: np.random.Generator) -> ObjectModel:
    """A hollow spherical bowl on a flat foot."""
    rim, height, wall = rng.uniform(0.05, 0.068), rng.uniform(0.04, 0.055), rng.uniform(0.004, 0.006)
    foot = rim * rng.uniform(0.4, 0.55)
    t = np.linspace(0.0, 1.0, 9)
    outer = [(foot + (rim - foot) * np.sin(np.pi / 2 * s), height * (1 - np.cos(np.pi / 2 * s))) for s in t]
    inner = [(r - wall, max(z, wall) if s < 1 else height) for (r, z), s in zip(outer, t, strict=True)]
    inner = [point for point, after in zip(inner, inner[1:] + [(0.0, np.inf)], strict=True) if after[1] > point[1]]
    parameters = named(rim=rim, height=height, wall=wall, foot=foot)
    coarse = [outer[0], outer[4], outer[6], outer[8]]
    below = [(coarse[0][0] - wall, wall), *[(r - wall, z) for r, z in coarse[1:]]]
    return solid("bowl", parameters, hollow(outer, inner), hollow_parts(coarse, below), colour(rng))


def cup(rng: np.random.Generator) -> ObjectModel:
    """A tumbler: hollow, wider at the rim, no handle."""
    rim, foot = rng.uniform(0.034, 0.044), rng.uniform(0.024, 0.032)
    height, wall = rng.uniform(0.08, 0.12), rng.uniform(0.003, 0.005)
    outer, inner = [(foot, 0.0), (rim, height)], [(foot - wall, 1.5 * wall), (rim - wall, height)]
    parameters = named(rim=rim, foot=foot, height=height, wall=wall)
    return solid("cup", parameters, hollow(outer, inner), hollow_parts(outer, inner), colour(rng))


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
    mesh = trimesh.boolean.union([hollow(outer, inner), tube(path, ear, 16)], engine="manifold")
    parts = hollow_parts(outer, inner) + tube_parts(path[::2], ear, 10)
    parameters = named(radius=radius, height=height, wall=wall, ear=ear, reach=reach, rise=rise)
    return solid("mug", parameters, mesh, parts, colour(rng))


def jar(rng: np.random.Generator) -> ObjectModel:
    """A wide closed jar with a lid."""
    radius, height = rng.uniform(0.028, 0.041), rng.uniform(0.055, 0.115)
    neck, lid = radius * rng.uniform(0.78, 0.9), rng.uniform(0.012, 0.018)
    cover, shoulder = neck * rng.uniform(1.03, 1.08), 0.8 * (radius - neck) + 0.004
    bevel = 0.08 * radius
    profile = [
        (radius - bevel, 0.0),
        (radius, bevel),
        (radius, height - shoulder),
        (neck, height),
        (neck, height + 0.003),
        (cover, height + 0.003),
        (cover, height + 0.003 + lid),
    ]
    parameters = named(radius=radius, height=height, neck=neck, lid=lid, cover=cover)
    mesh = lathe([(0.0, 0.0), *profile, (0.0, profile[-1][1])])
    return solid("jar", parameters, mesh, frusta(profile), colour(rng))


def turned(rng: np.random.Generator) -> ObjectModel:
    """A turned body such as a chess piece or a pepper mill: a solid of revolution with a drawn profile."""
    length, knots = rng.uniform(0.08, 0.17), int(rng.integers(5, 8))
    heights = np.linspace(0.0, length, knots)
    radii = rng.uniform(0.011, 0.034, size=knots)
    radii[0] = rng.uniform(0.02, 0.036)
    z = np.linspace(0.0, length, 3 * knots)
    profile = list(zip(PchipInterpolator(heights, radii)(z).tolist(), z.tolist(), strict=True))
    parameters = named(length=length, **{f"r{i}": radius for i, radius in enumerate(radii)})
    mesh = lathe([(0.0, 0.0), *profile, (0.0, length)])
    return solid("turned", parameters, mesh, frusta(profile), colour(rng))


def vase(rng: np.random.Generator) -> ObjectModel:
    """A hollow vase: it widens to the belly, narrows to the neck, and widens at the lip."""
    height, wall = rng.uniform(0.11, 0.19), rng.uniform(0.004, 0.006)
    foot, belly = rng.uniform(0.02, 0.028), rng.uniform(0.034, 0.044)
    neck, lip = rng.uniform(0.016, 0.024), rng.uniform(0.024, 0.034)
    at_belly, at_neck = rng.uniform(0.25, 0.42), rng.uniform(0.72, 0.82)
    shape = PchipInterpolator(height * np.array([0.0, at_belly, at_neck, 1.0]), [foot, belly, neck, lip])
    levels = np.array([0.0, 0.5 * at_belly, at_belly, (at_belly + at_neck) / 2, at_neck, 1.0]) * height
    outer = [(float(shape(z)), float(z)) for z in levels]
    inner = [(outer[0][0] - wall, 1.5 * wall), *[(r - wall, z) for r, z in outer[1:]]]
    parameters = named(
        height=height, wall=wall, foot=foot, belly=belly, neck=neck, lip=lip, at_belly=at_belly, at_neck=at_neck
    )
    return solid("vase", parameters, hollow(outer, inner), hollow_parts(outer, inner), colour(rng))


def wine_glass(rng: np.random.Generator) -> ObjectModel:
    """A bowl on a stem on a foot."""
    foot, stem, wall = rng.uniform(0.028, 0.036), rng.uniform(0.004, 0.006), rng.uniform(0.0025, 0.004)
    rise, depth = rng.uniform(0.055, 0.085), rng.uniform(0.065, 0.095)
    belly, rim = rng.uniform(0.032, 0.042), rng.uniform(0.026, 0.033)
    below = [(foot, 0.0), (foot, 0.003), (2 * stem, 0.009), (stem, 0.018), (stem, rise)]
    cup = [(stem, rise), (0.72 * belly, rise + 0.16 * depth), (belly, rise + 0.45 * depth), (rim, rise + depth)]
    inner = [(0.3 * stem, rise + 2 * wall), *[(r - wall, z) for r, z in cup[1:]]]
    # The inside bends where the outside does, so it is as thick below the belly as the slope there allows.
    inner[1] = (cup[1][0] - 1.6 * wall, cup[1][1])
    mesh = lathe([(0.0, 0.0), *below, *cup[1:], *inner[::-1], (0.0, inner[0][1])])
    parameters = named(foot=foot, stem=stem, wall=wall, rise=rise, depth=depth, belly=belly, rim=rim)
    return solid("wine_glass", parameters, mesh, frusta(below) + hollow_parts(cup, inner), colour(rng))


def plate(rng: np.random.Generator) -> ObjectModel:
    """A flat plate with a sloping rim."""
    rim, height, thick = rng.uniform(0.07, 0.1), rng.uniform(0.014, 0.026), rng.uniform(0.004, 0.006)
    well = rim * rng.uniform(0.6, 0.72)
    outer, inner = [(well, 0.0), (rim, height)], [(well, thick), (rim - 1.2 * thick, height)]
    parameters = named(rim=rim, height=height, thick=thick, well=well)
    return solid("plate", parameters, hollow(outer, inner), hollow_parts(outer, inner), colour(rng))


def pan(rng: np.random.Generator) -> ObjectModel:
    """A small frying pan."""
    rim, height, wall = rng.uniform(0.055, 0.068), rng.uniform(0.028, 0.04), rng.uniform(0.003, 0.005)
    foot, length = rim * rng.uniform(0.8, 0.9), rng.uniform(0.085, 0.105)
    wide, high = rng.uniform(0.009, 0.013), rng.uniform(0.006, 0.009)
    outer, inner = [(foot, 0.0), (rim, height)], [(foot - wall, wall), (rim - wall, height)]
    start = foot + (rim - foot) * 0.8 - 0.3 * wall
    stations = [(start, 0.6 * wide, 0.5 * high), (start + 0.35 * length, 0.8 * wide, 0.8 * high)]
    stations += [(start + 0.9 * length, wide, high), (start + length, 0.6 * wide, 0.6 * high)]
    outlines = rounded_outlines(stations) + np.array([0.0, 0.0, height - high - 0.001])
    mesh = trimesh.boolean.union([hollow(outer, inner), loft(outlines)], engine="manifold")
    parts = hollow_parts(outer, inner) + loft_parts(outlines)
    parameters = named(rim=rim, height=height, wall=wall, foot=foot, length=length, wide=wide, high=high)
    return solid("pan", parameters, mesh, parts, colour(rng))
