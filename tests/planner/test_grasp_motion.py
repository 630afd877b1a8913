"""Whole picks: the rules of every phase, and the ways in which planning can fail."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from dexgrasp_common.transforms import apply, invert
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_planner.errors import (
    GraspInCollisionError,
    InvalidGraspError,
    MotionError,
    NoPathError,
    PlanTimeoutError,
    StartInCollisionError,
    UnreachableError,
)
from dexgrasp_planner.grasp_motion import (
    LEAST_LIFT,
    LIFT_HEIGHT,
    PREGRASP_RETREAT,
    GraspMotion,
    GraspMotionPlanner,
    MotionConfig,
    PhaseKind,
    PlanRequest,
    lift_shift,
)
from dexgrasp_planner.motion_planners import MOTION_PLANNERS
from scipy.spatial.transform import Rotation

from dexgrasp_description import GraspSet, load_arm, load_cell, load_hand

CELL = load_cell("ur5_leap")
ARM, HAND = load_arm(CELL.arm), load_hand(CELL.hand)
OPENED = np.array([0.0, 0.4, 0.3, 0.2] * 3 + [1.2, 0.0, 0.2, 0.2])
CLOSED = np.array([0.0, 1.0, 0.6, 0.5] * 3 + [1.4, 0.3, 0.3, 0.4])
# Middle of the closed hand's inner surface, palm frame [m]; the fingertips reach 5 cm further.
BETWEEN_FINGERS = np.array([-0.013, -0.031, -0.089])


@pytest.fixture(scope="module", params=[name for name, _ in MOTION_PLANNERS])
def planner(request: pytest.FixtureRequest) -> GraspMotionPlanner:
    """Every motion planner in turn: what follows is their contract."""
    if missing := MOTION_PLANNERS.get(request.param).missing():
        pytest.skip(f"motion planner {request.param!r} needs {', '.join(missing)}")
    return MOTION_PLANNERS.create(request.param, CELL, MotionConfig())


def palm_pose(middle: tuple[float, float, float], yaw: float = 0.3, tilt: float = 0.0) -> np.ndarray:
    """Palm above a point that lies between the closed fingers, tilted from straight down about world y [rad]."""
    pose = np.eye(4)
    pose[:3, :3] = (Rotation.from_euler("y", tilt) * Rotation.from_euler("z", yaw)).as_matrix()
    pose[:3, 3] = np.array(middle) - pose[:3, :3] @ BETWEEN_FINGERS
    return pose


def grasp(palm: np.ndarray, **changes: object) -> GraspSet:
    nan = np.full(1, np.nan)
    between = apply(palm, BETWEEN_FINGERS)
    squeeze = np.clip(CLOSED + 0.1, HAND.lower, HAND.upper)
    row = GraspSet(
        HAND.name, palm[None], OPENED[None], CLOSED[None], squeeze[None], np.ones(1), nan, nan, between[None]
    )
    return replace(row, **changes)


def block(centre: tuple[float, float, float], size: tuple[float, float, float]) -> np.ndarray:
    """Points on the surface of a box."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.5, 0.5, (3000, 3))
    face = rng.integers(0, 3, 3000)
    points[np.arange(3000), face] = np.where(rng.random(3000) < 0.5, -0.5, 0.5)
    return np.array(centre) + points * size


OBJECT = block((0.0, 0.05, 0.05), (0.05, 0.05, 0.10))
ABOVE_OBJECT = palm_pose((0.0, 0.05, 0.08))


def request(world_T_palm: np.ndarray = ABOVE_OBJECT, cloud: np.ndarray = OBJECT, **changes: object) -> PlanRequest:
    return replace(PlanRequest(grasp(world_T_palm), CELL.home, HAND.home, cloud), **changes)


@pytest.fixture(scope="module")
def motion(planner: GraspMotionPlanner) -> GraspMotion:
    return planner.plan(request())


def phase(motion: GraspMotion, kind: PhaseKind):
    return next(phase for phase in motion.phases if phase.kind == kind)


