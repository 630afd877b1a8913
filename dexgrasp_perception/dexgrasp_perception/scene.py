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
        table_T_camera: Pose (4, 4) of the camera in a frame on the table, z up, origin under the objects.
        on_table: (H, W) which points stand on the table, within `area`.
        workspace: (H, W) which points lie on the table or on what stands on it, and not below.
        area: `(x0, x1, y0, y1)` of the table's visible part in the table frame [m]: the largest connected patch of its
            surface. What stands outside (the rim of a bin, the neighbouring shelf) is not on the table.
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
        up: Direction against gravity in the camera frame (3,); None takes the largest plane for the table.

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
    area = _visible_area(cloud, table, table_T_camera)
    x0, x1, y0, y1 = area
    on_table &= workspace_mask(cloud, table_T_camera, (x0, y0, -np.inf), (x1, y1, np.inf), margin=0.0)
    workspace = points_on_objects(cloud, table, lowest=-0.02)
    return TableScene(cloud, table, table_T_camera, on_table, workspace, area)


def _visible_area(
    cloud: NDArray[np.float32], table: Plane, table_T_camera: NDArray[np.float64], thickness: float = 0.01
) -> tuple[float, float, float, float]:
    near = (np.abs(table.heights(cloud)) < thickness).astype(np.uint8)
    # Closed over what lies on the table, so that an object does not cut it in two.
    closed = cv2.morphologyEx(near, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(closed)
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    points = apply(table_T_camera, valid_points(cloud[labels == largest]))
    # Two percent on each side: a few pixels of a wall's foot must not widen the area to the wall.
    (x0, y0), (x1, y1) = np.percentile(points[:, :2], [2, 98], axis=0)
    return float(x0), float(x1), float(y0), float(y1)
