"""Power grasps by closing fingers: what every candidate must be, and how many hold."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_sim.tester import GRASP_TESTERS
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.stages.objects import procedural_asset
from dexgrasp_training.synthesis.closing import Closing, ClosingConfig
from dexgrasp_training.synthesis.fingers import find_fingers
from dexgrasp_training.synthesis.hand_arrays import hand_arrays
from dexgrasp_training.synthesis.kernels import clearance, link_distance, link_poses, self_collides
from dexgrasp_training.synthesis.method import Candidates
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_hand

from .boxes import box_asset

HAND = load_hand("leap_right")
FAMILIES = ("can", "mug", "superquadric")


@pytest.fixture(scope="module")
def assets() -> dict[str, ObjectAsset]:
    return {family: procedural_asset(family, 3, family, "train") for family in FAMILIES}


@pytest.fixture(scope="module")
def made(assets: dict[str, ObjectAsset]) -> dict[str, Candidates]:
    return {family: Closing(HAND).generate(asset, 1200, 0) for family, asset in assets.items()}


def _clearance(
    hand: HandModel, asset: ObjectAsset, object_T_palm: NDArray[np.float64], q: NDArray[np.float64]
) -> float:
    arrays = hand_arrays(hand)
    poses = np.empty((len(hand.links), 3, 4))
    link_poses(arrays, q, poses)
    return clearance(arrays, poses, object_T_palm, asset.field.values, asset.field.origin, asset.field.spacing, 0.05)


def _self_collides(q: NDArray[np.float64]) -> bool:
    arrays = hand_arrays(HAND)
    poses = np.empty((len(HAND.links), 3, 4))
    link_poses(arrays, q, poses)
    return self_collides(arrays, poses, 0.0)


@pytest.mark.parametrize("family", FAMILIES)
class TestCandidates:
    """Of every object, every candidate."""

    def test_all_postures_are_within_the_limits(self, made: dict[str, Candidates], family: str) -> None:
        grasps = made[family]
        assert len(grasps) >= 8
        for postures in (grasps.pregrasp, grasps.grasp, grasps.squeeze):
            assert (postures >= HAND.lower).all()
            assert (postures <= HAND.upper).all()

    def test_fingers_touch_without_going_in(
        self, made: dict[str, Candidates], assets: dict[str, ObjectAsset], family: str
    ) -> None:
        grasps = made[family]
        near = np.array(
            [_clearance(HAND, assets[family], *pair) for pair in zip(grasps.object_T_palm, grasps.grasp, strict=True)]
        )
        assert near.min() > -1e-3
        assert near.max() < 1e-3

    def test_pregrasps_are_clear(
        self, made: dict[str, Candidates], assets: dict[str, ObjectAsset], family: str
    ) -> None:
        grasps = made[family]
        near = [
            _clearance(HAND, assets[family], *pair) for pair in zip(grasps.object_T_palm, grasps.pregrasp, strict=True)
        ]
        assert min(near) > 4e-4  # the palm may be 1 mm away; the grid is good for half of that
        back = grasps.object_T_palm.copy()
        back[:, :3, 3] -= 0.04 * back[:, :3, :3] @ HAND.approach_axis
        near = [_clearance(HAND, assets[family], *pair) for pair in zip(back, grasps.pregrasp, strict=True)]
        assert min(near) > 0.0

    def test_links_stay_apart(self, made: dict[str, Candidates], family: str) -> None:
        assert not any(_self_collides(q) for q in made[family].grasp)
        assert not any(_self_collides(q) for q in made[family].pregrasp)

    def test_contacts_oppose_each_other_on_the_surface(
        self, made: dict[str, Candidates], assets: dict[str, ObjectAsset], family: str
    ) -> None:
        most = []
        for contacts in made[family].contacts:
            there = contacts[~np.isnan(contacts[:, 0])]
            assert len(there) >= 2
            distance, outward = assets[family].field.distance_and_normal(there)
            assert np.abs(distance).max() < 1e-3
            most.append((outward @ outward.T).min())
        # At an edge the grid's normal depends on which side of it one looks from.
        assert np.mean(np.array(most) < -0.75) > 0.9
        assert max(most) < -0.5

    def test_two_links_touch_at_least(
        self, made: dict[str, Candidates], assets: dict[str, ObjectAsset], family: str
    ) -> None:
        grasps, field, arrays = made[family], assets[family].field, hand_arrays(HAND)
        poses = np.empty((len(HAND.links), 3, 4))
        for object_T_palm, q in zip(grasps.object_T_palm, grasps.grasp, strict=True):
            link_poses(arrays, q, poses)
            touching = 0
            for link, pose in enumerate(poses):
                object_T_link = object_T_palm[:3, :3] @ pose
                object_T_link[:, 3] += object_T_palm[:3, 3]
                near, _ = link_distance(arrays, link, object_T_link, field.values, field.origin, field.spacing, 0.01)
                touching += near < 1.2e-3
            assert touching >= 2

    def test_the_squeeze_presses_by_small_steps(
        self, made: dict[str, Candidates], assets: dict[str, ObjectAsset], family: str
    ) -> None:
        grasps, config, fingers = made[family], ClosingConfig(), find_fingers(HAND)
        moved = grasps.squeeze - grasps.grasp
        assert (np.abs(moved).max(axis=1) > 0.5 * config.squeeze).all()
        assert np.abs(moved).max() <= max(config.squeeze, config.opposing_squeeze) + 1e-12
        assert (moved[:, fingers.flexion == 0.0] == 0.0).all()
        deeper = [
            _clearance(HAND, assets[family], *pair) for pair in zip(grasps.object_T_palm, grasps.squeeze, strict=True)
        ]
        assert np.mean(np.array(deeper) < -5e-4) > 0.95


def test_the_same_seed_makes_the_same_grasps_and_another_makes_others(assets: dict[str, ObjectAsset]) -> None:
    first, second, other = (Closing(HAND).generate(assets["can"], 300, seed) for seed in (1, 1, 2))
    for name in ("object_T_palm", "pregrasp", "grasp", "squeeze", "contacts", "quality"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert not np.array_equal(first.grasp, other.grasp)


def test_a_can_is_grasped_from_the_side_and_from_above(made: dict[str, Candidates]) -> None:
    approach = made["can"].object_T_palm[:, :3, :3] @ HAND.approach_axis
    assert (approach[:, 2] < -0.7).mean() > 0.05
    assert (np.abs(approach[:, 2]) < 0.5).mean() > 0.2


def test_fingers_that_touch_nothing_do_not_clench(made: dict[str, Candidates]) -> None:
    fingers = find_fingers(HAND)
    clenched = np.abs(made["can"].grasp - HAND.upper)[:, fingers.flexion > 0.0] < 1e-9
    assert clenched.mean() < 0.05


def test_what_is_too_large_gives_no_grasps() -> None:
    grasps = Closing(HAND).generate(box_asset("box", (0.6, 0.6, 0.6), spacing=0.01), 300, 0)
    assert len(grasps) == 0
    assert grasps.grasp.shape == (0, 16)
    assert grasps.contacts.shape[2:] == (3,)


@pytest.mark.parametrize("size", [(0.014, 0.014, 0.14), (0.16, 0.16, 0.012), (0.03, 0.03, 0.03)])
def test_thin_and_small_things_have_grasps(size: tuple[float, float, float]) -> None:
    assert len(Closing(HAND).generate(box_asset("box", size), 1500, 0)) >= 5


def test_a_lower_threshold_keeps_the_best(assets: dict[str, ObjectAsset]) -> None:
    loose, tight = (
        Closing(HAND, ClosingConfig(residual=residual)).generate(assets["superquadric"], 600, 0)
        for residual in (0.4, 0.3)
    )
    np.testing.assert_array_equal(loose.grasp[loose.quality > 0.7], tight.grasp)
    assert 0 < len(tight) < len(loose)


def test_a_gripper_closes_on_what_fits_between_its_fingers(assets: dict[str, ObjectAsset]) -> None:
    gripper = load_hand("panda_gripper")
    asset = box_asset("box", (0.04, 0.05, 0.03))
    grasps = Closing(gripper).generate(asset, 300, 0)
    assert len(grasps) >= 10
    assert (grasps.squeeze.sum(axis=1) < grasps.grasp.sum(axis=1)).all()
    widths = grasps.grasp.sum(axis=1)
    assert widths.min() > 0.028
    for object_T_palm, q in zip(grasps.object_T_palm, grasps.grasp, strict=True):
        assert _clearance(gripper, asset, object_T_palm, q) > -1e-3


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_four_of_ten_hold_when_pulled_in_six_directions(
    made: dict[str, Candidates], assets: dict[str, ObjectAsset], family: str
) -> None:
    grasps = made[family][:80]
    tester = GRASP_TESTERS.create("mujoco", HAND)
    held = tester.hold6(assets[family].model, grasps.object_T_palm, grasps.grasp, grasps.squeeze)
    assert held.success.mean() >= 0.4
