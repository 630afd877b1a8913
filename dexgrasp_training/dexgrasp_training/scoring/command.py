"""`dexgrasp-train score`: a checkpoint tries grasps, its own and others, and learns to tell which of them lift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dexgrasp_planner.holding import FEATURES
from dexgrasp_planner.success import SuccessModel
from rich.console import Console
from rich.table import Table

from dexgrasp_training.dataset import Dataset
from dexgrasp_training.evaluation.scenes import chosen_scenes
from dexgrasp_training.scoring.trying import Trial, learn_by_trying
from dexgrasp_training.scoring.verdicts import VerdictConfig, try_own_grasps
from dexgrasp_training.work import Workers


def score(
    dataset: Dataset, checkpoint: Path, scenes: int, config: VerdictConfig, workers: Workers, console: Console
) -> SuccessModel:
    """Try the checkpoint's grasps in training scenes, learn from what they lift, and write that into its folder.

    What was tried is kept in a folder beside it: a run that was killed goes on, and one with more scenes adds to it.
    The latter also tries, in these, the favourites of what was learnt from the former: what looks best is what has to
    be judged.

    Raises:
        DatasetError: There are no training scenes with views, or too little to learn from.
        SettingsError: What was tried before is of another network or of other settings.
        CheckpointError: There is no checkpoint, or it is for another hand.
    """
    names = chosen_scenes(dataset, scenes, "train")
    trial = Trial(names, "scenes", try_own_grasps, config, "verdicts", FEATURES, {})
    model, about = learn_by_trying(dataset, checkpoint, trial, workers, console)
    console.print(_table(about))
    return model


def _table(about: dict[str, Any]) -> Table:
    held_out = about["held_out"]
    table = Table(
        title=f"{about['grasps']} grasps of {about['scenes']} scenes; {held_out['grasps']} of them held out",
        title_justify="left",
    )
    for column in ("told by", "area under the curve", "best of a view lifts [%]"):
        table.add_column(column, justify="left" if column == "told by" else "right")
    area, best = held_out["area_under_curve"], held_out["best_of_view"]
    table.add_row("success model, all that was tried", f"{area:.3f}", f"{100 * best:.0f}")
    area = held_out["area_under_curve_of_samples"]
    table.add_row("success model, what was sampled", f"{area:.3f}", "")
    area, best = held_out["area_under_curve_of_own_score"], held_out["best_of_view_by_own_score"]
    table.add_row("the network's score, what was sampled", f"{area:.3f}", f"{100 * best:.0f}")
    table.add_row("chance, what was sampled", "0.500", f"{100 * held_out['mean_of_view']:.0f}")
    return table
