"""Voxel coordinates at strides 1, 2, 4, ... and the pairs of voxels that each element of a kernel connects.

The conventions are MinkowskiEngine 0.5.4's, so that its weights mean the same here (`kernel_region.hpp`,
`coordinate_map.hpp`). Coordinates are (batch, x, y, z). Element `ix + k*iy + k*k*iz` of a kernel of size k, x fastest,
connects the output at u with the input at u + offset; an odd kernel is centred, the even one is not (offsets 0 and 1).
A coarse coordinate is the floor of half the fine one, also below zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dexgrasp_planner.network.gathered_conv import GatherMap
from dexgrasp_planner.network.tiles import TiledMap, Tiles

DENSE_CELLS = 1 << 24  # largest bounding box [cells] that is looked up in a table, of 4 bytes a cell
_RUN = 8  # longest run of cells that is one number


@dataclass(frozen=True)
class KernelMap:
    """Which input row reaches which output row, through which element of a kernel.

    Within one element, no output row and no input row occurs twice.

    Attributes:
        inputs: tensor (P,), int64, rows of the input, element by element.
        outputs: tensor (P,), int64, rows of the output, as `inputs`.
        counts: How many of the P pairs each element of the kernel has.
        input_rows: Rows of the input.
        output_rows: Rows of the output.
    """

    inputs: Tensor
    outputs: Tensor
    counts: tuple[int, ...]
    input_rows: int
    output_rows: int

    def elements(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Index, input rows and output rows of every element that connects anything."""
        pairs = zip(self.inputs.split(self.counts), self.outputs.split(self.counts), strict=True)
        for element, (inputs, outputs) in enumerate(pairs):
            if len(inputs):
                yield element, inputs, outputs

    @cached_property
    def reversed(self) -> KernelMap:
        """The map of the transposed operation: same elements, inputs and outputs change places."""
        return KernelMap(self.outputs, self.inputs, self.counts, self.output_rows, self.input_rows)


