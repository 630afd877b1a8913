"""What every arm and hand backend offers: readings, health, and trajectories that are checked before they run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dexgrasp_control.errors import ControlError, DriverFault
from dexgrasp_control.following import Path
from dexgrasp_control.phases import Trajectory

Array = NDArray[np.float64]


class ResultCode(IntEnum):
    """`error_code` of control_msgs/FollowJointTrajectory; `DriverFault` holds the drivers' own."""

    SUCCESSFUL = 0
    INVALID_GOAL = -1
    INVALID_JOINTS = -2
    PATH_TOLERANCE_VIOLATED = -4
    GOAL_TOLERANCE_VIOLATED = -5


class TrajectoryRefused(ControlError):
    """A trajectory was not begun; nothing moved.

    Attributes:
        result: A `ResultCode` or `DriverFault`.
    """

    def __init__(self, result: int, message: str) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True)
class Tolerances:
    """How far a joint may stray; None: no limit.

    Attributes:
        path: Distance from the trajectory at any time, array (D,) of [rad].
        goal: Distance from the last point at the end, array (D,) of [rad].
        goal_time: How long after the last point the goal tolerance may take [s].
    """

    path: Array | None
    goal: Array | None
    goal_time: float


@dataclass(frozen=True)
class Reading:
    """The joints as measured, in the driver's order.

    Attributes:
        position: array (D,) [rad].
        velocity: array (D,) [rad/s].
        effort: array (D,) [N m]; None where the hardware does not tell.
        time: Host time of the measurement, `time.monotonic()` [s].
    """

    position: Array
    velocity: Array
    effort: Array | None
    time: float


@dataclass(frozen=True)
class Health:
    """Whether the hardware can move, and why not.

    Attributes:
        fault: None when it can.
        message: One line for people.
        values: Further figures for diagnostics, as text.
    """

    fault: DriverFault | None
    message: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MotionResult:
    """How a trajectory ended.

    Attributes:
        code: A `ResultCode` or `DriverFault`.
        message: Why, when it did not succeed.
        cancelled: Whether it ended because its sender asked.
    """

    code: int
    message: str = ""
    cancelled: bool = False


class Run:
    """A trajectory under way.

    Args:
        path: What is followed.
        cancel: Called to end it early.
    """

    _numbers = itertools.count(1)

    def __init__(self, path: Path, cancel: Callable[[Run], None]) -> None:
        self.number = next(self._numbers)
        self.path = path
        self.result: Future[MotionResult] = Future()
        self.elapsed = 0.0
        self._cancel = cancel

    def cancel(self) -> None:
        """Ask for a controlled stop; `result` follows."""
        self._cancel(self)

    def finish(self, result: MotionResult) -> None:
        """Complete `result`, the first time it is called."""
        if not self.result.done():
            self.result.set_result(result)


class Driver(Protocol):
    """One arm or hand. It connects by itself, in the background, and again whenever the connection was lost."""

    joint_names: tuple[str, ...]

    def reading(self) -> Reading | None:
        """The latest measurement; None while there is no connection."""
        ...

    def health(self) -> Health:
        """Whether it can move, and why not."""
        ...

    def follow(self, trajectory: Trajectory, tolerances: Tolerances) -> Run:
        """Check a trajectory and begin to follow it.

        Args:
            trajectory: In any order of the driver's joints.
            tolerances: See there.

        Raises:
            TrajectoryRefused: It cannot or must not be followed; nothing moved.
        """
        ...

    def stop(self, reason: str) -> None:
        """Bring the joints to rest quickly; a trajectory under way ends with `DriverFault.STOPPED` and the reason."""
        ...

    def close(self) -> None:
        """Bring the joints to rest and let go of the hardware."""
        ...
