"""The robot as a node sees it: two FollowJointTrajectory drivers, their joint states and their diagnostics."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from dexgrasp_common.nodes.messages import trajectory_msg
from dexgrasp_common.parameters import param
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from numpy.typing import NDArray
from rclpy.action import ActionClient
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.time import Time
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from dexgrasp_control.errors import DriverFault, DriverUnavailable
from dexgrasp_control.execution import End, Fault, Outcome
from dexgrasp_control.executor import RobotState
from dexgrasp_control.phases import Trajectory

_BLINK = 0.5  # a driver that discovery has lost for longer than this has gone [s]
_POLL = 0.002  # how often newer joint states are looked for [s]
_FAULT_AGE = 2.0  # diagnostics come once a second; older ones say nothing about now [s]
_ENDS = {
    FollowJointTrajectory.Result.SUCCESSFUL: End.SUCCEEDED,
    FollowJointTrajectory.Result.INVALID_GOAL: End.REJECTED,
    FollowJointTrajectory.Result.INVALID_JOINTS: End.REJECTED,
    FollowJointTrajectory.Result.OLD_HEADER_TIMESTAMP: End.REJECTED,
    int(DriverFault.LOST): End.LOST,
    int(DriverFault.PROTECTIVE_STOP): End.PROTECTIVE_STOP,
    int(DriverFault.OVERLOAD): End.OVERLOAD,
}


@dataclass(frozen=True)
class RobotConfig:
    """When a driver counts as gone."""

    state_timeout: float = param(1.0, "A part without joint_states for this long is lost [s]", range=(0.05, 10.0))
    answer_timeout: float = param(
        2.0, "A driver that does not answer a goal for this long is lost [s]", range=(0.1, 30.0)
    )


class _Sample(NamedTuple):
    """Joint states of one part: positions (D,) [rad or m], when they came [s], and when they were measured [ns]."""

    positions: NDArray[np.float64]
    received: float
    stamp: int


class _Motion:
    """A goal on its way to a driver. Accepted or not, its outcome completes once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ended = 0  # by the ROS clock [ns]
        self.outcome: Future[Outcome] = Future()
        self.sent = time.monotonic()
        self.answered = False
        self._lock = threading.Lock()
        self._handle = None
        self._cancelled = False

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            handle = self._handle
        if handle is not None:
            handle.cancel_goal_async()

    def accepted(self, handle) -> None:
        with self._lock:
            self._handle = handle
            cancelled = self._cancelled
        if cancelled:
            handle.cancel_goal_async()

    def end(self, outcome: Outcome) -> None:
        with self._lock:
            if not self.outcome.done():
                self.ended = self._clock.now().nanoseconds
                self.outcome.set_result(outcome)


class DriverMover:
    """The arm or the hand behind its driver.

    Args:
        node: Whose clients to use.
        part: "arm" or "hand", the namespace of the driver.
        group: Reentrant, spun by other threads than the caller's.
        in_contact: The part is meant to press on things: no tolerance is asked for where it ends.
    """

    def __init__(self, node: Node, part: str, group: CallbackGroup, *, in_contact: bool) -> None:
        self.part = part
        self._in_contact = in_contact
        self._client = ActionClient(
            node, FollowJointTrajectory, f"{part}/follow_joint_trajectory", callback_group=group
        )
        self._stop = node.create_client(Trigger, f"{part}/stop", callback_group=group)
        self._seen = -np.inf
        self._clock = node.get_clock()
        self.motion: _Motion | None = None

    def present(self) -> bool:
        """Whether the driver is there, or was a moment ago: discovery blinks on a busy machine."""
        if self._client.server_is_ready():
            self._seen = time.monotonic()
        return time.monotonic() - self._seen < _BLINK

    def start(self, trajectory: Trajectory) -> _Motion:
        self.motion = motion = _Motion(self._clock)
        goal = FollowJointTrajectory.Goal()
        goal.trajectory = trajectory_msg(
            trajectory.joint_names, trajectory.times, trajectory.positions, trajectory.velocities
        )
        if self._in_contact:
            goal.path_tolerance = [JointTolerance(name=name, position=-1.0) for name in trajectory.joint_names]
            goal.goal_tolerance = list(goal.path_tolerance)
        self._client.send_goal_async(goal).add_done_callback(lambda future: self._answered(motion, future))
        return motion

    def stop(self) -> None:
        if self._stop.service_is_ready():
            self._stop.call_async(Trigger.Request())

    def _answered(self, motion: _Motion, future) -> None:
        motion.answered = True
        handle = future.result()
        if not handle.accepted:
            motion.end(Outcome(End.REJECTED, "the driver did not accept the goal"))
            return
        motion.accepted(handle)
        handle.get_result_async().add_done_callback(lambda result: self._finished(motion, result))

    @staticmethod
    def _finished(motion: _Motion, future) -> None:
        result = future.result().result
        motion.end(Outcome(_ENDS.get(result.error_code, End.FAILED), result.error_string))


