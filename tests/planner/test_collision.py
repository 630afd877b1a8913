"""Collision checks of the robot against closed forms, and what each phase of a grasp may touch."""

from __future__ import annotations

import coal
import numpy as np
import pytest
from dexgrasp_common.transforms import apply, invert
from dexgrasp_planner.collision import CollisionChecker, Rule
from dexgrasp_planner.manipulator import Manipulator, world_box, world_solid
from dexgrasp_planner.scene import HAND_TABLE_TOLERANCE, Scene

from dexgrasp_description import load_cell

REACH = np.array([0.1, -1.6, 1.8, -1.7, -1.57, 0.1])


@pytest.fixture(scope="module")
def robot() -> Manipulator:
    return Manipulator(load_cell("ur5_leap"))


def hand_distance(robot: Manipulator, arm: np.ndarray, point: np.ndarray) -> float:
    """Distance of a point to the hand's primitives [m], by their own closed forms."""
    of_hand = {primitive.link for primitive in robot.hand.collision}
    return min(
        float(primitive.signed_distance(apply(invert(world_T_link), point[None]))[0])
        for primitive, world_T_link in robot.primitive_poses(arm, robot.hand.home)
        if primitive.link in of_hand
    )


def test_a_sphere_beside_the_hand_collides_exactly_within_its_radius(robot: Manipulator) -> None:
    rng = np.random.default_rng(0)
    palm = robot.world_T_palm(REACH)[:3, 3]
    answers = []
    for _ in range(200):
        centre, radius = palm + rng.uniform(-0.2, 0.2, 3), rng.uniform(0.005, 0.05)
        distance = hand_distance(robot, REACH, centre)
        if abs(distance - radius) < 1e-4:
            continue
        pose = np.eye(4)
        pose[:3, 3] = centre
        rule = Rule(robot.hand_solids, [world_solid("ball", coal.Sphere(radius), pose)])
        free = CollisionChecker(robot, [rule], robot.hand.home).is_free(REACH)
        assert free is (distance > radius)
        answers.append(free)
    assert any(answers)
    assert not all(answers)


@pytest.mark.parametrize("distance", [-0.004, 0.0, 0.02])
def test_the_distance_of_a_rule_is_kept_to_the_tenth_of_a_millimetre(robot: Manipulator, distance: float) -> None:
    hand = robot.hand.home
    lowest = min(
        float(apply(world_T_link, primitive.sample_surface(4000, np.random.default_rng(0))[0])[:, 2].min())
        for primitive, world_T_link in robot.primitive_poses(REACH, hand)
        if primitive.link in {p.link for p in robot.hand.collision}
    )
    for gap, free in ((distance + 1e-3, True), (distance - 1e-3, False)):
        floor = world_box("floor", np.array([0.0, 0.0, lowest - gap - 0.5]), np.array([4.0, 4.0, 1.0]))
        checker = CollisionChecker(robot, [Rule(robot.hand_solids, [floor], distance)], hand)
        assert checker.is_free(REACH) is free


def test_home_is_free_and_a_folded_arm_is_not(robot: Manipulator) -> None:
    checker = CollisionChecker(robot, [], robot.hand.home)
    assert checker.is_free(robot.cell.home)
    assert checker.contact(robot.cell.home) == ""
    folded = robot.cell.home.copy()
    folded[2] = np.pi
    assert not checker.is_free(folded)
    assert " touches " in checker.contact(folded)


def test_the_robot_at_rest_is_free_in_every_joint_limit_of_its_wrist(robot: Manipulator) -> None:
    """No pair that always touches has slipped into the self-collision pairs."""
    checker = CollisionChecker(robot, [], robot.hand.home)
    for turn in np.linspace(-np.pi, np.pi, 25):
        assert checker.is_free(REACH + [turn / 8.0, 0.0, 0.0, 0.0, 0.0, turn])


def test_a_configuration_is_free_only_if_it_is_so_under_every_posture(robot: Manipulator) -> None:
    closed, opened = robot.hand.home.copy(), robot.hand.home.copy()
    opened[[1, 5, 9]] = 0.0
    closed[[1, 5, 9]] = 2.0
    tip = robot.inner_surface(robot.world_T_palm(REACH), opened)
    far = tip[np.argmax(np.linalg.norm(tip - robot.world_T_palm(REACH)[:3, 3], axis=1))]
    pose = np.eye(4)
    pose[:3, 3] = far
    rule = Rule(robot.hand_solids, [world_solid("ball", coal.Sphere(0.01), pose)])
    assert CollisionChecker(robot, [rule], closed).is_free(REACH)
    assert not CollisionChecker(robot, [rule], opened).is_free(REACH)
    assert not CollisionChecker(robot, [rule], np.array([closed, opened])).is_free(REACH)


def test_bounding_boxes_never_change_the_answer(robot: Manipulator) -> None:
    """The broad phase against every pair for itself, margins included."""
    rng = np.random.default_rng(2)
    cloud = rng.uniform([-0.15, -0.25, 0.0], [0.15, 0.25, 0.15], (3000, 3))
    scene = scene_of(robot, cloud)
    checker = scene.transit_checker(robot.hand.home)
    answers = []
    for q in REACH + rng.normal(0.0, 0.3, (300, 6)):
        assert checker.is_free(q) is (checker.contact(q) == "")
        answers.append(checker.is_free(q))
    assert 30 < sum(answers) < 300


