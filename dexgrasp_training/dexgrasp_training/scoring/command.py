"""`dexgrasp-train score`: a checkpoint tries grasps, its own and others, and learns to tell which of them lift."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dexgrasp_planner.checkpoints import add_success
from dexgrasp_planner.holding import FEATURES
from dexgrasp_planner.success import SuccessModel
from rich.console import Console
from rich.table import Table

from dexgrasp_training.dataset import Dataset
from dexgrasp_training.evaluation.scenes import chosen_scenes
from dexgrasp_training.scoring.learning import learn
from dexgrasp_training.scoring.verdicts import VerdictConfig, read_verdicts, try_own_grasps
from dexgrasp_training.storage import remember
from dexgrasp_training.work import Task, Workers, spread


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
    checkpoint = checkpoint.expanduser().absolute()
    digest = network_digest(checkpoint)
    folder = checkpoint.with_name(f"{checkpoint.name}.verdicts")
    remember(folder, {"dataset": dataset.root.name, "network": digest, "config": asdict(config)})
    names = chosen_scenes(dataset, scenes, "train")
    paths = {name: folder / f"{name}.npz" for name in names}
    tasks = [
        Task(name, try_own_grasps, (str(dataset.root), name, str(checkpoint), digest, config, str(path)))
        for name, path in paths.items()
        if not path.is_file()
    ]
    if tasks:
        spread(tasks, workers, "scenes", console)
    verdicts = read_verdicts([path for path in paths.values() if path.is_file()])
    model, about = learn(verdicts, FEATURES, config.seed)
    add_success(checkpoint, model, about)
    console.print(_table(about))
    return model


def network_digest(checkpoint: Path) -> str:
    """Of the network's weights, or empty where there are none: what is added to a checkpoint does not change it."""
    path = checkpoint / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


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
