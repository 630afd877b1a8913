"""Kinematics of a finger: against the description's, finite differences, and arms whose inverse has a closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_planner.finger_chains import FingerChains, finger_chains, point_jacobian, tip_pose
from dexgrasp_training.synthesis.finger_ik import reach
from numpy.typing import ArrayLike, NDArray

from dexgrasp_description import HandModel, load_hand

HANDS = ("leap_right", "panda_gripper")
TIP_POINT = np.array([0.004, -0.03, 0.01])
INNER = np.array([-1.0, 0.0, 0.0])  # normal of the point, tip frame
TOLERANCE = 5e-5


def placed(
    chains: FingerChains, finger: int, q: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """`palm_T_tip` (3, 4) and the axes and centres that carry it."""
    palm_T_tip, axes, centres = np.empty((3, 4)), np.empty((len(q), 3)), np.empty((len(q), 3))
    tip_pose(chains, finger, q, palm_T_tip, axes, centres)
    return palm_T_tip, axes, centres


def tip_point(chains: FingerChains, finger: int, q: NDArray[np.float64], point: ArrayLike) -> NDArray[np.float64]:
    palm_T_tip = placed(chains, finger, q)[0]
    return palm_T_tip[:, :3] @ np.asarray(point) + palm_T_tip[:, 3]


def postures(hand: HandModel, count: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(hand.lower, hand.upper, (count, len(hand.lower)))


def arm(joints: list[tuple[ArrayLike, ArrayLike, bool]], tip: ArrayLike) -> FingerChains:
    """One finger without turns between its joints: of each its place in the last one's frame, axis, and if it slides.

    Joints move from -3 to 3, the tip's link stands at `tip` in the last one's frame.
    """
    count = len(joints)
    pose = np.tile(np.eye(4)[:3], (1, count, 1, 1))
    pose[0, :, :, 3] = [place for place, _, _ in joints]
    end = np.eye(4)[None, :3].copy()
    end[0, :, 3] = tip
    return FingerChains(
        np.array([count]),
        pose,
        np.array([[axis for _, axis, _ in joints]], dtype=np.float64),
        np.array([[slides for _, _, slides in joints]]),
        end,
        np.arange(count)[None],
        np.full((1, count), -3.0),
        np.full((1, count), 3.0),
    )


def planar_arm(lengths: tuple[float, float, float]) -> FingerChains:
    """Three joints about z, links along x."""
    z = [0.0, 0.0, 1.0]
    places = [[0.0, 0.0, 0.0], [lengths[0], 0.0, 0.0], [lengths[1], 0.0, 0.0]]
    return arm([(place, z, False) for place in places], [lengths[2], 0.0, 0.0])


@pytest.mark.parametrize("name", HANDS)
def test_tips_stand_where_the_description_puts_them(name: str) -> None:
    hand = load_hand(name)
    chains = finger_chains(hand)
    q = postures(hand, 50, 0)
    poses = ForwardKinematics(hand).link_poses(torch.as_tensor(q))
    for finger, tip in enumerate(hand.fingertips):
        columns = chains.columns[finger, : chains.length[finger]]
        found = [placed(chains, finger, row[columns])[0] for row in q]
        np.testing.assert_allclose(found, poses[tip.link].numpy()[:, :3], atol=1e-7)


@pytest.mark.parametrize("name", HANDS)
def test_chains_have_the_limits_of_the_hand_and_only_joints_that_move_the_tip(name: str) -> None:
    hand = load_hand(name)
    chains = finger_chains(hand)
    at_rest, limits = ForwardKinematics(hand), np.stack([hand.lower, hand.upper], axis=1)
    for finger, tip in enumerate(hand.fingertips):
        columns = chains.columns[finger, : chains.length[finger]]
        own = np.stack([chains.lower[finger], chains.upper[finger]], axis=1)[: len(columns)]
        np.testing.assert_array_equal(own, limits[columns])
        moved = np.tile(hand.home, (len(hand.home) + 1, 1))
        moved[1:] += 0.01 * np.eye(len(hand.home))
        poses = at_rest.link_poses(torch.as_tensor(moved))[tip.link].numpy()
        carried = np.abs(poses[1:] - poses[0]).max(axis=(1, 2)) > 1e-9
        assert sorted(columns) == np.flatnonzero(carried).tolist()


@pytest.mark.parametrize("name", HANDS)
def test_jacobian_is_the_derivative_of_the_point(name: str) -> None:
    hand = load_hand(name)
    chains = finger_chains(hand)
    step = 1e-6
    for row in postures(hand, 10, 1):
        for finger, count in enumerate(chains.length):
            q = row[chains.columns[finger, :count]]
            _, axes, centres = placed(chains, finger, q)
            jacobian = np.empty((3, count))
            point_jacobian(chains, finger, axes, centres, tip_point(chains, finger, q, TIP_POINT), jacobian)
            numeric = [
                (tip_point(chains, finger, q + e, TIP_POINT) - tip_point(chains, finger, q - e, TIP_POINT)) / (2 * step)
                for e in step * np.eye(count)
            ]
            np.testing.assert_allclose(jacobian, np.transpose(numeric), atol=1e-8)


def test_points_within_reach_are_reached_within_the_limits() -> None:
    hand = load_hand("leap_right")
    chains = finger_chains(hand)
    rng = np.random.default_rng(2)
    middle = 0.5 * (hand.lower + hand.upper)
    reached = 0
    for row in middle + 0.7 * (postures(hand, 100, 2) - middle):
        for finger, count in enumerate(chains.length):
            lower, upper = chains.lower[finger, :count], chains.upper[finger, :count]
            wanted = row[chains.columns[finger, :count]]
            palm_T_tip = placed(chains, finger, wanted)[0]
            target, direction = palm_T_tip[:, :3] @ TIP_POINT + palm_T_tip[:, 3], -palm_T_tip[:, 0]
            q = np.clip(wanted + rng.uniform(-0.2, 0.2, count), lower, upper)
            miss = reach(chains, finger, TIP_POINT, INNER, target, direction, 12, TOLERANCE, q)
            assert miss == pytest.approx(np.linalg.norm(tip_point(chains, finger, q, TIP_POINT) - target), abs=1e-12)
            assert (q >= lower).all()
            assert (q <= upper).all()
            reached += miss <= TOLERANCE
    assert reached >= 0.95 * 400


def test_points_out_of_reach_are_refused_by_their_distance() -> None:
    hand = load_hand("leap_right")
    chains = finger_chains(hand)
    for finger, count in enumerate(chains.length):
        columns = chains.columns[finger, :count]
        q = hand.home[columns].copy()
        start = tip_point(chains, finger, q, TIP_POINT)
        target = start * 0.5 / np.linalg.norm(start)  # the hand is less than 30 cm long
        miss = reach(chains, finger, TIP_POINT, INNER, target, -INNER, 50, TOLERANCE, q)
        assert miss > 0.2
        assert miss == pytest.approx(np.linalg.norm(tip_point(chains, finger, q, TIP_POINT) - target), abs=1e-12)
        assert (q >= chains.lower[finger, :count]).all()
        assert (q <= chains.upper[finger, :count]).all()


def test_a_planar_arm_puts_point_and_normal_where_its_closed_form_does() -> None:
    lengths = (0.05, 0.04, 0.03)
    chains = planar_arm(lengths)
    rng = np.random.default_rng(3)
    for _ in range(50):
        solution = np.array([rng.uniform(-1.0, 1.0), rng.uniform(0.5, 2.0), rng.uniform(-1.0, 1.0)])
        # Where the last link ends, and which way it points.
        angles = np.cumsum(solution)
        ends = np.column_stack([np.cos(angles), np.sin(angles), np.zeros(3)])
        target, direction = np.array(lengths) @ ends, ends[2]
        q = solution + rng.uniform(-0.2, 0.2, 3)
        miss = reach(chains, 0, np.zeros(3), np.array([1.0, 0.0, 0.0]), target, direction, 60, 0.0, q)
        assert miss < 1e-9
        np.testing.assert_allclose(q, solution, atol=1e-3)


def test_the_normal_is_turned_as_near_as_the_point_allows() -> None:
    hand = load_hand("leap_right")
    chains = finger_chains(hand)
    rng = np.random.default_rng(4)
    tested = 0
    for row in hand.home + 0.5 * (postures(hand, 30, 4) - hand.home):
        for finger, count in enumerate(chains.length):
            q = row[chains.columns[finger, :count]].copy()
            palm_T_tip = placed(chains, finger, q)[0]
            target = palm_T_tip[:, :3] @ TIP_POINT + palm_T_tip[:, 3]
            direction = palm_T_tip[:, :3] @ INNER + rng.normal(0.0, 0.2, 3)
            direction /= np.linalg.norm(direction)
            if reach(chains, finger, TIP_POINT, INNER, target, direction, 100, 0.0, q) > 1e-6:
                continue
            lower, upper = chains.lower[finger, :count], chains.upper[finger, :count]
            if ((q < lower + 1e-3) | (q > upper - 1e-3)).any():
                continue
            tested += 1
            # The one motion that leaves the point in place, in both senses: the normal comes no nearer.
            _, axes, centres = placed(chains, finger, q)
            jacobian = np.empty((3, count))
            point_jacobian(chains, finger, axes, centres, target, jacobian)
            idle = np.linalg.svd(jacobian)[2][-1]
            cosines = [placed(chains, finger, q + s * idle)[0][:, :3] @ INNER @ direction for s in (-1e-4, 0.0, 1e-4)]
            assert abs(cosines[2] - cosines[0]) / 2e-4 < 1e-3
            assert cosines[0] - 2.0 * cosines[1] + cosines[2] < 0.0
    assert tested > 30


def test_a_joint_that_meets_its_limit_leaves_the_way_to_the_others() -> None:
    chains = planar_arm((0.05, 0.04, 0.03))
    target, x = np.array([0.0, 0.07, 0.0]), np.array([1.0, 0.0, 0.0])
    free, held = np.full(3, 0.4), np.full(3, 0.4)
    assert reach(chains, 0, np.zeros(3), x, target, x, 40, 1e-6, free) < 1e-6
    assert free[1] > 1.1
    limited = chains._replace(upper=np.array([[3.0, 0.9, 3.0]]))
    assert reach(limited, 0, np.zeros(3), x, target, x, 40, 1e-6, held) < 1e-6
    assert held[1] == 0.9


def test_a_slide_moves_along_its_axis() -> None:
    # A turn about z, a slide along x, a slide along z: cylinder coordinates.
    chains = arm(
        [([0, 0, 0], [0, 0, 1], False), ([0, 0, 0], [1, 0, 0], True), ([0, 0, 0], [0, 0, 1], True)], [0.02, 0, 0]
    )
    angle, radius, height = 0.7, 0.09, -0.03
    target = np.array([radius * np.cos(angle), radius * np.sin(angle), height])
    q, x = np.array([0.3, 0.02, 0.0]), np.array([1.0, 0.0, 0.0])
    assert reach(chains, 0, np.zeros(3), x, target, x, 30, 1e-8, q) < 1e-8
    np.testing.assert_allclose(q, [angle, radius - 0.02, height], atol=1e-6)
