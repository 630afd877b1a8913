"""From one grasp to the way of executing it: where the palm waits and lifts, how far the fingers open and squeeze."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_planner.finger_chains import descend, finger_chains, fingertip_poses

# The rules by which the DexGraspNet 2.0 benchmark executes a grasp (its width mapper and simulation evaluator).
RETREAT = 0.10  # pregrasp: the palm this far back along the approach direction [m]
OPENING = 0.025  # pregrasp and cover: fingertip-link origins against their inner normals [m]
SQUEEZING = 0.030  # squeeze: fingertip-link origins along their inner normals without the approach component [m]
LIFT = 0.20  # lift: how far the palm moves [m]
STEEP = math.cos(math.radians(60.0))  # lift along the retreat direction where the approach points down more than this

# The benchmark moves fingertips by plain gradient steps on the summed squared distance to their targets. The steps are
# kept: they flex joints in proportion to what each contributes, which is also how torques make a force, and simulated
# lifts succeed more often with them than with least squares (88 against 74 % at 0.25 N m a joint).
_STEPS = 20
_RATE = 20.0


def approach_directions(world_T_palm: NDArray[np.float64], approach_axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """World directions (N, 3) in which palms (N, 4, 4) approach."""
    return world_T_palm[..., :3, :3] @ approach_axis


def retreated(
    world_T_palm: NDArray[np.float64], approach_axis: NDArray[np.float64], distance: float = RETREAT
) -> NDArray[np.float64]:
    """Palm poses (N, 4, 4) moved back by `distance` [m] along their approach directions."""
    moved = world_T_palm.copy()
    moved[..., :3, 3] -= distance * approach_directions(world_T_palm, approach_axis)
    return moved


def lifted(world_T_palm: NDArray[np.float64], approach_axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Palm poses (N, 4, 4) at the end of the lift: back along a steep approach, straight up from a shallow one."""
    approach = approach_directions(world_T_palm, approach_axis)
    steep = -approach[..., 2:3] > STEEP
    moved = world_T_palm.copy()
    moved[..., :3, 3] += LIFT * np.where(steep, -approach, np.array([0.0, 0.0, 1.0]))
    return moved


class PostureRules:
    """Opens and squeezes the fingers of one hand around grasp postures.

    Targets are displaced fingertip-link origins. What cannot be reached within the joint limits stays as near as the
    joints allow.
    """

    def __init__(self, hand: HandModel) -> None:
        self._chains = finger_chains(hand)
        self._inner = np.stack([tip.inner_normal for tip in hand.fingertips])
        self._approach = hand.approach_axis
        self._lower, self._upper = np.array(hand.lower, dtype=float), np.array(hand.upper, dtype=float)

    def opened(self, grasp: NDArray[np.float64]) -> NDArray[np.float64]:
        """Postures (N, D) [rad or m] with every fingertip-link origin `OPENING` away from the object."""
        origins, normals = self._origins_and_normals(grasp)
        return self._reach(grasp, origins - OPENING * normals)

    def squeezed(self, grasp: NDArray[np.float64]) -> NDArray[np.float64]:
        """Postures (N, D) [rad or m] with every fingertip-link origin `SQUEEZING` into the object.

        A fingertip that points along the approach has no direction left to squeeze in and stays.
        """
        origins, normals = self._origins_and_normals(grasp)
        lateral = normals - (normals @ self._approach)[..., None] * self._approach
        length = np.linalg.norm(lateral, axis=-1, keepdims=True)
        direction = np.where(length > 1e-3, lateral / np.maximum(length, 1e-9), 0.0)
        return self._reach(grasp, origins + SQUEEZING * direction)

    def _origins_and_normals(self, q: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of the fingertip links, (N, F, 3) each, in the palm."""
        poses = fingertip_poses(self._chains, np.ascontiguousarray(q, dtype=np.float64))
        return poses[..., 3], (poses[..., :3] @ self._inner[..., None])[..., 0]

    def _reach(self, start: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
        within = np.clip(start, self._lower, self._upper)
        return descend(self._chains, within, np.ascontiguousarray(targets), self._lower, self._upper, _STEPS, _RATE)
