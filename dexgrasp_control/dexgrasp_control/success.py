"""Did the grasp take its object off the table? From what the robot feels in its fingers and sees before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from dexgrasp_common.parameters import param
from dexgrasp_description.kinematics import ForwardKinematics
from numpy.typing import NDArray
from scipy import ndimage

from dexgrasp_control.heights import HeightMap
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
        self._kinematics = ForwardKinematics(hand)

    def holds(self, commanded: NDArray[np.float64], measured: NDArray[np.float64]) -> bool:
        """Whether an object keeps the thumb and a finger apart (any two fingers on a hand without a thumb).

        Args:
            commanded: Squeeze posture (D,), hand order [rad].
            measured: Where the joints are (D,) [rad].
        """
        joints = torch.tensor(np.stack([commanded, measured]), dtype=torch.float64)
        poses = {link: pose.numpy() for link, pose in self._kinematics.link_poses(joints).items()}
        surface = {}
        for tip in self._hand.fingertips:
            palm_T_tip = poses[tip.link]
            centre = palm_T_tip[:, :3, :3] @ tip.centre + palm_T_tip[:, :3, 3]
            if np.linalg.norm(centre[0] - centre[1]) >= self._config.min_offset:
                points = self._hand.contact_points[tip.link][0]
                surface[tip.name] = points @ palm_T_tip[1, :3, :3].T + palm_T_tip[1, :3, 3]
        thumbs = [name for name in surface if name == "thumb"]
        if not thumbs and not any(tip.name == "thumb" for tip in self._hand.fingertips):
            thumbs = list(surface)
        return any(
            _distance(surface[thumb], surface[finger]) >= self._config.min_gap
            for thumb in thumbs
            for finger in surface
            if finger != thumb
        )


def _distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(a[:, None] - b[None, :], axis=-1).min())


@dataclass(frozen=True)
class SightConfig:
    """When the picture of the table counts as changed."""

    radius: float = param(0.03, "Around the grasp's seed, what is looked at [m]", range=(0.005, 0.2))
    change: float = param(0.010, "A height that changes less than this has not changed [m]", range=(0.002, 0.05))
    gone_share: float = param(0.5, "Share of the volume around the seed that must be gone", range=(0.1, 1.0))


@dataclass(frozen=True)
class Sight:
    """What two looks at the table say.

    Attributes:
        removed: Whether the object left the table; None: it cannot be told.
        reason: In words.
    """

    removed: bool | None
    reason: str


def compare(before: HeightMap, after: HeightMap, seed: NDArray[np.float64], config: SightConfig | None = None) -> Sight:
    """What became of the object at `seed`.

    Volumes under the height map are balanced. What is lost around the seed was the object; when about as much appears
    elsewhere, it was only moved. Gains that lost volume elsewhere explains (a neighbour that toppled or was pushed)
    are not held against it.

    Args:
        before, after: Maps of one grid; NaN also where the bin or the robot is to be left out.
        seed: The point that the grasp was for, (3,), world frame [m].
        config: Thresholds.
    """
    config = config or SightConfig()
    b, a = before.heights, after.heights
    both = np.isfinite(b) & np.isfinite(a)
    region = before.around(seed, config.radius) & (b > config.change)
    if region.sum() < 6:
        return Sight(None, "nothing was seen around the grasp before it")
    if (region & both).sum() < 0.5 * region.sum():
        return Sight(None, "too little is seen around the grasp after it")
    change = np.where(both, b - a, 0.0)
    volume = float(b[region & both].sum())
    gone = float(change[region].sum()) / volume
    loss, gain = change > config.change, change < -config.change
    labels, _ = ndimage.label(loss, structure=np.ones((3, 3)))
    own = np.isin(labels, np.setdiff1d(labels[region & loss], [0]))
    lost, lost_elsewhere = float(change[own].sum()), float(change[loss & ~own].sum())
    gained = -float(change[gain].sum())
    if gone < config.gone_share:
        if lost + lost_elsewhere - gained >= 0.8 * volume:
            return Sight(True, "as much as the object has left the table, and something else stands in its place")
        return Sight(False, f"{100 * (1 - gone):.0f} % of the object is still there")
    unexplained = max(0.0, gained - 1.2 * lost_elsewhere)
    if unexplained >= 0.5 * lost:
        return Sight(False, "the object was moved, not removed")
    uncovered = np.isnan(b) & (a > 0.015)
    if unexplained + float(a[uncovered].sum()) >= 0.5 * lost and float(a[uncovered].max()) >= 0.5 * float(
        b[region].max()
    ):
        return Sight(None, "the object has left its place, but may stand where nothing was seen before")
    return Sight(True, f"{100 * min(gone, 1.0):.0f} % of what stood around the grasp is gone")


@dataclass(frozen=True)
class Verdict:
    """Whether an attempt counts as a success, and why."""

    success: bool
    reason: str


def judge(felt: bool, sight: Sight) -> Verdict:
    """The eyes decide; the fingers where the eyes cannot."""
    feeling = "the fingers held something" if felt else "the fingers held nothing"
    if sight.removed is None:
        return Verdict(felt, f"{sight.reason}; {feeling}")
    return Verdict(sight.removed, f"{sight.reason}; {feeling}")
