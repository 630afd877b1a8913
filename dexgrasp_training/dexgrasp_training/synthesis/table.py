"""The table under an object: which grasps keep the hand above it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dexgrasp_common.parameters import param
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.synthesis.hand_arrays import HandArrays, hand_arrays
from dexgrasp_training.synthesis.kernels import link_poses, place


@dataclass(frozen=True)
class ClearanceConfig:
    """How far the hand must stay away, and from where on.

    The margin is that of the paper's labels, and the way that of its evaluation, whose pregrasp is 10 cm back.
    """

    pregrasp_margin: float = param(0.0025, "Distance of the opened hand to other objects and the table [m]")
    grasp_margin: float = param(0.0, "Distance of the closed hand to other objects and the table [m]")
    approach: float = param(0.1, "Length of the straight way to the pregrasp that must be clear, too [m]")
    step: float = param(0.02, "Between the places that are looked at on that way [m]", range=(1e-3, 1.0))

    def retreat(self, hand: HandModel) -> NDArray[np.float64]:
        """Shifts (S, 3) of the palm along that way, none first, palm frame [m]."""
        steps = int(np.ceil(self.approach / self.step)) if self.approach > 0.0 else 0
        return np.outer(np.linspace(0.0, -self.approach, steps + 1) if steps else [0.0], hand.approach_axis)


def above_table(
    hand: HandModel,
    world_T_palm: NDArray[np.float64],
    pregrasp: NDArray[np.float64],
    grasp: NDArray[np.float64],
    config: ClearanceConfig,
) -> NDArray[np.bool_]:
    """Which of N grasps stay above z = 0 by the margins: at pregrasp, on the way to it, and in contact: (N,).

    Args:
        hand: The hand.
        world_T_palm: array (N, 4, 4).
        pregrasp, grasp: arrays (N, D) [rad or m].
        config: Margins.
    """
    arrays, retreat = hand_arrays(hand), config.retreat(hand)
    clear = np.ones(len(world_T_palm), dtype=np.bool_)
    _above_table(arrays, world_T_palm, pregrasp, retreat, config.pregrasp_margin, clear)
    _above_table(arrays, world_T_palm, grasp, retreat[:1], config.grasp_margin, clear)
    return clear


@njit(cache=True)
def _above_table(
    hand: HandArrays,
    world_T_palm: NDArray[np.float64],
    postures: NDArray[np.float64],
    retreat: NDArray[np.float64],
    margin: float,
    clear: NDArray[np.bool_],
) -> None:
    """Clear the marks of grasps some point of whose hand lies less than `margin` above z = 0 on the way (S, 3)."""
    poses = np.empty((len(hand.parent), 3, 4))
    for n in range(len(postures)):
        if not clear[n]:
            continue
        pose = world_T_palm[n]
        # Only heights count, and all places on the way are lifted by less or more.
        lift = np.inf
        for s in range(len(retreat)):
            lift = min(lift, pose[2, 0] * retreat[s, 0] + pose[2, 1] * retreat[s, 1] + pose[2, 2] * retreat[s, 2])
        floor = margin - lift - pose[2, 3]
        link_poses(hand, postures[n], poses)
        for link in range(len(hand.parent)):
            if not _link_above(hand, link, poses[link], pose[2], floor):
                clear[n] = False
                break


@njit(cache=True)
def _link_above(
    hand: HandArrays, link: int, palm_T_link: NDArray[np.float64], up: NDArray[np.float64], floor: float
) -> bool:
    ball = hand.ball[link]
    if ball[3] < 0.0:
        return True
    x, y, z = place(palm_T_link, ball[0], ball[1], ball[2])
    if up[0] * x + up[1] * y + up[2] * z - ball[3] >= floor:
        return True
    # The direction of up in the link's frame turns the heights of its points into dot products.
    u0 = up[0] * palm_T_link[0, 0] + up[1] * palm_T_link[1, 0] + up[2] * palm_T_link[2, 0]
    u1 = up[0] * palm_T_link[0, 1] + up[1] * palm_T_link[1, 1] + up[2] * palm_T_link[2, 1]
    u2 = up[0] * palm_T_link[0, 2] + up[1] * palm_T_link[1, 2] + up[2] * palm_T_link[2, 2]
    rest = floor - up[0] * palm_T_link[0, 3] - up[1] * palm_T_link[1, 3] - up[2] * palm_T_link[2, 3]
    for patch in range(hand.patch_start[link], hand.patch_start[link + 1]):
        ball = hand.patch_ball[patch]
        if u0 * ball[0] + u1 * ball[1] + u2 * ball[2] - ball[3] >= rest:
            continue
        for row in range(hand.point_start[patch], hand.point_start[patch + 1]):
            point = hand.points[row]
            if u0 * point[0] + u1 * point[1] + u2 * point[2] < rest:
                return False
    return True
