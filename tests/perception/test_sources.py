import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from dexgrasp_common.registry import UnavailableBackendError
from dexgrasp_perception.depth_image import save_depth
from dexgrasp_perception.errors import IntrinsicsError, SourceError
from dexgrasp_perception.sources import DepthSource, SourceConfig
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dexgrasp_perception import DEPTH_SOURCES

from .scenes import INTRINSICS, table_with_boxes

K = INTRINSICS


def _depths() -> list[np.ndarray]:
    """Three different images of whole millimetres with some holes."""
    depth, _, _ = table_with_boxes()
    images = [np.floor((depth + 0.05 * i) * 1000) / 1000 for i in range(3)]
    for i, image in enumerate(images):
        image[10 * i : 10 * i + 30, 50:90] = 0
    return images


def _color(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 255, (480, 640, 3)).astype(np.uint8)


def _write_files(folder: Path, unit: float = 0.001) -> SourceConfig:
    for i, depth in enumerate(_depths()):
        save_depth(folder / f"frame{i}.depth.png", depth, unit)
        cv2.imwrite(str(folder / f"frame{i}.color.png"), _color(i)[:, :, ::-1])
    values = {"width": K.width, "height": K.height, "fx": K.fx, "fy": K.fy, "cx": K.cx, "cy": K.cy}
    (folder / "intrinsics.json").write_text(json.dumps(values))
    return SourceConfig(source="files", path=str(folder), depth_unit=unit, loop=False)


