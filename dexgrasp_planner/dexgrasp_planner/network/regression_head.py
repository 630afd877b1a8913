"""One grasp for each feature, by regression: the paper's ISAGrasp baseline (DexGraspNet 2.0, App. F)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from dexgrasp_planner.network.grasp_heads import Grasps, Proposed, ResidualMLP
from dexgrasp_planner.network.rotations import quaternion_of, rotation_of


class RegressionHead(nn.Module):
    """Tells quaternion, translation and joints. Implements `GraspHead`.

    Args:
        features: Width of a local feature, F.
        joints: Of the hand, D.
    """

    def __init__(self, features: int, joints: int) -> None:
        super().__init__()
        self.joint_mlp = ResidualMLP(features, 4 + 3 + joints)

    def losses(self, feature: Tensor, grasps: Grasps, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """See `GraspHead.losses`: `regression` (smooth L1)."""
        del generators  # nothing here is random
        quaternion, rest = self.joint_mlp(feature).split([4, 3 + grasps.joints.shape[-1]], dim=-1)
        wanted = quaternion_of(grasps.rotation)
        # A quaternion and its negative are the same rotation.
        wanted = torch.where((quaternion * wanted).sum(-1, keepdim=True) < 0.0, -wanted, wanted)
        told = torch.cat([quaternion, rest], dim=-1)
        return {"regression": smooth_l1_loss(told, torch.cat([wanted, grasps.translation, grasps.joints], dim=-1))}

    @torch.no_grad()
    def propose(self, feature: Tensor, generator: torch.Generator, preset: str) -> Proposed:
        """See `GraspHead.propose`; nothing is said about likelihood."""
        del generator, preset
        told = self.joint_mlp(feature)
        kind = torch.zeros(len(feature), dtype=torch.long, device=feature.device)
        grasps = Grasps(rotation_of(told[:, :4]), told[:, 4:7], told[:, 7:], kind)
        return Proposed(grasps, feature.new_zeros(len(feature)))
