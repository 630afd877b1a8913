"""The motion_planner node over real DDS: picks on request, and an error of its own for everything that is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import rclpy
from dexgrasp_common.nodes.clients import call_service
from dexgrasp_common.nodes.messages import points_to_cloud, trajectory_arrays
from dexgrasp_common.transforms import apply, invert
from dexgrasp_planner.nodes.grasp_messages import grasp_array
from rclpy.client import Client
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Header

from dexgrasp_description import GraspSet, load_arm, load_cell, load_hand
from dexgrasp_msgs.msg import Grasp, GraspPhase
from dexgrasp_msgs.srv import PlanGrasp
from dexgrasp_planner import errors

CODES = PlanGrasp.Response
CELL = load_cell("ur5_leap")
ARM, HAND = load_arm(CELL.arm), load_hand(CELL.hand)
OPENED = np.array([0.0, 0.4, 0.3, 0.2] * 3 + [1.2, 0.0, 0.2, 0.2])
CLOSED = np.array([0.0, 1.0, 0.6, 0.5] * 3 + [1.4, 0.3, 0.3, 0.4])
# Top of a 5 x 5 x 10 cm box, world frame [m].
BOX_TOP = np.stack(
    [*np.meshgrid(np.linspace(-0.025, 0.025, 20), np.linspace(0.025, 0.075, 20)), np.full((20, 20), 0.1)]
)


@dataclass
class Caller:
    """A node with the service's client and publishers of what the planner listens to."""

    node: Node
    client: Client
    clouds: Any
    joints: Any

    def call(self, request: PlanGrasp.Request) -> PlanGrasp.Response:
        return call_service(self.client, request, 20.0)


