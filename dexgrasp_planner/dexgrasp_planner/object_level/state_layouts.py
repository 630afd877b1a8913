"""A grasp as the vector that is diffused, every number between about -1 and 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dexgrasp_description import HandModel
from dexgrasp_planner.errors import PlannerError
from dexgrasp_planner.network.rotations import ROTATION_CODES

_ROOM = 0.05  # part of their range that bounds of translations lie beyond the data
_SIXD = ROTATION_CODES["sixd"]


class UnknownLayoutError(PlannerError):
    """There is no layout of that name."""


@dataclass(frozen=True)
class StateBounds:
    """What -1 and 1 mean.

    Attributes:
        translation_lower, translation_upper: Three numbers each [m].
        joint_lower, joint_upper: D numbers each, the hand's limits [rad or m].
    """

    translation_lower: tuple[float, ...]
    translation_upper: tuple[float, ...]
    joint_lower: tuple[float, ...]
    joint_upper: tuple[float, ...]

    @staticmethod
    def of(hand: HandModel, layout: str, object_T_palm: NDArray[np.floating]) -> StateBounds:
        """Those of a hand and the translations of all grasps that there are (G, 4, 4), a little wider.

        Raises:
            UnknownLayoutError: There is no such layout.
        """
        translation = layout_class(layout).translation(torch.as_tensor(object_T_palm, dtype=torch.float64)).numpy()
        lower, upper = translation.min(axis=0), translation.max(axis=0)
        room = np.maximum(_ROOM * (upper - lower), 1e-3)
        numbers = (lower - room, upper + room, hand.lower, hand.upper)
        return StateBounds(*(tuple(float(value) for value in row) for row in numbers))


class StateLayout(nn.Module):
    """One way of writing grasps.

    Args:
        bounds: What -1 and 1 mean.

    Attributes:
        turned: Whether the object is seen turned into the palm's axes, and the orientation thus given and not diffused.
        size: Of a state, S.
    """

    turned: bool
    middle: Tensor
    reach: Tensor

    def __init__(self, bounds: StateBounds) -> None:
        super().__init__()
        lower = torch.tensor(bounds.translation_lower + bounds.joint_lower)
        upper = torch.tensor(bounds.translation_upper + bounds.joint_upper)
        self.register_buffer("middle", 0.5 * (lower + upper), persistent=False)
        self.register_buffer("reach", 0.5 * (upper - lower), persistent=False)
        self.size = len(lower) + (0 if self.turned else _SIXD.size)

    @classmethod
    def translation(cls, object_T_palm: Tensor) -> Tensor:
        """What of palm poses (G, 4, 4) is the state's translation (G, 3) [m]."""
        way = object_T_palm[:, :3, 3:]
        return (object_T_palm[:, :3, :3].mT @ way if cls.turned else way)[..., 0]

    def encode(self, object_T_palm: Tensor, q: Tensor) -> Tensor:
        """States (G, S) of palms (G, 4, 4) and postures (G, D) [rad or m]."""
        numbers = (torch.cat([self.translation(object_T_palm), q], dim=-1) - self.middle) / self.reach
        if self.turned:
            return numbers
        return torch.cat([numbers[:, :3], _SIXD.encode(object_T_palm[:, :3, :3]), numbers[:, 3:]], dim=-1)

    def decode(self, state: Tensor, object_R_palm: Tensor | None) -> tuple[Tensor, Tensor]:
        """Palms (G, 4, 4) and postures (G, D) of states (G, S).

        Args:
            state: As `encode` gives it, or about so.
            object_R_palm: (G, 3, 3), the orientations where they are not part of the state; else None.
        """
        if self.turned:
            assert object_R_palm is not None
            rotation, numbers = object_R_palm, state
        else:
            rotation = _SIXD.decode(state[:, 3 : 3 + _SIXD.size])
            numbers = torch.cat([state[:, :3], state[:, 3 + _SIXD.size :]], dim=-1)
        numbers = self.middle + self.reach * numbers
        way = numbers[:, :3, None]
        top = torch.cat([rotation, rotation @ way if self.turned else way], dim=-1)
        last = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(top), 1, 4)
        return torch.cat([top, last], dim=1), numbers[:, 3:]


class ObjectRotated(StateLayout):
    """Translation in the palm's axes, and joints (3 + D): the layout of DexGrasp Anything's code."""

    turned = True


class FullPose(StateLayout):
    """Translation, two columns of the rotation (Zhou et al. 2019) and joints (9 + D): the layout of its paper."""

    turned = False


# Named after their sizes for the 24 joints of the Shadow hand, as they are known.
STATE_LAYOUTS: dict[str, type[StateLayout]] = {"object_rotated_27d": ObjectRotated, "full_pose_33d": FullPose}


def layout_class(name: str) -> type[StateLayout]:
    """The layout of that name.

    Raises:
        UnknownLayoutError: There is none.
    """
    if name not in STATE_LAYOUTS:
        raise UnknownLayoutError(f"There is no layout {name!r}. Layouts: {', '.join(STATE_LAYOUTS)}.")
    return STATE_LAYOUTS[name]
