"""The joints between palm and fingertips as plain arrays, compiled: where tips are, how they move, and towards targets.

Only what moves a fingertip is computed, and poses of no other link.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import HandModel


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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def fingertip_poses(chains: FingerChains, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Poses of the fingertip links (N, F, 3, 4) in the palm, at joint positions of the hand (N, D) [rad or m]."""
    fingers, most = chains.columns.shape
    poses = np.empty((len(q), fingers, 3, 4))
    axes, centres = np.empty((most, 3)), np.empty((most, 3))
    for row in range(len(q)):
        for finger in range(fingers):
            columns = chains.columns[finger, : chains.length[finger]]
            tip_pose(chains, finger, q[row][columns], poses[row, finger], axes, centres)
    return poses


@njit(cache=True, nogil=True)
def descend(
    chains: FingerChains,
    start: NDArray[np.float64],
    targets: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    steps: int,
    rate: float,
) -> NDArray[np.float64]:
    """Joint positions after plain gradient steps on the summed squared distance of fingertip links to targets.

    Args:
        chains: Of the hand.
        start: array (N, D) [rad or m], within the limits.
        targets: array (N, F, 3), of the links' origins, in the palm [m].
        lower, upper: arrays (D,), limits that are kept [rad or m].
        steps: How many.
        rate: Of the steps of joints that turn [1/m^2]; a joint that slides takes the whole way at once.
    """
    found = start.copy()
    fingers, most = chains.columns.shape
    axes, centres, tip = np.empty((most, 3)), np.empty((most, 3)), np.empty((3, 4))
    jacobian, change = np.empty((3, most)), np.empty(start.shape[1])
    for row in range(len(start)):
        q = found[row]
        for _ in range(steps):
            change[:] = 0.0
            for finger in range(fingers):
                columns = chains.columns[finger, : chains.length[finger]]
                tip_pose(chains, finger, q[columns], tip, axes, centres)
                point_jacobian(chains, finger, axes, centres, tip[:, 3], jacobian)
                for k in range(len(columns)):
                    slope = 0.0
                    for i in range(3):
                        slope += jacobian[i, k] * (targets[row, finger, i] - tip[i, 3])
                    change[columns[k]] += slope if chains.slides[finger, k] else 2.0 * rate * slope
            for joint in range(len(q)):
                q[joint] = min(max(q[joint] + change[joint], lower[joint]), upper[joint])
    return found


@njit(cache=True, nogil=True)
def _multiply(A_T_B: NDArray[np.float64], B_T_C: NDArray[np.float64]) -> None:
    """A_T_B (3, 4) becomes A_T_C."""
    for i in range(3):
        a, b, c, d = A_T_B[i, 0], A_T_B[i, 1], A_T_B[i, 2], A_T_B[i, 3]
        for j in range(4):
            A_T_B[i, j] = a * B_T_C[0, j] + b * B_T_C[1, j] + c * B_T_C[2, j]
        A_T_B[i, 3] += d
