"""Restores the camera's depth and publishes it with the cloud that everything downstream works on."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from dexgrasp_common.errors import DexgraspError
from dexgrasp_common.nodes.messages import (
    array_to_image,
    image_to_array,
    intrinsics_of,
    points_to_cloud,
    seconds,
    static_transform,
)
from dexgrasp_common.nodes.parameters import declare
from dexgrasp_common.nodes.run import run_node
from dexgrasp_common.parameters import param
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from dexgrasp_description import CameraIntrinsics, load_cell
from dexgrasp_perception.cloud import deproject
from dexgrasp_perception.depth_image import check_depth, check_intrinsics
from dexgrasp_perception.errors import DepthError, PerceptionError
from dexgrasp_perception.frame import Frame
from dexgrasp_perception.nodes.health import Health
from dexgrasp_perception.restoration import DEPTH_RESTORATIONS, Restoration

_DEPTH_TOPIC = "camera/depth/image_rect_raw"
_INFO_TOPIC = "camera/depth/camera_info"
_SILENCE = 1.0  # a camera that sent no depth for so long is reported [s]
_TOGETHER = 0.1  # images whose stamps differ by more do not belong to one frame [s]
_EXTRA_TOPICS = {
    "color": ("camera/color/image_raw",),
    "infrared": ("camera/infra1/image_rect_raw", "camera/infra2/image_rect_raw"),
}


@dataclass(frozen=True)
class RestorationConfig:
    """Parameters of the node."""

    cell: str = param("ur5_leap", "Workcell: a name or the path of a cell file; gives the pose of the camera.")
    restoration: str = param("classical", "Depth restoration: none, classical or onnx.")
    restoration_options: str = param("", "YAML file with options of the restoration; empty for its defaults.")
    rate: float = param(5.0, "Frames restored a second, the newest each time [Hz].", range=(0.1, 60.0))
    min_confidence: float = param(0.0, "Pixels below this confidence become invalid.", range=(0.0, 1.0))


class DepthRestoration(Node):
    """Works on the newest frame at a fixed rate; frames in between are never even deserialised."""

    def __init__(self) -> None:
        super().__init__("depth_restoration")
        self._config = declare(self, RestorationConfig)
        self._world_T_camera = load_cell(self._config.cell).world_T_camera
        self._restoration: Restoration = DEPTH_RESTORATIONS.create(
            self._config.restoration, self._config.restoration_options
        )
        self._newest: dict[str, bytes] = {}
        self._info: CameraInfo | None = None
        self._heard = time.monotonic()
        newest_only = QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability)
        topics = [_DEPTH_TOPIC, *(name for need in self._restoration.needs for name in _EXTRA_TOPICS[need])]
        for name in topics:
            self.create_subscription(
                Image, name, lambda raw, name=name: self._newest.update({name: raw}), newest_only, raw=True
            )
        self.create_subscription(CameraInfo, _INFO_TOPIC, self._remember_info, qos_profile_sensor_data)
        self._depth_topic = self.create_publisher(Image, "perception/depth", qos_profile_sensor_data)
        self._points_topic = self.create_publisher(PointCloud2, "perception/points", qos_profile_sensor_data)
        self._health = Health(self, "depth_restoration: camera")
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._tf = self.create_publisher(TFMessage, "/tf_static", latched)
        stamp = self.get_clock().now().to_msg()
        self._tf.publish(TFMessage(transforms=[static_transform("world", "camera", self._world_T_camera, stamp)]))
        self.create_timer(1.0 / self._config.rate, self._process)

    def _remember_info(self, info: CameraInfo) -> None:
        self._info = info

    def _process(self) -> None:
        if _DEPTH_TOPIC not in self._newest:
            silent = time.monotonic() - self._heard
            if silent > _SILENCE:
                self._health.report(
                    DiagnosticStatus.ERROR,
                    f"The camera is silent: nothing on {_DEPTH_TOPIC} for more than {_SILENCE:.0f} s. "
                    "Is depth_capture, or the simulated cell, running?",
                )
            return
        self._heard = time.monotonic()
        images = {name: deserialize_message(raw, Image) for name, raw in self._newest.items()}
        del self._newest[_DEPTH_TOPIC]
        header = Header(frame_id="camera", stamp=images[_DEPTH_TOPIC].header.stamp)
        try:
            frame = self._frame(images)
            depth = self._restored(frame)
        except DexgraspError as error:
            self._health.report(DiagnosticStatus.ERROR, str(error))
            return
        # A cloud without a point is published too: an old one must not be taken for what the camera sees.
        self._depth_topic.publish(array_to_image(depth, "32FC1", header))
        self._points_topic.publish(points_to_cloud(deproject(depth, frame.intrinsics), header))
        try:
            check_depth(depth)
        except DepthError as error:
            self._health.report(DiagnosticStatus.ERROR, str(error))
        else:
            self._health.report(DiagnosticStatus.OK, f"restored by {self._config.restoration!r}")

    def _frame(self, images: dict[str, Image]) -> Frame:
        """One frame from the messages, checked.

        Raises:
            MessageError, DepthError, IntrinsicsError: The messages contradict each other or themselves.
        """
        if self._info is None:
            raise PerceptionError(f"Depth arrives, but no intrinsics on {_INFO_TOPIC}; the camera must publish both.")
        depth = _metres(images[_DEPTH_TOPIC])
        k = intrinsics_of(self._info)
        intrinsics = CameraIntrinsics(
            width=self._info.width, height=self._info.height, fx=k[0, 0], fy=k[1, 1], cx=k[0, 2], cy=k[1, 2]
        )
        check_intrinsics(intrinsics, depth.shape)
        color = self._together(images, "color")
        infrared = self._together(images, "infrared")
        if color and images[_EXTRA_TOPICS["color"][0]].encoding == "bgr8":
            color = [color[0][:, :, ::-1]]
        return Frame(depth, intrinsics, color[0] if color else None, (infrared[0], infrared[1]) if infrared else None)

    def _together(self, images: dict[str, Image], part: str) -> list[NDArray]:
        """The images of an optional part of a frame; none unless all are there, and of the depth image's instant."""
        instant = seconds(images[_DEPTH_TOPIC].header.stamp)
        found = [images[name] for name in _EXTRA_TOPICS[part] if name in images]
        if len(found) < len(_EXTRA_TOPICS[part]):
            return []
        if any(abs(seconds(image.header.stamp) - instant) > _TOGETHER for image in found):
            return []
        return [image_to_array(image) for image in found]

    def _restored(self, frame: Frame) -> NDArray[np.float32]:
        """(H, W) [m], NaN where invalid (REP 118)."""
        restored = self._restoration.restore(frame)
        valid = np.isfinite(restored.depth) & (restored.depth > 0)
        if restored.confidence is not None:
            valid &= restored.confidence >= self._config.min_confidence
        return np.where(valid, restored.depth, np.float32(np.nan))


def _metres(image: Image) -> NDArray[np.float32]:
    """(H, W) [m], 0 where invalid, of a 16UC1 [mm] or 32FC1 [m] message."""
    pixels = image_to_array(image)
    if pixels.dtype == np.uint16:
        return (pixels / 1000.0).astype(np.float32)
    if pixels.dtype == np.float32:
        return np.where(np.isfinite(pixels) & (pixels > 0), pixels, np.float32(0))
    raise DepthError(f"Depth images must be 16UC1 [mm] or 32FC1 [m]; {_DEPTH_TOPIC} carries {image.encoding}.")


def main() -> None:
    run_node(DepthRestoration)
