"""Few of many: the best grasps, no two of them nearly the same, and points far from each other."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

TURN_ARM = 0.05  # what turning the palm by one radian counts [m]


def distinct(
    world_T_palm: NDArray[np.float64], score: NDArray[np.float64], count: int, apart: float
) -> NDArray[np.intp]:
    """Indices of the best grasps, best first.

    Args:
        world_T_palm: array (N, 4, 4).
        score: array (N,), higher is better.
        count: At most so many.
        apart: Two palms nearer than this, in position plus `TURN_ARM` times their angle, are one [m].
    """
    order = np.argsort(-score, kind="stable")
    return order[_apart(np.ascontiguousarray(world_T_palm[order, :3]), count, apart)]


def farthest_points(points: NDArray[np.floating], count: int, first: int) -> NDArray[np.intp]:
    """Indices of `count` of the points (N, 3), N >= count, each as far as can be from those before it."""
    return _farthest(np.ascontiguousarray(points.T, dtype=np.float64), count, first)


@njit(cache=True, nogil=True)
def _apart(poses: NDArray[np.float64], count: int, apart: float) -> NDArray[np.intp]:
    """Which of the poses (N, 3, 4), in their order, are apart from all chosen before them."""
    chosen = np.empty(min(count, len(poses)), dtype=np.intp)
    size = 0
    for i in range(len(poses)):
        if size == len(chosen):
            break
        free = True
        for at in range(size):
            other, square, trace = poses[chosen[at]], 0.0, 0.0
            for row in range(3):
                square += (poses[i, row, 3] - other[row, 3]) ** 2
                for column in range(3):
                    trace += poses[i, row, column] * other[row, column]
            gap = np.sqrt(square)
            if gap < apart and gap + TURN_ARM * np.arccos(min(1.0, max(-1.0, 0.5 * (trace - 1.0)))) < apart:
                free = False
                break
        if free:
            chosen[size] = i
            size += 1
    return chosen[:size]


@njit(cache=True, nogil=True)
def _farthest(points: NDArray[np.float64], count: int, first: int) -> NDArray[np.intp]:
    """See `farthest_points`; the points are (3, N)."""
    chosen = np.empty(count, dtype=np.intp)
    x, y, z = points
    nearest = np.full(len(x), np.inf)
    at = first
    for index in range(count):
        chosen[index] = at
        px, py, pz = x[at], y[at], z[at]
        for i in range(len(x)):
            dx, dy, dz = x[i] - px, y[i] - py, z[i] - pz
            square = dx * dx + dy * dy + dz * dz
            if square < nearest[i]:
                nearest[i] = square
        at = int(np.argmax(nearest))
    return chosen
