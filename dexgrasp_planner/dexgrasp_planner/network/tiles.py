"""Kernel maps cut for matrix products: tiles of output rows that need nearly the same elements of a kernel.

A convolution gathers, for each output row, the input rows that its kernel reaches, and multiplies. One product per
kernel element adds every product into the output, row by row. Here, rows are sorted by which elements reach something,
and cut into tiles of equal height; a tile then is one gather and one product with the elements that any of its rows
needs, 16 of 27 on a scene's surface where 12 are needed. All tiles of a network have a few shapes, for which oneDNN
keeps its compiled code: for every new shape it would compile longer than it multiplies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

HEIGHT = 256  # rows of a tile
_STEP = 2  # tiles have multiples of so many elements, so that fewer shapes occur
_BITS = 62  # of a code; of larger kernels, the commonest elements are left out


@dataclass(frozen=True)
class Tiles:
    """A kernel map, cut. Row `input_rows` of the input, and row `output_rows` of the output, stand for none: zeros.

    Attributes:
        order: tensor (N * HEIGHT,), int64, the output row of each row of the N tiles.
        place: tensor (output rows,), int64, where each output row is in `order`.
        elements: Of each tile, the elements of the kernel that it uses: (M,), int64, distinct.
        inputs: Of each tile, (HEIGHT * M,), int64: for each of its rows, the input row under each element.
    """

    order: Tensor
    place: Tensor
    elements: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]

    @staticmethod
    def of(table: Tensor, input_rows: int) -> Tiles:
        """Cut a map.

        Args:
            table: tensor (K, output rows), int64: the input row under each element; -1 where there is none.
            input_rows: Rows of the input.
        """
        size, rows = table.shape
        reached = table >= 0
        order = _similar_together(reached)
        order = torch.cat((order, order.new_full((-rows % HEIGHT,), rows)))
        place = order.new_empty(rows + 1)
        place[order] = torch.arange(len(order), device=order.device)
        absent = table.new_full((1, size), input_rows)
        under = torch.cat((torch.where(reached, table, input_rows).T, absent)).index_select(0, order)
        under = under.view(-1, HEIGHT, size)
        used = (under < input_rows).any(dim=1)
        counts = ((used.sum(dim=1) + _STEP - 1) // _STEP * _STEP).clamp(max=size).tolist()
        first_used = used.byte().argsort(dim=1, descending=True, stable=True)
        elements = tuple(chosen[:count] for chosen, count in zip(first_used, counts, strict=True))
        inputs = tuple(tile.index_select(1, chosen).flatten() for tile, chosen in zip(under, elements, strict=True))
        return Tiles(order, place[:rows], elements, inputs)

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Of each tile: its part of `order`, its elements and its inputs."""
        for number, (elements, inputs) in enumerate(zip(self.elements, self.inputs, strict=True)):
            yield slice(number * HEIGHT, (number + 1) * HEIGHT), elements, inputs

    def mirrored(self, size: int) -> Tiles:
        """The map of the transposed operation of a centred kernel of `size` elements, in which opposite ones change."""
        return Tiles(self.order, self.place, tuple(size - 1 - chosen for chosen in self.elements), self.inputs)


@dataclass(frozen=True)
class TiledMap:
    """A kernel map in tiles, and that of the transposed operation, which gradients take."""

    forward: Tiles
    backward: Tiles

    @property
    def reversed(self) -> TiledMap:
        """The map of the transposed operation."""
        return TiledMap(self.backward, self.forward)


def _similar_together(reached: Tensor) -> Tensor:
    """Output rows (R,), int64, so ordered that neighbours reach nearly the same elements; from (K, R), bool.

    By a Gray code, in which one bit changes from one number to the next, with the rarest elements as its first bits.
    """
    bit = reached.sum(dim=1).argsort(descending=True).argsort() - max(len(reached) - _BITS, 0)
    worth = torch.where(bit >= 0, 2 ** bit.clamp(min=0), 0)
    code = (reached * worth[:, None]).sum(dim=0)
    for shift in (1, 2, 4, 8, 16, 32):
        code ^= code >> shift
    return code.argsort()
