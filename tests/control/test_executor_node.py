"""The grasp_executor node over DDS: its error codes, cancelling, and the next goal after each failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from dexgrasp_control.nodes.grasp_executor import GraspExecutorNode
from dexgrasp_control.phases import PhaseName
from rclpy.action import ActionClient
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.parameter import Parameter

from dexgrasp_msgs.action import ExecuteGrasp
from dexgrasp_msgs.msg import Grasp, GraspPhase, GraspTrajectory
from dexgrasp_msgs.srv import PlanGrasp

from .plant_robot import CLOSED, HAND, HOME, pick
from .ros_robot import PlanService, PlantDriver, rclpy_for_a_module, spinning, trajectory_message, wait_until

Result = ExecuteGrasp.Result
GRASP = Grasp(joint_names=list(HAND.joint_names))


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    yield from rclpy_for_a_module()


@pytest.fixture(scope="module")
def suite(ros) -> Iterator[SimpleNamespace]:
    arm, hand = PlantDriver("arm"), PlantDriver("hand")
    planner = PlanService(lambda request, response: None)
    # Five nodes share this process: on a busy machine states are late by more than a robot's own drivers would be.
    given = {"arm_speed": 1.5, "hand_speed": 8.0, "plan_timeout": 2.0, "state_timeout": 5.0}
    executor = GraspExecutorNode(parameter_overrides=[Parameter(name, value=value) for name, value in given.items()])
    user = Node("user")
    client = ActionClient(user, ExecuteGrasp, "execute_grasp", callback_group=ReentrantCallbackGroup())
    with contextmanager(spinning)(arm, hand, planner, executor, user):
        assert client.wait_for_server(timeout_sec=10.0)
        rig = SimpleNamespace(arm=arm, hand=hand, planner=planner, client=client)
        wait_until(lambda: run(rig, [GraspPhase(phase=GraspPhase.HOME)]).error_code == Result.SUCCESS)
        yield rig


@pytest.fixture(autouse=True)
def at_home(suite) -> Iterator[None]:
    suite.planner.answer = plan_pick
    yield
    for driver in (suite.arm, suite.hand):
        driver.unplugged, driver.fault = False, ""
    time.sleep(0.1)
    assert run(suite, [GraspPhase(phase=GraspPhase.HOME)]).error_code == Result.SUCCESS


def plan_pick(request: PlanGrasp.Request, response: PlanGrasp.Response) -> None:
    response.trajectory = trajectory_message(pick(), request.grasp)


class Goal:
    """A goal on its way."""

    def __init__(self, suite, phases: list[GraspPhase], grasp: Grasp | None = None) -> None:
        self.phases: list[int] = []
        self._result = None
        trajectory = GraspTrajectory(phases=phases, grasp=grasp or Grasp())
        sending = suite.client.send_goal_async(
            ExecuteGrasp.Goal(trajectory=trajectory), lambda message: self.phases.append(message.feedback.phase)
        )
        wait_until(sending.done)
        self.handle = sending.result()
        self._ending = self.handle.get_result_async()

    def result(self, timeout: float = 15.0) -> Result:
        wait_until(self._ending.done, timeout)
        self.status = self._ending.result().status
        return self._ending.result().result

    def reach(self, phase: PhaseName) -> None:
        wait_until(lambda: phase in self.phases)


def run(suite, phases: list[GraspPhase], grasp: Grasp | None = None) -> Result:
    return Goal(suite, phases, grasp).result()


def phases(duration: float = 0.1) -> list[GraspPhase]:
    return trajectory_message(pick(duration)).phases


def lingering(phase: PhaseName) -> list[GraspPhase]:
    """A pick in which one phase lasts long enough for something to happen in it."""
    return [trajectory_message(pick(0.5 if i + 1 == phase else 0.05)).phases[i] for i in range(8)]


def assert_next_goal_works(suite) -> None:
    result = run(suite, [], GRASP)
    assert result.error_code == Result.SUCCESS, result.error_msg
    wait_until(lambda: np.allclose(suite.arm.plant.read().position, HOME, atol=0.01), 1.0)


def test_a_goal_with_phases_is_carried_out(suite):
    goal = Goal(suite, phases())
    result = goal.result()
    assert result.error_code == Result.SUCCESS, result.error_msg
    assert result.last_phase == PhaseName.HOME
    assert [entry.stage for entry in result.phase_times] == [name.name for name in PhaseName]
    assert all(entry.milliseconds >= 100 for entry in result.phase_times)
    assert not result.felt_object  # nothing stops these fingers


def test_fingers_stopped_by_an_object_are_felt(suite):
    plant = suite.hand.plant
    plant._upper = HAND.home + 0.1
    try:
        assert run(suite, phases()).felt_object
    finally:
        plant._upper = np.full(16, np.inf)


def test_a_goal_with_only_a_grasp_is_planned_first(suite):
    calls = suite.planner.calls
    assert_next_goal_works(suite)
    assert suite.planner.calls == calls + 1


def test_planning_that_fails_gives_its_reason_and_moves_nothing(suite):
    def refuse(request, response):
        response.error_code, response.error_msg = PlanGrasp.Response.UNREACHABLE, "too far away"

    suite.planner.answer = refuse
    result = run(suite, [], GRASP)
    assert result.error_code == Result.PLANNING_FAILED
    assert "205" in result.error_msg
    assert "too far away" in result.error_msg
    np.testing.assert_allclose(suite.arm.plant.read().position, HOME, atol=0.01)


def _other_joints(message):
    message[0].arm.joint_names[0] = "elbow"


def _not_finite(message):
    message[4].arm.points[3].positions[2] = float("nan")


def _not_monotonic(message):
    message[2].hand.points[3].time_from_start = message[2].hand.points[2].time_from_start


def _too_few_positions(message):
    message[2].hand.points[3].positions = [0.0]


def _no_points(message):
    message[4].arm.points = []


def _unknown_phase(message):
    message[1].phase = 77


@pytest.mark.parametrize(
    "spoil", [_other_joints, _not_finite, _not_monotonic, _too_few_positions, _no_points, _unknown_phase]
)
def test_invalid_goals_move_nothing(suite, spoil):
    message = phases()
    spoil(message)
    goal = Goal(suite, message)
    result = goal.result()
    assert result.error_code == Result.INVALID_GOAL
    assert result.error_msg
    assert goal.phases == []


def test_a_goal_with_nothing_in_it_is_invalid(suite):
    assert run(suite, []).error_code == Result.INVALID_GOAL


def test_a_second_goal_is_refused_with_a_message_and_the_first_goes_on(suite):
    first = Goal(suite, phases(0.2))
    second = run(suite, phases())
    assert second.error_code == Result.INVALID_GOAL
    assert "one at a time" in second.error_msg
    assert first.result().error_code == Result.SUCCESS


@pytest.mark.parametrize("phase", list(PhaseName))
def test_cancel_in_each_phase(suite, phase):
    goal = Goal(suite, lingering(phase))
    goal.reach(phase)
    time.sleep(0.1)
    suite_target = goal.handle.cancel_goal_async()
    result = goal.result()
    assert suite_target.done()
    assert result.error_code == Result.CANCELLED, result.error_msg
    assert goal.status == 5
    assert result.last_phase == phase
    time.sleep(0.1)
    arm, hand = suite.arm.plant.read(), suite.hand.plant.read()
    if PhaseName.SQUEEZE < phase < PhaseName.RELEASE:
        np.testing.assert_allclose(hand.target, CLOSED)
    time.sleep(0.1)
    np.testing.assert_allclose(suite.arm.plant.read().position, arm.position, atol=1e-3)
    np.testing.assert_allclose(suite.hand.plant.read().target, hand.target)
    assert_next_goal_works(suite)


@pytest.mark.parametrize(("part", "code"), [("arm", Result.ARM_LOST), ("hand", Result.HAND_LOST)])
def test_a_part_that_is_gone_in_motion_stops_the_other(suite, part, code):
    gone, other = (suite.arm, suite.hand) if part == "arm" else (suite.hand, suite.arm)
    goal = Goal(suite, phases(4.0))
    goal.reach(PhaseName.PREGRASP)
    time.sleep(0.2)
    gone.unplugged = True
    at = time.monotonic()
    result = goal.result()
    assert result.error_code == code, result.error_msg
    assert other.stopped_at is not None
    assert other.stopped_at - at < 2.0, "it went on until the end of its motion"
    # While it is gone, goals fail at once and say so; afterwards they work.
    time.sleep(0.1)
    result = run(suite, [], GRASP)
    assert result.error_code in (Result.DRIVER_UNAVAILABLE, code)
    assert part in result.error_msg
    gone.unplugged = False
    time.sleep(0.1)
    assert_next_goal_works(suite)


@pytest.mark.parametrize(
    ("part", "fault", "phase", "code"),
    [
        ("arm", "PROTECTIVE_STOP", PhaseName.GRASP, Result.PROTECTIVE_STOP),
        ("hand", "OVERLOAD", PhaseName.LIFT, Result.HAND_OVERLOAD),
    ],
)
def test_a_fault_of_the_part_that_rests_is_taken_from_its_diagnostics(suite, part, fault, phase, code):
    driver = suite.arm if part == "arm" else suite.hand
    goal = Goal(suite, lingering(phase))
    goal.reach(phase)
    driver.fault = fault
    result = goal.result()
    assert result.error_code == code, result.error_msg
    assert result.last_phase == phase
    driver.fault = ""
    time.sleep(0.1)
    assert_next_goal_works(suite)


def test_goals_end_within_their_deadline_when_the_planner_hangs(suite):
    release = threading.Event()
    suite.planner.answer = lambda request, response: release.wait(8.0)
    begin = time.monotonic()
    result = Goal(suite, [], GRASP).result()
    release.set()
    assert result.error_code == Result.PLANNING_FAILED
    assert time.monotonic() - begin < 5.0
