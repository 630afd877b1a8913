"""Grasps from a trained network: seeds where graspness is high, a grasp at each, ranked by likelihood and graspness."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from dexgrasp_common.parameters import param
from dexgrasp_common.transforms import apply, invert
from numpy.typing import NDArray

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_planner.checkpoints import Checkpoint, CheckpointError
from dexgrasp_planner.generators import (
    Generation,
    GeneratorUnavailableError,
    InvalidGenerateGoalError,
    NoGraspsError,
    SceneCloud,
    Stage,
    _never_cancelled,
    _no_progress,
)
from dexgrasp_planner.hand_clearance import ClearanceConfig, HandClearance
from dexgrasp_planner.network.folded import FoldedResUNet14
from dexgrasp_planner.network.grasp_heads import TRANSLATION_UNIT, Proposed
from dexgrasp_planner.network.grasp_network import GraspNetwork, VoxelScores
from dexgrasp_planner.network.voxels import Voxels, voxelize
from dexgrasp_planner.postures import PostureRules
from dexgrasp_planner.ranking import distinct
from dexgrasp_planner.scene_field import Cluster, FieldConfig, SceneField, segment
from dexgrasp_planner.stage_watch import StageWatch

CHECKPOINT = "DEXGRASP_CHECKPOINT"  # environment variable: folder of the checkpoint


@dataclass(frozen=True)
class LearnedConfig:
    """Sizes of the search (DexGraspNet 2.0, Secs. 4.1 and 4.2; the authors' code where they differ is named)."""

    points: int = param(40_000, "points that the network sees, drawn with repetition", range=(1, 1_000_000))
    margin: float = param(0.02, "room around the objects that it sees [m]", range=(0.0, 0.2))
    seeds: int = param(1024, "grasps that are sampled", range=(1, 65536))
    least_graspness: float = param(
        math.log(0.01), "seeds have more; the paper takes the best 1 percent, its code this", range=(-10.0, 10.0)
    )
    best: float = param(0.01, "share of the voxels taken as seeds where none has as much", range=(0.0, 1.0))
    sampler: str = param("fast", "`fast` (20 evaluations) or `paper` (200)")
    precision: str = param("fp32", "of the backbone: `fp32` or `bf16`")
    graspness_weight: float = param(10.0, "of graspness against log-likelihood in the score", range=(0.0, 1000.0))
    filtered: int = param(400, "best grasps that the collision filter looks at", range=(1, 65536))
    apart: float = param(0.02, "two grasps nearer than this are one, see `ranking.distinct` [m]", range=(0.0, 1.0))
    completion: FieldConfig = field(default_factory=FieldConfig)
    clearance: ClearanceConfig = field(default_factory=ClearanceConfig)


def from_environment(hand: HandModel) -> LearnedGenerator:
    """The generator with the checkpoint whose folder `DEXGRASP_CHECKPOINT` names.

    Raises:
        GeneratorUnavailableError: There is none, or it is damaged or for another hand.
    """
    try:
        return LearnedGenerator(hand, Checkpoint.load(Path(os.environ.get(CHECKPOINT, ""))).make(hand))
    except CheckpointError as error:
        raise GeneratorUnavailableError(str(error)) from error


class LearnedGenerator:
    """See the module. Implements `GraspGenerator`.

    Args:
        hand: The hand that the network was trained for.
        network: In evaluation mode; later changes of it have no effect on the backbone.
        config: None: the defaults.
    """

    def __init__(self, hand: HandModel, network: GraspNetwork, config: LearnedConfig | None = None) -> None:
        self._hand, self._network = hand, network
        self._config = config = config or LearnedConfig()
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self._backbone = FoldedResUNet14(network.backbone, network.graspable, dtype)
        self._clearance = HandClearance(hand, config.clearance)
        self._rules = PostureRules(hand)

    def generate(
        self,
        scene: SceneCloud,
        max_grasps: int,
        seed: int,
        progress: Callable[[Stage], None] = _no_progress,
        cancelled: Callable[[], bool] = _never_cancelled,
    ) -> Generation:
        """See `GraspGenerator.generate`."""
        if max_grasps < 1:
            raise InvalidGenerateGoalError(f"max_grasps must be at least 1; got {max_grasps}.")
        config, rng = self._config, np.random.default_rng(seed)
        watch = StageWatch(progress, cancelled)
        watch.enter(Stage.PREPARE)
        world_p = scene.world_points()
        thinned, clusters = segment(world_p, config.completion, scene.area)
        space = SceneField(thinned, clusters, config.completion)
        voxels, targets = self._seen(world_p, clusters, scene.world_T_camera, rng)
        watch.enter(Stage.GENERATE)
        outputs = self._backbone(voxels)
        graspness = VoxelScores.of(outputs.scores).masked()
        seeds = self._seeds(graspness, voxels, targets, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        proposed = self._network.head.propose(outputs.features(seeds), generator, config.sampler)
        watch.check()
        found = self._grasps(proposed, graspness[seeds], voxels.centres()[seeds], scene.world_T_camera)
        watch.enter(Stage.FILTER)
        found = found[np.argsort(-found.score, kind="stable")[: config.filtered]]
        if len(found):
            found = found[self._clearance.approach_is_clear(space, found.world_T_palm, found.pregrasp, found.grasp)]
        if not len(found):
            raise NoGraspsError(f"None of the {len(seeds)} sampled grasps is clear of the support and of neighbours.")
        watch.enter(Stage.RANK)
        best = found[distinct(found.world_T_palm, found.score, max_grasps, config.apart)]
        watch.finish()
        return Generation(best, len(seeds), watch.milliseconds)

    def _seen(
        self,
        world_p: NDArray[np.float32],
        clusters: list[Cluster],
        world_T_camera: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[Voxels, torch.Tensor]:
        """What the network is shown, camera frame, and which voxels (V,) belong to objects that may be grasped."""
        config = self._config
        things = np.concatenate([cluster.points for cluster in clusters if cluster.is_target])
        lower, upper = things.min(axis=0) - config.margin, things.max(axis=0) + config.margin
        near = world_p[((world_p > lower) & (world_p < upper)).all(axis=1)]
        drawn = near[rng.integers(len(near), size=config.points)]
        voxels = voxelize(torch.as_tensor(apply(invert(world_T_camera), drawn)), self._network.config.voxel_size)
        first = drawn[voxels.first_point.numpy()]
        cells = {tuple(cell) for cell in np.floor(things / config.completion.voxel).astype(int).tolist()}
        at = np.floor(first / config.completion.voxel).astype(int).tolist()
        return voxels, torch.tensor([tuple(cell) in cells for cell in at])

    def _seeds(
        self, graspness: torch.Tensor, voxels: Voxels, targets: torch.Tensor, rng: np.random.Generator
    ) -> torch.Tensor:
        """Rows (K,) of the seeds' voxels: far from each other where there are many, repeated where there are few."""
        config = self._config
        rows = torch.nonzero(targets & torch.isfinite(graspness))[:, 0].numpy()
        if not len(rows):
            raise NoGraspsError("No voxel of an object has a score: the checkpoint gives numbers that are not finite.")
        values = graspness[rows].numpy()
        good = rows[values > config.least_graspness]
        if not len(good):
            good = rows[np.argsort(-values, kind="stable")[: max(1, round(config.best * len(voxels)))]]
        if len(good) > config.seeds:
            centres = voxels.centres()[good].numpy()
            return torch.as_tensor(good[farthest_points(centres, config.seeds, int(rng.integers(len(good))))])
        return torch.as_tensor(good[rng.integers(len(good), size=config.seeds)])

    def _grasps(
        self,
        proposed: Proposed,
        graspness: torch.Tensor,
        seed: torch.Tensor,
        world_T_camera: NDArray[np.float64],
    ) -> GraspSet:
        """Those of the proposed grasps that are numbers, in world, joints within their limits."""
        grasps, hand = proposed.grasps, self._hand
        likelihood = proposed.log_likelihood.double().numpy()
        camera_T_palm = np.tile(np.eye(4), (len(likelihood), 1, 1))
        camera_T_palm[:, :3, :3] = grasps.rotation.double().numpy()
        camera_T_palm[:, :3, 3] = (seed + TRANSLATION_UNIT * grasps.translation).double().numpy()
        joints = grasps.joints.double().numpy()
        whole = np.isfinite(camera_T_palm).all(axis=(1, 2)) & np.isfinite(joints).all(axis=1) & np.isfinite(likelihood)
        joints = np.clip(joints[whole], hand.lower, hand.upper)
        told = graspness.double().numpy()[whole]
        return GraspSet(
            hand=hand.name,
            world_T_palm=world_T_camera @ camera_T_palm[whole],
            pregrasp=self._rules.opened(joints),
            grasp=joints,
            squeeze=self._rules.squeezed(joints),
            score=likelihood[whole] + self._config.graspness_weight * told,
            log_likelihood=likelihood[whole],
            graspness=told,
            seed_point=apply(world_T_camera, seed.double().numpy()[whole]).astype(np.float64),
        )


def farthest_points(points: NDArray[np.floating], count: int, first: int) -> NDArray[np.intp]:
    """Indices of `count` of the points (N, 3), N >= count, each as far as can be from those before it."""
    chosen = np.empty(count, dtype=np.intp)
    nearest = np.full(len(points), np.inf)
    at = first
    for index in range(count):
        chosen[index] = at
        np.minimum(nearest, ((points - points[at]) ** 2).sum(axis=1), out=nearest)
        at = int(nearest.argmax())
    return chosen
