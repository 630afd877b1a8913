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

_ITERATIONS = 12
_DAMPING = 1e-5  # [m^2/rad^2]; against squared lever arms of 1e-3 to 1e-2
_MAX_STEP = 0.25  # [rad]


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

    The fingertip links' origins are moved to their targets by damped least squares, clamped to the joint limits in
    every step. The benchmark takes 20 plain gradient steps for the same targets; what cannot be reached within the
    limits stays as near as the joints allow.
    """

    def __init__(self, hand: HandModel) -> None:
        self._fk = ForwardKinematics(hand, dtype=torch.float64)
        self._tips = [tip.link for tip in hand.fingertips]
        self._inner = torch.stack([torch.tensor(tip.inner_normal) for tip in hand.fingertips])
        self._approach = torch.tensor(hand.approach_axis)
        self._lower, self._upper = torch.tensor(hand.lower), torch.tensor(hand.upper)
        q = (0.4 * self._lower + 0.6 * self._upper)[None].requires_grad_()
        origins, _ = self._origins_and_normals(q)
        rows = [torch.autograd.grad(origins[0, f].sum(), q, retain_graph=True)[0][0] for f in range(len(self._tips))]
        self._moves = torch.stack(rows).abs() > 1e-9  # (F, D): which joints move which fingertip

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
        poses = self._fk.link_poses(q)
        palm_T_tip = torch.stack([poses[link] for link in self._tips], dim=1)  # (N, F, 4, 4)
        return palm_T_tip[..., :3, 3], (palm_T_tip[..., :3, :3] @ self._inner[..., None])[..., 0]

    def _reach(self, start: torch.Tensor, targets: torch.Tensor) -> NDArray[np.float64]:
        q = start.clamp(self._lower, self._upper)
        identity = torch.eye(q.shape[1], dtype=q.dtype)
        for _ in range(_ITERATIONS):
            q = q.detach().requires_grad_()
            origins, _ = self._origins_and_normals(q)
            jacobian = self._jacobian(origins, q)  # (N, 3F, D)
            error = (targets - origins.detach()).flatten(1)
            free = torch.ones_like(q)
            for _ in range(2):  # again without the joints that a limit holds, so that the others make up for them
                active = jacobian * free[:, None]
                normal = active.transpose(1, 2) @ active + _DAMPING * identity
                step = torch.linalg.solve(normal, (active.transpose(1, 2) @ error[..., None])[..., 0])
                blocked = ((q <= self._lower) & (step < 0)) | ((q >= self._upper) & (step > 0))
                free = free * ~blocked
            q = (q.detach() + (step * free).clamp(-_MAX_STEP, _MAX_STEP)).clamp(self._lower, self._upper)
        return q.detach().numpy()

    def _jacobian(self, origins: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """d origin / dq (N, 3F, D): no joint moves two fingertips, so one backward pass serves a coordinate of all."""
        columns = [
            torch.autograd.grad(origins[..., axis].sum(), q, retain_graph=axis < 2)[0][:, None] * self._moves
            for axis in range(3)
        ]
        return torch.stack(columns, dim=2).flatten(1, 2)
