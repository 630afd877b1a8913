"""What the learned generator makes of a network's outputs; the network is one whose outputs are known."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dexgrasp_common.transforms import apply, invert, look_at
from dexgrasp_planner.checkpoints import Checkpoint
from dexgrasp_planner.generators import (
    GRASP_GENERATORS,
    GenerateError,
    GenerationCancelledError,
    GeneratorUnavailableError,
    InvalidGenerateGoalError,
    NoGraspsError,
    NoObjectsError,
    SceneCloud,
    Stage,
)
from dexgrasp_planner.hand_clearance import ClearanceConfig, HandClearance
from dexgrasp_planner.heuristic import HeuristicGenerator
from dexgrasp_planner.holding import FEATURES, GraspFeatures
from dexgrasp_planner.learned import JUDGED, MIXED, RANKINGS, SUCCESS, LearnedConfig, LearnedGenerator
from dexgrasp_planner.network.grasp_heads import TRANSLATION_UNIT, Grasps, Proposed
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from dexgrasp_planner.postures import PostureRules
from dexgrasp_planner.success import SuccessModel
from torch import Tensor

from dexgrasp_description import load_hand

from .cylinder_scene import on_a_table

HAND = load_hand("leap_right")
WORLD_T_CAMERA = look_at([0.1, 0.0, 0.6], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])
CONFIG = LearnedConfig(points=5000, seeds=64, finish="sampled", guidance="none")


@pytest.fixture(scope="module")
def scene() -> SceneCloud:
    world_p = on_a_table((0.0, 0.0))
    return SceneCloud(apply(invert(WORLD_T_CAMERA), world_p).astype(np.float32), WORLD_T_CAMERA)


class KnownHead(torch.nn.Module):
    """Proposes at every seed the same pose relative to it, and likelihoods that grow from seed to seed."""

    def __init__(self, camera_R_palm: Tensor, translation: Tensor, joints: Tensor) -> None:
        super().__init__()
        self.pose = camera_R_palm, translation, joints

    def propose(self, feature: Tensor, generator: torch.Generator, preset: str) -> Proposed:
        count = len(feature)
        repeated = [part.expand(count, *part.shape) for part in self.pose]
        grasps = Grasps(*repeated, torch.zeros(count, dtype=torch.long))  # type: ignore[arg-type]
        return Proposed(grasps, torch.arange(count, dtype=torch.float32))


@pytest.fixture(scope="module")
def network() -> GraspNetwork:
    """Every voxel is of an object and equally graspable."""
    torch.manual_seed(0)
    made = GraspNetwork(16, NetworkConfig(backbone="small")).eval()
    torch.nn.init.zeros_(made.graspable.weight)
    made.graspable.bias.data = torch.tensor([0.0, 1.0, 0.5])
    return made


@pytest.fixture(scope="module")
def heuristic(scene: SceneCloud):
    """A grasp of this scene that is known to be clear."""
    return HeuristicGenerator(HAND).generate(scene, 1, 0).grasps


def known(network: GraspNetwork, heuristic, off: float = 0.0) -> LearnedGenerator:
    """Proposes at the seed nearest to the clear grasp's own just this grasp, `off` [m] higher."""
    camera_T_palm = invert(WORLD_T_CAMERA) @ heuristic.world_T_palm[0]
    offset = heuristic.world_T_palm[0, :3, 3] - heuristic.seed_point[0] + [0.0, 0.0, off]
    translation = WORLD_T_CAMERA[:3, :3].T @ offset / TRANSLATION_UNIT
    network.head = KnownHead(
        torch.tensor(camera_T_palm[:3, :3], dtype=torch.float32),
        torch.tensor(translation, dtype=torch.float32),
        torch.tensor(heuristic.grasp[0], dtype=torch.float32),
    )
    return LearnedGenerator(HAND, network, CONFIG)


