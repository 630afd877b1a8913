"""Grasps of a checkpoint tried in scenes or on objects, what came of them kept, and what is learnt from that added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dexgrasp_planner.checkpoints import WEIGHTS, add_success
from dexgrasp_planner.success import SuccessModel
from rich.console import Console

from dexgrasp_training.dataset import Dataset
from dexgrasp_training.scoring.learning import learn
from dexgrasp_training.scoring.verdicts import read_verdicts
from dexgrasp_training.storage import digest_of, remember
from dexgrasp_training.work import Task, Workers, spread


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        names: Of the scenes or objects.
        things: What these are called.
        attempt: The task: root of the dataset, name, checkpoint, digest of its network, config and file to write.
        config: A dataclass with a seed; how.
        kept: Verdicts are kept in `<checkpoint>.<kept>`.
        features: Names of what is told of each grasp.
        about: What the checkpoint is to say beside what is learnt.
    """

    names: Sequence[str]
    things: str
    attempt: Callable[..., dict[str, Any]]
    config: Any
    kept: str
    features: Sequence[str]
    about: dict[str, Any]


def learn_by_trying(
    dataset: Dataset, checkpoint: Path, trial: Trial, workers: Workers, console: Console
) -> tuple[SuccessModel, dict[str, Any]]:
    """Try what was not tried before, learn from all of it, and write the model into the checkpoint's folder.

    Raises:
        DatasetError: There is too little to learn from.
        SettingsError: What was tried before is of another network or of other settings.
        CheckpointError: There is no checkpoint, or it is for another hand.
    """
    checkpoint = checkpoint.expanduser().absolute()
    digest = digest_of(checkpoint, WEIGHTS)  # what is added to a checkpoint does not change its network
    folder = checkpoint.with_name(f"{checkpoint.name}.{trial.kept}")
    remember(folder, {"dataset": dataset.root.name, "network": digest, "config": asdict(trial.config)})
    paths = {name: folder / f"{name}.npz" for name in trial.names}
    tasks = [
        Task(name, trial.attempt, (str(dataset.root), name, str(checkpoint), digest, trial.config, str(path)))
        for name, path in paths.items()
        if not path.is_file()
    ]
    if tasks:
        spread(tasks, workers, trial.things, console)
    verdicts = read_verdicts([path for path in paths.values() if path.is_file()])
    model, about = learn(verdicts, trial.features, trial.config.seed)
    add_success(checkpoint, model, trial.about | about)
    return model, about
