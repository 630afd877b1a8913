"""MinkowskiEngine 0.5.4 as the sparse convolution.

Its source builds for PyTorch 2.13 without changes to the C++ (setuptools 69.5, OpenBLAS); for Python 3.10 and newer,
`from collections import Sequence` in five of its Python files must become `from collections.abc import Sequence`.
"""

from __future__ import annotations

from typing import Any

import MinkowskiEngine
import MinkowskiEngine.MinkowskiFunctional as MinkowskiFunctional
import torch
from torch import Tensor, nn

from dexgrasp_planner.network.voxels import Voxels


class MinkowskiLayers:
    """MinkowskiEngine's layers, as `backends.SparseLayers` wants them; sparse features are its `SparseTensor`."""

    def convolution(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, bias: bool = False
    ) -> nn.Module:
        return MinkowskiEngine.MinkowskiConvolution(
            in_channels, out_channels, kernel_size=kernel_size, stride=stride, bias=bias, dimension=3
        )

    def transposed_convolution(self, in_channels: int, out_channels: int) -> nn.Module:
        return MinkowskiEngine.MinkowskiConvolutionTranspose(
            in_channels, out_channels, kernel_size=2, stride=2, dimension=3
        )

    def batch_norm(self, channels: int) -> nn.Module:
        return MinkowskiEngine.MinkowskiBatchNorm(channels)

    def relu(self, x: Any) -> Any:
        return MinkowskiFunctional.relu(x)

    def concatenate(self, first: Any, second: Any) -> Any:
        return MinkowskiEngine.cat(first, second)

    def sparse(self, rows: Tensor, voxels: Voxels) -> Any:
        return MinkowskiEngine.SparseTensor(features=rows, coordinates=voxels.coordinates.to(rows.device, torch.int32))

    def ones(self, channels: int, voxels: Voxels, like: Tensor) -> Any:
        return self.sparse(like.new_ones((len(voxels), channels)), voxels)

    def dense(self, x: Any, like: Any) -> Tensor:
        return x.F[like.inverse_mapping.long()]  # it may order the voxels otherwise
