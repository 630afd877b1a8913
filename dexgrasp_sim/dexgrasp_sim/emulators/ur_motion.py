"""How a UR controller turns one motion command into joint targets, one control period at a time.

Every motion changes a `Setpoint` in place and says when it has ended. They are approximations of a closed
controller, good enough to exercise a driver: trapezoidal moves are exact in shape, servoj's response is a
documented model, and joint torques play no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_SPEED = np.pi
"""Joint speed that the controller never exceeds [rad/s]: the UR5's and UR5e's limit."""
MAX_ACCELERATION = 40.0
"""Joint acceleration that the controller never exceeds [rad/s^2]; not published, chosen well above what drivers ask."""


@dataclass
class Setpoint:
    """Where the controller wants the joints now: position [rad], velocity [rad/s], acceleration [rad/s^2]; (6,)."""

    q: Array
    qd: Array
    qdd: Array

    @classmethod
    def at_rest(cls, q: Array) -> Setpoint:
        """Standing still at `q`."""
        return cls(np.array(q, dtype=np.float64), np.zeros(len(q)), np.zeros(len(q)))

    def rest(self) -> None:
        """Stand still where the setpoint is."""
        self.qd[:] = 0.0
        self.qdd[:] = 0.0

    @property
    def steady(self) -> bool:
        """Whether the setpoint stands still."""
        return not self.qd.any()


class Motion(Protocol):
    """One running motion."""

    def step(self, setpoint: Setpoint, dt: float) -> bool:
        """Advance the setpoint by `dt` [s]; true once the motion has ended."""
        ...


class TrapezoidMove:
    """movej from rest to rest: all joints share one trapezoidal velocity profile set by the one with the longest way.

    Args:
        start: Joint position at the beginning [rad].
        goal: Joint position at the end [rad].
        speed: Speed of the leading joint [rad/s].
        acceleration: Acceleration of the leading joint [rad/s^2].
    """

    def __init__(self, start: Array, goal: Array, speed: float, acceleration: float) -> None:
        self._start = start.copy()
        self._way = goal - start
        self._distance = float(np.abs(self._way).max())
        self._speed = min(max(speed, 1e-3), MAX_SPEED)
        self._acceleration = min(max(acceleration, 1e-3), MAX_ACCELERATION)
        self._speed = min(self._speed, float(np.sqrt(self._distance * self._acceleration)))
        self._ramp = self._speed / self._acceleration
        self.duration = self._distance / self._speed + self._ramp if self._distance else 0.0
        self._time = 0.0

    def step(self, setpoint: Setpoint, dt: float) -> bool:
        self._time += dt
        if self._time >= self.duration:
            setpoint.q[:] = self._start + self._way
            setpoint.rest()
            return True
        left = self.duration - self._time
        if self._time < self._ramp:
            s, v, a = 0.5 * self._acceleration * self._time**2, self._acceleration * self._time, self._acceleration
        elif left < self._ramp:
            s = self._distance - 0.5 * self._acceleration * left**2
            v, a = self._acceleration * left, -self._acceleration
        else:
            s, v, a = self._speed * (self._time - 0.5 * self._ramp), self._speed, 0.0
        direction = self._way / self._distance
        setpoint.q[:] = self._start + direction * s
        setpoint.qd[:] = direction * v
        setpoint.qdd[:] = direction * a
        return False


class ServoTracking:
    """servoj: follow the latest target until another command.

    The target passes a first-order filter of time constant `lookahead`, and the joints follow the filtered target
    with stiffness `gain` [1/s^2] and critical damping on the difference of velocities. A target that moves at
    constant velocity is therefore followed with a delay of `lookahead`, and a higher gain follows the filtered
    target more tightly. Universal Robots publishes only that a larger lookahead smooths and a larger gain tightens.
    """

    def __init__(self, setpoint: Setpoint) -> None:
        self.target = setpoint.q.copy()
        self.lookahead = 0.1
        self.gain = 300.0
        self._reference = setpoint.q.copy()

    def step(self, setpoint: Setpoint, dt: float) -> bool:
        before = self._reference
        self._reference = before + (self.target - before) * -np.expm1(-dt / self.lookahead)
        speed = (self._reference - before) / dt
        stiffness = min(self.gain, 0.25 / dt**2)
        qdd = stiffness * (self._reference - setpoint.q) + 2.0 * np.sqrt(stiffness) * (speed - setpoint.qd)
        qd = setpoint.qd + np.clip(qdd, -MAX_ACCELERATION, MAX_ACCELERATION) * dt
        _advance(setpoint, np.clip(qd, -MAX_SPEED, MAX_SPEED), dt)
        if np.abs(setpoint.qd).max() < 1e-6 and np.abs(self.target - setpoint.q).max() < 1e-7:
            setpoint.rest()
        return False


class SpeedTracking:
    """speedj as the control script repeats it: ramp to a joint velocity and keep it until another command."""

    def __init__(self) -> None:
        self.target = np.zeros(6)
        self.acceleration = 0.5

    def step(self, setpoint: Setpoint, dt: float) -> bool:
        change = np.clip(self.target, -MAX_SPEED, MAX_SPEED) - setpoint.qd
        largest = float(np.abs(change).max())
        limit = min(self.acceleration, MAX_ACCELERATION) * dt
        _advance(setpoint, setpoint.qd + (change * (limit / largest) if largest > limit else change), dt)
        return False


class Deceleration:
    """stopj: slow all joints down along their direction of motion; the fastest decelerates at `rate` [rad/s^2]."""

    def __init__(self, rate: float) -> None:
        self._rate = min(max(rate, 1e-2), MAX_ACCELERATION)

    def step(self, setpoint: Setpoint, dt: float) -> bool:
        fastest = float(np.abs(setpoint.qd).max())
        if fastest <= self._rate * dt:
            setpoint.rest()
            return True
        _advance(setpoint, setpoint.qd * (1.0 - self._rate * dt / fastest), dt)
        return False


def _advance(setpoint: Setpoint, qd: Array, dt: float) -> None:
    setpoint.qdd[:] = (qd - setpoint.qd) / dt
    setpoint.qd[:] = qd
    setpoint.q += qd * dt
