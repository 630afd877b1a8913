"""From verdicts to a model: an ensemble that learns on some scenes and is judged on the others."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from dexgrasp_planner.success import SuccessModel
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from torch.nn.functional import binary_cross_entropy_with_logits

from dexgrasp_training.errors import DatasetError
from dexgrasp_training.scoring.verdicts import Verdicts

_STEPS, _CHECKED = 3000, 25  # of the optimiser at most, and between looks at the scenes that are held out
_RATE, _DECAY = 2e-3, 0.05
_HELD_OUT = 5  # one scene of so many
_LEAST = 20  # grasps of each verdict, on each side, or nothing can be said


def learn(verdicts: Verdicts, features: Sequence[str], seed: int) -> tuple[SuccessModel, dict[str, Any]]:
    """A model, and how well it tells lifts in scenes that it did not learn from.

    The number of steps is the one that is best for held-out scenes; the model that is given learns that long on all.

    Args:
        verdicts: Of several scenes, or of several objects in place of scenes.
        features: Names of theirs.
        seed: Of initial weights and of what each member sees.

    Raises:
        DatasetError: There are too few verdicts to learn from.
    """
    held_out = verdicts.scene % _HELD_OUT == _HELD_OUT - 1
    for rows in (held_out, ~held_out):
        lifted = int(verdicts.lifted[rows].sum())
        if min(lifted, int(rows.sum()) - lifted) < _LEAST:
            raise DatasetError(
                f"{len(verdicts)} grasps were tried and {int(verdicts.lifted.sum())} of them lift: too few of either "
                "to learn from. Try more scenes or objects (--scenes, --objects), or train the checkpoint longer."
            )
    told, steps = _fitted(features, verdicts[~held_out], verdicts[held_out], _STEPS, seed)
    judged = verdicts[held_out]
    chance, own = told.logits(judged.features), np.isfinite(judged.score)
    sampled, plain = judged[own], judged[own & ~judged.refined]
    about = {
        "grasps": len(verdicts),
        "scenes": len(np.unique(verdicts.scene)),
        "lifted": _share(verdicts.lifted[~verdicts.refined]),
        "lifted_refined": _share(verdicts.lifted[verdicts.refined]),
        "steps": steps,
        "held_out": {
            "grasps": len(judged),
            "area_under_curve": round(_area(chance, judged.lifted), 4),
            "area_under_curve_of_samples": round(_area(chance[own], sampled.lifted), 4),
            "area_under_curve_of_own_score": round(_area(sampled.score, sampled.lifted), 4),
            "best_of_view": round(_best_of_view(chance, judged), 4),
            "best_of_view_by_own_score": round(_best_of_view(plain.score, plain), 4),
            "mean_of_view": _share(plain.lifted),
        },
    }
    model, _ = _fitted(features, verdicts, None, steps, seed)
    return model, about


def _fitted(
    features: Sequence[str], own: Verdicts, others: Verdicts | None, steps: int, seed: int
) -> tuple[SuccessModel, int]:
    """The model after the best number of steps for the others; None: after all steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SuccessModel(features)
    values, lifted = _tensors(own)
    model.mean.copy_(values.mean(dim=0))
    model.scale.copy_(values.std(dim=0).clamp_min(1e-6))
    # Each member sees every scene some number of times, or never: members differ as scenes do.
    members, rng = len(model.weights[0]), np.random.default_rng(seed)
    counts = rng.poisson(1.0, (members, int(own.scene.max()) + 1))[:, own.scene]
    counts[~counts.any(axis=1)] = 1
    weight = torch.as_tensor(counts / counts.sum(axis=1, keepdims=True), dtype=torch.float32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=_DECAY)
    best, best_steps, least = copy.deepcopy(model), steps, np.inf
    for step in range(1, steps + 1):
        logits = model(values)
        loss = (weight * binary_cross_entropy_with_logits(logits, lifted.expand_as(logits), reduction="none")).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if others is not None and step % _CHECKED == 0:
            shown, truth = _tensors(others)
            with torch.no_grad():
                found = float(binary_cross_entropy_with_logits(model(shown).mean(dim=0), truth))
            if found < least:
                best, best_steps, least = copy.deepcopy(model), step, found
    return (model if others is None else best).eval(), best_steps


def _tensors(verdicts: Verdicts) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.as_tensor(array, dtype=torch.float32) for array in (verdicts.features, verdicts.lifted))  # type: ignore[return-value]


def _share(lifted: NDArray[np.bool_]) -> float | None:
    return round(float(lifted.mean()), 4) if len(lifted) else None


def _area(score: NDArray[np.float64], lifted: NDArray[np.bool_]) -> float:
    """Chance that a grasp that lifts has a higher score than one that does not."""
    return float(mannwhitneyu(score[lifted], score[~lifted]).statistic) / (lifted.sum() * (~lifted).sum())


def _best_of_view(score: NDArray[np.float64], verdicts: Verdicts) -> float:
    """Share of views whose best grasp by a score lifts."""
    order = np.lexsort((-score, verdicts.view))
    _, first = np.unique(verdicts.view[order], return_index=True)
    return float(verdicts.lifted[order[first]].mean())
