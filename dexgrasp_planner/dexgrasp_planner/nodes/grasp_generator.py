"""Action server `generate_grasp`: a point cloud in, ranked grasps in `world` out."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass

import numpy as np
import rclpy
from dexgrasp_common.errors import DexgraspError
from dexgrasp_common.nodes.messages import MessageError, cloud_to_points, seconds
from dexgrasp_common.nodes.parameters import declare
from dexgrasp_common.nodes.run import run_node
from dexgrasp_common.parameters import param
from dexgrasp_common.registry import UnavailableBackendError, UnknownBackendError
from dexgrasp_common.transforms import apply, invert
from numpy.typing import NDArray
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dexgrasp_description import load_cell, load_hand
from dexgrasp_msgs.action import GenerateGrasp
from dexgrasp_msgs.msg import StageTime
from dexgrasp_planner.generators import (
    CloudFrameError,
    EmptyCloudError,
    GenerateError,
    Generation,
    GenerationCancelledError,
    GeneratorUnavailableError,
    GraspGenerator,
    InvalidCloudError,
    InvalidGenerateGoalError,
    NoCloudError,
    NoGraspsError,
    SceneCloud,
    Stage,
    UnknownGeneratorError,
    generator_name,
    make_generator,
)
from dexgrasp_planner.nodes.grasp_markers import grasp_markers
from dexgrasp_planner.nodes.grasp_messages import grasp_array

_MOST_GRASPS = 1000
_POLL = 0.02  # [s]


@dataclass(frozen=True)
class GraspGeneratorConfig:
    """Parameters of the node."""

    cell: str = param("ur5_leap", "workcell: name or path of its file (hand, camera pose, object area)")
    generator: str = param("", "generator used where a goal names none; empty: `diffusion`, if there is a checkpoint")
    guidance: str = param(
        "", "when physics moves the grasps of `diffusion`: none, sampler, refine or both; empty: its default"
    )
    finish: str = param(
        "", "what the hand does at them: sampled, closed or pressed (for stiff drives); empty: its default, closed"
    )
    max_grasps: int = param(100, "grasps returned where a goal says zero", range=(1, _MOST_GRASPS))
    cloud_timeout: float = param(3.0, "how long to wait for a fresh cloud [s]", range=(0.1, 60.0))
    cloud_age: float = param(0.5, "oldest cloud that counts as fresh, by its stamp [s]", range=(0.05, 60.0))
    markers: int = param(10, "how many of the best grasps are drawn on grasps/markers", range=(0, 100))


class CloudInbox:
    """Keeps the newest message of `perception/points`, unread, on a thread of its own.

    A subscription to large messages on the action server's many-threaded executor would lose some and delay all.
    """

    def __init__(self, topic: str) -> None:
        self._node = rclpy.create_node(
            "grasp_generator_inbox", start_parameter_services=False, use_global_arguments=False
        )
        self._newest: bytes | None = None
        self._node.create_subscription(PointCloud2, topic, self._keep, qos_profile_sensor_data, raw=True)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def newest(self) -> PointCloud2 | None:
        """The newest cloud, None before the first."""
        raw = self._newest
        return None if raw is None else deserialize_message(raw, PointCloud2)

    def close(self) -> None:
        """Stop listening."""
        self._executor.shutdown()
        self._thread.join(timeout=2.0)
        self._node.destroy_node()

    def _keep(self, raw: bytes) -> None:
        self._newest = raw

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()


class GraspGeneratorNode(Node):
    """Offers `generate_grasp`; one goal at a time, the others wait for their turn."""

    def __init__(self) -> None:
        super().__init__("grasp_generator")
        self._config = declare(self, GraspGeneratorConfig)
        self._cell = load_cell(self._config.cell)
        self._hand = load_hand(self._cell.hand)
        self._generators: dict[str, GraspGenerator] = {}
        self._turn = threading.Lock()
        self._warm_up()
        self._inbox = CloudInbox(self.resolve_topic_name("perception/points"))
        self._markers = self.create_publisher(MarkerArray, "grasps/markers", 1)
        self._server = ActionServer(
            self,
            GenerateGrasp,
            "generate_grasp",
            self._execute,
            goal_callback=lambda goal: GoalResponse.ACCEPT,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )
        self.get_logger().info(f"Generator {self._name('')!r} is ready for {self._hand.name}.")

    def destroy_node(self) -> None:
        """Stop the action server and the inbox, too."""
        self._server.destroy()
        self._inbox.close()
        super().destroy_node()

    def _execute(self, handle: ServerGoalHandle) -> GenerateGrasp.Result:
        result = GenerateGrasp.Result()
        started = time.perf_counter()
        try:
            self._wait_for_turn(handle)
            try:
                generation, stamp = self._generate(handle)
            finally:
                self._turn.release()
        except DexgraspError as error:
            result.error_code, result.error_msg = error.code or GenerateError.code, str(error)
        except Exception as error:  # whatever went wrong, the client is told and the node lives on
            self.get_logger().error(f"Generation failed: {error!r}")
            result.error_code, result.error_msg = GenerateGrasp.Result.INTERNAL_ERROR, repr(error)
        else:
            header = Header(frame_id="world", stamp=stamp)
            result.grasps = grasp_array(generation.grasps, self._hand.joint_names, header)
            result.candidates = generation.candidates
            result.stage_times = [
                StageTime(stage=stage, milliseconds=value) for stage, value in generation.stage_ms.items()
            ]
            best = generation.grasps[: self._config.markers]
            self._markers.publish(grasp_markers(best, self._hand, header))
            total = 1e3 * (time.perf_counter() - started)
            self.get_logger().info(
                f"{len(generation.grasps)} grasps of {generation.candidates} candidates in {total:.0f} ms."
            )
        self._finish(handle, result)
        return result

    def _finish(self, handle: ServerGoalHandle, result: GenerateGrasp.Result) -> None:
        if result.error_code == GenerateGrasp.Result.SUCCESS:
            handle.succeed()
        elif handle.is_cancel_requested and result.error_code == GenerateGrasp.Result.CANCELLED:
            handle.canceled()
        else:
            self.get_logger().warning(f"Error {result.error_code}: {result.error_msg}")
            handle.abort()

    def _wait_for_turn(self, handle: ServerGoalHandle) -> None:
        while not self._turn.acquire(timeout=_POLL):
            if handle.is_cancel_requested:
                raise GenerationCancelledError("The goal was cancelled while it waited for its turn.")

    def _generate(self, handle: ServerGoalHandle) -> tuple[Generation, object]:
        goal = handle.request
        if goal.max_grasps > _MOST_GRASPS:
            raise InvalidGenerateGoalError(f"max_grasps is at most {_MOST_GRASPS}; got {goal.max_grasps}.")
        generator = self._generator(self._name(goal.generator))
        in_goal = bool(goal.cloud.header.frame_id or goal.cloud.fields or goal.cloud.data)
        cloud = goal.cloud if in_goal else self._fresh_cloud(handle)
        scene = self._scene(_points(cloud), cloud.header.frame_id)

        def progress(stage: Stage) -> None:
            handle.publish_feedback(GenerateGrasp.Feedback(stage=int(stage)))

        max_grasps = goal.max_grasps or self._config.max_grasps
        generation = generator.generate(scene, max_grasps, goal.seed, progress, lambda: handle.is_cancel_requested)
        return generation, cloud.header.stamp

    def _name(self, asked: str) -> str:
        return generator_name(asked or self._config.generator, self._hand.name)

    def _generator(self, name: str) -> GraspGenerator:
        if name not in self._generators:
            try:
                self._generators[name] = make_generator(name, self._hand, self._config.guidance, self._config.finish)
            except UnknownBackendError as error:
                raise UnknownGeneratorError(str(error)) from error
            except UnavailableBackendError as error:
                raise GeneratorUnavailableError(str(error)) from error
        return self._generators[name]

    def _scene(self, points: NDArray[np.float32], frame: str) -> SceneCloud:
        """The scene as the cell's camera sees it: learned generators know no other side of a table."""
        world_T_camera = self._cell.world_T_camera
        if frame == "world":
            points = apply(invert(world_T_camera), points).astype(np.float32)
        elif frame != "camera":
            raise CloudFrameError(f"The cloud is in frame {frame!r}; it must be in 'camera' or 'world'.")
        return SceneCloud(points, world_T_camera, self._cell.reach_area)

    def _fresh_cloud(self, handle: ServerGoalHandle) -> PointCloud2:
        deadline = time.monotonic() + self._config.cloud_timeout
        while True:
            if handle.is_cancel_requested:
                raise GenerationCancelledError("The goal was cancelled while it waited for a cloud.")
            cloud = self._inbox.newest()
            age = np.inf if cloud is None else seconds(self.get_clock().now()) - seconds(cloud.header.stamp)
            if cloud is not None and age <= self._config.cloud_age:
                return cloud
            if time.monotonic() > deadline:
                seen = "none has come at all" if cloud is None else f"the newest is {age:.1f} s old"
                raise NoCloudError(
                    f"No cloud younger than {self._config.cloud_age} s on perception/points within "
                    f"{self._config.cloud_timeout} s: {seen}. Are the camera and depth_restoration running?"
                )
            time.sleep(_POLL)

    def _warm_up(self) -> None:
        """One generation on a box, so that the first goal is as fast as the others and a broken generator shows now."""
        x0, x1, y0, y1 = self._cell.area
        steps = np.linspace(-0.025, 0.025, 21)
        x, y = (axis.ravel() for axis in np.meshgrid(0.5 * (x0 + x1) + steps, 0.5 * (y0 + y1) + steps))
        box = np.stack([x, y, np.full_like(x, 0.06)], axis=1).astype(np.float32)
        with contextlib.suppress(NoGraspsError):  # of a box that nobody asked for
            self._generator(self._name("")).generate(self._scene(box, "world"), 1, 0)


def _points(cloud: PointCloud2) -> NDArray[np.float32]:
    if cloud.width * cloud.height == 0:
        raise EmptyCloudError("The cloud has no points. Send one with the objects and the table in view.")
    try:
        return cloud_to_points(cloud).reshape(-1, 3)
    except MessageError as error:
        raise InvalidCloudError(str(error)) from error


def main() -> None:
    """Run the node."""
    run_node(GraspGeneratorNode, lambda: MultiThreadedExecutor(num_threads=4))


if __name__ == "__main__":
    main()