def test_grasps_are_placed_at_their_seeds_ranked_distinct_and_clear(
    network: GraspNetwork, heuristic, scene: SceneCloud
) -> None:
    stages: list[Stage] = []
    generation = known(network, heuristic, off=0.05).generate(scene, 8, 3, stages.append)
    grasps = generation.grasps
    assert stages == [Stage.PREPARE, Stage.GENERATE, Stage.FILTER, Stage.RANK]
    assert set(generation.stage_ms) == {"prepare", "generate", "filter", "rank"}
    assert generation.candidates == 64
    assert 1 <= len(grasps) <= 8
    assert (np.diff(grasps.score) <= 0.0).all()
    np.testing.assert_allclose(grasps.score, grasps.log_likelihood + 10.0 * grasps.graspness)
    np.testing.assert_allclose(grasps.graspness, 0.5, atol=1e-6)
    offset = heuristic.world_T_palm[0, :3, 3] - heuristic.seed_point[0] + [0.0, 0.0, 0.05]
    np.testing.assert_allclose(grasps.world_T_palm[:, :3, 3] - grasps.seed_point - offset, 0.0, atol=1e-5)
    np.testing.assert_allclose(grasps.world_T_palm[:, :3, :3] - heuristic.world_T_palm[0, :3, :3], 0.0, atol=1e-5)
    # Seeds are middles of voxels on the cylinder.
    radius = np.linalg.norm(grasps.seed_point[:, :2], axis=1)
    assert (radius < 0.04).all()
    assert (grasps.seed_point[:, 2] < 0.13).all()
    apart = np.linalg.norm(grasps.world_T_palm[:, None, :3, 3] - grasps.world_T_palm[:, :3, 3], axis=-1)
    assert (apart[~np.eye(len(grasps), dtype=bool)] > CONFIG.finishing.apart - 1e-9).all()


@pytest.mark.parametrize("conditioning", ["local", "global"])
def test_heads_see_what_they_were_trained_on(scene: SceneCloud, conditioning: str) -> None:
    torch.manual_seed(0)
    network = GraspNetwork(16, NetworkConfig(backbone="small", conditioning=conditioning)).eval()  # type: ignore[arg-type]
    seen: list[Tensor] = []
    propose = network.head.propose
    network.head.propose = lambda feature, *rest: seen.append(feature) or propose(feature, *rest)  # type: ignore[method-assign]
    with contextlib.suppress(NoGraspsError):
        LearnedGenerator(HAND, network, CONFIG).generate(scene, 4, 0)
    spread = (seen[0] - seen[0][:1]).abs().max()
    assert spread > 1e-3 if conditioning == "local" else spread == 0.0


