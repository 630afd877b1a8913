"""The three terms of DexGrasp Anything (Sec. 3.3) on point clouds, differentiable, one value for each hand of a batch.

Points are (B, 3, P), coordinates before points. Gradients are exact wherever the nearest point does not change.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dexgrasp_planner.physics.nearest_point import deepest_points, nearest_points

_TINY = 1e-12  # squared distances below this have no direction [m^2]
_MOST = 1 << 26  # distances that are held at once

Depth = Literal["deepest", "mean"]


class Surface(NamedTuple):
    """Points on a surface that hands may touch.

    Attributes:
        points: (B, 3, M) or (1, 3, M), shared by all hands [m].
        normals: The same, unit length, outward.
    """

    points: Tensor
    normals: Tensor


def surface_pulling(inner: Tensor, surface: Surface, reach: float) -> Tensor:
    """SPF (B,) [m]: mean distance from the surface of those inner points that are within `reach` of it.

    Zero where none is: nothing pulls a hand that is far away.

    Args:
        inner: Points of the hand's inner surface (B, 3, P) [m].
        surface: Of the object.
        reach: Points farther than this are not meant to touch [m].
    """
    distance = _length(inner - _taken(surface.points, nearest(inner, surface.points, reach)))
    near = (distance < reach).to(distance.dtype)
    return (near * distance).sum(dim=1) / near.sum(dim=1).clamp_min(1.0)


def external_penetration(outer: Tensor, surface: Surface, depth: Depth = "deepest") -> Tensor:
    """ERF (B,) [m]: how deep points of the hand are in the object.

    A point is inside where the nearest surface point lies ahead of it along that point's normal.

    Args:
        outer: Points of the hand's outside (B, 3, P) [m].
        surface: Of the object, closed.
        depth: `deepest`: that of the deepest point, as DexGrasp Anything has it; `mean`: over all points, those
            outside counting zero, which moves every part of a hand that is in the object and not one point of it.
    """
    if depth == "deepest":
        outer = outer.gather(2, deepest(outer, surface)[:, None, None].expand(-1, 3, 1))
    index = nearest(outer, surface.points)
    way = _taken(surface.points, index) - outer
    inside = ((way * _taken(surface.normals, index)).sum(dim=1) > 0.0).to(outer.dtype)
    deep = inside * _length(way)
    return deep.mean(dim=1)  # of one point, if only the deepest counts


def self_penetration(centres: Tensor, pairs: Tensor, least: Tensor) -> Tensor:
    """SRF (B,) [m]: by how much points of the hand are nearer to each other than they may be, summed over both orders.

    Args:
        centres: Points that stand for parts of the hand (B, 3, K) [m].
        pairs: (M, 2), which of them are meant to keep apart.
        least: (M,), how far [m].
    """
    with torch.no_grad():  # few pairs are near, and only these have a gradient
        gaps = torch.cdist(centres.mT, centres.mT, compute_mode="donot_use_mm_for_euclid_dist").flatten(1)
        flat = pairs[:, 0] * centres.shape[2] + pairs[:, 1]
        row, pair = torch.nonzero(gaps.index_select(1, flat) < least, as_tuple=True)
    way = centres[row, :, pairs[pair, 0]] - centres[row, :, pairs[pair, 1]]
    missing = least[pair] - way.square().sum(dim=1).clamp_min(_TINY).sqrt()
    return 2.0 * torch.zeros_like(centres[:, 0, 0]).index_add(0, row, missing)


@torch.no_grad()
def deepest(outer: Tensor, surface: Surface) -> Tensor:
    """Index (B,) of the point (B, 3, P) that is deepest inside each surface; any, where none is."""
    if outer.device.type == "cpu":
        points, normals = (values.to(outer.dtype).numpy() for values in surface)
        return torch.from_numpy(deepest_points(outer.numpy(), points, normals))
    index = nearest(outer, surface.points)
    way = _taken(surface.points, index) - outer
    inside = (way * _taken(surface.normals, index)).sum(dim=1) > 0.0
    return (inside * _length(way)).argmax(dim=1)


@torch.no_grad()
def nearest(points: Tensor, surface: Tensor, within: float = math.inf) -> Tensor:
    """Index (B, P) of the surface point (B or 1, 3, M) that is nearest to each point (B, 3, P).

    Of points that are farther than `within` [m] from the surface any index may come.
    """
    if points.device.type == "cpu":
        return torch.from_numpy(nearest_points(points.numpy(), surface.to(points.dtype).numpy(), within))
    return _nearest_by_products(points, surface)


def _nearest_by_products(points: Tensor, surface: Tensor) -> Tensor:
    """`nearest` for accelerators: all distances at once, or as many as are held."""
    rows = max(1, _MOST // max(1, points.shape[2] * surface.shape[2]))
    found = []
    for start in range(0, len(points), rows):
        block = points[start : start + rows]
        other = surface if len(surface) == 1 else surface[start : start + rows]
        # |a - b|^2 up to |a|^2, which decides nothing: one product and no square root. The middle is taken off first,
        # or objects far from the origin would leave no digits.
        middle = other.mean(dim=2, keepdim=True)
        other = other - middle
        cross = (block - middle).transpose(1, 2) @ other
        found.append((other.square().sum(dim=1)[:, None] - 2.0 * cross).argmin(dim=2))
    return torch.cat(found)


def _taken(values: Tensor, index: Tensor) -> Tensor:
    """Of the values (B or 1, 3, M) those at each index (B, P): (B, 3, P)."""
    count = index.shape[1]
    return values.expand(len(index), -1, -1).gather(2, index[:, None].expand(-1, 3, count))


def _length(way: Tensor) -> Tensor:
    """Length (B, P) of vectors (B, 3, P), with a gradient of zero where there is none."""
    return way.square().sum(dim=1).clamp_min(_TINY).sqrt()
