"""Refinement lowers what it says it lowers, keeps to limits, and leaves alone what it should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from dexgrasp_planner.physics.scene_energy import EnergyConfig
from dexgrasp_planner.postures import PostureRules
from dexgrasp_planner.refinement import RefinementConfig, Refiner
from dexgrasp_planner.scene_field import SceneField

from dexgrasp_description import GraspSet, load_hand

from .cylinder_scene import CylinderScene

HAND = load_hand("leap_right")


def disturbed(grasps: GraspSet) -> GraspSet:
    """Palms up to a centimetre off, fingers some degrees open or closed."""
    rng = np.random.default_rng(1)
    palms = grasps.world_T_palm.copy()
    palms[:, :3, 3] += rng.uniform(-0.01, 0.01, (len(grasps), 3))
    joints = grasps.grasp + rng.uniform(-0.15, 0.15, grasps.grasp.shape)
    return replace(grasps, world_T_palm=palms, grasp=np.clip(joints, HAND.lower, HAND.upper))


def energies(refiner: Refiner, space: SceneField, grasps: GraspSet) -> np.ndarray:
    palms, joints = (torch.as_tensor(a, dtype=torch.float32) for a in (grasps.world_T_palm, grasps.grasp))
    return refiner.energy(space, palms, joints).numpy()


def test_the_energy_falls_and_everything_else_follows(cylinder_scene: CylinderScene) -> None:
    space, grasps = cylinder_scene.space, disturbed(cylinder_scene.grasps[:8])
    refiner = Refiner(HAND)
    moved = refiner.refined(space, grasps)
    before, after = energies(refiner, space, grasps), energies(refiner, space, moved)
    assert (after <= before + 1e-6).all()
    assert after.mean() < 0.6 * before.mean()
    assert (moved.grasp >= HAND.lower - 1e-6).all()
    assert (moved.grasp <= HAND.upper + 1e-6).all()
    rotation = moved.world_T_palm[:, :3, :3]
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (8, 1, 1)), atol=1e-12)
    rules = PostureRules(HAND)
    np.testing.assert_allclose(moved.pregrasp, rules.opened(moved.grasp), atol=1e-9)
    np.testing.assert_allclose(moved.squeeze, rules.squeezed(moved.grasp), atol=1e-9)
    np.testing.assert_array_equal(moved.score, grasps.score)
    np.testing.assert_array_equal(moved.seed_point, grasps.seed_point)


def test_a_hand_in_the_object_and_in_the_table_comes_out(cylinder_scene: CylinderScene) -> None:
    _, space, grasps = cylinder_scene
    low = replace(grasps, world_T_palm=grasps.world_T_palm.copy())
    low.world_T_palm[:, 2, 3] -= 0.02
    refiner = Refiner(HAND, RefinementConfig(steps=80, energy=EnergyConfig(pulling=0.0, self_penetration=0.0)))
    before, after = energies(refiner, space, low), energies(refiner, space, refiner.refined(space, low))
    assert before.mean() > 1e-3
    assert after.mean() < 0.1 * before.mean()


def test_what_is_far_from_everything_stays(cylinder_scene: CylinderScene) -> None:
    _, space, grasps = cylinder_scene
    high = replace(grasps, world_T_palm=grasps.world_T_palm.copy())
    high.world_T_palm[:, 2, 3] += 0.3
    moved = Refiner(HAND, RefinementConfig(energy=EnergyConfig(self_penetration=0.0))).refined(space, high)
    np.testing.assert_allclose(moved.world_T_palm, high.world_T_palm, atol=1e-6)
    np.testing.assert_allclose(moved.grasp, high.grasp, atol=1e-6)


def test_callers_that_want_no_gradients_are_served(cylinder_scene: CylinderScene) -> None:
    space, grasps = cylinder_scene.space, disturbed(cylinder_scene.grasps[:8])
    with torch.no_grad():
        moved = Refiner(HAND).refined(space, grasps)
    np.testing.assert_array_equal(moved.grasp, Refiner(HAND).refined(space, grasps).grasp)


def test_grasps_do_not_depend_on_each_other(cylinder_scene: CylinderScene) -> None:
    space, grasps = cylinder_scene.space, disturbed(cylinder_scene.grasps[:8])
    refiner = Refiner(HAND)
    together, alone = refiner.refined(space, grasps), refiner.refined(space, grasps[[5]])
    np.testing.assert_allclose(together.world_T_palm[5], alone.world_T_palm[0], atol=1e-4)
    assert len(refiner.refined(space, grasps[[]])) == 0
    assert Refiner(HAND, RefinementConfig(steps=0)).refined(space, grasps) is grasps
