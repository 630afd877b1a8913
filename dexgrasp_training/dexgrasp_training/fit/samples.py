"""What the network learns from: one view of a scene, its points with their scores, and grasps at some of them.

A sample is told by its number alone: its view, points, grasps and turn are drawn from a generator seeded by it. So a
run that is resumed at the same number sees the same samples, whatever the number of loading processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from dexgrasp_common.parameters import param
from dexgrasp_common.transforms import apply, invert
from dexgrasp_perception.cloud import CLOUD_SIZE, deproject, object_box, workspace_mask
from dexgrasp_sim.depth_noise import DepthNoise
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dexgrasp_description import load_hand
from dexgrasp_training.assets import Split
from dexgrasp_training.clutter.graspness import FLOOR, NO_SEED, VARIANTS, seed_points
from dexgrasp_training.clutter.view_files import UNIT, SceneViews
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.scene_record import KINDS, SceneRecord, load_clear_grasps
from dexgrasp_training.settings import seed_of
from dexgrasp_training.storage import read_array

_POWER = ("closing",)  # methods whose grasps are of kind 0; those of the others are of kind 1: by the fingertips
_VIEWS_TRIED = 20
_NOISE_LEVELS = 4  # sizes of the sensor's errors, the largest of them the configured one


@dataclass(frozen=True)
class SampleConfig:
    """How samples are drawn (DexGraspNet 2.0, E.1)."""

    points: int = param(CLOUD_SIZE, "points of a view, drawn with repetition", range=(100, 1_000_000))
    grasps: int = param(64, "grasps of a view, drawn with repetition", range=(1, 4096))
    draws: int = param(256, "grasps drawn to find those whose seeds are seen", range=(1, 65536))
    seen: float = param(0.006, "a seed farther than this from every point is hidden [m]", range=(1e-4, 0.1))
    noise: float = param(0.0, "largest size of the depth sensor's errors; each view gets its own", range=(0.0, 2.0))
    dense: float = param(0.5, "share of samples from dense scenes, not random or loose ones", range=(0, 1))
    turned: bool = param(True, "turn each view about the camera's axis by any angle")


class ViewSample(NamedTuple):
    """One view, camera frame (turned about the camera's axis).

    Attributes:
        points: (P, 3) float32 [m].
        is_object: (P,) bool.
        graspness: (P,) float32, ln(0.001 + votes).
        seeds: (G,) int64, the point that each grasp belongs to.
        rotation: (G, 3, 3) float32, of the palm.
        position: (G, 3) float32, of the palm [m].
        joints: (G, D) float32 [rad or m].
        kind: (G,) int64, 0 for power and 1 for precision grasps.
    """

    points: NDArray[np.float32]
    is_object: NDArray[np.bool_]
    graspness: NDArray[np.float32]
    seeds: NDArray[np.int64]
    rotation: NDArray[np.float32]
    position: NDArray[np.float32]
    joints: NDArray[np.float32]
    kind: NDArray[np.int64]


class _Grasps(NamedTuple):
    """Grasps of one object that have a seed; `rows` says which of all they are."""

    rows: NDArray[np.int64]
    seed: NDArray[np.float32]
    object_T_palm: NDArray[np.float32]
    joints: NDArray[np.float32]
    kind: NDArray[np.int64]


class _Scene(NamedTuple):
    record: SceneRecord
    views: SceneViews
    clear: list[NDArray[np.int64]]
    """Of each object, indices into its `_Grasps`."""


class ViewSamples:
    """Samples of one split of a dataset; implements a PyTorch dataset that is indexed by any number.

    Args:
        dataset: With views and labels.
        hand: Whose grasps.
        split: Which scenes.
        seed: Of all samples.
        config: None: the defaults.

    Raises:
        DatasetError: There is nothing to learn from.
    """

    def __init__(
        self, dataset: Dataset, hand: str, split: Split, seed: int, config: SampleConfig | None = None
    ) -> None:
        self.dataset, self._hand, self._split, self._seed = dataset, hand, split, seed
        self.config = config or SampleConfig()
        self._scenes: dict[str, list[_Scene]] = {"dense": [], "others": []}
        records = [
            (record, load_clear_grasps(dataset.clear_grasps_path(record.name, hand)))
            for record in map(dataset.scene, dataset.scenes())
            if record.split == split and dataset.labels_path(record.name, hand).is_file()
        ]
        used: dict[str, list[NDArray[np.uint32]]] = {}
        for record, clear in records:
            for object_, rows in zip(record.objects, clear, strict=True):
                used.setdefault(object_, []).append(rows)
        grasps = {
            object_: _with_seeds(dataset, hand, object_, np.unique(np.concatenate(rows)))
            for object_, rows in used.items()
        }
        for record, clear in records:
            ours = [
                np.flatnonzero(np.isin(grasps[object_].rows, rows))
                for object_, rows in zip(record.objects, clear, strict=True)
            ]
            scene = _Scene(record, SceneViews.load(dataset.views_path(record.name)), ours)
            self._scenes["dense" if record.kind == KINDS[0] else "others"].append(scene)
        self._grasps = grasps
        if not len(self):
            raise DatasetError(
                f"{dataset.root} has no labelled scenes of {split} objects; run: dexgrasp-train make {dataset.root}"
            )

    def __len__(self) -> int:
        """How many different views there are; samples may have any number."""
        return sum(len(scene.views.numbers) for scenes in self._scenes.values() for scene in scenes)

    def facts(self) -> dict[str, int]:
        """How many scenes, views, objects and grasps there are to learn from."""
        scenes = [scene for group in self._scenes.values() for scene in group]
        used: dict[str, list[NDArray[np.int64]]] = {}
        for scene in scenes:
            for name, rows in zip(scene.record.objects, scene.clear, strict=True):
                used.setdefault(name, []).append(rows)
        grasps = sum(len(np.unique(np.concatenate(rows))) for rows in used.values())
        return {"scenes": len(scenes), "views": len(self), "objects": len(used), "grasps": grasps}

    def __getitem__(self, number: int) -> ViewSample:
        """The sample of that number.

        Raises:
            DatasetError: An image is damaged, or hardly any view shows an object that can be grasped.
        """
        rng = np.random.default_rng(seed_of(self._seed, "sample", self._split, number))
        for _ in range(_VIEWS_TRIED):
            dense, others = self._scenes["dense"], self._scenes["others"]
            use_dense = bool(dense) and (not others or rng.random() < self.config.dense)
            scenes = dense if use_dense else others
            scene = scenes[rng.integers(len(scenes))]
            sample = self._sample(scene, int(rng.integers(len(scene.views.numbers))), rng)
            if sample is not None:
                return sample
        raise DatasetError(
            f"In {_VIEWS_TRIED} views of {self.dataset.root} no grasp's seed was seen; are there enough clear grasps?"
        )

    def _sample(self, scene: _Scene, index: int, rng: np.random.Generator) -> ViewSample | None:
        """A sample of one view; None where it shows no seed of a grasp."""
        config = self.config
        number = int(scene.views.numbers[index])
        world_T_camera = scene.views.world_T_camera[index]
        units, ids = scene.views.read(number)
        labels = read_array(self.dataset.labels_path(scene.record.name, self._hand), str(number))
        scores = np.full(ids.shape, np.log(FLOOR), dtype=np.float32)
        scores[ids > 0] = labels
        depth = units.astype(np.float32) * np.float32(UNIT)
        if config.noise > 0.0:
            share = rng.integers(1, _NOISE_LEVELS + 1) / _NOISE_LEVELS
            depth = _sensor(depth.shape, share * config.noise).apply(depth, rng)
        cloud = deproject(depth, scene.views.intrinsics)
        if not (np.isfinite(cloud[..., 2]) & (ids > 0)).any():
            return None
        inside = workspace_mask(cloud, world_T_camera, *object_box(cloud, ids, world_T_camera))
        pixels = np.flatnonzero(inside)
        pixels = rng.choice(pixels, config.points)
        points = cloud.reshape(-1, 3)[pixels].astype(np.float32)
        found = self._seen_grasps(scene, world_T_camera, points, rng)
        if found is None:
            return None
        seeds, camera_T_palm, joints, kind = found
        if config.turned:
            turn = Rotation.from_rotvec([0.0, 0.0, rng.uniform(0.0, 2.0 * np.pi)]).as_matrix().astype(np.float32)
            points = points @ turn.T
            camera_T_palm = np.concatenate([turn @ camera_T_palm[:, :3], camera_T_palm[:, 3:]], axis=1)
        return ViewSample(
            points,
            (ids > 0).ravel()[pixels],
            scores.ravel()[pixels],
            seeds,
            np.ascontiguousarray(camera_T_palm[:, :3, :3]),
            np.ascontiguousarray(camera_T_palm[:, :3, 3]),
            joints,
            kind,
        )

    def _seen_grasps(
        self, scene: _Scene, world_T_camera: NDArray[np.float64], points: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]] | None:
        """Grasps whose seeds are seen, an object as often as any other: their points, palms, joints and kinds."""
        config = self.config
        able = [index for index, rows in enumerate(scene.clear) if len(rows)]
        if not able:
            return None
        owners = rng.choice(able, config.draws)
        which = rng.integers(np.array([len(rows) for rows in scene.clear])[owners])
        camera_T_world = invert(world_T_camera)
        parts = []
        for owner in np.unique(owners):
            own, chosen = self._grasps[scene.record.objects[owner]], scene.clear[owner][which[owners == owner]]
            camera_T_object = (camera_T_world @ scene.record.world_T_object[owner]).astype(np.float32)
            seed = apply(camera_T_object, own.seed[chosen])
            parts.append((seed, camera_T_object @ own.object_T_palm[chosen], own.joints[chosen], own.kind[chosen]))
        seed, palms, joints, kind = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        distance, nearest = _tree(points).query(seed, distance_upper_bound=config.seen)
        seen = np.flatnonzero(np.isfinite(distance))
        if not len(seen):
            return None
        kept = rng.choice(seen, config.grasps)
        return nearest[kept].astype(np.int64), palms[kept], joints[kept], kind[kept]


def _tree(points: NDArray[np.float32]) -> cKDTree:
    return cKDTree(points, leafsize=64, balanced_tree=False, compact_nodes=False)  # built in half of the time


@lru_cache(maxsize=_NOISE_LEVELS)
def _sensor(shape: tuple[int, int], scale: float) -> DepthNoise:
    return DepthNoise(shape, scale=scale)


def _with_seeds(dataset: Dataset, hand: str, name: str, rows: NDArray[np.uint32]) -> _Grasps:
    """Those of these grasps of an object that have a seed."""
    grasps = dataset.grasps(hand, name)[rows]
    config = VARIANTS["paper"]
    points = dataset.asset(name).surface(config.surface_points)[0]
    seeds = seed_points(load_hand(hand), grasps, points, config)
    own = np.flatnonzero(seeds != NO_SEED)
    power = np.isin(np.array(grasps.methods)[grasps.method[own]], _POWER)
    return _Grasps(
        rows[own].astype(np.int64),
        points[seeds[own]].astype(np.float32),
        grasps.object_T_palm[own].astype(np.float32),
        grasps.grasp[own].astype(np.float32),
        np.where(power, 0, 1).astype(np.int64),
    )
