"""The method `force_closure`, and what it shares with `wrench_space`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.errors import SynthesisError
from dexgrasp_training.stages.objects import procedural_asset
from dexgrasp_training.synthesis.descent import Descent, DescentConfig, Draws
from dexgrasp_training.synthesis.energies import balancing_forces, contact_wrenches
from dexgrasp_training.synthesis.finishing import FinishConfig, Finishing
from dexgrasp_training.synthesis.force_closure import PRESETS, ForceClosure, ForceClosureConfig
from dexgrasp_training.synthesis.hand_arrays import hand_arrays
from dexgrasp_training.synthesis.initial_poses import PoseConfig, initial_poses
from dexgrasp_training.synthesis.kernels import link_poses, penetration, self_collides
from dexgrasp_training.synthesis.method import Candidates
from dexgrasp_training.synthesis.optimising import BLOCK, OptimiserConfig

from dexgrasp_description import load_hand

from .boxes import box_asset

HAND = "leap_right"
QUICK = ForceClosureConfig(OptimiserConfig(descent=DescentConfig(iterations=40)))


@pytest.fixture(scope="module")
def can() -> ObjectAsset:
    return procedural_asset("can", 3, "can", "train")


@pytest.fixture(scope="module")
def box() -> ObjectAsset:
    return box_asset("box", (0.05, 0.05, 0.09))


@pytest.fixture(scope="module")
def made(box: ObjectAsset) -> Candidates:
    return ForceClosure(load_hand(HAND), QUICK).generate(box, 64, 0)


def test_grasps_are_within_the_limits_and_hardly_penetrate(made: Candidates, box: ObjectAsset) -> None:
    hand, field = load_hand(HAND), box.field
    arrays, links = hand_arrays(hand), np.empty((len(hand.links), 3, 4))
    assert len(made) >= 5
    for posture in (made.pregrasp, made.grasp, made.squeeze):
        assert (posture >= hand.lower).all()
        assert (posture <= hand.upper).all()
    depth = []
    for palm, q in zip(made.object_T_palm, made.grasp, strict=True):
        link_poses(arrays, q, links)
        depth.append(penetration(arrays, links, palm, field.values, field.origin, field.spacing))
        assert not self_collides(arrays, links, 0.0)
    assert max(depth) < 0.002


def test_contacts_lie_on_the_surface_and_balance(made: Candidates, box: ObjectAsset) -> None:
    limit = FinishConfig()
    arm = torch.tensor([box.model.radius], dtype=torch.float64)
    for contacts, quality in zip(made.contacts, made.quality, strict=True):
        points = contacts[~np.isnan(contacts).any(axis=1)]
        distance, normal = box.field.distance_and_normal(points)
        assert np.abs(distance).max() < limit.gap + 1e-4
        wrenches = contact_wrenches(torch.tensor(points)[..., None], torch.tensor(-normal)[..., None], arm)
        _, residual = balancing_forces(wrenches)
        assert residual.item() == pytest.approx(1.0 - quality, abs=0.02)
        assert 1.0 - quality < limit.imbalance


def test_the_squeeze_presses_the_contacts_together(made: Candidates) -> None:
    moved = made.squeeze - made.grasp
    assert np.abs(moved).max() <= FinishConfig().opposing_squeeze + 1e-6
    assert (np.abs(moved).max(axis=1) > 0.5 * FinishConfig().squeeze).mean() > 0.9


def test_the_pregrasp_is_open(made: Candidates, box: ObjectAsset) -> None:
    hand, field = load_hand(HAND), box.field
    arrays, links = hand_arrays(hand), np.empty((len(hand.links), 3, 4))
    clear = []
    for palm, q in zip(made.object_T_palm, made.pregrasp, strict=True):
        link_poses(arrays, q, links)
        clear.append(penetration(arrays, links, palm, field.values, field.origin, field.spacing) < 0.001)
    assert np.mean(clear) > 0.9
    assert (np.abs(made.pregrasp - made.grasp).max(axis=1) > 0.1).all()


def test_the_descent_lowers_the_energy_and_its_finish_closes_the_gaps(can: ObjectAsset) -> None:
    hand, count = load_hand(HAND), 48
    method = ForceClosure(hand, QUICK)
    descent = Descent(hand, QUICK.optimiser.descent)
    poses = initial_poses(hand, can, count, np.random.default_rng(0), PoseConfig())
    objects = descent.objects([can], np.zeros(count, dtype=int))
    draws = Draws([0], [count], torch.float32, torch.device("cpu"))
    state = descent.closed(descent.start([poses]), objects, descent.moving.tensor(poses.speed.T))
    state = descent.with_contacts(state, objects, method.energy, draws)
    chance = torch.ones(count)
    before, _ = descent.evaluate(state, objects, method.energy, chance)
    better, _ = descent.run(state, objects, method.energy, draws)
    after, _ = descent.evaluate(better, objects, method.energy, chance)
    assert after.median() < 0.7 * before.median()
    links = descent.contacts.link[better.contact]
    assert all(len(set(column)) == len(column) for column in links.T.tolist())
    finished = Finishing(descent.moving, FinishConfig()).finished(better, objects, links)
    there = ~torch.isnan(finished.contacts).any(dim=1)
    assert (there.sum(0) >= 4).float().mean() > 0.8


def test_closing_stops_at_the_object(box: ObjectAsset) -> None:
    hand, count = load_hand(HAND), 32
    descent = Descent(hand, DescentConfig())
    poses = initial_poses(hand, box, count, np.random.default_rng(0), PoseConfig(hull_share=0.0))
    objects = descent.objects([box], np.zeros(count, dtype=int))
    start = descent.start([poses])
    state = descent.closed(start, objects, descent.moving.tensor(poses.speed.T))
    skin = Finishing(descent.moving, FinishConfig())
    before, after = (skin.touch(descent.moving.links(s.object_T_palm, s.q), objects).distance for s in (start, state))
    assert ((after < 0.004).sum(0) >= 2).float().mean() > 0.9
    assert (after.amin(0) > before.amin(0).clamp(max=0.0) - 0.008).float().mean() > 0.9


def test_the_same_arguments_give_the_same_candidates(made: Candidates, box: ObjectAsset) -> None:
    again = ForceClosure(load_hand(HAND), QUICK).generate(box, 64, 0)
    for name in ("object_T_palm", "pregrasp", "grasp", "squeeze", "contacts", "quality"):
        assert np.array_equal(getattr(again, name), getattr(made, name), equal_nan=True)


def test_objects_in_one_batch_get_what_each_gets_alone(box: ObjectAsset, can: ObjectAsset) -> None:
    config = replace(QUICK, optimiser=replace(QUICK.optimiser, batch=2 * BLOCK))
    method = ForceClosure(load_hand(HAND), config)
    together = method.generate_batch([box, can], 40, [3, 4])
    alone = [method.generate(box, 40, 3), method.generate(can, 40, 4)]
    for one, other in zip(together, alone, strict=True):
        assert one.attempts == other.attempts == 40
        assert abs(len(one) - len(other)) <= 2
        # Rounding may decide otherwise about single moves: those grasps differ, the rest are equal.
        nearest = np.abs(one.grasp[:, None] - other.grasp[None]).max(axis=2).min(axis=1)
        assert (nearest < 1e-3).mean() > 0.8


def test_attempts_beyond_a_block_are_drawn_anew(box: ObjectAsset) -> None:
    config = replace(QUICK, optimiser=replace(QUICK.optimiser, descent=DescentConfig(iterations=2)))
    method = ForceClosure(load_hand(HAND), config)
    few, more = method.generate(box, BLOCK, 0), method.generate(box, BLOCK + 32, 0)
    assert more.attempts == BLOCK + 32
    assert np.array_equal(more.grasp[: len(few)], few.grasp)


def test_a_gripper_grasps_with_two_contacts_and_is_told_so(box: ObjectAsset) -> None:
    hand = load_hand("panda_gripper")
    with pytest.raises(SynthesisError, match="contacts to at most"):
        ForceClosure(hand, QUICK)
    config = replace(QUICK, optimiser=OptimiserConfig(descent=DescentConfig(contacts=2, iterations=40)))
    candidates = ForceClosure(hand, config).generate(box, 64, 0)
    assert len(candidates)
    assert (candidates.grasp >= hand.lower).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_missing_device_is_named() -> None:
    config = replace(QUICK, optimiser=replace(QUICK.optimiser, device="cuda"))
    with pytest.raises(SynthesisError, match="'cuda' needs CUDA"):
        ForceClosure(load_hand(HAND), config)


def test_the_papers_preset_runs(box: ObjectAsset) -> None:
    assert PRESETS["paper"].optimiser.descent.iterations == 600
    paper = PRESETS["paper"]
    short = replace(paper.optimiser.descent, iterations=3)
    config = replace(paper, optimiser=replace(paper.optimiser, descent=short))
    ForceClosure(load_hand(HAND), config).generate(box, 16, 0)
