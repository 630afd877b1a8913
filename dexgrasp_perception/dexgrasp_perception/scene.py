"""From one depth image of a table that nobody has calibrated to what the generator needs: `look_at_table`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from dexgrasp_common.transforms import apply
from numpy.typing import ArrayLike, NDArray

from dexgrasp_perception.cloud import deproject, valid_points, workspace_mask
from dexgrasp_perception.depth_image import check_depth, check_intrinsics
from dexgrasp_perception.errors import TableError
from dexgrasp_perception.table import Plane, find_table, points_on_objects

if TYPE_CHECKING:
    from dexgrasp_description import CameraIntrinsics


@dataclass(frozen=True)
class TableScene:
    """A table seen by a camera.

    Attributes:
        cloud: (H, W, 3) float32 [m], camera frame, NaN where invalid.
        table: Plane in the camera frame.
        table_T_camera: Pose (4, 4) of the camera in a frame on the table: z up, origin under the objects, x along that
            side of the table's visible part which is closest to the camera's x.
        on_table: (H, W) which points stand on the table, within `area`.
        workspace: (H, W) which points lie on the table or on what stands on it, and not below.
        area: `(x0, x1, y0, y1)` of the table's visible part in the table frame [m]: the largest connected patch of its
            surface in the middle of the image. What stands outside (the rim of a bin, the neighbouring shelf) is not
            on the table.
    """

    cloud: NDArray[np.float32]
    table: Plane
    table_T_camera: NDArray[np.float64]
    on_table: NDArray[np.bool_]
    workspace: NDArray[np.bool_]
    area: tuple[float, float, float, float]


def look_at_table(
    depth: NDArray[np.floating],
    intrinsics: CameraIntrinsics,
    up: ArrayLike | None = None,
    *,
    seed: int = 0,
) -> TableScene:
    """Deproject a depth image [m], find the table in it and what stands on it.

    Args:
        up: Direction against gravity in the camera frame (3,); None: see `find_table`.

    Raises:
        DepthError, IntrinsicsError: The image or its intrinsics cannot be used.
        TableError: No table, or nothing on it.
    """
    check_depth(depth)
    check_intrinsics(intrinsics, depth.shape)
    cloud = deproject(depth, intrinsics)
    table = find_table(valid_points(cloud), up, seed=seed)
    on_table = points_on_objects(cloud, table)
    if not on_table.any():
        raise TableError("Nothing stands on the table that was found in this depth image.")
    table_T_camera = table.table_T_camera(np.median(cloud[on_table], axis=0))
    table_T_camera, area = _visible_area(cloud, table, table_T_camera)
    x0, x1, y0, y1 = area
    on_table &= workspace_mask(cloud, table_T_camera, (x0, y0, -np.inf), (x1, y1, np.inf), margin=0.0)
    workspace = points_on_objects(cloud, table, lowest=-0.02)
    return TableScene(cloud, table, table_T_camera, on_table, workspace, area)


def _visible_area(
    cloud: NDArray[np.float32], table: Plane, table_T_camera: NDArray[np.float64], thickness: float = 0.01
) -> tuple[NDArray[np.float64], tuple[float, float, float, float]]:
    """The table frame turned along the visible table, and the rectangle that the table fills in it."""
    near = (np.abs(table.heights(cloud)) < thickness).astype(np.uint8)
    # Closed over what lies on the table, so that an object does not cut it in two.
    closed = cv2.morphologyEx(near, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    _, labels = cv2.connectedComponents(closed)
    # The camera is pointed at the table that is meant: pixels count less towards the edge of the image.
    height, width = closed.shape
    v, u = np.ogrid[:height, :width]
    weight = np.exp(-8.0 * (((u - width / 2) / width) ** 2 + ((v - height / 2) / height) ** 2))
    meant = 1 + int(np.argmax(np.bincount(labels.ravel(), weight.ravel())[1:]))
    points = apply(table_T_camera, valid_points(cloud[(labels == meant) & (near > 0)]))
    points = points[:: max(1, len(points) // 3000), :2]
    best = (np.inf, np.eye(2), np.zeros(2), np.zeros(2))
    for angle in np.radians(np.arange(-44, 46, 1)):
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        # Two percent on each side: a few pixels of a wall's foot must not widen the area to the wall.
        lower, upper = np.percentile(points @ turn.T, [2, 98], axis=0)
        size = float(np.prod(upper - lower))
        if size < best[0]:
            best = (size, turn, lower, upper)
    _, turn, (x0, y0), (x1, y1) = best
    turned_T_table = np.eye(4)
    turned_T_table[:2, :2] = turn
    return turned_T_table @ table_T_camera, (float(x0), float(x1), float(y0), float(y1))
