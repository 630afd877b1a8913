"""Opening, squeezing, retreating and lifting follow the benchmark's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dexgrasp_common.transforms import from_xyz_rpy
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_planner.postures import PostureRules
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_hand
from dexgrasp_planner import postures


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_hand("leap_right")


@pytest.fixture(scope="module")
def rules(hand: HandModel) -> PostureRules:
    return PostureRules(hand)


def grasps(count: int) -> NDArray[np.float64]:
    """Fingers hanging from the palm, hardly bent, the thumb opposite: their tips can move both ways."""
    base = np.array([0.0, 1.1, 0.5, -0.2] * 3 + [1.5, 0.1, 0.2, 0.1])
    return base + np.random.default_rng(0).uniform(-0.15, 0.15, (count, 16))


def origins_and_normals(hand: HandModel, q: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    poses = ForwardKinematics(hand).link_poses(torch.as_tensor(q))
    origin = np.stack([poses[tip.link][:, :3, 3].numpy() for tip in hand.fingertips], axis=1)
    normal = np.stack([poses[tip.link][:, :3, :3].numpy() @ tip.inner_normal for tip in hand.fingertips], axis=1)
    return origin, normal


def along(moved: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("nfk,nfk->nf", moved, direction)


# The thumb's joints cannot carry its tip straight on in every posture: of it less is asked.
def test_opening_moves_every_fingertip_25_mm_against_its_inner_normal(hand: HandModel, rules: PostureRules) -> None:
    q = grasps(20)
    before, normal = origins_and_normals(hand, q)
    after, _ = origins_and_normals(hand, rules.opened(q))
    progress = along(after - before, -normal)
    np.testing.assert_allclose(progress[:, :3], 0.025, atol=0.006)
    assert np.median(progress[:, :3]) > 0.022
    assert (progress[:, 3] > 0.010).all()
    assert (progress[:, 3] < 0.026).all()


def test_squeezing_moves_every_fingertip_30_mm_inward_and_not_along_the_approach(
    hand: HandModel, rules: PostureRules
) -> None:
    q = grasps(20)
    before, normal = origins_and_normals(hand, q)
    after, _ = origins_and_normals(hand, rules.squeezed(q))
    lateral = normal * [1.0, 1.0, 0.0]
    direction = lateral / np.linalg.norm(lateral, axis=-1, keepdims=True)
    progress = along(after - before, direction)
    np.testing.assert_allclose(progress[:, :3], 0.030, atol=0.003)
    assert (progress[:, 3] > 0.010).all()
    assert (progress[:, 3] < 0.031).all()


def test_postures_stay_within_the_limits_where_targets_are_out_of_reach(hand: HandModel, rules: PostureRules) -> None:
    rng = np.random.default_rng(1)
    for q in (np.tile(hand.lower, (2, 1)), np.tile(hand.upper, (2, 1)), rng.uniform(hand.lower, hand.upper, (50, 16))):
        for result in (rules.opened(q), rules.squeezed(q)):
            assert np.isfinite(result).all()
            assert (result >= hand.lower - 1e-9).all()
            assert (result <= hand.upper + 1e-9).all()


def test_a_posture_does_not_depend_on_the_others_of_its_batch(hand: HandModel, rules: PostureRules) -> None:
    q = grasps(5)
    np.testing.assert_allclose(rules.opened(q)[3], rules.opened(q[3:4])[0], atol=1e-12)


def test_a_parallel_gripper_opens_and_squeezes_by_the_same_ways() -> None:
    gripper = PostureRules(load_hand("panda_gripper"))
    np.testing.assert_allclose(gripper.opened(np.array([[0.010, 0.012]])), [[0.035, 0.037]], atol=1e-9)
    np.testing.assert_allclose(gripper.squeezed(np.array([[0.032, 0.034]])), [[0.002, 0.004]], atol=1e-9)


def test_pregrasp_is_ten_centimetres_back_along_the_approach(hand: HandModel) -> None:
    palm = from_xyz_rpy([0.1, 0.2, 0.3], [0.3, -0.2, 1.0])[None]
    back = postures.retreated(palm, hand.approach_axis)
    np.testing.assert_allclose(back[0, :3, 3] - palm[0, :3, 3], 0.10 * palm[0, :3, 2], atol=1e-12)
    np.testing.assert_array_equal(back[0, :3, :3], palm[0, :3, :3])


@pytest.mark.parametrize(("tilt", "retreats"), [(0.0, True), (59.0, True), (61.0, False), (90.0, False)])
def test_a_steep_approach_lifts_by_retreating_and_a_shallow_one_straight_up(
    hand: HandModel, tilt: float, retreats: bool
) -> None:
    palm = from_xyz_rpy([0.0, 0.0, 0.2], [np.radians(tilt), 0.0, 0.5])[None]
    moved = postures.lifted(palm, hand.approach_axis)[0, :3, 3] - palm[0, :3, 3]
    expected = palm[0, :3, 2] if retreats else np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(moved, 0.20 * expected, atol=1e-12)
