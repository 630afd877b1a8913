"""Node `grasp_executor`: the action `execute_grasp`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from dexgrasp_common.nodes.clients import CallError, call_service
from dexgrasp_common.nodes.parameters import declare
from dexgrasp_common.nodes.run import run_node
from dexgrasp_common.parameters import param
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from dexgrasp_control.errors import ExecutionCancelled, ExecutionError, InvalidGoal, PlanningFailed
from dexgrasp_control.execution import ExecutionConfig, PhaseRunner, Progress
from dexgrasp_control.executor import GraspExecutor, StartConfig
from dexgrasp_control.homing import HomingConfig
from dexgrasp_control.nodes.robot import Robot, RobotConfig
from dexgrasp_control.phases import Phase, PhaseName, Trajectory, checked_trajectory
from dexgrasp_control.touch import Touch, TouchConfig
from dexgrasp_description import load_arm, load_cell, load_hand
from dexgrasp_msgs.action import ExecuteGrasp
from dexgrasp_msgs.msg import GraspPhase, StageTime
from dexgrasp_msgs.srv import PlanGrasp


@dataclass(frozen=True)
class GraspExecutorConfig:
    """The node's own parameters; those of its parts are declared beside them."""

    cell: str = param("ur5_leap", "Name or file of the workcell")
    plan_timeout: float = param(30.0, "Longest wait for plan_grasp [s]", range=(0.1, 600.0))


class GraspExecutorNode(Node):
    """Executes one grasp at a time."""

    def __init__(self, **options) -> None:
        super().__init__("grasp_executor", **options)
        self._config = declare(self, GraspExecutorConfig)
        cell = load_cell(self._config.cell)
        arm, hand = load_arm(cell.arm), load_hand(cell.hand)
        self._joints = {"arm": arm.joint_names, "hand": hand.joint_names}
        group = ReentrantCallbackGroup()
        self._robot = Robot(self, self._joints, group, declare(self, RobotConfig))
        runner = PhaseRunner(self._robot.arm, self._robot.hand, self._robot.fault, declare(self, ExecutionConfig))
        self._executor_ = GraspExecutor(
            runner,
            self._robot.state,
            Touch(hand, declare(self, TouchConfig)).holds,
            cell.home,
            Trajectory(hand.joint_names, np.zeros(1), hand.home[None]),
            declare(self, HomingConfig),
            declare(self, StartConfig),
        )
        self._busy = threading.Lock()
        self._planner = self.create_client(PlanGrasp, "plan_grasp", callback_group=group)
        self._server = ActionServer(
            self,
            ExecuteGrasp,
            "execute_grasp",
            self._execute,
            goal_callback=lambda goal: GoalResponse.ACCEPT,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=group,
        )

    def _execute(self, handle) -> ExecuteGrasp.Result:
        # A goal that is refused at the door carries no message; accepted and aborted it says why.
        if not self._busy.acquire(blocking=False):
            self._conclude(handle.abort)
            return ExecuteGrasp.Result(
                error_code=ExecuteGrasp.Result.INVALID_GOAL,
                error_msg="Another goal is being executed; one at a time. Cancel it or wait for its result.",
            )
        progress = Progress()
        result = ExecuteGrasp.Result()
        try:
            self._run(handle, progress)
            self._conclude(handle.succeed)
        except ExecutionCancelled as error:
            result.error_code, result.error_msg = error.code, str(error)
            self._conclude(handle.canceled)
        except ExecutionError as error:
            result.error_code, result.error_msg = error.code, str(error)
            self._conclude(handle.abort)
        except Exception as error:
            self.get_logger().error(f"execute_grasp: {error!r}")
            result.error_code, result.error_msg = ExecuteGrasp.Result.INTERNAL_ERROR, repr(error)
            self._conclude(handle.abort)
        finally:
            self._busy.release()
        if result.error_code:
            self.get_logger().warning(f"execute_grasp ended with code {result.error_code}: {result.error_msg}")
        result.last_phase = int(progress.phase or 0)
        result.felt_object = self._executor_.felt_object
        result.phase_times = [StageTime(stage=name.name, milliseconds=1e3 * t) for name, t in progress.phase_times]
        return result

    def _conclude(self, transition: Callable[[], None]) -> None:
        """Set the goal's state, unless the node is being shut down and nobody can be told any more."""
        if self.context.ok():
            transition()

    def _run(self, handle, progress: Progress) -> None:
        def on_phase(name: PhaseName) -> None:
            handle.publish_feedback(ExecuteGrasp.Feedback(phase=int(name)))

        def cancelled() -> bool:
            return not self.context.ok() or handle.is_cancel_requested

        messages = handle.request.trajectory.phases
        if len(messages) == 1 and _only_home(messages[0]):
            self._executor_.felt_object = False
            self._executor_.go_home(progress, cancelled=cancelled, on_phase=on_phase)
            return
        if not messages:
            self._executor_.felt_object = False
            if not handle.request.trajectory.grasp.joint_names:
                raise InvalidGoal("The goal has neither phases nor a grasp to plan for; give one of them.")
            if self._executor_.interrupted:
                self._executor_.go_home(cancelled=cancelled, on_phase=on_phase)
            self._robot.state()
            messages = self._plan(handle.request.trajectory.grasp)
        phases = [self._phase(message) for message in messages]
        self._executor_.execute(phases, progress, cancelled=cancelled, on_phase=on_phase)

    def _plan(self, grasp) -> list[GraspPhase]:
        try:
            response = call_service(self._planner, PlanGrasp.Request(grasp=grasp), self._config.plan_timeout)
        except CallError as error:
            raise PlanningFailed(str(error)) from error
        if response.error_code != PlanGrasp.Response.SUCCESS:
            raise PlanningFailed(f"plan_grasp failed with code {response.error_code}: {response.error_msg}")
        return response.trajectory.phases

    def _phase(self, message: GraspPhase) -> Phase:
        try:
            name = PhaseName(message.phase)
        except ValueError:
            raise InvalidGoal(f"There is no phase {message.phase}; see GraspPhase for the constants.") from None
        return Phase(name, *(self._trajectory(part, getattr(message, part), name) for part in ("arm", "hand")))

    def _trajectory(self, part: str, message: JointTrajectory, phase: PhaseName) -> Trajectory | None:
        if not message.points and not message.joint_names:
            return None
        owner = f"The {part}'s {phase.name}"
        points = message.points
        if any(len(point.positions) != len(message.joint_names) for point in points):
            raise InvalidGoal(f"{owner} trajectory needs {len(message.joint_names)} positions at every point.")
        with_velocities = all(len(point.velocities) == len(message.joint_names) for point in points)
        return checked_trajectory(
            message.joint_names,
            [point.time_from_start.sec + 1e-9 * point.time_from_start.nanosec for point in points],
            [list(point.positions) for point in points],
            [list(point.velocities) for point in points] if with_velocities else None,
            self._joints[part],
            owner,
        )


def _only_home(message: GraspPhase) -> bool:
    return message.phase == GraspPhase.HOME and not message.arm.joint_names and not message.hand.joint_names


def main() -> None:
    run_node(GraspExecutorNode, lambda: MultiThreadedExecutor(num_threads=6))


if __name__ == "__main__":
    main()
