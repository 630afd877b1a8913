"""The last step before a grasp is offered: physics pulls the fingers onto what the camera saw and out of it.

Descent on the energy of `physics.scene_energy`, on palm and joints.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from dexgrasp_common.parameters import param
from torch import Tensor

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_planner.descent import least_on_the_way
from dexgrasp_planner.network.rotations import nearest_rotation, turned
from dexgrasp_planner.physics.scene_energy import EnergyConfig, SceneEnergy
from dexgrasp_planner.postures import PostureRules
from dexgrasp_planner.scene_field import SceneField


@dataclass(frozen=True)
class RefinementConfig:
    """How far a grasp may be moved, and by what."""

    steps: int = param(20, "steps of descent", range=(0, 1000))
    position_rate: float = param(0.001, "largest change of the palm's position in a step [m]", range=(0.0, 0.1))
    turn_rate: float = param(0.01, "largest change of its orientation in a step [rad]", range=(0.0, 1.0))
    joint_rate: float = param(0.02, "largest change of a joint in a step [rad or m]", range=(0.0, 1.0))
    energy: EnergyConfig = field(default_factory=EnergyConfig)


class Refiner:
    """Moves grasps of one hand.

    Args:
        hand: The hand.
        config: None: the defaults.

    Attributes:
        energy: What descent makes small.
    """

    def __init__(self, hand: HandModel, config: RefinementConfig | None = None) -> None:
        self.config = config or RefinementConfig()
        self.energy = SceneEnergy(hand, self.config.energy)
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
        palms, q = moved.double(), joints.double().numpy()
        palms[:, :3, :3] = nearest_rotation(palms[:, :3, :3])
        return replace(
            grasps,
            world_T_palm=palms.numpy(),
            grasp=q,
            pregrasp=self._rules.opened(q),
            squeeze=self._rules.squeezed(q),
        )

    def _descended(self, space: SceneField, palms: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Palms and joints of the least energy on the way."""
        config = self.config
        rates = torch.cat(
            [
                torch.full((3,), config.position_rate),
                torch.full((3,), config.turn_rate),
                torch.full((joints.shape[1],), config.joint_rate),
            ]
        )
        change = least_on_the_way(
            lambda change: self.energy(space, *self._at(palms, joints, change)),
            torch.zeros(len(joints), len(rates)),
            rates,
            config.steps,
            averaging=(0.8, 0.95),
        )
        return self._at(palms, joints, change)

    def _at(self, palms: Tensor, joints: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Palms moved and turned about their own axes, and joints within their limits."""
        move, turn, bend = change[:, :3], change[:, 3:6], change[:, 6:]
        rotation = turned(palms[:, :3, :3], turn)
        top = torch.cat([rotation, (palms[:, :3, 3] + move)[..., None]], dim=2)
        moved = torch.cat([top, palms[:, 3:]], dim=1)
        return moved, torch.minimum(torch.maximum(joints + bend, self._lower), self._upper)
