"""Publishes the frames of a depth source: recorded files, a bag, or a camera."""

from __future__ import annotations

import threading
import time

from dexgrasp_common.errors import DexgraspError
from dexgrasp_common.nodes.messages import array_to_image, camera_info
from dexgrasp_common.nodes.parameters import declare
from dexgrasp_common.nodes.run import run_node
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import qos_profile_sensor_data
from rclpy.subscription import RCLError
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dexgrasp_perception.depth_image import to_counts
from dexgrasp_perception.frame import Frame
from dexgrasp_perception.nodes.health import Health
from dexgrasp_perception.sources import DEPTH_SOURCES, DepthSource, SourceConfig

_REOPEN = 2.0  # pause before a source that failed is opened again [s]


class DepthCapture(Node):
    """Reads the source on a thread of its own, so that a silent camera blocks nothing.

    A source that cannot be opened at start ends the node with its message; one that fails later is closed and
    opened again until it delivers.
    """

    def __init__(self) -> None:
        super().__init__("depth_capture")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._config = declare(self, SourceConfig)
        self._health = Health(self, "depth_capture: source")
        self._topics: dict[str, Publisher] = {}
        self._source: DepthSource = DEPTH_SOURCES.create(self._config.source, self._config)
        self.get_logger().info(f"Depth source {self._config.source!r} at {self._source.rate:.3g} Hz.")
        self._thread.start()

    def destroy_node(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3.0)
        super().destroy_node()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            try:
                frame = self._source.read()
                if frame is None:
                    self._health.report(DiagnosticStatus.OK, "the recording has ended")
                    break
                self._publish(frame)
                self._health.report(DiagnosticStatus.OK, f"delivering at {self._source.rate:.3g} Hz")
            except DexgraspError as error:
                self._health.report(DiagnosticStatus.ERROR, str(error))
                self._reopen()
                due = time.monotonic()
            except RCLError:
                if self.context.ok():
                    raise
                break
            if not self._source.live:
                due = max(due + 1.0 / self._source.rate, time.monotonic() - 1.0)
                self._ended.wait(due - time.monotonic())
        self._source.close()

    def _reopen(self) -> None:
        self._source.close()
        while not self._ended.wait(_REOPEN):
            try:
                self._source = DEPTH_SOURCES.create(self._config.source, self._config)
                return
            except DexgraspError as error:
                self._health.report(DiagnosticStatus.ERROR, str(error))

    def _publish(self, frame: Frame) -> None:
        header = Header(frame_id="camera", stamp=self.get_clock().now().to_msg())
        k = frame.intrinsics
        # Intrinsics first: whoever waits for an image then has them.
        self._topic("camera/depth/camera_info", CameraInfo).publish(camera_info(k.width, k.height, k.matrix, header))
        images = {"camera/depth/image_rect_raw": (to_counts(frame.depth), "16UC1")}
        if frame.color is not None:
            images["camera/color/image_raw"] = (frame.color, "rgb8")
        if frame.infrared is not None:
            images["camera/infra1/image_rect_raw"] = (frame.infrared[0], "mono8")
            images["camera/infra2/image_rect_raw"] = (frame.infrared[1], "mono8")
        for name, (pixels, encoding) in images.items():
            self._topic(name, Image).publish(array_to_image(pixels, encoding, header))

    def _topic(self, name: str, kind: type) -> Publisher:
        if name not in self._topics:
            self._topics[name] = self.create_publisher(kind, name, qos_profile_sensor_data)
        return self._topics[name]


def main() -> None:
    run_node(DepthCapture)
