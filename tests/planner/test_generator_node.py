"""The grasp_generator node over real DDS: every kind of bad input has its own error, and the next goal works."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import rclpy
from dexgrasp_common.nodes.clients import call_action
from dexgrasp_common.nodes.messages import pose_matrix
from dexgrasp_common.transforms import apply, invert
from numpy.typing import NDArray
from rclpy.action import ActionClient
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dexgrasp_description import load_cell, load_hand
from dexgrasp_msgs.action import GenerateGrasp

CODES = GenerateGrasp.Result


def box_on_table() -> NDArray[np.float32]:
    """Top and front of a 5 x 5 x 9 cm box and the table around it, world frame."""
    across = np.linspace(-0.025, 0.025, 26)
    up = np.linspace(0.0, 0.09, 46)
    table = np.linspace(-0.14, 0.14, 57)
    x, y = (axis.ravel() for axis in np.meshgrid(across, across))
    top = np.stack([x, y, np.full_like(x, 0.09)], axis=1)
    y, z = (axis.ravel() for axis in np.meshgrid(across, up))
    front = np.stack([np.full_like(y, 0.025), y, z], axis=1)
    x, y = (axis.ravel() for axis in np.meshgrid(table, table))
    return np.concatenate([top, front, np.stack([x, y, np.zeros_like(x)], axis=1)]).astype(np.float32)


@dataclass
class Client:
    """A node with the action's client, a cloud publisher and the markers that came in."""

    node: Node
    action: ActionClient
    markers: list[MarkerArray]
    feedback: list[int]

    def call(self, goal: GenerateGrasp.Goal, **options: object) -> GenerateGrasp.Result:
        self.feedback.clear()
        return call_action(
            self.action, goal, 30.0, on_feedback=lambda message: self.feedback.append(message.stage), **options
        )


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    import os

    environment = os.environ | {"ROS_DOMAIN_ID": "101", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    process = subprocess.Popen(
        [sys.executable, "-m", "dexgrasp_planner.nodes.grasp_generator", "--ros-args", "-p", "cloud_timeout:=0.6"],
        env=environment,
    )
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=101)
    node = rclpy.create_node("client", context=context)
    markers: list[MarkerArray] = []
    node.create_subscription(MarkerArray, "grasps/markers", markers.append, 1)
    action = ActionClient(node, GenerateGrasp, "generate_grasp")
    executor = MultiThreadedExecutor(num_threads=2, context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        assert action.wait_for_server(timeout_sec=30.0), "the node did not come up within 30 s"
        yield Client(node, action, markers, [])
    finally:
        process.terminate()
        status = process.wait(timeout=10.0)
        executor.shutdown()
        thread.join(timeout=5.0)
        node.destroy_node()
        context.try_shutdown()
    assert status == 0, "the node must leave cleanly on SIGTERM"


def cloud(points: NDArray[np.float32], frame: str, client: Client) -> PointCloud2:
    from dexgrasp_common.nodes.messages import points_to_cloud

    return points_to_cloud(points, Header(frame_id=frame, stamp=client.node.get_clock().now().to_msg()))


def in_camera() -> NDArray[np.float32]:
    return apply(invert(load_cell("ur5_leap").world_T_camera), box_on_table())


def test_a_cloud_in_the_goal_gives_ranked_grasps_in_world(client: Client) -> None:
    result = client.call(GenerateGrasp.Goal(cloud=cloud(in_camera(), "camera", client), max_grasps=20, seed=3))
    assert result.error_code == CODES.SUCCESS, result.error_msg
    grasps = result.grasps.grasps
    assert 1 <= len(grasps) <= 20
    assert result.candidates >= len(grasps)
    scores = [grasp.score for grasp in grasps]
    assert scores == sorted(scores, reverse=True)
    assert {stage.stage for stage in result.stage_times} == {"prepare", "generate", "filter", "rank"}
    for grasp in grasps:
        assert grasp.header.frame_id == "world"
        assert tuple(grasp.joint_names) == load_hand("leap_right").joint_names
        assert np.linalg.norm(pose_matrix(grasp.palm_pose)[:2, 3]) < 0.25
        assert 0.0 < grasp.seed_point.z < 0.1
    assert client.feedback, "no stage was fed back"
    assert set(client.feedback) <= {1, 2, 3, 4}


def test_markers_show_the_best_grasps(client: Client) -> None:
    client.markers.clear()
    client.call(GenerateGrasp.Goal(cloud=cloud(box_on_table(), "world", client), max_grasps=5))
    end = time.monotonic() + 5.0
    while not client.markers and time.monotonic() < end:
        time.sleep(0.02)
    names = {marker.ns: len(marker.points) for marker in client.markers[-1].markers}
    assert names["palm_axes"] > 0
    assert names["fingertips"] == names["palm_axes"] // 6 * 4


def test_the_same_seed_gives_the_same_grasps(client: Client) -> None:
    goal = GenerateGrasp.Goal(cloud=cloud(box_on_table(), "world", client), max_grasps=5, seed=11)
    first, second = client.call(goal), client.call(goal)
    assert [g.palm_pose for g in first.grasps.grasps] == [g.palm_pose for g in second.grasps.grasps]


@pytest.mark.parametrize(
    ("points", "frame", "code"),
    [
        (np.zeros((0, 3), np.float32), "camera", CODES.EMPTY_CLOUD),
        (np.full((100, 3), np.nan, np.float32), "camera", CODES.INVALID_CLOUD),
        (box_on_table(), "tool0", CODES.WRONG_FRAME),
        (box_on_table()[box_on_table()[:, 2] <= 0.0], "world", CODES.NO_OBJECTS),
    ],
)
def test_bad_clouds_have_their_own_error(client: Client, points: NDArray[np.float32], frame: str, code: int) -> None:
    result = client.call(GenerateGrasp.Goal(cloud=cloud(points, frame, client)))
    assert result.error_code == code
    assert result.error_msg
    assert not result.grasps.grasps


def test_a_cloud_without_xyz_is_invalid(client: Client) -> None:
    message = cloud(box_on_table(), "world", client)
    message.fields = message.fields[:2]
    assert client.call(GenerateGrasp.Goal(cloud=message)).error_code == CODES.INVALID_CLOUD


def test_an_object_in_a_narrow_well_gives_no_grasps(client: Client) -> None:
    steps = np.linspace(-0.19, 0.19, 96)
    x, y = (axis.ravel() for axis in np.meshgrid(steps, steps))
    far = np.maximum(np.abs(x), np.abs(y))
    z = np.select([far < 0.02, far < 0.065], [0.03, 0.0], 0.18)
    well = np.stack([x, y, z], axis=1).astype(np.float32)
    result = client.call(GenerateGrasp.Goal(cloud=cloud(well, "world", client)))
    assert result.error_code == CODES.NO_GRASPS
    assert result.error_msg


def test_an_unknown_generator_is_named_with_the_valid_ones(client: Client) -> None:
    result = client.call(GenerateGrasp.Goal(generator="psychic"))
    assert result.error_code == CODES.UNKNOWN_GENERATOR
    assert "heuristic" in result.error_msg


def test_too_many_grasps_are_an_invalid_goal(client: Client) -> None:
    result = client.call(GenerateGrasp.Goal(max_grasps=10**6))
    assert result.error_code == CODES.INVALID_GOAL


def test_without_a_cloud_the_deadline_says_so_and_an_old_one_does_not_count(client: Client) -> None:
    start = time.monotonic()
    assert client.call(GenerateGrasp.Goal()).error_code == CODES.NO_CLOUD
    assert time.monotonic() - start < 5.0
    publisher = client.node.create_publisher(PointCloud2, "perception/points", qos_profile_sensor_data)
    message = cloud(box_on_table(), "world", client)
    message.header.stamp.sec -= 5
    publish_until_heard(publisher, message)
    result = client.call(GenerateGrasp.Goal())
    assert result.error_code == CODES.NO_CLOUD
    assert "old" in result.error_msg
    client.node.destroy_publisher(publisher)


def test_the_newest_cloud_of_the_topic_is_used(client: Client) -> None:
    publisher = client.node.create_publisher(PointCloud2, "perception/points", qos_profile_sensor_data)
    publish_until_heard(publisher, cloud(box_on_table(), "world", client))
    timer = client.node.create_timer(0.2, lambda: publisher.publish(cloud(box_on_table(), "world", client)))
    result = client.call(GenerateGrasp.Goal(max_grasps=3))
    client.node.destroy_timer(timer)
    client.node.destroy_publisher(publisher)
    assert result.error_code == CODES.SUCCESS, result.error_msg


def publish_until_heard(publisher: object, message: PointCloud2) -> None:
    end = time.monotonic() + 5.0
    while publisher.get_subscription_count() == 0 and time.monotonic() < end:
        time.sleep(0.02)
    publisher.publish(message)
    time.sleep(0.1)


def test_a_cancelled_goal_says_so_and_the_next_one_works(client: Client) -> None:
    goal = GenerateGrasp.Goal(cloud=cloud(box_on_table(), "world", client), max_grasps=5)
    start = time.monotonic()
    result = client.call(goal, cancelled=lambda: bool(client.feedback))
    assert result.error_code == CODES.CANCELLED
    assert time.monotonic() - start < 10.0
    assert client.call(goal).error_code == CODES.SUCCESS


def test_two_goals_at_once_are_served_one_after_the_other(client: Client) -> None:
    goal = GenerateGrasp.Goal(cloud=cloud(box_on_table(), "world", client), max_grasps=5)
    results: list[GenerateGrasp.Result] = []
    threads = [
        threading.Thread(target=lambda: results.append(call_action(client.action, goal, 30.0))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=40.0)
    assert [result.error_code for result in results] == [CODES.SUCCESS, CODES.SUCCESS]
