"""Physics inside the sampler: on the way from noise to a grasp, its estimate is moved to where physics wants it.

The constraints are those of DexGrasp Anything (Sec. 3.4), against what the camera saw of the whole scene. Its step is
not: Eqs. 13-15 put each sample on the sphere where DDPM's own noise would have put it (DSG: Yang et al. 2024), at a
distance of sqrt(n) sigma. The probability-flow ODE adds no noise, so that sphere has no radius; and one of DDPM's for
so few steps would be of centimetres, which grasps that lack nothing would be moved by, too. Here the estimate of the
clean grasp goes down the energy as far as would make it zero if it were linear (Polyak 1969), no farther than a limit
that falls with the noise, and the noise in the state is kept (MPGD: He et al. 2024): what lacks nothing stays, and
without energy the path is that of the unguided sampler. Joints follow the pose through the head's MLP.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from dexgrasp_common.parameters import param
from numpy.typing import NDArray
from torch import Tensor

from dexgrasp_description import HandModel
from dexgrasp_planner.network.diffusion_head import GraspSteering, Told
from dexgrasp_planner.network.grasp_heads import TRANSLATION_UNIT, Grasps
from dexgrasp_planner.network.rotations import turned
from dexgrasp_planner.physics.scene_energy import EnergyConfig, SceneEnergy
from dexgrasp_planner.scene_field import SceneField

# Where physics moves the best grasps: nowhere; while they are sampled; once they are; or at both times.
UNGUIDED, SAMPLER, REFINE, TWICE = GUIDANCES = ("none", "sampler", "refine", "both")


@dataclass(frozen=True)
class GuideConfig:
    """When grasps are moved while they are sampled, how far, and by what."""

    start: float = param(0.3, "angle of the noise from which on [rad]", range=(0.0, 1.5707))
    most: float = param(0.1, "longest step at the start [40 mm or rad]", range=(0.0, 10.0))
    budget: float = param(
        0.0, "time after which the rest of the way is not guided [ms]; 0: no limit, and the same grasps every time"
    )
    energy: EnergyConfig = field(default_factory=EnergyConfig)


class Guide:
    """Moves samples of one hand; made once.

    Args:
        hand: The hand.
        config: None: the defaults.
        dtype: Of samples.
        clock: Tells the time [s].
    """

    def __init__(
        self,
        hand: HandModel,
        config: GuideConfig | None = None,
        dtype: torch.dtype = torch.float32,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config = config or GuideConfig()
        self._energy, self._clock = SceneEnergy(hand, self.config.energy, dtype), clock

    def steering(
        self, space: SceneField, world_T_camera: NDArray[np.float64], seed: Tensor, target: NDArray[np.intp]
    ) -> GraspSteering:
        """Guidance in one scene, to be used once: its time starts now.

        Args:
            space: What the camera saw, completed.
            world_T_camera: (4, 4).
            seed: (B, 3), what translations are from [m], camera frame.
            target: (B,), the cluster that each grasp is meant for.
        """
        camera = torch.as_tensor(world_T_camera, dtype=seed.dtype)
        deadline = self._clock() + 1e-3 * self.config.budget if self.config.budget else math.inf

        def steer(grasps: Grasps, told: Told | None, angle: float) -> Grasps:
            if angle > self.config.start or self._clock() > deadline:
                return grasps

            def energy(moved: Grasps) -> Tensor:
                return self._energy(space, camera @ palms(moved, seed), moved.joints, target)

            return self._moved(grasps, told, energy, self.config.most * math.sin(angle) / math.sin(self.config.start))

        return steer

    @staticmethod
    def _moved(grasps: Grasps, told: Told | None, energy: Callable[[Grasps], Tensor], most: float) -> Grasps:
        """The grasps after one step; those whose gradient is no number stay."""
        free = 0 if told is not None else grasps.joints.shape[1]
        change = grasps.translation.new_zeros(len(grasps.translation), 6 + free, requires_grad=True)
        with torch.enable_grad():
            value = energy(displaced(grasps, told, change))
            (gradient,) = torch.autograd.grad(value.sum(), change)
        length = gradient.norm(dim=1)
        way = -(value.detach() / length).clamp(max=most)[:, None] * gradient / length[:, None]
        return displaced(grasps, told, torch.where(torch.isfinite(way).all(dim=1, keepdim=True), way, 0.0))


def palms(grasps: Grasps, seed: Tensor) -> Tensor:
    """Poses (B, 4, 4) of the palms, camera frame, at seeds (B, 3) [m]."""
    pose = torch.cat([grasps.rotation, (seed + TRANSLATION_UNIT * grasps.translation)[..., None]], dim=2)
    return torch.cat([pose, pose.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(pose), 1, 4)], dim=1)


def displaced(grasps: Grasps, told: Told | None, change: Tensor) -> Grasps:
    """The grasps moved [`TRANSLATION_UNIT`] and turned about the palms' own axes [rad] by (B, 6), or (B, 6 + D).

    Joints follow where a head tells them, or else change by the last D columns.
    """
    rotation = turned(grasps.rotation, change[:, 3:6])
    translation = grasps.translation + change[:, :3]
    joints = grasps.joints + change[:, 6:] if told is None else told(rotation, translation)
    return grasps._replace(rotation=rotation, translation=translation, joints=joints)
