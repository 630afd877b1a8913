"""Goals that are cancelled, and cables that are pulled, while the robot moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from dexgrasp_common.nodes.clients import call_service
from std_srvs.srv import Trigger

from dexgrasp_msgs.action import ClearTable, ExecuteGrasp, GenerateGrasp

from . import motions
from .suite import Suite, wait_for

EXECUTE = ExecuteGrasp.Result
STILL = 0.01  # a few counts of a finger's encoder: what a still robot changes in half a second [rad]


@pytest.fixture(autouse=True)
def at_home(suite: Suite) -> Iterator[None]:
    """Each test starts at home; afterwards the next goal works, without a restart."""
    suite.go_home()
    yield
    suite.go_home()


def assert_still(suite: Suite) -> None:
    time.sleep(0.3)  # fingers that are held swing out
    assert suite.moves(0.5) < STILL


@pytest.mark.parametrize("name", motions.PHASES)
def test_a_goal_cancelled_in_any_phase_leaves_the_robot_still(suite: Suite, name: str) -> None:
    reached = threading.Event()

    def on_feedback(feedback: ExecuteGrasp.Feedback) -> None:
        if feedback.phase == motions.PHASES[name]:
            reached.set()

    result = suite.execute(motions.air_pick(0.6), on_feedback=on_feedback, cancelled=reached.is_set)
    assert result.error_code == EXECUTE.CANCELLED, result.error_msg
    assert result.last_phase == motions.PHASES[name]
    assert result.error_msg
    assert_still(suite)


def test_a_cancelled_generation_says_so_and_the_next_one_works(suite: Suite) -> None:
    suite.reset(seed=0, objects=4)
    generating = threading.Event()

    def on_feedback(feedback: GenerateGrasp.Feedback) -> None:
        if feedback.stage == GenerateGrasp.Feedback.GENERATE:
            generating.set()

    result = suite.generate(on_feedback=on_feedback, cancelled=generating.is_set)
    assert result.error_code == GenerateGrasp.Result.CANCELLED
    assert not result.grasps.grasps
    assert suite.generate().error_code == GenerateGrasp.Result.SUCCESS


@pytest.mark.parametrize("name", ["LOOK", "GENERATE", "PLAN", "EXECUTE"])
def test_a_clearing_cancelled_in_any_stage_stops(suite: Suite, name: str) -> None:
    suite.reset(seed=0, objects=4)
    reached = threading.Event()

    def on_feedback(feedback: ClearTable.Feedback) -> None:
        if feedback.stage == getattr(ClearTable.Feedback, name):
            reached.set()

    result = suite.clear(ClearTable.Goal(), on_feedback=on_feedback, cancelled=reached.is_set)
    assert reached.is_set(), f"the clearing ended before {name}: {result.error_code} {result.error_msg}"
    assert result.error_code == ClearTable.Result.CANCELLED, result.error_msg
    assert_still(suite)


def in_the_middle(suite: Suite, then: threading.Thread) -> ExecuteGrasp.Result:
    """Result of a slow motion during whose third phase a thread is started."""

    def on_feedback(feedback: ExecuteGrasp.Feedback) -> None:
        if feedback.phase == motions.PHASES["GRASP"]:
            then.start()

    started = time.monotonic()
    result = suite.execute(motions.air_pick(2.0), on_feedback=on_feedback)
    assert then.ident is not None, f"it ended before: {result.error_code} {result.error_msg}"
    assert time.monotonic() - started < 12.0, "it took until the end of the motion"
    return result


def test_a_hand_that_is_unplugged_stops_the_arm_and_comes_back(suite: Suite) -> None:
    pulled = threading.Thread(target=lambda: (time.sleep(0.7), suite.serial.pull()))
    try:
        result = in_the_middle(suite, pulled)
        assert result.error_code == EXECUTE.HAND_LOST, result.error_msg
        assert result.last_phase == motions.PHASES["GRASP"]
        assert "hand" in result.error_msg
        time.sleep(0.3)
        assert_still(suite)
        again = suite.execute(motions.air_pick(0.6))
        assert again.error_code in (EXECUTE.DRIVER_UNAVAILABLE, EXECUTE.HAND_LOST), again.error_msg
    finally:
        pulled.join()
        suite.serial.plug()


def test_an_arm_controller_that_is_gone_stops_the_hand_and_comes_back(suite: Suite) -> None:
    pulled = threading.Thread(target=lambda: (time.sleep(0.7), suite.network.pull()))
    try:
        result = in_the_middle(suite, pulled)
        assert result.error_code == EXECUTE.ARM_LOST, result.error_msg
        assert result.last_phase == motions.PHASES["GRASP"]
        assert "arm" in result.error_msg
        time.sleep(0.3)
        assert_still(suite)
        again = suite.execute(motions.air_pick(0.6))
        assert again.error_code in (EXECUTE.DRIVER_UNAVAILABLE, EXECUTE.ARM_LOST), again.error_msg
    finally:
        pulled.join()
        suite.network.plug()


@pytest.mark.parametrize("part", ["arm", "hand"])
def test_the_stop_service_ends_a_motion(suite: Suite, part: str) -> None:
    stop = suite.session.service(Trigger, f"{part}/stop")
    stopping = threading.Thread(target=lambda: (time.sleep(0.7), call_service(stop, Trigger.Request(), 5.0)))
    result = in_the_middle(suite, stopping)
    stopping.join()
    assert result.error_code in (EXECUTE.ARM_FAILED, EXECUTE.HAND_FAILED), result.error_msg
    assert_still(suite)


def test_two_goals_at_once_are_one_too_many(suite: Suite) -> None:
    begun = threading.Event()
    first: list[ExecuteGrasp.Result] = []

    def run() -> None:
        first.append(suite.execute(motions.air_pick(0.6), on_feedback=lambda feedback: begun.set()))

    running = threading.Thread(target=run)
    running.start()
    wait_for(begun.is_set, 10.0, "the first phase")
    second = suite.execute(motions.air_pick(0.6))
    running.join()
    assert second.error_code == EXECUTE.INVALID_GOAL
    assert first[0].error_code == EXECUTE.SUCCESS, first[0].error_msg
