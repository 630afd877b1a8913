"""Small sparse scenes, and the convolutions that they are compared with: dense ones, and pair by pair."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from dexgrasp_planner.network.pyramid import KernelMap
from dexgrasp_planner.network.voxels import Voxels, voxelize
from torch import Tensor

ORIGIN = -8  # of every dense grid; a multiple of all strides in use
EXTENT = 16


def scene(points: int = 220, seed: int = 0) -> Voxels:
    """Two clouds, between -5 and 5 voxels, with points that share voxels; where the first ends, the second begins."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(-5, 5, (points, 3), generator=generator)
    cells = torch.cat((cells, cells[:20], torch.tensor([[4, 4, 4], [-5, -5, -5]])))
    batch = torch.arange(len(cells)) % 2
    return voxelize(cells + 0.5, 1.0, batch)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weight(kernel: Tensor, size: int) -> Tensor:
    """The kernel (k^3, in, out) as conv3d's weight (out, in, k, k, k) over axes x, y, z: x is the fastest."""
    weight = torch.zeros(kernel.shape[2], kernel.shape[1], size, size, size, dtype=kernel.dtype)
    for x in range(size):
        for y in range(size):
            for z in range(size):
                weight[:, :, x, y, z] = kernel[x + size * y + size * size * z].T
    return weight


def grid(rows: Tensor, cells: Tensor, stride: int) -> Tensor:
    """A dense grid (B, C, X, Y, Z), zero where there is no voxel."""
    dense = rows.new_zeros(
        int(cells[:, 0].max()) + 1, EXTENT // stride, EXTENT // stride, EXTENT // stride, rows.shape[1]
    )
    dense[_places(cells, stride)] = rows
    return dense.permute(0, 4, 1, 2, 3)


def rows_at(dense: Tensor, cells: Tensor, stride: int) -> Tensor:
    """Features (V, C) of a dense grid at the voxels."""
    return dense.permute(0, 2, 3, 4, 1)[_places(cells, stride)]


def dense_convolution(rows: Tensor, kernel: Tensor, cells: Tensor, stride: int, size: int) -> Tensor:
    """A centred convolution at the voxels of one stride."""
    return rows_at(F.conv3d(grid(rows, cells, stride), weight(kernel, size), padding=size // 2), cells, stride)


def convolve(rows: Tensor, kernel: Tensor, kernel_map: KernelMap) -> Tensor:
    """Sum of `rows[input] @ kernel[element]` over the pairs of the map, at each output row."""
    total = rows.new_zeros((kernel_map.output_rows, kernel.shape[2]))
    for element, inputs, outputs in kernel_map.elements():
        total = total.index_add(0, outputs, rows[inputs] @ kernel[element])
    return total


def _places(cells: Tensor, stride: int) -> tuple[Tensor, ...]:
    batch, x, y, z = cells.long().unbind(1)
    shift = ORIGIN // stride
    return batch, x - shift, y - shift, z - shift
