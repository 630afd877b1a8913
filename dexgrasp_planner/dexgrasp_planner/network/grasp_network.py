"""The whole network: sparse backbone, scores of every voxel, and a grasp head on the features of seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from dexgrasp_common.parameters import param
from torch import Tensor, nn

from dexgrasp_planner.network.diffusion_head import DiffusionConfig
from dexgrasp_planner.network.grasp_heads import GRASP_HEADS, GraspHead
from dexgrasp_planner.network.resunet import ResUNet14, ResUNetConfig
from dexgrasp_planner.network.voxels import Voxels

NO_GRASPNESS = math.log(1e-3)  # of what nothing points at: graspness is ln(0.001 + votes)


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides which weights a network has.

    `global` conditioning is the paper's ablation (Table 1): heads see the largest of each feature over the scene, in
    place of those of the seed. The authors also leave out the decoder then.
    """

    backbone: str = param("paper", "widths: `paper` (the released checkpoints) or `small` (trainable on two cores)")
    voxel_size: float = param(0.005, "edge of a voxel [m]", range=(1e-3, 0.05))
    conditioning: Literal["local", "global"] = param("local", "features that the head sees: `local` or `global`")
    head: str = param("diffusion", "name in `GRASP_HEADS`")
    diffusion: DiffusionConfig = DiffusionConfig()


class VoxelScores(NamedTuple):
    """What every voxel is.

    Attributes:
        object: (V, 2), logits of table or background, and of an object.
        graspness: (V,), ln(0.001 + votes) as predicted.
    """

    object: Tensor
    graspness: Tensor

    @staticmethod
    def of(scores: Tensor) -> VoxelScores:
        """From the three outputs of the linear layer (V, 3)."""
        return VoxelScores(scores[:, :2], scores[:, 2])

    def masked(self) -> Tensor:
        """Graspness (V,) of what counts as an object, and `NO_GRASPNESS` elsewhere."""
        return torch.where(self.object[:, 1] > self.object[:, 0], self.graspness, NO_GRASPNESS)


class GraspNetwork(nn.Module):
    """See the module.

    Args:
        joints: Of the hand, D.
        config: None: the paper's.
        sparse: Name in `SPARSE_CONVOLUTIONS`; empty: the default.

    Raises:
        UnknownPresetError: There are no such widths.
        UnknownBackendError, UnavailableBackendError: There is no such head or sparse convolution, or not here.
    """

    def __init__(self, joints: int, config: NetworkConfig | None = None, sparse: str = "") -> None:
        super().__init__()
        self.config = config = config or NetworkConfig()
        self.backbone = ResUNet14(ResUNetConfig.preset(config.backbone), sparse)
        features = self.backbone.config.out_channels
        self.graspable = nn.Linear(features, 3)
        own = (config.diffusion,) if config.head == "diffusion" else ()
        self.head: GraspHead = GRASP_HEADS.create(config.head, features, joints, *own)

    def forward(self, voxels: Voxels) -> tuple[Tensor, VoxelScores]:
        """Features (V, F) and scores of the voxels."""
        features = self.backbone(voxels)
        return features, VoxelScores.of(self.graspable(features))

    def conditioned(self, voxels: Voxels, rows: Tensor) -> tuple[Tensor, VoxelScores]:
        """What `condition` and `forward` give, with less work: whole feature vectors only where the head sees them.

        The last layer of the backbone and the linear one behind it are one small matrix for all voxels.

        Args:
            voxels: Of all scenes.
            rows: (M,), the seeds' voxels.

        Returns:
            What the head is to see of the seeds, (M, F), and scores of the voxels; float32.
        """
        hidden = self.backbone.hidden(voxels)
        with torch.autocast(hidden.device.type, enabled=False):
            exact = hidden if hidden.dtype == torch.float64 else hidden.float()
            kernel, bias = self.backbone.final.kernel, self.backbone.final.bias
            weight = kernel @ self.graspable.weight.T
            offset = bias @ self.graspable.weight.T + self.graspable.bias
            scores = VoxelScores.of(exact @ weight + offset)
            if self.config.conditioning == "local":
                return exact.index_select(0, rows) @ kernel + bias, scores
            return self.condition(exact @ kernel + bias, voxels, rows), scores

    def condition(self, features: Tensor, voxels: Voxels, rows: Tensor) -> Tensor:
        """What the head is to see of M seeds: (M, F).

        Args:
            features: (V, F), from `forward`.
            voxels: Those that the features are of.
            rows: (M,), the seeds' voxels.
        """
        if self.config.conditioning == "local":
            return features[rows]
        scene = voxels.coordinates[:, 0].long()
        most = features.new_full((int(scene.max()) + 1, features.shape[1]), -math.inf)
        most = most.index_reduce(0, scene, features, "amax")
        return most[scene[rows]]
