"""Joints behind an emulated controller: what is read from them and what moves them.

An emulated controller speaks its vendor's protocol on one side and knows one `JointPlant` on the other. The cell's
plants are MuJoCo joints (`dexgrasp_sim.servo`); `KinematicPlant` is a stand-alone one without contacts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from dexgrasp_common.errors import DexgraspError
from numpy.typing import ArrayLike, NDArray


class SimError(DexgraspError):
    """Something in the simulated cell is not as it must be."""


class PlantError(SimError):
    """A command that does not fit the plant's joints."""


@dataclass(frozen=True)
class JointSample:
    """The joints at one instant, in the order of `JointPlant.joint_names`.

    Attributes:
        position: array (D,) [rad].
        velocity: array (D,) [rad/s].
        effort: Torque of the motors, array (D,) [N m].
        target: Where the servos drive, array (D,) [rad].
        powered: Whether the servos are on.
        time: Plant time [s]; it runs with the simulation, not with the wall clock.
    """

    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    effort: NDArray[np.float64]
    target: NDArray[np.float64]
    powered: bool
    time: float


class JointPlant(Protocol):
    """Position-servoed, torque-limited joints. Every method may be called from any thread."""

    joint_names: tuple[str, ...]

    def read(self) -> JointSample:
        """The latest state."""
        ...

    def command(self, position: ArrayLike, effort_limit: ArrayLike | None = None) -> None:
        """Switch the servos on and drive to a position.

        Args:
            position: array (D,) [rad].
            effort_limit: Largest torque, array (D,) or one number for all [N m]; `None`: the joints' own limits.

        Raises:
            PlantError: Wrong number of values, not finite, or a negative limit.
        """
        ...

    def hold(self) -> None:
        """Switch the servos on and stay where the joints are now."""
        ...

    def release(self) -> None:
        """Switch the servos off; the next `command` or `hold` switches them on again."""
        ...


def checked_command(
    position: ArrayLike, effort_limit: ArrayLike | None, own_limit: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Target and torque limit, both (D,), of a command to joints whose own limits are `own_limit` (D,) [N m].

    Raises:
        PlantError: See `JointPlant.command`.
    """
    target = np.array(position, dtype=np.float64)
    if target.shape != own_limit.shape or not np.isfinite(target).all():
        raise PlantError(f"A position command needs {len(own_limit)} finite numbers [rad]; got {position!r}.")
    if effort_limit is None:
        return target, own_limit
    limit = np.array(effort_limit, dtype=np.float64)
    if limit.shape not in ((), own_limit.shape) or not np.isfinite(limit).all() or (limit < 0).any():
        raise PlantError(
            f"An effort limit is one number or {len(own_limit)} numbers, none negative [N m]; got {effort_limit!r}."
        )
    return target, np.minimum(limit, own_limit)


class KinematicPlant:
    """Joints that follow their targets with a first-order lag, without dynamics or contacts.

    It has no thread: each access integrates `dq/dt = clip((target - q) / tau, +-velocity_limit)` up to the clock in
    closed form. A joint stops at `lower` and `upper` as at a wall, and its effort
    `clip(stiffness * (target - q), +-effort_limit)` then stays up, as it does on a finger that has closed on something.

    Args:
        joint_names: Names of the D joints.
        initial: Positions at the start, array (D,) [rad]; `None`: all zero.
        time_constant: tau [s].
        velocity_limit, effort_limit: One number or (D,) [rad/s], [N m].
        lower, upper: Walls, one number or (D,) [rad].
        stiffness: Effort per position error [N m/rad].
        clock: Time source [s].
    """

    def __init__(
        self,
        joint_names: Sequence[str],
        initial: ArrayLike | None = None,
        *,
        time_constant: float = 0.01,
        velocity_limit: ArrayLike = 8.0,
        effort_limit: ArrayLike = 10.0,
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
        stiffness: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.joint_names = tuple(joint_names)
        shape = (len(self.joint_names),)
        self._lock = threading.Lock()
        self._clock, self._start = clock, clock()
        self._time = 0.0
        self._position = np.zeros(shape) if initial is None else np.array(initial, dtype=np.float64)
        self._velocity = np.zeros(shape)
        self._target = self._position.copy()
        self._tau, self._stiffness = time_constant, stiffness
        self._velocity_limit = np.broadcast_to(np.asarray(velocity_limit, dtype=np.float64), shape)
        self._own_limit = np.broadcast_to(np.asarray(effort_limit, dtype=np.float64), shape)
        self._limit = self._own_limit
        self._lower = np.broadcast_to(np.asarray(lower, dtype=np.float64), shape)
        self._upper = np.broadcast_to(np.asarray(upper, dtype=np.float64), shape)
        self._powered = True

    def read(self) -> JointSample:
        with self._lock:
            self._advance()
            effort = np.zeros_like(self._position)
            if self._powered:
                effort = np.clip(self._stiffness * (self._target - self._position), -self._limit, self._limit)
            return JointSample(
                self._position.copy(), self._velocity.copy(), effort, self._target.copy(), self._powered, self._time
            )

    def command(self, position: ArrayLike, effort_limit: ArrayLike | None = None) -> None:
        target, limit = checked_command(position, effort_limit, self._own_limit)
        with self._lock:
            self._advance()
            self._target, self._limit, self._powered = target, limit, True

    def hold(self) -> None:
        with self._lock:
            self._advance()
            self._target, self._limit, self._powered = self._position.copy(), self._own_limit, True

    def release(self) -> None:
        with self._lock:
            self._advance()
            self._target, self._powered = self._position.copy(), False

    def _advance(self) -> None:
        now = self._clock() - self._start
        dt, self._time = now - self._time, now
        if dt <= 0.0:
            return
        if not self._powered:
            self._velocity = np.zeros_like(self._position)
            return
        # At the velocity limit until the error is tau * limit, exponential from there.
        error = self._target - self._position
        knee = self._tau * self._velocity_limit
        fast = np.clip((np.abs(error) - knee) / self._velocity_limit, 0.0, dt)
        rest = (np.abs(error) - self._velocity_limit * fast) * np.exp(-(dt - fast) / self._tau)
        free = self._target - np.sign(error) * rest
        self._velocity = np.clip((self._target - free) / self._tau, -self._velocity_limit, self._velocity_limit)
        self._position = np.clip(free, self._lower, self._upper)
        self._velocity[self._position != free] = 0.0
