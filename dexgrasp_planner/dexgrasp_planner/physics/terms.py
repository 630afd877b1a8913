"""The three terms of DexGrasp Anything (Sec. 3.3) on point clouds, and one that it lacks, how deep the object is in the
hand; differentiable, one value for each hand of a batch.

Points are (B, 3, P), coordinates before points. Gradients are exact wherever the nearest point does not change. Few
points have a part in a term, and only these need a gradient: `place` tells where they are, with one, if it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dexgrasp_planner.physics.hand_solids import HandSolids
from dexgrasp_planner.physics.nearest_point import close_pairs, deepest_points, nearest_points

_TINY = 1e-12  # squared distances below this have no direction [m^2]
_MOST = 1 << 26  # distances that are held at once

Depth = Literal["deepest", "mean"]
Place = Callable[[Tensor, Tensor], Tensor]  # rows and points (K,) of a term's points (B, 3, P) to where they are (K, 3)


class Surface(NamedTuple):
    """Points on a surface that hands may touch.

    Attributes:
        points: (B, 3, M) or (1, 3, M), shared by all hands [m].
        normals: The same, unit length, outward.
    """

    points: Tensor
    normals: Tensor


def surface_pulling(inner: Tensor, surface: Surface, reach: float, place: Place | None = None) -> Tensor:
    """SPF (B,) [m]: mean distance from the surface of those inner points that are within `reach` of it.

    Zero where none is: nothing pulls a hand that is far away.

    Args:
        inner: Points of the hand's inner surface (B, 3, P) [m].
        surface: Of the object.
        reach: Points farther than this are not meant to touch [m].
        place: See the module; None: the gradient is by `inner`.
    """
    with torch.no_grad():
        way = _taken(surface.points, nearest(inner, surface.points, reach)) - inner
        row, point = torch.nonzero(_length(way) < reach, as_tuple=True)
        near = torch.bincount(row, minlength=len(inner)).clamp_min(1)
        target = (inner + way)[row, :, point]
    return _summed(_length(_placed(inner, row, point, place) - target), row, len(inner)) / near


def external_penetration(
    outer: Tensor, surface: Surface, depth: Depth = "deepest", place: Place | None = None
) -> Tensor:
    """ERF (B,) [m]: how deep points of the hand are in the object.

    A point is inside where the nearest surface point lies ahead of it along that point's normal.

    Args:
        outer: Points of the hand's outside (B, 3, P) [m].
        surface: Of the object, closed.
        depth: `deepest`: that of the deepest point, as DexGrasp Anything has it; `mean`: over all points, those
            outside counting zero, which moves every part of a hand that is in the object and not one point of it.
        place: See the module; None: the gradient is by `outer`.
    """
    with torch.no_grad():
        chosen = deepest(outer, surface)[:, None] if depth == "deepest" else None
        points = outer if chosen is None else _taken(outer, chosen)
        index = nearest(points, surface.points)
        target = _taken(surface.points, index)
        inside = ((target - points) * _taken(surface.normals, index)).sum(dim=1) > 0.0
        row, column = torch.nonzero(inside, as_tuple=True)
        target = target[row, :, column]
        point = column if chosen is None else chosen[row, column]
    deep = _length(_placed(outer, row, point, place) - target)
    return _summed(deep, row, len(outer)) / inside.shape[1]  # of one point, if only the deepest counts


def object_penetration(world_T_link: Tensor, surface: Surface, solids: HandSolids) -> Tensor:
    """ORF (B,) [m]: how deep points of the object are in the hand, the deepest in each link, summed over links.

    Args:
        world_T_link: Of the hands (B, L, 4, 4).
        surface: Of the object.
        solids: Of the hand.
    """
    found = solids.deepest(world_T_link, surface.points)
    row, link = torch.nonzero(found.depth, as_tuple=True)
    target = surface.points.expand(len(world_T_link), -1, -1)[row, :, found.which[row, link]]
    pose = world_T_link.flatten(0, 1).index_select(0, row * world_T_link.shape[1] + link)
    placed = (pose[:, :3, :3] * found.place[row, link][:, None]).sum(dim=2) + pose[:, :3, 3]
    return _summed(_length(placed - target), row, len(world_T_link))


def self_penetration(centres: Tensor, pairs: Tensor, least: Tensor, place: Place | None = None) -> Tensor:
    """SRF (B,) [m]: by how much points of the hand are nearer to each other than they may be, summed over both orders.

    Args:
        centres: Points that stand for parts of the hand (B, 3, K) [m].
        pairs: (M, 2), which of them are meant to keep apart.
        least: (M,), how far [m].
        place: See the module; None: the gradient is by `centres`.
    """
    with torch.no_grad():
        row, pair = _close(centres, pairs, least)
        one, other = pairs[pair].T
    way = _placed(centres, row, one, place) - _placed(centres, row, other, place)
    return 2.0 * _summed(least[pair] - _length(way), row, len(centres))


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


def _close(centres: Tensor, pairs: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the points (B, 3, K), and which of the pairs (M, 2) are nearer in them than the least (M,)."""
    if centres.device.type == "cpu":
        close = torch.from_numpy(close_pairs(centres.numpy(), pairs.numpy(), least.numpy()))
    else:
        gaps = torch.cdist(centres.mT, centres.mT, compute_mode="donot_use_mm_for_euclid_dist").flatten(1)
        close = gaps.index_select(1, pairs[:, 0] * centres.shape[2] + pairs[:, 1]) < least
    row, pair = torch.nonzero(close, as_tuple=True)
    return row, pair


def _placed(points: Tensor, row: Tensor, point: Tensor, place: Place | None) -> Tensor:
    """Where those points (B, 3, P) are (K, 3)."""
    return points[row, :, point] if place is None else place(row, point)


def _summed(values: Tensor, row: Tensor, count: int) -> Tensor:
    """Values (K,) of rows summed (count,)."""
    return values.new_zeros(count).index_add(0, row, values)


def _taken(values: Tensor, index: Tensor) -> Tensor:
    """Of the values (B or 1, 3, M) those at each index (B, P): (B, 3, P)."""
    count = index.shape[1]
    return values.expand(len(index), -1, -1).gather(2, index[:, None].expand(-1, 3, count))


def _length(way: Tensor) -> Tensor:
    """Length (B, P) of vectors (B, 3, P), or (K,) of (K, 3), with a gradient of zero where there is none."""
    return way.square().sum(dim=1).clamp_min(_TINY).sqrt()
