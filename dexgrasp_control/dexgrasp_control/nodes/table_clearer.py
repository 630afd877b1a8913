"""Node `table_clearer`: the action `clear_table`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dexgrasp_common.nodes.clients import CallError, ServerAbsentError, call_action, call_service
from dexgrasp_common.nodes.messages import MessageError, cloud_to_points, seconds
from dexgrasp_common.nodes.parameters import declare
from dexgrasp_common.nodes.run import run_node
from dexgrasp_common.parameters import param
from dexgrasp_common.transforms import apply
from numpy.typing import NDArray
from rclpy.action import ActionClient, ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from rclpy.subscription import RCLError
from sensor_msgs.msg import PointCloud2

from dexgrasp_control.clearing import Candidate, ClearingConfig, Stage, Statistics, StepFailed, TableClearer
from dexgrasp_control.errors import (
    ClearingCancelled,
    ClearingError,
    ExecutorUnavailable,
    GeneratorUnavailable,
    NoCamera,
    PlannerUnavailable,
)
from dexgrasp_control.heights import Rectangle
from dexgrasp_control.success import SightConfig
from dexgrasp_description import Cell, load_cell
from dexgrasp_msgs.action import ClearTable, ExecuteGrasp, GenerateGrasp
from dexgrasp_msgs.msg import ErrorCount, GraspPhase, GraspTrajectory
from dexgrasp_msgs.srv import PlanGrasp


@dataclass(frozen=True)
class TableClearerConfig:
    """The node's own parameters; those of the loop and of the eyes are declared beside them."""

    cell: str = param("ur5_leap", "Name or file of the workcell")
    max_grasps: int = param(0, "Grasps to ask the generator for; 0: its default", range=(0, 10000))
    settle_time: float = param(0.3, "Wait for things to come to rest before a look [s]", range=(0.0, 10.0))
    camera_timeout: float = param(10.0, "Longest wait for a fresh cloud [s]", range=(0.5, 120.0))
    generate_timeout: float = param(120.0, "Longest wait for generate_grasp [s]", range=(1.0, 3600.0))
    plan_timeout: float = param(30.0, "Longest wait for plan_grasp [s]", range=(1.0, 600.0))
    execute_timeout: float = param(180.0, "Longest wait for execute_grasp [s]", range=(1.0, 3600.0))


class Eyes(Node):
    """Keeps the latest cloud. A node of its own, because clouds want an executor of their own."""

    def __init__(self) -> None:
        super().__init__("table_clearer_eyes", start_parameter_services=False, use_global_arguments=False)
        self._fresh = threading.Condition()
        self._latest: bytes | None = None
        # Raw: nearly all clouds go by unused, and taking one apart costs more than receiving it.
        self.create_subscription(PointCloud2, "perception/points", self._on_cloud, qos_profile_sensor_data, raw=True)

    def _on_cloud(self, message: bytes) -> None:
        with self._fresh:
            self._latest = message
            self._fresh.notify_all()

    def newer_than(self, stamp: float, timeout: float, cancelled: Callable[[], bool]) -> PointCloud2:
        """The first cloud stamped after `stamp` [s].

        Raises:
            NoCamera: None came within `timeout` [s].
            ClearingCancelled: Cancelled meanwhile.
        """
        end = time.monotonic() + timeout
        complaint = "Nothing arrives on perception/points. Are the camera and depth_restoration running?"
        while time.monotonic() < end:
            if cancelled():
                raise ClearingCancelled("Cancelled while waiting for the camera; the robot is still.")
            with self._fresh:
                self._fresh.wait(0.05)
                latest, self._latest = self._latest, None
            if latest is None:
                continue
            cloud = deserialize_message(latest, PointCloud2)
            behind = stamp - seconds(cloud.header.stamp)
            if behind < 0.0:
                return cloud
            complaint = f"The clouds on perception/points are old: the latest is stamped {behind:.1f} s too early."
        raise NoCamera(complaint)


