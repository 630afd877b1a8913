"""Grasps from a trained network: seeds where graspness is high, a grasp at each; the best are ranked and refined."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from dexgrasp_common.parameters import param
from dexgrasp_common.transforms import apply, invert
from numpy.typing import NDArray
from torch import Tensor

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_planner.checkpoints import Checkpoint, CheckpointError
from dexgrasp_planner.finishing import CLOSED, FINISHES, SAMPLED, FinishConfig, Finished, Finishing, Plan
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
from dexgrasp_planner.guidance import GUIDANCES, REFINE, SAMPLER, TWICE, Guide, GuideConfig, palms
from dexgrasp_planner.heuristic import HeuristicConfig, HeuristicGenerator
from dexgrasp_planner.network.diffusion_head import DiffusionHead
from dexgrasp_planner.network.folded import FoldedResUNet14, VoxelOutputs
from dexgrasp_planner.network.grasp_heads import GraspHead, Grasps, Proposed
from dexgrasp_planner.network.grasp_network import GraspNetwork, VoxelScores
from dexgrasp_planner.network.voxels import Voxels, voxelize
from dexgrasp_planner.postures import PostureRules
from dexgrasp_planner.scene_field import Cluster, FieldConfig, SceneField, segment
from dexgrasp_planner.selection import farthest_points
from dexgrasp_planner.stage_watch import StageWatch, watched
from dexgrasp_planner.success import SuccessModel

# What grasps are ranked by (DexGraspNet 2.0, Table 6): log-likelihood plus weighted graspness, either alone, or chance.
BOTH, GRASPNESS, LOG_LIKELIHOOD, RANDOM = "both", "graspness", "log_likelihood", "random"
# Or, which the paper does not have, by the chance of a lift that the checkpoint's success model tells; `mixed` lets the
# grasps of a geometric search compete with those that were sampled.
SUCCESS, MIXED = JUDGED = ("success", "mixed")
RANKINGS = (BOTH, GRASPNESS, LOG_LIKELIHOOD, RANDOM, *JUDGED)


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
    device: str = param("", "where the network runs: `cpu` or `cuda`; empty: on a GPU, if there is one")
    ranking: str = param(
        "",
        "what the score is: one of `RANKINGS`; empty: `success` if the checkpoint can tell it, or else `both`",
    )
    geometric: int = param(64, "grasps of the geometric search that compete in `mixed`", range=(1, 65536))
    graspness_weight: float = param(10.0, "of graspness against log-likelihood in `both`", range=(0.0, 1000.0))
    finish: str = param(CLOSED, "what the hand does at a grasp: one of `FINISHES`")
    guidance: str = param(REFINE, "when physics moves the best grasps: one of `GUIDANCES`")
    guide: GuideConfig = field(default_factory=GuideConfig)
    finishing: FinishConfig = field(default_factory=FinishConfig)
    completion: FieldConfig = field(default_factory=FieldConfig)


def with_checkpoint(hand: HandModel, guidance: str = "", finish: str = "") -> LearnedGenerator:
    """The generator with the checkpoint that is used for a hand: see `generators.checkpoint_folder`.

    Args:
        hand: The hand.
        guidance: One of `GUIDANCES`; empty: the default.
        finish: One of `FINISHES`; empty: the default.

    Raises:
        InvalidGenerateGoalError: There is no such guidance or finish, or not for this checkpoint.
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
        usual = LearnedConfig()
        config = replace(usual, guidance=guidance or usual.guidance, finish=finish or usual.finish)
        return LearnedGenerator(hand, checkpoint.make(hand), config, checkpoint.success_model())
    except CheckpointError as error:
        raise GeneratorUnavailableError(str(error)) from error


class Origin(NamedTuple):
    """What N grasps were sampled from, so that it can be done again.

    Attributes:
        feature: (N, F), that the head saw.
        seed: (N, 3) [m], camera frame.
        graspness: (N,).
        proposed: What the head gave.
        sampler: How.
        world_T_camera: (4, 4).
    """

    feature: Tensor
    seed: Tensor
    graspness: Tensor
    proposed: Proposed
    sampler: str
    world_T_camera: NDArray[np.float64]


