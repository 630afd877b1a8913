"""ResUNet14: the residual sparse U-Net of DexGraspNet 2.0 (MinkUNet14D with other widths), over any sparse backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dexgrasp_planner.errors import PlannerError
from dexgrasp_planner.network.backends import SPARSE_CONVOLUTIONS, SparseLayers
from dexgrasp_planner.network.voxels import Voxels

STAGES = 4  # times that the voxels get coarser by two, and finer again


class UnknownPresetError(PlannerError):
    """No preset of the network has that name."""


@dataclass(frozen=True)
class ResUNetConfig:
    """Widths of the network; the defaults are the preset `paper`.

    Attributes:
        initial: Channels after the first convolution, at stride 1.
        planes: Channels of the blocks 1 to 8, at strides 2, 4, 8, 16, 8, 4, 2, 1.
        out_channels: Length of a voxel's feature vector.
        in_channels: Length of the input vector, all ones.
    """

    initial: int = 32
    planes: tuple[int, ...] = (32, 64, 128, 256, 192, 192, 192, 192)
    out_channels: int = 512
    in_channels: int = 3

    def __post_init__(self) -> None:
        if len(self.planes) != 2 * STAGES:
            raise ValueError(f"ResUNet14 has {2 * STAGES} blocks, so as many planes; got {self.planes}.")

    @staticmethod
    def preset(name: str) -> ResUNetConfig:
        """The widths of that name.

        Raises:
            UnknownPresetError: There is no such preset.
        """
        try:
            return PRESETS[name]
        except KeyError:
            raise UnknownPresetError(f"Unknown network preset {name!r}. Valid names: {', '.join(PRESETS)}.") from None


PRESETS = {
    "paper": ResUNetConfig(),  # DexGraspNet 2.0's released weights
    "small": ResUNetConfig(planes=(32, 64, 96, 128, 96, 96, 64, 64)),  # trainable on two cores
}


class ResUNet14(nn.Module):
    """Voxels in, one feature vector per voxel out. Input features are ones: the network sees occupancy alone.

    Parameters are named as MinkowskiEngine's MinkUNet names them (`conv0p1s1.kernel`, `block2.0.downsample.1.bn.bias`,
    `convtr4p16s2.kernel`, ...). Initial values, the same for every backend: normal with variance 2 / fan out, as
    He et al. 2015; the transposed kernels and the last bias uniform, as MinkowskiEngine leaves them.

    Args:
        config: Widths, or None for those of the paper.
        backend: Name in `SPARSE_CONVOLUTIONS`; empty: the default.

    Raises:
        UnknownBackendError, UnavailableBackendError: There is no such sparse convolution, or not here.
    """

    def __init__(self, config: ResUNetConfig | None = None, backend: str = "") -> None:
        super().__init__()
        self.config = config = config or ResUNetConfig()
        self._layers = layers = SPARSE_CONVOLUTIONS.create(backend)
        self.conv0p1s1 = layers.convolution(config.in_channels, config.initial, kernel_size=5)
        self.bn0 = layers.batch_norm(config.initial)
        skips = [config.initial]
        for stage, planes in enumerate(config.planes[:STAGES], start=1):
            width = skips[-1]
            self.add_module(f"conv{stage}p{2 ** (stage - 1)}s2", layers.convolution(width, width, 2, stride=2))
            self.add_module(f"bn{stage}", layers.batch_norm(width))
            self.add_module(f"block{stage}", nn.Sequential(ResidualBlock(layers, width, planes)))
            skips.append(planes)
        width = skips.pop()
        for stage, planes in enumerate(config.planes[STAGES:], start=STAGES):
            self.add_module(
                f"convtr{stage}p{2 ** (2 * STAGES - stage)}s2", layers.transposed_convolution(width, planes)
            )
            self.add_module(f"bntr{stage}", layers.batch_norm(planes))
            self.add_module(f"block{stage + 1}", nn.Sequential(ResidualBlock(layers, planes + skips.pop(), planes)))
            width = planes
        self.final = layers.convolution(width, config.out_channels, kernel_size=1, bias=True)
        self._initialise()

    def forward(self, voxels: Voxels) -> Tensor:
        """Feature vectors (V, out_channels) of the voxels, in their order and in the type of the parameters."""
        given, x = self._decoded(voxels)
        return self._layers.dense(self.final(x), given)

    def hidden(self, voxels: Voxels) -> Tensor:
        """What the last layer, a matrix and a bias, takes: (V, W), in the order of the voxels."""
        given, x = self._decoded(voxels)
        return self._layers.dense(x, given)

    def _decoded(self, voxels: Voxels) -> tuple[Any, Any]:
        layers = self._layers
        given = layers.ones(self.config.in_channels, voxels, like=next(self.parameters()))
        skips = [layers.relu(self.bn0(self.conv0p1s1(given)))]
        for stage in range(1, STAGES + 1):
            x = self._normed(skips[-1], f"conv{stage}p{2 ** (stage - 1)}s2", f"bn{stage}")
            skips.append(self.get_submodule(f"block{stage}")(x))
        x = skips.pop()
        for stage in range(STAGES, 2 * STAGES):
            x = self._normed(x, f"convtr{stage}p{2 ** (2 * STAGES - stage)}s2", f"bntr{stage}")
            x = self.get_submodule(f"block{stage + 1}")(layers.concatenate(x, skips.pop()))
        return given, x

    def _normed(self, x: Any, convolution: str, norm: str) -> Any:
        return self._layers.relu(self.get_submodule(norm)(self.get_submodule(convolution)(x)))

    @torch.no_grad()
    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith(".kernel"):
                volume = len(parameter) if parameter.ndim == 3 else 1
                if name.startswith("convtr"):
                    bound = (parameter.shape[-1] * volume) ** -0.5
                    parameter.uniform_(-bound, bound)
                else:  # of a matrix, MinkowskiEngine's kaiming_normal_ takes the first axis for the outputs
                    fan = parameter.shape[-1] * volume if parameter.ndim == 3 else parameter.shape[0]
                    parameter.normal_(0.0, (2.0 / fan) ** 0.5)
            elif name == "final.bias":
                bound = self.final.kernel.shape[0] ** -0.5
                parameter.uniform_(-bound, bound)


class ResidualBlock(nn.Module):
    """Two 3^3 convolutions with batch norm beside a shortcut, as ResNet's basic block."""

    def __init__(self, layers: SparseLayers, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self._layers = layers
        self.conv1 = layers.convolution(in_channels, out_channels, kernel_size=3)
        self.norm1 = layers.batch_norm(out_channels)
        self.conv2 = layers.convolution(out_channels, out_channels, kernel_size=3)
        self.norm2 = layers.batch_norm(out_channels)
        self.downsample = None
        if in_channels != out_channels:
            self.downsample = nn.Sequential(
                layers.convolution(in_channels, out_channels, kernel_size=1), layers.batch_norm(out_channels)
            )

    def forward(self, x: Any) -> Any:
        """Sparse features of `out_channels` at the same voxels."""
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self._layers.relu(self.norm1(self.conv1(x)))
        return self._layers.relu(self.norm2(self.conv2(inner)) + shortcut)
