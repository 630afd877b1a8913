"""Clear the table: look, generate, plan the best reachable grasp, execute, look again, until nothing is left.

Each attempt ends with the robot at home and a fresh picture, whatever went wrong in it, so that the next one starts
from a known state. What each step does is behind `Skills`; nothing here knows about ROS.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from dexgrasp_common.parameters import param
from numpy.typing import NDArray

from dexgrasp_control.errors import (
    ArmLost,
    AttemptsExhausted,
    ClearingCancelled,
    ConsecutiveFailures,
    ControlError,
    DriverUnavailable,
    HandLost,
    HandOverload,
    NoCamera,
    ProtectiveStop,
    RobotFault,
)
from dexgrasp_control.heights import HeightMap, Rectangle, height_map, is_empty, seen_share
from dexgrasp_control.success import SightConfig, compare, judge

NO_GRASPS = 108
"""GenerateGrasp's code."""

OBJECT_MISSED = 409
"""ClearTable's code, in error_counts only: executed, but the object is still on the table."""


ROBOT_FAULTS = frozenset(error.code for error in (DriverUnavailable, ArmLost, HandLost, ProtectiveStop, HandOverload))
"""ExecuteGrasp's codes that say nothing about the grasp."""


class Stage(IntEnum):
    """The stages in ClearTable's feedback."""

    LOOK = 1
    GENERATE = 2
    PLAN = 3
    EXECUTE = 4
    JUDGE = 5


