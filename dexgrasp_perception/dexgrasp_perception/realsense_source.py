"""An Intel RealSense camera as a depth source."""

from __future__ import annotations

import numpy as np
import pyrealsense2 as rs

from dexgrasp_description import CameraIntrinsics
from dexgrasp_perception.errors import SourceError
from dexgrasp_perception.frame import Frame
from dexgrasp_perception.sources import SourceConfig

_PATIENCE_MS = 1000  # a camera that delivers nothing for so long is lost


class RealSenseSource:
    """Depth with colour aligned to it, and the infrared pair where the camera has one.

    Raises:
        SourceError: No camera, or not with this resolution and rate.
    """

    live = True

    def __init__(self, config: SourceConfig) -> None:
        size, rate = (config.width, config.height), int(config.rate)
        self.rate = float(rate)
        streams = rs.config()
        if config.serial:
            streams.enable_device(config.serial)
        streams.enable_stream(rs.stream.depth, *size, rs.format.z16, rate)
        streams.enable_stream(rs.stream.color, *size, rs.format.rgb8, rate)
        streams.enable_stream(rs.stream.infrared, 1, *size, rs.format.y8, rate)
        streams.enable_stream(rs.stream.infrared, 2, *size, rs.format.y8, rate)
        self._pipeline = rs.pipeline()
        self._running = False
        try:
            profile = self._pipeline.start(streams)
        except RuntimeError as error:
            which = f"with serial number {config.serial}" if config.serial else "of any serial number"
            raise SourceError(
                f"No RealSense {which} streams depth, colour and infrared at {size[0]}x{size[1]}, {rate} Hz: {error}. "
                "Is it plugged into USB 3?"
            ) from error
        self._running = True
        self._unit = profile.get_device().first_depth_sensor().get_depth_scale()
        self._align = rs.align(rs.stream.depth)
        k = profile.get_stream(rs.stream.depth).as_video_stream_profile().get_intrinsics()
        self._intrinsics = CameraIntrinsics(width=k.width, height=k.height, fx=k.fx, fy=k.fy, cx=k.ppx, cy=k.ppy)

    def read(self) -> Frame | None:
        if not self._running:
            return None
        try:
            frames = self._align.process(self._pipeline.wait_for_frames(_PATIENCE_MS))
        except RuntimeError as error:
            raise SourceError(f"The RealSense delivers no frames: {error}.") from error
        depth, color = frames.get_depth_frame(), frames.get_color_frame()
        left, right = frames.get_infrared_frame(1), frames.get_infrared_frame(2)
        if not depth:
            raise SourceError("The RealSense delivered a set of frames without depth.")
        # Copies: librealsense reuses the memory of a frame once it is released.
        return Frame(
            depth=(np.asanyarray(depth.get_data()) * np.float64(self._unit)).astype(np.float32),
            intrinsics=self._intrinsics,
            color=np.array(color.get_data()) if color else None,
            infrared=(np.array(left.get_data()), np.array(right.get_data())) if left and right else None,
        )

    def close(self) -> None:
        if self._running:
            self._running = False
            self._pipeline.stop()
