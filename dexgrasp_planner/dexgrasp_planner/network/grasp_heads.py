"""Heads on local features: what each learns from, what it gives, and which there are.

A head sees the feature of a seed point and says which grasps belong to it. Positions are relative to the middle of the
seed's voxel and come in units of `TRANSLATION_UNIT`, so that they are about as large as rotations and noise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from dexgrasp_common.registry import Backend, Registry
from torch import Tensor, nn

TRANSLATION_UNIT = 0.04  # [m]


class Grasps(NamedTuple):
    """Grasps at B seeds, in axes parallel to the camera's.

    Attributes:
        rotation: (B, 3, 3).
        translation: (B, 3), from the middle of the seed's voxel [`TRANSLATION_UNIT`].
        joints: (B, D) [rad or m].
        kind: (B,) int64, which kind of grasp (power, precision, ...), where a head tells them apart.
    """

    rotation: Tensor
    translation: Tensor
    joints: Tensor
    kind: Tensor


class Proposed(NamedTuple):
    """What a head gives for B seeds.

    Attributes:
        grasps: One for each.
        log_likelihood: How likely each is: (B,) [nat]; 0 where the head cannot tell.
        noise: What a flow led to them from (B, C); None where the head solves none.
    """

    grasps: Grasps
    log_likelihood: Tensor
    noise: Tensor | None = None

    def cpu(self) -> Proposed:
        """The same on the CPU."""
        noise = None if self.noise is None else self.noise.cpu()
        return Proposed(Grasps(*(part.cpu() for part in self.grasps)), self.log_likelihood.cpu(), noise)


class GraspHead(Protocol):
    """A trainable module that proposes one grasp for each feature."""

    def losses(self, feature: Tensor, grasps: Grasps, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """Terms to be minimised, unweighted scalars, for B features (B, F) and a grasp that belongs to each.

        Args:
            generators: Of all that is random, on the CPU: each of an equal part of the B, in turn, so that a batch
                draws what its parts would draw alone.
        """
        ...

    def propose(self, feature: Tensor, generator: torch.Generator, preset: str) -> Proposed:
        """One grasp for each of B features (B, F); without gradients.

        Args:
            generator: Source of noise, on the CPU: seeds mean the same on every device.
            preset: Name in `FLOW_PRESETS`, for heads that solve a flow.
        """
        ...


class ResidualMLP(nn.Module):
    """An MLP with residual blocks; the names of its entries are those of the authors' files.

    Six linear layers: one in, two blocks of two that add to their input, one out.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 64, blocks: int = 2) -> None:
        super().__init__()
        middle = [_Block(width) for _ in range(blocks)]
        self.net = nn.Sequential(
            OrderedDict(
                initial_layer=nn.Linear(inputs, width),
                blocks=nn.Sequential(*middle),
                final_layer=nn.Linear(width, outputs),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (B, I) to outputs (B, O)."""
        out: Tensor = self.net(x)
        return out


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])
        # A block begins as the identity, nearly.
        for value in self.linear_layers[1].parameters():
            nn.init.uniform_(value, -1e-3, 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.linear_layers
        added: Tensor = second(torch.relu(first(torch.relu(x))))
        return x + added


def noise_like(feature: Tensor, channels: int, *generators: torch.Generator) -> Tensor:
    """Standard normal noise (B, channels) for features (B, F): the same on every device and for every number type.

    Of several generators, each draws that of an equal part of the B.
    """
    count = len(feature) // len(generators)
    noise = torch.cat([torch.randn(count, channels, generator=generator) for generator in generators])
    return noise.to(device=feature.device, dtype=feature.dtype)


GRASP_HEADS = Registry(
    "grasp head",
    {
        "diffusion": Backend(
            "dexgrasp_planner.network.diffusion_head:DiffusionHead",
            summary="diffusion over wrist poses, joints by regression (DexGraspNet 2.0)",
        ),
        "regression": Backend(
            "dexgrasp_planner.network.regression_head:RegressionHead",
            summary="one grasp for each feature (the paper's ISAGrasp baseline)",
        ),
        "cvae": Backend(
            "dexgrasp_planner.network.cvae_head:CvaeHead",
            summary="conditional variational autoencoder (the paper's GraspTTA baseline)",
        ),
    },
    default="diffusion",
)
