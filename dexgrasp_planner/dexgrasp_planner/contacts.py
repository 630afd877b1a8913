"""What the contacts of a hand tell, however they were found: at most one for each link that carries points."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dexgrasp_description import HandModel
from dexgrasp_planner.hand_shape import HandPoints
from dexgrasp_planner.pressing import fingers_of_links


class Told(NamedTuple):
    """Numbers of the contacts of N grasps.

    Attributes:
        numbers: `fingers` that touch, whether the `thumb` (the last of them) and the `palm` do, `opposition` (length
            of the mean normal, taken from one) and `spread` (mean distance from the middle [m]), each (N,).
        middle: Of the contacts (N, 3) [m]; zero without any.
        force: Mean of the directions in which the hand presses (N, 3).
    """

    numbers: dict[str, Tensor]
    middle: Tensor
    force: Tensor


class LinkContacts:
    """Contacts of one hand's links; made once.

    Args:
        hand: The hand.
        points: Whose links they are.

    Attributes:
        finger: (L,), which fingertip each link leads to; -1 for the palm.
    """

    def __init__(self, hand: HandModel, points: HandPoints) -> None:
        self.finger = fingers_of_links(hand, points)
        self._fingers = range(len(hand.fingertips))
        self._palm = torch.tensor([link == hand.base_link for link in points.links])

    def touching(self, touches: Tensor) -> Tensor:
        """Which fingers (N, F) touch, of which links (N, L) do."""
        return torch.stack([(touches & (self.finger == finger)).any(dim=1) for finger in self._fingers], dim=1)

    def tell(self, points: Tensor, forces: Tensor, touches: Tensor) -> Told:
        """See `Told`.

        Args:
            points: Where each link touches (N, L, 3) [m].
            forces: Unit, the direction in which it presses there (N, L, 3).
            touches: Whether it does (N, L).
        """
        weight = touches.float()
        count = weight.sum(dim=1).clamp_min(1.0)
        middle = (weight[..., None] * points).sum(dim=1) / count[:, None]
        force = (weight[..., None] * forces).sum(dim=1) / count[:, None]
        fingers = self.touching(touches)
        numbers = {
            "fingers": fingers.sum(dim=1),
            "thumb": fingers[:, -1],
            "palm": (touches & self._palm).any(dim=1),
            "opposition": 1.0 - force.norm(dim=1),
            "spread": (weight * (points - middle[:, None]).norm(dim=2)).sum(dim=1) / count,
        }
        return Told(numbers, middle, force)
