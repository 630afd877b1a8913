"""What every method's grasps are, whatever made them."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_common.registry import UnknownBackendError
from dexgrasp_sim.hold import HoldBench
from dexgrasp_sim.tester import GRASP_TESTERS, HoldConfig
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.stages.objects import procedural_asset
from dexgrasp_training.synthesis.fingers import find_fingers
from dexgrasp_training.synthesis.method import GRASP_METHODS, Candidates
from numpy.typing import NDArray

from dexgrasp_description import load_hand

HAND = "leap_right"
# Method, attempts that take a few seconds, and the share of its candidates that must hold at least.
METHODS = [("closing", 1500, 0.4), ("contact_field", 60, 0.4), ("force_closure", 48, 0.1), ("wrench_space", 48, 0.1)]
DEEPEST = 2e-3  # the tester's limit [m]


@pytest.fixture(scope="module")
def can() -> ObjectAsset:
    return procedural_asset("can", 3, "can", "train")


@pytest.fixture(scope="module")
def made(can: ObjectAsset) -> dict[str, Candidates]:
    return {name: GRASP_METHODS.create(name, load_hand(HAND)).generate(can, tries, 0) for name, tries, _ in METHODS}


def overlaps(asset: ObjectAsset, palms: NDArray[np.float64], postures: NDArray[np.float64]) -> NDArray[np.float64]:
    """How deep the hand is in the object [m], by the tester's own geometry."""
    bench = HoldBench(load_hand(HAND), HoldConfig(), asset.model)
    return np.array([bench.overlap(palm, posture) for palm, posture in zip(palms, postures, strict=True)])


@pytest.mark.parametrize("method", [name for name, _, _ in METHODS])
class TestEveryMethod:
    """One suite for all."""

    def test_candidates_say_where_they_come_from(self, made: dict[str, Candidates], method: str) -> None:
        candidates = made[method]
        assert (candidates.hand, candidates.method) == (HAND, method)
        assert len(candidates) >= 5
        assert candidates.attempts == next(tries for name, tries, _ in METHODS if name == method)

    def test_postures_are_within_the_joint_limits(self, made: dict[str, Candidates], method: str) -> None:
        hand, candidates = load_hand(HAND), made[method]
        for posture in (candidates.pregrasp, candidates.grasp):
            assert (posture >= hand.lower - 1e-6).all()
            assert (posture <= hand.upper + 1e-6).all()

    def test_palm_poses_are_rigid(self, made: dict[str, Candidates], method: str) -> None:
        rotation = made[method].object_T_palm[:, :3, :3]
        assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-6)
        assert np.allclose(np.linalg.det(rotation), 1.0, atol=1e-6)

    def test_grasps_do_not_go_through_the_object(
        self, made: dict[str, Candidates], method: str, can: ObjectAsset
    ) -> None:
        assert (overlaps(can, made[method].object_T_palm, made[method].grasp) < DEEPEST).mean() >= 0.9

    def test_open_hands_are_clear_of_the_object(
        self, made: dict[str, Candidates], method: str, can: ObjectAsset
    ) -> None:
        assert (overlaps(can, made[method].object_T_palm, made[method].pregrasp) < 1e-3).mean() >= 0.9

    def test_contacts_lie_on_the_surface_and_there_are_two_or_more(
        self, made: dict[str, Candidates], method: str, can: ObjectAsset
    ) -> None:
        contacts = made[method].contacts
        there = ~np.isnan(contacts).any(axis=2)
        assert (there.sum(axis=1) >= 2).all()
        assert np.quantile(np.abs(can.field.distance(contacts[there])), 0.9) < 3e-3

    def test_the_squeeze_is_small_and_moves_something(self, made: dict[str, Candidates], method: str) -> None:
        moved = np.abs(made[method].squeeze - made[method].grasp).max(axis=1)
        assert (moved > 1e-3).all()
        assert (moved < 0.15).all()

    def test_enough_of_them_hold(self, made: dict[str, Candidates], method: str, can: ObjectAsset) -> None:
        candidates = made[method][:80]
        tester = GRASP_TESTERS.create("mujoco", load_hand(HAND))
        held = tester.hold6(can.model, candidates.object_T_palm, candidates.grasp, candidates.squeeze).success
        assert held.mean() >= next(share for name, _, share in METHODS if name == method)

    def test_the_same_seed_gives_the_same_candidates_and_another_gives_others(
        self, made: dict[str, Candidates], method: str, can: ObjectAsset
    ) -> None:
        tries = made[method].attempts
        maker = GRASP_METHODS.create(method, load_hand(HAND))
        again, other = maker.generate(can, tries, 0), maker.generate(can, tries, 1)
        assert np.array_equal(again.object_T_palm, made[method].object_T_palm)
        assert np.array_equal(again.grasp, made[method].grasp)
        assert len(other) != len(again) or not np.array_equal(other.grasp, again.grasp)


def test_an_unknown_method_lists_those_there_are() -> None:
    with pytest.raises(UnknownBackendError, match="closing, contact_field, force_closure, wrench_space"):
        GRASP_METHODS.create("guessing", load_hand(HAND))


@pytest.mark.parametrize(
    ("name", "method", "attempts"),
    [
        ("shadow_right", "closing", 1500),
        ("shadow_right", "contact_field", 60),
        ("shadow_right", "force_closure", 48),
        ("allegro_right", "closing", 1500),
        ("allegro_right", "contact_field", 60),
    ],
)
def test_other_hands_hold_too_and_their_wrists_rest(can: ObjectAsset, name: str, method: str, attempts: int) -> None:
    hand = load_hand(name)
    candidates = GRASP_METHODS.create(method, hand).generate(can, attempts, 0)
    idle = find_fingers(hand).idle
    for posture in (candidates.pregrasp, candidates.grasp, candidates.squeeze):
        assert np.allclose(posture[:, idle], hand.home[idle])
    tester = GRASP_TESTERS.create("mujoco", hand)
    some = candidates[np.arange(min(len(candidates), 12))]
    assert tester.hold6(can.model, some.object_T_palm, some.grasp, some.squeeze).success.mean() > 0.15
