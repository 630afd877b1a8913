"""The two nodes as processes, over real DDS."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from dexgrasp_common.nodes.messages import array_to_image, camera_info, cloud_to_points, image_to_array
from dexgrasp_perception.cloud import deproject
from dexgrasp_perception.depth_image import save_depth
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from dexgrasp_description import CameraIntrinsics, load_cell

from .scenes import INTRINSICS, table_with_boxes

DEADLINE = 20.0  # generous: the machine may be running other tests [s]


class Bench:
    """A node that plays the camera and listens to what comes out."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("bench")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.heard: dict[str, list] = {}
        self._depth = self.node.create_publisher(Image, "camera/depth/image_rect_raw", qos_profile_sensor_data)
        self._info = self.node.create_publisher(CameraInfo, "camera/depth/camera_info", qos_profile_sensor_data)

    def listen(self, kind: type, topic: str, qos: QoSProfile = qos_profile_sensor_data) -> None:
        messages = self.heard.setdefault(topic, [])
        self.node.create_subscription(kind, topic, messages.append, qos)

    def send(self, depth: np.ndarray, intrinsics: CameraIntrinsics = INTRINSICS) -> Header:
        header = Header(frame_id="camera", stamp=self.node.get_clock().now().to_msg())
        k = intrinsics
        self._info.publish(camera_info(k.width, k.height, k.matrix, header))
        self._depth.publish(array_to_image((depth * 1000).astype(np.uint16), "16UC1", header))
        return header

    def until(self, condition: Callable[[], bool], every: Callable[[], object] = lambda: None) -> None:
        """Spin, calling `every` ten times a second, until the condition holds; fails at the deadline."""
        end, due = time.monotonic() + DEADLINE, 0.0
        while not condition():
            assert time.monotonic() < end, f"nothing of the kind within {DEADLINE} s; heard {self.statuses()}"
            if time.monotonic() > due:
                every()
                due = time.monotonic() + 0.1
            self.executor.spin_once(timeout_sec=0.05)

    def statuses(self) -> list[tuple[bytes, str]]:
        return [(s.level, s.message) for array in self.heard.get("diagnostics", []) for s in array.status]

    def said(self, level: bytes, text: str) -> bool:
        return any(found == level and text in message for found, message in self.statuses())


@pytest.fixture
def bench(ros_context: None) -> Iterator[Bench]:
    made = Bench()
    made.listen(DiagnosticArray, "diagnostics", QoSProfile(depth=10))
    yield made
    made.node.destroy_node()


