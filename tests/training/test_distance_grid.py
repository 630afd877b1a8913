"""The distance grid against the closed forms of ball and box, its gradient, and its continuation beyond the edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from dexgrasp_sim.families import make_object
from dexgrasp_training.distance_grid import DistanceGrid
from dexgrasp_training.meshes.surface import MARGIN, distance_grid

RADIUS = 0.03
SIZE = np.array([0.04, 0.06, 0.1])


@pytest.fixture(scope="module")
def ball() -> DistanceGrid:
    return distance_grid(trimesh.creation.icosphere(subdivisions=4, radius=RADIUS))


@pytest.fixture(scope="module")
def box() -> DistanceGrid:
    return distance_grid(trimesh.creation.box(extents=SIZE))


def box_distance(points: np.ndarray) -> np.ndarray:
    q = np.abs(points) - SIZE / 2
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(axis=-1), 0)


def samples(grid: DistanceGrid, count: int, seed: int = 0) -> np.ndarray:
    low, high = grid.origin, grid.origin + grid.spacing * (np.array(grid.values.shape) - 1)
    return np.random.default_rng(seed).uniform(low, high, size=(count, 3))


def test_spacing_and_margin(ball: DistanceGrid, box: DistanceGrid) -> None:
    assert ball.spacing == box.spacing == 0.002
    last = box.origin + box.spacing * (np.array(box.values.shape) - 1)
    assert (box.origin <= -SIZE / 2 - MARGIN + 1e-9).all()
    assert (last >= SIZE / 2 + MARGIN - 1e-9).all()
    assert box.values.dtype == np.float32
    long = distance_grid(trimesh.creation.box(extents=(0.25, 0.02, 0.02)))
    assert max(long.values.shape) <= 128
    assert long.spacing == pytest.approx(0.31 / 127)


def test_ball(ball: DistanceGrid) -> None:
    points = samples(ball, 4000)
    radii = np.linalg.norm(points, axis=1)
    away = radii > 0.006  # at the centre the distance has a kink
    distance, normal = ball.distance_and_normal(points[away])
    assert distance == pytest.approx(radii[away] - RADIUS, abs=3e-4)
    outward = points[away] / radii[away, None]
    assert (normal * outward).sum(axis=1).min() > 0.97


def test_box(box: DistanceGrid) -> None:
    points = samples(box, 4000)
    error = np.abs(box.distance(points) - box_distance(points))
    assert error.max() < 1.2e-3, "within a cell of the kinks"
    assert np.percentile(error, 90) < 1e-4
    on_samples = box.origin + box.spacing * np.stack(np.indices(box.values.shape), axis=-1)
    assert box.values == pytest.approx(box_distance(on_samples), abs=1e-5)


def test_sign_is_right_at_every_sample_of_a_real_shape() -> None:
    mesh = make_object("mug", 0).mesh
    grid = distance_grid(mesh)
    assert (grid.values < 0).sum() * grid.spacing**3 == pytest.approx(mesh.volume, rel=0.06)
    # Neighbours differ by no more than their distance: a wrong sign would jump.
    for axis in range(3):
        assert np.abs(np.diff(grid.values, axis=axis)).max() < grid.spacing * 1.001


def test_beyond_the_grid_the_distance_goes_on(ball: DistanceGrid) -> None:
    far = np.array([[0.5, 0.0, 0.0], [0.0, -0.3, 0.4], [1.0, 1.0, 1.0]])
    distance, normal = ball.distance_and_normal(far)
    true = np.linalg.norm(far, axis=1) - RADIUS
    assert (distance >= true - 1e-3).all()
    assert (distance <= true * 1.2).all()
    assert (normal * far / np.linalg.norm(far, axis=1, keepdims=True)).sum(axis=1).min() > 0.9
    edge = np.array([[ball.origin[0], 0.0, 0.0]])
    step = np.array([[1e-7, 0.0, 0.0]])
    assert ball.distance(edge - step) == pytest.approx(ball.distance(edge + step), abs=1e-6)


def test_gradient_matches_finite_differences(box: DistanceGrid) -> None:
    points = torch.tensor(samples(box, 200, seed=2), dtype=torch.float64, requires_grad=True)
    distance = box.distance_torch(points)
    assert distance.detach().numpy() == pytest.approx(box.distance(points.detach().numpy()), abs=1e-9)
    (gradient,) = torch.autograd.grad(distance.sum(), points)
    step = 1e-7
    at = points.detach().numpy()
    for axis in range(3):
        offset = np.zeros(3)
        offset[axis] = step
        difference = (box.distance(at + offset) - box.distance(at - offset)) / (2 * step)
        assert gradient[:, axis].numpy() == pytest.approx(difference, abs=1e-4)
