"""`dexgrasp-train fit`: settings, device, processes, and what is shown while a network is trained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from dexgrasp_planner.checkpoints import Checkpoint
from dexgrasp_planner.network.grasp_network import NetworkConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dexgrasp_description import load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.fit.fitting import Fit, FitConfig
from dexgrasp_training.fit.lesson import Lesson
from dexgrasp_training.fit.log import NO_CURVES
from dexgrasp_training.fit.processes import Processes
from dexgrasp_training.fit.samples import SampleConfig, ViewSamples
from dexgrasp_training.fit.seed_features import FeatureSamples, SeedFeatures, kept, see
from dexgrasp_training.fit.view_lesson import HeadLesson, ViewFitConfig, ViewLesson
from dexgrasp_training.settings import PRESETS, build, read_preset, with_changes

FIT_PRESETS = PRESETS / "fit"
_COLUMNS = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))


@dataclass(frozen=True)
class FitSettings:
    """Everything that decides what a training run makes of a dataset."""

    hand: str = "leap_right"
    network: NetworkConfig = NetworkConfig()
    samples: SampleConfig = SampleConfig()
    fit: ViewFitConfig = ViewFitConfig()


def load_fit_settings(name: str | Path, changes: Sequence[str] = ()) -> FitSettings:
    """A training preset by name, or a YAML file by path.

    Args:
        name: `small`, `paper`, or a path.
        changes: `key=value` pairs that replace single settings: `network.backbone=paper`.

    Raises:
        SettingsError: No such preset or file, an unknown key, or a value of the wrong kind.
    """
    content = read_preset(name, FIT_PRESETS, "training preset")
    settings: FitSettings = build(FitSettings, with_changes(content, changes), "settings")
    return settings


def fit(
    dataset: Dataset, folder: Path, settings: FitSettings, device: str, start: Path | None, console: Console
) -> Path:
    """Train a network, or go on with it; returns the folder of its checkpoint.

    Args:
        device: `cpu`, `cuda`, or empty for the best there is.
        start: Folder of the checkpoint whose weights a new run begins with; None: random ones.

    Raises:
        SettingsError: Another device than there is, or settings of another run.
        DatasetError: There is nothing to learn from, or the run's state is damaged.
        CheckpointError: The checkpoint to begin with cannot be read, or is for another hand.
    """
    first = Checkpoint.load(start) if start else None
    chosen, config = chosen_device(device), settings.fit
    processes = Processes.join(chosen)
    with console.status("Reading grasps and scenes") if processes.writes else nullcontext():
        train, test = (
            ViewSamples(dataset, settings.hand, split, config.seed, settings.samples) for split in ("train", "test")
        )
    lesson = ViewLesson(load_hand(settings.hand), train, test, settings.network, config)
    if config.frozen:
        lesson = _on_features(lesson, folder, first, chosen, processes, console)
    return teach(Fit(folder, lesson, config, chosen, first, processes), folder, lesson, config, console)


def _on_features(
    lesson: ViewLesson,
    folder: Path,
    start: Checkpoint | None,
    device: torch.device,
    processes: Processes,
    console: Console,
) -> HeadLesson:
    """The lesson on what the frozen backbone sees, which the run's folder keeps."""
    config = lesson.config

    def seen(samples: ViewSamples, views: int) -> SeedFeatures:
        network = lesson.make(start, begun=False).to(device).eval()
        with Progress(*_COLUMNS, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task("seeing views", total=views)
            return see(network, samples, views, device, config.workers, lambda done: bar.update(task, completed=done))

    parts = []
    for samples, name, views in zip(lesson.views, ("train", "test"), (config.seen, -(-config.seen // 25)), strict=True):
        make = partial(seen, samples, views)
        if processes.writes:  # the others read what this one has written
            kept(folder / f"seen_{name}.pt", make)
        processes.wait()
        features = kept(folder / f"seen_{name}.pt", make)
        parts.append(FeatureSamples(features, samples.config.grasps, config.seed, samples.facts()))
    return HeadLesson(lesson, *parts)


def teach(run: Fit, folder: Path, lesson: Lesson, config: FitConfig, console: Console) -> Path:
    """Train to the end and show how far it is; returns the folder of the checkpoint."""
    if run.log is None:
        run.run(lambda iteration, entry: None)
        return folder / "checkpoint"
    for title, samples in (("to learn from", lesson.train), ("to validate on", lesson.test)):
        console.print(f"{title}: " + ", ".join(f"{count} {name}" for name, count in samples.facts().items()))
    if run.iteration:
        console.print(f"from iteration {run.iteration} on")
    if not run.log.has_curves:
        console.print(NO_CURVES)
    with Progress(*_COLUMNS, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=config.iterations, completed=run.iteration)

        def progress(iteration: int, entry: dict[str, Any]) -> None:
            assert run.log is not None
            recent = run.log.recent
            busy, waiting = (sum(one[name] for one in recent) for name in ("seconds", "waiting"))
            rate, idle = len(recent) / (busy + waiting), 100.0 * waiting / (busy + waiting)
            text = f"loss {run.log.losses()['total']:.3f}, {rate:.2f} iterations/s, {idle:.0f} % waiting for data"
            told = [one["gpu"] for one in recent if "gpu" in one]
            if told:
                text += f", GPU {sum(told) / len(told):.0f} % busy"
            bar.update(task, completed=iteration, description=text)

        run.run(progress)
    return folder / "checkpoint"


def chosen_device(name: str) -> torch.device:
    """`cpu`, `cuda`, or the best there is for an empty name.

    Raises:
        SettingsError: There is no CUDA device.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("There is no CUDA device here; leave --device out, or say --device cpu.")
    if name != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
