"""Fingers that close in small steps until they touch: each link that touches holds the joints that carry it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dexgrasp_planner.hand_shape import HandPoints
from dexgrasp_planner.scene_field import SceneField

STEPS = 24
TOUCH = 0.0025  # a link this near the field's surface touches [m]


@dataclass(frozen=True)
class Closure:
    """Fingers on the scene.

    Attributes:
        q: tensor (N, D) [rad], where the fingers came to rest.
        touches: bool tensor (N, L), links that touch.
        points: tensor (N, L, 3) [m], world: each link's nearest point to the scene.
        forces: tensor (N, L, 3), unit: from there into the scene.
        distance: tensor (N, L) [m], signed, of that point.
        lowest: tensor (N,) [m], height of the lowest point over the whole motion.
    """

    q: torch.Tensor
    touches: torch.Tensor
    points: torch.Tensor
    forces: torch.Tensor
    distance: torch.Tensor
    lowest: torch.Tensor


def close(
    hand: HandPoints,
    field: SceneField,
    world_T_palm: torch.Tensor,
    start: torch.Tensor,
    end: torch.Tensor,
    support: float,
) -> Closure:
    """Move every finger from `start` towards `end` until its links touch the scene.

    Args:
        hand: Contact points of the fingers' inner surfaces.
        field: The scene.
        world_T_palm: tensor (N, 4, 4), float32.
        start: tensor (N, D) [rad].
        end: tensor (N, D) [rad].
        support: Height that no point may fall below; fingers that do are not closed to the end [m].
    """
    q, increment = start.clone(), (end - start) / STEPS
    held = torch.zeros_like(start, dtype=torch.bool)
    moves = hand.moves.float()
    lowest = torch.full((len(q),), torch.inf)
    # Once the support is touched the outcome no longer matters: such rows are left as they are.
    alive = torch.arange(len(q))
    for _ in range(STEPS):
        points = hand.in_world(world_T_palm[alive], q[alive])
        nearest, _ = hand.per_link(field.distance(points))
        lowest[alive] = torch.minimum(lowest[alive], points[:, 2].amin(dim=1))
        held[alive] |= ((nearest < TOUCH).float() @ moves) > 0
        alive = alive[(lowest[alive] > support) & ~held[alive].all(dim=1)]
        q[alive] = torch.where(held[alive], q[alive], q[alive] + increment[alive])
    points = hand.in_world(world_T_palm, q)
    lowest = torch.minimum(lowest, points[:, 2].amin(dim=1))
    nearest, which = hand.per_link(field.distance(points))
    touching = points.gather(2, which[:, None].expand(-1, 3, -1))
    _, outward = field.look_up(touching)
    return Closure(q, nearest < TOUCH, touching.transpose(1, 2), -outward.transpose(1, 2), nearest, lowest)
