"""The arm driver as a process of its own, over DDS on one side and real RTDE bytes on the other."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import rclpy
from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from dexgrasp_common.nodes.messages import trajectory_msg
from dexgrasp_control.driver import ResultCode
from dexgrasp_control.errors import DriverFault
from dexgrasp_sim.emulators.ur_controller import UrController
from dexgrasp_sim.plant import KinematicPlant
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from dexgrasp_description import load_arm, load_cell

MODEL = load_arm("ur5")
START = np.array([0.0, -1.57, 1.57, -1.57, -1.57, 0.0])


class Client:
    """What the test sees of a driver node, spun only while the test waits."""

    def __init__(self, part: str, joint_names: tuple[str, ...]) -> None:
        self.node = rclpy.create_node("test_client")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.joint_names = joint_names
        self.position: np.ndarray | None = None
        self.stamps: list[float] = []
        self.fault = "unknown"
        self.diagnosis = ""
        self.action = ActionClient(self.node, FollowJointTrajectory, f"{part}/follow_joint_trajectory")
        self.stop = self.node.create_client(Trigger, f"{part}/stop")
        self.node.create_subscription(JointState, "joint_states", self._on_state, 10)
        self.node.create_subscription(DiagnosticArray, "diagnostics", self._on_diagnostics, 10)

    def until(self, condition: Callable[[], bool], timeout: float = 15.0) -> float:
        """Spin until a condition holds; how long that took [s]."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < timeout, f"not within {timeout} s; diagnosis: {self.diagnosis}"
            self.executor.spin_once(timeout_sec=0.01)
        return time.monotonic() - began

    def ready(self) -> None:
        self.until(lambda: self.position is not None and self.fault == "" and self.action.server_is_ready())

    def send(self, goal: FollowJointTrajectory.Goal):
        sending = self.action.send_goal_async(goal)
        self.until(sending.done)
        assert sending.result().accepted
        return sending.result(), sending.result().get_result_async()

    def result(self, goal: FollowJointTrajectory.Goal, timeout: float = 10.0) -> FollowJointTrajectory.Result:
        _, outcome = self.send(goal)
        self.until(outcome.done, timeout)
        return outcome.result().result

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()

    def _on_state(self, message: JointState) -> None:
        if tuple(message.name) == self.joint_names:
            self.position = np.array(message.position)
            self.stamps.append(time.monotonic())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            self.fault, self.diagnosis = values.get("fault", ""), status.message


def start_node(executable: str, **parameters: str) -> subprocess.Popen:
    arguments = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    return subprocess.Popen(
        [sys.executable, "-m", f"dexgrasp_control.nodes.{executable}", "--ros-args", *arguments],
        stdout=subprocess.DEVNULL,
    )


def end(process: subprocess.Popen) -> int:
    process.terminate()
    try:
        return process.wait(timeout=10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@pytest.fixture
def plant() -> KinematicPlant:
    return KinematicPlant(MODEL.joint_names, START)


@pytest.fixture
def controller(plant: KinematicPlant, loopback_ip: str) -> Iterator[UrController]:
    with UrController(plant, loopback_ip, unlock_delay=0.1) as controller:
        yield controller


@pytest.fixture
def driver(controller: UrController, ros_context: None) -> Iterator[subprocess.Popen]:
    process = start_node("arm_driver", ip=controller.ip)
    yield process
    end(process)


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


def test_joint_states_come_at_their_rate_and_the_arm_stands_in_the_world(client: Client) -> None:
    received: list[TFMessage] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    client.node.create_subscription(TFMessage, "/tf_static", received.append, latched)
    client.until(lambda: bool(received))
    transform = received[0].transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("world", MODEL.base_link)
    assert transform.transform.translation.x == pytest.approx(load_cell().world_T_base[0, 3])

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
