"""Compiled kernels: kinematics, distance look-up, self-collision and penetration against independent figures."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_description.mjcf import hand_spec
from dexgrasp_training.distance_grid import DistanceGrid
from dexgrasp_training.synthesis.hand_arrays import HandArrays, hand_arrays
from dexgrasp_training.synthesis.kernels import (
    clearance,
    link_distance,
    link_gap,
    link_poses,
    penetration,
    sdf,
    sdf_bound,
    sdf_gradient,
    self_collides,
)
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_hand

HANDS = ("leap_right", "panda_gripper")


def _grid(distance, half: float, spacing: float = 0.002) -> DistanceGrid:
    """Grid over the cube of that half size about the origin, of a function of points (..., 3)."""
    count = round(2 * half / spacing) + 1
    axis = np.linspace(-half, half, count)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    return DistanceGrid(np.full(3, -half), float(axis[1] - axis[0]), distance(points).astype(np.float32))


def _sphere(radius: float):
    return lambda points: np.linalg.norm(points, axis=-1) - radius


def _box(half):
    def distance(points):
        excess = np.abs(points) - np.asarray(half)
        return np.linalg.norm(np.maximum(excess, 0), axis=-1) + np.minimum(excess.max(axis=-1), 0)

    return distance


def _postures(hand: HandModel, count: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(hand.lower, hand.upper, (count, len(hand.lower)))


def _poses(arrays: HandArrays, q: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty((len(arrays.parent), 3, 4))
    link_poses(arrays, np.ascontiguousarray(q), out)
    return out


@pytest.mark.parametrize("name", HANDS)
def test_links_stand_where_the_description_puts_them(name: str) -> None:
    hand = load_hand(name)
    q = _postures(hand, 50, 0)
    expected = ForwardKinematics(hand).stacked_poses(torch.as_tensor(q)).numpy()[:, :, :3]
    np.testing.assert_allclose([_poses(hand_arrays(hand), row) for row in q], expected, atol=1e-7)


@pytest.mark.parametrize("name", HANDS)
def test_surface_points_lie_on_the_links_and_leave_no_gap(name: str) -> None:
    hand = load_hand(name)
    arrays = hand_arrays(hand)
    for number, link in enumerate(hand.links):
        own = hand.primitives_of(link)
        patches = slice(arrays.patch_start[number], arrays.patch_start[number + 1])
        rows = slice(arrays.point_start[patches.start], arrays.point_start[patches.stop])
        points, normals = arrays.points[rows], arrays.normals[rows]
        distance = np.min([solid.signed_distance(points) for solid in own], axis=0)
        np.testing.assert_allclose(distance, 0.0, atol=1e-6)
        outside = np.min([solid.signed_distance(points + 1e-6 * normals) for solid in own], axis=0)
        assert (outside > 0).all()
        samples, _ = hand.surface_samples(4000)[link]
        gap = np.linalg.norm(samples[:, None] - points, axis=2).min(axis=1)
        assert gap.max() < 0.004
        ball = arrays.ball[number]
        assert np.linalg.norm(points - ball[:3], axis=1).max() <= ball[3] + 1e-9


@pytest.mark.parametrize(("distance", "inset"), [(_sphere(0.03), 0.01), (_box((0.03, 0.02, 0.04)), 0.0)])
def test_distance_is_that_of_the_solid(distance, inset: float) -> None:
    grid = _grid(distance, 0.07)
    points = np.random.default_rng(0).uniform(-0.07, 0.07, (4000, 3))
    points = points[np.linalg.norm(points, axis=1) > inset]
    found = np.array([sdf(grid.values, grid.origin, grid.spacing, tuple(p)) for p in points])
    # Trilinear values are exact on flat parts and off by a fraction of the spacing at edges and middles.
    assert np.abs(found - distance(points)).max() < 0.4 * grid.spacing
    assert np.abs(found - distance(points)).mean() < 0.03 * grid.spacing
    np.testing.assert_allclose(found, grid.distance(points), atol=1e-7)


def test_gradient_is_the_derivative_of_the_distance() -> None:
    grid = _grid(_box((0.03, 0.02, 0.04)), 0.06)
    rng = np.random.default_rng(1)
    # Inside and outside the grid, and a step of the difference away from the borders of cells, where it has kinks.
    cells = rng.integers(-20, 80, (2000, 3)) + rng.uniform(0.1, 0.9, (2000, 3))
    step = 1e-6
    for p in grid.origin + cells * grid.spacing:
        d, *gradient = sdf_gradient(grid.values, grid.origin, grid.spacing, tuple(p))
        assert d == pytest.approx(sdf(grid.values, grid.origin, grid.spacing, tuple(p)), abs=1e-12)
        numeric = [
            (
                sdf(grid.values, grid.origin, grid.spacing, tuple(p + e))
                - sdf(grid.values, grid.origin, grid.spacing, tuple(p - e))
            )
            / (2 * step)
            for e in step * np.eye(3)
        ]
        np.testing.assert_allclose(gradient, numeric, atol=1e-5)


def test_outside_the_grid_the_bound_never_exceeds_the_distance() -> None:
    distance = _box((0.05, 0.01, 0.01))
    grid = _grid(distance, 0.06)
    points = np.random.default_rng(2).uniform(-0.3, 0.3, (4000, 3))
    points = points[np.abs(points).max(axis=1) > 0.06]
    bound = np.array([sdf_bound(grid.values, grid.origin, grid.spacing, tuple(p)) for p in points])
    plain = np.array([sdf(grid.values, grid.origin, grid.spacing, tuple(p)) for p in points])
    assert (bound <= distance(points) + 1e-4).all()
    assert (plain >= distance(points) - 1e-4).all()
    assert (bound > 0.7 * distance(points)).all()


def test_self_collision_agrees_with_mujoco() -> None:
    hand = load_hand("leap_right")
    arrays = hand_arrays(hand)
    model = hand_spec(hand).compile()
    data = mujoco.MjData(model)
    joints = [model.joint(name).qposadr[0] for name in hand.joint_names]
    # Half of the postures near rest: those at random nearly all collide.
    q = _postures(hand, 600, 3)
    q[300:] = hand.home + 0.35 * (q[300:] - hand.home)
    agree, collisions = 0, 0
    for row in q:
        data.qpos[joints] = row
        mujoco.mj_fwdPosition(model, data)
        expected = bool((data.contact.dist < 0).any())
        agree += self_collides(arrays, _poses(arrays, row), 0.0) == expected
        collisions += expected
    assert 100 < collisions < 500
    assert agree >= 0.99 * len(q)


def test_links_are_as_far_apart_as_mujoco_says() -> None:
    hand = load_hand("leap_right")
    arrays = hand_arrays(hand)
    model = hand_spec(hand).compile()
    data = mujoco.MjData(model)
    joints = [model.joint(name).qposadr[0] for name in hand.joint_names]
    geoms = [[i for i in range(model.ngeom) if model.geom_bodyid[i] == model.body(link).id] for link in hand.links]
    scratch, ends = np.empty((3, 3, 4)), np.zeros(6)
    tested = 0
    for row in hand.home + 0.4 * (_postures(hand, 60, 4) - hand.home):
        data.qpos[joints] = row
        mujoco.mj_kinematics(model, data)
        poses = _poses(arrays, row)
        for a, b in arrays.pairs:
            apart = min(mujoco.mj_geomDistance(model, data, i, j, 0.02, ends) for i in geoms[a] for j in geoms[b])
            if 1e-4 < apart < 0.015:
                tested += 1
                for margin in (apart - 5e-5, apart + 5e-5):
                    assert (link_gap(arrays, poses, a, b, margin, scratch) < margin) == (apart < margin)
                assert link_gap(arrays, poses, a, b, 1e-3, scratch) < apart + 5e-5
    assert tested > 300


def test_home_is_free_of_self_collision() -> None:
    for name in HANDS:
        hand = load_hand(name)
        arrays = hand_arrays(hand)
        assert not self_collides(arrays, _poses(arrays, hand.home), 1e-3)


def test_a_sphere_pushed_into_the_palm_is_penetrated_by_as_much() -> None:
    hand = load_hand("leap_right")
    arrays = hand_arrays(hand)
    poses = _poses(arrays, hand.lower * (np.abs(hand.lower) < 0.4))  # about straight
    radius = 0.03
    grid = _grid(_sphere(radius), 0.07)
    place, normal = (array[0] for array in hand.contact_points[hand.base_link])
    for depth in (-0.004, 0.0005, 0.002, 0.005):
        object_T_palm = np.eye(4)
        object_T_palm[:3, 3] = -(place + (radius - depth) * normal)
        parts = (grid.values, grid.origin, grid.spacing)
        assert clearance(arrays, poses, object_T_palm, *parts, 0.05) == pytest.approx(-depth, abs=4e-4)
        assert penetration(arrays, poses, object_T_palm, *parts) == pytest.approx(max(depth, 0.0), abs=4e-4)


def test_distance_of_a_link_is_that_of_its_nearest_point() -> None:
    hand = load_hand("leap_right")
    arrays = hand_arrays(hand)
    grid = _grid(_box((0.02, 0.03, 0.01)), 0.06)
    rng = np.random.default_rng(5)
    link = hand.links.index(hand.fingertips[0].link)
    patches = slice(arrays.patch_start[link], arrays.patch_start[link + 1])
    points = arrays.points[arrays.point_start[patches.start] : arrays.point_start[patches.stop]]
    for _ in range(200):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        object_T_link = np.column_stack([turn * np.sign(np.linalg.det(turn)), rng.uniform(-0.06, 0.06, 3)])
        expected = min(float(grid.distance(points @ object_T_link[:, :3].T + object_T_link[:, 3]).min()), 0.02)
        found, row = link_distance(arrays, link, object_T_link, grid.values, grid.origin, grid.spacing, 0.02)
        if row >= 0:
            assert found == pytest.approx(expected, abs=2e-5)
        else:  # too far, or a sphere inside the link is nearer
            assert found <= expected + 1e-12


def test_thin_walls_between_surface_points_are_felt() -> None:
    hand = load_hand("leap_right")
    arrays = hand_arrays(hand)
    poses = _poses(arrays, hand.home)
    # A needle along the palm's approach, deep in the palm: no surface point of the hand is inside it.
    grid = _grid(_box((0.0008, 0.0008, 0.04)), 0.06, 0.001)
    object_T_palm = np.eye(4)
    object_T_palm[:3, 3] = -np.array([-0.049, -0.034, -0.03])
    assert penetration(arrays, poses, object_T_palm, grid.values, grid.origin, grid.spacing) > 0.005
