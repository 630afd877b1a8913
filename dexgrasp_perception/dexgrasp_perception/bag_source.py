"""A recorded ROS 2 bag as a depth source, read without ROS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_common.images import MessageError, image_pixels
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_typestore

from dexgrasp_description import CameraIntrinsics
from dexgrasp_perception.depth_image import check_intrinsics
from dexgrasp_perception.errors import SourceError
from dexgrasp_perception.frame import Frame
from dexgrasp_perception.sources import SourceConfig


class BagSource:
    """Plays the depth images of a bag, each with the latest intrinsics and colour recorded before it.

    Raises:
        SourceError: No bag, or not the topics asked for.
    """

    live = False

    def __init__(self, config: SourceConfig) -> None:
        if not config.path or not Path(config.path).exists():
            raise SourceError(f"Depth source 'bag' needs `path`, a bag's folder; there is none at {config.path!r}.")
        try:
            self._reader = AnyReader([Path(config.path)], default_typestore=get_typestore(Stores.ROS2_KILTED))
            self._reader.open()
            self._open = True
        except AnyReaderError as error:
            raise SourceError(f"{config.path} is not a bag that can be read: {error}.") from error
        self._topics = {
            "/" + config.depth_topic.lstrip("/"): "depth",
            "/" + config.info_topic.lstrip("/"): "info",
            "/" + config.color_topic.lstrip("/"): "color",
        }
        self._connections = [c for c in self._reader.connections if "/" + c.topic.lstrip("/") in self._topics]
        found = {self._topics["/" + c.topic.lstrip("/")] for c in self._connections}
        if not {"depth", "info"} <= found:
            topics = ", ".join(sorted(c.topic for c in self._reader.connections)) or "none"
            self.close()
            raise SourceError(
                f"{config.path} needs the topics {config.depth_topic} and {config.info_topic}; it has {topics}."
            )
        self.rate = self._recorded_rate()
        self._loop = config.loop
        self._intrinsics: CameraIntrinsics | None = None
        self._color: NDArray[np.uint8] | None = None
        self._messages = self._play()

    def read(self) -> Frame | None:
        frame = next(self._messages, None)
        if frame is None and self._loop:
            self._messages = self._play()
            frame = next(self._messages, None)
            if frame is None:
                raise SourceError("The bag holds no depth image with intrinsics recorded before it.")
        return frame

    def close(self) -> None:
        self._messages, self._loop = iter(()), False
        if self._open:
            self._open = False
            self._reader.close()

    def _play(self) -> Iterator[Frame]:
        for connection, _, data in self._reader.messages(self._connections):
            message: Any = self._reader.deserialize(data, connection.msgtype)
            kind = self._topics["/" + connection.topic.lstrip("/")]
            if kind == "info":
                k = message.k
                self._intrinsics = CameraIntrinsics(
                    width=message.width, height=message.height, fx=k[0], fy=k[4], cx=k[2], cy=k[5]
                )
            elif kind == "color":
                pixels = _pixels(message)
                self._color = pixels[:, :, ::-1] if message.encoding == "bgr8" else pixels
            elif self._intrinsics is not None:
                depth = _metres(message)
                check_intrinsics(self._intrinsics, depth.shape)
                aligned = self._color is not None and self._color.shape[:2] == depth.shape
                yield Frame(depth, self._intrinsics, self._color if aligned else None)

    def _recorded_rate(self) -> float:
        stamps = [stamp for c, stamp, _ in self._reader.messages(self._connections) if self._is_depth(c.topic)]
        return float(1e9 * (len(stamps) - 1) / (stamps[-1] - stamps[0])) if len(stamps) > 1 else 30.0

    def _is_depth(self, topic: str) -> bool:
        return self._topics["/" + topic.lstrip("/")] == "depth"


def _metres(message: Any) -> NDArray[np.float32]:
    pixels = _pixels(message)
    if pixels.dtype == np.uint16:
        return (pixels / 1000.0).astype(np.float32)
    if pixels.dtype == np.float32:
        return np.where(np.isfinite(pixels) & (pixels > 0), pixels, np.float32(0))
    raise SourceError(f"Depth images are 16UC1 [mm] or 32FC1 [m]; the bag has {message.encoding}.")


def _pixels(message: Any) -> NDArray[Any]:
    try:
        return image_pixels(message)
    except MessageError as error:
        raise SourceError(f"The bag holds an image that cannot be read: {error}") from error
