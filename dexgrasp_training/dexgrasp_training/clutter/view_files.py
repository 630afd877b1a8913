"""The views of a scene on disk: two PNG files for each, and the cameras in one npz file.

| file | content |
|---|---|
| `VVV.depth.png` | 16 bit, distance along the optical axis in 0.1 mm, 0 where there is none |
| `VVV.ids.png` | 8 bit, 0 for the table, else 1 + the object's index in the scene |
| `cameras.npz` | `numbers` (V,), of the 256 poses; `world_T_camera` (V, 4, 4), optical frames; `intrinsics` (4,): fx, fy, cx, cy [px]; `size` (2,): width, height [px] |
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dexgrasp_description import CameraIntrinsics
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.storage import read_arrays, write_arrays, write_file

UNIT = 1e-4  # of the depth images [m]

_COMPRESSION = 1  # of the PNG files: higher levels take longer than the drawing and save a tenth


@dataclass(frozen=True, eq=False)
class SceneViews:
    """Which views of a scene there are.

    Attributes:
        folder: Where their images lie.
        numbers: array (V,), of the scene's 256 camera poses.
        world_T_camera: array (V, 4, 4), optical frames.
        intrinsics: Of all of them.
    """

    folder: Path
    numbers: NDArray[np.int64]
    world_T_camera: NDArray[np.float64]
    intrinsics: CameraIntrinsics

    def save(self) -> None:
        """Write the cameras. They come last: where they are, all images are.

        Raises:
            DatasetError: The file cannot be written.
        """
        k = self.intrinsics
        arrays = {
            "numbers": self.numbers,
            "world_T_camera": self.world_T_camera,
            "intrinsics": np.array([k.fx, k.fy, k.cx, k.cy]),
            "size": np.array([k.width, k.height]),
        }
        write_arrays(cameras_path(self.folder), arrays)

    @classmethod
    def load(cls, folder: Path) -> SceneViews:
        """Read what `save` wrote.

        Raises:
            DatasetError: The file is missing or damaged.
        """
        data = read_arrays(cameras_path(folder), ("numbers", "world_T_camera", "intrinsics", "size"))
        width, height = data["size"].tolist()
        fx, fy, cx, cy = data["intrinsics"].tolist()
        return cls(folder, data["numbers"], data["world_T_camera"], CameraIntrinsics(width, height, fx, fy, cx, cy))

    def read(self, number: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """Depth (H, W) [0.1 mm] and object ids (H, W) of a view.

        Raises:
            DatasetError: An image is missing or damaged.
        """
        shape = (self.intrinsics.height, self.intrinsics.width)
        return (
            _read_image(self.folder / f"{number:03d}.depth.png", np.uint16, shape),
            _read_image(self.folder / f"{number:03d}.ids.png", np.uint8, shape),
        )

    def write(self, number: int, depth: NDArray[np.float32], ids: NDArray[np.uint8]) -> None:
        """Write a view's images.

        Args:
            depth: array (H, W) [m]; what does not fit into 16 bits is stored as none.
            ids: array (H, W).

        Raises:
            DatasetError: A file cannot be written.
        """
        units = np.rint(depth * np.float32(1.0 / UNIT))
        units[units > 65535.0] = 0.0
        _write_image(self.folder / f"{number:03d}.depth.png", units.astype(np.uint16))
        _write_image(self.folder / f"{number:03d}.ids.png", ids)


def cameras_path(folder: Path) -> Path:
    """Of the cameras of a folder of views."""
    return folder / "cameras.npz"


def _write_image(path: Path, image: NDArray[Any]) -> None:
    encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION])[1]
    write_file(path, lambda stream: stream.write(encoded.tobytes()))


def _read_image(path: Path, dtype: type, shape: tuple[int, int]) -> NDArray[Any]:
    try:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as error:
        raise DatasetError(f"{path} cannot be read ({error}); render the scene's views again.") from error
    if image is None or image.dtype != dtype or image.shape != shape:
        raise DatasetError(f"{path} is damaged, or of another size than its cameras say; render the views again.")
    return np.asarray(image)