def _write_bag(folder: Path, storage: StoragePlugin, *, info: bool = True, encoding: str = "16UC1") -> SourceConfig:
    types = get_typestore(Stores.ROS2_KILTED)
    kinds = types.types
    header_of = kinds["std_msgs/msg/Header"]
    path = folder / "bag"
    with Writer(path, version=9, storage_plugin=storage) as writer:
        topics = {
            "/camera/depth/camera_info": "sensor_msgs/msg/CameraInfo",
            "/camera/color/image_raw": "sensor_msgs/msg/Image",
            "/camera/depth/image_rect_raw": "sensor_msgs/msg/Image",
            "/unrelated": "std_msgs/msg/String",
        }
        connections = {
            name: writer.add_connection(name, kind, typestore=types)
            for name, kind in topics.items()
            if info or not name.endswith("camera_info")
        }

        def write(name: str, message: object, stamp: int) -> None:
            if name in connections:
                writer.write(connections[name], stamp, types.serialize_cdr(message, topics[name]))

        for i, depth in enumerate(_depths()):
            stamp = 10**9 + i * 50_000_000
            header = header_of(kinds["builtin_interfaces/msg/Time"](1, i * 50_000_000), "camera")
            k = K.matrix.ravel()
            roi = kinds["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
            p = np.zeros(12)
            info_msg = kinds["sensor_msgs/msg/CameraInfo"](
                header, K.height, K.width, "plumb_bob", np.zeros(5), k, np.eye(3).ravel(), p, 0, 0, roi
            )
            image = kinds["sensor_msgs/msg/Image"]
            # Rows padded by two bytes: the width alone does not say where a row begins.
            pixels = (depth * 1000 + 0.5).astype("<u2") if encoding == "16UC1" else depth.astype("<f4")
            rows = pixels.view(np.uint8).reshape(480, -1)
            padded = np.concatenate([rows, np.full((480, 2), 255, np.uint8)], axis=1)
            write("/camera/depth/camera_info", info_msg, stamp)
            bgr = np.ascontiguousarray(_color(i)[:, :, ::-1])
            write("/camera/color/image_raw", image(header, 480, 640, "bgr8", 0, 1920, bgr.ravel()), stamp + 1)
            depth_msg = image(header, 480, 640, encoding, 0, padded.shape[1], padded.ravel())
            write("/camera/depth/image_rect_raw", depth_msg, stamp + 2)
            write("/unrelated", kinds["std_msgs/msg/String"]("hello"), stamp + 3)
    return SourceConfig(source="bag", path=str(path), loop=False)


def _make(name: str, folder: Path) -> SourceConfig:
    if name == "files":
        return _write_files(folder)
    if name == "realsense":
        return SourceConfig(source="realsense")
    return _write_bag(folder, StoragePlugin.MCAP if name == "bag-mcap" else StoragePlugin.SQLITE3)


@pytest.fixture(params=["files", "bag-sqlite3", "bag-mcap", "realsense"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> DepthSource:
    """Each source, open; the camera only where there is one."""
    config = _make(request.param, tmp_path)
    if request.param == "realsense":
        rs = pytest.importorskip("pyrealsense2", reason="pyrealsense2 is not installed")
        if len(rs.context().query_devices()) == 0:
            pytest.skip("no RealSense is plugged in")
    opened = DEPTH_SOURCES.create(config.source, config)
    yield opened
    opened.close()


def test_every_source_delivers_frames_that_are_whole(source: DepthSource) -> None:
    assert source.rate > 0
    frame = source.read()
    assert frame is not None
    k = frame.intrinsics
    assert frame.depth.shape == (k.height, k.width)
    assert frame.depth.dtype == np.float32
    assert np.isfinite(frame.depth).all()
    assert frame.depth.min() == 0
    assert 0.1 < frame.depth.max() < 20.0
    assert frame.color is not None
    assert frame.color.shape == (k.height, k.width, 3)
    assert frame.color.dtype == np.uint8


def test_every_source_is_silent_once_closed(source: DepthSource) -> None:
    source.close()
    assert source.read() is None
    source.close()


@pytest.mark.parametrize("name", ["files", "bag-sqlite3", "bag-mcap"])
def test_recording_comes_back_to_the_millimetre_and_ends(tmp_path: Path, name: str) -> None:
    config = _make(name, tmp_path)
    source = DEPTH_SOURCES.create(config.source, config)
    for index, depth in enumerate(_depths()):
        frame = source.read()
        assert np.array_equal(frame.depth, depth.astype(np.float32))
        assert np.array_equal(frame.color, _color(index))
        assert np.array_equal(frame.intrinsics.matrix, K.matrix)
    assert source.read() is None
    source.close()


@pytest.mark.parametrize("name", ["files", "bag-sqlite3"])
def test_looped_recording_starts_again(tmp_path: Path, name: str) -> None:
    config = _make(name, tmp_path)
    looped = SourceConfig(source=config.source, path=config.path, loop=True)
    source = DEPTH_SOURCES.create(config.source, looped)
    medians = [float(np.median(source.read().depth)) for _ in range(7)]
    assert medians[0] == medians[3] == medians[6]
    assert len(set(medians)) == 3
    source.close()


def test_bag_tells_its_own_rate(tmp_path: Path) -> None:
    source = DEPTH_SOURCES.create("bag", _write_bag(tmp_path, StoragePlugin.SQLITE3))
    assert abs(source.rate - 20.0) < 0.1
    source.close()


def test_bag_of_metres_is_read_like_one_of_millimetres(tmp_path: Path) -> None:
    source = DEPTH_SOURCES.create("bag", _write_bag(tmp_path, StoragePlugin.SQLITE3, encoding="32FC1"))
    assert np.array_equal(source.read().depth, _depths()[0].astype(np.float32))
    source.close()


def test_bag_without_intrinsics_lists_its_topics(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="needs the topics .*camera_info; it has .*/unrelated"):
        DEPTH_SOURCES.create("bag", _write_bag(tmp_path, StoragePlugin.SQLITE3, info=False))


def test_what_is_no_bag_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("nonsense")
    with pytest.raises(SourceError, match="not a bag"):
        DEPTH_SOURCES.create("bag", SourceConfig(path=str(tmp_path)))
    with pytest.raises(SourceError, match="needs `path`"):
        DEPTH_SOURCES.create("bag", SourceConfig())


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="needs `path`"):
        DEPTH_SOURCES.create("files", SourceConfig())
    with pytest.raises(SourceError, match="no depth images"):
        DEPTH_SOURCES.create("files", SourceConfig(path=str(tmp_path)))
    save_depth(tmp_path / "a.depth.png", np.ones((480, 640)))
    with pytest.raises(SourceError, match=r"no intrinsics\.yaml"):
        DEPTH_SOURCES.create("files", SourceConfig(path=str(tmp_path)))


def test_files_with_intrinsics_of_another_camera_are_refused_at_once(tmp_path: Path) -> None:
    config = _write_files(tmp_path)
    (tmp_path / "intrinsics.json").write_text('{"width": 320, "height": 240, "fx": 1, "fy": 1, "cx": 9, "cy": 9}')
    with pytest.raises(IntrinsicsError, match="for 320x240 pixels, the image has 640x480"):
        DEPTH_SOURCES.create("files", config)


def test_missing_library_of_a_camera_names_the_install_command() -> None:
    if not DEPTH_SOURCES.get("realsense").missing():
        pytest.skip("pyrealsense2 is installed here")
    with pytest.raises(UnavailableBackendError, match="pip install pyrealsense2"):
        DEPTH_SOURCES.create("realsense", SourceConfig(source="realsense"))


def test_real_capture_plays(shared: Path) -> None:
    folder = shared / "real_rgbd"
    config = SourceConfig(
        path=str(folder / "input-0.depth.png"),
        intrinsics=str(folder / "camera-0.intrinsics.txt"),
        depth_unit=0.0001,
    )
    source = DEPTH_SOURCES.create("files", config)
    first, second = source.read(), source.read()
    assert first.color.shape == (480, 640, 3)
    assert np.array_equal(first.depth, second.depth)
    source.close()
