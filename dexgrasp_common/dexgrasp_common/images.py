"""The pixels of an image message as numpy views, for messages of rclpy and of recorded bags alike."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dexgrasp_common.errors import DexgraspError

ENCODINGS: dict[str, tuple[type[np.generic], int]] = {
    "mono8": (np.uint8, 1),
    "8UC1": (np.uint8, 1),
    "16UC1": (np.uint16, 1),
    "mono16": (np.uint16, 1),
    "32FC1": (np.float32, 1),
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
}


class MessageError(DexgraspError):
    """A message whose contents contradict its own description."""


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image, whoever deserialised it."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


def image_pixels(image: ImageMessage) -> NDArray[Any]:
    """(H, W) or (H, W, C) array in native byte order; a view of the message where there is nothing to convert.

    Raises:
        MessageError: Unsupported encoding, or fewer bytes than step and height promise.
    """
    try:
        scalar, channels = ENCODINGS[image.encoding]
    except KeyError:
        raise MessageError(
            f"Image encoding {image.encoding!r} is not supported. Supported: {', '.join(sorted(ENCODINGS))}."
        ) from None
    dtype = np.dtype(scalar).newbyteorder(">" if image.is_bigendian else "<")
    row = image.width * channels * dtype.itemsize
    if image.step < row or len(image.data) < image.step * image.height:
        raise MessageError(
            f"A {image.width}x{image.height} {image.encoding} image needs {row} bytes a row and "
            f"{image.height} rows; the message has step {image.step} and {len(image.data)} bytes."
        )
    rows = np.frombuffer(image.data, np.uint8, image.step * image.height).reshape(image.height, image.step)[:, :row]
    pixels = rows.view(dtype) if image.step == row else np.ascontiguousarray(rows).view(dtype)
    if not dtype.isnative:
        pixels = pixels.astype(dtype.newbyteorder("="))
    return pixels.reshape(image.height, image.width, channels) if channels > 1 else pixels
