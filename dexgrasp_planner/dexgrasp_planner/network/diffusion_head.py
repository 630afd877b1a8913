"""Diffusion over grasps: of wrist poses, with joints told from pose and feature, or of both together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from dexgrasp_common.parameters import param
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot, smooth_l1_loss

from dexgrasp_planner.network.flow_sampling import FLOW_PRESETS, sample_flow
from dexgrasp_planner.network.grasp_heads import Grasps, Proposed, ResidualMLP, noise_like
from dexgrasp_planner.network.rotations import ROTATION_CODES
from dexgrasp_planner.network.schedule import STEPS, angles, noised, velocity
from dexgrasp_planner.network.velocity_field import VelocityField

Model = Literal["decomposed", "typed", "joint"]


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

    def losses(self, feature: Tensor, grasps: Grasps, generator: torch.Generator) -> dict[str, Tensor]:
        """See `GraspHead.losses`: `diffusion` (velocity, MSE), `joints` (smooth L1), `kind` (cross entropy).

        Sec. 4.3 of DexGraspNet 2.0; joints are told from the true pose.
        """
        x0 = torch.cat([self._code.encode(grasps.rotation), grasps.translation], dim=-1)
        if self.joint_mlp is None:
            x0 = torch.cat([x0, grasps.joints], dim=-1)
        step = torch.randint(STEPS, (len(feature),), generator=generator)
        angle = angles()[step].to(device=feature.device, dtype=feature.dtype)
        noise = noise_like(feature, x0.shape[-1], generator)
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
        samples, likelihood = sample_flow(
            self.policy.conditioned(self._aware(feature, kind)), noise, FLOW_PRESETS[preset]
        )
        turn, translation, joints = samples.split([self._code.size, 3, samples.shape[-1] - self._code.size - 3], dim=-1)
        rotation = self._code.decode(turn)
        if self.joint_mlp is not None:
            joints = self._told(feature, rotation, translation, kind)
        return Proposed(Grasps(rotation, translation, joints, kind), likelihood + surprise)

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
