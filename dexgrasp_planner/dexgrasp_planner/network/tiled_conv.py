"""Sparse convolution and products of many rows on a CPU: forward and backward in the few shapes of `tiles`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dexgrasp_planner.network.tiles import HEIGHT, TiledMap, Tiles

_BLOCK = 2048  # rows of a product that gathers nothing, at most
_GRAIN = 256  # its heights are multiples of it


def convolve_tiles(rows: Tensor, kernel: Tensor, tiled_map: TiledMap) -> Tensor:
    """Sum of `rows[input] @ kernel[element]` over the pairs that meet, at each output row.

    Args:
        rows: tensor (input rows, in), the type of the products.
        kernel: tensor (elements, in, out), of any float type; its gradient is summed in it.
        tiled_map: Which rows meet.

    Returns:
        tensor (output rows, out), of the type of `rows`. Differentiable once, in `rows` and `kernel`.
    """
    return _TiledConvolution.apply(rows, kernel, tiled_map)


def multiply(rows: Tensor, matrix: Tensor) -> Tensor:
    """`rows @ matrix`, of (R, in) and (in, out), in the type of `rows`. Differentiable once, in both."""
    return _Product.apply(rows, matrix)


class _TiledConvolution(torch.autograd.Function):
    """Gathers the output's gradient once, for both gradients: of the rows, and of the kernel.

    `W_k` has the gradient `sum over pairs of x[input]^T g[output]`, which can be summed by input rows as well.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, kernel: Tensor, tiled_map: TiledMap) -> Tensor:
        given, weight = _with_none(rows), kernel.to(rows.dtype)
        ctx.save_for_backward(given, weight)
        ctx.tiles = tiled_map.backward
        ctx.sums = kernel.dtype
        return _products(given, weight, tiled_map.forward)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        given, weight = ctx.saved_tensors
        above = _with_none(gradient)
        if not ctx.needs_input_grad[1]:
            return _products(above, weight.transpose(1, 2).contiguous(), ctx.tiles), None, None
        weight = weight.transpose(1, 2).contiguous()
        sums = torch.zeros(weight.shape, dtype=ctx.sums)
        of_rows = _products(above, weight, ctx.tiles, given.index_select(0, ctx.tiles.order), sums)
        return of_rows if ctx.needs_input_grad[0] else None, sums.transpose(1, 2), None


def _products(
    given: Tensor, weight: Tensor, tiles: Tiles, others: Tensor | None = None, sums: Tensor | None = None
) -> Tensor:
    """Sums of `given[input] @ weight[element]` at each output row, tile by tile.

    Args:
        given: tensor (input rows + 1, in), the last of them zeros.
        weight: tensor (elements, in, out).
        others: tensor (rows of the tiles, out), in their order.
        sums: tensor (elements, in, out), to which `given[input]^T others[output]` is added.
    """
    channels, out_channels = weight.shape[1:]
    result = given.new_empty((len(tiles.order), out_channels))
    gathered = given.new_empty((max(map(len, tiles.inputs)), channels))  # one piece of memory, which stays in the cache
    for part, elements, inputs in tiles:
        rows = torch.index_select(given, 0, inputs, out=gathered[: len(inputs)]).view(HEIGHT, -1)
        torch.mm(rows, weight.index_select(0, elements).view(-1, out_channels), out=result[part])
        if sums is not None and others is not None:
            found = torch.mm(rows.T, others[part]).view(-1, channels, out_channels)
            sums.index_add_(0, elements, found.to(sums.dtype))
    return result.index_select(0, tiles.place)


def _with_none(rows: Tensor) -> Tensor:
    """Rows, and zeros as one more."""
    longer = rows.new_empty((len(rows) + 1, rows.shape[1]))
    longer[:-1] = rows
    longer[-1] = 0.0
    return longer


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrix: Tensor) -> Tensor:
        weight = matrix.to(rows.dtype)
        ctx.save_for_backward(rows, weight)
        ctx.sums = matrix.dtype
        return _in_blocks(rows, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        of_rows = of_matrix = None
        if ctx.needs_input_grad[0]:
            of_rows = _in_blocks(gradient, weight.T)
        if ctx.needs_input_grad[1]:
            of_matrix = torch.zeros(weight.shape, dtype=ctx.sums)
            for own, other in zip(rows.split(_BLOCK), gradient.split(_BLOCK), strict=True):
                of_matrix += torch.mm(_filled(own).T, _filled(other))
        return of_rows, of_matrix


def _in_blocks(rows: Tensor, matrix: Tensor) -> Tensor:
    result = rows.new_empty((len(rows), matrix.shape[1]))
    for own, block in zip(result.split(_BLOCK), rows.split(_BLOCK), strict=True):
        if len(block) == _BLOCK:
            torch.mm(block, matrix, out=own)
        else:
            own.copy_(torch.mm(_filled(block), matrix)[: len(block)])
    return result


def _filled(rows: Tensor) -> Tensor:
    """Rows, and zeros up to a multiple of the grain."""
    missing = -len(rows) % _GRAIN
    return torch.nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows
