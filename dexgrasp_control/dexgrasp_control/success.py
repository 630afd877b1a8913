"""Did the grasp take its object off the table? From what the robot feels in its fingers and sees before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dexgrasp_common.parameters import param
from numpy.typing import NDArray
from scipy import ndimage

from dexgrasp_control.heights import HeightMap


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
