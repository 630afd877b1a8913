"""The executor on a kinematic arm and hand: deadlines, cancelling, faults, and the way home."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
from dexgrasp_control.errors import (
    ArmFailed,
    ArmLost,
    ArmRejected,
    DriverUnavailable,
    ExecutionCancelled,
    ExecutionTimeout,
    HandLost,
    HandOverload,
    InvalidGoal,
    PlanningFailed,
    ProtectiveStop,
)
from dexgrasp_control.execution import End, ExecutionConfig, Fault, Outcome, PhaseRunner, Progress
from dexgrasp_control.executor import GraspExecutor, RobotState
from dexgrasp_control.homing import HomingConfig
from dexgrasp_control.phases import Phase, PhaseName, Trajectory, check_phases, checked_trajectory

from .plant_robot import ARM, CLOSED, HAND, HOME, arm_and_hand, line, pick


class Rig:
    """An executor with its robot, and a place for a fault."""

    def __init__(self, **limits: float) -> None:
        self.arm, self.hand = arm_and_hand()
        self.fault: Fault | None = None
        self.held: tuple[np.ndarray, np.ndarray] | None = None
        self.reached: list[PhaseName] = []
        config = ExecutionConfig(duration_margin=limits.get("margin", 1.0), stop_timeout=0.5)
        self.executor = GraspExecutor(
            PhaseRunner(self.arm, self.hand, lambda: self.fault, config),
            lambda: RobotState(self.arm.position, self.hand.position),
            self._holds,
            HOME,
            Trajectory(HAND.joint_names, np.zeros(1), HAND.home[None]),
            HomingConfig(arm_speed=1.5, hand_speed=8.0),
        )

    def _holds(self, commanded, measured) -> bool:
        self.held = commanded, measured
        return True

    def execute(self, phases=None, *, cancel_in: PhaseName | None = None, on_phase=None) -> Progress:
        progress = Progress()
        begun: dict[PhaseName, float] = {}

        def note(name: PhaseName) -> None:
            self.reached.append(name)
            begun[name] = time.monotonic()
            if on_phase is not None:
                on_phase(name)

        def cancelled() -> bool:
            return cancel_in in begun and time.monotonic() - begun[cancel_in] > 0.05

        self.progress = progress
        self.executor.execute(phases or pick(), progress, cancelled=cancelled, on_phase=note)
        return progress

    def assert_still(self) -> None:
        time.sleep(0.05)
        before = self.arm.position, self.hand.position
        time.sleep(0.05)
        np.testing.assert_allclose(self.arm.position, before[0], atol=1e-3)
        np.testing.assert_allclose(self.hand.position, before[1], atol=1e-3)

    def assert_home(self) -> None:
        time.sleep(0.05)
        np.testing.assert_allclose(self.arm.position, HOME, atol=5e-3)
        np.testing.assert_allclose(self.hand.position, HAND.home, atol=5e-3)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_pick_runs_every_phase_and_ends_at_home(rig):
    progress = rig.execute()
    assert [name for name, _ in progress.phase_times] == list(PhaseName)
    assert progress.phase is PhaseName.HOME
    assert rig.executor.felt_object
    assert not rig.executor.interrupted
    rig.assert_home()


def test_touch_is_asked_after_the_lift_with_the_squeeze_as_commanded(rig):
    rig.execute()
    np.testing.assert_allclose(rig.held[0], CLOSED)
    np.testing.assert_allclose(rig.held[1], CLOSED, atol=5e-3)


@pytest.mark.parametrize("phase", list(PhaseName))
def test_cancel_leaves_the_robot_still_and_the_hand_as_commanded(rig, phase):
    with pytest.raises(ExecutionCancelled):
        rig.execute(cancel_in=phase)
    assert rig.progress.phase is phase
    rig.assert_still()
    target = rig.hand.plant.read().target
    if PhaseName.SQUEEZE < phase < PhaseName.RELEASE:
        np.testing.assert_allclose(target, CLOSED)
    if phase is PhaseName.SQUEEZE:
        assert (target >= HAND.home + 0.2 - 1e-9).all()


@pytest.mark.parametrize("phase", [PhaseName.PREGRASP, PhaseName.SQUEEZE, PhaseName.LIFT, PhaseName.RELEASE])
def test_after_a_cancel_the_next_goal_goes_home_first_and_then_succeeds(rig, phase):
    with pytest.raises(ExecutionCancelled):
        rig.execute(cancel_in=phase)
    interrupted_hand = rig.hand.position
    rig.reached.clear()
    progress = rig.execute()
    assert progress.phase is PhaseName.HOME
    rig.assert_home()
    before_the_goal = rig.reached[: -len(PhaseName)]
    if PhaseName.LIFT <= phase <= PhaseName.RELEASE:
        # What may be held goes on to the bin; it is not let go on the way.
        assert before_the_goal == [name for name in PhaseName if name >= phase]
        assert interrupted_hand.max() > HAND.home.min()
    elif phase <= PhaseName.SQUEEZE:
        assert before_the_goal == [name for name in reversed(PhaseName) if name <= phase]


def test_going_home_follows_the_path_back(rig):
    with pytest.raises(ExecutionCancelled):
        rig.execute(cancel_in=PhaseName.COVER)
    path = np.vstack([phase.arm.positions for phase in pick()[:2]])
    visited = []

    def watching() -> bool:
        visited.append(rig.arm.position)
        return False

    rig.executor.go_home(cancelled=watching)
    assert max(np.abs(path - position).max(axis=1).min() for position in visited) < 0.03
    rig.assert_home()


def test_going_home_can_be_cancelled_and_resumed(rig):
    with pytest.raises(ExecutionCancelled):
        rig.execute(cancel_in=PhaseName.SQUEEZE)
    end = time.monotonic() + 0.3
    with pytest.raises(ExecutionCancelled):
        rig.executor.go_home(cancelled=lambda: time.monotonic() > end)
    rig.assert_still()
    rig.executor.go_home()
    rig.assert_home()


def test_going_home_from_nowhere_is_refused(rig):
    rig.arm.plant.command(HOME + 0.3)
    time.sleep(0.2)
    with pytest.raises(PlanningFailed, match="by hand"):
        rig.executor.go_home()


def test_going_home_from_beside_the_path_is_refused(rig):
    with pytest.raises(ExecutionCancelled):
        rig.execute(cancel_in=PhaseName.COVER)
    rig.arm.plant.command(rig.arm.position + np.array([0.0, 0.0, 0.0, 0.8, 0.8, 0.0]))
    time.sleep(0.3)
    with pytest.raises(PlanningFailed, match="beside"):
        rig.executor.go_home()


def test_an_arm_brought_home_by_hand_only_opens_the_fingers(rig):
    with pytest.raises(ExecutionCancelled):
        rig.execute(cancel_in=PhaseName.LIFT)
    rig.arm.plant.command(HOME)
    time.sleep(0.2)
    rig.executor.go_home()
    rig.assert_home()
    assert not rig.executor.interrupted


@pytest.mark.parametrize(
    ("part", "end", "error"),
    [
        ("arm", End.LOST, ArmLost),
        ("hand", End.LOST, HandLost),
        ("arm", End.PROTECTIVE_STOP, ProtectiveStop),
        ("hand", End.OVERLOAD, HandOverload),
        ("arm", End.FAILED, ArmFailed),
        ("arm", End.REJECTED, ArmRejected),
    ],
)
def test_a_trajectory_that_fails_stops_the_other_part(rig, part, end, error):
    failing, other = (rig.arm, rig.hand) if part == "arm" else (rig.hand, rig.arm)
    failed_at = None

    def fail_soon(name: PhaseName) -> None:
        def fail() -> None:
            nonlocal failed_at
            failed_at = time.monotonic()
            failing.motion.end(end, "for this test")

        threading.Timer(0.05, fail).start()

    with pytest.raises(error, match="for this test"):
        rig.execute(pick(4.0)[:1], on_phase=fail_soon)
    assert other.motion.outcome.done()
    for driver in (rig.arm, rig.hand):
        assert driver.stopped_at - failed_at < 2.0, "it went on until the end of its motion"
    rig.assert_still()


@pytest.mark.parametrize("phase", [PhaseName.GRASP, PhaseName.LIFT])
def test_a_fault_of_the_part_that_is_at_rest_stops_the_one_that_moves(rig, phase):
    part, error = ("arm", ProtectiveStop) if phase is PhaseName.GRASP else ("hand", HandLost)
    outcome = Outcome(End.PROTECTIVE_STOP if part == "arm" else End.LOST, "noticed beside")

    def raise_fault(name: PhaseName) -> None:
        if name is phase:
            rig.fault = Fault(part, outcome)

    with pytest.raises(error, match="noticed beside"):
        rig.execute(on_phase=raise_fault)
    assert rig.progress.phase is phase
    rig.assert_still()
    rig.fault = None
    rig.execute()
    rig.assert_home()


def test_a_missing_driver_moves_nothing_and_the_next_goal_works(rig):
    rig.arm.gone = True
    with pytest.raises(DriverUnavailable):
        rig.execute()
    rig.arm.gone = False
    rig.execute()
    rig.assert_home()


def test_a_trajectory_that_never_ends_times_out():
    rig = Rig(margin=0.2)
    rig.arm.start = lambda trajectory: _Endless()
    begin = time.monotonic()
    with pytest.raises(ExecutionTimeout, match="PREGRASP: the arm did not arrive"):
        rig.execute()
    assert time.monotonic() - begin < 1.5


class _Endless:
    """A trajectory whose driver neither finishes nor answers a cancel."""

    def __init__(self) -> None:
        self.outcome: Future[Outcome] = Future()

    def cancel(self) -> None:
        pass


def test_a_goal_that_starts_elsewhere_is_refused(rig):
    away = [Phase(PhaseName.PREGRASP, line(ARM.joint_names, HOME + 0.2, HOME + 0.3, 0.1))]
    with pytest.raises(InvalidGoal, match=r"0\.200 rad from where the arm is"):
        rig.execute(away)


def test_a_goal_in_two_parts_continues_where_the_first_ended(rig):
    phases = pick()
    rig.execute(phases[:4])
    assert rig.executor.interrupted
    rig.execute(phases[4:])
    rig.assert_home()
    assert not rig.executor.interrupted


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([], "no phases"),
        ([Phase(PhaseName.LIFT)], "neither"),
        (list(reversed(pick())), "order"),
        ([pick()[0], pick()[5]], "starts"),
    ],
)
def test_phases_that_make_no_sense_are_refused(phases, message):
    with pytest.raises(InvalidGoal, match=message):
        check_phases(phases, 0.05)


@pytest.mark.parametrize(
    ("names", "times", "positions", "message"),
    [
        (ARM.joint_names[:5], [0.0], np.zeros((1, 5)), "names the joints"),
        (ARM.joint_names, [], np.zeros((0, 6)), "no points"),
        (ARM.joint_names, [0.0, 1.0], np.zeros((2, 5)), "6 positions"),
        (ARM.joint_names, [0.0, 1.0], np.full((2, 6), np.nan), "not finite"),
        (ARM.joint_names, [1.0, 1.0], np.zeros((2, 6)), "increase"),
        (ARM.joint_names, [-1.0, 1.0], np.zeros((2, 6)), "increase"),
    ],
)
def test_trajectories_that_make_no_sense_are_refused(names, times, positions, message):
    with pytest.raises(InvalidGoal, match=message):
        checked_trajectory(names, times, positions, None, ARM.joint_names, "The arm's LIFT")


def test_joints_may_come_in_any_order():
    positions = np.arange(6.0)[None]
    shuffled = [3, 1, 5, 0, 2, 4]
    names = [ARM.joint_names[i] for i in shuffled]
    trajectory = checked_trajectory(names, [0.0], positions[:, shuffled], None, ARM.joint_names, "The arm's")
    np.testing.assert_array_equal(trajectory.positions, positions)
