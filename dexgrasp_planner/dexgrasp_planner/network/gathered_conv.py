"""Sparse convolution on a GPU: one gather and one product for all elements of a kernel.

Pairs of rows, element by element, are three small launches for each of 27 elements, and a GPU waits for launches longer
than it multiplies. Here each output row gathers a row under every element, zeros where there is
none: twice the arithmetic on a scene's surface, for a twentieth of the launches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

GATHERED = 1 << 27  # numbers that are gathered at once, at most: 256 MB in 16 bits


@dataclass(frozen=True)
class GatherMap:
    """Which input row each output row sees under each element of a kernel, and the same for the transposed operation.

    Attributes:
        forward: tensor (output rows, K), int64; the number of input rows stands for none.
        backward: tensor (input rows, K), int64; the number of output rows stands for none.
    """

    forward: Tensor
    backward: Tensor

    @staticmethod
    def of(table: Tensor, transposed: Tensor) -> GatherMap:
        """From tables (K, output rows) and (K, input rows), int64, -1 where there is none."""
        return GatherMap(_with_absent(table, transposed.shape[1]), _with_absent(transposed, table.shape[1]))

    @cached_property
    def reversed(self) -> GatherMap:
        """The map of the transposed operation."""
        return GatherMap(self.backward, self.forward)


def convolve_gathered(rows: Tensor, kernel: Tensor, gather_map: GatherMap) -> Tensor:
    """Sum of `rows[input] @ kernel[element]` over the pairs that meet, at each output row.

    Args:
        rows: tensor (input rows, in), the type of the products.
        kernel: tensor (K, in, out), of any float type; its gradient is summed in it.
        gather_map: Which rows meet.

    Returns:
        tensor (output rows, out), of the type of `rows`. Differentiable once, in `rows` and `kernel`.
    """
    return _GatheredConvolution.apply(rows, kernel, gather_map)


class _GatheredConvolution(torch.autograd.Function):
    """Gathers again for the gradient: what was gathered is 27 times as large as what it was gathered from."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, kernel: Tensor, gather_map: GatherMap) -> Tensor:
        weight = kernel.to(rows.dtype)
        ctx.save_for_backward(rows, weight)
        ctx.gather_map, ctx.sums = gather_map, kernel.dtype
        return products(rows, weight, gather_map.forward)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, weight = ctx.saved_tensors
        of_rows = of_kernel = None
        if ctx.needs_input_grad[0]:
            of_rows = products(gradient, weight.transpose(1, 2), ctx.gather_map.backward)
        if ctx.needs_input_grad[1]:
            of_kernel = torch.zeros(weight.shape, dtype=ctx.sums, device=weight.device)
            for part, gathered in _gathered(rows, ctx.gather_map.forward):
                of_kernel += torch.mm(gathered.T, gradient[part]).view(weight.shape)
        return of_rows, of_kernel, None


def products(rows: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """Sums of `rows[input] @ weight[element]` at each output row.

    Args:
        rows: tensor (input rows, in).
        weight: tensor (K, in, out), of the same type.
        table: tensor (output rows, K), as in `GatherMap`.
    """
    matrix = weight.reshape(-1, weight.shape[2])
    result = rows.new_empty((len(table), weight.shape[2]))
    for part, gathered in _gathered(rows, table):
        torch.mm(gathered, matrix, out=result[part])
    return result


def _gathered(rows: Tensor, table: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """What some output rows see, one element behind the other (N, K * in), and which rows they are."""
    known = F.pad(rows, (0, 0, 0, 1))
    height = max(1, GATHERED // (table.shape[1] * rows.shape[1]))
    for start in range(0, len(table), height):
        part = slice(start, start + height)
        seen = known.index_select(0, table[part].flatten())
        yield part, seen.view(-1, table.shape[1] * rows.shape[1])


def _with_absent(table: Tensor, none: int) -> Tensor:
    return torch.where(table >= 0, table, none).T.contiguous()
