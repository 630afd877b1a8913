"""The method `wrench_space`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from dexgrasp_sim.tester import GRASP_TESTERS
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.stages.objects import procedural_asset
from dexgrasp_training.synthesis.descent import Descent, DescentConfig, Draws
from dexgrasp_training.synthesis.hand_arrays import hand_arrays
from dexgrasp_training.synthesis.initial_poses import PoseConfig, initial_poses
from dexgrasp_training.synthesis.kernels import link_poses, penetration
from dexgrasp_training.synthesis.method import Candidates
from dexgrasp_training.synthesis.optimising import OptimiserConfig
from dexgrasp_training.synthesis.wrench_space import PRESETS, WrenchEnergy, WrenchSpace, WrenchSpaceConfig

from dexgrasp_description import load_hand

from .boxes import box_asset

HAND = "leap_right"
QUICK = WrenchSpaceConfig(OptimiserConfig(descent=DescentConfig(iterations=40)))


@pytest.fixture(scope="module")
def box() -> ObjectAsset:
    return box_asset("box", (0.05, 0.05, 0.09))


@pytest.fixture(scope="module")
def made(box: ObjectAsset) -> Candidates:
    return WrenchSpace(load_hand(HAND), QUICK).generate(box, 64, 0)


def test_grasps_are_within_the_limits_and_hardly_penetrate(made: Candidates, box: ObjectAsset) -> None:
    hand, field = load_hand(HAND), box.field
    arrays, links = hand_arrays(hand), np.empty((len(hand.links), 3, 4))
    assert len(made) >= 5
    for posture in (made.pregrasp, made.grasp, made.squeeze):
        assert (posture >= hand.lower).all()
        assert (posture <= hand.upper).all()
    for palm, q in zip(made.object_T_palm, made.grasp, strict=True):
        link_poses(arrays, q, links)
        assert penetration(arrays, links, palm, field.values, field.origin, field.spacing) < 0.002


def test_the_descent_lowers_what_the_contacts_cannot_hold(box: ObjectAsset) -> None:
    hand, count = load_hand(HAND), 48
    descent = Descent(hand, QUICK.optimiser.descent)
    poses = initial_poses(hand, box, count, np.random.default_rng(0), PoseConfig())
    objects = descent.objects([box], np.zeros(count, dtype=int))
    draws = Draws([0], [count], torch.float32, torch.device("cpu"))
    state = descent.closed(descent.start([poses]), objects, descent.moving.tensor(poses.speed.T))
    state = descent.with_contacts(state, objects, WrenchEnergy(QUICK), draws)
    better, _ = descent.run(state, objects, WrenchEnergy(QUICK), draws)
    exact = WrenchEnergy(replace(QUICK, solver_steps=200))
    chance = torch.zeros(count)
    before, after = (descent.evaluate(s, objects, exact, chance)[0].median() for s in (state, better))
    assert after < 0.7 * before


def test_forces_are_carried_over_between_iterations() -> None:
    places = 0.04 * torch.nn.functional.normalize(
        torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0)), dim=1
    )
    normals, arm, chance = places / 0.04, torch.full((5,), 0.04), torch.zeros(5)
    energy = WrenchEnergy(replace(QUICK, solver_steps=5))
    values = [energy(places, normals, arm, chance)[0] for _ in range(40)]
    solved, _, _ = WrenchEnergy(replace(QUICK, solver_steps=2000))(places, normals, arm, chance)
    assert (values[0] > solved + 1e-3).any()
    torch.testing.assert_close(values[-1], solved, atol=2e-3, rtol=0.0)


def test_the_same_arguments_give_the_same_candidates(made: Candidates, box: ObjectAsset) -> None:
    again = WrenchSpace(load_hand(HAND), QUICK).generate(box, 64, 0)
    assert np.array_equal(again.object_T_palm, made.object_T_palm)
    assert np.array_equal(again.squeeze, made.squeeze)


def test_objects_in_one_batch_get_what_each_gets_alone(box: ObjectAsset) -> None:
    other = procedural_asset("ball", 0, "ball", "train")
    method = WrenchSpace(load_hand(HAND), QUICK)
    together = method.generate_batch([other, box], 40, [7, 8])
    alone = [method.generate(other, 40, 7), method.generate(box, 40, 8)]
    for one, two in zip(together, alone, strict=True):
        assert abs(len(one) - len(two)) <= 2
        # Rounding may decide otherwise about single moves: those grasps differ, the rest are equal.
        nearest = np.abs(one.grasp[:, None] - two.grasp[None]).max(axis=2).min(axis=1)
        assert (nearest < 1e-3).mean() > 0.8


def test_a_tenth_of_the_initial_poses_hold(box: ObjectAsset) -> None:
    hand, attempts = load_hand(HAND), 64
    candidates = WrenchSpace(hand).generate(box, attempts, 1)
    result = GRASP_TESTERS.create("mujoco", hand).hold6(
        box.model, candidates.object_T_palm, candidates.grasp, candidates.squeeze
    )
    assert result.success.sum() >= attempts // 10


def test_the_papers_preset_descends_600_times_and_never_uphill() -> None:
    descent = PRESETS["paper"].optimiser.descent
    assert (descent.iterations, descent.temperature) == (600, 0.0)