class Sampled:
    """All N grasps that were sampled in one scene, in the order of their seeds; `LearnedGenerator.rank` chooses.

    Attributes:
        grasps: In world; their `score` is that of `both`.
        drawn: How many were sampled: N, and those that are no numbers.
        space: What the camera saw, completed.
        origin: What they came from; None: nobody will ask for it.
        executable: Those that can be executed, by finish, as far as somebody asked: several rankings share them.
        geometric: What a geometric search found in the same scene, once somebody asked.
    """

    def __init__(
        self,
        grasps: GraspSet,
        drawn: int,
        space: SceneField,
        chance: NDArray[np.float64],
        origin: Origin | None = None,
    ) -> None:
        self.grasps, self.drawn, self.space, self.origin = grasps, drawn, space, origin
        self.executable: dict[str, Finished] = {}
        self.geometric: GraspSet | None = None
        self._chance = chance

    def score(self, ranking: str) -> NDArray[np.float64]:
        """What the network thinks of each grasp (N,) by one of `RANKINGS` that are not `JUDGED`; higher is better."""
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
        InvalidGenerateGoalError: There is no such ranking, finish or guidance, or not for this checkpoint.
        GeneratorUnavailableError: The network is to run on a GPU, and there is none.
    """

    def __init__(
        self,
        hand: HandModel,
        network: GraspNetwork,
        config: LearnedConfig | None = None,
        success: SuccessModel | None = None,
    ) -> None:
        self._config = config = config or LearnedConfig()
        if config.device == "cuda" and not torch.cuda.is_available():
            raise GeneratorUnavailableError("There is no CUDA device here; leave `device` empty, or set it to `cpu`.")
        self._device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        # Guidance looks at NumPy fields, so heads that it steers stay on the CPU.
        self._hand, self._network = hand, network
        self._head: GraspHead = network.head
        if self._device.type == "cuda":
            self._head = copy.deepcopy(network.head).to(self._device)  # type: ignore[attr-defined]
        self.finishing = Finishing(hand, config.finishing, success)
        self._guide = Guide(hand, config.guide)
        try:
            self._search: HeuristicGenerator | None = HeuristicGenerator(
                hand, HeuristicConfig(completion=config.completion)
            )
        except GeneratorUnavailableError:  # there are no preshapes of this hand
            self._search = None
        self._meant("", "", "")
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self._backbone = FoldedResUNet14(network.backbone, network.graspable, dtype, self._device)
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
        watch = watched(max_grasps, progress, cancelled)
        sampled = self._sampled(scene, seed, watch, self._config.sampler)
        watch.enter(Stage.FILTER)
        self._candidates(sampled, *self._meant("", "", ""))
        watch.enter(Stage.RANK)
        best = self.rank(sampled, max_grasps)
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
        key = SAMPLED if finish == SAMPLED else CLOSED  # what presses is closed before
        if key not in sampled.executable:
            sampled.executable[key] = self.finishing.executable(sampled.space, sampled.grasps, key)
        if not len(sampled.executable[key].rows):
            raise NoGraspsError(
                f"None of the {sampled.drawn} sampled grasps is clear of the support and of neighbours"
                + (" and holds something." if key == CLOSED else ".")
            )
        return sampled.executable[key]

    def rank(
        self, sampled: Sampled, max_grasps: int, ranking: str = "", finish: str = "", guidance: str = ""
    ) -> GraspSet:
        """The best of the sampled grasps that can be executed and are apart, as `generate` gives them.

        Where physics moved a grasp, its log-likelihood and graspness are those of the sample that it came from: what
        the flow tells of a guided sample is the likelihood of no distribution.

        Args:
            sampled: From `sample`; the same may be ranked several times.
            max_grasps: At most this many.
            ranking: One of `RANKINGS`; empty: the configured one.
            finish: One of `FINISHES`; empty: the configured one.
            guidance: One of `GUIDANCES`; empty: the configured one.

        Raises:
            NoGraspsError: None can be executed.
            InvalidGenerateGoalError: There is no such ranking, finish or guidance, or not for this checkpoint.
        """
        ranking, plan = self._meant(ranking, finish, guidance)
        rows, found = self._candidates(sampled, ranking, plan)
        own = len(rows)

        def sampled_again(best: NDArray[np.intp]) -> Finished:
            among = np.flatnonzero(best < own)
            again, grasps = self.sampled_again(sampled, rows[best[among]])
            return Finished(among[again], grasps)

        return self.finishing.chosen(sampled.space, found, plan, max_grasps, sampled_again)

    @property
    def searches(self) -> bool:
        """Whether there is a geometric search for this hand."""
        return self._search is not None

    def geometric(self, sampled: Sampled) -> GraspSet:
        """What a geometric search finds in the same scene, best first by its own score; none if it finds nothing."""
        if sampled.geometric is None:
            assert self._search is not None  # as `_meant` saw to
            try:
                rng = np.random.default_rng(0)  # the same in the same scene
                sampled.geometric = self._search.grasps(sampled.space, self._config.geometric, rng)
            except NoGraspsError:
                sampled.geometric = GraspSet.empty(self._hand.name, len(self._hand.joint_names))
        return sampled.geometric

    def _candidates(self, sampled: Sampled, ranking: str, plan: Plan) -> Finished:
        """Grasps that can be executed: those that were sampled, with their rows; in `mixed` others behind them.

        Where none of the sampled ones can be, and something judges them, they are those of the geometric search.
        """
        others = self.geometric(sampled) if ranking == MIXED else None
        try:
            rows, found = self.executable(sampled, plan.finish)
        except NoGraspsError:
            if others is None and plan.judged and self.searches:
                others = self.geometric(sampled)
            if others is None or not len(others):
                raise
            return Finished(np.zeros(0, dtype=np.intp), others)
        if not plan.judged:
            return Finished(rows, replace(found, score=sampled.score(ranking)[rows]))
        return Finished(rows, found if others is None else GraspSet.concatenate([found, others]))

    def sampled_again(self, sampled: Sampled, rows: NDArray[np.intp]) -> Finished:
        """What the sampler gives if physics guides it, from the same noise.

        Args:
            sampled: From `sample`.
            rows: (M,), which of the grasps are meant.

        Returns:
            The grasps that are numbers, neither filtered nor closed, and which of the M they are.
        """
        origin, at = sampled.origin, torch.as_tensor(rows)
        assert origin is not None
        assert origin.proposed.noise is not None  # as `_meant` saw to
        seed = origin.seed[at]
        target = sampled.space.owner(sampled.grasps.seed_point[rows])
        steer = self._guide.steering(sampled.space, origin.world_T_camera, seed, target)
        head = self._network.head
        assert isinstance(head, DiffusionHead)
        moved = head.steered(
            origin.feature[at], origin.proposed.grasps.kind[at], origin.proposed.noise[at], origin.sampler, steer
        )
        proposed = Proposed(moved, origin.proposed.log_likelihood[at])
        grasps, whole = self._grasps(proposed, origin.graspness[at], seed, origin.world_T_camera)
        return Finished(np.flatnonzero(whole), grasps)

    def graspness(self, scene: SceneCloud, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Middles of the voxels that the network sees (V, 3) [m], world, and their predicted graspness (V,).

        Raises:
            GenerateError: Bad cloud, or nothing to grasp.
        """
        world_p = scene.world_points()
        _, clusters = segment(world_p, self._config.completion, scene.area)
        voxels, _ = self._seen(world_p, clusters, scene.world_T_camera, np.random.default_rng(seed))
        values = VoxelScores.of(self._backbone(voxels).scores).masked().cpu()
        centres = apply(scene.world_T_camera, voxels.centres().double().cpu().numpy())
        return centres.astype(np.float64), values.double().numpy()

    def _sampled(self, scene: SceneCloud, seed: int, watch: StageWatch, sampler: str) -> Sampled:
        config, rng = self._config, np.random.default_rng(seed)
        watch.enter(Stage.PREPARE)
        world_p = scene.world_points()
        space = SceneField.seen_from(world_p, config.completion, scene.area)
        voxels, targets = self._seen(world_p, space.clusters, scene.world_T_camera, rng)
        watch.enter(Stage.GENERATE)
        outputs = self._backbone(voxels)
        graspness = VoxelScores.of(outputs.scores).masked().cpu()
        seeds = self._seeds(graspness, voxels, targets, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        at = seeds.to(self._device)
        feature, centre = self._condition(outputs, voxels, at), voxels.centres()[at].cpu()
        proposed = self._head.propose(feature, generator, sampler).cpu()
        watch.check()
        found, whole = self._grasps(proposed, graspness[seeds], centre, scene.world_T_camera)
        kept = torch.as_tensor(whole)
        known = Proposed(
            Grasps(*(part[kept] for part in proposed.grasps)),
            proposed.log_likelihood[kept],
            None if proposed.noise is None else proposed.noise[kept],
        )
        origin = Origin(feature.cpu()[kept], centre[kept], graspness[seeds][kept], known, sampler, scene.world_T_camera)
        return Sampled(found, len(seeds), space, rng.random(len(found)), origin)

    def _condition(self, outputs: VoxelOutputs, voxels: Voxels, seeds: Tensor) -> Tensor:
        """What the head is to see of the seeds (K, F)."""
        if self._network.config.conditioning == "local":
            return outputs.features(seeds)  # those of the other voxels are never made
        return self._network.condition(outputs.features(torch.arange(len(voxels), device=self._device)), voxels, seeds)

    def _meant(self, ranking: str, finish: str, guidance: str) -> tuple[str, Plan]:
        """The ranking that is meant, and what is to be done."""
        ranking = ranking or self._config.ranking or (BOTH if self.finishing.success is None else SUCCESS)
        plan = Plan(finish or self._config.finish, guidance or self._config.guidance, ranking in JUDGED)
        if ranking not in RANKINGS:
            raise InvalidGenerateGoalError(f"There is no ranking {ranking!r}. Rankings: {', '.join(RANKINGS)}.")
        if plan.finish not in FINISHES:
            raise InvalidGenerateGoalError(f"There is no finish {plan.finish!r}. Finishes: {', '.join(FINISHES)}.")
        if plan.guidance not in GUIDANCES:
            raise InvalidGenerateGoalError(
                f"There is no guidance {plan.guidance!r}. Guidances: {', '.join(GUIDANCES)}."
            )
        if plan.guidance in (SAMPLER, TWICE) and not isinstance(self._network.head, DiffusionHead):
            raise InvalidGenerateGoalError(
                f"Guidance {plan.guidance!r} is for checkpoints with the head `diffusion`, whose sampler it guides; "
                f"this one's is {self._network.config.head!r}. Choose {REFINE!r} or 'none'."
            )
        if ranking == MIXED and self._search is None:
            raise InvalidGenerateGoalError(
                f"There is no geometric search for {self._hand.name}, which has no preshapes; rank by {SUCCESS!r}."
            )
        if plan.judged and self.finishing.success is None:
            raise InvalidGenerateGoalError(
                "This checkpoint cannot tell the chance of a lift; let it learn: dexgrasp-train score."
            )
        return ranking, plan

    def _seen(
        self,
        world_p: NDArray[np.float32],
        clusters: list[Cluster],
        world_T_camera: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> tuple[Voxels, Tensor]:
        """What the network is shown, camera frame, and which voxels (V,) belong to objects that may be grasped."""
        config = self._config
        things = np.concatenate([cluster.points for cluster in clusters if cluster.is_target])
        lower, upper = things.min(axis=0) - config.margin, things.max(axis=0) + config.margin
        near = world_p[((world_p > lower) & (world_p < upper)).all(axis=1)]
        drawn = near[rng.integers(len(near), size=config.points)]
        camera_p = torch.as_tensor(apply(invert(world_T_camera), drawn)).to(self._device)
        voxels = voxelize(camera_p, self._network.config.voxel_size)
        first = drawn[voxels.first_point.cpu().numpy()]
        cells, at = (
            np.floor((points - lower) / config.completion.voxel).astype(np.int64) for points in (things, first)
        )
        shape = np.maximum(cells.max(axis=0), at.max(axis=0)) + 1
        flat, flat_at = (np.ravel_multi_index(tuple(rows.T), tuple(shape)) for rows in (cells, at))
        return voxels, torch.as_tensor(np.isin(flat_at, flat))

    def _seeds(self, graspness: Tensor, voxels: Voxels, targets: Tensor, rng: np.random.Generator) -> Tensor:
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
            centres = voxels.centres().cpu()[good].numpy()
            return torch.as_tensor(good[farthest_points(centres, config.seeds, int(rng.integers(len(good))))])
        return torch.as_tensor(good[rng.integers(len(good), size=config.seeds)])

    def _grasps(
        self,
        proposed: Proposed,
        graspness: Tensor,
        seed: Tensor,
        world_T_camera: NDArray[np.float64],
    ) -> tuple[GraspSet, NDArray[np.bool_]]:
        """Those of the K proposed grasps that are numbers, in world, joints within their limits; and which (K,)."""
        grasps, hand = proposed.grasps, self._hand
        likelihood = proposed.log_likelihood.double().numpy()
        camera_T_palm = palms(grasps, seed).double().numpy()
        joints = grasps.joints.double().numpy()
        whole = np.isfinite(camera_T_palm).all(axis=(1, 2)) & np.isfinite(joints).all(axis=1) & np.isfinite(likelihood)
        joints = np.clip(joints[whole], hand.lower, hand.upper)
        told = graspness.double().numpy()[whole]
        found = GraspSet(
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
        return found, whole
