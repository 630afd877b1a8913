"""The phases of a grasp as data: joint trajectories of the arm and the hand, checked once where they enter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dexgrasp_control.errors import InvalidGoal


class PhaseName(IntEnum):
    """The constants of GraspPhase.msg."""

    PREGRASP = 1
    COVER = 2
    GRASP = 3
    SQUEEZE = 4
    LIFT = 5
    MOVE = 6
    RELEASE = 7
    HOME = 8


@dataclass(frozen=True)
class Trajectory:
    """Where a set of joints goes.

    Attributes:
        joint_names: D names, the order of the columns.
        times: (T,) increasing, from the start of the motion [s].
        positions: (T, D) [rad].
        velocities: (T, D) [rad/s]; None: left to the driver.
    """

    joint_names: tuple[str, ...]
    times: NDArray[np.float64]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64] | None = None

    @property
    def duration(self) -> float:
        """Time of the last point [s]."""
        return float(self.times[-1])

    def reordered(self, joint_names: Sequence[str]) -> Trajectory:
        """The same motion with its columns in another order of the same joints."""
        columns = [self.joint_names.index(name) for name in joint_names]
        velocities = None if self.velocities is None else self.velocities[:, columns]
        return Trajectory(tuple(joint_names), self.times, self.positions[:, columns], velocities)


@dataclass(frozen=True)
class Phase:
    """One phase: arm and hand move together; None keeps that part where it is, with what it holds."""

    name: PhaseName
    arm: Trajectory | None = None
    hand: Trajectory | None = None

    @property
    def duration(self) -> float:
        """Time of the longer of the two motions [s]."""
        return max((part.duration for part in (self.arm, self.hand) if part is not None), default=0.0)


def checked_trajectory(
    joint_names: Sequence[str],
    times: ArrayLike,
    positions: ArrayLike,
    velocities: ArrayLike | None,
    expected: Sequence[str],
    owner: str,
) -> Trajectory:
    """A trajectory in the owner's joint order, safe to send.

    Args:
        joint_names: Names as the sender ordered them.
        times: (T,) [s].
        positions: (T, D) [rad].
        velocities: (T, D) [rad/s] or None.
        expected: The joints of the arm or hand, in its order.
        owner: What moves ("the arm's COVER"), for messages.

    Raises:
        InvalidGoal: Other joints, no points, a wrong shape, numbers that are not finite or times that do not increase.
    """
    if sorted(joint_names) != sorted(expected):
        raise InvalidGoal(f"{owner} trajectory names the joints {list(joint_names)}; it needs {list(expected)}.")
    times_ = np.asarray(times, dtype=np.float64)
    positions_ = np.asarray(positions, dtype=np.float64)
    if times_.size == 0:
        raise InvalidGoal(f"{owner} trajectory has no points; at least one is needed.")
    if positions_.shape != (times_.size, len(expected)):
        raise InvalidGoal(
            f"{owner} trajectory needs {len(expected)} positions at each of its {times_.size} times; "
            f"got shape {positions_.shape}."
        )
    velocities_ = None if velocities is None else np.asarray(velocities, dtype=np.float64)
    if velocities_ is not None and velocities_.shape != positions_.shape:
        raise InvalidGoal(f"{owner} trajectory has {velocities_.shape} velocities for {positions_.shape} positions.")
    finite = [times_, positions_] + ([] if velocities_ is None else [velocities_])
    if not all(np.isfinite(values).all() for values in finite):
        raise InvalidGoal(f"{owner} trajectory contains numbers that are not finite.")
    if times_[0] < 0 or (np.diff(times_) <= 0).any():
        raise InvalidGoal(f"{owner} trajectory times must start at or after zero and increase from point to point.")
    return Trajectory(tuple(joint_names), times_, positions_, velocities_).reordered(expected)


def check_phases(phases: Sequence[Phase], max_gap: float) -> None:
    """Check that phases follow one another.

    Args:
        phases: In the order of execution.
        max_gap: Largest joint distance between the end of one phase and the start of the next [rad].

    Raises:
        InvalidGoal: No phases, a phase that moves nothing, phases out of order, or a jump between two phases.
    """
    if not phases:
        raise InvalidGoal("The goal has no phases; at least one is needed.")
    names = [phase.name for phase in phases]
    if any(later <= earlier for earlier, later in zip(names, names[1:], strict=False)):
        raise InvalidGoal(
            f"Phases must come in the order {', '.join(PhaseName.__members__)}, each at most once; "
            f"got {', '.join(name.name for name in names)}."
        )
    for phase in phases:
        if phase.arm is None and phase.hand is None:
            raise InvalidGoal(f"Phase {phase.name.name} moves neither the arm nor the hand.")
    arm_phases = [phase for phase in phases if phase.arm is not None]
    for earlier, later in zip(arm_phases, arm_phases[1:], strict=False):
        assert earlier.arm is not None
        assert later.arm is not None
        gap = float(np.abs(later.arm.positions[0] - earlier.arm.positions[-1]).max())
        if gap > max_gap:
            raise InvalidGoal(
                f"The arm's {later.name.name} starts {gap:.3f} rad from where {earlier.name.name} ends; "
                f"at most {max_gap:.3f} rad is allowed."
            )
