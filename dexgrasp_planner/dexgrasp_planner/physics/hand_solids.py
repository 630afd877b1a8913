"""The hand as solids, boxes grown by a radius, and which points of a surface lie how deep in them.

Points on the hand do not tell how deep an edge of the object cuts into a finger: they lie beside it, a little way into
the object, while the edge lies far in the finger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from dexgrasp_description import HandModel
from dexgrasp_planner.physics.nearest_point import BLOCK, arrange, room


class Delved(NamedTuple):
    """The deepest point in each of L links of B hands.

    Attributes:
        depth: (B, L) [m]; 0 where none is in it.
        which: (B, L), its number among the surface's points.
        place: (B, L, 3), the nearest place to it on the link's surface, link frame [m].
    """

    depth: Tensor
    which: Tensor
    place: Tensor


class HandSolids:
    """The solids of a hand; made once.

    Args:
        hand: The hand.
        links: Names of its links in the order in which their poses will come.
        dtype: Of poses and points.
        device: Where they are.
    """

    def __init__(
        self,
        hand: HandModel,
        links: Sequence[str],
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        solids = [(number, solid) for number, link in enumerate(links) for solid in hand.primitives_of(link)]
        boxes = [solid.rounded_box() for _, solid in solids]
        self._link = torch.tensor([number for number, _ in solids], device=device)
        self._pose, self._half, self._radius = (
            torch.as_tensor(np.array(values), dtype=dtype, device=device)
            for values in (
                [solid.link_T_geom[:3] for _, solid in solids],
                [half for half, _ in boxes],
                [radius for _, radius in boxes],
            )
        )

    @torch.no_grad()
    def deepest(self, world_T_link: Tensor, points: Tensor) -> Delved:
        """Of each link's solids the deepest point.

        Args:
            world_T_link: (B, L, 4, 4).
            points: (B, 3, M), or (1, 3, M) for all [m], world.
        """
        if world_T_link.device.type != "cpu":
            return self._deepest_of_all(world_T_link, points)
        count, links = world_T_link.shape[:2]
        depth, place = np.zeros((count, links)), np.zeros((count, links, 3))
        which = np.zeros((count, links), dtype=np.int64)
        poses, surfaces = (np.ascontiguousarray(one.to(self._pose.dtype).numpy()) for one in (world_T_link, points))
        link, pose, half, radius = (one.numpy() for one in (self._link, self._pose, self._half, self._radius))
        _delve(poses, link, pose, half, radius, surfaces, depth, which, place)
        kind = world_T_link.dtype
        return Delved(torch.from_numpy(depth).to(kind), torch.from_numpy(which), torch.from_numpy(place).to(kind))

    def _deepest_of_all(self, world_T_link: Tensor, points: Tensor) -> Delved:
        """`deepest` for accelerators: all points against one solid after another."""
        depth = world_T_link.new_zeros(world_T_link.shape[:2])
        which, place = torch.zeros_like(depth, dtype=torch.long), depth[..., None].repeat(1, 1, 3)
        solids = zip(self._link.tolist(), self._pose, self._half, self._radius, strict=True)
        for link, pose, half, radius in solids:
            turn = world_T_link[:, link, :3, :3] @ pose[:, :3]
            middle = world_T_link[:, link, :3, :3] @ pose[:, 3] + world_T_link[:, link, :3, 3]
            local = turn.mT @ (points - middle[..., None])
            beyond = local.abs() - half[:, None]
            outside = beyond.clamp_min(0.0).norm(dim=1)
            found, at = (radius - outside - beyond.amax(dim=1).clamp_max(0.0)).max(dim=1)
            point = local.gather(2, at[:, None, None].expand(-1, 3, 1))[..., 0]
            core = torch.minimum(torch.maximum(point, -half), half)
            grown = core + radius * torch.nn.functional.normalize(point - core, dim=1)
            side = torch.nn.functional.one_hot((point.abs() - half).argmax(dim=1), 3).bool()
            flat = torch.where(side, (half + radius).copysign(point), point)
            nearest = torch.where((point == core).all(dim=1, keepdim=True), flat, grown)
            better = found > depth[:, link]
            depth[:, link] = torch.where(better, found, depth[:, link])
            which[:, link] = torch.where(better, at, which[:, link])
            place[:, link] = torch.where(better[:, None], nearest @ pose[:, :3].T + pose[:, 3], place[:, link])
        return Delved(depth, which, place)


@njit(cache=True, nogil=True)
def _delve(
    world_T_link: NDArray[np.floating],
    link_of_solid: NDArray[np.int64],
    link_T_solid: NDArray[np.floating],
    half: NDArray[np.floating],
    radius: NDArray[np.floating],
    surfaces: NDArray[np.floating],
    depth: NDArray[np.float64],
    which: NDArray[np.int64],
    place: NDArray[np.float64],
) -> None:
    """See `HandSolids.deepest`; what it returns is written to the last three, of which `depth` is zero."""
    order, placed, middle, reach, _ = room(surfaces)
    turn, centre, at, on = np.empty((3, 3)), np.empty(3), np.empty(3), np.empty(3)
    for row in range(len(world_T_link)):
        if row < len(surfaces):
            arrange(surfaces[row], order, placed, middle, reach)
        for solid in range(len(radius)):
            link = link_of_solid[solid]
            pose, own = world_T_link[row, link], link_T_solid[solid]
            for i in range(3):
                for j in range(3):
                    turn[i, j] = pose[i, 0] * own[0, j] + pose[i, 1] * own[1, j] + pose[i, 2] * own[2, j]
                centre[i] = pose[i, 0] * own[0, 3] + pose[i, 1] * own[1, 3] + pose[i, 2] * own[2, 3] + pose[i, 3]
            ball = np.sqrt(half[solid, 0] ** 2 + half[solid, 1] ** 2 + half[solid, 2] ** 2) + radius[solid]
            for block in range(len(reach)):
                x, y, z = middle[0, block] - centre[0], middle[1, block] - centre[1], middle[2, block] - centre[2]
                if x * x + y * y + z * z > (ball + reach[block]) ** 2:
                    continue
                for point in range(block * BLOCK, min(placed.shape[1], (block + 1) * BLOCK)):
                    x, y, z = placed[0, point] - centre[0], placed[1, point] - centre[1], placed[2, point] - centre[2]
                    outside, inside = 0.0, np.inf
                    for i in range(3):
                        at[i] = turn[0, i] * x + turn[1, i] * y + turn[2, i] * z
                        beyond = abs(at[i]) - half[solid, i]
                        outside += max(beyond, 0.0) ** 2
                        inside = min(inside, -beyond)
                    found = radius[solid] - np.sqrt(outside) + max(inside, 0.0)
                    if found > depth[row, link]:
                        depth[row, link], which[row, link] = found, order[point]
                        _surface_at(at, half[solid], radius[solid], on)
                        for i in range(3):
                            place[row, link, i] = own[i, 0] * on[0] + own[i, 1] * on[1] + own[i, 2] * on[2] + own[i, 3]


@njit(cache=True, nogil=True)
def _surface_at(at: NDArray[np.float64], half: NDArray[np.floating], radius: float, on: NDArray[np.float64]) -> None:
    """Write the place nearest to a point (3,) in it, on the surface of a box grown by a radius, in its own frame."""
    beyond, side = 0.0, 0
    for i in range(3):
        on[i] = min(max(at[i], -half[i]), half[i])
        beyond += (at[i] - on[i]) ** 2
        if abs(at[i]) - half[i] > abs(at[side]) - half[side]:
            side = i
    if beyond > 0.0:
        for i in range(3):
            on[i] += radius * (at[i] - on[i]) / np.sqrt(beyond)
    else:
        on[side] = (half[side] + radius) * (-1.0 if at[side] < 0.0 else 1.0)
