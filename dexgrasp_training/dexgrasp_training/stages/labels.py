"""Stage `labels`: graspness of every pixel of an object, view by view."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from dexgrasp_description import load_hand
from dexgrasp_training.clutter.graspness import VARIANTS, graspness, pixel_graspness, seed_points
from dexgrasp_training.clutter.view_files import UNIT, SceneViews, cameras_path
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.scene_record import load_clear_grasps, load_totals
from dexgrasp_training.settings import Settings
from dexgrasp_training.storage import write_arrays
from dexgrasp_training.work import Task


def tasks(dataset: Dataset, settings: Settings) -> list[Task]:
    """One task for each scene that has views and clear grasps, and no labels yet.

    Raises:
        SettingsError: There is no such variant.
    """
    hand, variant = settings.grasps.hand, settings.labels.variant
    if variant not in VARIANTS:
        raise SettingsError(f"labels.variant: there is no {variant!r}. Variants: {', '.join(VARIANTS)}.")
    return [
        Task(f"labels of {scene}", label, (str(dataset.root), scene, hand, variant))
        for scene in dataset.scenes()
        if cameras_path(dataset.views_path(scene)).is_file()
        and dataset.clear_grasps_path(scene, hand).is_file()
        and not dataset.labels_path(scene, hand).is_file()
    ]


def label(root: str, scene: str, hand: str, variant: str) -> dict[str, Any]:
    """Task: write the graspness of a scene's views: of each, one float16 for every pixel with an object's id, in
    raster order, under the view's number.

    Args:
        variant: Key of `VARIANTS`.

    Raises:
        DatasetError: There are other grasps now than those of which the scene's clear ones were told.
    """
    start = time.perf_counter()
    dataset, config = Dataset(Path(root)), VARIANTS[variant]
    record, path = dataset.scene(scene), dataset.clear_grasps_path(scene, hand)
    grasps = [dataset.grasps(hand, name) for name in record.objects]
    if load_totals(path) not in (None, [len(own) for own in grasps]):
        raise DatasetError(f"{path} was made before there were other grasps; run the stage scenes again.")
    scores, surfaces = [], []
    for name, own, rows in zip(record.objects, grasps, load_clear_grasps(path), strict=True):
        points = dataset.asset(name).surface(config.surface_points)[0]
        seeds = seed_points(load_hand(hand), own[rows], points, config)
        scores.append(graspness(seeds, points))
        surfaces.append(cKDTree(points))
    views = SceneViews.load(dataset.views_path(scene))
    labels = {}
    for number, world_T_camera in zip(views.numbers.tolist(), views.world_T_camera, strict=True):
        depth, ids = views.read(number)
        labels[str(number)] = pixel_graspness(
            scores,
            surfaces,
            record.world_T_object,
            depth.astype(np.float32) * np.float32(UNIT),
            ids,
            views.intrinsics.matrix,
            world_T_camera,
            config.pixel_reach,
        )
    write_arrays(dataset.labels_path(scene, hand), labels)
    return {"scene": scene, "views": len(labels), "seconds": round(time.perf_counter() - start, 2)}
