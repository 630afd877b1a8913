"""Sparse convolution in plain PyTorch, with MinkowskiEngine's conventions and parameter names.

Convolution: `out[u] = sum_i x[u + offset_i] W_i + b` over the voxels that exist; no element is flipped. The transposed
one has the same pairs with the ends exchanged. Kernels are (k^3, in, out), that of a 1^3 convolution is (in, out).

Under `torch.autocast`, products are in its type, and so are the features between layers; sums of products, gradients of
kernels and the statistics of batch norms stay float32. Products come in the shapes of `tiles` on a CPU, and of
`gathered_conv` on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dexgrasp_planner.network.gathered_conv import convolve_gathered
from dexgrasp_planner.network.pyramid import CoordinatePyramid
from dexgrasp_planner.network.tiled_conv import convolve_tiles, multiply
from dexgrasp_planner.network.voxels import Voxels


@dataclass(frozen=True)
class SparseFeatures:
    """A feature vector per voxel at one stride.

    Attributes:
        rows: tensor (V, C), any float type.
        stride: Of the voxels.
        pyramid: Where the voxels and their kernel maps are.
        ones: Whether all features are 1: a convolution then needs to know only which voxels there are.
    """

    rows: Tensor
    stride: int
    pyramid: CoordinatePyramid
    ones: bool = False

    def with_rows(self, rows: Tensor) -> SparseFeatures:
        """Other features of the same voxels."""
        return SparseFeatures(rows, self.stride, self.pyramid)

    def __add__(self, other: SparseFeatures) -> SparseFeatures:
        return self.with_rows(self.rows + other.rows)


class SparseConvolution(nn.Module):
    """A convolution of odd size and stride 1, or of size 2 and stride 2.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: k, cells along an edge.
        stride: 1 for odd k, 2 for k = 2.
        bias: Whether a learned vector (1, out) is added.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, bias: bool = False
    ) -> None:
        super().__init__()
        if not (stride == 1 and kernel_size % 2 == 1) and (kernel_size, stride) != (2, 2):
            raise ValueError(f"Kernels are odd with stride 1, or of size 2 with stride 2; got {kernel_size}, {stride}.")
        self.kernel_size, self.stride = kernel_size, stride
        shape = (in_channels, out_channels) if kernel_size == 1 else (kernel_size**3, in_channels, out_channels)
        self.kernel = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(1, out_channels)) if bias else None
        _uniform(self, in_channels * kernel_size**3)

    def forward(self, x: SparseFeatures) -> SparseFeatures:
        """Features (V', out) at the input's stride times this one's."""
        given = _in_autocast(x.rows)
        if self.kernel_size == 1:
            rows = _matrix(given, self.kernel)
        elif self.stride == 2:
            rows = _across(given, self.kernel, x.pyramid, x.stride, up=False)
        elif x.ones:
            occupied = x.pyramid.occupancy(x.stride, self.kernel_size).to(given.dtype)
            rows = _matrix(occupied, self.kernel.sum(dim=1))
        else:
            rows = _centred(given, self.kernel, x.pyramid, x.stride, self.kernel_size)
        if self.bias is not None:
            rows = rows + self.bias.to(rows.dtype)
        return SparseFeatures(rows, x.stride * self.stride, x.pyramid)


class SparseTransposedConvolution(nn.Module):
    """A transposed convolution of size 2 and stride 2, onto the voxels that the pyramid has at the finer stride.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(8, in_channels, out_channels))
        _uniform(self, out_channels * 8)

    def forward(self, x: SparseFeatures) -> SparseFeatures:
        """Features (V', out) at half the input's stride."""
        stride = x.stride // 2
        return SparseFeatures(_across(_in_autocast(x.rows), self.kernel, x.pyramid, stride, up=True), stride, x.pyramid)


class SparseBatchNorm(nn.Module):
    """Batch normalisation over all voxels of the batch; the parameters are those of `bn`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: SparseFeatures) -> SparseFeatures:
        """Normalised features (V, channels)."""
        return x.with_rows(self.bn(x.rows))


class TorchLayers:
    """The layers of this module, as `backends.SparseLayers` wants them."""

    def convolution(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, bias: bool = False
    ) -> nn.Module:
        return SparseConvolution(in_channels, out_channels, kernel_size, stride, bias)

    def transposed_convolution(self, in_channels: int, out_channels: int) -> nn.Module:
        return SparseTransposedConvolution(in_channels, out_channels)

    def batch_norm(self, channels: int) -> nn.Module:
        return SparseBatchNorm(channels)

    def relu(self, x: SparseFeatures) -> SparseFeatures:
        return x.with_rows(torch.relu_(x.rows))  # what comes before it keeps its own inputs only

    def concatenate(self, first: SparseFeatures, second: SparseFeatures) -> SparseFeatures:
        return first.with_rows(torch.cat((first.rows, second.rows), dim=1))

    def sparse(self, rows: Tensor, voxels: Voxels) -> SparseFeatures:
        return SparseFeatures(rows, 1, voxels.pyramid)

    def ones(self, channels: int, voxels: Voxels, like: Tensor) -> SparseFeatures:
        return SparseFeatures(like.new_ones((len(voxels), channels)), 1, voxels.pyramid, ones=True)

    def dense(self, x: SparseFeatures, like: SparseFeatures) -> Tensor:
        return x.rows


def _in_autocast(rows: Tensor) -> Tensor:
    device = rows.device.type
    return rows.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else rows


def _matrix(rows: Tensor, matrix: Tensor) -> Tensor:
    return rows @ matrix.to(rows.dtype) if rows.is_cuda else multiply(rows, matrix)


def _centred(rows: Tensor, kernel: Tensor, pyramid: CoordinatePyramid, stride: int, size: int) -> Tensor:
    if rows.is_cuda:
        return convolve_gathered(rows, kernel, pyramid.centred_gather(stride, size))
    return convolve_tiles(rows, kernel, pyramid.centred_tiles(stride, size))


def _across(rows: Tensor, kernel: Tensor, pyramid: CoordinatePyramid, stride: int, *, up: bool) -> Tensor:
    """From `stride` to twice the stride, or back up."""
    if rows.is_cuda:
        gathers = pyramid.down_gather(stride)
        return convolve_gathered(rows, kernel, gathers.reversed if up else gathers)
    tiles = pyramid.down_tiles(stride)
    return convolve_tiles(rows, kernel, tiles.reversed if up else tiles)


def _uniform(layer: nn.Module, fan: int) -> None:
    """MinkowskiEngine's own initial values: uniform within 1 / sqrt(fan)."""
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(fan**-0.5), fan**-0.5)