def world_T_palm(arm: np.ndarray) -> np.ndarray:
    """By torch, independently of the planner's own kinematics."""
    base_T_flange = ForwardKinematics(ARM).link_poses(torch.as_tensor(arm)[None])[ARM.flange_link][0].numpy()
    return CELL.world_T_base @ base_T_flange @ CELL.flange_T_palm


def test_the_phases_come_in_order_and_join_without_a_gap(motion: GraspMotion) -> None:
    assert [phase.kind for phase in motion.phases] == list(PhaseKind)
    arm, hand = CELL.home, HAND.home
    for step in motion.phases:
        for trajectory, now in ((step.arm, arm), (step.hand, hand)):
            if trajectory is not None:
                assert trajectory.positions[0] == pytest.approx(now, abs=1e-6)
                assert trajectory.times[0] == 0.0
                assert (np.diff(trajectory.times) > 0.0).all()
                assert not trajectory.velocities[[0, -1]].any()
        arm = arm if step.arm is None else step.arm.end
        hand = hand if step.hand is None else step.hand.end
    assert arm == pytest.approx(CELL.home, abs=1e-6)
    assert hand == pytest.approx(HAND.home)


def test_pregrasp_is_ten_centimetres_back_with_the_fingers_opened(motion: GraspMotion) -> None:
    step = phase(motion, PhaseKind.PREGRASP)
    expected = ABOVE_OBJECT.copy()
    expected[:3, 3] += PREGRASP_RETREAT * ABOVE_OBJECT[:3, 2]
    assert world_T_palm(step.arm.end) == pytest.approx(expected, abs=1e-6)
    assert step.hand.end == pytest.approx(OPENED)


def test_cover_is_a_straight_line_to_the_grasp_pose_with_the_hand_still(motion: GraspMotion) -> None:
    step = phase(motion, PhaseKind.COVER)
    assert step.hand is None
    assert world_T_palm(step.arm.end) == pytest.approx(ABOVE_OBJECT, abs=1e-6)
    for q in step.arm.positions:
        pose = world_T_palm(q)
        across = invert(ABOVE_OBJECT) @ pose
        assert np.abs(across[:2, 3]).max() < 1e-3
        assert across[:3, :3] == pytest.approx(np.eye(3), abs=5e-3)


def test_grasp_and_squeeze_close_the_hand_with_the_arm_still(motion: GraspMotion) -> None:
    closing, pressing = phase(motion, PhaseKind.GRASP), phase(motion, PhaseKind.SQUEEZE)
    assert closing.arm is None
    assert pressing.arm is None
    assert closing.hand.end == pytest.approx(CLOSED)
    assert pressing.hand.end == pytest.approx(np.clip(CLOSED + 0.1, HAND.lower, HAND.upper))
    assert closing.hand.duration >= 0.8
    assert pressing.hand.duration >= 0.5


def test_lift_raises_the_palm_by_twenty_centimetres_on_a_line(motion: GraspMotion) -> None:
    step = phase(motion, PhaseKind.LIFT)
    rise = world_T_palm(step.arm.end)[:3, 3] - ABOVE_OBJECT[:3, 3]
    assert rise == pytest.approx([0.0, 0.0, LIFT_HEIGHT], abs=1e-3)
    assert step.hand is None


def test_the_lift_goes_back_along_steep_approaches_and_straight_up_from_flat_ones() -> None:
    for tilt, back in ((0.0, True), (59.0, True), (61.0, False), (90.0, False)):
        approach = np.array([np.sin(np.radians(tilt)), 0.0, -np.cos(np.radians(tilt))])
        expected = -LIFT_HEIGHT * approach if back else np.array([0.0, 0.0, LIFT_HEIGHT])
        assert lift_shift(approach) == pytest.approx(expected)


def test_move_ends_above_the_bin_and_release_opens_the_hand_there(motion: GraspMotion) -> None:
    palm = world_T_palm(phase(motion, PhaseKind.MOVE).arm.end)
    held = apply(palm @ invert(ABOVE_OBJECT), OBJECT)
    inside = np.abs(held[:, :2] - CELL.bin.center) < CELL.bin.inner_size[:2] / 2.0
    assert inside.all()
    assert held[:, 2].min() > CELL.bin.inner_size[2]
    release = phase(motion, PhaseKind.RELEASE)
    assert release.arm is None
    assert release.hand.end == pytest.approx(OPENED)


