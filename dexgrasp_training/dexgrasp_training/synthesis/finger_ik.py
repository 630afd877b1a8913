"""The joints that put a point of a fingertip where it is wanted."""

from __future__ import annotations

import numpy as np
from dexgrasp_planner.finger_chains import FingerChains, point_jacobian, tip_pose
from numba import njit
from numpy.typing import NDArray

_DAMPING = 1e-7  # of the least squares, on lengths squared [m^2]
_LONGEST = 0.3  # joint step of one iteration [rad]


@njit(cache=True)
def reach(
    chains: FingerChains,
    finger: int,
    tip_point: NDArray[np.float64],
    tip_normal: NDArray[np.float64],
    target: NDArray[np.float64],
    direction: NDArray[np.float64],
    iterations: int,
    tolerance: float,
    q: NDArray[np.float64],
) -> float:
    """Joints that put a point of the tip on a target, its normal as near to a direction as the redundancy allows.

    Damped least squares on the position; what joint motion is left over (the Jacobian's null space) turns the normal.

    Args:
        chains: The fingers.
        finger: Which of them.
        tip_point: (3,), point of the tip [m], tip frame.
        tip_normal: (3,), unit normal there, tip frame.
        target: (3,), where the point is wanted [m], palm frame.
        direction: (3,), unit vector, where the normal is wanted to point, palm frame.
        iterations: Most steps.
        tolerance: Distance to the target at which to stop [m].
        q: Joints to start from, and the result (m,) [rad or m].

    Returns:
        Distance of the point from the target [m].
    """
    count = len(q)
    palm_T_tip = np.empty((3, 4))
    axes, centres = np.empty((count, 3)), np.empty((count, 3))
    jacobian = np.empty((3, count))
    point, normal, miss, lack, turn = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    square, free, step = np.empty((3, 3)), np.empty(count), np.empty(count)
    held = np.zeros(count, dtype=np.bool_)
    distance = np.inf
    for iteration in range(iterations + 1):
        tip_pose(chains, finger, q, palm_T_tip, axes, centres)
        distance = 0.0
        for i in range(3):
            row = palm_T_tip[i]
            point[i] = row[0] * tip_point[0] + row[1] * tip_point[1] + row[2] * tip_point[2] + row[3]
            normal[i] = row[0] * tip_normal[0] + row[1] * tip_normal[1] + row[2] * tip_normal[2]
            miss[i] = target[i] - point[i]
            lack[i] = direction[i] - normal[i]
            distance += miss[i] * miss[i]
        distance = np.sqrt(distance)
        # At least one step is made, so that the normal is turned even where the start is on the target.
        if iteration == iterations or (iteration > 0 and distance < tolerance):
            break
        point_jacobian(chains, finger, axes, centres, point, jacobian)
        for k in range(count):
            if held[k]:
                jacobian[0, k] = jacobian[1, k] = jacobian[2, k] = 0.0
        for i in range(3):
            for j in range(3):
                square[i, j] = _DAMPING if i == j else 0.0
                for k in range(count):
                    square[i, j] += jacobian[i, k] * jacobian[j, k]
        # The gradient of the normal's error, less its part that would move the point.
        for k in range(count):
            free[k] = 0.0
            if not chains.slides[finger, k] and not held[k]:
                free[k] = (
                    (axes[k, 1] * normal[2] - axes[k, 2] * normal[1]) * lack[0]
                    + (axes[k, 2] * normal[0] - axes[k, 0] * normal[2]) * lack[1]
                    + (axes[k, 0] * normal[1] - axes[k, 1] * normal[0]) * lack[2]
                )
        for i in range(3):
            turn[i] = 0.0
            for k in range(count):
                turn[i] += jacobian[i, k] * free[k]
        _solve_spd3(square, turn)
        _solve_spd3(square, miss)
        turned = np.zeros(3)
        for k in range(count):
            for i in range(3):
                free[k] -= jacobian[i, k] * turn[i]
            if not chains.slides[finger, k]:
                turned[0] += free[k] * (axes[k, 1] * normal[2] - axes[k, 2] * normal[1])
                turned[1] += free[k] * (axes[k, 2] * normal[0] - axes[k, 0] * normal[2])
                turned[2] += free[k] * (axes[k, 0] * normal[1] - axes[k, 1] * normal[0])
        size = turned[0] ** 2 + turned[1] ** 2 + turned[2] ** 2
        gain = 0.0
        if size > 1e-9:
            gain = (turned[0] * lack[0] + turned[1] * lack[1] + turned[2] * lack[2]) / size
        longest = 0.0
        for k in range(count):
            step[k] = gain * free[k]
            for i in range(3):
                step[k] += jacobian[i, k] * miss[i]
            longest = max(longest, abs(step[k]))
        scale = min(1.0, _LONGEST / max(longest, 1e-12))
        for k in range(count):
            q[k] += scale * step[k]
            # A joint that meets its limit stays there; the others go on without it.
            if q[k] <= chains.lower[finger, k] or q[k] >= chains.upper[finger, k]:
                q[k] = min(max(q[k], chains.lower[finger, k]), chains.upper[finger, k])
                held[k] = True
    return distance


@njit(cache=True)
def _solve_spd3(matrix: NDArray[np.float64], right: NDArray[np.float64]) -> None:
    """Replace `right` (3,) by the solution of a symmetric positive definite system (3, 3), by Cholesky's factors."""
    a = np.sqrt(matrix[0, 0])
    b, c = matrix[1, 0] / a, matrix[2, 0] / a
    d = np.sqrt(matrix[1, 1] - b * b)
    e = (matrix[2, 1] - b * c) / d
    f = np.sqrt(matrix[2, 2] - c * c - e * e)
    x = right[0] / a
    y = (right[1] - b * x) / d
    z = (right[2] - c * x - e * y) / f
    right[2] = z / f
    right[1] = (y - e * right[2]) / d
    right[0] = (x - b * right[1] - c * right[2]) / a