def serve(domain: int, *parameters: str) -> Iterator[Caller]:
    environment = os.environ | {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    set_to = [word for parameter in parameters for word in ("-p", parameter)]
    process = subprocess.Popen(
        [sys.executable, "-m", "dexgrasp_planner.nodes.motion_planner", "--ros-args", *set_to], env=environment
    )
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("caller", context=context)
    client = node.create_client(PlanGrasp, "plan_grasp")
    clouds = node.create_publisher(PointCloud2, "perception/points", qos_profile_sensor_data)
    joints = node.create_publisher(JointState, "joint_states", 10)
    executor = MultiThreadedExecutor(num_threads=2, context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        assert client.wait_for_service(timeout_sec=30.0), "the node did not come up within 30 s"
        yield Caller(node, client, clouds, joints)
    finally:
        process.terminate()
        status = process.wait(timeout=10.0)
        executor.shutdown()
        thread.join(timeout=5.0)
        node.destroy_node()
        context.try_shutdown()
    assert status == 0, "the node must leave cleanly on SIGTERM"


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    yield from serve(102, "input_timeout:=0.5")


@pytest.fixture
def publishing(caller: Caller) -> Iterator[None]:
    """A robot at home and a camera that sees a box, 20 times a second."""
    timers = [
        caller.node.create_timer(0.05, lambda: caller.joints.publish(joint_state(ARM.joint_names, CELL.home))),
        caller.node.create_timer(0.05, lambda: caller.joints.publish(joint_state(HAND.joint_names, HAND.home))),
        caller.node.create_timer(0.05, lambda: caller.clouds.publish(cloud(caller))),
    ]
    wait(lambda: caller.clouds.get_subscription_count() and caller.joints.get_subscription_count())
    yield
    for timer in timers:
        caller.node.destroy_timer(timer)
    # What was published must be too old for the next test.
    time.sleep(2.2)


def wait(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end, "discovery took more than 10 s"
        time.sleep(0.02)


def joint_state(names: tuple[str, ...], positions: np.ndarray) -> JointState:
    return JointState(name=list(names), position=positions.tolist())


def cloud(caller: Caller, frame: str = "camera") -> PointCloud2:
    points = apply(invert(CELL.world_T_camera), np.moveaxis(BOX_TOP, 0, -1)).astype(np.float32)
    points[0, 0] = np.nan
    return points_to_cloud(points, Header(frame_id=frame, stamp=caller.node.get_clock().now().to_msg()))


def grasp(height: float = 0.08, frame: str = "world") -> Grasp:
    world_T_palm = np.eye(4)
    world_T_palm[:3, 3] = np.array([0.0, 0.05, height]) - [-0.013, -0.031, -0.089]
    one, nan = np.ones(1), np.full(1, np.nan)
    squeeze = np.clip(CLOSED + 0.1, HAND.lower, HAND.upper)
    row = GraspSet(
        HAND.name,
        world_T_palm[None],
        OPENED[None],
        CLOSED[None],
        squeeze[None],
        one,
        nan,
        nan,
        np.array([[0, 0.05, 0.1]]),
    )
    return grasp_array(row, HAND.joint_names, Header(frame_id=frame)).grasps[0]


def test_a_pick_is_planned_from_the_latest_state_and_cloud(caller: Caller, publishing: None) -> None:
    response = caller.call(PlanGrasp.Request(grasp=grasp()))
    assert response.error_code == CODES.SUCCESS, response.error_msg
    phases = response.trajectory.phases
    assert [phase.phase for phase in phases] == list(range(GraspPhase.PREGRASP, GraspPhase.HOME + 1))
    assert response.trajectory.grasp.palm_pose == grasp().palm_pose
    assert {stage.stage for stage in response.stage_times} >= {"reach", "scene", "transit", "timing"}
    start = phases[0].arm
    assert tuple(start.joint_names) == ARM.joint_names
    assert trajectory_arrays(start)[1][0] == pytest.approx(CELL.home, abs=1e-6)
    assert tuple(phases[0].hand.joint_names) == HAND.joint_names
    assert trajectory_arrays(phases[0].hand)[1][-1] == pytest.approx(OPENED)
    assert len(start.points[0].velocities) == len(ARM.joint_names)
    for phase, moves_arm in ((GraspPhase.COVER, True), (GraspPhase.GRASP, False)):
        message = phases[phase - 1]
        assert bool(message.arm.points) is moves_arm
        assert bool(message.hand.points) is not moves_arm


def test_a_given_start_comes_before_the_latest_state(caller: Caller, publishing: None) -> None:
    elsewhere = CELL.home + [0.1, -0.1, 0.05, 0.0, 0.0, 0.2]
    response = caller.call(
        PlanGrasp.Request(grasp=grasp(), start_joint_names=list(ARM.joint_names), start_positions=elsewhere.tolist())
    )
    assert response.error_code == CODES.SUCCESS, response.error_msg
    assert trajectory_arrays(response.trajectory.phases[0].arm)[1][0] == pytest.approx(elsewhere, abs=1e-6)


def test_an_unreachable_grasp_is_answered_and_the_next_one_works(caller: Caller, publishing: None) -> None:
    caller.call(PlanGrasp.Request(grasp=grasp()))
    response = caller.call(PlanGrasp.Request(grasp=grasp(3.0)))
    assert response.error_code == CODES.UNREACHABLE
    assert "palm" in response.error_msg
    assert not response.trajectory.phases
    assert caller.call(PlanGrasp.Request(grasp=grasp())).error_code == CODES.SUCCESS


def test_a_grasp_inside_the_table_is_in_collision(caller: Caller, publishing: None) -> None:
    response = caller.call(PlanGrasp.Request(grasp=grasp(0.02)))
    assert response.error_code == CODES.GRASP_IN_COLLISION
    assert "touches" in response.error_msg


def test_another_frame_and_another_hand_are_refused(caller: Caller, publishing: None) -> None:
    assert caller.call(PlanGrasp.Request(grasp=grasp(frame="camera"))).error_code == CODES.WRONG_FRAME
    other = grasp()
    other.hand = "panda_gripper"
    assert caller.call(PlanGrasp.Request(grasp=other)).error_code == CODES.INVALID_GRASP
    empty = PlanGrasp.Request()
    empty.grasp.header.frame_id = "world"
    assert caller.call(empty).error_code == CODES.INVALID_GRASP


def test_without_joint_states_there_is_no_state_and_the_missing_joints_are_named(caller: Caller) -> None:
    start = time.monotonic()
    response = caller.call(PlanGrasp.Request(grasp=grasp()))
    assert response.error_code == CODES.NO_STATE
    assert "shoulder_pan_joint" in response.error_msg
    assert time.monotonic() - start < 3.0


def test_without_a_fresh_cloud_there_is_no_cloud(caller: Caller) -> None:
    names = [*ARM.joint_names, *HAND.joint_names]
    positions = np.concatenate([CELL.home, HAND.home]).tolist()
    request = PlanGrasp.Request(grasp=grasp(), start_joint_names=names, start_positions=positions)
    assert caller.call(request).error_code == CODES.NO_CLOUD
    wait(lambda: caller.clouds.get_subscription_count())
    old = cloud(caller)
    old.header.stamp.sec -= 60
    caller.clouds.publish(old)
    time.sleep(0.3)
    response = caller.call(request)
    assert response.error_code == CODES.NO_CLOUD
    assert "old" in response.error_msg


def test_a_planner_that_is_not_there_says_so_for_every_request() -> None:
    for other in serve(103, "planner:=crystal_ball"):
        for _ in range(2):
            response = other.call(PlanGrasp.Request(grasp=grasp()))
            assert response.error_code == CODES.PLANNER_UNAVAILABLE
            assert "ompl" in response.error_msg


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidGraspError, CODES.INVALID_GRASP),
        (errors.GraspFrameError, CODES.WRONG_FRAME),
        (errors.NoStateError, CODES.NO_STATE),
        (errors.NoSceneCloudError, CODES.NO_CLOUD),
        (errors.StartInCollisionError, CODES.START_IN_COLLISION),
        (errors.UnreachableError, CODES.UNREACHABLE),
        (errors.GraspInCollisionError, CODES.GRASP_IN_COLLISION),
        (errors.NoPathError, CODES.NO_PATH),
        (errors.PlanTimeoutError, CODES.TIMEOUT),
        (errors.MotionPlannerUnavailableError, CODES.PLANNER_UNAVAILABLE),
        (errors.MotionError, CODES.INTERNAL_ERROR),
    ],
)
def test_error_codes_are_those_of_the_interface(error: type[errors.MotionError], code: int) -> None:
    assert error.code == code
