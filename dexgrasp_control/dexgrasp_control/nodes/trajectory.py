"""An arm or hand behind somebody else's FollowJointTrajectory controller."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
import rclpy
from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from dexgrasp_common.nodes.messages import duration_msg, trajectory_msg
from dexgrasp_common.parameters import param
from dexgrasp_description.models import RobotModel
from numpy.typing import NDArray
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import JointState

from dexgrasp_control.checking import checked_path
from dexgrasp_control.driver import Health, MotionResult, Reading, ResultCode, Run, Tolerances, TrajectoryRefused
from dexgrasp_control.errors import ControlError, DriverFault
from dexgrasp_control.phases import Trajectory

ANSWER_TIMEOUT = 2.0
"""A controller that does not answer a goal for this long is lost [s]."""
CHECK_PERIOD = 0.05
RESULTS = {code.value for code in ResultCode} | {fault.value for fault in DriverFault}


class HearsItselfError(ControlError):
    """The controller's joint states would come on the topic on which the driver publishes its own."""


@dataclass(frozen=True)
class TrajectoryConfig:
    """Which controller, and what it is trusted with."""

    controller_action: str = param(
        "joint_trajectory_controller/follow_joint_trajectory", "The controller's FollowJointTrajectory action"
    )
    controller_joint_states: str = param(
        "joint_state_broadcaster/joint_states", "Topic of the controller's joint states; not `joint_states` itself"
    )
    silence_timeout: float = param(0.5, "A robot without joint states for this long is lost [s]", range=(0.05, 5.0))
    speed_limit: float = param(1.0, "Fraction of the velocity limits that a trajectory may use", range=(0.01, 1.0))
    start_tolerance: float = param(
        0.05, "Largest distance of a trajectory's point at time zero from the joints [rad]", range=(0.001, 3.0)
    )


