"""The camera's view on a running bringup, kept for a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dexgrasp_common.nodes.messages import image_to_array, intrinsics_of, pose_matrix
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from dexgrasp.picture import picture, save
from dexgrasp.session import Session
from dexgrasp_description import load_cell, load_hand
from dexgrasp_msgs.msg import GraspArray


class View:
    """Subscribes to colour, restored depth and intrinsics from now on."""

    def __init__(self, session: Session, cell: str = "ur5_leap") -> None:
        self._cell = load_cell(cell)
        self._color = session.latest(Image, "camera/color/image_raw")
        self._depth = session.latest(Image, "perception/depth")
        self._info = session.latest(CameraInfo, "camera/depth/camera_info")

    def draw(self, path: Path, grasps: GraspArray) -> None:
        """Write the newest colour image with the grasps drawn in; the depth in grey where there is no colour.

        Raises:
            SessionError: No depth or intrinsics arrive.
            OSError: The picture cannot be written.
        """
        depth = np.asarray(image_to_array(self._depth.wait(5.0)), dtype=np.float32)
        matrix = intrinsics_of(self._info.wait(5.0))
        palms = np.array([pose_matrix(grasp.palm_pose) for grasp in grasps.grasps]).reshape(-1, 4, 4)
        joints = np.array([grasp.grasp_positions for grasp in grasps.grasps])
        hand = load_hand(self._cell.hand)
        save(path, picture(self._bgr(), depth, matrix, self._cell.world_T_camera, palms, joints, hand))

    def _bgr(self) -> NDArray[np.uint8] | None:
        message = self._color.get()
        if message is None:
            return None
        pixels = image_to_array(message)
        return np.ascontiguousarray(pixels[..., ::-1] if message.encoding == "rgb8" else pixels).astype(np.uint8)
