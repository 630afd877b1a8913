"""From geometric paths to timed trajectories within velocity and acceleration limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import toppra
import toppra.algorithm
import toppra.constraint
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from dexgrasp_planner.errors import NoPathError

Array = NDArray[np.float64]

# Peak speed of a minimum-jerk motion, as a multiple of its mean speed.
_MINIMUM_JERK_PEAK = 1.875


@dataclass(frozen=True)
class Trajectory:
    """Joint positions over time, at rest at both ends.

    Attributes:
        joint_names: Names of the D joints, in column order.
        times: array (N,), from 0, increasing [s].
        positions: array (N, D) [rad].
        velocities: array (N, D) [rad/s].
    """

    joint_names: tuple[str, ...]
    times: Array
    positions: Array
    velocities: Array

    @property
    def duration(self) -> float:
        """Time of the last point [s]."""
        return float(self.times[-1])

    @property
    def end(self) -> Array:
        """Joint positions (D,) of the last point [rad]."""
        return self.positions[-1]

    def at(self, times: Array) -> Array:
        """Joint positions (M, D) at given times [s], linear between points."""
        return np.column_stack([np.interp(times, self.times, column) for column in self.positions.T])


def time_path(
    joint_names: tuple[str, ...], path: Array, velocity_limit: Array, acceleration_limit: Array, period: float
) -> Trajectory:
    """Drive along a path as fast as the limits allow, by toppra (Pham and Pham, 2018).

    The path is followed as the cubic spline through its points; callers make these dense enough for the
    spline to stay where they checked it.

    Args:
        joint_names: Names of the D joints.
        path: array (N, D), N >= 2, start to end [rad].
        velocity_limit: array (D,) [rad/s].
        acceleration_limit: array (D,) [rad/s^2].
        period: Time between the points of the trajectory [s].

    Raises:
        NoPathError: The path cannot be driven, as when it turns on the spot.
    """
    path = _without_repetitions(path)
    if len(path) < 2:
        return Trajectory(joint_names, np.array([0.0]), path[:1].copy(), np.zeros((1, path.shape[1])))
    spline = path_spline(path)
    instance = toppra.algorithm.TOPPRA(
        [
            toppra.constraint.JointVelocityConstraint(_both_signs(velocity_limit)),
            toppra.constraint.JointAccelerationConstraint(_both_signs(acceleration_limit)),
        ],
        _ToppraPath(spline),
        gridpoints=np.linspace(0.0, spline.x[-1], min(max(2 * len(path), 50), 300)),
        parametrizer="ParametrizeConstAccel",
    )
    timed = instance.compute_trajectory(0.0, 0.0)
    if timed is None:
        raise NoPathError("The path cannot be driven within the joint limits; it turns too sharply somewhere.")
    times = np.linspace(0.0, timed.duration, max(int(np.ceil(timed.duration / period)), 1) + 1)
    velocities = timed(times, 1)
    velocities[0] = velocities[-1] = 0.0
    return Trajectory(joint_names, times, timed(times), velocities)


def path_spline(path: Array) -> CubicSpline:
    """The curve that `time_path` follows: a cubic spline over the chord length of its points (N, D)."""
    chord = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    return CubicSpline(chord, path, bc_type="natural" if len(path) > 2 else "not-a-knot")


def minimum_jerk(
    joint_names: tuple[str, ...], start: Array, end: Array, duration: float, velocity_limit: Array, period: float
) -> Trajectory:
    """Straight motion in joint space that starts and ends gently, slowed down where the limits ask for it.

    Args:
        joint_names: Names of the D joints.
        start: array (D,) [rad].
        end: array (D,) [rad].
        duration: Least time to take [s].
        velocity_limit: array (D,) [rad/s].
        period: Time between the points of the trajectory [s].
    """
    duration = max(duration, _MINIMUM_JERK_PEAK * float(np.max(np.abs(end - start) / velocity_limit)))
    times = np.linspace(0.0, duration, max(int(np.ceil(duration / period)), 1) + 1)
    s = times / duration
    share = s**3 * (10.0 - 15.0 * s + 6.0 * s**2)
    speed = 30.0 * s**2 * (1.0 - s) ** 2 / duration
    return Trajectory(joint_names, times, start + share[:, None] * (end - start), speed[:, None] * (end - start))


class _ToppraPath(toppra.interpolator.AbstractGeometricPath):
    """A scipy spline, as toppra wants its paths."""

    def __init__(self, spline: CubicSpline) -> None:
        self._spline = spline

    def __call__(self, positions: Array, order: int = 0) -> Array:
        return self._spline(positions, order)

    @property
    def dof(self) -> int:
        return int(self._spline.c.shape[2])

    @property
    def path_interval(self) -> Array:
        return self._spline.x[[0, -1]]

    @property
    def waypoints(self) -> tuple[Array, Array]:
        return self._spline(self._spline.x), self._spline.x


def _both_signs(limit: Array) -> Array:
    return np.column_stack([-np.asarray(limit), np.asarray(limit)])


def _without_repetitions(path: Array) -> Array:
    path = np.asarray(path, dtype=np.float64)
    keep = np.concatenate([[True], np.linalg.norm(np.diff(path, axis=0), axis=1) > 1e-9])
    return path[keep]
