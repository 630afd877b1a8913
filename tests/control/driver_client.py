"""What the tests of both drivers share: a client of one driver, and its process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import rclpy
from control_msgs.action import FollowJointTrajectory
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger


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
