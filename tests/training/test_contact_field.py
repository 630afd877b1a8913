"""Hollows that a fingertip does not get into."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_training.synthesis.contact_field import concave
from numpy.typing import NDArray

SPACING = 0.002


def groove(width: float, depth: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The top of a block with a groove along y in its middle: points and outward normals."""
    points: list[tuple[float, float]] = []
    normals: list[tuple[float, float]] = []
    for x in np.arange(-0.04, 0.04 + 1e-9, SPACING):
        points.append((x, -depth if abs(x) < width / 2 else 0.0))
        normals.append((0.0, 1.0))
    for z in np.arange(-depth + SPACING / 2, 0.0, SPACING):
        points += [(-width / 2, z), (width / 2, z)]
        normals += [(1.0, 0.0), (-1.0, 0.0)]
    y = np.arange(-0.02, 0.02 + 1e-9, SPACING)
    section, direction = np.array(points), np.array(normals)
    return (
        np.column_stack([np.repeat(section[:, 0], len(y)), np.tile(y, len(section)), np.repeat(section[:, 1], len(y))]),
        np.column_stack(
            [np.repeat(direction[:, 0], len(y)), np.zeros(len(y) * len(section)), np.repeat(direction[:, 1], len(y))]
        ),
    )


@pytest.mark.parametrize(("width", "depth"), [(0.009, 0.007), (0.013, 0.008)])
def test_the_floor_and_the_walls_of_a_narrow_groove_are_hollow_and_the_rest_is_not(width: float, depth: float) -> None:
    points, normals = groove(width, depth)
    hollow = concave(points, normals)
    floor, walls = points[:, 2] == -depth, normals[:, 2] == 0.0
    assert floor.any()
    assert hollow[floor].all()
    assert not hollow[~floor & ~walls].any()
    if width < 0.01:  # the other wall is less than a centimetre away
        assert hollow[walls].all()


def test_in_a_wide_groove_only_the_edge_of_the_floor_is_hollow() -> None:
    points, normals = groove(0.04, 0.007)
    hollow, floor = concave(points, normals), points[:, 2] == -0.007
    assert not hollow[floor & (np.abs(points[:, 0]) < 0.009)].any()
    assert hollow[floor & (np.abs(points[:, 0]) > 0.012)].all()


def test_the_floor_of_a_dent_shallower_than_two_millimetres_is_not_hollow() -> None:
    for depth, hollow in ((0.0018, False), (0.0022, True)):
        points, normals = groove(0.009, depth)
        floor = points[:, 2] == -depth
        assert floor.any()
        assert (concave(points, normals)[floor] == hollow).all()


def test_a_ball_is_nowhere_hollow_and_its_inside_is() -> None:
    outward = np.random.default_rng(0).normal(size=(2000, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    assert not concave(0.012 * outward, outward).any()
    assert concave(0.012 * outward, -outward).all()
