"""The joints between palm and fingertips as plain arrays, and their descent towards targets, compiled.

Only what moves a fingertip is computed, and poses of no other link.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import HandModel


class FingerChains(NamedTuple):
    """Of F fingertips, at most J joints each that move; unused places come last and have column -1.

    Attributes:
        column: array (F, J), index of each joint in the joint positions.
        slides: array (F, J) bool, whether it is prismatic.
        axis: array (F, J, 3), its axis, in its own frame.
        origin: array (F, J, 3, 4), its pose at position zero in the frame of the joint before it, or in the palm.
        tip: array (F, 3, 4), the fingertip link's pose in the frame of its last joint.
    """

    column: NDArray[np.int64]
    slides: NDArray[np.bool_]
    axis: NDArray[np.float64]
    origin: NDArray[np.float64]
    tip: NDArray[np.float64]


def finger_chains(hand: HandModel) -> FingerChains:
    """The chains of a hand, joints that are fixed folded into what comes after them."""
    above = {joint.child: joint for joint in hand.joints}
    chains = []
    for fingertip in hand.fingertips:
        chain, link = [], fingertip.link
        while link in above:
            chain.append(above[link])
            link = above[link].parent
        chains.append(chain[::-1])
    most = max(sum(joint.kind != "fixed" for joint in chain) for chain in chains)
    count = len(chains)
    column, slides = np.full((count, most), -1), np.zeros((count, most), dtype=bool)
    axis, origin = np.zeros((count, most, 3)), np.zeros((count, most, 3, 4))
    tip = np.zeros((count, 3, 4))
    for finger, chain in enumerate(chains):
        pose, place = np.eye(4), 0
        for joint in chain:
            pose = pose @ joint.parent_T_joint
            if joint.kind != "fixed":
                column[finger, place] = hand.joint_names.index(joint.name)
                slides[finger, place], axis[finger, place] = joint.kind == "prismatic", joint.axis
                origin[finger, place] = pose[:3]
                pose, place = np.eye(4), place + 1
        tip[finger] = pose[:3]
    return FingerChains(column, slides, axis, origin, tip)


@njit(cache=True, nogil=True)
def fingertip_poses(chains: FingerChains, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Poses of the fingertip links (N, F, 3, 4) in the palm, at joint positions (N, D) [rad or m]."""
    poses = np.empty((len(q), len(chains.tip), 3, 4))
    origins, axes = np.empty((chains.column.shape[1], 3)), np.empty((chains.column.shape[1], 3))
    for row in range(len(q)):
        for finger in range(len(chains.tip)):
            follow(chains, finger, q[row], origins, axes, poses[row, finger])
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
    most = chains.column.shape[1]
    origins, axes, tip = np.empty((most, 3)), np.empty((most, 3)), np.empty((3, 4))
    change = np.empty(start.shape[1])
    for row in range(len(start)):
        q = found[row]
        for _ in range(steps):
            change[:] = 0.0
            for finger in range(len(chains.tip)):
                used = follow(chains, finger, q, origins, axes, tip)
                tx, ty, tz = tip[0, 3], tip[1, 3], tip[2, 3]
                ex, ey, ez = targets[row, finger, 0] - tx, targets[row, finger, 1] - ty, targets[row, finger, 2] - tz
                for place in range(used):
                    ax, ay, az = axes[place]
                    joint = chains.column[finger, place]
                    if chains.slides[finger, place]:
                        change[joint] += ax * ex + ay * ey + az * ez
                    else:
                        rx, ry, rz = tx - origins[place, 0], ty - origins[place, 1], tz - origins[place, 2]
                        slope = (ay * rz - az * ry) * ex + (az * rx - ax * rz) * ey + (ax * ry - ay * rx) * ez
                        change[joint] += 2.0 * rate * slope
            for joint in range(len(q)):
                q[joint] = min(max(q[joint] + change[joint], lower[joint]), upper[joint])
    return found


@njit(cache=True, nogil=True)
def follow(
    chains: FingerChains,
    finger: int,
    q: NDArray[np.float64],
    origins: NDArray[np.float64],
    axes: NDArray[np.float64],
    tip: NDArray[np.float64],
) -> int:
    """Write origins (J, 3) and axes (J, 3) of a finger's joints and the pose of its tip (3, 4), all in the palm.

    Returns how many joints there are.
    """
    pose, turn, moved = np.zeros((3, 4)), np.empty((3, 4)), np.empty((3, 4))
    pose[0, 0] = pose[1, 1] = pose[2, 2] = 1.0
    used = 0
    for place in range(chains.column.shape[1]):
        if chains.column[finger, place] < 0:
            break
        used += 1
        _compose(pose, chains.origin[finger, place], moved)
        value = q[chains.column[finger, place]]
        x, y, z = chains.axis[finger, place]
        for i in range(3):
            origins[place, i] = moved[i, 3]
            axes[place, i] = moved[i, 0] * x + moved[i, 1] * y + moved[i, 2] * z
        if chains.slides[finger, place]:
            for i in range(3):
                for j in range(3):
                    pose[i, j] = moved[i, j]
                pose[i, 3] = moved[i, 3] + value * axes[place, i]
            continue
        s, c = np.sin(value), np.cos(value)
        d = 1.0 - c
        turn[0, 0], turn[0, 1], turn[0, 2] = c + d * x * x, d * x * y - s * z, d * x * z + s * y
        turn[1, 0], turn[1, 1], turn[1, 2] = d * x * y + s * z, c + d * y * y, d * y * z - s * x
        turn[2, 0], turn[2, 1], turn[2, 2] = d * x * z - s * y, d * y * z + s * x, c + d * z * z
        turn[0, 3] = turn[1, 3] = turn[2, 3] = 0.0
        _compose(moved, turn, pose)
    _compose(pose, chains.tip[finger], tip)
    return used


@njit(cache=True, nogil=True, inline="always")
def _compose(a: NDArray[np.float64], b: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write the product of two poses (3, 4); `out` is neither of them."""
    for i in range(3):
        for j in range(4):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]
        out[i, 3] += a[i, 3]
