"""Depth, colour and intrinsics from files, checked against each other where they enter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from dexgrasp_description import CameraIntrinsics
from dexgrasp_perception.errors import DepthError, IntrinsicsError

_FORMS = (
    "a text file with the 3x3 matrix; or YAML/JSON with fx, fy, cx, cy (or ppx, ppy), with a ROS camera_info "
    "(k or camera_matrix), or with intrinsic_matrix (open3d, column by column)"
)


def load_depth(path: str | Path, unit: float = 0.001) -> NDArray[np.float64]:
    """Depth (H, W) [m] of a 16-bit PNG; 0 where the sensor saw nothing.

    Args:
        unit: Metres per count: 0.001 for millimetres, 0.0001 for tenths of a millimetre.

    Raises:
        DepthError: No such file, not an unsigned integer image with one channel, or no valid pixel.
    """
    raw = _read_image(path)
    if raw.ndim != 2 or raw.dtype != np.uint16:
        raise DepthError(
            f"{path} is not a depth image: it must be 16-bit with one channel, and is {raw.dtype} of shape {raw.shape}."
        )
    if not unit > 0:
        raise DepthError(f"The depth unit must be positive metres per count (0.001 for millimetres); got {unit}.")
    if not raw.any():
        raise DepthError(f"{path} holds no valid depth: every pixel is zero.")
    # Dividing by 1000 and multiplying by 0.001 differ in the last bit; the public label files divide.
    return raw / (1.0 / unit)


def to_counts(depth: NDArray[np.floating], unit: float = 0.001) -> NDArray[np.uint16]:
    """Depth [m] in counts of `unit` [m], truncated as the public data sets do; 0 where invalid or out of range."""
    # A count that went to metres and back may lie a rounding error below itself, which is not to cost a whole count.
    counts = np.nan_to_num(depth.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0) * (1.0 / unit) + 1e-3
    return np.where((counts >= 1) & (counts <= np.iinfo(np.uint16).max), counts, 0).astype(np.uint16)


def save_depth(path: str | Path, depth: NDArray[np.floating], unit: float = 0.001) -> None:
    """Write depth (H, W) [m] as 16-bit PNG in counts of `unit` [m]."""
    if not cv2.imwrite(str(path), to_counts(depth, unit)):
        raise DepthError(f"The depth image could not be written to {path}.")


def load_color(path: str | Path) -> NDArray[np.uint8]:
    """Colour (H, W, 3) uint8, RGB, of an 8-bit image file.

    Raises:
        DepthError: No such file, or not 8-bit with three channels.
    """
    bgr = _read_image(path)
    if bgr.ndim != 3 or bgr.shape[2] < 3 or bgr.dtype != np.uint8:
        raise DepthError(f"{path} is not a colour image: 8-bit RGB is needed, it is {bgr.dtype} of {bgr.shape}.")
    return np.ascontiguousarray(bgr[:, :, 2::-1])


def load_intrinsics(path: str | Path, size: tuple[int, int] | None = None) -> CameraIntrinsics:
    """Pinhole intrinsics from a file.

    Args:
        path: Text with a 3x3 matrix [px], or YAML or JSON; see `_FORMS` for the keys understood.
        size: Width and height [px] of the image they are for: checked where the file says its own, and needed where
            it does not (a bare matrix does not).

    Raises:
        IntrinsicsError: Unreadable, incomplete, or of another image.
    """
    text = _read_text(path)
    try:
        content = json.loads(text) if Path(path).suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError):
        content = None
    keys = {str(key).lower(): value for key, value in content.items()} if isinstance(content, Mapping) else {}
    matrix = _matrix_of_keys(keys) if keys else _matrix_of_text(text)
    if matrix is None:
        raise IntrinsicsError(f"{path} holds no intrinsics that are understood. Understood: {_FORMS}.")
    own = _size_of_keys(keys)
    if own is None and size is None:
        raise IntrinsicsError(f"{path} does not say for which image size it holds; pass the size of the image.")
    width, height = own or size  # type: ignore[misc]
    intrinsics = CameraIntrinsics(
        width=width, height=height, fx=matrix[0, 0], fy=matrix[1, 1], cx=matrix[0, 2], cy=matrix[1, 2]
    )
    check_intrinsics(intrinsics, (size[1], size[0]) if size else (height, width))
    return intrinsics


def check_intrinsics(intrinsics: CameraIntrinsics, shape: tuple[int, ...]) -> None:
    """Hold intrinsics against an image of `shape` (H, W).

    Raises:
        IntrinsicsError: Another image size, a focal length that is not positive, or a principal point outside.
    """
    height, width = shape[:2]
    k = intrinsics
    numbers = f"fx {k.fx:g}, fy {k.fy:g}, cx {k.cx:g}, cy {k.cy:g}"
    if (k.width, k.height) != (width, height):
        raise IntrinsicsError(
            f"The intrinsics are for {k.width}x{k.height} pixels, the image has {width}x{height}. "
            "Use the intrinsics of this stream and resolution."
        )
    if not (np.isfinite([k.fx, k.fy, k.cx, k.cy]).all() and k.fx > 0 and k.fy > 0):
        raise IntrinsicsError(f"Focal lengths must be positive pixels and all numbers finite; got {numbers}.")
    if not (0 <= k.cx < width and 0 <= k.cy < height):
        raise IntrinsicsError(
            f"The principal point lies outside of the {width}x{height} image ({numbers}): "
            "these are the intrinsics of another resolution or camera."
        )


def check_depth(depth: NDArray[Any]) -> None:
    """Hold a depth image [m] against what the library works on.

    Raises:
        DepthError: Not (H, W) floating point, or no valid pixel.
    """
    if depth.ndim != 2 or not np.issubdtype(depth.dtype, np.floating):
        raise DepthError(f"Depth must be (H, W) floating point in metres; got {depth.dtype} of shape {depth.shape}.")
    if not (np.isfinite(depth) & (depth > 0)).any():
        raise DepthError(
            f"The {depth.shape[1]}x{depth.shape[0]} depth image holds no valid pixel (all zero or NaN). "
            "Is the camera covered, or nothing within its range?"
        )


def _read_image(path: str | Path) -> NDArray[Any]:
    if not Path(path).is_file():
        raise DepthError(f"There is no image file {path}.")
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DepthError(f"{path} is not an image file that OpenCV reads.")
    return image


def _read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise IntrinsicsError(f"The intrinsics file {path} cannot be read: {error}.") from error


def _matrix_of_text(text: str) -> NDArray[np.float64] | None:
    try:
        numbers = np.array(text.replace(",", " ").split(), dtype=np.float64)
    except ValueError:
        return None
    return numbers.reshape(3, 3) if numbers.size == 9 else None


def _matrix_of_keys(keys: Mapping[str, Any]) -> NDArray[np.float64] | None:
    try:
        if "camera_matrix" in keys:
            return _square(keys["camera_matrix"]["data"])
        if "k" in keys:
            return _square(keys["k"])
        if "intrinsic_matrix" in keys:
            matrix = _square(keys["intrinsic_matrix"])
            return matrix.T if np.ndim(keys["intrinsic_matrix"]) == 1 else matrix
        fx, fy = float(keys["fx"]), float(keys["fy"])
        cx, cy = float(keys.get("cx", keys.get("ppx"))), float(keys.get("cy", keys.get("ppy")))
    except (KeyError, TypeError, ValueError):
        return None
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _square(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).reshape(3, 3)


def _size_of_keys(keys: Mapping[str, Any]) -> tuple[int, int] | None:
    for width, height in (("width", "height"), ("image_width", "image_height")):
        if width in keys and height in keys:
            return int(keys[width]), int(keys[height])
    return None
