"""The executor of grasps: runs phases, remembers what was interrupted, and brings the robot home afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from dexgrasp_common.parameters import param
from numpy.typing import NDArray

from dexgrasp_control.errors import InvalidGoal
from dexgrasp_control.execution import PhaseRunner, Progress
from dexgrasp_control.homing import HomingConfig, Journey, is_at, way_home
from dexgrasp_control.phases import Phase, PhaseName, Trajectory, check_phases


@dataclass(frozen=True)
class RobotState:
    """Measured positions in the order of the arm's and the hand's joints, (D,) [rad]."""

    arm: NDArray[np.float64]
    hand: NDArray[np.float64]


@dataclass(frozen=True)
class StartConfig:
    """What a goal must fit."""

    start_tolerance: float = param(
        0.05, "Largest joint distance between the arm and where its trajectory starts [rad]", range=(0.001, 0.5)
    )


class GraspExecutor:
    """Executes one goal at a time; the caller sees to that.

    Args:
        runner: Moves arm and hand.
        state: The measured positions; raises `DriverUnavailable` where there are none.
        holds: Whether the fingers hold something, from the commanded and the measured hand positions.
        arm_home: Home of the arm (D,) [rad].
        opened: One point: the hand's open posture.
        homing, start: Limits.
    """

    def __init__(
        self,
        runner: PhaseRunner,
        state: Callable[[], RobotState],
        holds: Callable[[NDArray[np.float64], NDArray[np.float64]], bool],
        arm_home: NDArray[np.float64],
        opened: Trajectory,
        homing: HomingConfig | None = None,
        start: StartConfig | None = None,
    ) -> None:
        self._runner = runner
        self._state = state
        self._holds = holds
        self._arm_home = arm_home
        self._opened = opened
        self._homing = homing or HomingConfig()
        self._start = start or StartConfig()
        self._journey: Journey | None = None
        self.felt_object = False

    @property
    def interrupted(self) -> bool:
        """Whether an earlier goal ended on its way, so that the robot has to go home before the next pick."""
        return self._journey is not None

    def execute(
        self,
        phases: Sequence[Phase],
        progress: Progress,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        on_phase: Callable[[PhaseName], None] = lambda name: None,
    ) -> None:
        """Carry out a grasp. A goal from home first ends what an earlier goal left unfinished, by `go_home`.

        Sets `felt_object` after the lift.

        Args:
            phases: In order.
            progress: Filled while running.
            cancelled, on_phase: As for `PhaseRunner.run`.

        Raises:
            ExecutionError: A subclass by cause. The robot is still; the hand keeps its last command.
        """
        self.felt_object = False
        check_phases(phases, self._start.start_tolerance)
        first = next((phase.arm.positions[0] for phase in phases if phase.arm is not None), None)
        if first is not None:
            if self.interrupted and is_at(first, self._arm_home, self._homing.home_tolerance):
                self.go_home(cancelled=cancelled, on_phase=on_phase)
            away = float(np.abs(self._state().arm - first).max())
            if away > self._start.start_tolerance:
                raise InvalidGoal(
                    f"The trajectory starts {away:.3f} rad from where the arm is; at most "
                    f"{self._start.start_tolerance:.3f} rad is allowed. Plan it from the present state."
                )
        commanded = {phase.name: phase.hand.positions[-1] for phase in phases if phase.hand is not None}

        def on_done(name: PhaseName) -> None:
            if name is PhaseName.LIFT and PhaseName.SQUEEZE in commanded:
                self.felt_object = self._holds(commanded[PhaseName.SQUEEZE], self._state().hand)

        try:
            self._runner.run(phases, progress, cancelled=cancelled, on_phase=on_phase, on_done=on_done)
        finally:
            # A goal that ends away from home is remembered like one that was interrupted: the way home is the same.
            if progress.moved and first is not None:
                self._journey = Journey(tuple(phases), progress.index)
        last = next((phase.arm.positions[-1] for phase in reversed(phases) if phase.arm is not None), None)
        if last is not None and is_at(last, self._arm_home, self._homing.home_tolerance):
            self._journey = None

    def go_home(
        self,
        progress: Progress | None = None,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        on_phase: Callable[[PhaseName], None] = lambda name: None,
    ) -> None:
        """Put down what is held and go home; nothing moves where the robot is at home with an open hand.

        Raises:
            PlanningFailed: No way home is known.
            ExecutionError: Something went wrong on the way; the next call goes on from there.
        """
        progress = progress or Progress()
        self._runner.check(PhaseName.HOME)
        state = self._state()
        phases = way_home(self._journey, state.arm, state.hand, self._arm_home, self._opened, self._homing)
        try:
            self._runner.run(phases, progress, cancelled=cancelled, on_phase=on_phase)
        except BaseException:
            self._remember(progress)
            raise
        self._journey = None

    def _remember(self, progress: Progress) -> None:
        if self._journey is None:
            return
        names = [phase.name for phase in self._journey.phases]
        if progress.phase in names:
            self._journey = Journey(self._journey.phases, names.index(progress.phase))
