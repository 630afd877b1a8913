"""The node in a process of its own, as a driver and a camera user meet it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from dexgrasp_common.nodes.messages import image_to_array, intrinsics_of
from dexgrasp_sim.cell import MAX_OBJECTS, InvalidRequestError
from dexgrasp_sim.settle import UnsettledError
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rtde_control import RTDEControlInterface
from rtde_receive import RTDEReceiveInterface
from sensor_msgs.msg import CameraInfo, Image

from dexgrasp_description import load_cell
from dexgrasp_msgs.msg import GroundTruth
from dexgrasp_msgs.srv import ResetScene


class Listener(Node):
    """Counts and keeps what the cell publishes."""

    def __init__(self) -> None:
        super().__init__("listener")
        self.depth: list[Image] = []
        self.info: CameraInfo | None = None
        self.colour: Image | None = None
        self.truth: GroundTruth | None = None
        sensor = qos_profile_sensor_data
        self.create_subscription(Image, "camera/depth/image_rect_raw", self.depth.append, sensor)
        self.create_subscription(CameraInfo, "camera/depth/camera_info", lambda m: setattr(self, "info", m), sensor)
        self.create_subscription(Image, "camera/color/image_raw", lambda m: setattr(self, "colour", m), sensor)
        self.create_subscription(GroundTruth, "sim/ground_truth", lambda m: setattr(self, "truth", m), 10)
        self.reset_client = self.create_client(ResetScene, "sim/reset")

    def until(self, condition: Callable[[], bool], deadline: float = 40.0) -> None:
        end = time.monotonic() + deadline
        while not condition():
            assert time.monotonic() < end, "not within the deadline"
            rclpy.spin_once(self, timeout_sec=0.05)

    def reset(self, seed: int, objects: int) -> ResetScene.Response:
        self.until(self.reset_client.service_is_ready)
        future = self.reset_client.call_async(ResetScene.Request(seed=seed, objects=objects))
        self.until(future.done)
        return future.result()


@pytest.fixture
def hand_port(tmp_path: Path) -> str:
    return str(tmp_path / "leap")


@pytest.fixture
def node(ros_context: None, loopback_ip: str, hand_port: str) -> Iterator[subprocess.Popen]:
    parameters = {"controller_ip": loopback_ip, "hand_port": hand_port, "objects": 2, "color_rate": 5.0}
    arguments = [item for name, value in parameters.items() for item in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "dexgrasp_sim.nodes.sim_cell", "--ros-args", *arguments]
    process = subprocess.Popen(command)
    yield process
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(20) == 0, "SIGINT ends the node cleanly"
    finally:
        process.kill()


def test_cell_publishes_takes_connections_and_resets(node: subprocess.Popen, loopback_ip: str, hand_port: str) -> None:
    listener, cell = Listener(), load_cell()
    listener.until(lambda: bool(listener.depth and listener.info and listener.colour and listener.truth))

    image, intrinsics = listener.depth[-1], cell.intrinsics
    assert (image.encoding, image.width, image.height) == ("16UC1", intrinsics.width, intrinsics.height)
    assert image.header.frame_id == "camera"
    assert listener.info is not None
    assert np.allclose(intrinsics_of(listener.info), intrinsics.matrix)
    assert listener.info.header.frame_id == "camera"
    # Deprojected with the published intrinsics and the cell's camera pose, the table is where the cell says.
    depth = image_to_array(image).astype(np.float64) / 1000
    v, u = np.nonzero(depth)
    z = depth[v, u]
    points = np.stack([(u - intrinsics.cx) * z / intrinsics.fx, (v - intrinsics.cy) * z / intrinsics.fy, z], axis=1)
    heights = points @ cell.world_T_camera[:3, :3].T[:, 2] + cell.world_T_camera[2, 3]
    assert abs(np.median(heights)) < 3e-3
    assert listener.colour is not None
    assert image_to_array(listener.colour).std() > 5

    for port in (29999, 30003, 30004):
        socket.create_connection((loopback_ip, port), timeout=5).close()
    assert Path(hand_port).exists()

    assert listener.truth is not None
    first = listener.truth
    assert len(first.names) == len(first.poses) == 2
    assert all(first.on_table)

    assert listener.reset(7, MAX_OBJECTS + 1).error_code == ResetScene.Response.INVALID_REQUEST
    answer = listener.reset(7, 3)
    assert (answer.error_code, answer.error_msg) == (ResetScene.Response.SUCCESS, "")
    listener.until(lambda: listener.truth is not None and listener.truth.seed == 7)
    assert listener.truth.names != first.names
    assert len(listener.truth.names) == 3
    listener.depth.clear()
    listener.until(lambda: len(listener.depth) > 5)  # the camera films the new scene
    listener.destroy_node()


def test_second_cell_at_the_same_address_says_what_to_do(
    node: subprocess.Popen, loopback_ip: str, tmp_path: Path
) -> None:
    listener = Listener()
    listener.until(lambda: bool(listener.depth))
    command = [sys.executable, "-m", "dexgrasp_sim.nodes.sim_cell", "--ros-args", "-p", f"controller_ip:={loopback_ip}"]
    second = subprocess.run(
        [*command, "-p", f"hand_port:={tmp_path / 'other'}", "-p", "objects:=0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    listener.destroy_node()
    assert second.returncode == 1
    assert "Is another simulated cell running?" in second.stderr


@pytest.mark.slow
def test_reset_brings_an_arm_over_the_area_home_and_the_controller_knows(
    node: subprocess.Popen, loopback_ip: str
) -> None:
    listener, home = Listener(), load_cell().home
    listener.until(lambda: bool(listener.depth))
    over = home.copy()
    over[0] = 0.0  # straight out from the base
    control = RTDEControlInterface(loopback_ip)
    receive = RTDEReceiveInterface(loopback_ip)
    assert control.moveJ(over.tolist(), 1.5, 3.0)
    assert np.abs(np.array(receive.getActualQ()) - over).max() < 0.01
    listener.until(lambda: bool(np.abs(receive.getActualQd()).max() < 1e-3), 5.0)
    answer = listener.reset(5, 3)
    assert (answer.error_code, answer.error_msg) == (ResetScene.Response.SUCCESS, "")
    listener.until(lambda: bool(np.abs(np.array(receive.getActualQ()) - home).max() < 0.01), 10.0)

    # The program ended; uploaded again, it starts from where the arm now is, without a jump.
    control.reuploadScript()
    listener.until(control.isProgramRunning, 10.0)
    near = home + 0.05
    assert control.moveJ(near.tolist(), 1.0, 2.0)
    assert np.abs(np.array(receive.getActualQ()) - near).max() < 0.01
    for client in (control, receive):
        client.disconnect()
    listener.destroy_node()


def test_error_codes_are_those_of_the_service() -> None:
    assert InvalidRequestError.code == ResetScene.Response.INVALID_REQUEST
    assert UnsettledError.code == ResetScene.Response.UNSETTLED