def test_velocities_and_accelerations_keep_to_their_scaled_limits(motion: GraspMotion) -> None:
    config = MotionConfig()
    for step in motion.phases:
        if step.arm is not None:
            assert (np.abs(step.arm.velocities) <= 1.001 * config.velocity_scale * ARM.velocity_limit).all()
            acceleration = np.diff(step.arm.velocities, axis=0) / np.diff(step.arm.times)[:, None]
            assert (np.abs(acceleration) <= 1.1 * config.acceleration_scale * ARM.acceleration_limit).all()
        if step.hand is not None:
            assert (np.abs(step.hand.velocities) <= 1.001 * HAND.velocity_limit).all()


def clearances(
    planner: GraspMotionPlanner, arm: np.ndarray, hand: np.ndarray, cloud: np.ndarray
) -> tuple[float, float]:
    """Distances of arm and hand to a cloud and to the table [m], by the primitives' own closed forms."""
    to_cloud, to_table = np.inf, np.inf
    for primitive, world_T_link in planner.manipulator.primitive_poses(arm, hand):
        if primitive.link == ARM.base_link:
            continue
        to_cloud = min(to_cloud, primitive.signed_distance(apply(invert(world_T_link), cloud)).min())
        surface = primitive.sample_surface(30, np.random.default_rng(0))[0]
        to_table = min(to_table, apply(world_T_link, surface)[:, 2].min())
    return to_cloud, to_table


@pytest.mark.slow
def test_free_moves_touch_neither_scene_nor_table_at_any_time(planner: GraspMotionPlanner) -> None:
    wall = block((-0.02, -0.16, 0.15), (0.20, 0.02, 0.30))
    cloud = np.concatenate([OBJECT, wall])
    motion = planner.plan(request(cloud=cloud))
    hand = HAND.home
    for step in motion.phases:
        if step.arm is not None and step.kind in (PhaseKind.PREGRASP, PhaseKind.MOVE, PhaseKind.HOME):
            times = np.arange(0.0, step.arm.duration, 0.05)
            fingers = np.repeat(hand[None], len(times), axis=0) if step.hand is None else step.hand.at(times)
            obstacles = (cloud if step.kind == PhaseKind.PREGRASP else wall)[::8]
            for q, posture in zip(step.arm.at(times), fingers, strict=True):
                to_cloud, to_table = clearances(planner, q, posture, obstacles)
                assert to_cloud > 0.0
                assert to_table > 0.0
        hand = hand if step.hand is None else step.hand.end


def test_a_steep_grasp_lifts_back_along_its_approach(planner: GraspMotionPlanner) -> None:
    pose = palm_pose((0.0, 0.05, 0.08), yaw=0.3, tilt=-0.4)
    motion = planner.plan(request(pose))
    rise = world_T_palm(phase(motion, PhaseKind.LIFT).arm.end)[:3, 3] - pose[:3, 3]
    length = np.linalg.norm(rise)
    assert LEAST_LIFT <= length <= LIFT_HEIGHT + 1e-3
    assert rise / length == pytest.approx(pose[:3, 2], abs=1e-2)


def test_the_same_request_gives_the_same_motion(motion: GraspMotion) -> None:
    again = MOTION_PLANNERS.create("ompl", CELL, MotionConfig()).plan(request())
    for first, second in zip(motion.phases, again.phases, strict=True):
        for a, b in ((first.arm, second.arm), (first.hand, second.hand)):
            assert (a is None) == (b is None)
            if a is not None:
                assert np.array_equal(a.positions, b.positions)


@pytest.mark.parametrize("where", [(3.0, 0.0, 0.1), (0.0, 0.0, 2.0), (-0.55, 0.0, 0.1)])
def test_an_unreachable_grasp_is_refused(planner: GraspMotionPlanner, where: tuple[float, float, float]) -> None:
    with pytest.raises(UnreachableError):
        planner.plan(request(palm_pose(where)))