class TrajectoryDriver:
    """Forwards trajectories to a controller that runs elsewhere, and listens to its joint states.

    Trajectories are checked here first, so that a bad one never reaches the controller. A stop cancels the goal; what
    the controller does then is its own affair, and ROS's joint trajectory controller holds its position.

    Args:
        model: The arm or hand, with the controller's joint names.
        address: Not used: a controller is found by names.
        config: See there.
    """

    Config = TrajectoryConfig

    def __init__(self, model: RobotModel, address: str = "", config: TrajectoryConfig | None = None) -> None:
        self.joint_names = model.joint_names
        self._model = model
        self._config = config or TrajectoryConfig()
        self._lock = threading.RLock()
        self._reading: Reading | None = None
        self._run: Run | None = None
        self._handle: ClientGoalHandle | None = None
        self._began = 0.0
        self._node = rclpy.create_node(f"{model.name}_trajectory_driver", use_global_arguments=False)
        topic = self._node.resolve_topic_name(self._config.controller_joint_states)
        if topic == self._node.resolve_topic_name("joint_states"):
            self._node.destroy_node()
            raise HearsItselfError(
                f"The controller's joint states cannot be on {topic}, where this driver publishes. Give them another "
                "name, for example by the broadcaster's use_local_topics, and set controller_joint_states to it."
            )
        self._client = ActionClient(self._node, FollowJointTrajectory, self._config.controller_action)
        self._node.create_subscription(JointState, topic, self._on_state, qos_profile_sensor_data)
        self._node.create_timer(CHECK_PERIOD, self._check)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="trajectory_driver", daemon=True)
        self._thread.start()

    def reading(self) -> Reading | None:
        with self._lock:
            fresh = self._reading is not None and time.monotonic() - self._reading.time < self._config.silence_timeout
            return self._reading if fresh else None

    def health(self) -> Health:
        config = self._config
        values = {"action": config.controller_action, "joint_states": config.controller_joint_states}
        problem = self._problem()
        return Health(None, "ready", values) if problem is None else Health(DriverFault.LOST, problem, values)

    def follow(self, trajectory: Trajectory, tolerances: Tolerances) -> Run:
        with self._lock:
            if self._run is not None:
                raise TrajectoryRefused(
                    ResultCode.INVALID_GOAL,
                    f"{self._model.name} is following another trajectory: cancel it or wait for its end.",
                )
            problem, reading = self._problem(), self.reading()
            if problem is not None or reading is None:
                raise TrajectoryRefused(DriverFault.LOST, problem or "The controller fell silent.")
            path = checked_path(
                trajectory,
                self._model,
                reading,
                self._config.speed_limit,
                self._config.start_tolerance,
                self._model.name,
            )
            run = self._run = Run(path, self._cancel)
            self._handle = None
            self._began = time.monotonic()
        sending = self._client.send_goal_async(self._goal(trajectory, tolerances))
        sending.add_done_callback(lambda future: self._on_answer(run, future))
        return run

    def stop(self, reason: str) -> None:
        self._finish(self._run, MotionResult(DriverFault.STOPPED, f"Stopped: {reason}"), cancel=True)

    def close(self) -> None:
        self._finish(self._run, MotionResult(DriverFault.STOPPED, "Stopped: the driver closes"), cancel=True)
        self._executor.shutdown()
        self._thread.join(timeout=2.0)
        self._client.destroy()
        self._node.destroy_node()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _goal(self, trajectory: Trajectory, tolerances: Tolerances) -> FollowJointTrajectory.Goal:
        ordered = trajectory.reordered(self.joint_names)
        goal = FollowJointTrajectory.Goal(
            trajectory=trajectory_msg(self.joint_names, ordered.times, ordered.positions, ordered.velocities),
            path_tolerance=self._tolerance_msgs(tolerances.path),
            goal_tolerance=self._tolerance_msgs(tolerances.goal),
        )
        goal.goal_time_tolerance = duration_msg(tolerances.goal_time)
        return goal

    def _tolerance_msgs(self, tolerance: NDArray[np.float64] | None) -> list[JointTolerance]:
        """Negative, which means none, where there is none: zero would be the controller's own."""
        limits = [-1.0] * len(self.joint_names) if tolerance is None else np.where(np.isinf(tolerance), -1.0, tolerance)
        return [
            JointTolerance(name=name, position=float(limit))
            for name, limit in zip(self.joint_names, limits, strict=True)
        ]

    def _cancel(self, run: Run) -> None:
        with self._lock:
            handle = self._handle if run is self._run else None
        if handle is None:
            self._finish(run, MotionResult(ResultCode.SUCCESSFUL, "cancelled", cancelled=True), cancel=True)
        else:
            handle.cancel_goal_async()

    def _finish(self, run: Run | None, result: MotionResult, cancel: bool = False) -> None:
        with self._lock:
            if run is None or run is not self._run:
                return
            handle, self._run, self._handle = self._handle, None, None
        if cancel and handle is not None:
            handle.cancel_goal_async()
        run.finish(result)

    def _on_answer(self, run: Run, future: Future) -> None:
        handle: ClientGoalHandle = future.result()
        if not handle.accepted:
            self._finish(run, MotionResult(ResultCode.INVALID_GOAL, "The controller rejected the trajectory."))
            return
        with self._lock:
            current = run is self._run
            if current:
                self._handle = handle
        if current:
            handle.get_result_async().add_done_callback(lambda outcome: self._on_result(run, outcome))
        else:
            handle.cancel_goal_async()  # it was stopped before the controller answered

    def _on_result(self, run: Run, future: Future) -> None:
        status, result = future.result().status, future.result().result
        if status == GoalStatus.STATUS_CANCELED:
            self._finish(run, MotionResult(ResultCode.SUCCESSFUL, "cancelled", cancelled=True))
        elif status == GoalStatus.STATUS_SUCCEEDED:
            self._finish(run, MotionResult(ResultCode.SUCCESSFUL))
        else:
            code = result.error_code if result.error_code in RESULTS - {0} else DriverFault.STOPPED
            text = result.error_string or "no reason given"
            self._finish(run, MotionResult(code, f"The controller ended the trajectory: {text}"))

    def _on_state(self, message: JointState) -> None:
        index = {name: i for i, name in enumerate(message.name)}
        if not all(name in index for name in self.joint_names):
            return
        order = [index[name] for name in self.joint_names]
        zeros = [0.0] * len(message.name)
        effort = np.array(message.effort)[order] if len(message.effort) == len(message.name) else None
        velocity = np.array(message.velocity if len(message.velocity) == len(message.name) else zeros)[order]
        with self._lock:
            self._reading = Reading(np.array(message.position)[order], velocity, effort, time.monotonic())

    def _problem(self) -> str | None:
        """Why nothing can be sent to the controller; None when it can."""
        if self.reading() is None:
            return (
                f"No connection to the controller: no joint states of {self._model.name} on "
                f"{self._config.controller_joint_states} for {self._config.silence_timeout:.2f} s."
            )
        if not self._client.server_is_ready():
            return f"No connection to the controller: nobody offers {self._config.controller_action}."
        return None

    def _check(self) -> None:
        with self._lock:
            run, handle = self._run, self._handle
        if run is None:
            return
        run.elapsed = time.monotonic() - self._began
        problem = self._problem()
        if problem is None and handle is None and run.elapsed > ANSWER_TIMEOUT:
            problem = f"The controller did not answer the goal within {ANSWER_TIMEOUT:.0f} s."
        if problem is not None:
            self._finish(run, MotionResult(DriverFault.LOST, problem), cancel=True)
