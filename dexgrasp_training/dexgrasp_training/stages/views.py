"""Stage `views`: depth and object ids of each scene from some of its 256 cameras."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_sim.depth_noise import DepthNoise

from dexgrasp_training.clutter.cameras import camera_poses
from dexgrasp_training.clutter.rendering import INTRINSICS, SceneRenderer
from dexgrasp_training.clutter.view_files import SceneViews, cameras_path
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.settings import Settings, seed_of
from dexgrasp_training.work import Task


def tasks(dataset: Dataset, settings: Settings) -> list[Task]:
    """One task for each scene whose views are not all there."""
    views = settings.views
    return [
        Task(f"views of {scene}", render, (str(dataset.root), scene, views.count, views.noise, settings.seed))
        for scene in dataset.scenes()
        if not cameras_path(dataset.views_path(scene)).is_file()
    ]


def render(root: str, scene: str, count: int, noise: float, seed: int) -> dict[str, Any]:
    """Task: draw the first `count` views of a scene and write them.

    Args:
        noise: Size of the depth sensor's errors; 0: exact depth.
    """
    start = time.perf_counter()
    dataset = Dataset(Path(root))
    record = dataset.scene(scene)
    models = [dataset.asset(name).model for name in record.objects]
    poses = camera_poses(seed_of(seed, "cameras", scene))[:count]
    views = SceneViews(dataset.views_path(scene), np.arange(count), poses, INTRINSICS)
    sensor = None
    if noise > 0.0:
        shape = (INTRINSICS.height, INTRINSICS.width)
        sensor = DepthNoise(shape, scale=noise, seed=seed_of(seed, "depth noise", scene))
    with SceneRenderer(models, record.world_T_object) as renderer:
        for number, world_T_camera in enumerate(poses):
            depth, ids = renderer.draw(world_T_camera)
            views.write(number, sensor.apply(depth) if sensor else depth, ids)
    views.save()
    return {"scene": scene, "views": count, "seconds": round(time.perf_counter() - start, 2)}
