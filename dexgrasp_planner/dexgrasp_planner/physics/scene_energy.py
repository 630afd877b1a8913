"""What physics asks of a hand in a scene, as one differentiable number: near what was seen, out of it, within limits.

The terms of DexGrasp Anything (Sec. 3.3) against the distance field of the scene in place of a known object: pulling
acts on the inner points of the hand, penetration on all of them and on the support, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from dexgrasp_common.parameters import param
from numpy.typing import NDArray
from torch import Tensor

from dexgrasp_description import HandModel
from dexgrasp_planner.hand_shape import HandPoints
from dexgrasp_planner.physics.constraints import apart_pairs, point_sets
from dexgrasp_planner.physics.terms import self_penetration
from dexgrasp_planner.scene_field import SceneField

_OUTSIDE = 420  # points on the hand's outside


@dataclass(frozen=True)
class EnergyConfig:
    """What is asked of a hand, and how much each of it counts."""

    pulling: float = param(1.0, "weight of the mean distance of inner points from the surface", range=(0.0, 1e6))
    reach: float = param(0.02, "inner points nearer than this are pulled [m]", range=(0.0, 0.2))
    penetration: float = param(20.0, "weight of the mean depth of points in the scene", range=(0.0, 1e6))
    self_penetration: float = param(0.2, "weight of what key points lack of their distance", range=(0.0, 1e6))
    limits: float = param(0.1, "weight of what joints exceed their limits by [m/rad]", range=(0.0, 1e6))
    height: float = param(0.002, "height that every point keeps above the support [m]", range=(-0.1, 0.1))
    hidden: bool = param(True, "whether what lies below the seen points, and was not seen, counts as filled")


class SceneEnergy:
    """The energy of one hand; made once, called in every step.

    Args:
        hand: The hand.
        config: None: the defaults.
        dtype: Of palms and postures.
    """

    def __init__(self, hand: HandModel, config: EnergyConfig | None = None, dtype: torch.dtype = torch.float32) -> None:
        self.config = config or EnergyConfig()
        sets = point_sets(hand, _OUTSIDE)
        self._points, (self._inner, self._outer, self._keys) = _joined(hand, sets, dtype)
        pairs, least = apart_pairs(hand, list(sets[2]), 0.0)
        self._pairs, self._least = torch.as_tensor(pairs), torch.as_tensor(least, dtype=dtype)
        self._lower, self._upper = (torch.tensor(limit, dtype=dtype) for limit in (hand.lower, hand.upper))

    def __call__(
        self, space: SceneField, world_T_palm: Tensor, q: Tensor, target: NDArray[np.intp] | None = None
    ) -> Tensor:
        """Energy (N,) [m] of palms (N, 4, 4) and postures (N, D) [rad or m].

        Args:
            space: What the camera saw, completed.
            target: (N,), the cluster whose surface pulls; None: every surface does.
        """
        config = self.config
        points = self._points.in_world(world_T_palm, q)
        distance = space.distance(points)
        inner = distance[:, self._inner].abs()
        near = inner < config.reach
        if target is not None:
            near &= _owned(space, points.detach()[:, :, self._inner], near, target)
        pulls = near.to(inner.dtype)
        pulling = (pulls * inner).sum(dim=1) / pulls.sum(dim=1).clamp_min(1.0)
        inside = -distance[:, self._outer]
        if not config.hidden:
            inside = torch.where(space.seen(points.detach()[:, :, self._outer]), inside, 0.0)
        depth = torch.maximum(inside, config.height - points[:, 2][:, self._outer]).clamp_min(0.0).mean(dim=1)
        own = self_penetration(points[:, :, self._keys], self._pairs, self._least)
        beyond = torch.maximum(self._lower - q, q - self._upper).clamp_min(0.0).sum(dim=1)
        return (
            config.pulling * pulling
            + config.penetration * depth
            + config.self_penetration * own
            + config.limits * beyond
        )


def _joined(
    hand: HandModel, sets: Sequence[Mapping[str, NDArray[np.float64]]], dtype: torch.dtype
) -> tuple[HandPoints, list[Tensor]]:
    """All points of some sets as one, as moving and looking up is mostly calls; and where the points of each are."""
    links = dict.fromkeys(link for points in sets for link in points)
    every = {link: np.concatenate([points[link] for points in sets if link in points]) for link in links}
    at = iter(np.arange(sum(map(len, every.values()))))
    where = {
        (link, i): [next(at) for _ in points[link]] for link in links for i, points in enumerate(sets) if link in points
    }
    columns = [np.concatenate([where[link, i] for link in points]) for i, points in enumerate(sets)]
    return HandPoints(hand, every, dtype), [torch.as_tensor(rows) for rows in columns]


def _owned(space: SceneField, points: Tensor, near: Tensor, target: NDArray[np.intp]) -> Tensor:
    """Which of the points (N, 3, P) that are near something (N, P) are near the target (N,)."""
    rows, columns = torch.nonzero(near, as_tuple=True)
    found = torch.zeros_like(near)
    if len(rows):
        owner = space.owner(points[rows, :, columns].numpy())
        found[rows, columns] = torch.as_tensor(owner == target[rows.numpy()])
    return found
