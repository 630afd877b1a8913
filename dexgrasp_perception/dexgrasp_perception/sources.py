"""Where depth frames come from: files, a recorded bag, or a camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dexgrasp_common.parameters import param
from dexgrasp_common.registry import Backend, Registry

from dexgrasp_perception.frame import Frame

DEPTH_SOURCES = Registry(
    "depth source",
    {
        "files": Backend(
            "dexgrasp_perception.file_source:FileSource", summary="recorded depth (and colour) images with intrinsics"
        ),
        "bag": Backend(
            "dexgrasp_perception.bag_source:BagSource",
            requires=("rosbags",),
            install="pip install rosbags",
            summary="a ROS 2 bag, sqlite3 or MCAP",
        ),
        "realsense": Backend(
            "dexgrasp_perception.realsense_source:RealSenseSource",
            requires=("pyrealsense2",),
            install="pip install pyrealsense2 && apt install libusb-1.0-0",
            summary="an Intel RealSense depth camera",
        ),
    },
    default="files",
)


@dataclass(frozen=True)
class SourceConfig:
    """What to open, for every depth source; each reads the fields that concern it."""

    source: str = param("files", "Depth source: files, bag or realsense.")
    path: str = param("", "files: a depth image or a folder of *.depth.png; bag: the bag's folder.")
    intrinsics: str = param("", "files: intrinsics (3x3 text, YAML, JSON); empty: intrinsics.* beside the images.")
    depth_unit: float = param(0.001, "files: metres per count of the depth images [m].", range=(1e-6, 1.0))
    loop: bool = param(True, "files, bag: start again after the last frame.")
    depth_topic: str = param("camera/depth/image_rect_raw", "bag: topic of the depth images.")
    info_topic: str = param("camera/depth/camera_info", "bag: topic of the intrinsics.")
    color_topic: str = param("camera/color/image_raw", "bag: topic of the colour images; may be absent.")
    serial: str = param("", "realsense: serial number; empty takes the first camera found.")
    width: int = param(640, "realsense: image width [px].", range=(160, 4096))
    height: int = param(480, "realsense: image height [px].", range=(120, 4096))
    rate: float = param(30.0, "files: frames a second; realsense: frame rate of the camera [Hz].", range=(0.1, 300.0))


class DepthSource(Protocol):
    """An open source. Factories in `DEPTH_SOURCES` take a `SourceConfig`."""

    rate: float
    """Frames per second that it delivers [Hz]."""
    live: bool
    """Whether `read` waits for the next instant by itself (a camera), or returns at once (a recording)."""

    def read(self) -> Frame | None:
        """The next frame; None after the last, or when closed. A camera waits up to a second.

        Raises:
            SourceError: The source stopped delivering; `close` it and open it again.
        """
        ...

    def close(self) -> None:
        """Give the device or file back. Harmless when closed already."""
        ...
