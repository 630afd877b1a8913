"""Points on a hand's surface that move with its joints, for look-ups in a scene's distance field."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from numpy.typing import NDArray

from dexgrasp_description import HandModel


class HandPoints:
    """A set of points fixed to the links of a hand.

    Args:
        hand: The hand.
        points: Link to points (K, 3) [m], link frame.
        dtype: Of every result.
        device: Of every result.

    Attributes:
        posed_links: Names of all links of the hand, as `poses` has them.
        links: Names of the links that carry points.
        link_of_point: tensor (P,), index into `links`.
        moves: bool tensor (L, D), whether a joint moves a link.
    """

    def __init__(
        self,
        hand: HandModel,
        points: Mapping[str, NDArray[np.floating]],
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self._fk = ForwardKinematics(hand, dtype=dtype, device=device)
        self.posed_links = tuple(self._fk.link_names)
        self.links = tuple(link for link, rows in points.items() if len(rows))
        self._slices: list[slice] = []
        start = 0
        for link in self.links:
            self._slices.append(slice(start, start + len(points[link])))
            start += len(points[link])
        self._columns = [self._fk.link_names.index(link) for link in self.links]
        self._local = [torch.tensor(np.asarray(points[link]).T, dtype=dtype, device=device) for link in self.links]
        self.link_of_point = torch.cat([torch.full((rows.shape[1],), i) for i, rows in enumerate(self._local)])
        self._column_of_point = torch.tensor(self._columns)[self.link_of_point].to(device)
        self._every_local = torch.cat(self._local, dim=1).T.contiguous()
        self.moves = self._moving_joints(hand)

    def __len__(self) -> int:
        return len(self.link_of_point)

    def poses(self, world_T_palm: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """`world_T_link` (N, M, 4, 4) of all links of the hand, for palms (N, 4, 4) and postures (N, D) [rad or m].

        They serve every set of points of the same hand.
        """
        return world_T_palm[:, None] @ self._fk.stacked_poses(q)

    def in_world(self, world_T_palm: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Points (N, 3, P) [m], world frame, for palms (N, 4, 4) and postures (N, D) [rad or m]."""
        return self.placed(self.poses(world_T_palm, q))

    def placed(self, world_T_link: torch.Tensor) -> torch.Tensor:
        """Points (N, 3, P) [m], world frame, of hands whose links are where `poses` tells.

        Coordinates come before points, so that every link is one plain matrix product over all poses.
        """
        count = len(world_T_link)
        placed = []
        for column, local in zip(self._columns, self._local, strict=True):
            rotation = world_T_link[:, column, :3, :3].reshape(-1, 3)
            turned = (rotation @ local).reshape(count, 3, local.shape[1])
            placed.append(turned + world_T_link[:, column, :3, 3:])
        return torch.cat(placed, dim=2)  # a gradient goes back through it without a copy of the whole for each link

    def some_placed(self, world_T_link: torch.Tensor, row: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
        """Of the points of `placed` those at rows and points (K,): (K, 3)."""
        link = row * world_T_link.shape[1] + self._column_of_point[point]
        own = world_T_link.flatten(0, 1).index_select(0, link)
        return (own[:, :3, :3] * self._every_local[point][:, None]).sum(dim=2) + own[:, :3, 3]

    def per_link(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Smallest value of each link's points and which point has it: (N, P) to two (N, L)."""
        lowest = [values[:, rows].min(dim=1) for rows in self._slices]
        offsets = torch.tensor([rows.start for rows in self._slices])
        return torch.stack([low.values for low in lowest], 1), torch.stack([low.indices for low in lowest], 1) + offsets

    def _moving_joints(self, hand: HandModel) -> torch.Tensor:
        middle = torch.as_tensor(0.4 * hand.lower + 0.6 * hand.upper)
        nudged = torch.cat([middle[None], middle + 0.1 * torch.eye(len(middle))])
        poses = self._fk.link_poses(nudged)
        return torch.stack([(poses[link][1:] - poses[link][:1]).abs().amax((1, 2)) > 1e-4 for link in self.links])