class StepFailed(ControlError):
    """A step of one attempt failed; the next attempt may do better.

    Attributes:
        error_code: The code that the action or service gave.
    """

    def __init__(self, error_code: int, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


@dataclass(frozen=True)
class Candidate:
    """A proposed grasp.

    Attributes:
        seed: The surface point that it is for, (3,), world frame [m].
        grasp: Whatever `Skills.plan` takes.
    """

    seed: NDArray[np.float64]
    grasp: Any


class Skills(Protocol):
    """What the loop calls. Each returns within a deadline of its own.

    All raise `StepFailed` for what the next attempt may overcome, and a `ClearingError` for what ends the clearing.
    """

    def look(self) -> NDArray[np.floating]:
        """A cloud taken after this call, (N, 3), world frame [m]; NaN rows are allowed."""
        ...

    def generate(self, seed: int) -> Sequence[Candidate]:
        """Grasps for what is on the table now, best first."""
        ...

    def plan(self, candidate: Candidate) -> Any:
        """A whole pick from home to home."""
        ...

    def execute(self, trajectory: Any) -> bool:
        """Carry out a pick; whether the fingers held something after the lift."""
        ...

    def go_home(self) -> None:
        """Put down what is held and go home; nothing moves where the robot is at home already."""
        ...


@dataclass(frozen=True)
class ClearingConfig:
    """When to stop, how long to try, and what counts as an object."""

    max_consecutive_failures: int = param(2, "Failed attempts in a row that end the clearing", range=(1, 100))
    max_plans: int = param(12, "Grasps to plan for in one attempt, down the ranking", range=(1, 1000))
    plan_time: float = param(30.0, "Time to plan in one attempt [s]", range=(0.1, 600.0))
    avoid_radius: float = param(
        0.04, "Grasps this near to one that failed since the last success come last [m]", range=(0.0, 0.3)
    )
    max_faults: int = param(3, "Attempts in a row that a fault of the robot may end", range=(0, 100))
    recovery_timeout: float = param(60.0, "Longest wait for a robot that cannot go home [s]", range=(0.0, 3600.0))
    recovery_pause: float = param(1.0, "Pause between two tries to go home [s]", range=(0.05, 60.0))
    min_height: float = param(0.015, "Lower things count as table [m]", range=(0.003, 0.1))
    max_height: float = param(
        0.22, "Higher things are not on the table: the hand at home hangs above it [m]", range=(0.05, 1.0)
    )
    min_cells: int = param(8, "Fewer raised cells of 5 x 5 mm than this are noise", range=(1, 1000))
    min_seen: float = param(0.4, "Share of the object area that the camera must see", range=(0.0, 1.0))
    margin: float = param(
        0.15, "How far around the object area to look for things pushed out of it [m]", range=(0.0, 1.0)
    )


@dataclass
class Statistics:
    """ClearTable's result, still true after an error.

    Attributes:
        errors: Number of failed attempts by error code.
        messages: The first message seen with each code.
        generate_ms, plan_ms: One entry per call of the generator, and per attempt that planned.
        cycle_s: One entry per attempt.
    """

    attempts: int = 0
    successes: int = 0
    cleared: bool = False
    consecutive_failures: int = 0
    errors: Counter[int] = field(default_factory=Counter)
    messages: dict[int, str] = field(default_factory=dict)
    generate_ms: list[float] = field(default_factory=list)
    plan_ms: list[float] = field(default_factory=list)
    cycle_s: list[float] = field(default_factory=list)


class TableClearer:
    """The loop.

    Args:
        skills: What it calls.
        area: Where objects are cleared.
        hidden: Rectangles to leave out of the comparison of pictures: the bin, whose contents change.
        config: Limits.
        sight: Thresholds of the comparison.
        log: Takes one line per event.
    """

    def __init__(
        self,
        skills: Skills,
        area: Rectangle,
        hidden: Sequence[Rectangle] = (),
        config: ClearingConfig | None = None,
        sight: SightConfig | None = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._skills = skills
        self._area = area
        self._hidden = hidden
        self._config = config or ClearingConfig()
        self._sight = sight or SightConfig()
        self._log = log

    def clear(
        self,
        statistics: Statistics,
        *,
        seed: int = 0,
        max_attempts: int = 0,
        max_consecutive_failures: int = 0,
        cancelled: Callable[[], bool] = lambda: False,
        on_stage: Callable[[Stage], None] = lambda stage: None,
    ) -> None:
        """Clear the table.

        Args:
            statistics: Filled while running.
            seed: Of the first attempt's generator; each further attempt adds one.
            max_attempts: 0: no limit.
            max_consecutive_failures: 0: the configured number.
            cancelled: Polled between and within steps.
            on_stage: Called when a stage begins.

        Raises:
            ClearingError: A subclass by cause, when the table is not empty at the end.
        """
        limit = max_consecutive_failures or self._config.max_consecutive_failures
        failed_at: list[NDArray[np.float64]] = []
        faults = 0
        self._go_home(cancelled)
        before = self._look(cancelled, on_stage, Stage.LOOK)
        while not is_empty(before, self._area, min_height=self._config.min_height, min_cells=self._config.min_cells):
            self._check(cancelled)
            if statistics.consecutive_failures >= limit:
                raise ConsecutiveFailures(f"{limit} attempts in a row failed; objects remain.")
            if max_attempts and statistics.attempts >= max_attempts:
                raise AttemptsExhausted(f"Objects remain after {max_attempts} attempts.")
            begin = time.monotonic()
            statistics.attempts += 1
            place: list[NDArray[np.float64]] = []
            try:
                felt = self._pick(statistics, seed + statistics.attempts - 1, failed_at, place, cancelled, on_stage)
                after = self._look(cancelled, on_stage, Stage.JUDGE)
                verdict = judge(felt, compare(before, after, place[0], self._sight))
                if not verdict.success:
                    raise StepFailed(OBJECT_MISSED, verdict.reason)
                statistics.successes += 1
                statistics.consecutive_failures = faults = 0
                failed_at.clear()
                self._log(f"Attempt {statistics.attempts} succeeded: {verdict.reason}.")
            except StepFailed as failure:
                self._check(cancelled)
                # A robot that failed says nothing about the grasp: the papers' rule is about grasps.
                faulty = failure.error_code in ROBOT_FAULTS
                faults = faults + 1 if faulty else 0
                statistics.consecutive_failures += not faulty
                statistics.errors[failure.error_code] += 1
                statistics.messages.setdefault(failure.error_code, str(failure))
                failed_at.extend([] if faulty else place)
                self._log(f"Attempt {statistics.attempts} failed with code {failure.error_code}: {failure}")
                if faults > self._config.max_faults:
                    raise RobotFault(f"{faults} attempts in a row ended with a fault; the last: {failure}") from failure
                self._go_home(cancelled)
                after = self._look(cancelled, on_stage, Stage.LOOK)
            finally:
                statistics.cycle_s.append(time.monotonic() - begin)
            before = after
        statistics.cleared = True

    def _pick(
        self,
        statistics: Statistics,
        seed: int,
        failed_at: list[NDArray[np.float64]],
        place: list[NDArray[np.float64]],
        cancelled: Callable[[], bool],
        on_stage: Callable[[Stage], None],
    ) -> bool:
        """One attempt; `place` receives the seed point of the grasp that is executed."""
        on_stage(Stage.GENERATE)
        begin = time.monotonic()
        try:
            candidates = self._skills.generate(seed)
        finally:
            statistics.generate_ms.append(1e3 * (time.monotonic() - begin))
        self._check(cancelled)
        on_stage(Stage.PLAN)
        begin = time.monotonic()
        try:
            candidate, trajectory = self._plan(
                ranked(candidates, failed_at, self._config.avoid_radius), begin, cancelled
            )
        finally:
            statistics.plan_ms.append(1e3 * (time.monotonic() - begin))
        self._check(cancelled)
        on_stage(Stage.EXECUTE)
        place.append(candidate.seed)
        felt = self._skills.execute(trajectory)
        self._check(cancelled)
        return felt

    def _plan(
        self, candidates: Sequence[Candidate], begin: float, cancelled: Callable[[], bool]
    ) -> tuple[Candidate, Any]:
        if not candidates:
            raise StepFailed(NO_GRASPS, "The generator proposed no grasps.")
        failures: list[StepFailed] = []
        for candidate in candidates[: self._config.max_plans]:
            self._check(cancelled)
            try:
                return candidate, self._skills.plan(candidate)
            except StepFailed as failure:
                failures.append(failure)
            if time.monotonic() - begin > self._config.plan_time:
                break
        # The commonest reason stands for all; of equals, that of the better grasp.
        code = Counter(failure.error_code for failure in failures).most_common(1)[0][0]
        first = next(failure for failure in failures if failure.error_code == code)
        raise StepFailed(code, f"None of the best {len(failures)} grasps can be reached; for example: {first}")

    def _look(self, cancelled: Callable[[], bool], on_stage: Callable[[Stage], None], stage: Stage) -> HeightMap:
        self._check(cancelled)
        on_stage(stage)
        x0, x1, y0, y1 = self._area
        margin = self._config.margin
        bounds = x0 - margin, x1 + margin, y0 - margin, y1 + margin
        view = height_map(self._skills.look(), bounds, ceiling=self._config.max_height)
        share = seen_share(view, self._area)
        if share < self._config.min_seen:
            raise NoCamera(
                f"The camera sees {100 * share:.0f} % of the object area; at least {100 * self._config.min_seen:.0f} % "
                "is needed to tell an empty table from a blind camera."
            )
        for rectangle in self._hidden:
            view.heights[view.inside(rectangle)] = np.nan
        return view

    def _go_home(self, cancelled: Callable[[], bool]) -> None:
        end = time.monotonic() + self._config.recovery_timeout
        while True:
            self._check(cancelled)
            try:
                self._skills.go_home()
                return
            except StepFailed as failure:
                if time.monotonic() > end:
                    raise RobotFault(
                        f"The robot did not get home within {self._config.recovery_timeout:.0f} s: {failure}"
                    ) from failure
                self._log(f"Waiting for the robot: {failure}")
            pause = time.monotonic() + self._config.recovery_pause
            while time.monotonic() < pause:
                self._check(cancelled)
                time.sleep(0.02)

    @staticmethod
    def _check(cancelled: Callable[[], bool]) -> None:
        if cancelled():
            raise ClearingCancelled("Cancelled; the robot is still and holds what it holds.")


def ranked(candidates: Sequence[Candidate], failed_at: Sequence[NDArray[np.float64]], radius: float) -> list[Candidate]:
    """The ranking with grasps near a place of failure moved to its end."""

    def near(candidate: Candidate) -> bool:
        return any(float(np.linalg.norm(candidate.seed - place)) < radius for place in failed_at)

    return sorted(candidates, key=near)
