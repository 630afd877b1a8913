"""The last step before a grasp is offered: physics pulls the fingers onto what the camera saw and out of it.

Descent on the terms of DexGrasp Anything (Sec. 3.3), but against the distance field of the scene in place of a known
object: pulling acts on the inner points of the hand, penetration on all of them and on the support, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from dexgrasp_common.parameters import param
from torch import Tensor

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_planner.physics.constraints import HandPhysics, PhysicsConfig
from dexgrasp_planner.physics.terms import self_penetration
from dexgrasp_planner.postures import PostureRules
from dexgrasp_planner.scene_field import SceneField


@dataclass(frozen=True)
class RefinementConfig:
    """How far a grasp may be moved, and by what."""

    steps: int = param(20, "steps of descent", range=(0, 1000))
    position_rate: float = param(0.001, "largest change of the palm's position in a step [m]", range=(0.0, 0.1))
    turn_rate: float = param(0.01, "largest change of its orientation in a step [rad]", range=(0.0, 1.0))
    joint_rate: float = param(0.02, "largest change of a joint in a step [rad or m]", range=(0.0, 1.0))
    pulling: float = param(1.0, "weight of the mean distance of inner points from the surface", range=(0.0, 1e6))
    reach: float = param(0.02, "inner points nearer than this are pulled [m]", range=(0.0, 0.2))
    penetration: float = param(20.0, "weight of the mean depth of points in the scene", range=(0.0, 1e6))
    self_penetration: float = param(0.2, "weight of what key points lack of their distance", range=(0.0, 1e6))
    height: float = param(0.002, "height that every point keeps above the support [m]", range=(-0.1, 0.1))


class Refiner:
    """Moves grasps of one hand.

    Args:
        hand: The hand.
        config: None: the defaults.
    """

    def __init__(self, hand: HandModel, config: RefinementConfig | None = None) -> None:
        self.config = config or RefinementConfig()
        self._physics = HandPhysics(hand, PhysicsConfig(apart=0.0, samples=420))
        self._rules = PostureRules(hand)
        self._lower, self._upper = (torch.tensor(limit, dtype=torch.float32) for limit in (hand.lower, hand.upper))

    def refined(self, space: SceneField, grasps: GraspSet) -> GraspSet:
        """The grasps moved, with the pregrasps and the benchmark's squeezes that follow; everything else as it was.

        Args:
            space: What the camera saw, and what it may hide.
            grasps: In world.
        """
        if not len(grasps) or not self.config.steps:
            return grasps
        start = torch.as_tensor(grasps.world_T_palm, dtype=torch.float32)
        moved, joints = self._descended(space, start, torch.as_tensor(grasps.grasp, dtype=torch.float32))
        palms, q = _orthonormal(moved.double().numpy()), joints.double().numpy()
        return replace(
            grasps,
            world_T_palm=palms,
            grasp=q,
            pregrasp=self._rules.opened(q),
            squeeze=self._rules.squeezed(q),
        )

    def energy(self, space: SceneField, world_T_palm: Tensor, q: Tensor) -> Tensor:
        """What descent makes small, (N,) [m], for palms (N, 4, 4) and postures (N, D), float32."""
        config, physics = self.config, self._physics
        inner = space.distance(physics.inner.in_world(world_T_palm, q)).abs()
        near = (inner < config.reach).to(inner.dtype)
        pulling = (near * inner).sum(dim=1) / near.sum(dim=1).clamp_min(1.0)
        outer = physics.outer.in_world(world_T_palm, q)
        depth = torch.maximum(-space.distance(outer), config.height - outer[:, 2]).clamp_min(0.0).mean(dim=1)
        own = self_penetration(physics.keys.in_world(world_T_palm, q), physics.pairs, physics.least)
        return config.pulling * pulling + config.penetration * depth + config.self_penetration * own

    def _descended(self, space: SceneField, palms: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Palms and joints of the least energy on the way: RMS-normalised steps that shrink to nothing."""
        config, count = self.config, len(joints)
        rates = torch.cat(
            [
                torch.full((3,), config.position_rate),
                torch.full((3,), config.turn_rate),
                torch.full((joints.shape[1],), config.joint_rate),
            ]
        )
        change = torch.zeros(count, len(rates))
        mean, square = torch.zeros_like(change), torch.zeros_like(change)
        best, least = change.clone(), torch.full((count,), torch.inf)
        for step in range(config.steps + 1):
            variable = change.requires_grad_()
            with torch.enable_grad():  # also for callers that want none
                energy = self.energy(space, *self._at(palms, joints, variable))
            with torch.no_grad():
                better = energy < least
                best[better], least[better] = variable[better], energy[better]
                if step == config.steps:
                    break
                (gradient,) = torch.autograd.grad(energy, variable, torch.ones_like(energy))
                mean = torch.lerp(gradient, mean, 0.8)
                square = torch.lerp(gradient.square(), square, 0.95)
                bias = (1.0 - 0.8 ** (step + 1)) / (1.0 - 0.95 ** (step + 1)) ** 0.5
                way = mean / (bias * square.sqrt() + 1e-8)
                change = (variable - (1.0 - step / config.steps) * rates * way).detach()
        with torch.no_grad():
            return self._at(palms, joints, best)

    def _at(self, palms: Tensor, joints: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Palms moved and turned about their own axes, and joints within their limits."""
        move, turn, bend = change[:, :3], change[:, 3:6], change[:, 6:]
        axes = torch.eye(3).expand(len(change), 3, 3)
        skew = torch.linalg.cross(turn[:, None].expand(-1, 3, -1), axes).transpose(1, 2)
        rotation = palms[:, :3, :3] @ torch.matrix_exp(skew)
        top = torch.cat([rotation, (palms[:, :3, 3] + move)[..., None]], dim=2)
        moved = torch.cat([top, palms[:, 3:]], dim=1)
        return moved, torch.minimum(torch.maximum(joints + bend, self._lower), self._upper)


def _orthonormal(poses: np.ndarray) -> np.ndarray:
    """Poses (N, 4, 4) whose rotations are rotations to the last digit."""
    u, _, v = np.linalg.svd(poses[:, :3, :3])
    poses[:, :3, :3] = u @ v
    return poses
