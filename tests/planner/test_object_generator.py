"""Grasps of objects and of scenes from an object-level network, and its checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dexgrasp_planner.checkpoints import Checkpoint, CheckpointError
from dexgrasp_planner.generators import (
    CHECKPOINT,
    GRASP_GENERATORS,
    GeneratorUnavailableError,
    InvalidGenerateGoalError,
    SceneCloud,
    Stage,
)
from dexgrasp_planner.object_level import object_generator
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_features import OBJECT_FEATURES, ObjectFeatures
from dexgrasp_planner.object_level.object_generator import ObjectGeneratorConfig, ObjectGraspGenerator, with_checkpoint
from dexgrasp_planner.object_level.object_network import ObjectGraspNetwork
from dexgrasp_planner.object_level.state_layouts import STATE_LAYOUTS
from dexgrasp_planner.success import SuccessModel

from dexgrasp_description import load_hand

from .object_level_cases import HAND, RADIUS, ball, network

CLOUD = ball(400)
FAST = ObjectGeneratorConfig(polish=2)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    made = network()
    ObjectCheckpoint(HAND.name, tuple(HAND.joint_names), made.config, made.state_dict(), {"seen": 3}).save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("layout", STATE_LAYOUTS)
def test_samples_are_grasps_and_the_same_for_the_same_seed(layout: str) -> None:
    generator = ObjectGraspGenerator(HAND, network(layout), FAST)
    first, again, other = (generator.sample(CLOUD[:, :3], CLOUD[:, 3:], 7, seed) for seed in (1, 1, 2))
    assert len(first) == 7
    np.testing.assert_array_equal(first.world_T_palm, again.world_T_palm)
    np.testing.assert_array_equal(first.grasp, again.grasp)
    np.testing.assert_array_equal(first.score, again.score)
    assert not np.allclose(first.grasp, other.grasp)
    rotation = first.world_T_palm[:, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (7, 1, 1)), atol=1e-12)
    assert ((first.grasp >= HAND.lower) & (first.grasp <= HAND.upper)).all()
    assert np.isfinite(first.score).all()
    np.testing.assert_allclose(np.linalg.norm(first.seed_point, axis=1), RADIUS, atol=1e-6)


def test_few_turns_are_shared() -> None:
    config = replace(FAST, turns=2)
    found = ObjectGraspGenerator(HAND, network("object_rotated_27d"), config).sample(CLOUD[:, :3], CLOUD[:, 3:], 6, 0)
    rotation = found.world_T_palm[:, :3, :3]
    np.testing.assert_allclose(rotation[0], rotation[2], atol=1e-9)
    assert not np.allclose(rotation[0], rotation[1])


def test_bad_objects_and_settings_are_refused() -> None:
    generator = ObjectGraspGenerator(HAND, network(), FAST)
    for points, normals, count in (
        (CLOUD[:, :3], CLOUD[:, 3:], 0),
        (CLOUD[:, :3], CLOUD[:5, 3:], 1),
        (CLOUD, CLOUD, 1),
        (np.full((20, 3), np.nan), CLOUD[:20, 3:], 1),
    ):
        with pytest.raises(InvalidGenerateGoalError):
            generator.sample(points, normals, count, 0)
    with pytest.raises(InvalidGenerateGoalError, match="takes no text"):
        generator.sample(CLOUD[:, :3], CLOUD[:, 3:], 1, 0, np.zeros(5))
    told = ObjectGraspNetwork(replace(network().config, text_width=5)).eval()
    for text in (np.zeros(4), np.zeros((1, 5)), np.full(5, np.nan)):
        with pytest.raises(InvalidGenerateGoalError, match="takes 5 finite numbers of text"):
            ObjectGraspGenerator(HAND, told, FAST).sample(CLOUD[:, :3], CLOUD[:, 3:], 1, 0, text)
    with pytest.raises(InvalidGenerateGoalError, match="Rankings: success, physics, random"):
        ObjectGraspGenerator(HAND, network(), ObjectGeneratorConfig(ranking="best"))
    with pytest.raises(InvalidGenerateGoalError, match="score-objects"):
        ObjectGraspGenerator(HAND, network(), ObjectGeneratorConfig(ranking="success"))


def test_a_success_model_scores() -> None:
    model = SuccessModel(("gap", "fingers"), members=2).eval()
    generator = ObjectGraspGenerator(HAND, network(), FAST, model)
    found = generator.sample(CLOUD[:, :3], CLOUD[:, 3:], 5, 0)
    features = ObjectFeatures(HAND)(CLOUD[:, :3], CLOUD[:, 3:], found)
    assert features.shape == (5, len(OBJECT_FEATURES))
    assert np.isfinite(features).all()
    # The generator sees a part of the points, so the numbers are nearly the same.
    columns = [OBJECT_FEATURES.index(name) for name in ("gap", "fingers")]
    np.testing.assert_allclose(found.score, model.logits(features[:, columns]), atol=1.0)


def test_features_tell_a_hand_that_is_in_the_object_from_one_that_is_far() -> None:
    found = ObjectGraspGenerator(HAND, network(), FAST).sample(CLOUD[:, :3], CLOUD[:, 3:], 2, 0)
    palms = np.tile(np.eye(4), (2, 1, 1))
    palms[1, :3, 3] = 1.0
    features = ObjectFeatures(HAND)(CLOUD[:, :3], CLOUD[:, 3:], replace(found, world_T_palm=palms))
    near, far = (dict(zip(OBJECT_FEATURES, row, strict=True)) for row in features)
    assert near["deepest"] > 0.0
    assert (far["deepest"], far["inside"], far["touching"], far["fingers"]) == (0.0, 0.0, 0.0, 0.0)
    assert far["gap"] == pytest.approx(0.02, abs=1e-6)
    assert far["residual"] == pytest.approx(1.0, abs=1e-6)
    assert near["extent"] == pytest.approx(RADIUS, abs=0.005)


def test_checkpoints_come_back(saved: Path) -> None:
    loaded = ObjectCheckpoint.load(saved)
    assert loaded.network == network().config
    assert loaded.about == {"seen": 3}
    again = loaded.make(HAND)
    assert not again.training
    cloud = torch.as_tensor(ball(128))[None]
    with torch.no_grad():
        assert torch.equal(again.tokens(cloud), network().tokens(cloud))


def test_wrong_checkpoints_are_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="trained for leap_right"):
        ObjectCheckpoint.load(saved).make(load_hand("shadow_right"))
    with pytest.raises(CheckpointError, match="kind 'object'"):
        Checkpoint.load(saved)
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "network": {**config["network"], "colour": 1}}))
    with pytest.raises(CheckpointError, match="does not describe a network"):
        ObjectCheckpoint.load(saved)
    (saved / "config.json").write_text(json.dumps(config))
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        ObjectCheckpoint.load(saved)
    with pytest.raises(GeneratorUnavailableError, match="cannot be read"):
        with_checkpoint(HAND, saved)


def test_without_a_checkpoint_it_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHECKPOINT, str(tmp_path / "none"))
    with pytest.raises(GeneratorUnavailableError, match="fit-objects"):
        GRASP_GENERATORS.create("object_diffusion", HAND)


def test_a_scene_gives_grasps_in_world(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ball on a table under a camera: what comes is clear, ranked, in world, and the same again."""
    monkeypatch.setenv(CHECKPOINT, str(saved))
    generator = GRASP_GENERATORS.create("object_diffusion", HAND)
    monkeypatch.setattr(
        object_generator.HandClearance, "approach_is_clear", lambda self, space, palms, *others: palms[:, 2, 3] > 0.02
    )  # the network is not trained
    x, y = np.meshgrid(np.arange(-0.3, 0.3, 0.004), np.arange(-0.3, 0.3, 0.004))
    table = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    top = ball(6000)[:, :3] + np.array([0.05, 0.02, RADIUS])
    world = np.concatenate([table, top[top[:, 2] > RADIUS]])
    world_T_camera = np.eye(4)
    world_T_camera[:3, :3], world_T_camera[2, 3] = np.diag([1.0, -1.0, -1.0]), 0.6
    camera = (world - world_T_camera[:3, 3]) @ world_T_camera[:3, :3]
    scene = SceneCloud(camera, world_T_camera)
    stages: list[Stage] = []
    first = generator.generate(scene, 10, 3, progress=stages.append)
    assert stages == list(Stage)
    assert 1 <= len(first.grasps) <= 10
    assert (np.diff(first.grasps.score) <= 0.0).all()
    assert (np.linalg.norm(first.grasps.seed_point - [0.05, 0.02, RADIUS], axis=1) < RADIUS + 0.01).all()
    np.testing.assert_array_equal(first.grasps.grasp, generator.generate(scene, 10, 3).grasps.grasp)


def test_normals_of_what_is_seen_look_at_the_camera() -> None:
    top = ball(3000).astype(np.float64)
    top = top[top[:, 2] > 0.01]
    above = np.eye(4)
    above[2, 3] = 0.5
    cluster = object_generator.Cluster(top[::7, :3].astype(np.float32), True)
    points, normals = object_generator._seen_surface(top[:, :3].astype(np.float32), cluster, above, 0.01)
    cosine = (normals * points / RADIUS).sum(axis=1)
    assert np.median(cosine) > 0.98
