"""What every backend of the grasp tester does alike."""

from __future__ import annotations

import pickle
from dataclasses import fields

import numpy as np
import pytest
from dexgrasp_sim.plant import SimError
from dexgrasp_sim.tester import (
    GRASP_TESTERS,
    MAX_CONTACTS,
    GraspTester,
    HoldOutcome,
    HoldResult,
    HoldTestError,
    LiftScene,
    LiftTestError,
)
from numpy.typing import NDArray

from dexgrasp_description import GraspSet, load_hand

from .grasps import Grasps, concatenated, cylinder, enveloping, shifted

HAND = load_hand("leap_right")
BACKENDS = dict(GRASP_TESTERS)
PLAYED = {"mujoco": True, "isaacgym": False}  # whether `dga` and `dexgraspbench` are
TOLERANCE = {"mujoco": 1e-9, "isaacgym": 2e-3}  # of the same grasp simulated twice; PhysX on a GPU is not reproducible


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    missing = BACKENDS[name].missing()
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)}, which is not here: {BACKENDS[name].install}")
    return name


@pytest.fixture(scope="module")
def tester(backend: str) -> GraspTester:
    return GRASP_TESTERS.create(backend, HAND)


@pytest.fixture(scope="module")
def mixed() -> Grasps:
    """A good grasp, one through the object, one that misses it, and the good one again."""
    good = enveloping()
    return concatenated(good, shifted(good, (0.0, 0.0, -0.03)), shifted(good, (0.0, 0.0, 0.3)), good)


@pytest.fixture(scope="module")
def result(tester: GraspTester, mixed: Grasps) -> HoldResult:
    return tester.hold6(cylinder(), *mixed)


def test_a_good_grasp_holds_in_all_six_directions(result: HoldResult) -> None:
    assert result.success[0]
    assert result.outcome[0] == HoldOutcome.HELD
    assert (result.displacement[0] < 0.02).all()
    assert (result.rotation[0] < np.radians(15.0)).all()


def test_a_grasp_through_the_object_is_refused_for_its_penetration(result: HoldResult) -> None:
    assert result.outcome[1] == HoldOutcome.PENETRATES
    assert result.penetration[1] > 0.01
    assert result.penetration[0] < 0.002
    assert np.isnan(result.displacement[1]).all()


def test_a_hand_that_misses_the_object_does_not_hold_it(result: HoldResult) -> None:
    assert result.outcome[2] == HoldOutcome.UNSETTLED
    assert result.penetration[2] == 0.0
    assert (result.links[2] == -1).all()


def test_grasps_are_judged_one_by_one_in_order(result: HoldResult, tester: GraspTester, backend: str) -> None:
    assert result.success.tolist() == [True, False, False, True]
    alone = tester.hold6(cylinder(), *enveloping())
    for field in fields(HoldResult):
        whole, single = getattr(result, field.name), getattr(alone, field.name)
        np.testing.assert_allclose(whole[3], single[0], rtol=0.0, atol=TOLERANCE[backend], err_msg=field.name)


def test_what_held_is_reported_as_settled(result: HoldResult, mixed: Grasps) -> None:
    pose, grasp, squeeze = (array[0] for array in mixed)
    assert 0.0 < np.linalg.norm(result.object_T_palm[0, :3, 3] - pose[:3, 3]) < 0.01
    assert not np.array_equal(result.grasp[0], grasp)
    np.testing.assert_allclose(result.squeeze[0] - result.grasp[0], squeeze - grasp, atol=1e-6)


def test_what_was_not_simulated_is_reported_as_given(result: HoldResult, mixed: Grasps) -> None:
    for given, returned in zip(mixed, (result.object_T_palm, result.grasp, result.squeeze), strict=True):
        np.testing.assert_array_equal(returned[1], given[1])


def test_a_settled_grasp_holds_again(result: HoldResult, tester: GraspTester) -> None:
    again = tester.hold6(cylinder(), result.object_T_palm[:1], result.grasp[:1], result.squeeze[:1])
    assert again.success.all()


