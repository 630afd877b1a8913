"""Which points of a cloud stand for it at each level of the encoder, and which are near them.

Both depend on distances alone: they are made once for a cloud and stay right however it is turned or moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from dexgrasp_planner.errors import PlannerError
from dexgrasp_planner.selection import farthest_points


class CloudShapeError(PlannerError):
    """A cloud has not the shape that the encoder takes, or too few points."""


@dataclass(frozen=True)
class CloudSampling:
    """Indices for B clouds at L levels of N_l points, N_0 being all.

    Attributes:
        kept: L - 1 tensors (B, N_l), for every level but the first: which points of the level before stay.
        around: As many (B, N_l, K): points of the level before that are nearest to each that stays.
        beside: L tensors (B, N_l, K): points of the same level that are nearest to each.
    """

    kept: tuple[Tensor, ...]
    around: tuple[Tensor, ...]
    beside: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.beside[0])

    def __getitem__(self, rows: Tensor) -> CloudSampling:
        """That of the clouds in these rows (G,)."""
        return CloudSampling(*(tuple(level[rows] for level in part) for part in self._parts()))

    def to(self, device: str | torch.device) -> CloudSampling:
        """The same on another device."""
        return CloudSampling(*(tuple(level.to(device) for level in part) for part in self._parts()))

    @staticmethod
    def join(samplings: Sequence[CloudSampling]) -> CloudSampling:
        """That of all clouds of several, in order."""
        parts = zip(*(sampling._parts() for sampling in samplings), strict=True)
        return CloudSampling(*(tuple(torch.cat(levels) for levels in zip(*part, strict=True)) for part in parts))

    def _parts(self) -> tuple[tuple[Tensor, ...], ...]:
        return self.kept, self.around, self.beside


def sample_levels(clouds: Tensor, strides: Sequence[int], neighbours: Sequence[int]) -> CloudSampling:
    """Farthest points from the first point on, and their neighbours.

    Args:
        clouds: (B, N, 3 or more), xyz first.
        strides: L, of which part of the level before stays; the first is 1.
        neighbours: L, how many are near; fewer where a level has fewer points.

    Raises:
        CloudShapeError: Another shape, or too few points for the last level.
    """
    if clouds.ndim != 3 or clouds.shape[2] < 3 or clouds.shape[1] < np.prod(strides):
        raise CloudShapeError(
            f"Clouds are (B, N, 3) or (B, N, 6) with at least {np.prod(strides)} points; got {tuple(clouds.shape)}."
        )
    rows = clouds[:, :, :3].detach().cpu().double().numpy()
    sampled = [_of_one(points, strides, neighbours) for points in rows]
    parts = [[np.stack(level) for level in zip(*part, strict=True)] for part in zip(*sampled, strict=True)]
    return CloudSampling(
        *(tuple(torch.as_tensor(level.astype(np.int64), device=clouds.device) for level in part) for part in parts)
    )


def _of_one(
    points: np.ndarray, strides: Sequence[int], neighbours: Sequence[int]
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Indices of `CloudSampling` for one cloud (N, 3)."""
    kept, around, beside = [], [], []
    for level, (stride, count) in enumerate(zip(strides, neighbours, strict=True)):
        if level:
            tree = cKDTree(points)
            chosen = farthest_points(points, len(points) // stride, 0)
            around.append(_nearest(tree, points[chosen], count))
            kept.append(chosen)
            points = points[chosen]
        beside.append(_nearest(cKDTree(points), points, count))
    return kept, around, beside


def _nearest(tree: cKDTree, points: np.ndarray, count: int) -> np.ndarray:
    """Indices (M, K) of the nearest points, K at most `count`."""
    found: np.ndarray = tree.query(points, k=range(1, min(count, tree.n) + 1))[1]
    return found
