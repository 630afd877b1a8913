"""Grasps from a trained network: seeds where graspness is high, a grasp at each; the best are ranked and refined."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from dexgrasp_common.parameters import param
from dexgrasp_common.transforms import apply, invert
from numpy.typing import NDArray

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_planner.checkpoints import Checkpoint, CheckpointError
from dexgrasp_planner.finishing import CLOSED, FINISHES, REFINED, SAMPLED, FinishConfig, Finished, Finishing
from dexgrasp_planner.generators import (
    CHECKPOINT,
    Generation,
    GeneratorUnavailableError,
    InvalidGenerateGoalError,
    NoGraspsError,
    SceneCloud,
    Stage,
    _never_cancelled,
    _no_progress,
    checkpoint_folder,
)
from dexgrasp_planner.network.folded import FoldedResUNet14, VoxelOutputs
from dexgrasp_planner.network.grasp_heads import TRANSLATION_UNIT, Proposed
from dexgrasp_planner.network.grasp_network import GraspNetwork, VoxelScores
from dexgrasp_planner.network.voxels import Voxels, voxelize
from dexgrasp_planner.postures import PostureRules
from dexgrasp_planner.scene_field import Cluster, FieldConfig, SceneField, segment
from dexgrasp_planner.selection import farthest_points
from dexgrasp_planner.stage_watch import StageWatch
from dexgrasp_planner.success import SuccessModel

# What grasps are ranked by (DexGraspNet 2.0, Table 6): log-likelihood plus weighted graspness, either alone, or chance.
BOTH, GRASPNESS, LOG_LIKELIHOOD, RANDOM = "both", "graspness", "log_likelihood", "random"
# Or, which the paper does not have, by the chance of a lift that the checkpoint's success model tells.
SUCCESS = "success"
RANKINGS = (BOTH, GRASPNESS, LOG_LIKELIHOOD, RANDOM, SUCCESS)


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
    ranking: str = param(
        "", "what the score is: one of `RANKINGS`; empty: `success` if the checkpoint can tell it, or else `both`"
    )
    graspness_weight: float = param(10.0, "of graspness against log-likelihood in `both`", range=(0.0, 1000.0))
    finish: str = param(REFINED, "what is done to grasps before they are offered: one of `FINISHES`")
    finishing: FinishConfig = field(default_factory=FinishConfig)
    completion: FieldConfig = field(default_factory=FieldConfig)


def with_checkpoint(hand: HandModel) -> LearnedGenerator:
    """The generator with the checkpoint that is used for a hand: see `generators.checkpoint_folder`.

    Raises:
        GeneratorUnavailableError: There is none, or it is damaged or for another hand.
    """
    folder = checkpoint_folder(hand.name)
    if not folder.is_dir():
        raise GeneratorUnavailableError(
            f"There is no checkpoint for {hand.name}: {folder} is no folder. Train one (dexgrasp-train fit) and set "
            f"{CHECKPOINT} to its folder, or choose the generator `heuristic`."
        )
    try:
        checkpoint = Checkpoint.load(folder)
        return LearnedGenerator(hand, checkpoint.make(hand), success=checkpoint.success_model())
    except CheckpointError as error:
        raise GeneratorUnavailableError(str(error)) from error


class Sampled:
    """All N grasps that were sampled in one scene, in the order of their seeds; `LearnedGenerator.rank` chooses.

    Attributes:
        grasps: In world; their `score` is that of `both`.
        drawn: How many were sampled: N, and those that are no numbers.
        space: What the camera saw, completed.
        executable: Those that can be executed, by finish, as far as somebody asked: several rankings share them.
    """

    def __init__(self, grasps: GraspSet, drawn: int, space: SceneField, chance: NDArray[np.float64]) -> None:
        self.grasps, self.drawn, self.space = grasps, drawn, space
        self.executable: dict[str, Finished] = {}
        self._chance = chance

    def score(self, ranking: str) -> NDArray[np.float64]:
        """What the network thinks of each grasp (N,) by one of `RANKINGS` but `success`; higher is better."""
        return {
            BOTH: self.grasps.score,
            GRASPNESS: self.grasps.graspness,
            LOG_LIKELIHOOD: self.grasps.log_likelihood,
            RANDOM: self._chance,
        }[ranking]


class LearnedGenerator:
    """See the module. Implements `GraspGenerator`.

    Args:
        hand: The hand that the network was trained for.
        network: In evaluation mode; later changes of it have no effect on the backbone.
        config: None: the defaults.
        success: Tells the chance of a lift; None: there is no ranking by it.

    Raises:
        InvalidGenerateGoalError: There is no such ranking or finish, or nothing tells the chance of a lift.
    """

    def __init__(
        self,
        hand: HandModel,
        network: GraspNetwork,
        config: LearnedConfig | None = None,
        success: SuccessModel | None = None,
    ) -> None:
        self._hand, self._network = hand, network
        self._config = config = config or LearnedConfig()
        self.finishing = Finishing(hand, config.finishing, success)
        self._meant("", "")
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self._backbone = FoldedResUNet14(network.backbone, network.graspable, dtype)
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
        watch = StageWatch(progress, cancelled)
        sampled = self._sampled(scene, seed, watch, self._config.sampler)
        ranking, finish = self._meant("", "")
        watch.enter(Stage.FILTER)
        self.executable(sampled, finish)
        watch.enter(Stage.RANK)
        best = self.rank(sampled, max_grasps, ranking, finish)
        watch.finish()
        return Generation(best, sampled.drawn, watch.milliseconds)

    def sample(self, scene: SceneCloud, seed: int, sampler: str = "") -> Sampled:
        """All grasps, neither filtered nor ranked. The same scene and seed give the same seeds and the same noise.

        Args:
            scene: What the camera sees.
            seed: Of every random choice.
            sampler: Name in `FLOW_PRESETS`; empty: the configured one.

        Raises:
            GenerateError: Bad cloud, or nothing to grasp.
        """
        return self._sampled(scene, seed, StageWatch(_no_progress, _never_cancelled), sampler or self._config.sampler)

    def executable(self, sampled: Sampled, finish: str = "") -> Finished:
        """Those of the sampled grasps that can be executed.

        Args:
            sampled: From `sample`.
            finish: One of `FINISHES`; empty: the configured one.

        Raises:
            NoGraspsError: None can.
        """
        finish = finish or self._config.finish
        key = SAMPLED if finish == SAMPLED else CLOSED  # what is refined is closed before
        if key not in sampled.executable:
            sampled.executable[key] = self.finishing.executable(sampled.space, sampled.grasps, key)
        if not len(sampled.executable[key].rows):
            raise NoGraspsError(
                f"None of the {sampled.drawn} sampled grasps is clear of the support and of neighbours"
                + (" and holds something." if key == CLOSED else ".")
            )
        return sampled.executable[key]

    def rank(self, sampled: Sampled, max_grasps: int, ranking: str = "", finish: str = "") -> GraspSet:
        """The best of the sampled grasps that can be executed and are apart, as `generate` gives them.

        Args:
            sampled: From `sample`; the same may be ranked several times.
            max_grasps: At most this many.
            ranking: One of `RANKINGS`; empty: the configured one.
            finish: One of `FINISHES`; empty: the configured one.

        Raises:
            NoGraspsError: None can be executed.
            InvalidGenerateGoalError: There is no such ranking or finish, or nothing tells the chance of a lift.
        """
        ranking, finish = self._meant(ranking, finish)
        rows, found = self.executable(sampled, finish)
        judged = ranking == SUCCESS
        found = found if judged else replace(found, score=sampled.score(ranking)[rows])
        return self.finishing.chosen(sampled.space, found, finish, max_grasps, judged=judged)

    def graspness(self, scene: SceneCloud, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Middles of the voxels that the network sees (V, 3) [m], world, and their predicted graspness (V,).

        Raises:
            GenerateError: Bad cloud, or nothing to grasp.
        """
        world_p = scene.world_points()
        _, clusters = segment(world_p, self._config.completion, scene.area)
        voxels, _ = self._seen(world_p, clusters, scene.world_T_camera, np.random.default_rng(seed))
        values = VoxelScores.of(self._backbone(voxels).scores).masked()
        centres = apply(scene.world_T_camera, voxels.centres().double().numpy())
        return centres.astype(np.float64), values.double().numpy()

    def _sampled(self, scene: SceneCloud, seed: int, watch: StageWatch, sampler: str) -> Sampled:
        config, rng = self._config, np.random.default_rng(seed)
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
        proposed = self._network.head.propose(self._condition(outputs, voxels, seeds), generator, sampler)
        watch.check()
        found = self._grasps(proposed, graspness[seeds], voxels.centres()[seeds], scene.world_T_camera)
        return Sampled(found, len(seeds), space, rng.random(len(found)))

    def _condition(self, outputs: VoxelOutputs, voxels: Voxels, seeds: torch.Tensor) -> torch.Tensor:
        """What the head is to see of the seeds (K, F)."""
        if self._network.config.conditioning == "local":
            return outputs.features(seeds)  # those of the other voxels are never made
        return self._network.condition(outputs.features(torch.arange(len(voxels))), voxels, seeds)

    def _meant(self, ranking: str, finish: str) -> tuple[str, str]:
        """The ranking and finish that are meant."""
        ranking = ranking or self._config.ranking or (BOTH if self.finishing.success is None else SUCCESS)
        finish = finish or self._config.finish
        if ranking not in RANKINGS:
            raise InvalidGenerateGoalError(f"There is no ranking {ranking!r}. Rankings: {', '.join(RANKINGS)}.")
        if finish not in FINISHES:
            raise InvalidGenerateGoalError(f"There is no finish {finish!r}. Finishes: {', '.join(FINISHES)}.")
        if ranking == SUCCESS and self.finishing.success is None:
            raise InvalidGenerateGoalError(
                "This checkpoint cannot tell the chance of a lift; let it learn: dexgrasp-train score."
            )
        return ranking, finish

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
        cells, at = (
            np.floor((points - lower) / config.completion.voxel).astype(np.int64) for points in (things, first)
        )
        shape = np.maximum(cells.max(axis=0), at.max(axis=0)) + 1
        flat, flat_at = (np.ravel_multi_index(tuple(rows.T), tuple(shape)) for rows in (cells, at))
        return voxels, torch.as_tensor(np.isin(flat_at, flat))

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
            squeeze=joints,  # those that can be executed get one
            score=likelihood[whole] + self._config.graspness_weight * told,
            log_likelihood=likelihood[whole],
            graspness=told,
            seed_point=apply(world_T_camera, seed.double().numpy()[whole]).astype(np.float64),
        )