class Robot:
    """Both parts with what is known of their state.

    Args:
        node: Whose clients and subscriptions to use.
        joints: Part to joint names, in the order wanted.
        group: Reentrant.
        config: When a driver counts as gone.
    """

    def __init__(
        self, node: Node, joints: dict[str, tuple[str, ...]], group: CallbackGroup, config: RobotConfig
    ) -> None:
        self.arm = DriverMover(node, "arm", group, in_contact=False)
        self.hand = DriverMover(node, "hand", group, in_contact=True)
        self._joints = joints
        self._config = config
        self._samples: dict[str, _Sample] = {}
        self._faults: dict[str, tuple[Fault, float]] = {}
        node.create_subscription(
            JointState, "joint_states", self._on_joints, qos_profile_sensor_data, callback_group=group
        )
        node.create_subscription(DiagnosticArray, "diagnostics", self._on_diagnostics, 10, callback_group=group)

    def state(self) -> RobotState:
        """Positions measured since the last motion ended.

        Where the drivers' clocks are behind this one's by more than `state_timeout`, the newest there are.

        Raises:
            DriverUnavailable: A part's driver is absent or silent.
        """
        for mover in (self.arm, self.hand):
            if not mover.present():
                raise DriverUnavailable(
                    f"No driver offers {mover.part}/follow_joint_trajectory. Is {mover.part}_driver running?"
                )
            silence = self._silence(mover.part)
            if silence > self._config.state_timeout:
                raise DriverUnavailable(
                    f"The {mover.part} has published no joint_states for "
                    f"{'as long as this node runs' if silence == np.inf else f'{silence:.1f} s'}; "
                    f"see the diagnostics of {mover.part}_driver."
                )
        deadline = time.monotonic() + self._config.state_timeout
        while not (self._up_to_date(self.arm) and self._up_to_date(self.hand)) and time.monotonic() < deadline:
            time.sleep(_POLL)
        return RobotState(self._samples["arm"].positions, self._samples["hand"].positions)

    def _up_to_date(self, mover: DriverMover) -> bool:
        return mover.motion is None or self._samples[mover.part].stamp >= mover.motion.ended

    def fault(self) -> Fault | None:
        """What is wrong with a part right now; None: nothing known."""
        now = time.monotonic()
        for mover in (self.arm, self.hand):
            fault, seen = self._faults.get(mover.part, (None, -np.inf))
            if fault is not None and now - seen < _FAULT_AGE:
                return fault
            silence = self._silence(mover.part)
            if silence > self._config.state_timeout:
                return Fault(mover.part, Outcome(End.LOST, f"no joint_states for {silence:.2f} s"))
            motion = mover.motion
            if motion is None or motion.outcome.done():
                continue
            if not mover.present():
                return Fault(mover.part, Outcome(End.LOST, "its driver has gone"))
            if not motion.answered and now - motion.sent > self._config.answer_timeout:
                return Fault(mover.part, Outcome(End.LOST, "its driver does not answer"))
        return None

    def _silence(self, part: str) -> float:
        sample = self._samples.get(part)
        return np.inf if sample is None else time.monotonic() - sample.received

    def _on_joints(self, message: JointState) -> None:
        index = {name: i for i, name in enumerate(message.name)}
        for part, names in self._joints.items():
            if all(name in index for name in names):
                positions = np.array([message.position[index[name]] for name in names])
                stamp = Time.from_msg(message.header.stamp).nanoseconds
                self._samples[part] = _Sample(positions, time.monotonic(), stamp)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            part = next((part for part in self._joints if status.name.startswith(part)), None)
            if part is None:
                continue
            name = next((value.value for value in status.values if value.key == "fault"), "")
            if status.level in (DiagnosticStatus.ERROR, DiagnosticStatus.STALE) and name in End.__members__:
                self._faults[part] = Fault(part, Outcome(End[name], status.message)), time.monotonic()
            else:
                self._faults.pop(part, None)
