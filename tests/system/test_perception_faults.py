"""A camera that lies: the cloud is refused with an error of its own, and the diagnostics say what is wrong."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dexgrasp.bringup import node_environment
from dexgrasp.nodes import NODES, Arguments, command
from dexgrasp.session import Latest, Session
from dexgrasp_common.nodes.clients import call_action
from dexgrasp_common.nodes.messages import array_to_image, camera_info
from dexgrasp_perception.depth_image import load_depth, load_intrinsics
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dexgrasp_msgs.action import GenerateGrasp

from .suite import wait_for

SAMPLES = Path(__file__).resolve().parents[2] / "launch" / "samples"
DOMAIN = 101
CODES = GenerateGrasp.Result


class Camera:
    """Publishes whatever image and intrinsics it is set to, ten times a second."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.depth: np.ndarray = np.zeros((480, 640), np.float32)
        self.matrix = np.eye(3)
        self.size = (640, 480)
        node = session.node
        self._images = node.create_publisher(Image, "camera/depth/image_rect_raw", qos_profile_sensor_data)
        self._infos = node.create_publisher(CameraInfo, "camera/depth/camera_info", qos_profile_sensor_data)
        node.create_timer(0.1, self._publish)

    def show_sample(self) -> None:
        """The shipped view of the table, with its own intrinsics."""
        self.depth = load_depth(SAMPLES / "table.depth.png").astype(np.float32)
        intrinsics = load_intrinsics(SAMPLES / "table.intrinsics.json")
        self.size, self.matrix = (intrinsics.width, intrinsics.height), intrinsics.matrix

    def _publish(self) -> None:
        header = Header(frame_id="camera", stamp=self.session.node.get_clock().now().to_msg())
        self._infos.publish(camera_info(*self.size, self.matrix, header))
        self._images.publish(array_to_image(self.depth, "32FC1", header))


@pytest.fixture(scope="module")
def camera() -> Iterator[Camera]:
    """depth_restoration and grasp_generator as processes, and this test as their camera."""
    environment = {**node_environment(), "ROS_DOMAIN_ID": str(DOMAIN)}
    specs = [spec for spec in NODES if spec.executable in ("depth_restoration", "grasp_generator")]
    processes = [subprocess.Popen(command(spec, Arguments()), shell=True, env=environment) for spec in specs]
    try:
        with Session(DOMAIN) as session:
            client = session.action(GenerateGrasp, "generate_grasp")
            wait_for(client.server_is_ready, 60.0, "generate_grasp")
            yield Camera(session)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(15)


@pytest.fixture
def diagnosis(camera: Camera) -> Latest[DiagnosticArray]:
    return camera.session.latest(DiagnosticArray, "diagnostics")


def generate(camera: Camera) -> GenerateGrasp.Result:
    client = camera.session.action(GenerateGrasp, "generate_grasp")
    return call_action(client, GenerateGrasp.Goal(max_grasps=3), 60.0)


def said(diagnosis: Latest[DiagnosticArray], words: str) -> None:
    diagnosis.wait(10.0, lambda message: any(words in status.message for status in message.status))


def test_depth_of_nothing_but_nan(camera: Camera, diagnosis: Latest[DiagnosticArray]) -> None:
    camera.show_sample()
    camera.depth = np.full((480, 640), np.nan, np.float32)
    said(diagnosis, "no valid pixel")
    result = generate(camera)
    assert result.error_code == CODES.INVALID_CLOUD, result.error_msg
    assert "finite" in result.error_msg
    assert_recovers(camera)


def test_intrinsics_of_another_image_size(camera: Camera, diagnosis: Latest[DiagnosticArray]) -> None:
    camera.show_sample()
    camera.size = (320, 240)
    said(diagnosis, "intrinsics are for 320x240 pixels, the image has 640x480")
    time.sleep(1.0)  # the last good cloud counts as fresh for half a second
    result = generate(camera)
    assert result.error_code == CODES.NO_CLOUD, result.error_msg
    assert "perception/points" in result.error_msg
    assert_recovers(camera)


def assert_recovers(camera: Camera) -> None:
    """The next goal works once the cause is gone."""
    camera.show_sample()
    outcome: list[GenerateGrasp.Result] = []

    def works() -> bool:
        outcome.append(generate(camera))
        return outcome[-1].error_code == CODES.SUCCESS

    for _ in range(10):
        if works():
            return
        time.sleep(0.5)
    raise AssertionError(f"error {outcome[-1].error_code}: {outcome[-1].error_msg}")
