"""The object-level checkpoint that ships: whole, small, judged by what it scored, and better for its guidance."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from dexgrasp_planner.generators import TRAINED
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_features import OBJECT_FEATURES
from dexgrasp_planner.object_level.object_generator import ObjectGeneratorConfig, ObjectGraspGenerator, with_checkpoint
from dexgrasp_planner.physics.constraints import HandPhysics, physics_preset

from dexgrasp_description import GraspSet, load_hand

from .object_level_cases import RADIUS, ball

HAND = load_hand("shadow_right")
FOLDER = TRAINED / f"{HAND.name}_objects"


def depths(grasps: GraspSet) -> np.ndarray:
    """How deep the deepest outer point of each hand is in the ball, below zero if it is outside (N,) [m]."""
    physics = HandPhysics(HAND, physics_preset("paper"), dtype=torch.float64)
    points = physics.outer.in_world(torch.as_tensor(grasps.world_T_palm), torch.as_tensor(grasps.grasp))
    return (RADIUS - points.norm(dim=1).amin(dim=1)).numpy()


def test_it_is_whole_and_small_and_says_what_it_learnt_from_and_scored() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 16 << 20
    checkpoint = ObjectCheckpoint.load(FOLDER)
    network = checkpoint.make(HAND)
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())
    assert set(checkpoint.success_features) <= set(OBJECT_FEATURES)
    assert checkpoint.about["data"]["train"]["grasps"] > 10_000
    assert checkpoint.about["success"]["grasps"] > 1000
    evaluation = json.loads((FOLDER / "evaluation.json").read_text())
    assert evaluation["objects"] >= 40
    shown = {"none", "srf", "srf_erf", "all_three", "training_only", "sampling_only", "all_four", "grown_set_scorer"}
    assert shown <= set(evaluation["contestants"])


@pytest.mark.usefixtures("without_another")
def test_it_is_what_the_generator_uses_and_the_same_seed_gives_the_same_grasps() -> None:
    generator = with_checkpoint(HAND)
    cloud = ball(2048)
    found, again = (generator.sample(cloud[:, :3], cloud[:, 3:], 8, 3) for _ in range(2))
    np.testing.assert_array_equal(found.world_T_palm, again.world_T_palm)
    assert np.isfinite(found.score).all()
    assert len(np.unique(found.score)) > 1
    assert (found.grasp >= HAND.lower - 1e-6).all()
    assert (found.grasp <= HAND.upper + 1e-6).all()


def test_guided_grasps_of_a_ball_are_less_deep_in_it_and_touch_it() -> None:
    network = ObjectCheckpoint.load(FOLDER).make(HAND)
    guided = ObjectGeneratorConfig(ranking="random")
    plain = replace(guided, guidance=0.0, polish=0)
    cloud = ball(2048)
    deep, unguided = (
        depths(ObjectGraspGenerator(HAND, network, config).sample(cloud[:, :3], cloud[:, 3:], 24, 0))
        for config in (guided, plain)
    )
    assert deep.clip(0.0).mean() < 0.6 * unguided.clip(0.0).mean()
    assert deep.clip(0.0).mean() < 0.004
    assert (deep > -0.004).mean() > 0.7, "pushed out, but not away"


@pytest.fixture
def without_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEXGRASP_CHECKPOINT", raising=False)
