"""The squeeze that follows from what the fingers touch: each presses into the surface that it is at, the others hold.

The benchmark's own rule (`postures.PostureRules.squeezed`) moves every fingertip 30 mm towards the middle, whether or
not it touches anything, and pushes objects out of grasps that some of the fingers hold.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from dexgrasp_description import HandModel
from dexgrasp_planner.finger_chains import FingerChains, finger_chains, point_jacobian, tip_pose
from dexgrasp_planner.hand_shape import HandPoints
from dexgrasp_planner.scene_field import SceneField

DEPTH = 0.010  # how far beyond the surface that is seen a contact would go [m]
TOUCH = 0.012  # a finger with an inner point this near the surface is meant to touch it [m]
_FARTHEST = 0.6  # no joint goes on further [rad or m]


class Pressing:
    """Squeezes of one hand; made once.

    Args:
        hand: The hand.
        depth: How far beyond the surface each contact would go [m].
    """

    def __init__(self, hand: HandModel, depth: float = DEPTH) -> None:
        self._points = HandPoints(hand, {link: points for link, (points, _) in hand.contact_points.items()})
        self._chains = finger_chains(hand)
        self._depth = depth
        self._lower, self._upper = np.array(hand.lower, dtype=float), np.array(hand.upper, dtype=float)
        fingers = fingers_of_links(hand, self._points)
        # A joint that carries several fingers presses none of them.
        used = zip(self._chains.columns, self._chains.length, strict=True)
        columns = np.concatenate([columns[:count] for columns, count in used])
        shared = np.bincount(columns, minlength=len(hand.joint_names)) > 1
        finger = fingers[self._points.link_of_point]
        self._rows = [torch.nonzero(finger == number)[:, 0] for number in range(len(hand.fingertips))]
        self._movable = self._points.moves.numpy() & ~shared

    def squeezed(
        self, space: SceneField, world_T_palm: NDArray[np.float64], grasp: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Postures (N, D) [rad or m] of fingers that press, for palms (N, 4, 4) and postures (N, D)."""
        if not len(grasp):
            return grasp.copy()
        palms, joints = (torch.as_tensor(array, dtype=torch.float32) for array in (world_T_palm, grasp))
        placed = self._points.in_world(palms, joints)
        distance = space.distance(placed)
        points, inward, ways, movable = [], [], [], []
        for rows in self._rows:
            gap, which = distance[:, rows].min(dim=1)
            which = rows[which]
            point = placed.gather(2, which[:, None, None].expand(-1, 3, 1))
            _, outward = space.look_up(point)
            points.append(_in_palm(palms, point[..., 0] - palms[:, :3, 3]))
            inward.append(_in_palm(palms, -outward[..., 0]))
            ways.append(torch.where(gap < TOUCH, gap.clamp_min(0.0) + self._depth, 0.0).double().numpy())
            movable.append(self._movable[self._points.link_of_point[which].numpy()])
        return _pressed(
            self._chains,
            np.clip(grasp, self._lower, self._upper).astype(np.float64),
            np.stack(points, axis=1),
            np.stack(inward, axis=1),
            np.stack(ways, axis=1),
            np.stack(movable, axis=1),
            self._lower,
            self._upper,
        )


def fingers_of_links(hand: HandModel, points: HandPoints) -> Tensor:
    """Which fingertip each link that carries points leads to, (L,); -1 for the palm."""
    finger = torch.full((len(points.links),), -1)
    for number, tip in enumerate(hand.fingertips):
        chain = points.moves[points.links.index(tip.link)]
        carried = points.moves.any(dim=1) & ~(points.moves & ~chain).any(dim=1)
        finger[carried] = number
    return finger


def _in_palm(world_T_palm: Tensor, vectors: Tensor) -> NDArray[np.float64]:
    """World vectors (N, 3) turned into the palms' frames."""
    turned = (world_T_palm[:, :3, :3].transpose(1, 2) @ vectors[..., None])[..., 0]
    found: NDArray[np.float64] = turned.double().numpy()
    return found


@njit(cache=True, nogil=True)
def _pressed(
    chains: FingerChains,
    grasp: NDArray[np.float64],
    points: NDArray[np.float64],
    inward: NDArray[np.float64],
    ways: NDArray[np.float64],
    movable: NDArray[np.bool_],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The grasps (N, D), one joint of each touching finger moved on: the one that drives its contact inward the most.

    Moved by the Jacobian's transpose, all joints would be at their torque limits, and the tip free to be pushed aside.

    Args:
        chains: Of the hand.
        grasp: Within the limits.
        points, inward: arrays (N, F, 3), each finger's contact and the direction into the surface, in the palm.
        ways: array (N, F), how far the contact would go [m]; 0: the finger does not press.
        movable: array (N, F, D), joints that may press at this contact.
        lower, upper: arrays (D,).
    """
    found = grasp.copy()
    fingers, most = chains.columns.shape
    axes, centres, tip = np.empty((most, 3)), np.empty((most, 3)), np.empty((3, 4))
    jacobian = np.empty((3, most))
    for row in range(len(grasp)):
        for finger in range(fingers):
            if ways[row, finger] <= 0.0:
                continue
            columns = chains.columns[finger, : chains.length[finger]]
            tip_pose(chains, finger, grasp[row][columns], tip, axes, centres)
            point_jacobian(chains, finger, axes, centres, points[row, finger], jacobian)
            best, strongest = -1, 0.0
            for k in range(len(columns)):
                if not movable[row, finger, columns[k]]:
                    continue
                drive = 0.0
                for i in range(3):
                    drive += jacobian[i, k] * inward[row, finger, i]
                if abs(drive) > abs(strongest):
                    best, strongest = columns[k], drive
            if best >= 0:
                moved = found[row, best] + np.sign(strongest) * min(ways[row, finger] / abs(strongest), _FARTHEST)
                found[row, best] = min(max(moved, lower[best]), upper[best])
    return found