def test_the_same_seed_gives_the_same_grasps(network: GraspNetwork, heuristic, scene: SceneCloud) -> None:
    generator = known(network, heuristic, off=0.05)
    first, again, other = (generator.generate(scene, 5, seed).grasps.seed_point for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_rankings_share_the_samples_and_differ_in_their_order(
    network: GraspNetwork, heuristic, scene: SceneCloud
) -> None:
    generator = known(network, heuristic, off=0.05)
    sampled = generator.sample(scene, 4)
    everything = generator.generate(scene, 64, 4).grasps
    ranked = {ranking: generator.rank(sampled, 64, ranking) for ranking in RANKINGS if ranking not in JUDGED}
    np.testing.assert_array_equal(ranked["both"].world_T_palm, everything.world_T_palm)
    np.testing.assert_array_equal(ranked["both"].score, everything.score)
    for grasps in ranked.values():
        assert (np.diff(grasps.score) <= 0.0).all()
        assert {tuple(p) for p in grasps.seed_point} <= {tuple(p) for p in sampled.grasps.seed_point}
    np.testing.assert_array_equal(ranked["log_likelihood"].score, ranked["log_likelihood"].log_likelihood)
    np.testing.assert_array_equal(ranked["graspness"].score, ranked["graspness"].graspness)
    assert (np.diff(ranked["random"].log_likelihood) > 0.0).any()
    np.testing.assert_array_equal(
        ranked["random"].score, generator.rank(generator.sample(scene, 4), 64, "random").score
    )
    config = replace(CONFIG, ranking="random")
    np.testing.assert_array_equal(
        LearnedGenerator(HAND, network, config).generate(scene, 64, 4).grasps.score, ranked["random"].score
    )


def test_an_unknown_ranking_is_said(network: GraspNetwork) -> None:
    with pytest.raises(InvalidGenerateGoalError, match="both, graspness"):
        LearnedGenerator(HAND, network, replace(CONFIG, ranking="best"))


def test_graspness_is_told_where_voxels_are(network: GraspNetwork, heuristic, scene: SceneCloud) -> None:
    points, values = known(network, heuristic).graspness(scene, 0)
    np.testing.assert_allclose(values, 0.5, atol=1e-6)
    radius = np.linalg.norm(points[:, :2], axis=1)
    assert len(points) == len(values) > 100
    assert ((radius < 0.1) & (points[:, 2] < 0.13) & (points[:, 2] > -0.03)).all()


def test_grasps_through_the_table_are_no_grasps(network: GraspNetwork, heuristic, scene: SceneCloud) -> None:
    with pytest.raises(NoGraspsError, match="64 sampled"):
        known(network, heuristic, off=-0.3).generate(scene, 5, 0)


def test_joints_stay_within_limits_and_what_is_no_number_is_left_out(
    network: GraspNetwork, heuristic, scene: SceneCloud
) -> None:
    generator = known(network, heuristic, off=0.3)
    rotation, translation, _ = network.head.pose
    network.head.pose = rotation, translation, torch.full((16,), 9.0)
    grasps = generator.generate(scene, 5, 0).grasps
    np.testing.assert_allclose(grasps.grasp, np.tile(HAND.upper, (len(grasps), 1)))
    network.head.pose = rotation, torch.full((3,), torch.nan), torch.zeros(16)
    with pytest.raises(NoGraspsError):
        generator.generate(scene, 5, 0)


def test_few_graspable_voxels_are_used_again_and_none_means_the_best(
    network: GraspNetwork, heuristic, scene: SceneCloud
) -> None:
    network.graspable.bias.data[2] = -9.0
    try:
        grasps = known(network, heuristic, off=0.05).generate(scene, 5, 0).grasps
        np.testing.assert_allclose(grasps.graspness, -9.0)
    finally:
        network.graspable.bias.data[2] = 0.5


def test_a_cancelled_generation_ends(network: GraspNetwork, heuristic, scene: SceneCloud) -> None:
    asked = iter([False, False, True])
    with pytest.raises(GenerationCancelledError):
        known(network, heuristic).generate(scene, 5, 0, cancelled=lambda: next(asked))


@pytest.mark.parametrize("kind", range(8))
def test_malformed_clouds_give_errors_or_grasps_that_are_numbers(network: GraspNetwork, heuristic, kind: int) -> None:
    generator, rng = known(network, heuristic, off=0.05), np.random.default_rng(kind)
    for _ in range(6):
        count = int(rng.integers(0, 3000))
        cloud = rng.normal(0.0, 10.0 ** rng.uniform(-3, 1), (count, 3))
        if kind == 1:
            cloud[rng.random(cloud.shape) < 0.3] = np.nan
        elif kind == 2:
            cloud[rng.random(cloud.shape) < 0.3] = np.inf
        elif kind == 3:
            cloud = apply(invert(WORLD_T_CAMERA), cloud * [1.0, 1.0, 0.0])
        elif kind == 4:
            cloud = cloud[:1]
        elif kind == 5:
            cloud = cloud + [0.0, 0.0, 1000.0]
        elif kind == 6:
            cloud = np.repeat(cloud[:1], 500, axis=0)
        elif kind == 7:
            cloud = apply(invert(WORLD_T_CAMERA), np.abs(cloud) * [0.1, 0.1, 0.1])
        with contextlib.suppress(GenerateError):
            grasps = generator.generate(SceneCloud(cloud.astype(np.float32), WORLD_T_CAMERA), 5, 0).grasps
            assert np.isfinite(grasps.world_T_palm).all()
            assert np.isfinite(grasps.squeeze).all()


def test_an_empty_table_is_said(network: GraspNetwork, heuristic) -> None:
    table = np.random.default_rng(0).uniform(-0.2, 0.2, (4000, 3)) * [1.0, 1.0, 0.0]
    cloud = apply(invert(WORLD_T_CAMERA), table).astype(np.float32)
    with pytest.raises(NoObjectsError):
        known(network, heuristic).generate(SceneCloud(cloud, WORLD_T_CAMERA), 5, 0)


def on_the_object(network: GraspNetwork, heuristic, success: SuccessModel | None = None) -> LearnedGenerator:
    """Proposes at every seed the clear grasp, shifted with the seed: fingers close on the cylinder at some of them."""
    known(network, heuristic, off=0.01)
    return LearnedGenerator(HAND, network, replace(CONFIG, seeds=200), success)


def test_fingers_close_on_what_was_seen(network: GraspNetwork, heuristic, scene: SceneCloud) -> None:
    generator = on_the_object(network, heuristic)
    sampled = generator.sample(scene, 3)
    closed = generator.rank(sampled, 8, finish="closed")
    features = dict(zip(FEATURES, GraspFeatures(HAND).of(sampled.space, closed, presses=True).T, strict=True))
    assert len(closed) >= 1
    assert (features["fingers"] >= 2).all()
    assert (features["others"] == 0).all()
    assert np.abs(features["gap"]).max() < 0.012
    as_sampled = dict(zip(map(bytes, sampled.grasps.seed_point), sampled.grasps.grasp, strict=True))
    moved = [q - as_sampled[bytes(s)] for s, q in zip(closed.seed_point, closed.grasp, strict=True)]
    assert (np.abs(moved).max(axis=1) > 1e-3).all()
    assert generator.executable(sampled, "closed") is generator.executable(sampled, "pressed"), "closed once"
    with pytest.raises(InvalidGenerateGoalError, match="no finish 'magic'.*pressed"):
        generator.rank(sampled, 8, finish="magic")
    with pytest.raises(InvalidGenerateGoalError, match="no guidance 'magic'.*sampler"):
        generator.rank(sampled, 8, guidance="magic")
    with pytest.raises(InvalidGenerateGoalError, match="'both' is for checkpoints with the head `diffusion`"):
        generator.rank(sampled, 8, guidance="both")


def test_refined_grasps_replace_those_that_can_still_be_executed(
    network: GraspNetwork, heuristic, scene: SceneCloud
) -> None:
    generator = on_the_object(network, heuristic)
    sampled = generator.sample(scene, 3)
    closed, refined = (generator.rank(sampled, 8, finish="closed", guidance=when) for when in ("none", "refine"))
    assert closed.score[0] == refined.score[0], "refining does not change what the network thinks"
    sampled_as = dict(zip(map(bytes, sampled.grasps.seed_point), sampled.grasps.world_T_palm, strict=True))
    moved = [
        np.linalg.norm(pose[:3, 3] - sampled_as[bytes(seed)][:3, 3])
        for seed, pose in zip(refined.seed_point, refined.world_T_palm, strict=True)
    ]
    assert 1e-4 < max(moved) < 0.02
    clearance = HandClearance(HAND, ClearanceConfig())
    palms, opened = refined.world_T_palm, refined.pregrasp
    assert clearance.approach_is_clear(sampled.space, palms, opened, opened).all()


def test_the_chance_of_a_lift_ranks_where_it_is_known(network: GraspNetwork, heuristic, scene: SceneCloud) -> None:
    plain = on_the_object(network, heuristic)
    sampled = plain.sample(scene, 3)
    with pytest.raises(InvalidGenerateGoalError, match="dexgrasp-train score"):
        plain.rank(sampled, 8, SUCCESS)
    # A model that knows two things: grasps far below the top are better, and so are squeezes that do not press.
    model = SuccessModel(("depth", "presses"), members=1)
    with torch.no_grad():
        for weight in model.weights:
            weight.zero_()
            weight[:, 0, 0] = 1.0
        model.weights[0][:, 1, 0] = -0.01
        model.offsets[0][:, :, 0] = 1.0
    generator = on_the_object(network, heuristic, model)
    ranked = generator.rank(sampled, 8, finish="closed")
    depth = GraspFeatures(HAND).of(sampled.space, ranked, presses=False)[:, FEATURES.index("depth")]
    np.testing.assert_allclose(ranked.score, 1.0 + depth, atol=1e-5)
    assert (np.diff(ranked.score) <= 0.0).all()
    np.testing.assert_allclose(ranked.squeeze, PostureRules(HAND).squeezed(ranked.grasp), atol=1e-9)
    better = generator.rank(sampled, 8, finish="closed", guidance="refine")
    assert better.score[0] >= ranked.score[0], "a refined grasp is taken where it is better"


def test_grasps_of_a_geometric_search_compete_where_something_judges(
    network: GraspNetwork, heuristic, scene: SceneCloud
) -> None:
    model = SuccessModel(("depth",), members=1)
    with torch.no_grad():
        for weight in model.weights:
            weight.zero_()
            weight[:, 0, 0] = 1.0
        model.offsets[0][:, :, 0] = 1.0
    generator = on_the_object(network, heuristic, model)
    sampled = generator.sample(scene, 3)
    searched = generator.geometric(sampled)
    alone, mixed = (generator.rank(sampled, 200, ranking, "closed", "none") for ranking in (SUCCESS, MIXED))
    assert mixed.score[0] >= alone.score[0]
    of_search = np.isnan(mixed.log_likelihood)
    assert of_search.any()
    assert not np.isnan(alone.log_likelihood).any()
    known = {palm.tobytes() for palm in searched.world_T_palm}
    assert {palm.tobytes() for palm in mixed.world_T_palm[of_search]} <= known
    best = generator.generate(scene, 200, 3).grasps
    assert not np.isnan(best.log_likelihood).any(), "they compete where that is asked for"
    guided = generator.rank(sampled, 8, MIXED, "closed", "refine")
    assert (np.diff(guided.score) <= 0.0).all()


def test_where_no_sample_can_be_executed_a_geometric_search_helps_out(
    network: GraspNetwork, heuristic, scene: SceneCloud
) -> None:
    def head_down(ranking: str) -> LearnedGenerator:
        known(network, heuristic, off=-0.3)
        config = replace(CONFIG, finish="closed", ranking=ranking)
        return LearnedGenerator(HAND, network, config, SuccessModel(("depth",), members=1))

    found = head_down("").generate(scene, 10, 0).grasps
    assert len(found)
    assert np.isnan(found.log_likelihood).all()
    with pytest.raises(NoGraspsError):
        head_down("both").generate(scene, 10, 0)


def test_the_checkpoint_comes_from_the_environment(
    network: GraspNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = NetworkConfig(backbone="small")
    torch.manual_seed(1)
    Checkpoint(HAND.name, tuple(HAND.joint_names), config, GraspNetwork(16, config).state_dict()).save(tmp_path)
    monkeypatch.setenv("DEXGRASP_CHECKPOINT", str(tmp_path))
    assert isinstance(GRASP_GENERATORS.create("diffusion", HAND), LearnedGenerator)
    monkeypatch.setenv("DEXGRASP_CHECKPOINT", str(tmp_path / "nowhere"))
    with pytest.raises(GeneratorUnavailableError, match="no checkpoint for leap_right.*dexgrasp-train fit.*heuristic"):
        GRASP_GENERATORS.create("diffusion", HAND)