def test_contacts_lie_on_the_object_one_for_each_touching_link(result: HoldResult) -> None:
    links = result.links[0]
    count = int((links >= 0).sum())
    assert 3 <= count <= MAX_CONTACTS
    assert len(set(links[:count])) == count
    assert {HAND.links[link] for link in links[:count]} >= {"thumb_fingertip"}
    points = result.contacts[0, :count]
    assert np.isnan(result.contacts[0, count:]).all()
    outside = np.linalg.norm(points[:, :2], axis=1) - 0.03
    assert (np.abs(outside) < 0.003).all()
    assert (np.abs(points[:, 2]) < 0.078).all()


def test_no_grasps_give_an_empty_result(tester: GraspTester) -> None:
    result = tester.hold6(cylinder(), *(array[:0] for array in enveloping()))
    assert len(result.success) == 0
    assert result.displacement.shape == (0, 6)


def nan_in(array: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.arange(array.size).reshape(array.shape) == 1, np.nan, array)


@pytest.mark.parametrize("damage", ["joints", "count", "nan grasp", "nan pose", "no rotation"])
def test_malformed_grasps_are_refused(tester: GraspTester, damage: str) -> None:
    pose, grasp, squeeze = enveloping()
    match damage:
        case "joints":
            arrays, message = (pose, grasp[:, :2], squeeze[:, :2]), r"\(1, 16\)"
        case "count":
            arrays, message = (pose, grasp, np.repeat(squeeze, 2, axis=0)), r"squeeze .* \(1, 16\)"
        case "nan grasp":
            arrays, message = (pose, nan_in(grasp), squeeze), "grasp must be finite"
        case "nan pose":
            arrays, message = (nan_in(pose), grasp, squeeze), "object_T_palm must be finite"
        case _:
            arrays, message = (2.0 * pose, grasp, squeeze), "must be poses"
    with pytest.raises(HoldTestError, match=message):
        tester.hold6(cylinder(), *arrays)


def test_a_tester_works_on_after_being_sent_to_another_process(
    tester: GraspTester, result: HoldResult, backend: str
) -> None:
    arrived: GraspTester = pickle.loads(pickle.dumps(tester))
    there = arrived.hold6(cylinder(), *enveloping())
    np.testing.assert_allclose(there.displacement[0], result.displacement[0], rtol=0.0, atol=TOLERANCE[backend])


def test_what_a_backend_does_not_play_it_says(tester: GraspTester, backend: str) -> None:
    pose, grasp, squeeze = enveloping()
    if PLAYED[backend]:
        assert tester.dga(cylinder(), pose, grasp).success.all()
        assert tester.dexgraspbench(cylinder(), pose, grasp, grasp, squeeze).outcome.shape == (1,)
        assert tester.dga(cylinder(), pose[:0], grasp[:0]).displacement.shape == (0, 6)
        assert len(tester.dexgraspbench(cylinder(), pose[:0], grasp[:0], grasp[:0], grasp[:0]).success) == 0
        with pytest.raises(HoldTestError, match="pregrasp must be finite"):
            tester.dexgraspbench(cylinder(), pose, nan_in(grasp), grasp, squeeze)
        with pytest.raises(HoldTestError, match=r"grasp .* \(1, 16\)"):
            tester.dga(cylinder(), pose, grasp[:, :2])
    else:
        with pytest.raises(SimError, match="Use the mujoco tester"):
            tester.dga(cylinder(), pose, grasp)
        with pytest.raises(SimError, match="Use the mujoco tester"):
            tester.dexgraspbench(cylinder(), pose, grasp, grasp, squeeze)


def test_lifting_needs_grasps_of_the_same_hand_and_an_object(tester: GraspTester) -> None:
    with pytest.raises(LiftTestError, match="leap_right"):
        tester.lift(LiftScene([cylinder()], np.eye(4)[None]), GraspSet.empty("shadow", 16))
    with pytest.raises(LiftTestError, match="at least one object"):
        tester.lift(LiftScene([], np.zeros((0, 4, 4))), GraspSet.empty("leap_right", 16))