class RosSkills:
    """The steps of an attempt, by the suite's actions and services."""

    def __init__(self, node: Node, eyes: Eyes, cell: Cell, config: TableClearerConfig) -> None:
        group = ReentrantCallbackGroup()
        self._node = node
        self._eyes = eyes
        self._cell = cell
        self._config = config
        self._generate = ActionClient(node, GenerateGrasp, "generate_grasp", callback_group=group)
        self._plan = node.create_client(PlanGrasp, "plan_grasp", callback_group=group)
        self._execute = ActionClient(node, ExecuteGrasp, "execute_grasp", callback_group=group)
        self.generator = ""
        self.cancelled: Callable[[], bool] = lambda: False

    def look(self) -> NDArray[np.floating]:
        asked = seconds(self._node.get_clock().now()) + self._config.settle_time
        cloud = self._eyes.newer_than(asked, self._config.camera_timeout, self.cancelled)
        try:
            points = cloud_to_points(cloud).reshape(-1, 3)
        except MessageError as error:
            raise NoCamera(f"perception/points: {error}") from error
        if cloud.header.frame_id == "world":
            return points
        if cloud.header.frame_id != "camera":
            raise NoCamera(f"perception/points is in frame {cloud.header.frame_id!r}; 'camera' or 'world' is needed.")
        return apply(self._cell.world_T_camera, points)

    def generate(self, seed: int) -> list[Candidate]:
        goal = GenerateGrasp.Goal(generator=self.generator, max_grasps=self._config.max_grasps, seed=seed % 2**32)
        try:
            result = call_action(self._generate, goal, self._config.generate_timeout, cancelled=self.cancelled)
        except ServerAbsentError as error:
            raise GeneratorUnavailable(str(error)) from error
        except CallError as error:
            raise StepFailed(GenerateGrasp.Result.INTERNAL_ERROR, str(error)) from error
        if result.error_code in (GenerateGrasp.Result.UNKNOWN_GENERATOR, GenerateGrasp.Result.GENERATOR_UNAVAILABLE):
            raise GeneratorUnavailable(result.error_msg)
        if result.error_code:
            raise StepFailed(result.error_code, result.error_msg)
        return [
            Candidate(np.array([grasp.seed_point.x, grasp.seed_point.y, grasp.seed_point.z]), grasp)
            for grasp in result.grasps.grasps
        ]

    def plan(self, candidate: Candidate) -> GraspTrajectory:
        try:
            response = call_service(self._plan, PlanGrasp.Request(grasp=candidate.grasp), self._config.plan_timeout)
        except ServerAbsentError as error:
            raise PlannerUnavailable(str(error)) from error
        except CallError as error:
            raise StepFailed(PlanGrasp.Response.TIMEOUT, str(error)) from error
        if response.error_code == PlanGrasp.Response.PLANNER_UNAVAILABLE:
            raise PlannerUnavailable(response.error_msg)
        if response.error_code:
            raise StepFailed(response.error_code, response.error_msg)
        return response.trajectory

    def execute(self, trajectory: Any) -> bool:
        return self._executed(trajectory).felt_object

    def go_home(self) -> None:
        self._executed(GraspTrajectory(phases=[GraspPhase(phase=GraspPhase.HOME)]))

    def _executed(self, trajectory: GraspTrajectory) -> ExecuteGrasp.Result:
        goal = ExecuteGrasp.Goal(trajectory=trajectory)
        try:
            result = call_action(self._execute, goal, self._config.execute_timeout, cancelled=self.cancelled)
        except ServerAbsentError as error:
            raise ExecutorUnavailable(str(error)) from error
        except CallError as error:
            raise StepFailed(ExecuteGrasp.Result.TIMEOUT, str(error)) from error
        if result.error_code:
            raise StepFailed(result.error_code, result.error_msg)
        return result


