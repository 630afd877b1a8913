"""Grasps of one object by guided diffusion: of a known cloud with normals, or of what a camera sees of a scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from dexgrasp_common.parameters import param
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_planner.checkpoints import CheckpointError
from dexgrasp_planner.descent import least_on_the_way
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
from dexgrasp_planner.hand_clearance import ClearanceConfig, HandClearance
from dexgrasp_planner.network.rotations import nearest_rotation, rotation_of
from dexgrasp_planner.object_level.denoiser import Condition
from dexgrasp_planner.object_level.guided_sampling import Guide, sample_states, sampler
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_features import OBJECT_FEATURES, ObjectFeatures
from dexgrasp_planner.object_level.object_network import ObjectGraspNetwork, surface_of, turned
from dexgrasp_planner.object_level.point_transformer import sample_cloud
from dexgrasp_planner.physics.constraints import HandPhysics, physics_preset
from dexgrasp_planner.postures import PostureRules
from dexgrasp_planner.scene_field import Cluster, FieldConfig, SceneField
from dexgrasp_planner.selection import distinct
from dexgrasp_planner.stage_watch import watched
from dexgrasp_planner.success import SuccessModel

SUCCESS, PHYSICS, RANDOM = RANKINGS = ("success", "physics", "random")
# The ranking `physics` is minus the sum of these features, so weighted.
_PHYSICS_WEIGHTS = {"gap": 1.0, "inside": 20.0, "self_penetration": 0.2}
_BLOCK = 64  # clouds that are encoded at once
_AROUND = 16  # points from which a normal is estimated


@dataclass(frozen=True)
class ObjectGeneratorConfig:
    """How grasps are sampled, and how many."""

    sampler: str = param("fast", "`fast` (10 steps) or `paper` (100)")
    guidance: float = param(0.2, "g_r: 0 none, 1 as in the authors' code", range=(0.0, 1.0))
    physics: str = param("tuned_sampling", "what pulls: a name for `physics_preset`")
    through: Literal["network", "estimate"] = param(
        "network", "gradients through the `network`, as in the paper, or of the `estimate` of the clean grasp only"
    )
    polish: int = param(60, "steps of descent on the physics alone at the end", range=(0, 1000))
    polish_rate: float = param(0.02, "of the first of them, in half ranges of a number", range=(0.0, 1.0))
    turns: int = param(
        0, "random orientations of an object that is seen turned; 0: one for each grasp", range=(0, 65536)
    )
    ranking: str = param("", "one of `RANKINGS`; empty: `success` if the checkpoint can tell it, or else `physics`")
    objects: int = param(
        3, "clusters of a scene that grasps are sampled for, those of which most is seen", range=(1, 100)
    )
    grasps: int = param(128, "that are sampled for each of them", range=(1, 65536))
    apart: float = param(0.02, "two grasps nearer than this are one, see `selection.distinct` [m]", range=(0.0, 1.0))
    clearance: ClearanceConfig = field(default_factory=ClearanceConfig)
    completion: FieldConfig = field(default_factory=FieldConfig)


def with_checkpoint(hand: HandModel, folder: Path | None = None) -> ObjectGraspGenerator:
    """The generator with a checkpoint.

    Args:
        hand: The hand.
        folder: Of the checkpoint; None: the one that is used for the hand, see `generators.checkpoint_folder`.

    Raises:
        GeneratorUnavailableError: There is none, or it is damaged, of another kind or for another hand.
    """
    folder = folder or checkpoint_folder(f"{hand.name}_objects")
    if not folder.is_dir():
        raise GeneratorUnavailableError(
            f"There is no object-level checkpoint for {hand.name}: {folder} is no folder. Train one (dexgrasp-train "
            f"fit-objects) and set {CHECKPOINT} to its folder, or choose another generator."
        )
    try:
        checkpoint = ObjectCheckpoint.load(folder)
        return ObjectGraspGenerator(hand, checkpoint.make(hand), success=checkpoint.success_model())
    except CheckpointError as error:
        raise GeneratorUnavailableError(str(error)) from error


class ObjectGraspGenerator:
    """See the module. Implements `GraspGenerator`.

    Args:
        hand: The hand that the network was trained for.
        network: In evaluation mode.
        config: None: the defaults.
        success: Tells the chance that a grasp holds, from `OBJECT_FEATURES`; None: there is no ranking by it.
        device: Where the network and the physics run.

    Raises:
        InvalidGenerateGoalError: There is no such ranking, or nothing tells the chance that a grasp holds.
        UnknownPhysicsError, UnknownSamplerError: There is no such preset.
    """

    def __init__(
        self,
        hand: HandModel,
        network: ObjectGraspNetwork,
        config: ObjectGeneratorConfig | None = None,
        success: SuccessModel | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self._hand, self._device, self._success = hand, torch.device(device), success
        self.network = network.to(self._device)
        self.config = config = config or ObjectGeneratorConfig()
        self._sampler = sampler(config.sampler)
        self._ranking = config.ranking or (PHYSICS if success is None else SUCCESS)
        if self._ranking not in RANKINGS:
            raise InvalidGenerateGoalError(f"There is no ranking {self._ranking!r}. Rankings: {', '.join(RANKINGS)}.")
        if self._ranking == SUCCESS and success is None:
            raise InvalidGenerateGoalError(
                "This checkpoint cannot tell the chance that a grasp holds; let it learn: dexgrasp-train score-objects."
            )
        self._physics = HandPhysics(hand, physics_preset(config.physics), device=self._device)
        self._rules, self._features = PostureRules(hand), ObjectFeatures(hand)
        self._clearance = HandClearance(hand, config.clearance)

    def sample(
        self,
        points: NDArray[np.floating],
        normals: NDArray[np.floating],
        count: int,
        seed: int,
        text: NDArray[np.floating] | None = None,
    ) -> GraspSet:
        """Grasps of one object, in the order in which they were drawn.

        Args:
            points: Of the object's surface (M, 3) [m]; `config.points` of them are drawn, again if there are fewer.
            normals: Unit, outward (M, 3).
            count: How many.
            seed: Of every random choice.
            text: Embedding (W,) of what is said of the object, see `text_token`; None: nothing is.

        Returns:
            Grasps in the frame of the points, which takes the place of world.

        Raises:
            InvalidGenerateGoalError: `count` is less than one, points and normals are not (M, 3) finite numbers, or the
                network takes no such text.
        """
        shapes = (np.shape(points), np.shape(normals))
        if count < 1 or shapes[0] != shapes[1] or len(shapes[0]) != 2 or shapes[0][1] != 3 or not len(points):
            raise InvalidGenerateGoalError(
                f"Wanted are one or more grasps of points and normals (M, 3); got {count} of {shapes[0]}, {shapes[1]}."
            )
        width = self.network.config.text_width
        if text is not None and (not width or np.shape(text) != (width,) or not np.isfinite(text).all()):
            takes = f"{width} finite numbers of text" if width else "no text"
            raise InvalidGenerateGoalError(f"This checkpoint takes {takes}; got an array of {np.shape(text)}.")
        rng = np.random.default_rng(seed)
        cloud = np.concatenate([points, normals], axis=1)[_drawn(len(points), self.network.config.points, rng)]
        if not np.isfinite(cloud).all():
            raise InvalidGenerateGoalError("Some points or normals of the object are not finite; leave them out.")
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        clouds = torch.as_tensor(cloud, dtype=torch.float32, device=self._device)[None]
        said = None if text is None else torch.as_tensor(text, dtype=torch.float32, device=self._device)[None]
        palms, q = self._drawn_grasps(clouds, said, count, generator)
        found = self._grasps(palms.cpu().double(), q.cpu().double().numpy(), cloud[:, :3])
        return replace(found, score=self._scores(cloud, found, rng))

    def generate(
        self,
        scene: SceneCloud,
        max_grasps: int,
        seed: int,
        progress: Callable[[Stage], None] = _no_progress,
        cancelled: Callable[[], bool] = _never_cancelled,
    ) -> Generation:
        """See `GraspGenerator.generate`. Of an object the camera sees one side, and the network is shown just that."""
        config = self.config
        watch = watched(max_grasps, progress, cancelled)
        watch.enter(Stage.PREPARE)
        world_p = scene.world_points()
        space = SceneField.seen_from(world_p, config.completion, scene.area)
        offered = [one for one in space.clusters if one.is_target]
        targets = sorted(offered, key=lambda one: -len(one.points))[: config.objects]
        watch.enter(Stage.GENERATE)
        sampled = []
        for number, target in enumerate(targets):
            points, normals = _seen_surface(world_p, target, scene.world_T_camera, config.completion.voxel)
            # An object is learnt about its own middle, and lies about it here.
            middle = 0.5 * (points.min(axis=0) + points.max(axis=0))
            found = self.sample(points - middle, normals, config.grasps, seed + number)
            palms = found.world_T_palm.copy()
            palms[:, :3, 3] += middle
            sampled.append(replace(found, world_T_palm=palms, seed_point=found.seed_point + middle))
            watch.check()
        grasps = GraspSet.concatenate(sampled)
        watch.enter(Stage.FILTER)
        clear = self._clearance.approach_is_clear(space, grasps.world_T_palm, grasps.pregrasp, grasps.grasp)
        if not clear.any():
            raise NoGraspsError(f"None of the {len(grasps)} sampled grasps is clear of the support and of neighbours.")
        watch.enter(Stage.RANK)
        kept = grasps[clear]
        best = kept[distinct(kept.world_T_palm, kept.score, max_grasps, config.apart)]
        watch.finish()
        return Generation(best, len(grasps), watch.milliseconds)

    def _drawn_grasps(
        self, cloud: Tensor, text: Tensor | None, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Palms (count, 4, 4) and joints (count, D) on a cloud (1, N, 6)."""
        network, config = self.network, self.config
        rotation = None
        with torch.no_grad():
            sampling = sample_cloud(cloud, network.config.encoder)
            if network.layout.turned:
                turns = config.turns or count
                some = rotation_of(torch.randn(turns, 4, generator=generator)).to(cloud.device)
                encoded = [
                    network.denoiser.condition(
                        network.tokens(
                            turned(cloud, block.mT),
                            sampling[torch.zeros(len(block), dtype=torch.long, device=cloud.device)],
                            None if text is None else text.expand(len(block), -1),
                        )
                    )
                    for block in some.split(_BLOCK)
                ]
                which = torch.arange(count, device=cloud.device) % turns
                rotation, condition = some[which], Condition.join(encoded)[which]
            else:
                condition = network.denoiser.condition(network.tokens(cloud, sampling, text))
        surface = surface_of(cloud)

        def energy(states: Tensor) -> Tensor:
            return self._physics(*network.layout.decode(states, rotation), surface).weighted(self._physics.config)

        def predict(states: Tensor, step: Tensor) -> Tensor:
            predicted: Tensor = network.denoiser(states, step, condition)
            return predicted

        guide = Guide(energy, config.guidance, config.through) if config.guidance else None
        like = cloud.new_empty(count, network.layout.size)
        states = sample_states(predict, network.schedule, like, generator, self._sampler, guide)
        if config.polish:
            states = least_on_the_way(energy, states, config.polish_rate, config.polish, limit=1.0)
        with torch.no_grad():
            return network.layout.decode(states, rotation)

    def _grasps(self, palms: Tensor, q: NDArray[np.float64], points: NDArray[np.floating]) -> GraspSet:
        """Palms (N, 4, 4) that are poses to the last digit and joints (N, D) within limits, as grasps."""
        hand = self._hand
        palms[:, :3, :3] = nearest_rotation(palms[:, :3, :3])
        joints = np.clip(q, hand.lower, hand.upper)
        none = np.full(len(joints), np.nan)
        nearest = cKDTree(points).query(palms[:, :3, 3].numpy())[1]
        return GraspSet(
            hand=hand.name,
            world_T_palm=palms.numpy(),
            pregrasp=self._rules.opened(joints),
            grasp=joints,
            squeeze=self._rules.squeezed(joints),
            score=np.zeros(len(joints)),
            log_likelihood=none,
            graspness=none,
            seed_point=points[nearest],
        )

    def _scores(self, cloud: NDArray[np.floating], grasps: GraspSet, rng: np.random.Generator) -> NDArray[np.float64]:
        """What each grasp is thought of (N,), by the ranking that is configured."""
        if self._ranking == RANDOM:
            return rng.random(len(grasps))
        features = self._features(cloud[:, :3], cloud[:, 3:], grasps)
        columns = dict(zip(OBJECT_FEATURES, features.T, strict=True))
        if self._ranking == PHYSICS:
            return -sum((weight * columns[name] for name, weight in _PHYSICS_WEIGHTS.items()), np.zeros(len(grasps)))
        assert self._success is not None
        return self._success.logits(np.stack([columns[name] for name in self._success.features], axis=1))


def _drawn(available: int, wanted: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows of the points that the network is shown: each once if there are enough."""
    if available >= wanted:
        return rng.permutation(available)[:wanted]
    return np.concatenate([rng.permutation(available), rng.integers(available, size=wanted - available)])


def _seen_surface(
    world_p: NDArray[np.float32], cluster: Cluster, world_T_camera: NDArray[np.float64], voxel: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the camera saw of a cluster (M, 3) [m], world, with unit normals that look towards the camera."""
    near = cKDTree(cluster.points).query(world_p, distance_upper_bound=voxel)[0] < voxel
    points = world_p[near].astype(np.float64)
    around = points[cKDTree(points).query(points, k=range(1, min(_AROUND, len(points)) + 1))[1]]
    offsets = around - around.mean(axis=1, keepdims=True)
    normals = np.linalg.eigh(offsets.transpose(0, 2, 1) @ offsets)[1][:, :, 0]
    away = ((world_T_camera[:3, 3] - points) * normals).sum(axis=1) < 0.0
    return points, np.where(away[:, None], -normals, normals)
