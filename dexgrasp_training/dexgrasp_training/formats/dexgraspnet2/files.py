"""One function for each kind of file of the release, read and written; every damaged file is named with a remedy."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import cv2
import numpy as np
import scipy.io
from numpy.typing import DTypeLike, NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats.dexgraspnet2.conventions import FACTOR_DEPTH
from dexgrasp_training.storage import write_file

_DAMAGED = (OSError, ValueError, TypeError, EOFError, KeyError, IndexError, BadZipFile, zlib.error)
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_MAT_HEADER = 116  # bytes of text that a MATLAB v5 file begins with
_AGAIN = "Unpack the archive that it came in again."


@dataclass(frozen=True)
class Meta:
    """What a view's .mat file says.

    Attributes:
        matrix: array (3, 3), intrinsics [px].
        factor: Depth counts per metre.
    """

    matrix: NDArray[np.float64]
    factor: float


def read_image(path: Path, dtype: DTypeLike) -> NDArray[Any]:
    """Image (H, W) of one channel.

    Raises:
        FormatError: The file is missing, cut short, or of another type.
    """
    content = _bytes(path)
    # OpenCV fills what is missing of a file with zeros and says nothing.
    if not content.startswith(_PNG_START) or _PNG_END not in content[-64:]:
        raise FormatError(f"{path} is not a whole PNG image ({len(content)} bytes). {_AGAIN}")
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2 or image.dtype != dtype:
        found = "cannot be decoded" if image is None else f"holds {image.dtype} of shape {image.shape}"
        raise FormatError(f"{path} {found}; an image of one channel of {np.dtype(dtype)} is needed. {_AGAIN}")
    return image


def write_image(path: Path, image: NDArray[Any]) -> None:
    """Write a PNG image (H, W), 8 or 16 bit.

    Raises:
        DatasetError: The file cannot be written.
    """
    encoded = cv2.imencode(".png", image)[1].tobytes()
    write_file(path, lambda stream: stream.write(encoded))


def read_array(path: Path, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Array of an npy file; None in `shape` stands for any size.

    Raises:
        FormatError: The file is missing, damaged, or of another shape.
    """
    try:
        array = np.load(io.BytesIO(_bytes(path)), allow_pickle=False)
    except _DAMAGED as error:
        raise FormatError(f"{path} is damaged ({error}). {_AGAIN}") from error
    return _shaped(array, shape, str(path))


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an npy file.

    Raises:
        DatasetError: The file cannot be written.
    """
    write_file(path, lambda stream: np.save(stream, array))


def read_grasps(
    path: Path, joints: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float64]]:
    """`camera0_T_palm` (N, 4, 4), joints (N, D) in the order of `joints`, and seeds (N, 3) of an object in a scene.

    Raises:
        FormatError: The file is missing, damaged, lacks an array, or holds no rigid transforms.
    """
    try:
        with np.load(io.BytesIO(_bytes(path)), allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except _DAMAGED as error:
        raise FormatError(f"{path} is damaged ({error}). {_AGAIN}") from error
    missing = [name for name in ("translation", "rotation", "point", *joints) if name not in arrays]
    if missing:
        raise FormatError(
            f"{path} lacks {', '.join(missing)}; it has {', '.join(sorted(arrays))}. Are these grasps of another hand?"
        )
    count = len(arrays["translation"])
    camera0_T_palm = np.tile(np.eye(4), (count, 1, 1))
    camera0_T_palm[:, :3, 3] = _shaped(arrays["translation"], (count, 3), f"{path}: translation")
    camera0_T_palm[:, :3, :3] = _rotations(_shaped(arrays["rotation"], (count, 3, 3), f"{path}: rotation"), path)
    columns = [_shaped(arrays[name], (count,), f"{path}: {name}") for name in joints]
    q = np.stack(columns, axis=-1).astype(np.float32) if columns else np.zeros((count, 0), np.float32)
    point = _shaped(arrays["point"], (count, 3), f"{path}: point").astype(np.float64)
    if not (np.isfinite(camera0_T_palm).all() and np.isfinite(q).all() and np.isfinite(point).all()):
        raise FormatError(f"{path} holds numbers that are not finite. {_AGAIN}")
    return camera0_T_palm, q, point


def write_grasps(
    path: Path,
    camera0_T_palm: NDArray[np.float64],
    joints: Mapping[str, NDArray[np.float64]],
    point: NDArray[np.float64],
) -> None:
    """Write an object's grasps in a scene: poses (N, 4, 4), joints (N,) each in the file's order, seeds (N, 3).

    Raises:
        DatasetError: The file cannot be written.
    """
    arrays = {
        "translation": camera0_T_palm[:, :3, 3],
        "rotation": camera0_T_palm[:, :3, :3],
        **joints,
        "point": point,
    }
    single: dict[str, Any] = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
    write_file(path, lambda stream: np.savez(stream, **single))


def read_meta(path: Path) -> Meta:
    """Intrinsics and depth unit of a view.

    Raises:
        FormatError: The file is missing, damaged, or lacks one of them.
    """
    try:
        content = scipy.io.loadmat(io.BytesIO(_bytes(path)))
        matrix = np.asarray(content["intrinsic_matrix"], dtype=np.float64).reshape(3, 3)
        factor = float(np.asarray(content["factor_depth"]).item())
    except (*_DAMAGED, scipy.io.matlab.MatReadError) as error:
        raise FormatError(
            f"{path} is no meta file with intrinsic_matrix (3, 3) and factor_depth ({error}). {_AGAIN}"
        ) from error
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0 and factor > 0):
        raise FormatError(f"{path}: focal lengths and factor_depth must be positive; got {matrix.tolist()}, {factor}.")
    return Meta(matrix, factor)


def write_meta(
    path: Path, ids: Sequence[int], camera_T_object: NDArray[np.float64], matrix: NDArray[np.float64]
) -> None:
    """Write a view's meta file.

    Args:
        ids: Numbers of the n objects.
        camera_T_object: array (n, 4, 4).
        matrix: array (3, 3), intrinsics [px].

    Raises:
        DatasetError: The file cannot be written.
    """
    content = {
        "poses": np.moveaxis(camera_T_object[:, :3], 0, 2).astype(np.float32),
        "cls_indexes": (np.array(ids, dtype=np.int32) + 1).reshape(1, -1),
        "intrinsic_matrix": np.asarray(matrix, dtype=np.float64),
        "factor_depth": np.array([[FACTOR_DEPTH]], dtype=np.int32),
    }
    memory = io.BytesIO()
    scipy.io.savemat(memory, content)
    # SciPy writes the time of day into the header; equal content is to give equal bytes.
    written = b"MATLAB 5.0 MAT-file".ljust(_MAT_HEADER) + memory.getvalue()[_MAT_HEADER:]
    write_file(path, lambda stream: stream.write(written))


def read_annotation(path: Path) -> tuple[list[int], NDArray[np.float64]]:
    """Numbers of a view's objects, and their poses (n, 4, 4) in the frame of that view's camera.

    Raises:
        FormatError: The file is missing or damaged, or an entry is incomplete.
    """
    try:
        entries = ElementTree.fromstring(_bytes(path)).findall("obj")
        ids = [int(entry.findtext("obj_id", "")) for entry in entries]
        positions = [_numbers(entry, "pos_in_world", 3) for entry in entries]
        wxyz = np.array([_numbers(entry, "ori_in_world", 4) for entry in entries]).reshape(-1, 4)
        camera_T_object = np.tile(np.eye(4), (len(ids), 1, 1))
        if ids:
            # Four decimals in the authors' files: normalised here, as their reader does.
            camera_T_object[:, :3, :3] = Rotation.from_quat(wxyz[:, [1, 2, 3, 0]]).as_matrix()
            camera_T_object[:, :3, 3] = positions
    except (ElementTree.ParseError, ValueError) as error:
        raise FormatError(
            f"{path} is no annotation of a scene ({error}); each <obj> needs obj_id, pos_in_world (x y z) and "
            f"ori_in_world (w x y z). {_AGAIN}"
        ) from error
    return ids, camera_T_object


def write_annotation(
    path: Path, ids: Sequence[int], names: Sequence[str], camera_T_object: NDArray[np.float64]
) -> None:
    """Write the objects of a view: numbers, names, and poses (n, 4, 4) in the frame of that view's camera.

    Raises:
        DatasetError: The file cannot be written.
    """
    scene = ElementTree.Element("scene")
    for object_id, name, pose in zip(ids, names, camera_T_object, strict=True):
        wxyz = Rotation.from_matrix(pose[:3, :3]).as_quat(canonical=True)[[3, 0, 1, 2]]
        entry = ElementTree.SubElement(scene, "obj")
        # Their reader takes these by position: keep the order.
        for tag, text in (
            ("obj_id", str(object_id)),
            ("obj_name", name),
            ("obj_path", f"meshdata/{object_id:03d}/nontextured.ply"),
            ("pos_in_world", " ".join(f"{value:.9f}" for value in pose[:3, 3])),
            ("ori_in_world", " ".join(f"{value:.9f}" for value in wxyz)),
        ):
            ElementTree.SubElement(entry, tag).text = text
    ElementTree.indent(scene, "    ")
    content = b'<?xml version="1.0" ?>\n' + ElementTree.tostring(scene) + b"\n"
    write_file(path, lambda stream: stream.write(content))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path} cannot be read ({error.strerror}). {_AGAIN}") from error


def _shaped(array: NDArray[Any], shape: tuple[int | None, ...], what: str) -> NDArray[Any]:
    right = array.ndim == len(shape) and all(
        size in (None, found) for size, found in zip(shape, array.shape, strict=True)
    )
    if not right or not np.issubdtype(array.dtype, np.number):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise FormatError(f"{what} must be numbers of shape ({wanted}); it holds {array.dtype} of {array.shape}.")
    return array


def _rotations(matrices: NDArray[Any], path: Path) -> NDArray[np.float64]:
    """The rotations next to float32 matrices (N, 3, 3)."""
    if not len(matrices):
        return matrices.astype(np.float64)
    off = np.abs(matrices @ np.swapaxes(matrices, 1, 2) - np.eye(3)).max()
    if not off < 1e-3 or (np.linalg.det(matrices.astype(np.float64)) < 0).any():
        raise FormatError(f"{path} holds matrices that are no rotations (R R^T is off by {off:.3g}).")
    rotation: NDArray[np.float64] = Rotation.from_matrix(matrices.astype(np.float64)).as_matrix()
    return rotation


def _numbers(entry: ElementTree.Element, tag: str, count: int) -> list[float]:
    values = [float(word) for word in entry.findtext(tag, "").split()]
    if len(values) != count:
        raise ValueError(f"{tag} needs {count} numbers, has {len(values)}")
    return values
