"""Kinematics of one finger: where its tip is, and the joints that put a point of the tip where it is wanted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import HandModel

_DAMPING = 1e-7  # of the least squares, on lengths squared [m^2]
_LONGEST = 0.3  # joint step of one iteration [rad]


class FingerChains(NamedTuple):
    """The moving joints from the palm to each of F fingertips; fixed joints are merged into their successors.

    A finger has up to m joints; rows beyond its own number are not used.

    Attributes:
        length: array (F,), joints of each finger.
        parent_T_joint: array (F, m, 3, 4), pose of each joint at position zero in the frame of the joint before it; of
            the first in the palm.
        axis: array (F, m, 3), unit vectors in the joint frames.
        slides: array (F, m) bool, prismatic joints.
        joint_T_tip: array (F, 3, 4), pose of the tip's link in the last joint's frame.
        columns: array (F, m), where these joints stand among the hand's.
        lower: array (F, m) [rad or m].
        upper: array (F, m) [rad or m].
    """

    length: NDArray[np.int64]
    parent_T_joint: NDArray[np.float64]
    axis: NDArray[np.float64]
    slides: NDArray[np.bool_]
    joint_T_tip: NDArray[np.float64]
    columns: NDArray[np.int64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


def finger_chains(hand: HandModel) -> FingerChains:
    """The chains from a hand's palm to its fingertips."""
    above = {joint.child: joint for joint in hand.joints}
    paths = []
    for tip in hand.fingertips:
        path, link = [], tip.link
        while link in above:
            path.append(above[link])
            link = above[link].parent
        paths.append(path[::-1])
    count = np.array([sum(joint.kind != "fixed" for joint in path) for path in paths], dtype=np.int64)
    fingers, most = len(paths), int(count.max())
    chains = FingerChains(
        count,
        np.zeros((fingers, most, 3, 4)),
        np.zeros((fingers, most, 3)),
        np.zeros((fingers, most), dtype=np.bool_),
        np.zeros((fingers, 3, 4)),
        np.zeros((fingers, most), dtype=np.int64),
        np.zeros((fingers, most)),
        np.zeros((fingers, most)),
    )
    for finger, path in enumerate(paths):
        pose, k = np.eye(4), 0
        for joint in path:
            pose = pose @ joint.parent_T_joint
            if joint.kind != "fixed":
                column = hand.joint_names.index(joint.name)
                chains.parent_T_joint[finger, k], chains.axis[finger, k] = pose[:3], joint.axis
                chains.slides[finger, k], chains.columns[finger, k] = joint.kind == "prismatic", column
                chains.lower[finger, k], chains.upper[finger, k] = hand.lower[column], hand.upper[column]
                pose, k = np.eye(4), k + 1
        chains.joint_T_tip[finger] = pose[:3]
    return chains


@njit(cache=True)
def tip_pose(
    chains: FingerChains,
    finger: int,
    q: NDArray[np.float64],
    palm_T_tip: NDArray[np.float64],
    axes: NDArray[np.float64],
    centres: NDArray[np.float64],
) -> None:
    """Pose of the tip's link and the joint axes that carry it.

    Args:
        chains: The fingers.
        finger: Which of them.
        q: Joint positions (m,) [rad or m].
        palm_T_tip: Result (3, 4), palm frame.
        axes: Result (m, 3), directions of the joint axes, palm frame.
        centres: Result (m, 3), a point on each axis [m], palm frame.
    """
    palm_T_tip[:] = 0.0
    for i in range(3):
        palm_T_tip[i, i] = 1.0
    turned = np.empty((3, 3))
    for k in range(len(q)):
        _multiply(palm_T_tip, chains.parent_T_joint[finger, k])
        x, y, z = chains.axis[finger, k, 0], chains.axis[finger, k, 1], chains.axis[finger, k, 2]
        for i in range(3):
            axes[k, i] = palm_T_tip[i, 0] * x + palm_T_tip[i, 1] * y + palm_T_tip[i, 2] * z
            centres[k, i] = palm_T_tip[i, 3]
        if chains.slides[finger, k]:
            for i in range(3):
                palm_T_tip[i, 3] += axes[k, i] * q[k]
            continue
        s, c = np.sin(q[k]), np.cos(q[k])
        v = 1.0 - c
        turned[0, 0], turned[0, 1], turned[0, 2] = c + x * x * v, x * y * v - z * s, x * z * v + y * s
        turned[1, 0], turned[1, 1], turned[1, 2] = x * y * v + z * s, c + y * y * v, y * z * v - x * s
        turned[2, 0], turned[2, 1], turned[2, 2] = x * z * v - y * s, y * z * v + x * s, c + z * z * v
        for i in range(3):
            a, b, d = palm_T_tip[i, 0], palm_T_tip[i, 1], palm_T_tip[i, 2]
            for j in range(3):
                palm_T_tip[i, j] = a * turned[0, j] + b * turned[1, j] + d * turned[2, j]
    _multiply(palm_T_tip, chains.joint_T_tip[finger])


@njit(cache=True)
def point_jacobian(
    chains: FingerChains,
    finger: int,
    axes: NDArray[np.float64],
    centres: NDArray[np.float64],
    point: NDArray[np.float64],
    jacobian: NDArray[np.float64],
) -> None:
    """Derivative (3, m) of a point (3,) [m] fixed to the tip, palm frame, by the joints."""
    for k in range(len(axes)):
        if chains.slides[finger, k]:
            for i in range(3):
                jacobian[i, k] = axes[k, i]
        else:
            x, y, z = point[0] - centres[k, 0], point[1] - centres[k, 1], point[2] - centres[k, 2]
            jacobian[0, k] = axes[k, 1] * z - axes[k, 2] * y
            jacobian[1, k] = axes[k, 2] * x - axes[k, 0] * z
            jacobian[2, k] = axes[k, 0] * y - axes[k, 1] * x


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
def _multiply(A_T_B: NDArray[np.float64], B_T_C: NDArray[np.float64]) -> None:
    """A_T_B (3, 4) becomes A_T_C."""
    for i in range(3):
        a, b, c, d = A_T_B[i, 0], A_T_B[i, 1], A_T_B[i, 2], A_T_B[i, 3]
        for j in range(4):
            A_T_B[i, j] = a * B_T_C[0, j] + b * B_T_C[1, j] + c * B_T_C[2, j]
        A_T_B[i, 3] += d


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
