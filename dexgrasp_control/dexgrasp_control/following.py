"""From a joint trajectory to positions over time, and the checks that it passes before anything moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dexgrasp_control.phases import Trajectory

Array = NDArray[np.float64]

_SAMPLES = np.linspace(0.0, 1.0, 9)
_LIMIT_SLACK = 1e-3
"""How far outside its limits a joint may be commanded: the rounding of planners and messages [rad]."""
_VELOCITY_SLACK = 1.05
"""Velocities are finite differences of rounded times; five percent too fast is not refused."""


class PathRefused(Exception):
    """The trajectory would break a limit, or does not start where the joints are."""


class Path:
    """Joint positions over time through the points of a trajectory.

    Between points that carry velocities a cubic Hermite polynomial, else a straight line, as ROS's joint trajectory
    controller does. Before the first point the joints go there from where they start; after the last they stay.

    Args:
        times: (T,) increasing [s], the first zero.
        positions: (T, D) [rad].
        velocities: (T, D) [rad/s], or None.
    """

    def __init__(self, times: Array, positions: Array, velocities: Array | None) -> None:
        self.times = times
        self.positions = positions
        self.velocities = velocities

    @classmethod
    def through(cls, trajectory: Trajectory, start: Array) -> Path:
        """The path of a trajectory for joints at `start` (D,) [rad]."""
        times, positions, velocities = trajectory.times, trajectory.positions, trajectory.velocities
        if times[0] > 0.0:
            times = np.concatenate([[0.0], times])
            positions = np.vstack([start, positions])
            velocities = None if velocities is None else np.vstack([np.zeros_like(start), velocities])
        return cls(times, positions, velocities)

    @property
    def duration(self) -> float:
        """Time of the last point [s]."""
        return float(self.times[-1])

    @property
    def end(self) -> Array:
        """Last point (D,) [rad]."""
        return self.positions[-1]

    def at(self, time: float) -> tuple[Array, Array]:
        """Position (D,) [rad] and velocity (D,) [rad/s] at a time [s]."""
        if time >= self.duration:
            return self.positions[-1], np.zeros_like(self.positions[-1])
        segment = max(int(np.searchsorted(self.times, time, side="right")) - 1, 0)
        u = (time - self.times[segment]) / (self.times[segment + 1] - self.times[segment])
        position, velocity = self._segment(segment, np.array([max(u, 0.0)]))
        return position[0], velocity[0]

    def check(
        self, start: Array, lower: Array, upper: Array, speed: Array, names: Sequence[str], tolerance: float
    ) -> None:
        """Check where the path starts and what it asks of the joints.

        Args:
            start: Where the joints are (D,) [rad].
            lower, upper: Position limits (D,) [rad].
            speed: Velocity limits (D,) [rad/s].
            names: For messages.
            tolerance: Largest distance of the path's start from `start` [rad].

        Raises:
            PathRefused: The first thing that is wrong.
        """
        gap = np.abs(self.positions[0] - start)
        worst = int(gap.argmax())
        if gap[worst] > tolerance:
            raise PathRefused(
                f"The trajectory starts {gap[worst]:.3f} rad from where {names[worst]} is ({start[worst]:.3f} rad); "
                f"at most {tolerance:.3f} rad is allowed. Plan from the present joint states."
            )
        for segment in range(len(self.times) - 1):
            self._check_segment(segment, lower, upper, speed, names)
        if len(self.times) == 1:
            _check_positions(self.positions, lower, upper, names, self.times[0])

    def _check_segment(self, segment: int, lower: Array, upper: Array, speed: Array, names: Sequence[str]) -> None:
        position, velocity = self._segment(segment, _SAMPLES)
        if segment == 0:
            # Joints that already stand a little outside may start there, but not go further.
            lower, upper = np.minimum(lower, position[0]), np.maximum(upper, position[0])
        _check_positions(position, lower, upper, names, self.times[segment + 1])
        fastest = np.abs(velocity).max(axis=0)
        worst = int((fastest / speed).argmax())
        if fastest[worst] > speed[worst] * _VELOCITY_SLACK:
            raise PathRefused(
                f"The trajectory moves {names[worst]} at {fastest[worst]:.2f} rad/s before "
                f"{self.times[segment + 1]:.3f} s; its limit is {speed[worst]:.2f} rad/s."
            )

    def _segment(self, segment: int, u: Array) -> tuple[Array, Array]:
        """Positions and velocities (N, D) at parameters `u` (N,) in [0, 1] of one segment."""
        dt = self.times[segment + 1] - self.times[segment]
        p0, p1 = self.positions[segment], self.positions[segment + 1]
        if self.velocities is None:
            return p0 + u[:, None] * (p1 - p0), np.broadcast_to((p1 - p0) / dt, (len(u), len(p0)))
        m0, m1 = self.velocities[segment] * dt, self.velocities[segment + 1] * dt
        w = u[:, None]
        a, b = 2.0 * (p0 - p1) + m0 + m1, 3.0 * (p1 - p0) - 2.0 * m0 - m1
        return ((a * w + b) * w + m0) * w + p0, ((3.0 * a * w + 2.0 * b) * w + m0) / dt


def _check_positions(position: Array, lower: Array, upper: Array, names: Sequence[str], time: float) -> None:
    beyond = np.maximum(position - upper, lower - position).max(axis=0)
    worst = int(beyond.argmax())
    if beyond[worst] > _LIMIT_SLACK:
        raise PathRefused(
            f"The trajectory takes {names[worst]} {beyond[worst]:.3f} rad beyond its limits "
            f"[{lower[worst]:.3f}, {upper[worst]:.3f}] rad before {time:.3f} s."
        )
