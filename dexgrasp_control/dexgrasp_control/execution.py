"""Run the phases of a grasp on an arm and a hand: deadlines, cancelling, and stopping both when one fails.

The robot is anything with the two movers below; nothing here knows how their trajectories travel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from dexgrasp_common.parameters import param

from dexgrasp_control.errors import (
    ArmFailed,
    ArmLost,
    ArmRejected,
    DriverUnavailable,
    ExecutionCancelled,
    ExecutionError,
    ExecutionTimeout,
    HandFailed,
    HandLost,
    HandOverload,
    HandRejected,
    ProtectiveStop,
)
from dexgrasp_control.phases import Phase, PhaseName, Trajectory


class End(Enum):
    """How a trajectory ended."""

    SUCCEEDED = auto()
    CANCELLED = auto()
    UNAVAILABLE = auto()
    REJECTED = auto()
    FAILED = auto()
    LOST = auto()
    PROTECTIVE_STOP = auto()
    OVERLOAD = auto()


@dataclass(frozen=True)
class Outcome:
    """How a trajectory ended, and what its driver says about it."""

    end: End
    message: str = ""


class Motion(Protocol):
    """One trajectory on its way. `outcome` completes exactly once."""

    outcome: Future[Outcome]

    def cancel(self) -> None:
        """Ask for a stop; the part holds its position, a hand keeps pressing. Returns at once."""
        ...


class Mover(Protocol):
    """An arm or a hand that follows trajectories."""

    def start(self, trajectory: Trajectory) -> Motion:
        """Begin to move. Returns at once; a trajectory that is refused shows in the outcome."""
        ...

    def stop(self) -> None:
        """Stop whatever is moving, at once and without waiting for an answer."""
        ...


@dataclass(frozen=True)
class Fault:
    """Something wrong with a part of the robot, noticed beside the trajectories themselves."""

    part: str
    outcome: Outcome


_ERRORS: dict[tuple[str, End], type[ExecutionError]] = {
    ("arm", End.UNAVAILABLE): DriverUnavailable,
    ("hand", End.UNAVAILABLE): DriverUnavailable,
    ("arm", End.REJECTED): ArmRejected,
    ("hand", End.REJECTED): HandRejected,
    ("arm", End.FAILED): ArmFailed,
    ("hand", End.FAILED): HandFailed,
    ("arm", End.LOST): ArmLost,
    ("hand", End.LOST): HandLost,
    ("arm", End.PROTECTIVE_STOP): ProtectiveStop,
    ("arm", End.OVERLOAD): ProtectiveStop,
    ("hand", End.OVERLOAD): HandOverload,
    ("hand", End.PROTECTIVE_STOP): HandOverload,
    ("arm", End.CANCELLED): ArmFailed,  # by somebody else: cancelling from here never looks at the outcome
    ("hand", End.CANCELLED): HandFailed,
}


def error_of(part: str, outcome: Outcome, phase: PhaseName) -> ExecutionError:
    """The error under which an unsuccessful outcome is reported."""
    reason = outcome.message or outcome.end.name.lower().replace("_", " ")
    return _ERRORS[part, outcome.end](f"{phase.name}: the {part} cannot go on: {reason}")


@dataclass(frozen=True)
class ExecutionConfig:
    """How long phases may take and how the robot is watched meanwhile."""

    duration_factor: float = param(
        1.5, "A phase that takes longer than its duration times this, plus the margin, is stuck", range=(1.0, 10.0)
    )
    duration_margin: float = param(3.0, "Margin beside duration_factor [s]", range=(0.1, 60.0))
    stop_timeout: float = param(2.0, "Longest wait for the parts to confirm a stop [s]", range=(0.1, 10.0))
    poll: float = param(0.01, "How often cancelling and faults are looked at [s]", range=(0.001, 0.05))


@dataclass
class Progress:
    """What has happened so far; still true after an error.

    Attributes:
        phase: The phase reached; None before the first.
        index: Its position in the list of phases.
        phase_times: Seconds per phase, the last one up to where it ended.
        moved: Whether any trajectory was sent.
    """

    phase: PhaseName | None = None
    index: int = -1
    phase_times: list[tuple[PhaseName, float]] = field(default_factory=list)
    moved: bool = False


class PhaseRunner:
    """Runs phases one after another.

    Args:
        arm, hand: What moves.
        fault: Looked at every `poll` seconds while something moves; a fault that is not carried by a trajectory's
            own outcome (a driver that falls silent, an overload while the hand only holds).
        config: Deadlines.
    """

    def __init__(
        self,
        arm: Mover,
        hand: Mover,
        fault: Callable[[], Fault | None] = lambda: None,
        config: ExecutionConfig | None = None,
    ) -> None:
        self._movers: dict[str, Mover] = {"arm": arm, "hand": hand}
        self._fault = fault
        self._config = config or ExecutionConfig()

    def run(
        self,
        phases: Sequence[Phase],
        progress: Progress,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        on_phase: Callable[[PhaseName], None] = lambda name: None,
        on_done: Callable[[PhaseName], None] = lambda name: None,
    ) -> None:
        """Run all phases.

        Args:
            phases: In order; already checked.
            progress: Filled while running.
            cancelled: Polled while something moves.
            on_phase: Called when a phase begins.
            on_done: Called when a phase has ended well, before the next begins.

        Raises:
            ExecutionCancelled: Cancelled; the robot is still, and the hand keeps its last command.
            ExecutionError: A subclass by cause; both parts have been told to stop.
        """
        for index, phase in enumerate(phases):
            progress.phase, progress.index = phase.name, index
            on_phase(phase.name)
            begin = time.monotonic()
            try:
                self._run_phase(phase, progress, cancelled)
            finally:
                progress.phase_times.append((phase.name, time.monotonic() - begin))
            on_done(phase.name)

    def check(self, phase: PhaseName) -> None:
        """See whether the robot can move.

        Raises:
            ExecutionError: By the fault that stands in the way of `phase`.
        """
        fault = self._fault()
        if fault is not None:
            raise error_of(fault.part, fault.outcome, phase)

    def _run_phase(self, phase: Phase, progress: Progress, cancelled: Callable[[], bool]) -> None:
        if cancelled():
            raise ExecutionCancelled(f"{phase.name.name}: cancelled before it began; the robot is where it was.")
        self.check(phase.name)
        limit = phase.duration * self._config.duration_factor + self._config.duration_margin
        deadline = time.monotonic() + limit
        motions: dict[str, Motion] = {}
        try:
            for part, trajectory in (("arm", phase.arm), ("hand", phase.hand)):
                if trajectory is not None:
                    progress.moved = True
                    motions[part] = self._movers[part].start(trajectory)
            self._watch(phase.name, motions, deadline, limit, cancelled)
        except ExecutionCancelled:
            self._halt(motions, stop=False)
            raise
        except BaseException:
            self._halt(motions, stop=True)
            raise

    def _watch(
        self,
        phase: PhaseName,
        motions: dict[str, Motion],
        deadline: float,
        limit: float,
        cancelled: Callable[[], bool],
    ) -> None:
        running = {motion.outcome: part for part, motion in motions.items()}
        while running:
            done, _ = wait_for(running, timeout=self._config.poll, return_when=FIRST_COMPLETED)
            # A part that has succeeded must not hide that the other one failed in the same moment.
            for future in done:
                part, outcome = running.pop(future), future.result()
                if outcome.end is not End.SUCCEEDED:
                    raise error_of(part, outcome, phase)
            self.check(phase)
            if cancelled():
                raise ExecutionCancelled(f"{phase.name}: cancelled; the robot is still and the hand keeps its command.")
            if running and time.monotonic() > deadline:
                stuck = " and the ".join(running.values())
                raise ExecutionTimeout(f"{phase.name}: the {stuck} did not arrive within {limit:.1f} s.")

    def _halt(self, motions: dict[str, Motion], *, stop: bool) -> None:
        """Bring both parts to rest; with `stop`, also parts that were not moving by a trajectory of ours."""
        if stop:
            for mover in self._movers.values():
                mover.stop()
        for motion in motions.values():
            motion.cancel()
        outcomes = [motion.outcome for motion in motions.values()]
        _, still_running = wait_for(outcomes, timeout=self._config.stop_timeout)
        if still_running and not stop:
            for mover in self._movers.values():
                mover.stop()
