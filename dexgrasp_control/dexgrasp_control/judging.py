"""When a trajectory under way has failed or arrived."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dexgrasp_control.driver import MotionResult, ResultCode, Tolerances
from dexgrasp_control.following import Path


def verdict(
    path: Path, tolerances: Tolerances, elapsed: float, position: NDArray[np.float64], names: Sequence[str]
) -> MotionResult | None:
    """How a trajectory has ended; None while it goes on.

    Args:
        path: What is followed.
        tolerances: What it is held to.
        elapsed: Time since its begin [s].
        position: Where the joints are, array (D,) [rad or m].
        names: Of the joints, for messages.
    """
    desired, _ = path.at(elapsed)
    error = np.abs(position - desired)
    worst = int(error.argmax())
    if tolerances.path is not None and (error > tolerances.path).any():
        return MotionResult(
            ResultCode.PATH_TOLERANCE_VIOLATED,
            f"{names[worst]} was {error[worst]:.3f} off the trajectory after {elapsed:.2f} s.",
        )
    if elapsed < path.duration:
        return None
    if tolerances.goal is None or (error <= tolerances.goal).all():
        return MotionResult(ResultCode.SUCCESSFUL)
    if elapsed > path.duration + tolerances.goal_time:
        return MotionResult(
            ResultCode.GOAL_TOLERANCE_VIOLATED, f"{names[worst]} ended {error[worst]:.3f} from the goal."
        )
    return None
