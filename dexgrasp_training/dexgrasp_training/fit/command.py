"""`dexgrasp-train fit`: settings, device, and what is shown while a network is trained."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from dexgrasp_planner.network.grasp_network import NetworkConfig
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dexgrasp_description import load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.fit.fitting import Fit, FitConfig
from dexgrasp_training.fit.samples import SampleConfig, ViewSamples
from dexgrasp_training.settings import build, with_changes

_SHOWN = 50  # iterations that the shown figures are means of


@dataclass(frozen=True)
class FitSettings:
    """Everything that decides what a training run makes of a dataset."""

    hand: str = "leap_right"
    network: NetworkConfig = NetworkConfig(backbone="small")
    samples: SampleConfig = SampleConfig()
    fit: FitConfig = FitConfig()


def fit(dataset: Dataset, folder: Path, changes: Sequence[str], device: str, console: Console) -> Path:
    """Train a network, or go on with it; returns the folder of its checkpoint.

    Args:
        changes: `key=value` pairs on `FitSettings`: `network.backbone=paper`.
        device: `cpu`, `cuda`, or empty for the best there is.

    Raises:
        SettingsError: Unknown settings or device, or those of another run.
        DatasetError: There is nothing to learn from, or the run's state is damaged.
    """
    settings: FitSettings = build(FitSettings, with_changes({}, changes), "settings")
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if chosen == "cuda" and not torch.cuda.is_available():
        raise SettingsError("There is no CUDA device here; leave --device out, or say --device cpu.")
    seed = settings.fit.seed
    with console.status("Reading grasps and scenes"):
        train = ViewSamples(dataset, settings.hand, "train", seed, settings.samples)
        test = ViewSamples(dataset, settings.hand, "test", seed, settings.samples)
    run = Fit(folder, load_hand(settings.hand), train, test, settings.network, settings.fit, torch.device(chosen))
    console.print(f"{len(train)} views to learn from, {len(test)} to validate on; from iteration {run.iteration}")
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    recent: deque[dict[str, Any]] = deque(maxlen=_SHOWN)
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=settings.fit.iterations, completed=run.iteration)

        def progress(iteration: int, entry: dict[str, Any]) -> None:
            recent.append(entry)
            loss = sum(one["losses"]["total"] for one in recent) / len(recent)
            busy = sum(one["seconds"] for one in recent)
            waiting = sum(one["waiting"] for one in recent)
            rate, idle = len(recent) / (busy + waiting), 100.0 * waiting / (busy + waiting)
            text = f"loss {loss:.3f}, {rate:.2f} iterations/s, {idle:.0f} % waiting for data"
            bar.update(task, completed=iteration, description=text)

        run.run(progress)
    return folder / "checkpoint"
