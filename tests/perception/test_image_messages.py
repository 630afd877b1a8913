"""Conversion of images against bytes written by hand, and against cv_bridge where there is one."""

from types import SimpleNamespace

import numpy as np
import pytest
from dexgrasp_common.images import ENCODINGS, image_pixels


def _message(encoding: str, height: int, width: int, step: int, big: bool, data: bytes) -> SimpleNamespace:
    return SimpleNamespace(
        encoding=encoding, height=height, width=width, step=step, is_bigendian=int(big), data=bytearray(data)
    )


@pytest.mark.parametrize("padding", [b"", b"\xaa\xbb\xcc"])
@pytest.mark.parametrize(
    ("encoding", "big", "row0", "row1", "expected"),
    [
        ("mono8", False, b"\x01\x02", b"\xfe\xff", [[1, 2], [254, 255]]),
        ("8UC1", True, b"\x01\x02", b"\xfe\xff", [[1, 2], [254, 255]]),
        ("16UC1", False, b"\x01\x02\x03\x04", b"\xff\x00\x00\xff", [[0x0201, 0x0403], [0x00FF, 0xFF00]]),
        ("16UC1", True, b"\x01\x02\x03\x04", b"\xff\x00\x00\xff", [[0x0102, 0x0304], [0xFF00, 0x00FF]]),
        ("32FC1", False, b"\x00\x00\x80\x3f\x00\x00\x00\xc0", b"\x00\x00\x00\x3f\x00" * 1 + b"\x00\x00\x00",
         [[1.0, -2.0], [0.5, 0.0]]),
        ("32FC1", True, b"\x3f\x80\x00\x00\xc0\x00\x00\x00", b"\x3f\x00\x00\x00\x00\x00\x00\x00",
         [[1.0, -2.0], [0.5, 0.0]]),
        ("rgb8", False, b"\x01\x02\x03\x04\x05\x06", b"\x07\x08\x09\x0a\x0b\x0c",
         [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]),
        ("bgr8", True, b"\x01\x02\x03\x04\x05\x06", b"\x07\x08\x09\x0a\x0b\x0c",
         [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]),
    ],
)  # fmt: skip
def test_pixels_are_what_the_bytes_say(
    encoding: str, big: bool, row0: bytes, row1: bytes, expected: list, padding: bytes
) -> None:
    message = _message(encoding, 2, 2, len(row0) + len(padding), big, row0 + padding + row1 + padding)
    pixels = image_pixels(message)
    assert pixels.dtype == ENCODINGS[encoding][0]
    assert pixels.dtype.isnative
    assert pixels.tolist() == expected


def test_unpadded_native_images_are_views() -> None:
    message = _message("16UC1", 1, 2, 4, False, b"\x01\x00\x02\x00")
    pixels = image_pixels(message)
    message.data[0] = 9
    assert pixels[0, 0] == 9


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
@pytest.mark.parametrize("padding", [0, 5])
def test_cv_bridge_reads_the_same(encoding: str, padding: int) -> None:
    bridge = pytest.importorskip("cv_bridge", reason="no cv_bridge here; it comes with an installed ROS 2")
    from sensor_msgs.msg import Image

    scalar, channels = ENCODINGS[encoding]
    row = 4 * channels * np.dtype(scalar).itemsize
    data = np.random.default_rng(0).integers(0, 60, (3, row + padding)).astype(np.uint8)
    image = Image(height=3, width=4, encoding=encoding, step=row + padding, data=data.ravel().tolist())
    assert np.array_equal(bridge.CvBridge().imgmsg_to_cv2(image, "passthrough"), image_pixels(image))
