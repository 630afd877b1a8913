"""Surface samples: on the surface, uniform by area in every prefix, outward, and only where something can touch."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from dexgrasp_training.meshes.surface import distance_grid, sample_surface

SIZE = np.array([0.03, 0.05, 0.09])


def test_samples_of_a_ball_lie_on_it_and_point_outward() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.03)
    points, normals = sample_surface(ball, distance_grid(ball), seed=0)
    assert points.shape == normals.shape == (10240, 3)
    assert points.dtype == normals.dtype == np.float32
    assert np.linalg.norm(points, axis=1) == pytest.approx(0.03, abs=1e-4)
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert (points * normals).sum(axis=1) == pytest.approx(0.03, abs=1e-4)
    assert np.linalg.norm(points.mean(axis=0)) < 1e-3


@pytest.mark.parametrize("count", [2048, 10240])
def test_each_side_of_a_box_gets_its_share_of_the_area(count: int) -> None:
    box = trimesh.creation.box(extents=SIZE)
    points, normals = sample_surface(box, distance_grid(box), seed=1)
    area = np.prod(SIZE) / SIZE
    share = area / area.sum() / 2
    for axis in range(3):
        for side in (-1, 1):
            there = normals[:count, axis] == side
            expected = count * share[axis]
            assert there.sum() == pytest.approx(expected, abs=3 * np.sqrt(expected))
            assert points[:count][there, axis] == pytest.approx(side * SIZE[axis] / 2, abs=1e-6)
            rest = points[:count][there][:, [b for b in range(3) if b != axis]]
            assert np.abs(rest.mean(axis=0)).max() < 4 * rest.std() / np.sqrt(len(rest))


def test_the_seed_decides_the_samples() -> None:
    box = trimesh.creation.box(extents=SIZE)
    field = distance_grid(box)
    first, again, other = (sample_surface(box, field, seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_no_samples_where_nothing_can_touch() -> None:
    outer = trimesh.creation.icosphere(subdivisions=4, radius=0.04)
    inner = trimesh.creation.icosphere(subdivisions=4, radius=0.03)
    drill = trimesh.creation.cylinder(radius=0.002, height=0.05, transform=_lift(0.03))
    flask = trimesh.boolean.difference([outer, inner, drill], engine="manifold")
    points, _ = sample_surface(flask, distance_grid(flask), seed=0)
    radii = np.linalg.norm(points, axis=1)
    assert (radii > 0.039).mean() > 0.99
    wide = trimesh.boolean.difference(
        [outer, inner, trimesh.creation.cylinder(radius=0.015, height=0.05, transform=_lift(0.03))], engine="manifold"
    )
    points, _ = sample_surface(wide, distance_grid(wide), seed=0)
    share = (np.linalg.norm(points, axis=1) < 0.0305).mean()
    assert share == pytest.approx(9 / 25, abs=0.03), "a finger reaches the inside through a wide hole"


def _lift(height: float) -> np.ndarray:
    return trimesh.transformations.translation_matrix((0.0, 0.0, height))
