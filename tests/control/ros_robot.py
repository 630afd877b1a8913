"""Stand-ins for the hardware side of the executor, as ROS nodes: drivers over kinematic plants, and a planner."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import rclpy
from control_msgs.action import FollowJointTrajectory
from dexgrasp_common.nodes.messages import trajectory_arrays, trajectory_msg
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.phases import Phase, Trajectory
from dexgrasp_sim.plant import KinematicPlant
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from dexgrasp_msgs.msg import Grasp, GraspPhase, GraspTrajectory
from dexgrasp_msgs.srv import PlanGrasp

from .plant_robot import ARM, HAND, HOME


class PlantDriver(Node):
    """A FollowJointTrajectory driver of one part. `unplugged`: the hardware behind it is gone."""

    def __init__(self, part: str) -> None:
        super().__init__(f"{part}_driver")
        self.part = part
        model = ARM if part == "arm" else HAND
        start = HOME if part == "arm" else HAND.home
        self.plant = KinematicPlant(model.joint_names, start, time_constant=0.005)
        self.unplugged = False
        self.fault = ""
        self.stopped_at: float | None = None
        self._stop = threading.Event()
        group = ReentrantCallbackGroup()
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "diagnostics", 10)
        self.create_timer(0.04, self._publish, callback_group=group)
        self._told: tuple[str, float] = ("", 0.0)
        self.create_service(Trigger, f"{part}/stop", self._on_stop, callback_group=group)
        self._server = ActionServer(
            self,
            FollowJointTrajectory,
            f"{part}/follow_joint_trajectory",
            self._follow,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=group,
        )

    def _publish(self) -> None:
        if not self.unplugged:
            sample = self.plant.read()
            message = JointState(name=list(self.plant.joint_names), position=sample.position.tolist())
            message.header.stamp = self.get_clock().now().to_msg()
            self._states.publish(message)
        fault = "LOST" if self.unplugged else self.fault
        if fault == self._told[0] and time.monotonic() - self._told[1] < 1.0:
            return
        self._told = fault, time.monotonic()
        status = DiagnosticStatus(name=f"{self.part}: plant", level=DiagnosticStatus.OK)
        if fault:
            status.level, status.message = DiagnosticStatus.ERROR, "for this test"
            status.values = [KeyValue(key="fault", value=fault)]
        self._diagnostics.publish(DiagnosticArray(status=[status]))

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.stopped_at = time.monotonic()
        self._stop.set()
        response.success = True
        return response

    def _follow(self, handle) -> FollowJointTrajectory.Result:
        times, positions = trajectory_arrays(handle.request.trajectory)
        begin = time.monotonic()
        self._stop.clear()
        result = FollowJointTrajectory.Result()
        while True:
            now = time.monotonic() - begin
            if handle.is_cancel_requested:
                handle.canceled()
                return result
            if self.unplugged or self._stop.is_set():
                result.error_code = int(DriverFault.LOST if self.unplugged else DriverFault.STOPPED)
                result.error_string = "unplugged" if self.unplugged else "stopped"
                handle.abort()
                return result
            self.plant.command([np.interp(now, times, column) for column in positions.T])
            if now > times[-1]:
                handle.succeed()
                return result
            time.sleep(0.004)


class PlanService(Node):
    """Answers `plan_grasp` with what `answer` says, and counts."""

    def __init__(self, answer: Callable[[PlanGrasp.Request, PlanGrasp.Response], None]) -> None:
        super().__init__("motion_planner")
        self.answer = answer
        self.calls = 0
        self.create_service(PlanGrasp, "plan_grasp", self._on_call, callback_group=ReentrantCallbackGroup())

    def _on_call(self, request: PlanGrasp.Request, response: PlanGrasp.Response) -> PlanGrasp.Response:
        self.calls += 1
        self.answer(request, response)
        return response


def trajectory_message(phases: list[Phase], grasp: Grasp | None = None) -> GraspTrajectory:
    """A GraspTrajectory message of phases."""

    def part(trajectory: Trajectory | None):
        if trajectory is None:
            return trajectory_msg([], np.zeros(0), np.zeros((0, 0)))
        return trajectory_msg(trajectory.joint_names, trajectory.times, trajectory.positions)

    return GraspTrajectory(
        grasp=grasp or Grasp(),
        phases=[GraspPhase(phase=int(phase.name), arm=part(phase.arm), hand=part(phase.hand)) for phase in phases],
    )


def spinning(*nodes: Node) -> Iterator[None]:
    """Spin nodes on threads of their own while the generator is suspended; then stop and destroy them."""
    executors = []
    for node in nodes:
        executor = MultiThreadedExecutor(num_threads=6)
        executor.add_node(node)
        threading.Thread(target=executor.spin, daemon=True).start()
        executors.append(executor)
    yield
    for executor in executors:
        executor.shutdown(timeout_sec=2.0)
    for node in nodes:
        node.destroy_node()


def rclpy_for_a_module() -> Iterator[None]:
    """rclpy on a domain above those of single tests, for nodes that several tests share."""
    rclpy.init(domain_id=102 + os.getpid() % 100)
    yield
    rclpy.try_shutdown()


def wait_until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Wait for something that is to come true; fail the test if it does not."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)