def scene_of(robot: Manipulator, cloud: np.ndarray, extrude: bool = False) -> Scene:
    return Scene.of(robot, cloud, robot.cell.home, robot.hand.home, voxel_size=0.01, extrude=extrude, arm_distance=0.01)


def between_the_fingers(robot: Manipulator, arm: np.ndarray) -> np.ndarray:
    """A block of points between palm and bent fingers."""
    inner = robot.inner_surface(robot.world_T_palm(arm), robot.hand.home)
    rng = np.random.default_rng(3)
    weights = rng.dirichlet(np.full(len(inner), 0.02), 3000)
    return weights @ inner


def test_only_the_hand_and_only_in_contact_phases_may_touch_the_target(robot: Manipulator) -> None:
    hand = robot.hand.home
    target = between_the_fingers(robot, REACH)
    scene = scene_of(robot, target)
    targeted = scene.around(robot.inner_surface(robot.world_T_palm(REACH), hand), target[0])
    assert len(targeted.target) == len(scene.observed)
    assert not scene.transit_checker(hand).is_free(REACH)
    assert targeted.contact_checker(hand).is_free(REACH)
    behind_the_palm = np.array([-0.009, 0.015, 0.008]) + np.random.default_rng(4).uniform(-0.003, 0.003, (50, 3))
    neighbour = apply(robot.world_T_palm(REACH), behind_the_palm)
    crowded = scene_of(robot, np.concatenate([target, neighbour]))
    targeted = crowded.around(robot.inner_surface(robot.world_T_palm(REACH), hand), target[0])
    assert not targeted.contact_checker(hand).is_free(REACH)
    assert targeted.contact_checker(hand).contact(REACH) == "hand_base_link touches scene"


def test_the_arm_may_not_even_touch_the_target(robot: Manipulator) -> None:
    hand = robot.hand.home
    forearm = next(pose for primitive, pose in robot.primitive_poses(REACH, hand) if primitive.link == "forearm_link")
    points = forearm[:3, 3] + np.random.default_rng(0).uniform(-0.05, 0.05, (2000, 3))
    scene = scene_of(robot, points)
    targeted = scene.around(points, points[0])
    assert not len(targeted.rest)
    assert "touches scene or target" in targeted.contact_checker(hand).contact(REACH)
    assert targeted.lift_checker(hand).is_free(REACH)


def test_what_is_held_must_clear_the_scene_as_well(robot: Manipulator) -> None:
    hand = robot.hand.home
    target = between_the_fingers(robot, REACH)
    pose = robot.world_T_palm(REACH)
    below = target - [0.0, 0.0, 0.06]
    targeted = scene_of(robot, target).around(robot.inner_surface(pose, hand), target[0])
    center, size = targeted.held_box(pose)
    local = apply(invert(pose), target)
    assert center == pytest.approx((local.min(axis=0) + local.max(axis=0)) / 2.0, abs=0.012)
    assert (size >= np.ptp(local, axis=0) - 0.012).all()
    held = targeted.held_solid(center, size)
    assert held is not None
    assert targeted.carry_checker(hand, held).is_free(REACH)
    floor = world_box("floor", below.mean(axis=0) - [0.0, 0.0, 0.02], np.array([0.05, 0.05, 0.02]))
    blocked = CollisionChecker(robot, [Rule([held], [floor], 0.05)], hand)
    assert blocked.contact(REACH) == "held object touches floor"


def test_nothing_held_is_no_solid(robot: Manipulator) -> None:
    targeted = scene_of(robot, np.empty((0, 3))).around(
        robot.inner_surface(np.eye(4), robot.hand.home), np.full(3, np.nan)
    )
    center, size = targeted.held_box(np.eye(4))
    assert targeted.held_solid(center, size) is None


def test_fingers_may_brush_the_table_and_no_more(robot: Manipulator) -> None:
    """The palm is lowered step by step: it is stopped where a finger is deeper than the tolerance."""
    checker = scene_of(robot, np.empty((0, 3))).transit_checker(robot.hand.home)
    pose = robot.world_T_palm(REACH)
    depths = {True: [], False: []}
    for height in np.arange(0.30, 0.0, -0.002):
        pose[2, 3] = height
        found = robot.reach(pose, REACH)
        if not len(found):
            continue
        lowest = min(
            float(apply(world_T_link, primitive.sample_surface(2000, np.random.default_rng(0))[0])[:, 2].min())
            for primitive, world_T_link in robot.primitive_poses(found[0], robot.hand.home)
            if primitive.link in {p.link for p in robot.hand.collision}
        )
        depths[checker.is_free(found[0])].append(-lowest)
    assert max(depths[True]) < HAND_TABLE_TOLERANCE + 0.001
    assert min(depths[False]) > HAND_TABLE_TOLERANCE - 0.001
