"""From one grasp to the way of executing it: where the palm waits and lifts, how far the fingers open and squeeze."""

from __future__ import annotations

import math

import numpy as np
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from numpy.typing import NDArray

from dexgrasp_description import HandModel

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
        self._fk = ForwardKinematics(hand, dtype=torch.float64)
        links = list(self._fk.link_names)
        self._tips = [links.index(tip.link) for tip in hand.fingertips]
        self._inner = torch.tensor(np.stack([tip.inner_normal for tip in hand.fingertips]))
        self._approach = torch.tensor(hand.approach_axis)
        self._lower, self._upper = torch.tensor(hand.lower), torch.tensor(hand.upper)
        joint_of = {joint.name: joint for joint in hand.joints}
        self._child = [links.index(joint_of[name].child) for name in hand.joint_names]
        self._axis = torch.tensor(np.stack([joint_of[name].axis for name in hand.joint_names]))
        self._moves = torch.tensor(_ancestry(hand))

    def opened(self, grasp: NDArray[np.float64]) -> NDArray[np.float64]:
        """Postures (N, D) [rad] with every fingertip-link origin `OPENING` away from the object."""
        q = torch.as_tensor(grasp, dtype=torch.float64)
        origins, normals = self._origins_and_normals(q)
        return self._reach(q, origins - OPENING * normals)

    def squeezed(self, grasp: NDArray[np.float64]) -> NDArray[np.float64]:
        """Postures (N, D) [rad] with every fingertip-link origin `SQUEEZING` into the object.

        A fingertip that points along the approach has no direction left to squeeze in and stays.
        """
        q = torch.as_tensor(grasp, dtype=torch.float64)
        origins, normals = self._origins_and_normals(q)
        lateral = normals - (normals @ self._approach)[..., None] * self._approach
        length = lateral.norm(dim=-1, keepdim=True)
        direction = torch.where(length > 1e-3, lateral / length.clamp_min(1e-9), 0.0)
        return self._reach(q, origins + SQUEEZING * direction)

    def _origins_and_normals(self, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        palm_T_tip = self._fk.stacked_poses(q)[:, self._tips]  # (N, F, 4, 4)
        return palm_T_tip[..., :3, 3], (palm_T_tip[..., :3, :3] @ self._inner[..., None])[..., 0]

    def _reach(self, start: torch.Tensor, targets: torch.Tensor) -> NDArray[np.float64]:
        q = start.clamp(self._lower, self._upper)
        for _ in range(_STEPS):
            origins, jacobian = self._origins_and_jacobian(q)
            error = (targets - origins).flatten(1)
            descent = 2.0 * (jacobian.transpose(1, 2) @ error[..., None])[..., 0]
            q = (q + _RATE * descent).clamp(self._lower, self._upper)
        return q.numpy()

    def _origins_and_jacobian(self, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Origins (N, F, 3) and their derivative (N, 3F, D): axis x arm for every joint that carries the fingertip."""
        poses = self._fk.stacked_poses(q)
        origins = poses[:, self._tips, :3, 3]
        joints = poses[:, self._child]
        axes = (joints[..., :3, :3] @ self._axis[..., None])[..., 0]  # (N, D, 3)
        arms = origins[:, :, None] - joints[:, None, :, :3, 3]  # (N, F, D, 3)
        columns = torch.cross(axes[:, None].expand_as(arms), arms, dim=-1) * self._moves[..., None]
        return origins, columns.transpose(2, 3).flatten(1, 2)


def _ancestry(hand: HandModel) -> NDArray[np.bool_]:
    """Which joints (F, D) carry each fingertip."""
    above = {joint.child: joint for joint in hand.joints}
    carries = np.zeros((len(hand.fingertips), len(hand.joint_names)), dtype=bool)
    for row, tip in enumerate(hand.fingertips):
        link = tip.link
        while link in above:
            if above[link].name in hand.joint_names:
                carries[row, hand.joint_names.index(above[link].name)] = True
            link = above[link].parent
    return carries
