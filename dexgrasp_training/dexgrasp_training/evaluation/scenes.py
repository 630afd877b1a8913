"""Which scenes and views are looked at, and what every contestant is shown of them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from dexgrasp_common.transforms import apply, invert
from dexgrasp_perception.cloud import deproject
from dexgrasp_planner.generators import SceneCloud
from dexgrasp_sim.depth_noise import DepthNoise
from dexgrasp_sim.tester import LiftScene
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dexgrasp_training.assets import Split
from dexgrasp_training.clutter.view_files import UNIT, SceneViews, cameras_path
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.scene_record import KINDS

_SURFACE = 2048  # points of each object among which the one nearest to a grasp's seed is sought


def chosen_scenes(dataset: Dataset, count: int, split: Split = "test") -> list[str]:
    """Names of at most that many scenes with views: equal parts of each kind, or as there are; kinds in turn.

    Raises:
        DatasetError: The split has no scenes, or none of them has views.
    """
    groups: dict[str, list[str]] = {kind: [] for kind in KINDS}
    without_views = 0
    for name in dataset.scenes():
        record = dataset.scene(name)
        if record.split != split:
            continue
        if cameras_path(dataset.views_path(name)).is_file():
            groups[record.kind].append(name)
        else:
            without_views += 1
    if not any(groups.values()):
        if without_views:
            raise DatasetError(
                f"None of the {without_views} {split} scenes of {dataset.root} has views; make them: "
                f"dexgrasp-train views {dataset.root}"
            )
        raise DatasetError(
            f"{dataset.root} has no {split} scenes; make some: dexgrasp-train scenes {dataset.root} "
            "--set scenes.test_share=0.2"
        )
    found: list[str] = []
    while len(found) < count and any(groups.values()):
        found += [group.pop(0) for group in groups.values() if group]
    return found[:count]


class TestScene:
    """A scene of a dataset as contestants and tester meet it.

    Attributes:
        record: Its objects and poses.
        lift_scene: The same for the tester; objects are named by their index, as one may stand there twice.
        views: Its views.
        families: Of each object where it was made by one; empty for meshes.

    Raises:
        DatasetError: A file is missing or damaged.
    """

    __test__ = False  # no class of tests

    def __init__(self, dataset: Dataset, name: str) -> None:
        self.record = dataset.scene(name)
        self.views = SceneViews.load(dataset.views_path(name))
        assets = [dataset.asset(object_) for object_ in self.record.objects]
        models = [asset.model.named(str(index)) for index, asset in enumerate(assets)]
        self.lift_scene = LiftScene(models, self.record.world_T_object)
        self.families = [family_of(asset.source) for asset in assets]
        surfaces = [
            apply(pose, asset.points[:_SURFACE].astype(np.float64))
            for pose, asset in zip(self.record.world_T_object, assets, strict=True)
        ]
        self._surface = cKDTree(np.concatenate(surfaces))
        self._fields = [asset.field for asset in assets]
        self._owner = np.repeat(np.arange(len(assets)), [len(points) for points in surfaces])

    def cloud(self, view: int, noise: float, seed: int) -> SceneCloud:
        """What the camera of a view sees, all of it: nothing is cut out by labels that a robot would not have.

        Args:
            view: Its number, one of `views.numbers`.
            noise: Size of the depth sensor's errors on top of those that the dataset has.
            seed: Of these errors.

        Raises:
            DatasetError: An image is missing or damaged.
        """
        depth = self.views.read(view)[0].astype(np.float32) * np.float32(UNIT)
        if noise > 0.0:
            depth = _sensor(depth.shape, noise).apply(depth, np.random.default_rng(seed))
        index = int(np.flatnonzero(self.views.numbers == view)[0])
        points = deproject(depth, self.views.intrinsics).reshape(-1, 3)
        return SceneCloud(points, self.views.world_T_camera[index])

    def targets(self, seed_point: NDArray[np.float64]) -> NDArray[np.intp]:
        """Index of the object that each seed point (N, 3) [m], world, lies on or nearest to."""
        return self._owner[self._surface.query(seed_point)[1]] if len(seed_point) else np.zeros(0, dtype=np.intp)

    def depth(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """How deep points (P, 3) [m], world, are in any of the objects: (P,) [m], 0 outside."""
        deepest = np.zeros(len(points))
        for field, pose in zip(self._fields, self.record.world_T_object, strict=True):
            deepest = np.maximum(deepest, -field.distance(apply(invert(pose), points)))
        return deepest


def family_of(source: str) -> str:
    """The procedural family of an object with that source; empty for a mesh."""
    kind, _, name = source.partition(":")
    return name if kind == "family" else ""


@lru_cache(maxsize=1)
def _sensor(shape: tuple[int, int], scale: float) -> DepthNoise:
    return DepthNoise(shape, scale=scale)
