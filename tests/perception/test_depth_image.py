import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from dexgrasp_perception.depth_image import (
    check_depth,
    check_intrinsics,
    load_color,
    load_depth,
    load_intrinsics,
    save_depth,
    to_counts,
)
from dexgrasp_perception.errors import DepthError, IntrinsicsError

from dexgrasp_description import CameraIntrinsics

MATRIX = [[615.0, 0.0, 318.5], [0.0, 616.0, 241.25], [0.0, 0.0, 1.0]]
FLAT = [number for row in MATRIX for number in row]
FORMS = {
    "text.txt": " 6.15e+02\t 0.0 318.5\n 0.0 616 241.25\n 0 0 1\n",
    "plain.yaml": "{width: 640, height: 480, fx: 615.0, fy: 616.0, cx: 318.5, cy: 241.25}",
    "camera_info.yaml": f"{{width: 640, height: 480, k: {FLAT}}}",
    "calibration.yaml": f"{{image_width: 640, image_height: 480, camera_matrix: {{rows: 3, cols: 3, data: {FLAT}}}}}",
    "realsense.json": json.dumps({"width": 640, "height": 480, "fx": 615, "fy": 616, "ppx": 318.5, "ppy": 241.25}),
    "open3d.json": json.dumps({"width": 640, "height": 480, "intrinsic_matrix": np.array(MATRIX).T.ravel().tolist()}),
}


@pytest.mark.parametrize("name", FORMS)
def test_intrinsics_are_read_from_every_form(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FORMS[name])
    k = load_intrinsics(tmp_path / name, (640, 480))
    assert (k.width, k.height) == (640, 480)
    assert np.array_equal(k.matrix, MATRIX)


def test_bare_matrix_needs_the_size_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "k.txt").write_text(FORMS["text.txt"])
    with pytest.raises(IntrinsicsError, match="pass the size"):
        load_intrinsics(tmp_path / "k.txt")


def test_intrinsics_of_another_resolution_are_refused(tmp_path: Path) -> None:
    (tmp_path / "k.txt").write_text(FORMS["text.txt"])
    with pytest.raises(IntrinsicsError, match="principal point lies outside of the 320x240"):
        load_intrinsics(tmp_path / "k.txt", (320, 240))
    (tmp_path / "k.yaml").write_text(FORMS["plain.yaml"])
    with pytest.raises(IntrinsicsError, match="for 640x480 pixels, the image has 1280x720"):
        load_intrinsics(tmp_path / "k.yaml", (1280, 720))


@pytest.mark.parametrize(
    "text", ["", "1 2 3", "hello", "{width: 640, height: 480, fx: 615}", "{fx: a, fy: 1, cx: 1, cy: 1}"]
)
def test_a_file_without_intrinsics_says_what_would_be_understood(tmp_path: Path, text: str) -> None:
    (tmp_path / "k.yaml").write_text(text)
    with pytest.raises(IntrinsicsError, match="3x3 matrix"):
        load_intrinsics(tmp_path / "k.yaml", (640, 480))


def test_focal_length_must_be_positive() -> None:
    with pytest.raises(IntrinsicsError, match="positive"):
        check_intrinsics(CameraIntrinsics(width=4, height=4, fx=0.0, fy=1.0, cx=2.0, cy=2.0), (4, 4))


def test_absent_intrinsics_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntrinsicsError, match=r"absent\.txt"):
        load_intrinsics(tmp_path / "absent.txt", (640, 480))


@pytest.mark.parametrize(("unit", "per_metre"), [(0.001, 1000.0), (0.0001, 10000.0)])
def test_depth_is_counts_over_counts_per_metre_to_the_bit(tmp_path: Path, unit: float, per_metre: float) -> None:
    counts = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / "d.png"), counts)
    assert np.array_equal(load_depth(tmp_path / "d.png", unit), counts / per_metre)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_counts_survive_metres(dtype: type) -> None:
    counts = np.arange(8000, dtype=np.uint16).reshape(80, 100)
    assert np.array_equal(to_counts((counts / 1000.0).astype(dtype)), counts)


def test_counts_are_truncated_and_zero_where_there_is_no_depth() -> None:
    depth = np.array([[0.1239, 0.0005, np.nan, np.inf, -1.0, 70.0]])
    assert to_counts(depth).tolist() == [[123, 0, 0, 0, 0, 0]]


def test_saved_depth_is_loaded_again(tmp_path: Path) -> None:
    depth = np.linspace(0.3, 0.9, 12).reshape(3, 4)
    save_depth(tmp_path / "d.png", depth, 0.0001)
    assert np.abs(load_depth(tmp_path / "d.png", 0.0001) - depth).max() < 0.0001


def test_images_that_are_no_depth_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "color.png"), np.zeros((4, 4, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "gray.png"), np.ones((4, 4), np.uint8))
    cv2.imwrite(str(tmp_path / "dark.png"), np.zeros((4, 4), np.uint16))
    (tmp_path / "text.png").write_text("no image")
    cases = {
        "color.png": "16-bit with one channel",
        "gray.png": "16-bit with one channel",
        "dark.png": "every pixel is zero",
        "text.png": "not an image file",
        "absent.png": "no image file",
    }
    for name, message in cases.items():
        with pytest.raises(DepthError, match=message):
            load_depth(tmp_path / name)
    cv2.imwrite(str(tmp_path / "good.png"), np.ones((4, 4), np.uint16))
    with pytest.raises(DepthError, match="unit must be positive"):
        load_depth(tmp_path / "good.png", 0.0)


def test_color_is_rgb(tmp_path: Path) -> None:
    bgr = np.zeros((2, 2, 3), np.uint8)
    bgr[..., 2] = 200
    cv2.imwrite(str(tmp_path / "c.png"), bgr)
    assert load_color(tmp_path / "c.png")[0, 0].tolist() == [200, 0, 0]
    cv2.imwrite(str(tmp_path / "d.png"), np.ones((4, 4), np.uint16))
    with pytest.raises(DepthError, match="not a colour image"):
        load_color(tmp_path / "d.png")


@pytest.mark.parametrize("depth", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.ones((4, 4), np.int32), np.ones(3)])
def test_depth_without_a_valid_pixel_or_of_another_type_is_refused(depth: np.ndarray) -> None:
    with pytest.raises(DepthError):
        check_depth(depth)


def test_real_capture_is_loaded(shared: Path) -> None:
    depth = load_depth(shared / "real_rgbd" / "input-0.depth.png", 0.0001)
    k = load_intrinsics(shared / "real_rgbd" / "camera-0.intrinsics.txt", (depth.shape[1], depth.shape[0]))
    assert depth.shape == (480, 640)
    assert 0.6 < (depth > 0).mean() < 0.65
    assert 0.5 < np.median(depth[depth > 0]) < 1.0
    assert 600 < k.fx < 640
