"""ResUNet14 for inference: batch norms folded into the kernels, heads fused, products in shapes that recur.

It gives what the modules of `resunet` give in evaluation mode, with less work:

* Batch norm is an affine map once trained, so kernel and bias before it absorb it.
* Input features are ones, so the first convolution is the (V, 125) occupancy times the kernel summed over its inputs.
* The last 1^3 convolution and the linear head behind it are one small matrix for all voxels; whole feature vectors are
  made only at the rows that are asked for.
* In bfloat16 on a CPU, products are cut into blocks of a few heights: oneDNN compiles code for every new shape, which
  takes longer than the product, and no two scenes have the same number of voxels.
* On a GPU, each convolution is one gather and one product (`gathered_conv`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dexgrasp_planner.network.gathered_conv import GatherMap, products
from dexgrasp_planner.network.pyramid import CoordinatePyramid, KernelMap
from dexgrasp_planner.network.resunet import STAGES, ResUNet14
from dexgrasp_planner.network.voxels import Voxels

BLOCK = 2048  # rows of a product in bfloat16, at most
GRAIN = 128  # the heights of blocks are multiples of it


@dataclass(frozen=True)
class VoxelOutputs:
    """What the folded network says about each voxel.

    Attributes:
        scores: tensor (V, H), float32, outputs of the linear head at every voxel.
    """

    scores: Tensor
    _hidden: Tensor
    _final: _Layer

    def features(self, rows: Tensor) -> Tensor:
        """Feature vectors (M, out_channels), float32, at those voxels.

        Args:
            rows: tensor (M,), int64, rows of the voxels.
        """
        return self._final.matrix(self._hidden[rows]).float()


class FoldedResUNet14:
    """A trained ResUNet14 and a linear head on its features, frozen for inference.

    Args:
        network: Where the weights are copied from; later changes of it have no effect here.
        head: Linear(out_channels, H), evaluated at every voxel.
        dtype: float32, or bfloat16 with some three significant digits: faster for wide networks, where the processor
            multiplies bfloat16 itself.
        device: Where it runs, and where its voxels are to be.

    Raises:
        ValueError: The head does not take the network's features, or the type is another.
    """

    def __init__(
        self,
        network: ResUNet14,
        head: nn.Linear,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        out_channels = network.config.out_channels
        if head.in_features != out_channels:
            raise ValueError(f"The head takes {head.in_features} features; the network makes {out_channels}.")
        if dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"Inference is in float32 or bfloat16; got {dtype}.")
        # In float64: products of weights are rounded once, when they are stored.
        weights = {name: value.detach().double() for name, value in network.named_parameters()}
        kernels = {
            name: value for name, value in weights.items() if name.endswith(".kernel") and name != "final.kernel"
        }
        self._layers = {
            name.removesuffix(".kernel"): _folded(network, name.removesuffix(".kernel"), kernel, dtype).to(device)
            for name, kernel in kernels.items()
        }
        kernel, bias = weights["final.kernel"], weights["final.bias"][0]
        self._final = _Layer.of(kernel, bias, dtype).to(device)
        matrix, offset = head.weight.detach().double().T, head.bias.detach().double()
        self._head = _Layer.of(kernel @ matrix, bias @ matrix + offset, dtype).to(device)

    @torch.no_grad()
    def __call__(self, voxels: Voxels) -> VoxelOutputs:
        """Scores at every voxel, and features on demand, in the order of the voxels."""
        pyramid, layers = voxels.pyramid, self._layers
        occupied = pyramid.occupancy(1, 5).to(self._head.bias.dtype)
        skips = [layers["conv0p1s1"].matrix(occupied).relu_()]
        stride = 1
        for stage in range(1, STAGES + 1):
            x = layers[f"conv{stage}p{stride}s2"].convolution(skips[-1], _down(pyramid, stride)).relu_()
            stride *= 2
            skips.append(self._block(stage, x, _centred(pyramid, stride)))
        x = skips.pop()
        for stage in range(STAGES, 2 * STAGES):
            layer = layers[f"convtr{stage}p{stride}s2"]
            stride //= 2
            x = layer.convolution(x, _down(pyramid, stride).reversed).relu_()
            x = self._block(stage + 1, torch.cat((x, skips.pop()), dim=1), _centred(pyramid, stride))
        return VoxelOutputs(self._head.matrix(x).float(), x, self._final)

    @staticmethod
    def make_maps(pyramid: CoordinatePyramid) -> None:
        """All that a call would make when it first asks."""
        pyramid.neighbours(1, 5)
        for stride in (2**level for level in range(STAGES + 1)):
            _centred(pyramid, stride)
            if stride < 2**STAGES:
                _ = _down(pyramid, stride).reversed

    def _block(self, number: int, x: Tensor, pairs: KernelMap | GatherMap) -> Tensor:
        block = f"block{number}.0"
        shortcut = self._layers.get(f"{block}.downsample.0")
        inner = self._layers[f"{block}.conv1"].convolution(x, pairs).relu_()
        result = self._layers[f"{block}.conv2"].convolution(inner, pairs)
        return result.add_(x if shortcut is None else shortcut.matrix(x)).relu_()


@dataclass(frozen=True)
class _Layer:
    """A convolution with the batch norm behind it.

    Attributes:
        weight: tensor (K, out, in), or (out, in) for a matrix.
        bias: tensor (out,).
    """

    weight: Tensor
    bias: Tensor

    @staticmethod
    def of(kernel: Tensor, bias: Tensor, dtype: torch.dtype) -> _Layer:
        """From a kernel (K, in, out) or (in, out)."""
        return _Layer(kernel.transpose(-1, -2).to(dtype).contiguous(), bias.to(dtype))

    def to(self, device: str | torch.device) -> _Layer:
        """The same on another device."""
        return _Layer(self.weight.to(device), self.bias.to(device))

    def matrix(self, x: Tensor) -> Tensor:
        """The one matrix, on every row."""
        return _product(x, self.weight).add_(self.bias)

    def convolution(self, x: Tensor, pairs: KernelMap | GatherMap) -> Tensor:
        """Features (output rows, out) of features (input rows, in)."""
        if isinstance(pairs, GatherMap):
            return products(x, self.weight.transpose(1, 2), pairs.forward).add_(self.bias)
        out = self.bias.expand(pairs.output_rows, -1).clone()
        for element, inputs, outputs in pairs.elements():
            out.index_add_(0, outputs, _product(x.index_select(0, inputs), self.weight[element]))
        return out


def _centred(pyramid: CoordinatePyramid, stride: int) -> KernelMap | GatherMap:
    """Of a 3^3 kernel, as it is wanted where the voxels are."""
    return pyramid.centred_gather(stride, 3) if pyramid.device.type == "cuda" else pyramid.centred(stride, 3)


def _down(pyramid: CoordinatePyramid, stride: int) -> KernelMap | GatherMap:
    return pyramid.down_gather(stride) if pyramid.device.type == "cuda" else pyramid.down(stride)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T`."""
    if x.is_cuda or x.dtype == torch.float32:
        return F.linear(x, weight)
    blocks = [_block_product(rows, weight) for rows in x.split(BLOCK)]
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def _block_product(x: Tensor, weight: Tensor) -> Tensor:
    missing = -len(x) % GRAIN
    if not missing:
        return F.linear(x, weight)
    return F.linear(F.pad(x, (0, 0, 0, missing)), weight)[: len(x)]


def _folded(network: nn.Module, convolution: str, kernel: Tensor, dtype: torch.dtype) -> _Layer:
    norm = network.get_submodule(f"{_norm_after(convolution)}.bn")
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = norm.bias.detach().double() - norm.running_mean.double() * scale
    if convolution == "conv0p1s1":
        kernel = kernel.sum(1)  # over the inputs, which are ones
    return _Layer.of(kernel * scale, bias, dtype)


def _norm_after(convolution: str) -> str:
    """Name of the batch norm behind a convolution: `bn2` behind `conv2p2s2`, `norm1` behind `conv1` in a block."""
    owner, _, own = convolution.rpartition(".")
    if own == "0":
        return f"{owner}.1"
    if owner:
        return f"{owner}.{own.replace('conv', 'norm')}"
    return own.split("p")[0].replace("conv", "bn")
