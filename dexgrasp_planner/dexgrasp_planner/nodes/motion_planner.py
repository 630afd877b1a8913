"""Service `plan_grasp`: one grasp in, the arm and hand trajectories of a whole pick out."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass

import numpy as np
import rclpy
from dexgrasp_common.errors import DexgraspError
from dexgrasp_common.nodes.messages import MessageError, cloud_to_points, seconds, trajectory_msg
from dexgrasp_common.nodes.parameters import declare
from dexgrasp_common.nodes.run import run_node
from dexgrasp_common.parameters import param
from dexgrasp_common.registry import UnavailableBackendError, UnknownBackendError
from dexgrasp_common.transforms import apply
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState, PointCloud2
from trajectory_msgs.msg import JointTrajectory

from dexgrasp_description import load_arm, load_cell, load_hand
from dexgrasp_msgs.msg import GraspPhase, GraspTrajectory, StageTime
from dexgrasp_msgs.srv import PlanGrasp
from dexgrasp_planner.errors import (
    GraspFrameError,
    MotionError,
    MotionPlannerUnavailableError,
    NoSceneCloudError,
    NoStateError,
)
from dexgrasp_planner.grasp_motion import GraspMotion, GraspMotionPlanner, MotionConfig, PlanRequest
from dexgrasp_planner.motion_planners import MOTION_PLANNERS
from dexgrasp_planner.nodes.grasp_messages import grasp_set
from dexgrasp_planner.timing import Trajectory

_POLL = 0.02  # [s]


@dataclass(frozen=True)
class MotionPlannerConfig(MotionConfig):
    """Parameters of the node: those of the planner, and where its inputs come from."""

    cell: str = param("ur5_leap", "Workcell: name or path of its file.")
    planner: str = param(MOTION_PLANNERS.default, "Motion planner, one of those that `dexgrasp doctor` lists.")
    cloud_age: float = param(2.0, "Oldest cloud to plan with, by its stamp [s].", range=(0.1, 600.0))
    state_age: float = param(1.0, "Oldest joint state to start from, by its arrival [s].", range=(0.05, 60.0))
    input_timeout: float = param(1.0, "How long to wait for a cloud and joint states [s].", range=(0.0, 60.0))


class PlannerInbox:
    """Keeps the newest cloud and joint states, on a thread of its own, so that planning holds up neither."""

    def __init__(self) -> None:
        self._node = rclpy.create_node(
            "motion_planner_inbox", start_parameter_services=False, use_global_arguments=False
        )
        self._cloud: bytes | None = None
        self._joints: dict[str, tuple[float, float]] = {}
        self._node.create_subscription(
            PointCloud2, "perception/points", self._keep_cloud, qos_profile_sensor_data, raw=True
        )
        self._node.create_subscription(JointState, "joint_states", self._keep_joints, qos_profile_sensor_data)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def cloud(self) -> PointCloud2 | None:
        """The newest cloud, None before the first."""
        raw = self._cloud
        return None if raw is None else deserialize_message(raw, PointCloud2)

    def joints(self, oldest: float) -> dict[str, float]:
        """Positions [rad] by joint name that arrived no longer than `oldest` [s] ago."""
        since = time.monotonic() - oldest
        return {name: position for name, (position, at) in self._joints.copy().items() if at >= since}

    def close(self) -> None:
        """Stop listening."""
        self._executor.shutdown()
        self._thread.join(timeout=2.0)
        self._node.destroy_node()

    def _keep_cloud(self, raw: bytes) -> None:
        self._cloud = raw

    def _keep_joints(self, message: JointState) -> None:
        now = time.monotonic()
        for name, position in zip(message.name, message.position, strict=False):
            self._joints[name] = (position, now)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()


class MotionPlannerNode(Node):
    """Offers `plan_grasp`; requests are answered one after the other, each within its time budget."""

    def __init__(self) -> None:
        super().__init__("motion_planner")
        self._config = declare(self, MotionPlannerConfig)
        self._cell = load_cell(self._config.cell)
        self._arm, self._hand = load_arm(self._cell.arm), load_hand(self._cell.hand)
        self._planner: GraspMotionPlanner | MotionPlannerUnavailableError = self._create_planner()
        self._inbox = PlannerInbox()
        self.create_service(PlanGrasp, "plan_grasp", self._answer)
        self.get_logger().info(f"Motion planner {self._config.planner!r} plans for cell {self._cell.name!r}.")

    def destroy_node(self) -> None:
        """Stop the inbox, too."""
        self._inbox.close()
        super().destroy_node()

    def _create_planner(self) -> GraspMotionPlanner | MotionPlannerUnavailableError:
        """The planner; where it cannot run here, the error with which every request will be answered."""
        try:
            planner: GraspMotionPlanner = MOTION_PLANNERS.create(self._config.planner, self._cell, self._config)
            return planner
        except (UnknownBackendError, UnavailableBackendError, MotionPlannerUnavailableError) as error:
            self.get_logger().error(str(error))
            return MotionPlannerUnavailableError(str(error))

    def _answer(self, request: PlanGrasp.Request, response: PlanGrasp.Response) -> PlanGrasp.Response:
        started = time.perf_counter()
        try:
            motion = self._plan(request)
        except DexgraspError as error:
            response.error_code, response.error_msg = error.code or MotionError.code, str(error)
            self.get_logger().info(f"Error {response.error_code}: {response.error_msg}")
        except Exception as error:  # whatever went wrong, the client is told and the node lives on
            self.get_logger().error(f"Planning failed: {error!r}")
            response.error_code, response.error_msg = PlanGrasp.Response.INTERNAL_ERROR, repr(error)
        else:
            response.trajectory = trajectory_of(motion)
            response.trajectory.grasp = request.grasp
            response.stage_times = [
                StageTime(stage=stage, milliseconds=value) for stage, value in motion.stage_milliseconds.items()
            ]
            self.get_logger().info(f"Planned a pick in {1e3 * (time.perf_counter() - started):.0f} ms.")
        return response

    def _plan(self, request: PlanGrasp.Request) -> GraspMotion:
        if isinstance(self._planner, MotionPlannerUnavailableError):
            raise self._planner
        if request.grasp.header.frame_id != "world":
            raise GraspFrameError(
                f"Grasps are planned in frame 'world'; this one is in {request.grasp.header.frame_id!r}."
            )
        grasp = grasp_set(request.grasp, self._hand)
        deadline = time.monotonic() + self._config.input_timeout
        arm, hand, seen_arm, seen_hand = self._joints(request, deadline)
        return self._planner.plan(PlanRequest(grasp, arm, hand, self._cloud(deadline), seen_arm, seen_hand))

    def _joints(self, request: PlanGrasp.Request, deadline: float) -> tuple[NDArray[np.float64] | None, ...]:
        """Start of arm and hand, and where both stand now (None where unknown); given positions come first."""
        names, positions = list(request.start_joint_names), list(request.start_positions)
        if len(names) != len(positions):
            raise NoStateError(f"{len(names)} start_joint_names, but {len(positions)} start_positions were given.")
        wanted = (self._arm.joint_names, self._hand.joint_names)
        while True:
            now = self._inbox.joints(self._config.state_age)
            start = now | dict(zip(names, positions, strict=True))
            missing = [name for group in wanted for name in group if name not in start]
            if not missing:
                known = [group if set(group) <= set(now) else () for group in wanted]
                return (
                    *(np.array([start[name] for name in group]) for group in wanted),
                    *(np.array([now[name] for name in group]) if group else None for group in known),
                )
            if time.monotonic() > deadline:
                raise NoStateError(
                    f"No position younger than {self._config.state_age} s of {', '.join(missing)} on joint_states. "
                    "Are arm_driver and hand_driver running? Or give start_joint_names and start_positions."
                )
            time.sleep(_POLL)

    def _cloud(self, deadline: float) -> NDArray[np.floating]:
        """The newest cloud (..., 3) [m], in `world`."""
        while True:
            cloud = self._inbox.cloud()
            age = np.inf if cloud is None else seconds(self.get_clock().now()) - seconds(cloud.header.stamp)
            if cloud is not None and age <= self._config.cloud_age:
                break
            if time.monotonic() > deadline:
                seen = "none has come at all" if cloud is None else f"the newest is {age:.1f} s old"
                raise NoSceneCloudError(
                    f"No cloud younger than {self._config.cloud_age} s on perception/points: {seen}. Are the camera "
                    "and depth_restoration running?"
                )
            time.sleep(_POLL)
        known = {"camera": self._cell.world_T_camera, "world": np.eye(4)}
        if cloud.header.frame_id not in known:
            raise NoSceneCloudError(f"The cloud is in frame {cloud.header.frame_id!r}, not in 'camera' or 'world'.")
        try:
            return apply(known[cloud.header.frame_id], cloud_to_points(cloud))
        except MessageError as error:
            raise NoSceneCloudError(str(error)) from error


def trajectory_of(motion: GraspMotion) -> GraspTrajectory:
    """The message of a motion, its grasp left out."""
    return GraspTrajectory(
        phases=[
            GraspPhase(phase=int(phase.kind), arm=_joint_trajectory(phase.arm), hand=_joint_trajectory(phase.hand))
            for phase in motion.phases
        ]
    )


def _joint_trajectory(trajectory: Trajectory | None) -> JointTrajectory:
    if trajectory is None:
        return JointTrajectory()
    return trajectory_msg(trajectory.joint_names, trajectory.times, trajectory.positions, trajectory.velocities)


def main() -> None:
    """Run the node."""
    run_node(MotionPlannerNode)


if __name__ == "__main__":
    main()
