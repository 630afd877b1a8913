"""A driver as a node: a FollowJointTrajectory action, joint states, diagnostics and a stop service."""

from __future__ import annotations

import threading
import time
from concurrent.futures import TimeoutError as FutureTimeout

import numpy as np
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from dexgrasp_common.nodes.messages import MessageError, duration_msg, seconds, trajectory_arrays
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dexgrasp_control.driver import Driver, MotionResult, ResultCode, Run, Tolerances, TrajectoryRefused
from dexgrasp_control.phases import Trajectory

FEEDBACK_PERIOD = 0.05
DIAGNOSTICS_PERIOD = 1.0


class JointDriverNode(Node):
    """One arm or hand on ROS.

    A goal is always accepted and answered in its result, because only a result can say what is wrong with it. While
    one trajectory runs, another is turned down with INVALID_GOAL. The trajectory begins at once; its header's stamp
    is not looked at.

    Args:
        name: Name of the node.
        part: "arm" or "hand": the namespace of its action and service.
    """

    def __init__(self, name: str, part: str) -> None:
        super().__init__(name)
        self._part = part

    def serve(self, driver: Driver, backend: str, rate: float, tolerances: Tolerances) -> None:
        """Offer a driver.

        Args:
            driver: What moves.
            backend: Its name, for diagnostics.
            rate: Joint states a second [Hz].
            tolerances: Used where a goal leaves a tolerance at zero.
        """
        self._driver = driver
        self._backend = backend
        self._period = 1.0 / rate
        self._tolerances = tolerances
        self._run: Run | None = None
        self._closing = threading.Event()
        group = ReentrantCallbackGroup()
        self._joint_states = self.create_publisher(JointState, "joint_states", 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "diagnostics", 10)
        self._action = ActionServer(
            self,
            FollowJointTrajectory,
            f"{self._part}/follow_joint_trajectory",
            self._execute,
            goal_callback=lambda goal: GoalResponse.ACCEPT,
            cancel_callback=self._on_cancel,
            callback_group=group,
        )
        self.create_service(Trigger, f"{self._part}/stop", self._on_stop, callback_group=group)
        # Not a timer: a MultiThreadedExecutor spends more on waking for one than the publishing itself costs.
        self._publisher = threading.Thread(target=self._publish, name=f"{self._part}_states", daemon=True)
        self._publisher.start()

    def destroy_node(self) -> None:
        if hasattr(self, "_closing"):
            self._closing.set()
            self._publisher.join(timeout=2.0)
            self._driver.close()
            self._action.destroy()
        super().destroy_node()

    def _execute(self, handle: ServerGoalHandle) -> FollowJointTrajectory.Result:
        try:
            run = self._driver.follow(self._trajectory(handle.request.trajectory), self._wanted(handle.request))
        except TrajectoryRefused as error:
            return self._end(handle, MotionResult(error.result, str(error)))
        except MessageError as error:
            return self._end(handle, MotionResult(ResultCode.INVALID_GOAL, str(error)))
        self._run = run
        if handle.is_cancel_requested:
            run.cancel()
        while True:
            try:
                return self._end(handle, run.result.result(timeout=FEEDBACK_PERIOD))
            except FutureTimeout:
                self._feed_back(handle, run)

    def _end(self, handle: ServerGoalHandle, result: MotionResult) -> FollowJointTrajectory.Result:
        if result.cancelled and handle.is_cancel_requested:
            handle.canceled()
        elif result.code == ResultCode.SUCCESSFUL:
            handle.succeed()
        else:
            self.get_logger().warning(f"A trajectory ended with code {int(result.code)}: {result.message}")
            handle.abort()
        return FollowJointTrajectory.Result(error_code=int(result.code), error_string=result.message)

    def _feed_back(self, handle: ServerGoalHandle, run: Run) -> None:
        reading = self._driver.reading()
        if reading is None:
            return
        position, velocity = run.path.at(run.elapsed)
        elapsed = duration_msg(run.elapsed)
        feedback = FollowJointTrajectory.Feedback(joint_names=list(self._driver.joint_names))
        feedback.header.stamp = self.get_clock().now().to_msg()
        feedback.desired = _point(position, velocity, elapsed)
        feedback.actual = _point(reading.position, reading.velocity, elapsed)
        feedback.error = _point(position - reading.position, velocity - reading.velocity, elapsed)
        handle.publish_feedback(feedback)

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        if self._run is not None:
            self._run.cancel()
        return CancelResponse.ACCEPT

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._driver.stop(f"the service {self._part}/stop was called")
        health = self._driver.health()
        response.success = self._driver.reading() is not None
        response.message = "stopped" if response.success else health.message
        return response

    def _trajectory(self, message: JointTrajectory) -> Trajectory:
        if not message.points:
            raise MessageError("The trajectory has no points; at least one is needed.")
        times, positions = trajectory_arrays(message)
        width = len(message.joint_names)
        velocities = None
        if all(len(point.velocities) == width for point in message.points):
            velocities = np.array([list(point.velocities) for point in message.points])
        return Trajectory(tuple(message.joint_names), times, positions, velocities)

    def _wanted(self, goal: FollowJointTrajectory.Goal) -> Tolerances:
        goal_time = seconds(goal.goal_time_tolerance)
        return Tolerances(
            self._merged(goal.path_tolerance, self._tolerances.path),
            self._merged(goal.goal_tolerance, self._tolerances.goal),
            goal_time if goal_time > 0.0 else self._tolerances.goal_time,
        )

    def _merged(self, asked: list[JointTolerance], default: np.ndarray | None) -> np.ndarray | None:
        """Tolerances by joint: positive as asked, negative none, zero or absent the default."""
        names = self._driver.joint_names
        merged = np.full(len(names), np.inf) if default is None else default.copy()
        for tolerance in asked:
            if tolerance.name in names and tolerance.position != 0.0:
                merged[names.index(tolerance.name)] = tolerance.position if tolerance.position > 0.0 else np.inf
        return None if np.isinf(merged).all() else merged

    def _publish(self) -> None:
        """Joint states while there are any, diagnostics once a second and whenever the fault changes."""
        last, diagnosed, fault = 0.0, 0.0, None
        while not self._closing.wait(self._period):
            reading = self._driver.reading()
            if reading is not None and reading.time != last:
                last = reading.time
                self._publish_state(reading)
            health = self._driver.health()
            now = time.monotonic()
            if now - diagnosed > DIAGNOSTICS_PERIOD or health.fault != fault:
                diagnosed, fault = now, health.fault
                self._publish_diagnostics(health)

    def _publish_state(self, reading) -> None:
        age = Duration(seconds=max(0.0, time.monotonic() - reading.time))
        message = JointState(name=list(self._driver.joint_names))
        message.header.stamp = (self.get_clock().now() - age).to_msg()
        message.position = reading.position.tolist()
        message.velocity = reading.velocity.tolist()
        if reading.effort is not None:
            message.effort = reading.effort.tolist()
        self._joint_states.publish(message)

    def _publish_diagnostics(self, health) -> None:
        status = DiagnosticStatus(
            level=DiagnosticStatus.OK if health.fault is None else DiagnosticStatus.ERROR,
            name=f"{self._part}: {self._backend}",
            message=health.message,
            hardware_id=self._backend,
            values=[KeyValue(key=key, value=value) for key, value in health.values.items()],
        )
        if health.fault is not None:
            status.values.append(KeyValue(key="fault", value=health.fault.name))
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _point(position, velocity, elapsed) -> JointTrajectoryPoint:
    return JointTrajectoryPoint(positions=position.tolist(), velocities=velocity.tolist(), time_from_start=elapsed)
