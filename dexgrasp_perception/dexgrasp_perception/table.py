"""The table under the objects: found in a cloud, or known from calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dexgrasp_perception.errors import TableError
from dexgrasp_perception.surfaces import downsample


@dataclass(frozen=True)
class Plane:
    """The plane `normal . p + offset = 0`.

    Attributes:
        normal: Unit vector (3,), up.
        offset: Height of the frame's origin above the plane [m].
    """

    normal: NDArray[np.float64]
    offset: float

    @staticmethod
    def of_frame(camera_T_table: NDArray[np.float64]) -> Plane:
        """The plane z = 0 of a frame, seen from another: `invert(cell.world_T_camera)` for a calibrated table."""
        normal = camera_T_table[:3, 2].astype(np.float64)
        return Plane(normal, float(-normal @ camera_T_table[:3, 3]))

    def heights(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Signed distance (...,) [m] of points (..., 3); positive above, NaN for NaN."""
        return points @ self.normal + self.offset

    def table_T_camera(self, near: ArrayLike) -> NDArray[np.float64]:
        """A frame on the plane: origin below the point `near` (3,) [m], z up, x along the camera's x."""
        near_ = np.asarray(near, dtype=np.float64)
        x = np.array([1.0, 0.0, 0.0]) - self.normal[0] * self.normal
        if np.linalg.norm(x) < 1e-6:
            raise TableError("The table is seen edge-on: its normal is the camera's x axis.")
        x /= np.linalg.norm(x)
        table_R_camera = np.stack([x, np.cross(self.normal, x), self.normal])
        transform = np.eye(4)
        transform[:3, :3] = table_R_camera
        transform[:3, 3] = -table_R_camera @ (near_ - self.heights(near_) * self.normal)
        return transform


UPRIGHT = (0.0, -0.5, -0.866)  # up, in the frame of a camera that looks down at 30 degrees from the vertical


@dataclass(frozen=True)
class TableConfig:
    """How a table is looked for.

    Attributes:
        voxel: Cloud resolution while searching [m].
        thickness: Points within this distance belong to a candidate plane [m].
        max_tilt: Largest angle between the normal and the expected up direction, if one is given [rad].
        max_tilt_unknown: Largest angle between the normal and `UPRIGHT`, if no direction is given [rad].
        min_share: Smallest share of the (thinned) cloud that a table holds.
        candidates: How many planes are looked at, largest first.
    """

    voxel: float = 0.007
    thickness: float = 0.008
    max_tilt: float = 0.6
    max_tilt_unknown: float = 0.9
    min_share: float = 0.08
    candidates: int = 5


def find_table(
    points: NDArray[np.floating],
    up: ArrayLike | None = None,
    *,
    seed: int = 0,
    config: TableConfig | None = None,
) -> Plane:
    """The plane that holds most of the cloud and has least of it beneath: RANSAC, then least squares on its inliers.

    Several planes are looked at, largest first. A wall, or a slant plane through a heap, can hold more points than
    the table does, but much of the cloud lies behind it; nothing lies under a table.

    Args:
        points: (N, 3) [m], camera frame, no NaN.
        up: Direction against gravity in the camera frame (3,). None takes the camera for one that looks down at a
            slant, the right way up: `UPRIGHT`, give or take `max_tilt_unknown`.
        seed: The same cloud and seed give the same plane.

    Raises:
        TableError: Too few points, or no plane that holds enough of them and faces up.
    """
    config = config or TableConfig()
    thin = downsample(points, config.voxel) if len(points) else points
    needed = max(50, int(config.min_share * len(thin)))
    if len(thin) < needed:
        raise TableError(f"A table needs at least {needed} points at {config.voxel} m; the cloud has {len(thin)}.")
    expected = np.asarray(UPRIGHT if up is None else up, dtype=np.float64)
    expected = expected / np.linalg.norm(expected)
    max_tilt = config.max_tilt_unknown if up is None else config.max_tilt
    best, best_score = None, -np.inf
    rest = thin
    for attempt in range(config.candidates):
        if len(rest) < needed:
            break
        plane = _largest_plane(rest, config.thickness, seed + attempt)
        inliers = np.abs(plane.heights(rest)) < config.thickness
        if inliers.sum() < needed:
            break
        rest = rest[~inliers]
        plane = _refined(plane, thin, config.thickness)
        if plane.normal @ expected > np.cos(max_tilt):
            heights = plane.heights(thin)
            score = (np.abs(heights) < config.thickness).sum() - (heights < -2 * config.thickness).sum()
            if score > best_score:
                best, best_score = plane, score
    if best is None:
        raise TableError(
            f"No plane with at least {needed} of {len(thin)} points within {np.degrees(max_tilt):.0f} degrees of "
            f"the {'usual' if up is None else 'expected'} up direction was found."
        )
    return best


def points_on_objects(
    cloud: NDArray[np.floating], table: Plane, lowest: float = 0.008, highest: float = 0.4
) -> NDArray[np.bool_]:
    """Which points (...,) of a cloud (..., 3) stand between `lowest` and `highest` [m] above the table."""
    heights = table.heights(cloud)
    return (heights > lowest) & (heights < highest)


def _largest_plane(points: NDArray[np.floating], thickness: float, seed: int) -> Plane:
    """The plane through three points that most points lie on: RANSAC.

    Not open3d's `segment_plane`: with one seed and one thread it still returns now this plane, now that.
    """
    random = np.random.default_rng(seed)
    # A few thousand points vote for the same planes as all of them do.
    voters = points[random.permutation(len(points))[:3000]]
    corners = voters[random.integers(0, len(voters), (1000, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    spread = lengths > 1e-6  # three points on a line, or twice the same, span no plane
    normals, corners = normals[spread] / lengths[spread, None], corners[spread]
    offsets = -np.einsum("nk,nk->n", normals, corners[:, 0])
    votes = (np.abs(voters @ normals.T + offsets) < thickness).sum(axis=0)
    best = int(np.argmax(votes))
    return _facing_camera(normals[best], float(offsets[best]))


def _refined(plane: Plane, points: NDArray[np.floating], thickness: float) -> Plane:
    # Least squares on ever closer inliers: what lies on the table then pulls the plane up no more.
    for distance in (thickness, thickness / 2, thickness / 2):
        near = points[np.abs(plane.heights(points)) < distance]
        if len(near) < 50:
            break
        centre = near.mean(axis=0)
        normal = np.linalg.svd(near - centre, full_matrices=False)[2][2]
        plane = _facing_camera(normal, float(-normal @ centre))
    return plane


def _facing_camera(normal: NDArray[np.float64], offset: float) -> Plane:
    length = np.linalg.norm(normal)
    sign = 1.0 if offset >= 0 else -1.0  # the camera, at the origin, is above the table
    return Plane(sign * normal / length, sign * offset / float(length))