class TableClearerNode(Node):
    """Clears the table on request, one request at a time."""

    def __init__(self, **options) -> None:
        super().__init__("table_clearer", **options)
        config = declare(self, TableClearerConfig)
        cell = load_cell(config.cell)
        self._eyes = Eyes()
        self._eyes_executor = SingleThreadedExecutor()
        self._eyes_executor.add_node(self._eyes)
        self._eyes_thread = threading.Thread(target=self._watch, daemon=True)
        self._eyes_thread.start()
        self._skills = RosSkills(self, self._eyes, cell, config)
        self._clearer = TableClearer(
            self._skills,
            cell.reach_area,
            (_bin_outline(cell),),
            declare(self, ClearingConfig),
            declare(self, SightConfig),
            self.get_logger().info,
        )
        self._busy = threading.Lock()
        self._server = ActionServer(
            self,
            ClearTable,
            "clear_table",
            self._execute,
            goal_callback=lambda goal: GoalResponse.ACCEPT,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )

    def destroy_node(self) -> None:
        self._eyes_executor.shutdown(timeout_sec=1.0)
        self._eyes_thread.join(timeout=1.0)
        self._eyes.destroy_node()
        super().destroy_node()

    def _watch(self) -> None:
        try:
            self._eyes_executor.spin()
        except (ExternalShutdownException, RCLError):
            if self.context.ok():  # otherwise the main thread sees the same signal and cleans up
                raise

    def _execute(self, handle) -> ClearTable.Result:
        # A goal that is refused at the door carries no message; accepted and aborted it says why.
        if not self._busy.acquire(blocking=False):
            self._conclude(handle.abort)
            return ClearTable.Result(
                error_code=ClearTable.Result.INVALID_GOAL,
                error_msg="The table is being cleared already; one goal at a time. Cancel it or wait for its result.",
            )
        statistics = Statistics()
        code, message = ClearTable.Result.SUCCESS, ""
        try:
            self._clear(handle, statistics)
            self._conclude(handle.succeed)
        except ClearingCancelled as error:
            code, message = error.code, str(error)
            self._conclude(handle.canceled)
        except ClearingError as error:
            code, message = error.code, str(error)
            self._conclude(handle.abort)
        except Exception as error:
            self.get_logger().error(f"clear_table: {error!r}")
            code, message = ClearTable.Result.INTERNAL_ERROR, repr(error)
            self._conclude(handle.abort)
        finally:
            self._busy.release()
        self.get_logger().info(
            f"clear_table: {statistics.successes} of {statistics.attempts} attempts succeeded; {message or 'cleared'}"
        )
        return _result(statistics, code, message)

    def _conclude(self, transition: Callable[[], None]) -> None:
        """Set the goal's state, unless the node is being shut down and nobody can be told any more."""
        if self.context.ok():
            transition()

    def _clear(self, handle, statistics: Statistics) -> None:
        request = handle.request

        def cancelled() -> bool:
            return not self.context.ok() or handle.is_cancel_requested

        def on_stage(stage: Stage) -> None:
            handle.publish_feedback(
                ClearTable.Feedback(stage=int(stage), attempts=statistics.attempts, successes=statistics.successes)
            )

        self._skills.generator = request.generator
        self._skills.cancelled = cancelled
        self._clearer.clear(
            statistics,
            seed=request.seed,
            max_attempts=request.max_attempts,
            max_consecutive_failures=request.max_consecutive_failures,
            cancelled=cancelled,
            on_stage=on_stage,
        )


def _bin_outline(cell: Cell) -> Rectangle:
    """The bin with its walls and 2 cm for what leans over them."""
    x, y = cell.bin.center
    half_x, half_y = cell.bin.inner_size[:2] / 2 + cell.bin.wall + 0.02
    return x - half_x, x + half_x, y - half_y, y + half_y


def _result(statistics: Statistics, code: int, message: str) -> ClearTable.Result:
    return ClearTable.Result(
        error_code=code,
        error_msg=message,
        attempts=statistics.attempts,
        successes=statistics.successes,
        cleared=statistics.cleared,
        consecutive_failures=statistics.consecutive_failures,
        error_counts=[
            ErrorCount(error_code=key, error_msg=statistics.messages[key], count=count)
            for key, count in sorted(statistics.errors.items())
        ],
        generate_ms=statistics.generate_ms,
        plan_ms=statistics.plan_ms,
        cycle_s=statistics.cycle_s,
    )


def main() -> None:
    run_node(TableClearerNode, lambda: MultiThreadedExecutor(num_threads=4))


if __name__ == "__main__":
    main()
