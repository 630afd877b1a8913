"""The scene as voxels."""

from __future__ import annotations

import coal
import numpy as np
import pytest
from dexgrasp_common.transforms import apply
from dexgrasp_planner.manipulator import Manipulator
from dexgrasp_planner.voxel_scene import SEED_RADIUS, TABLE_BAND, TARGET_MARGIN, VoxelScene, target_mask

from dexgrasp_description import load_cell

SIZE = 0.01


@pytest.fixture(scope="module")
def robot() -> Manipulator:
    return Manipulator(load_cell("ur5_leap"))


def column(x: float, y: float, top: float) -> np.ndarray:
    return np.array([[x, y, top]])


def test_points_fall_into_voxels_and_invalid_or_far_ones_are_left_out() -> None:
    points = np.array(
        [
            [0.012, -0.013, 0.052],
            [0.018, -0.017, 0.058],  # the same voxel
            [0.0, 0.0, TABLE_BAND / 2.0],  # the table
            [np.nan, 0.0, 0.1],
            [5.0, 0.0, 0.1],
        ],
        np.float32,
    )
    scene = VoxelScene.from_points(points, SIZE)
    assert scene.centres == pytest.approx(np.array([[0.015, -0.015, 0.055]]))


def test_organised_clouds_are_taken_as_they_are() -> None:
    cloud = np.full((4, 5, 3), np.nan, np.float32)
    cloud[1, 2] = [0.1, 0.1, 0.1]
    assert len(VoxelScene.from_points(cloud, SIZE)) == 1


def test_extruding_fills_columns_down_to_the_table() -> None:
    scene = VoxelScene.from_points(np.concatenate([column(0.005, 0.005, 0.055), column(0.105, 0.005, 0.025)]), SIZE)
    filled = scene.extruded().centres
    first = np.sort(filled[np.isclose(filled[:, 0], 0.005), 2])
    second = np.sort(filled[np.isclose(filled[:, 0], 0.105), 2])
    assert first == pytest.approx([0.015, 0.025, 0.035, 0.045, 0.055])
    assert second == pytest.approx([0.015, 0.025])


def test_voxels_under_a_roof_are_those_of_its_columns_up_to_its_top() -> None:
    roof = VoxelScene.from_points(column(0.005, 0.005, 0.055), SIZE)
    others = VoxelScene.from_points(
        np.concatenate([column(0.005, 0.005, h) for h in (0.025, 0.055, 0.085)] + [column(0.015, 0.005, 0.025)]), SIZE
    )
    under = others.centres[others.under(roof)]
    assert np.sort(under[:, 2]) == pytest.approx([0.025, 0.055])
    assert np.isclose(under[:, 0], 0.005).all()
    assert not others.under(VoxelScene.from_points(np.empty((0, 3)), SIZE)).any()


def test_the_target_is_what_lies_between_the_fingers_or_around_the_seed() -> None:
    rng = np.random.default_rng(0)
    scene = VoxelScene.from_points(rng.uniform([-0.2, -0.2, 0.02], [0.2, 0.2, 0.2], (20000, 3)), SIZE)
    corners = np.array([[x, y, z] for x in (-0.04, 0.04) for y in (-0.03, 0.03) for z in (0.03, 0.10)])
    seed = np.array([0.12, 0.12, 0.1])
    mask = target_mask(scene, corners, seed)
    beyond = np.abs(scene.centres - [0.0, 0.0, 0.065]) - [0.04, 0.03, 0.035]
    in_box = beyond.max(axis=1) < TARGET_MARGIN
    at_seed = np.linalg.norm(scene.centres - seed, axis=1) < SEED_RADIUS
    assert np.array_equal(mask, in_box | at_seed)
    assert in_box.any()
    assert at_seed.any()
    assert np.array_equal(target_mask(scene, corners, np.full(3, np.nan)), in_box)


def test_the_robot_does_not_see_itself_as_an_obstacle(robot: Manipulator) -> None:
    arm, hand = robot.cell.home, robot.hand.home
    rng = np.random.default_rng(1)
    own = np.concatenate(
        [
            apply(world_T_link, primitive.sample_surface(100, rng)[0])
            for primitive, world_T_link in robot.primitive_poses(arm, hand)
        ]
    )
    apart = np.array([[0.1, 0.2, 0.05]])
    scene = VoxelScene.from_points(np.concatenate([own, apart]), SIZE)
    assert len(scene) > 100
    left = scene.without_robot(robot, arm, hand)
    assert left.centres == pytest.approx(np.array([[0.105, 0.205, 0.055]]), abs=0.006)


def test_an_empty_scene_touches_nothing() -> None:
    scene = VoxelScene.from_points(np.empty((0, 3)), SIZE)
    assert len(scene.extruded()) == 0
    big = coal.Box(2.0, 2.0, 2.0)
    result = coal.CollisionResult()
    request = coal.CollisionRequest()
    assert not coal.collide(scene.octree(), coal.Transform3s(), big, coal.Transform3s(), request, result)


@pytest.mark.parametrize(("offset", "touches"), [(0.0249, True), (0.0251, False)])
def test_the_octree_is_as_large_as_its_voxels(offset: float, touches: bool) -> None:
    scene = VoxelScene.from_points(np.array([[0.005, 0.005, 0.055]]), SIZE)
    sphere = coal.Transform3s(np.eye(3), np.array([0.005 + offset, 0.005, 0.055]))
    request, result = coal.CollisionRequest(), coal.CollisionResult()
    hit = coal.collide(scene.octree(), coal.Transform3s(), coal.Sphere(0.02), sphere, request, result)
    assert bool(hit) is touches
