"""A dataset of boxes, small enough to train on in seconds."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from dexgrasp_planner.network.grasp_network import NetworkConfig
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.fit.fitting import Fit
from dexgrasp_training.fit.processes import Processes
from dexgrasp_training.fit.samples import SampleConfig, ViewSamples
from dexgrasp_training.fit.view_lesson import ViewFitConfig, ViewLesson
from dexgrasp_training.settings import SceneSettings, Settings, ViewSettings
from dexgrasp_training.stages import labels, scenes, views
from torch import distributed, nn

from dexgrasp_description import load_hand

from .test_scene_stages import HAND, box_asset, do, from_all_sides

SMALL = SampleConfig(points=1500, grasps=16, draws=64)
CPU = torch.device("cpu")


def make(root: Path) -> Dataset:
    """Boxes of each split in two labelled scenes."""
    dataset = Dataset.open(root, create=True)
    for split in ("train", "test"):
        for number in range(2):
            name = f"{split}_box_{number}"
            box_asset(name, (0.05 + 0.01 * number, 0.06, 0.07), split).save(dataset.object_path(name))
            from_all_sides(400, name, number).save(dataset.grasps_path(HAND, name))
    settings = Settings(scenes=SceneSettings(dense=0, random=0, loose=4, test_share=0.5), views=ViewSettings(count=3))
    for tasks in scenes.rounds(dataset, settings):
        do(tasks)
    do(views.tasks(dataset, settings))
    do(labels.tasks(dataset, settings))
    return dataset


def samples(dataset: Dataset, **changes: object) -> ViewSamples:
    config = SampleConfig(**{**SMALL.__dict__, **changes})  # type: ignore[arg-type]
    return ViewSamples(dataset, HAND, "train", 5, config)


def fit(
    dataset: Dataset,
    folder: Path,
    network: NetworkConfig | None = None,
    train: ViewSamples | None = None,
    start: object = None,
    processes: Processes | None = None,
    **changes: object,
) -> Fit:
    wanted = {"iterations": 4, "batch": 2, "workers": 0, "validate_every": 2, "validated": 1, "save_every": 1}
    config = ViewFitConfig(**wanted | changes)  # type: ignore[arg-type]
    test = ViewSamples(dataset, HAND, "test", 6, SMALL)
    lesson = ViewLesson(
        load_hand(HAND), train or samples(dataset), test, network or NetworkConfig(backbone="small"), config
    )
    return Fit(folder, lesson, config, CPU, start, processes)  # type: ignore[arg-type]


def fit_with_still_norms(rank: int, count: int, port: int, root: Path, folder: Path) -> None:
    """One of the processes of a run whose batch norms do not look at the batch, of which each process sees a part."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    run = fit(Dataset.open(root), folder, processes=Processes.join(CPU), iterations=2)
    run.network.train = lambda mode=True: nn.Module.train(run.network, False)  # type: ignore[method-assign]
    run.run(lambda iteration, entry: None)
    if count > 1:
        distributed.destroy_process_group()
