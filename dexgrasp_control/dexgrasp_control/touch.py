"""Do the fingers hold something? From where they were told to be and where they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dexgrasp_common.parameters import param
from dexgrasp_common.transforms import apply
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import HandModel


@dataclass(frozen=True)
class TouchConfig:
    """When fingers count as holding something."""

    min_offset: float = param(
        0.010, "A fingertip at least this far from where it is commanded presses on something [m]", range=(0.001, 0.05)
    )
    min_gap: float = param(
        0.008, "Fingertips nearer to each other than this press on each other [m]", range=(0.0, 0.05)
    )


class Touch:
    """Tells fingers that press on an object from fingers that press on nothing or on each other.

    Args:
        hand: Its fingertips and their inner surfaces.
        config: Thresholds.
    """

    def __init__(self, hand: HandModel, config: TouchConfig | None = None) -> None:
        self._hand = hand
        self._config = config or TouchConfig()

    def holds(self, commanded: NDArray[np.float64], measured: NDArray[np.float64]) -> bool:
        """Whether an object keeps the thumb and a finger apart (any two fingers on a hand without a thumb).

        Args:
            commanded: Squeeze posture (D,), hand order [rad].
            measured: Where the joints are (D,) [rad].
        """
        at_command, at_measured = link_poses(self._hand, commanded), link_poses(self._hand, measured)
        surface = {}
        for tip in self._hand.fingertips:
            pressed = apply(at_command[tip.link], tip.centre) - apply(at_measured[tip.link], tip.centre)
            if np.linalg.norm(pressed) >= self._config.min_offset:
                surface[tip.name] = apply(at_measured[tip.link], self._hand.contact_points[tip.link][0])
        thumbs = [name for name in surface if name == "thumb"]
        if not thumbs and not any(tip.name == "thumb" for tip in self._hand.fingertips):
            thumbs = list(surface)
        return any(
            _distance(surface[thumb], surface[finger]) >= self._config.min_gap
            for thumb in thumbs
            for finger in surface
            if finger != thumb
        )


def _distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    return float(np.linalg.norm(a[:, None] - b[None, :], axis=-1).min())


def link_poses(hand: HandModel, positions: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """`base_T_link` (4, 4) of every link at one posture (D,) [rad or m].

    `dexgrasp_description.kinematics` does the same in batches and with gradients, but takes torch, which is seconds of
    start and a quarter of a gigabyte for a node that needs two postures a pick.
    """
    value = dict(zip(hand.joint_names, positions, strict=True))
    poses = {hand.base_link: np.eye(4)}
    for joint in hand.joints:
        moved = np.eye(4)
        if joint.kind == "revolute":
            moved[:3, :3] = Rotation.from_rotvec(value[joint.name] * joint.axis).as_matrix()
        elif joint.kind == "prismatic":
            moved[:3, 3] = value[joint.name] * joint.axis
        poses[joint.child] = poses[joint.parent] @ joint.parent_T_joint @ moved
    return poses
