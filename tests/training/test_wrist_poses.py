"""Wrist poses: rigid, and each of the three ways puts what it promises in front of the hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dexgrasp_training.synthesis.contact_domains import ContactDomains, contact_domains
from dexgrasp_training.synthesis.wrist_poses import wrist_poses
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_hand

MATED, BOXED, PINCHED = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
TILT = 0.2  # between palm and surface of mated poses [rad]
WIDTH_TOLERANCE = 0.01  # between a thickness and that of a stored pinch [m]
EXACT = 2e-7  # pinches are stored in single precision


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_hand("leap_right")


@pytest.fixture(scope="module")
def domains(hand: HandModel) -> ContactDomains:
    return contact_domains(hand, 20_000)


def ball(radius: float, count: int = 150) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and inward normals of a sphere about (0.1, 0.2, 0.3)."""
    outward = np.random.default_rng(0).normal(size=(count, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    return np.array([0.1, 0.2, 0.3]) + radius * outward, -outward


def plate(thickness: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and inward normals of the two sides of a plate, each point above one of the other side."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(-0.04, 0.05, 0.01), np.arange(-0.04, 0.05, 0.01)))
    upper = np.column_stack([x, y, np.full(len(x), thickness / 2)])
    down = np.tile([0.0, 0.0, -1.0], (len(x), 1))
    return np.vstack([upper, upper * [1.0, 1.0, -1.0]]), np.vstack([down, -down])


def in_palm(
    object_T_palm: NDArray[np.float64], points: NDArray[np.float64], inward: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    palm_T_object = np.linalg.inv(object_T_palm)
    return points @ palm_T_object[:3, :3].T + palm_T_object[:3, 3], inward @ palm_T_object[:3, :3].T


def height_of_box(domains: ContactDomains, points: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray:
    """How far from each point along its normal the box of pinched things ends, by the box's support function."""
    middle, half = domains.box.mean(axis=0), 0.5 * np.ptp(domains.box, axis=0)
    return ((middle - points) * normals).sum(axis=1) + np.abs(normals) @ half


def mated_at(
    poses: NDArray[np.float64],
    points: NDArray[np.float64],
    inward: NDArray[np.float64],
    spots: NDArray[np.float64],
    normals: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Of each mated pose the height of the object's point over the palm, its tilt [rad], and the palm's spot."""
    heights, tilts, chosen = [], [], []
    for pose in poses:
        p, n = in_palm(pose, points, inward)
        away = p[:, None] - spots
        height = (away * normals).sum(axis=2)
        aside = np.linalg.norm(away - height[..., None] * normals, axis=2)
        tilt = np.arccos(np.clip(n @ normals.T, -1.0, 1.0))
        # Only the pair from which the pose was made lies exactly on a line along the palm's normal.
        aside[(tilt > TILT + 1e-6) | (height < -1e-9)] = np.inf
        at, spot = np.unravel_index(aside.argmin(), aside.shape)
        assert aside[at, spot] < EXACT
        heights.append(height[at, spot])
        tilts.append(tilt[at, spot])
        chosen.append(spot)
    return np.array(heights), np.array(tilts), np.array(chosen)


@pytest.mark.parametrize("shares", [MATED, BOXED, PINCHED, (0.35, 0.3, 0.35)])
def test_poses_are_rigid_and_of_all_orientations(
    hand: HandModel, domains: ContactDomains, shares: tuple[float, float, float]
) -> None:
    poses = wrist_poses(hand, domains, *ball(0.03), 400, shares, np.random.default_rng(1))
    assert poses.shape == (400, 4, 4)
    rotation = poses[:, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (400, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-6)
    np.testing.assert_array_equal(poses[:, 3], np.tile([0.0, 0.0, 0.0, 1.0], (400, 1)))
    assert np.abs(rotation.mean(axis=0)).max() < 0.15


def test_mated_palms_face_a_point_of_the_object(hand: HandModel, domains: ContactDomains) -> None:
    points, inward = ball(0.03)
    poses = wrist_poses(hand, domains, points, inward, 150, MATED, np.random.default_rng(2))
    spots, normals = hand.contact_points[hand.base_link]
    heights, tilts, chosen = mated_at(poses, points, inward, spots, normals)
    deepest = height_of_box(domains, spots, normals)[chosen]
    assert (heights <= deepest + 1e-9).all()
    np.testing.assert_allclose(np.mean(heights / deepest), 0.5, atol=0.1)
    np.testing.assert_allclose(tilts.mean(), TILT / 2, atol=0.02)
    assert len(set(chosen)) > 10


def test_a_palm_without_contact_points_is_mated_along_its_approach(hand: HandModel, domains: ContactDomains) -> None:
    points, inward = ball(0.03)
    bare = replace(hand, contact_points={})
    poses = wrist_poses(bare, domains, points, inward, 50, MATED, np.random.default_rng(3))
    heights, _, _ = mated_at(poses, points, inward, np.zeros((1, 3)), hand.approach_axis[None])
    assert heights.max() > 0.05


def test_boxed_poses_hold_a_point_of_the_object_where_the_hand_pinches(
    hand: HandModel, domains: ContactDomains
) -> None:
    # Of an object of one point, that is the point.
    point, inward = np.array([[0.1, 0.2, 0.3]]), np.array([[0.0, 0.0, 1.0]])
    poses = wrist_poses(hand, domains, point, inward, 400, BOXED, np.random.default_rng(4))
    places = np.array([in_palm(pose, point, inward)[0][0] for pose in poses])
    lower, upper = domains.box
    assert (places >= lower - 1e-9).all()
    assert (places <= upper + 1e-9).all()
    np.testing.assert_allclose(places.mean(axis=0), 0.5 * (lower + upper), atol=0.01)
    np.testing.assert_allclose(places.std(axis=0), (upper - lower) / np.sqrt(12.0), rtol=0.1)


@pytest.mark.parametrize("thickness", [0.02, 0.06])
def test_pinched_sides_lie_where_two_fingers_oppose_each_other(
    hand: HandModel, domains: ContactDomains, thickness: float
) -> None:
    points, inward = plate(thickness)
    pinches = domains.pinches
    middles = pinches.point + 0.5 * pinches.width[:, None] * pinches.normal
    near_width = np.abs(pinches.width - thickness) <= WIDTH_TOLERANCE
    asides = []
    for pose in wrist_poses(hand, domains, points, inward, 150, PINCHED, np.random.default_rng(5)):
        p, n = in_palm(pose, points, inward)
        # The stored pinch: its normal is that of one of the sides, and its middle as far along as the plate's.
        candidates = []
        for side in (0, len(p) // 2):
            along = np.abs((middles - p[side]) @ n[side] - thickness / 2)
            turned = np.linalg.norm(pinches.normal - n[side], axis=1)
            for i in np.flatnonzero(near_width & (along < EXACT) & (turned < EXACT)):
                of_side = slice(side, side + len(p) // 2)
                away = p[of_side] + thickness / 2 * n[side] - middles[i]
                candidates.append(np.linalg.norm(away, axis=1).min())
        assert candidates
        asides.append(min(candidates))
    # The middle of the pinched place is spread by 8 mm along two axes; a nearer point of the plate may be there.
    assert np.max(asides) < 0.03
    assert np.mean(asides) > 0.002


@pytest.mark.parametrize("thickness", [0.15, 0.4])
def test_what_is_too_thick_to_pinch_is_put_in_the_box(
    hand: HandModel, domains: ContactDomains, thickness: float
) -> None:
    points, inward = plate(thickness)
    for pose in wrist_poses(hand, domains, points, inward, 50, PINCHED, np.random.default_rng(6)):
        p, _ = in_palm(pose, points, inward)
        assert ((p >= domains.box[0] - 1e-9) & (p <= domains.box[1] + 1e-9)).all(axis=1).any()


def test_the_far_side_is_the_nearest_that_faces_the_other_way(hand: HandModel, domains: ContactDomains) -> None:
    # Between the sides of a plate of 2 cm: a point that faces aside; beyond it, a second plate.
    points, inward = (
        np.array(rows)
        for rows in zip(
            ((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
            ((0.0, 0.0, 0.01), (1.0, 0.0, 0.0)),
            ((0.0, 0.0, 0.02), (0.0, 0.0, -1.0)),
            ((0.0, 0.0, 0.06), (0.0, 0.0, -1.0)),
            strict=True,
        )
    )
    pinches = domains.pinches
    middles = pinches.point + 0.5 * pinches.width[:, None] * pinches.normal
    widths = []
    for pose in wrist_poses(hand, domains, points, inward, 200, PINCHED, np.random.default_rng(7)):
        p, n = in_palm(pose, points, inward)
        turned = np.linalg.norm(pinches.normal - n[0], axis=1)
        widths += [
            pinches.width[i] for i in np.flatnonzero(turned < EXACT) if abs((middles[i] - p[0]) @ n[0] - 0.01) < EXACT
        ]
    assert len(widths) > 20
    assert np.abs(np.array(widths) - 0.02).max() <= WIDTH_TOLERANCE


def test_shares_are_those_of_the_ways_in_any_scale(hand: HandModel, domains: ContactDomains) -> None:
    points, inward = np.array([[0.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0]])
    poses = wrist_poses(hand, domains, points, inward, 600, (3.0, 1.0, 0.0), np.random.default_rng(8))
    # Mated poses have the point's normal near to one of the palm's, boxed ones seldom.
    facing = np.array(
        [(in_palm(pose, points, inward)[1] @ hand.contact_points[hand.base_link][1].T).max() for pose in poses]
    )
    boxed = wrist_poses(hand, domains, points, inward, 600, BOXED, np.random.default_rng(9))
    by_chance = np.mean(
        [
            (in_palm(pose, points, inward)[1] @ hand.contact_points[hand.base_link][1].T).max() >= np.cos(TILT)
            for pose in boxed
        ]
    )
    assert by_chance < 0.3
    np.testing.assert_allclose((facing >= np.cos(TILT) - 1e-9).mean(), 0.75 + 0.25 * by_chance, atol=0.05)


def test_the_same_seed_gives_the_same_poses_and_another_gives_others(hand: HandModel, domains: ContactDomains) -> None:
    made = [
        wrist_poses(hand, domains, *ball(0.03), 30, (1.0, 1.0, 1.0), np.random.default_rng(seed)) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(made[0], made[1])
    assert np.abs(made[0] - made[2]).max() > 0.01
