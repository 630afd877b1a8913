"""Diffusion over grasps: of wrist poses, with joints told from pose and feature, or of both together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from dexgrasp_common.parameters import param
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot, smooth_l1_loss

from dexgrasp_planner.network.flow_sampling import FLOW_PRESETS, Sampled, Steering, sample_flow
from dexgrasp_planner.network.grasp_heads import Grasps, Proposed, ResidualMLP, noise_like
from dexgrasp_planner.network.rotations import ROTATION_CODES
from dexgrasp_planner.network.schedule import STEPS, angles, noised, velocity
from dexgrasp_planner.network.velocity_field import VelocityField

Model = Literal["decomposed", "typed", "joint"]
Told = Callable[[Tensor, Tensor], Tensor]
"""Joints (B, D) that belong to rotations (B, 3, 3) and translations (B, 3), differentiable."""
GraspSteering = Callable[[Grasps, Told | None, float], Grasps]
"""Estimates of clean grasps, moved: with how joints are told (None: they are free), at an angle of the noise [rad]."""
_JUMP = 1.0  # no single step is as long


@dataclass(frozen=True)
class DiffusionConfig:
    """What is diffused.

    `decomposed` is the paper's: poses by diffusion, joints by an MLP, which assumes that a pose has one posture (A.2).
    `typed` first draws the kind of grasp, so that each kind has its own. `joint` diffuses poses and joints together,
    the paper's ablation (Table 1).
    """

    model: Model = param("decomposed", "`decomposed`, `typed` or `joint`")
    rotation: str = param("matrix", "how rotations are written: a name in `ROTATION_CODES`")
    kinds: int = param(1, "kinds of grasps that `typed` tells apart", range=(1, 16))


class DiffusionHead(nn.Module):
    """See the module and `DiffusionConfig`. Implements `GraspHead`.

    Args:
        features: Width of a local feature, F.
        joints: Of the hand, D.
        config: None: the paper's.
    """

    def __init__(self, features: int, joints: int, config: DiffusionConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiffusionConfig()
        self._code = ROTATION_CODES[config.rotation]
        self._joints = joints
        pose = self._code.size + 3
        together = config.model == "joint"
        self.policy = VelocityField(pose + joints if together else pose, features)
        typed = config.model == "typed"
        self.kind_score = nn.Linear(features, config.kinds) if typed else None
        self.kind_feature = nn.Embedding(config.kinds, features) if typed else None
        # Rotations enter the joint MLP as matrices, whatever the diffusion writes.
        known = features + 9 + 3 + (config.kinds if typed else 0)
        self.joint_mlp = None if together else ResidualMLP(known, joints)

    def losses(self, feature: Tensor, grasps: Grasps, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """See `GraspHead.losses`: `diffusion` (velocity, MSE), `joints` (smooth L1), `kind` (cross entropy).

        Sec. 4.3 of DexGraspNet 2.0; joints are told from the true pose.
        """
        x0 = self._encoded(grasps)
        count = len(feature) // len(generators)
        step = torch.cat([torch.randint(STEPS, (count,), generator=generator) for generator in generators])
        angle = angles()[step].to(device=feature.device, dtype=feature.dtype)
        noise = noise_like(feature, x0.shape[-1], *generators)
        aware = self._aware(feature, grasps.kind)
        predicted = self.policy(noised(x0, noise, angle), aware, step.to(feature.device))
        terms = {"diffusion": (predicted - velocity(x0, noise, angle)).square().mean()}
        if self.joint_mlp is not None:
            told = self._told(feature, grasps.rotation, grasps.translation, grasps.kind)
            terms["joints"] = smooth_l1_loss(told, grasps.joints)
        if self.kind_score is not None:
            terms["kind"] = cross_entropy(self.kind_score(feature), grasps.kind)
        return terms

    @torch.no_grad()
    def propose(self, feature: Tensor, generator: torch.Generator, preset: str) -> Proposed:
        """See `GraspHead.propose`. The log-likelihood is that of what is diffused, and of the kind."""
        kind = torch.zeros(len(feature), dtype=torch.long, device=feature.device)
        surprise = feature.new_zeros(len(feature))
        if self.kind_score is not None:
            chances = self.kind_score(feature).log_softmax(dim=-1)
            draws = torch.rand(len(feature), 1, generator=generator).to(feature.device)
            kind = (chances.exp().cumsum(dim=-1) < draws).sum(dim=-1).clamp(max=self.config.kinds - 1)
            surprise = chances.gather(1, kind[:, None]).squeeze(1)
        noise = noise_like(feature, self.policy.channels, generator)
        samples, likelihood = self._followed(feature, kind, noise, preset)
        return Proposed(self._decoded(samples, feature, kind), likelihood + surprise, noise)

    @torch.no_grad()
    def steered(self, feature: Tensor, kind: Tensor, noise: Tensor, preset: str, steer: GraspSteering) -> Grasps:
        """The grasps that noise (B, C) leads to if estimates of them are moved on the way.

        Args:
            feature: (B, F).
            kind: (B,).
            noise: As in what `propose` gave; with a `steer` that moves nothing, so is what it leads to.
            preset: Name in `FLOW_PRESETS`.
            steer: How estimates are moved.
        """
        told = None if self.joint_mlp is None else partial(self._told, feature, kind=kind)

        def way(clean: Tensor, angle: float) -> Tensor:
            grasps = self._decoded(clean, feature, kind)
            moved = steer(grasps, told, angle)
            step = self._encoded(moved) - self._encoded(grasps)
            # Codes that are not continuous may say the next rotation by quite other numbers: that is no way to go.
            return torch.where(step.norm(dim=1, keepdim=True) < _JUMP, step, 0.0)

        return self._decoded(self._followed(feature, kind, noise, preset, way).samples, feature, kind)

    def _followed(
        self, feature: Tensor, kind: Tensor, noise: Tensor, preset: str, steer: Steering | None = None
    ) -> Sampled:
        return sample_flow(self.policy.conditioned(self._aware(feature, kind)), noise, FLOW_PRESETS[preset], steer)

    def _encoded(self, grasps: Grasps) -> Tensor:
        """What is diffused (B, C) of grasps."""
        x0 = torch.cat([self._code.encode(grasps.rotation), grasps.translation], dim=-1)
        return torch.cat([x0, grasps.joints], dim=-1) if self.joint_mlp is None else x0

    def _decoded(self, samples: Tensor, feature: Tensor, kind: Tensor) -> Grasps:
        """Grasps of what is diffused (B, C), joints told where they are not part of it."""
        turn, translation, joints = samples.split([self._code.size, 3, samples.shape[-1] - self._code.size - 3], dim=-1)
        rotation = self._code.decode(turn)
        if self.joint_mlp is not None:
            joints = self._told(feature, rotation, translation, kind)
        return Grasps(rotation, translation, joints, kind)

    def _aware(self, feature: Tensor, kind: Tensor) -> Tensor:
        """Features that also say which kind of grasp is meant."""
        return feature if self.kind_feature is None else feature + self.kind_feature(kind)

    def _told(self, feature: Tensor, rotation: Tensor, translation: Tensor, kind: Tensor) -> Tensor:
        """Joints (B, D) from features, poses and kinds."""
        assert self.joint_mlp is not None
        known = [feature, rotation.flatten(-2), translation]
        if self.kind_feature is not None:
            known.append(one_hot(kind, self.config.kinds).to(feature.dtype))
        joints: Tensor = self.joint_mlp(torch.cat(known, dim=-1))
        return joints
