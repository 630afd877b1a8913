"""The way of a trajectory from a sender to a backend: every check that needs no hardware."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from dexgrasp_description.models import RobotModel
from numpy.typing import NDArray

from dexgrasp_control.driver import Reading, ResultCode, TrajectoryRefused
from dexgrasp_control.errors import InvalidGoal
from dexgrasp_control.following import Path, PathRefused
from dexgrasp_control.phases import Trajectory, checked_trajectory


def checked_path(
    trajectory: Trajectory, model: RobotModel, reading: Reading, speed_limit: float, start_tolerance: float, part: str
) -> Path:
    """The path of a trajectory, in the order of the model's joints, within its limits and starting at the joints.

    Args:
        trajectory: As the sender made it.
        model: Limits and joint order.
        reading: Where the joints are.
        speed_limit: Fraction of the model's velocity limits that may be used.
        start_tolerance: Largest distance of a point at time zero from the joints [rad].
        part: "arm" or "hand", for messages.

    Raises:
        TrajectoryRefused: What is wrong with it.
    """
    _check_joints(trajectory.joint_names, model.joint_names, part)
    try:
        ordered = checked_trajectory(
            trajectory.joint_names,
            trajectory.times,
            trajectory.positions,
            trajectory.velocities,
            model.joint_names,
            f"The {part}'s",
        )
        path = Path.through(ordered, reading.position)
        speed = np.asarray(model.velocity_limit) * speed_limit
        path.check(reading.position, model.lower, model.upper, speed, model.joint_names, start_tolerance)
    except (InvalidGoal, PathRefused) as error:
        raise TrajectoryRefused(ResultCode.INVALID_GOAL, str(error)) from error
    return path


def nearest_start(
    trajectory: Trajectory, names: Sequence[str], position: NDArray[np.float64], goal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Where a hand's joints start: pressing fingers are somewhere else than their goals, and both are fair starts.

    Args:
        trajectory: As the sender made it.
        names: The hand's joints.
        position, goal: Where they are and where they drive, arrays (D,) [rad or m].
    """
    if sorted(trajectory.joint_names) != sorted(names) or not len(trajectory.times) or trajectory.times[0] > 0.0:
        return goal
    first = trajectory.reordered(names).positions[0]
    return np.where(np.abs(first - goal) < np.abs(first - position), goal, position)


def _check_joints(given: Sequence[str], expected: Sequence[str], part: str) -> None:
    if sorted(given) != sorted(expected):
        raise TrajectoryRefused(
            ResultCode.INVALID_JOINTS,
            f"The trajectory names the joints {list(given)}; the {part} needs each of {list(expected)} once.",
        )