class CoordinatePyramid:
    """The voxels of a batch at every stride, and the kernel maps between them, each made once when first asked for.

    Args:
        coordinates: tensor (V, 4), int32, unique rows (batch, x, y, z), within the limits of `voxels.voxelize`.
    """

    def __init__(self, coordinates: Tensor) -> None:
        self._cells = {1: coordinates}
        self._children: dict[int, tuple[Tensor, Tensor]] = {}
        self._tables: dict[tuple[int, int], Tensor] = {}
        self._maps: dict[tuple[int, int], KernelMap] = {}
        self._tiled: dict[tuple[int, int], TiledMap] = {}
        self._gathers: dict[tuple[int, int], GatherMap] = {}

    @property
    def device(self) -> torch.device:
        """Where the voxels are, and their maps."""
        return self._cells[1].device

    def rows(self, stride: int) -> int:
        """Number of voxels at that stride."""
        return len(self.cells(stride))

    def cells(self, stride: int) -> Tensor:
        """Coordinates (V, 4), int32, at that stride and in its units: (batch, floor(x / stride), ...)."""
        if stride not in self._cells:
            self.children(stride // 2)
        return self._cells[stride]

    def children(self, stride: int) -> tuple[Tensor, Tensor]:
        """For each voxel at `stride`: its row at twice the stride, and which of the eight children there it is.

        Returns:
            Parent rows (V,), int64, and child indices (V,), int64, `(x & 1) + 2 (y & 1) + 4 (z & 1)`.
        """
        if stride not in self._children:
            cells = self.cells(stride)
            halved = cells.clone()
            halved[:, 1:] >>= 1  # floor, also below zero
            _, parents = torch.unique(_Box(halved, margin=0).numbers(halved), return_inverse=True)
            coarse = torch.empty((int(parents.max()) + 1, 4), dtype=cells.dtype, device=cells.device)
            coarse[parents] = halved
            odd = (cells[:, 1:] & 1).long()
            self._cells[2 * stride] = coarse
            self._children[stride] = parents, odd[:, 0] + 2 * odd[:, 1] + 4 * odd[:, 2]
        return self._children[stride]

    def neighbours(self, stride: int, kernel_size: int) -> Tensor:
        """The voxels under a centred kernel.

        Args:
            stride: Of input and output.
            kernel_size: k, odd.

        Returns:
            tensor (k^3, V), int64: row of the voxel at the element's offset from each voxel; -1 where there is none.
        """
        key = stride, kernel_size
        if key not in self._tables:
            self._tables[key] = _neighbours(self.cells(stride), kernel_size)
        return self._tables[key]

    def centred(self, stride: int, kernel_size: int) -> KernelMap:
        """Map of a centred kernel of odd size and stride 1, from the voxels at `stride` to themselves."""
        key = stride, kernel_size
        if key not in self._maps:
            table = self.neighbours(stride, kernel_size)
            elements, outputs = (table >= 0).nonzero(as_tuple=True)
            counts = tuple(elements.bincount(minlength=len(table)).tolist())
            rows = table.shape[1]
            self._maps[key] = KernelMap(table[elements, outputs], outputs, counts, rows, rows)
        return self._maps[key]

    def down(self, stride: int) -> KernelMap:
        """Map of the 2^3 kernel from `stride` to twice the stride; `.reversed` is that of the transposed one, back."""
        key = stride, 2
        if key not in self._maps:
            parents, children = self.children(stride)
            order = children.argsort(stable=True)
            counts = tuple(children.bincount(minlength=8).tolist())
            self._maps[key] = KernelMap(order, parents[order], counts, len(parents), self.rows(2 * stride))
        return self._maps[key]

    def occupancy(self, stride: int, kernel_size: int) -> Tensor:
        """1 for the cells under a centred kernel that hold a voxel, and 0 for the others: (V, k^3), uint8."""
        return _occupancy(self.cells(stride), kernel_size)

    def centred_tiles(self, stride: int, kernel_size: int) -> TiledMap:
        """The map of `centred`, in tiles."""
        key = stride, kernel_size
        if key not in self._tiled:
            table = self.neighbours(stride, kernel_size)
            tiles = Tiles.of(table, table.shape[1])
            self._tiled[key] = TiledMap(tiles, tiles.mirrored(len(table)))
        return self._tiled[key]

    def down_tiles(self, stride: int) -> TiledMap:
        """The map of `down`, in tiles."""
        key = stride, 2
        if key not in self._tiled:
            below, above = self._below_above(stride)
            self._tiled[key] = TiledMap(Tiles.of(below, above.shape[1]), Tiles.of(above, below.shape[1]))
        return self._tiled[key]

    def centred_gather(self, stride: int, kernel_size: int) -> GatherMap:
        """The map of `centred`, row by row."""
        key = stride, kernel_size
        if key not in self._gathers:
            table = self.neighbours(stride, kernel_size)
            self._gathers[key] = GatherMap.of(table, table.flip(0))
        return self._gathers[key]

    def down_gather(self, stride: int) -> GatherMap:
        """The map of `down`, row by row."""
        key = stride, 2
        if key not in self._gathers:
            self._gathers[key] = GatherMap.of(*self._below_above(stride))
        return self._gathers[key]

    def _below_above(self, stride: int) -> tuple[Tensor, Tensor]:
        """Of each voxel at twice the stride its eight children, and of each at `stride` its parent under the element
        that it is: (8, rows), -1 where there is none."""
        parents, children = self.children(stride)
        fine = torch.arange(len(parents), device=parents.device)
        below = parents.new_full((8, self.rows(2 * stride)), -1)
        below[children, parents] = fine
        above = parents.new_full((8, len(parents)), -1)
        above[children, fine] = parents
        return below, above


class _Box:
    """Numbers the cells of the bounding box of some voxels, widened by a margin so that a kernel stays inside."""

    def __init__(self, cells: Tensor, margin: int) -> None:
        lowest, highest = cells.amin(0).tolist(), cells.amax(0).tolist()
        self._batches = highest[0] + 1
        self._lowest = [low - margin for low in lowest[1:]]
        self._extent = [high + margin - low + 1 for low, high in zip(self._lowest, highest[1:], strict=True)]

    def size(self) -> int:
        """Number of cells in the box, over all batches."""
        x, y, z = self._extent
        return self._batches * x * y * z

    def numbers(self, cells: Tensor) -> Tensor:
        """Numbers (V,), int64, of those cells."""
        batch, x, y, z = cells.long().unbind(1)
        x, y, z = (axis - low for axis, low in zip((x, y, z), self._lowest, strict=True))
        return self.step(x + batch * self._extent[0], y, z)

    def step(self, x: Any, y: Any, z: Any) -> Any:
        """What a step of that many cells adds to a number."""
        return (x * self._extent[1] + y) * self._extent[2] + z


def _neighbours(cells: Tensor, kernel_size: int) -> Tensor:
    reach = kernel_size // 2
    box = _Box(cells, reach)
    numbers = box.numbers(cells)
    span = range(-reach, reach + 1)
    steps = torch.tensor([box.step(x, y, z) for z in span for y in span for x in span], device=cells.device)
    wanted = numbers + steps[:, None]
    if box.size() <= DENSE_CELLS:
        table = torch.full((box.size(),), -1, dtype=torch.int32, device=cells.device)
        table[numbers] = torch.arange(len(numbers), dtype=torch.int32, device=cells.device)
        return table.index_select(0, wanted.flatten()).view(wanted.shape).long()
    ordered, order = numbers.sort()
    places = torch.searchsorted(ordered, wanted).clamp_(max=len(numbers) - 1)
    return torch.where(ordered[places] == wanted, order[places], -1)


def _occupancy(cells: Tensor, kernel_size: int) -> Tensor:
    """As `_neighbours`, where only whether there is a voxel matters.

    A run of k cells along z is one number of k bits, so that k^2 numbers are looked up for a voxel, not k^3.
    """
    reach = kernel_size // 2
    box = _Box(cells, reach)
    if box.size() > DENSE_CELLS or kernel_size > _RUN:
        return (_neighbours(cells, kernel_size) >= 0).T.byte()
    numbers = box.numbers(cells)
    occupied = torch.zeros(box.size() + 2 * reach, dtype=torch.uint8, device=cells.device)
    occupied[numbers + reach] = 1
    runs = occupied[: box.size()].clone()
    for bit in range(1, kernel_size):
        runs |= occupied[bit : bit + box.size()] << bit
    span = range(-reach, reach + 1)
    steps = torch.tensor([box.step(x, y, 0) for y in span for x in span], device=cells.device)
    around = runs.index_select(0, (numbers[:, None] + steps).flatten()).view(len(cells), 1, -1)
    bits = torch.arange(kernel_size, dtype=torch.uint8, device=cells.device)[:, None]
    return torch.bitwise_right_shift(around, bits).bitwise_and_(1).flatten(1)
