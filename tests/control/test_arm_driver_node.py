"""The arm driver as a process of its own, over DDS on one side and real RTDE bytes on the other."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from dexgrasp_common.nodes.messages import trajectory_msg
from dexgrasp_control.driver import ResultCode
from dexgrasp_control.errors import DriverFault
from dexgrasp_sim.emulators.ur_controller import UrController
from dexgrasp_sim.plant import KinematicPlant
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from dexgrasp_description import load_arm, load_cell, load_hand

from .driver_client import Client, end, start_node

MODEL = load_arm("ur5")
START = np.array([0.0, -1.57, 1.57, -1.57, -1.57, 0.0])


@pytest.fixture
def plant() -> KinematicPlant:
    return KinematicPlant(MODEL.joint_names, START)


@pytest.fixture
def controller(plant: KinematicPlant, loopback_ip: str) -> Iterator[UrController]:
    with UrController(plant, loopback_ip, unlock_delay=0.1) as controller:
        yield controller


@pytest.fixture
def driver(controller: UrController, ros_context: None) -> Iterator[subprocess.Popen]:
    process = start_node("arm_driver", ip=controller.ip, silence_timeout="0.4")
    yield process
    assert end(process) == 0


@pytest.fixture
def client(driver: subprocess.Popen) -> Iterator[Client]:
    client = Client("arm", MODEL.joint_names)
    client.ready()
    yield client
    client.close()


def goal_to(target: np.ndarray, duration: float) -> FollowJointTrajectory.Goal:
    """A rest-to-rest motion from the present position: one point, so that it starts wherever the arm is."""
    times = np.array([duration])
    return FollowJointTrajectory.Goal(
        trajectory=trajectory_msg(MODEL.joint_names, times, target[None], np.zeros((1, len(target))))
    )


@pytest.mark.slow
def test_a_goal_moves_the_arm_and_stop_cancel_and_loss_end_it(
    client: Client, controller: UrController, plant: KinematicPlant
) -> None:
    """One process start for the whole life of a driver: each step leaves it ready for the next."""
    target = START + 0.4

    result = client.result(goal_to(target, 1.2))
    assert result.error_code == ResultCode.SUCCESSFUL, result.error_string
    np.testing.assert_allclose(plant.read().position, target, atol=0.01)

    assert client.result(goal_to(target + 9.0, 20.0)).error_code == ResultCode.INVALID_GOAL
    wrong = goal_to(target, 1.0)
    wrong.trajectory.joint_names[0] = "elbow"
    result = client.result(wrong)
    assert result.error_code == ResultCode.INVALID_JOINTS
    assert "shoulder_pan_joint" in result.error_string
    np.testing.assert_allclose(plant.read().position, target, atol=0.01)

    handle, outcome = client.send(goal_to(START, 2.0))
    client.until(lambda: np.abs(plant.read().velocity).max() > 0.1)
    assert client.result(goal_to(START, 2.0)).error_string.startswith("The arm is following another trajectory")
    cancelling = handle.cancel_goal_async()
    assert client.until(lambda: np.abs(plant.read().velocity).max() < 0.02) < 0.5
    client.until(lambda: cancelling.done() and outcome.done())
    assert outcome.result().status == GoalStatus.STATUS_CANCELED

    _, outcome = client.send(goal_to(START, 2.0))
    client.until(lambda: np.abs(plant.read().velocity).max() > 0.1)
    stopping = client.stop.call_async(Trigger.Request())
    client.until(outcome.done)
    assert outcome.result().result.error_code == DriverFault.STOPPED
    client.until(stopping.done)
    assert stopping.result().success

    _, outcome = client.send(goal_to(START, 2.0))
    client.until(lambda: np.abs(plant.read().velocity).max() > 0.1)
    controller.protective_stop()
    client.until(outcome.done)
    assert outcome.result().result.error_code == DriverFault.PROTECTIVE_STOP
    client.until(lambda: client.fault == "PROTECTIVE_STOP")
    assert client.result(goal_to(START, 2.0)).error_code == DriverFault.PROTECTIVE_STOP
    time.sleep(0.1)
    assert controller.unlock() == "Protective stop releasing"
    client.until(lambda: client.fault == "")

    _, outcome = client.send(goal_to(START, 2.0))
    client.until(lambda: np.abs(plant.read().velocity).max() > 0.1)
    controller.stop()
    assert client.until(outcome.done) < 0.5
    assert outcome.result().result.error_code == DriverFault.LOST
    client.until(lambda: client.fault == "LOST")
    controller.start()
    client.ready()
    client.until(lambda: client.fault == "")
    assert client.result(goal_to(START, 2.0)).error_code == ResultCode.SUCCESSFUL


def test_the_robot_is_described_stands_in_the_world_and_tells_its_joints_at_their_rate(client: Client) -> None:
    frames: list[TFMessage] = []
    descriptions: list[String] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    client.node.create_subscription(TFMessage, "/tf_static", frames.append, latched)
    client.node.create_subscription(String, "robot_description", descriptions.append, latched)
    client.until(lambda: bool(frames and descriptions))
    cell = load_cell()
    parents = {tf.child_frame_id: tf.header.frame_id for tf in frames[0].transforms}
    assert parents == {MODEL.base_link: "world", "base": MODEL.base_link, "palm": load_hand(cell.hand).base_link}
    assert frames[0].transforms[0].transform.translation.x == pytest.approx(cell.world_T_base[0, 3])

    robot = ElementTree.fromstring(descriptions[0].data)
    movable = {joint.attrib["name"] for joint in robot.findall("joint") if joint.attrib["type"] != "fixed"}
    assert movable == {*MODEL.joint_names, *load_hand(cell.hand).joint_names}
    assert {"world", *parents.values()} <= {link.attrib["name"] for link in robot.findall("link")}

    client.stamps.clear()
    end_time = time.monotonic() + 2.0
    client.until(lambda: time.monotonic() > end_time)
    assert 60 <= len(client.stamps) / 2.0 <= 130


def test_a_goal_may_ask_for_a_tighter_tolerance(client: Client, plant: KinematicPlant) -> None:
    goal = goal_to(START + 0.8, 1.0)
    goal.path_tolerance = [JointTolerance(name=name, position=0.01) for name in MODEL.joint_names]
    result = client.result(goal)
    assert result.error_code == ResultCode.PATH_TOLERANCE_VIOLATED
    assert "off the trajectory" in result.error_string
    client.until(lambda: np.abs(plant.read().velocity).max() < 0.02, 1.0)


def test_an_unknown_backend_is_one_line_at_start(ros_domain: int) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "dexgrasp_control.nodes.arm_driver", "--ros-args", "-p", "arm:=kuka"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert process.returncode == 1
    assert "Unknown arm 'kuka'. Valid names:" in process.stderr