def test_a_grasp_below_the_table_is_in_collision(planner: GraspMotionPlanner) -> None:
    with pytest.raises(GraspInCollisionError, match="touches table"):
        planner.plan(request(palm_pose((0.0, 0.05, 0.04)), np.empty((0, 3))))


def test_a_neighbour_where_the_hand_would_be_is_in_collision(planner: GraspMotionPlanner) -> None:
    palm = ABOVE_OBJECT[:3, 3]
    neighbour = block((palm[0] - 0.03, palm[1] + 0.05, 0.08), (0.06, 0.03, 0.16))
    with pytest.raises(GraspInCollisionError, match="touches"):
        planner.plan(request(cloud=np.concatenate([OBJECT, neighbour])))


def test_behind_a_wall_through_which_the_arm_reaches_there_is_no_path(planner: GraspMotionPlanner) -> None:
    """A wall between home and object, with a hole that fits the arm where it stands and nothing else."""
    x, z = np.meshgrid(np.arange(-1.2, 0.6, 0.02), np.arange(0.02, 1.3, 0.02))
    wall = np.stack([x.ravel(), np.full(x.size, -0.22), z.ravel()], axis=1)
    quick = MOTION_PLANNERS.create("ompl", CELL, MotionConfig(path_budget=0.2, time_budget=20.0))
    with pytest.raises(NoPathError):
        quick.plan(request(cloud=np.concatenate([OBJECT, wall])))


def test_a_start_inside_an_obstacle_of_the_cell_is_said_to_be_so(planner: GraspMotionPlanner) -> None:
    low = CELL.home.copy()
    low[1] += 1.2
    with pytest.raises(StartInCollisionError, match="touches"):
        planner.plan(request(start_arm=low))


def test_the_robots_own_image_does_not_count_as_a_collision(planner: GraspMotionPlanner) -> None:
    rng = np.random.default_rng(0)
    own = np.concatenate(
        [
            apply(pose, primitive.sample_surface(200, rng)[0])
            for primitive, pose in planner.manipulator.primitive_poses(CELL.home, HAND.home)
        ]
    )
    motion = planner.plan(request(cloud=np.concatenate([OBJECT, own])))
    assert len(motion.phases) == len(PhaseKind)


def test_a_budget_that_is_too_small_is_a_timeout() -> None:
    hasty = MOTION_PLANNERS.create("ompl", CELL, MotionConfig(time_budget=1e-4))
    with pytest.raises(PlanTimeoutError, match="time_budget"):
        hasty.plan(request())


@pytest.mark.parametrize(
    "changes",
    [
        {"hand": "panda_gripper"},
        {"grasp": np.full((1, 16), 9.0)},
        {"pregrasp": np.full((1, 16), np.nan)},
        {"world_T_palm": 2.0 * np.eye(4)[None]},
        {"world_T_palm": np.full((1, 4, 4), np.nan)},
    ],
)
def test_what_is_no_grasp_of_this_hand_is_refused(planner: GraspMotionPlanner, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidGraspError):
        planner.plan(request(grasp=grasp(ABOVE_OBJECT, **changes)))


def test_a_start_of_the_wrong_size_is_refused(planner: GraspMotionPlanner) -> None:
    with pytest.raises(InvalidGraspError, match="start of the arm"):
        planner.plan(request(start_arm=np.zeros(5)))


@pytest.mark.slow
def test_nine_of_ten_top_down_grasps_over_the_whole_area_are_planned(planner: GraspMotionPlanner) -> None:
    rng = np.random.default_rng(0)
    x0, x1, y0, y1 = CELL.area
    planned = 0
    for _ in range(40):
        height = rng.uniform(0.05, 0.15)
        x, y = rng.uniform(x0, x1), rng.uniform(y0, y1)
        pose = palm_pose((x, y, max(height - 0.02, 0.08)), yaw=rng.uniform(-np.pi, np.pi))
        with suppress(MotionError):
            planner.plan(request(pose, block((x, y, height / 2.0), (0.05, 0.05, height))))
            planned += 1
    assert planned >= 36
