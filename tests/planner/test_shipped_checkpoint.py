"""The checkpoint that ships: whole, small, the default of its hand, and good for grasps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from dexgrasp_common.transforms import apply, invert, look_at
from dexgrasp_planner.checkpoints import Checkpoint
from dexgrasp_planner.generators import (
    TRAINED,
    GeneratorUnavailableError,
    InvalidGenerateGoalError,
    SceneCloud,
    generator_name,
    make_generator,
)
from dexgrasp_planner.heuristic import HeuristicGenerator
from dexgrasp_planner.holding import FEATURES
from dexgrasp_planner.learned import LearnedGenerator

from dexgrasp_description import load_hand

from .cylinder_scene import on_a_table

HAND = load_hand("leap_right")
FOLDER = TRAINED / HAND.name
WORLD_T_CAMERA = look_at([0.1, 0.0, 0.6], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])


@pytest.fixture
def without_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEXGRASP_CHECKPOINT", raising=False)


def scene() -> SceneCloud:
    world_p = on_a_table((0.0, 0.0))
    return SceneCloud(apply(invert(WORLD_T_CAMERA), world_p).astype(np.float32), WORLD_T_CAMERA)


def test_it_is_whole_and_small_and_says_what_it_learnt_from_and_scored() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 32 << 20
    loaded = Checkpoint.load(FOLDER)
    network = loaded.make(HAND)
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())
    model = loaded.success_model()
    assert model is not None
    assert set(model.features) <= set(FEATURES)
    about = loaded.about
    assert about["data"]["train"]["grasps"] > 10_000
    assert about["iterations"] > 0
    assert about["success"]["grasps"] > 1000
    evaluation = json.loads((FOLDER / "evaluation.json").read_text())
    assert evaluation["views"] >= 400
    assert {"heuristic", "success+refine", "both", "random"} <= set(evaluation["contestants"])


@pytest.mark.usefixtures("without_another")
def test_it_is_the_default_of_its_hand_and_others_have_the_heuristic() -> None:
    assert generator_name("", HAND.name) == "diffusion"
    assert generator_name("heuristic", HAND.name) == "heuristic"
    assert generator_name("", "panda_gripper") == "heuristic"
    with pytest.raises(GeneratorUnavailableError, match="no checkpoint for panda_gripper"):
        make_generator("diffusion", load_hand("panda_gripper"))


@pytest.mark.usefixtures("without_another")
def test_guidance_and_finish_are_chosen_where_the_generator_is_made() -> None:
    with pytest.raises(InvalidGenerateGoalError, match="no guidance 'magic'.*none, sampler, refine, both"):
        make_generator("", HAND, "magic")
    with pytest.raises(InvalidGenerateGoalError, match="no guidance 'magic'"):
        make_generator("diffusion", HAND, "magic")
    with pytest.raises(InvalidGenerateGoalError, match="no finish 'magic'.*sampled, closed, pressed"):
        make_generator("", HAND, finish="magic")
    assert isinstance(make_generator("heuristic", HAND, "magic"), HeuristicGenerator), "which nothing guides"


@pytest.mark.usefixtures("without_another")
def test_it_grasps_what_stands_there_and_does_so_again() -> None:
    generator = make_generator("", HAND)
    assert isinstance(generator, LearnedGenerator)
    generation = generator.generate(scene(), 10, 0)
    grasps = generation.grasps
    assert 1 <= len(grasps) <= 10
    assert (np.diff(grasps.score) <= 0.0).all()
    assert np.isfinite(grasps.world_T_palm).all()
    # A cylinder of 3 cm radius and 12 cm height: the palm is a hand's length from it at most, and above the table.
    assert (np.linalg.norm(grasps.world_T_palm[:, :2, 3], axis=1) < 0.25).all()
    assert (grasps.world_T_palm[:, 2, 3] > 0.0).all()
    for name, posture in (("grasp", grasps.grasp), ("squeeze", grasps.squeeze), ("pregrasp", grasps.pregrasp)):
        assert (posture >= HAND.lower - 1e-6).all(), name
        assert (posture <= HAND.upper + 1e-6).all(), name
    again = generator.generate(scene(), 10, 0).grasps
    np.testing.assert_array_equal(again.world_T_palm, grasps.world_T_palm)


def test_most_voxels_of_an_object_count_as_one() -> None:
    generator = LearnedGenerator(HAND, Checkpoint.load(FOLDER).make(HAND))
    points, graspness = generator.graspness(scene(), 0)
    on_object = points[:, 2] > 0.02
    on_table = points[:, 2] < 0.003
    seen_as_object = graspness > np.log(2e-3)
    assert seen_as_object[on_object].mean() > 0.5
    assert seen_as_object[on_table].mean() < 0.2
