"""How DexGraspNet 2.0's release is laid out: folders, joint order, and the crop of a view that labels speak of.

All of it is stated in the authors' paper and readable in their files. Frames: a grasp is stored in the frame of the
scene's camera 0, an annotation in that of its own camera; `cam0_wrt_table` leads to the table, which is our world
(z up, origin on the table top).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dexgrasp_perception.cloud import deproject, object_box, workspace_mask
from numpy.typing import NDArray

from dexgrasp_description import CameraIntrinsics, HandModel
from dexgrasp_training.errors import FormatError

CAMERA = "realsense"
VIEWS = 256  # camera poses of a scene
FACTOR_DEPTH = 1000  # counts of a depth image per metre
SURFACE_POINTS = 1000  # of `surface_points_1000.npy`
NAMES = "names.json"  # ours, beside their folders: what our objects and scenes were called


@dataclass(frozen=True)
class HandLayout:
    """How a hand's grasps are stored.

    Attributes:
        hand: Our name of the hand.
        folder: Theirs, of the folder with its grasps.
        joints: Their order of the joint arrays; the names are those of our description.
    """

    hand: str
    folder: str
    joints: tuple[str, ...]


# Of the hands in the release; another hand has a folder of its own name and the joint order of its description.
_HANDS = (
    HandLayout(
        "leap_right",
        "leap_hand",
        ("j1", "j0", "j2", "j3", "j5", "j4", "j6", "j7", "j9", "j8", "j10", "j11", "j12", "j13", "j14", "j15"),
    ),
)


def hand_layout(hand: HandModel) -> HandLayout:
    """How grasps of a hand are stored."""
    known = {layout.hand: layout for layout in _HANDS}
    return known.get(hand.name, HandLayout(hand.name, hand.name, hand.joint_names))


@dataclass(frozen=True)
class Release:
    """Where things lie in an unpacked release, or in one that we write.

    Attributes:
        root: The folder `data`, which holds `scenes`, `dex_grasps_new`, `dex_graspness_new` and `meshdata`.
    """

    root: Path

    @classmethod
    def open(cls, root: Path) -> Release:
        """The release in a folder, or in the folder `data` of it.

        Raises:
            FormatError: There are no scenes in either.
        """
        for place in (root, root / "data"):
            if (place / "scenes").is_dir():
                return cls(place)
        raise FormatError(
            f"{root} is no DexGraspNet 2.0 release: it has no folder `scenes`. Give the folder that scenes_*.tar.gz, "
            "dex_grasps_new.tar.gz, dex_graspness_new.tar.gz and meshdata.tar.gz were unpacked in."
        )

    def scene(self, number: int) -> Path:
        """Folder of a scene's views."""
        return self.root / "scenes" / f"scene_{number:04d}" / CAMERA

    def depth(self, number: int, view: int) -> Path:
        """Of a depth image, 16 bit, millimetres."""
        return self.scene(number) / "depth_gt" / f"{view:04d}.png"

    def label(self, number: int, view: int) -> Path:
        """Of a label image, 8 bit: 0 or an object's number plus one."""
        return self.scene(number) / "label_gt" / f"{view:04d}.png"

    def meta(self, number: int, view: int) -> Path:
        """Of a view's intrinsics and object poses."""
        return self.scene(number) / "meta" / f"{view:04d}.mat"

    def annotation(self, number: int, view: int) -> Path:
        """Of a view's object poses in its camera's frame."""
        return self.scene(number) / "annotations" / f"{view:04d}.xml"

    def grasps(self, number: int, folder: str) -> Path:
        """Folder of a hand's grasps in a scene, one file for each object."""
        return self.root / "dex_grasps_new" / f"scene_{number:04d}" / folder

    def graspness(self, number: int, view: int) -> Path:
        """Of a view's votes."""
        return self.root / "dex_graspness_new" / f"scene_{number:04d}" / CAMERA / f"{view:04d}.npy"

    def mesh(self, object_id: int) -> Path:
        """Folder of an object's meshes."""
        return self.root / "meshdata" / f"{object_id:03d}"

    def numbers(self) -> list[int]:
        """Numbers of the scenes that are there."""
        found = (re.fullmatch(r"scene_(\d{4,})", path.name) for path in (self.root / "scenes").iterdir())
        return sorted(int(match[1]) for match in found if match)


def crop(
    depth: NDArray[np.uint16],
    labels: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    factor: float,
    table_T_camera: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which pixels (H, W) the graspness files speak of, bit for bit as in the authors' code.

    The box around all labelled points in the table frame, 2 cm wider on every side, strictly inside, with depth.

    Args:
        depth: array (H, W), counts.
        labels: array (H, W), 0 for table and background.
        matrix: array (3, 3), intrinsics as the meta file holds them [px].
        factor: Counts per metre.
        table_T_camera: array (4, 4), `cam0_wrt_table @ camera_poses[v]`.
    """
    if not labels.any():
        return np.zeros(depth.shape, dtype=bool)
    height, width = depth.shape
    pinhole = CameraIntrinsics(width, height, matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
    # Where there is no depth their cloud has the camera's own position, not NaN.
    cloud = np.nan_to_num(deproject(depth / float(factor), pinhole, np.float64))
    lower, upper = object_box(cloud, labels, table_T_camera)
    return workspace_mask(cloud, table_T_camera, lower, upper) & (depth > 0)