@pytest.fixture
def start(ros_domain: int) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts a node with parameters; all are stopped at the end, and must have left cleanly."""
    running: list[subprocess.Popen] = []

    def run(name: str, **parameters: object) -> subprocess.Popen:
        command = [sys.executable, "-c", f"from dexgrasp_perception.nodes.{name} import main; main()", "--ros-args"]
        for key, value in parameters.items():
            command += ["-p", f"{key}:={value}"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield run
    for process in running:
        process.terminate()
    for process in running:
        _, errors = process.communicate(timeout=10)
        assert "Traceback" not in errors, errors


def test_cloud_of_the_newest_depth_image_arrives(bench: Bench, start: Callable) -> None:
    start("depth_restoration", restoration="none", rate=20.0)
    bench.listen(PointCloud2, "perception/points")
    bench.listen(Image, "perception/depth")
    bench.listen(TFMessage, "/tf_static", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    depth = np.floor(table_with_boxes()[0] * 1000 + 1e-6) / 1000
    depth[:50, :50] = 0
    sent = []
    bench.until(
        lambda: all(bench.heard[topic] for topic in ("perception/points", "perception/depth", "/tf_static")),
        every=lambda: sent.append(bench.send(depth)),
    )
    cloud = bench.heard["perception/points"][0]
    assert cloud.header.frame_id == "camera"
    assert cloud.header.stamp in [header.stamp for header in sent]
    expected = deproject(depth.astype(np.float32), INTRINSICS)
    assert np.array_equal(cloud_to_points(cloud), expected, equal_nan=True)
    restored = image_to_array(bench.heard["perception/depth"][0])
    assert restored.dtype == np.float32
    assert np.array_equal(restored, expected[..., 2], equal_nan=True)
    (transform,) = bench.heard["/tf_static"][0].transforms
    assert (transform.header.frame_id, transform.child_frame_id) == ("world", "camera")
    p = transform.transform.translation
    assert np.allclose([p.x, p.y, p.z], load_cell().world_T_camera[:3, 3])


def test_camera_that_goes_bad_is_reported_and_recovery_needs_no_restart(bench: Bench, start: Callable) -> None:
    start("depth_restoration", restoration="classical", rate=20.0)
    bench.listen(PointCloud2, "perception/points")
    clouds = bench.heard["perception/points"]
    depth = table_with_boxes()[0]

    def fresh() -> None:
        clouds.clear()
        bench.heard["diagnostics"].clear()

    bench.until(lambda: bench.said(DiagnosticStatus.ERROR, "silent"))

    fresh()
    bench.until(lambda: bool(clouds) and bench.said(DiagnosticStatus.OK, "classical"), lambda: bench.send(depth))

    fresh()  # covered lens: a cloud without points, so that nobody keeps working on the old one
    bench.until(
        lambda: bench.said(DiagnosticStatus.ERROR, "no valid pixel") and bool(clouds),
        lambda: bench.send(np.zeros_like(depth)),
    )
    assert np.isnan(cloud_to_points(clouds[-1])).all()

    fresh()
    half = CameraIntrinsics(width=320, height=240, fx=300.0, fy=300.0, cx=160.0, cy=120.0)
    bench.until(
        lambda: bench.said(DiagnosticStatus.ERROR, "for 320x240 pixels, the image has 640x480"),
        lambda: bench.send(depth, half),
    )
    clouds.clear()
    bench.until(lambda: bench.said(DiagnosticStatus.OK, "classical") and bool(clouds), lambda: bench.send(depth))
    assert np.isfinite(cloud_to_points(clouds[-1])).all(-1).mean() > 0.9

    fresh()
    bench.until(lambda: bench.said(DiagnosticStatus.ERROR, "silent"))


@pytest.mark.parametrize(
    ("node", "parameters", "message"),
    [
        ("depth_restoration", {"restoration": "wishful"}, "Valid names: classical, none, onnx"),
        ("depth_restoration", {"cell": "nowhere"}, "nowhere"),
        ("depth_capture", {"source": "crystal_ball"}, "Valid names: bag, files, realsense"),
        ("depth_capture", {"path": "/nowhere"}, "no depth images at /nowhere"),
    ],
)
def test_wrong_parameter_ends_the_node_with_one_line(
    start: Callable, node: str, parameters: dict, message: str
) -> None:
    process = start(node, **parameters)
    assert process.wait(timeout=DEADLINE) == 1
    errors = process.stderr.read()
    assert message in errors
    assert "Traceback" not in errors


def test_recorded_files_reach_the_cloud(bench: Bench, start: Callable, tmp_path: Path) -> None:
    depth = np.floor(table_with_boxes()[0] * 1000 + 1e-6) / 1000
    save_depth(tmp_path / "table.depth.png", depth)
    np.savetxt(tmp_path / "intrinsics.txt", INTRINSICS.matrix)
    bench.listen(Image, "camera/depth/image_rect_raw")
    bench.listen(PointCloud2, "perception/points")
    start("depth_capture", source="files", path=tmp_path, rate=20.0)
    start("depth_restoration", restoration="none")
    bench.until(lambda: len(bench.heard["camera/depth/image_rect_raw"]) >= 5 and bool(bench.heard["perception/points"]))
    raw = bench.heard["camera/depth/image_rect_raw"][0]
    assert (raw.encoding, raw.header.frame_id) == ("16UC1", "camera")
    assert np.array_equal(image_to_array(raw), np.round(depth * 1000))
    points = cloud_to_points(bench.heard["perception/points"][0])
    assert np.allclose(points, deproject(depth, INTRINSICS), atol=1e-6)


def test_recording_that_is_not_looped_ends_quietly(bench: Bench, start: Callable, tmp_path: Path) -> None:
    save_depth(tmp_path / "table.depth.png", table_with_boxes()[0])
    np.savetxt(tmp_path / "intrinsics.txt", INTRINSICS.matrix)
    process = start("depth_capture", path=tmp_path / "table.depth.png", loop="false")
    bench.until(lambda: bench.said(DiagnosticStatus.OK, "ended"))
    assert process.poll() is None
