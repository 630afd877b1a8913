"""Heuristic grasps hold what they are meant to hold, and touch nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dexgrasp_planner.generators import (
    GenerationCancelledError,
    InvalidGenerateGoalError,
    NoObjectsError,
    SceneCloud,
    Stage,
)
from dexgrasp_planner.hand_shape import HandPoints
from dexgrasp_planner.heuristic import HeuristicGenerator
from dexgrasp_planner.opposition import holding_residual

from dexgrasp_description import HandModel, load_hand
from dexgrasp_planner import postures

from .cylinder_scene import on_a_table


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_hand("leap_right")


@pytest.fixture(scope="module")
def generator(hand: HandModel) -> HeuristicGenerator:
    return HeuristicGenerator(hand)


@pytest.fixture(scope="module")
def scene() -> SceneCloud:
    cloud = on_a_table((0.0, -0.08), (0.0, 0.08))
    return SceneCloud(cloud.astype(np.float32), np.eye(4), (-0.15, 0.15, -0.25, 0.25))


def test_the_same_seed_gives_the_same_grasps_and_another_gives_others(
    generator: HeuristicGenerator, scene: SceneCloud
) -> None:
    first, again, other = (generator.generate(scene, 10, seed).grasps for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.world_T_palm, again.world_T_palm)
    np.testing.assert_array_equal(first.grasp, again.grasp)
    assert not np.array_equal(first.world_T_palm, other.world_T_palm)


def test_grasps_are_ranked_distinct_within_limits_and_clear_on_the_way_in(
    generator: HeuristicGenerator, hand: HandModel, scene: SceneCloud
) -> None:
    stages: list[Stage] = []
    generation = generator.generate(scene, 40, 0, stages.append)
    grasps = generation.grasps
    assert stages == [Stage.PREPARE, Stage.GENERATE, Stage.FILTER, Stage.RANK]
    assert set(generation.stage_ms) == {stage.name.lower() for stage in stages}
    assert len(grasps) >= 20
    assert (np.diff(grasps.score) <= 0).all()
    for posture in (grasps.pregrasp, grasps.grasp, grasps.squeeze):
        assert (posture >= hand.lower - 1e-9).all()
        assert (posture <= hand.upper + 1e-9).all()
    surface = HandPoints(hand, {link: points for link, (points, _) in hand.surface_samples(400, seed=9).items()})
    for back in (0.0, 0.05, postures.RETREAT):
        palm = postures.retreated(grasps.world_T_palm, hand.approach_axis, back)
        points = surface.in_world(torch.tensor(palm, dtype=torch.float32), torch.tensor(grasps.pregrasp).float())
        x, y, z = points.unbind(dim=1)
        assert z.min() > -0.002, "the hand reaches into the table"
        for centre in (-0.08, 0.08):
            outside = torch.maximum((x**2 + (y - centre) ** 2).sqrt() - 0.03, z - 0.12)
            assert outside.min() > -0.008, "the opened hand passes through a cylinder"


def test_both_objects_are_grasped_by_thumb_and_fingers_on_opposite_sides(
    generator: HeuristicGenerator, hand: HandModel, scene: SceneCloud
) -> None:
    grasps = generator.generate(scene, 100, 0).grasps
    assert {-1.0, 1.0} == set(np.sign(grasps.seed_point[:, 1]))
    tips = HandPoints(hand, {tip.link: tip.centre[None] for tip in hand.fingertips})
    placed = tips.in_world(torch.tensor(grasps.world_T_palm).float(), torch.tensor(grasps.grasp).float()).numpy()
    axis = np.stack([np.zeros(len(grasps)), 0.08 * np.sign(grasps.seed_point[:, 1])], axis=1)
    thumb = placed[:, :2, 3] - axis
    nearest = (placed[:, :2, :3] - axis[..., None]).transpose(0, 2, 1)
    angles = np.einsum("nk,nfk->nf", thumb, nearest)
    assert (angles.min(axis=1)[:10] < 0.0).all(), "no finger lies across the axis from the thumb"


def test_residual_is_small_where_contacts_oppose_and_large_on_one_side() -> None:
    angle = torch.tensor([0.0, 2.1, 4.2])
    ring = 0.03 * torch.stack([angle.cos(), angle.sin(), torch.zeros(3)], dim=1)
    points = torch.stack([ring, ring[:1].expand(3, 3)])
    forces = -torch.nn.functional.normalize(points, dim=-1)
    active = torch.ones(2, 3, dtype=torch.bool)
    around, one_side = holding_residual(points, forces, active, torch.zeros(2, 3), 0.5)
    assert around < 0.25
    assert one_side > 0.6
    nothing = holding_residual(points, forces, ~active, torch.zeros(2, 3), 0.5)
    torch.testing.assert_close(nothing, torch.ones(2))


def test_a_cancelled_generation_stops_and_a_bare_table_has_no_objects(
    generator: HeuristicGenerator, scene: SceneCloud
) -> None:
    with pytest.raises(GenerationCancelledError):
        generator.generate(scene, 10, 0, cancelled=lambda: True)
    with pytest.raises(NoObjectsError):
        generator.generate(SceneCloud(scene.points * [1.0, 1.0, 0.0], np.eye(4)), 10, 0)
    with pytest.raises(InvalidGenerateGoalError):
        generator.generate(scene, 0, 0)
