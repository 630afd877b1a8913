"""The way home after an interrupted grasp: along the path that was planned and found free, slowly.

Up to the squeeze the robot goes back the way it came, opening its fingers where it closed them. From the lift on it may
hold something, so it goes on: over the bin, release, home. Nothing is planned anew, because the hand stands among
objects that a planner would call collisions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from dexgrasp_common.parameters import param
from numpy.typing import NDArray

from dexgrasp_control.errors import PlanningFailed
from dexgrasp_control.phases import Phase, PhaseName, Trajectory


@dataclass(frozen=True)
class HomingConfig:
    """How the robot goes home, and where home is taken to be."""

    arm_speed: float = param(0.4, "Fastest joint of the arm on the way home [rad/s]", range=(0.05, 1.5))
    hand_speed: float = param(1.5, "Fastest joint of the hand on the way home [rad/s]", range=(0.1, 8.0))
    home_tolerance: float = param(0.05, "Largest joint distance at which the arm is at home [rad]", range=(0.001, 0.5))
    path_tolerance: float = param(
        0.3, "Largest joint distance from the interrupted path at which it is still followed [rad]", range=(0.01, 1.0)
    )


@dataclass(frozen=True)
class Journey:
    """An execution that did not reach its end.

    Attributes:
        phases: What it was to do.
        index: The phase in which it was interrupted.
    """

    phases: tuple[Phase, ...]
    index: int


def is_at(positions: NDArray[np.float64], target: NDArray[np.float64], tolerance: float) -> bool:
    """Whether every joint is within `tolerance` of its target [rad]."""
    return bool(np.abs(positions - target).max() <= tolerance)


def way_home(
    journey: Journey | None,
    arm: NDArray[np.float64],
    hand: NDArray[np.float64],
    arm_home: NDArray[np.float64],
    opened: Trajectory,
    config: HomingConfig,
) -> list[Phase]:
    """Phases that bring the robot home with an open hand.

    Args:
        journey: What was interrupted; None: nothing is known.
        arm, hand: Measured positions (D,) [rad].
        arm_home: Home of the arm (D,) [rad].
        opened: One point: the hand's open posture, used where the arm is home already.
        config: Speeds and tolerances.

    Raises:
        PlanningFailed: The arm is not at home and no known path leads there; a person has to bring it.
    """
    if is_at(arm, arm_home, config.home_tolerance):
        goal = opened.positions[-1]
        if is_at(hand, goal, config.home_tolerance):
            return []
        return [Phase(PhaseName.HOME, hand=_timed(opened, np.vstack([hand, goal]), config.hand_speed))]
    away = float(np.abs(arm - arm_home).max())
    if journey is None:
        raise PlanningFailed(
            f"The arm is {away:.2f} rad from home and no interrupted motion is known that leads there. "
            "Bring it home by hand, for example with the teach pendant."
        )
    onward = journey.phases[journey.index].name >= PhaseName.LIFT
    for forward in (onward, not onward):
        ends = [phase.arm.positions[-1 if forward else 0] for phase in journey.phases if phase.arm is not None]
        if ends and is_at(ends[-1 if forward else 0], arm_home, config.home_tolerance):
            return _along(journey, arm, hand, forward, config)
    raise PlanningFailed(
        f"The arm is {away:.2f} rad from home, and the interrupted motion neither began nor was to end there. "
        "Bring it home by hand, for example with the teach pendant."
    )


def _along(
    journey: Journey, arm: NDArray[np.float64], hand: NDArray[np.float64], forward: bool, config: HomingConfig
) -> list[Phase]:
    phases = list(journey.phases[journey.index :] if forward else journey.phases[journey.index :: -1])
    interrupted = phases[0]
    first = Phase(
        interrupted.name,
        _rest(interrupted.arm, arm, forward, config.arm_speed, config.path_tolerance),
        _rest(interrupted.hand, hand, forward, config.hand_speed, np.inf),
    )
    # Forward, the phases to come keep the timing they were planned with.
    rest = (
        phases[1:]
        if forward
        else [
            Phase(phase.name, _reversed(phase.arm, config.arm_speed), _reversed(phase.hand, config.hand_speed))
            for phase in phases[1:]
        ]
    )
    return [first, *rest]


def _reversed(trajectory: Trajectory | None, speed: float) -> Trajectory | None:
    return None if trajectory is None else _timed(trajectory, trajectory.positions[::-1], speed)


def _rest(
    trajectory: Trajectory | None, start: NDArray[np.float64], forward: bool, speed: float, tolerance: float
) -> Trajectory | None:
    """From `start` to the end of the path, or with `forward` false to its beginning."""
    if trajectory is None:
        return None
    path = trajectory.positions if forward else trajectory.positions[::-1]
    segment, nearest = _project(path, start)
    distance = float(np.abs(nearest - start).max())
    if distance > tolerance:
        raise PlanningFailed(
            f"The arm stands {distance:.2f} rad beside the interrupted motion, more than the {tolerance:.2f} rad at "
            "which it may be resumed. Bring it home by hand, for example with the teach pendant."
        )
    return _timed(trajectory, np.vstack([start, nearest, path[segment + 1 :]]), speed)


def _project(path: NDArray[np.float64], point: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """The path's segment nearest to the point, and the nearest point on it."""
    if len(path) == 1:
        return 0, path[0]
    begin, step = path[:-1], np.diff(path, axis=0)
    length = np.maximum((step**2).sum(axis=1), 1e-18)
    along = np.clip(((point - begin) * step).sum(axis=1) / length, 0.0, 1.0)
    nearest = begin + along[:, None] * step
    segment = int(((nearest - point) ** 2).sum(axis=1).argmin())
    return segment, nearest[segment]


def _timed(like: Trajectory, path: NDArray[np.float64], speed: float, period: float = 0.05) -> Trajectory:
    """The path with one smooth start and stop (minimum jerk), its fastest joint never above `speed` [rad/s]."""
    lengths = np.concatenate([[0.0], np.abs(np.diff(path, axis=0)).max(axis=1).cumsum()])
    keep = np.concatenate([[True], np.diff(lengths) > 0])
    path, lengths = path[keep], lengths[keep]
    duration = max(1.875 * lengths[-1] / speed, 2 * period)  # minimum jerk peaks at 15/8 of the mean speed
    times = np.linspace(0.0, duration, max(int(np.ceil(duration / period)), 2) + 1)
    u = times / duration
    along = lengths[-1] * u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
    positions = np.column_stack([np.interp(along, lengths, column) for column in path.T])
    return replace(like, times=times, positions=positions, velocities=None)
