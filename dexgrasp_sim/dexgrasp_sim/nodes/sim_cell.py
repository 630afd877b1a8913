"""The simulated cell as a node: camera topics, emulated controllers, a scene to reset, ground truth to score by."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
from dexgrasp_common.errors import DexgraspError
from dexgrasp_common.nodes.messages import array_to_image, camera_info, pose_msg
from dexgrasp_common.nodes.parameters import declare
from dexgrasp_common.nodes.run import run_node
from dexgrasp_common.parameters import param
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.subscription import RCLError
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dexgrasp_description import load_cell
from dexgrasp_msgs.msg import GroundTruth
from dexgrasp_msgs.srv import ResetScene
from dexgrasp_sim.camera import CameraRenderer
from dexgrasp_sim.cell import CellConfig, InvalidRequestError, SimCell
from dexgrasp_sim.depth_noise import DepthNoise, to_millimetres
from dexgrasp_sim.emulators.dynamixel_bus import DynamixelBus
from dexgrasp_sim.emulators.ur_controller import UrController
from dexgrasp_sim.emulators.ur_state import RobotMode
from dexgrasp_sim.plant import SimError

_SERIES = {"ur5": "cb3", "ur5e": "e"}
_STANDING = 0.02  # an arm slower than this stands still [rad/s]


@dataclass(frozen=True)
class SimCellConfig(CellConfig):
    """Parameters of the node."""

    cell: str = param("ur5_leap", "Workcell: name or path of a cell file")
    controller_ip: str = param("127.0.0.1", "Address on which the emulated UR controller listens")
    hand_port: str = param("/tmp/dexgrasp/leap", "Path of the emulated Dynamixel bus's serial port")
    depth_rate: float = param(30.0, "Depth images per second [Hz]", range=(0.1, 60.0))
    color_rate: float = param(3.0, "Colour images per second, at most the depth rate; 0: none [Hz]", range=(0.0, 60.0))
    noise: float = param(0.5, "Depth noise: 0 none, 1 the full stereo model", range=(0.0, 4.0))


class SimCellNode(Node):
    """Starts the simulated cell and everything that stands in for hardware."""

    def __init__(self) -> None:
        super().__init__("sim_cell")
        config = self._config = declare(self, SimCellConfig)
        cell = load_cell(config.cell)
        if cell.arm not in _SERIES:
            raise SimError(
                f"The arm {cell.arm!r} of cell {cell.name!r} has no emulated controller. Arms with one: "
                f"{', '.join(_SERIES)}."
            )
        self._cell = SimCell(cell, config)
        self._controller = UrController(self._cell.arm_plant, config.controller_ip, _SERIES[cell.arm])
        self._bus = DynamixelBus(self._cell.hand_plant, config.hand_port)
        self._depth = self.create_publisher(Image, "camera/depth/image_rect_raw", qos_profile_sensor_data)
        self._info = self.create_publisher(CameraInfo, "camera/depth/camera_info", qos_profile_sensor_data)
        self._colour = self.create_publisher(Image, "camera/color/image_raw", qos_profile_sensor_data)
        self._truth = self.create_publisher(GroundTruth, "sim/ground_truth", 10)
        self.create_service(ResetScene, "sim/reset", self._reset)
        self.create_timer(0.5, self._publish_truth)
        self._seed = config.seed
        self._stopping = threading.Event()
        self._filming = threading.Thread(target=self._film, name="camera", daemon=True)
        self._cell.start()
        try:
            self._controller.start()
            self._bus.start()
        except OSError as error:
            raise SimError(
                f"No emulated controllers at {config.controller_ip} and {config.hand_port}: {error}. "
                "Is another simulated cell running? Give each its own controller_ip (127.0.0.2, ...) and hand_port."
            ) from error
        self._filming.start()
        self.get_logger().info(
            f"{config.objects} objects of seed {config.seed}; UR controller at {config.controller_ip}, "
            f"hand at {config.hand_port}."
        )

    def destroy_node(self) -> None:
        self._stopping.set()
        self._filming.join()
        self._bus.stop()
        self._controller.stop()
        self._cell.stop()
        super().destroy_node()

    def _film(self) -> None:
        """Draw and publish until the node stops. Physics runs on meanwhile: OpenGL and MuJoCo release the GIL."""
        config, intrinsics = self._config, self._cell.cell.intrinsics
        noise = DepthNoise((intrinsics.height, intrinsics.width), scale=config.noise, seed=config.seed)
        every = round(config.depth_rate / config.color_rate) if config.color_rate > 0.0 else 0
        period = 1.0 / config.depth_rate
        due, frame = time.monotonic(), 0
        camera, model, data = None, None, None
        while not self._stopping.wait(max(due - time.monotonic(), 0.0)) and self.context.ok():
            due = max(due + period, time.monotonic() - 3 * period)
            state = self._cell.snapshot()
            header = Header(frame_id="camera", stamp=self.get_clock().now().to_msg())
            if camera is None or state.model is not model:
                if camera is not None:
                    camera.close()
                camera, model, data = CameraRenderer(state.model), state.model, state.data()
            else:
                state.pose(data)
            depth = to_millimetres(noise.apply(camera.depth(data)))
            colour = camera.colour(data) if every and frame % every == 0 else None
            try:
                self._depth.publish(array_to_image(depth, "16UC1", header))
                self._info.publish(camera_info(intrinsics.width, intrinsics.height, intrinsics.matrix, header))
                if colour is not None:
                    self._colour.publish(array_to_image(colour, "rgb8", header))
            except RCLError:
                if self.context.ok():
                    raise
            frame += 1
        if camera is not None:
            camera.close()

    def _publish_truth(self) -> None:
        message = GroundTruth(real_time_factor=self._cell.real_time_factor, seed=self._seed)
        message.header = Header(frame_id="world", stamp=self.get_clock().now().to_msg())
        for item in self._cell.ground_truth():
            message.names.append(item.name)
            message.poses.append(pose_msg(item.world_T_object))
            message.on_table.append(item.on_table)
        self._truth.publish(message)

    def _reset(self, request: ResetScene.Request, response: ResetScene.Response) -> ResetScene.Response:
        try:
            self._clear_workspace()
            self._cell.reset(request.seed, request.objects)
            self._seed = request.seed
            response.error_code = ResetScene.Response.SUCCESS
        except DexgraspError as error:
            response.error_code, response.error_msg = error.code, str(error)
        return response

    def _clear_workspace(self) -> None:
        """Bring an arm that stands over the object area home; its controller takes that for being powered off and on.

        An arm at home, or beside the area, stays as it is, and so does the program that its driver has loaded.
        """
        if not self._cell.robot_in_workspace():
            return
        if np.abs(self._cell.arm_plant.read().velocity).max() > _STANDING:
            raise InvalidRequestError("The arm is moving over the object area. Stop it, then reset the scene.")
        self.get_logger().warning("The arm stands over the object area: it is powered off, put home and powered on.")
        self._controller.power(RobotMode.POWER_OFF)
        self._cell.send_arm_home()
        self._controller.power(RobotMode.RUNNING)


def main() -> None:
    """Entry point."""
    # Drivers wait milliseconds for an answer; the default lets a busy thread keep the interpreter for five.
    sys.setswitchinterval(5e-4)
    run_node(SimCellNode)


if __name__ == "__main__":
    main()
