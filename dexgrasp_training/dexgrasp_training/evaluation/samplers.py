"""How far two samplers are from each other that start at the same seeds from the same noise."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dexgrasp_planner.learned import Sampled
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

from dexgrasp_training.evaluation.contestants import checkpoint_name


def compare(sampled: Mapping[tuple[str, str], Sampled]) -> list[dict[str, Any]]:
    """Differences of every two samplers of each checkpoint on one view.

    Args:
        sampled: By checkpoint and sampler, see `contestants.ask`.

    Returns:
        A row for each pair: median and 95th percentile of the distance of the palms [mm] and of the angle between them
        [deg], and Spearman's coefficient of the log-likelihoods. Pairs that lost different samples (numbers that are
        not finite) are left out.
    """
    rows = []
    for (one, first), (other, second) in itertools.combinations(sampled, 2):
        a, b = sampled[one, first].grasps, sampled[other, second].grasps
        if one != other or len(a) != len(b) or len(a) < 3:
            continue
        way = 1e3 * np.linalg.norm(a.world_T_palm[:, :3, 3] - b.world_T_palm[:, :3, 3], axis=1)
        turns = Rotation.from_matrix(a.world_T_palm[:, :3, :3]).inv() * Rotation.from_matrix(b.world_T_palm[:, :3, :3])
        angle = np.degrees(turns.magnitude())
        rank = float(spearmanr(a.log_likelihood, b.log_likelihood).statistic)
        rows.append(
            {
                "checkpoint": checkpoint_name(one),
                "samplers": [first, second],
                "grasps": len(a),
                "millimetres": np.quantile(way, [0.5, 0.95]).round(3).tolist(),
                "degrees": np.quantile(angle, [0.5, 0.95]).round(3).tolist(),
                "spearman": round(rank, 5) if np.isfinite(rank) else None,
            }
        )
    return rows


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For every pair of samplers the medians over views of what `compare` gives."""
    found = []
    for checkpoint, pair in dict.fromkeys((row["checkpoint"], tuple(row["samplers"])) for row in rows):
        own = [row for row in rows if (row["checkpoint"], tuple(row["samplers"])) == (checkpoint, pair)]
        ranks = [row["spearman"] for row in own if row["spearman"] is not None]
        found.append(
            {
                "checkpoint": checkpoint,
                "samplers": list(pair),
                "views": len(own),
                "millimetres": np.median([row["millimetres"] for row in own], axis=0).round(3).tolist(),
                "degrees": np.median([row["degrees"] for row in own], axis=0).round(3).tolist(),
                "spearman": round(float(np.median(ranks)), 5) if ranks else None,
            }
        )
    return found
