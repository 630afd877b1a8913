"""How sure a measured share is, and the difference of two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

CONFIDENCE = 0.95  # of every interval
_RESAMPLES = 10_000
_BLOCK = 500  # resamples drawn at once


class Interval(NamedTuple):
    """An estimate, and where the truth lies with `CONFIDENCE`."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval | None:
    """Share of successes with Wilson's score interval (Wilson 1927, Eq. 4); None of no trials.

    Trials count as independent. Views of one scene are not quite, so the interval is a little narrow.
    """
    if not trials:
        return None
    z = float(norm.ppf(0.5 + 0.5 * CONFIDENCE))
    share = successes / trials
    scale = 1.0 + z * z / trials
    middle = (share + 0.5 * z * z / trials) / scale
    half = z / scale * math.sqrt(share * (1.0 - share) / trials + 0.25 * (z / trials) ** 2)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def clustered_mean(groups: Sequence[Sequence[float]], seed: int = 0) -> Interval | None:
    """Mean of all values, with an interval by bootstrap over groups; None of no values.

    Args:
        groups: Values that belong together, as those of one scene's views or of one object's grasps: whole groups are
            drawn, with repetition, so that values of one group need not be independent.
        seed: Of the draws.
    """
    sums = np.array([math.fsum(values) for values in groups if len(values)])
    counts = np.array([len(values) for values in groups if len(values)])
    if not len(sums):
        return None
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(_RESAMPLES // _BLOCK):
        drawn = rng.integers(len(sums), size=(_BLOCK, len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    tail = 0.5 * (1.0 - CONFIDENCE)
    low, high = np.quantile(np.concatenate(means), [tail, 1.0 - tail])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))
