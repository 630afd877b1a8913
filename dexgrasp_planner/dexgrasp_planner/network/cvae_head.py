"""A conditional variational autoencoder of grasps: the paper's GraspTTA baseline (DexGraspNet 2.0, App. F)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from dexgrasp_planner.network.grasp_heads import Grasps, Proposed, noise_like
from dexgrasp_planner.network.rotations import ROTATION_CODES

_LATENT = 64
_ENCODED = 512  # of the grasp
_CODE = ROTATION_CODES["axis_angle"]


class CvaeHead(nn.Module):
    """Tells axis-angle, translation and joints from a feature and a latent. Implements `GraspHead`.

    The original encodes points of the hand; the numbers that place them say the same, and need no hand model.

    Args:
        features: Width of a local feature, F.
        joints: Of the hand, D.
    """

    def __init__(self, features: int, joints: int) -> None:
        super().__init__()
        size = _CODE.size + 3 + joints
        self.grasp_encoder = _mlp(size, 256, _ENCODED)
        self.encoder = _mlp(features + _ENCODED, 512, 256, 2 * _LATENT)
        self.decoder = _mlp(features + _LATENT, 512, 256, size)

    def losses(self, feature: Tensor, grasps: Grasps, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """See `GraspHead.losses`: `regression` (smooth L1), `divergence` (of the latent from a standard normal)."""
        wanted = torch.cat([_CODE.encode(grasps.rotation), grasps.translation, grasps.joints], dim=-1)
        mean, log_variance = self.encoder(torch.cat([feature, self.grasp_encoder(wanted)], dim=-1)).chunk(2, dim=-1)
        latent = mean + torch.exp(0.5 * log_variance) * noise_like(feature, _LATENT, *generators)
        told = self.decoder(torch.cat([feature, latent], dim=-1))
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).sum(dim=-1).mean()
        return {"regression": smooth_l1_loss(told, wanted), "divergence": divergence}

    @torch.no_grad()
    def propose(self, feature: Tensor, generator: torch.Generator, preset: str) -> Proposed:
        """See `GraspHead.propose`; the log-likelihood is that of the latent alone."""
        del preset
        latent = noise_like(feature, _LATENT, generator)
        told = self.decoder(torch.cat([feature, latent], dim=-1))
        turn, translation, joints = told.split([_CODE.size, 3, told.shape[-1] - _CODE.size - 3], dim=-1)
        kind = torch.zeros(len(feature), dtype=torch.long, device=feature.device)
        return Proposed(Grasps(_CODE.decode(turn), translation, joints, kind), -0.5 * latent.square().sum(dim=-1))


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, wider in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(width, wider), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
