"""The observed scene as voxels: what the arm must not touch, and what the hand is about to hold."""

from __future__ import annotations

from dataclasses import dataclass

import coal
import numpy as np
from dexgrasp_common.transforms import apply, invert
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, cKDTree

from dexgrasp_planner.manipulator import Manipulator

Array = NDArray[np.float64]

# Points below this height belong to the table, which is an exact box of its own [m].
TABLE_BAND = 0.01
# Voxels nearer than this to the robot's own geometry are the robot, seen by its own camera [m].
SELF_PADDING = 0.03
# Points farther than this from the middle of the object area are out of reach and left out [m].
SCENE_RADIUS = 1.5
# Voxels this near to the space between palm, fingers and thumb at the grasp belong to the target [m].
TARGET_MARGIN = 0.02
# And so do voxels this near to the seed point of the grasp [m].
SEED_RADIUS = 0.03

_BITS = 21
_OFFSET = 1 << (_BITS - 1)


@dataclass(frozen=True, eq=False)
class VoxelScene:
    """Occupied voxels in `world`.

    Only what the camera saw is occupied; where `extruded`, also what lies below it down to the table, as things that
    stand on a table have no hollow underneath. What hides behind other things stays unknown and counts as free.

    Attributes:
        cells: array (N, 3), int64: voxel i covers `cells[i] * size` to `(cells[i] + 1) * size`.
        size: Edge of a voxel [m].
    """

    cells: NDArray[np.int64]
    size: float

    @classmethod
    def from_points(cls, points: NDArray[np.floating], size: float) -> VoxelScene:
        """Voxels of a cloud (..., 3) in `world` [m]; NaN points, the table and what is out of reach are left out."""
        points = points.reshape(-1, 3)
        # NaN compares false, so it goes too.
        inside = (points[:, 2] > TABLE_BAND) & (np.abs(points).max(axis=1) < SCENE_RADIUS)
        cells = np.floor(points[inside] / size).astype(np.int64) + _OFFSET
        keys = np.unique((cells[:, 0] << 2 * _BITS) | (cells[:, 1] << _BITS) | cells[:, 2])
        mask = (1 << _BITS) - 1
        return cls(np.column_stack([keys >> 2 * _BITS, (keys >> _BITS) & mask, keys & mask]) - _OFFSET, size)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def centres(self) -> Array:
        """Voxel centres (N, 3) [m]."""
        return np.asarray((self.cells + 0.5) * self.size, dtype=np.float64)

    def without_robot(self, manipulator: Manipulator, arm: Array, hand: Array) -> VoxelScene:
        """Without the voxels that the robot itself occupies at these joints [rad]: it must not dodge its own image."""
        if not len(self):
            return self
        centres = self.centres
        tree = cKDTree(centres)
        keep = np.ones(len(self), dtype=bool)
        for primitive, world_T_link in manipulator.primitive_poses(arm, hand):
            reach = float(primitive.size.sum()) + SELF_PADDING
            near = tree.query_ball_point(apply(world_T_link, primitive.link_T_geom[:3, 3]), reach)
            if near:
                distance = primitive.signed_distance(np.asarray(apply(invert(world_T_link), centres[near])))
                keep[np.array(near)[distance < SELF_PADDING]] = False
        return VoxelScene(self.cells[keep], self.size)

    def extruded(self) -> VoxelScene:
        """With every column filled from its highest voxel down to the table."""
        columns, tops = self._columns()
        bottom = int(np.ceil(TABLE_BAND / self.size))
        heights = np.maximum(tops - bottom + 1, 1)
        rows = np.repeat(np.arange(len(tops)), heights)
        below = np.arange(len(rows)) - np.repeat(np.cumsum(heights) - heights, heights)
        cells = np.column_stack([columns[rows] >> _BITS, columns[rows] & ((1 << _BITS) - 1)]) - _OFFSET
        return VoxelScene(np.column_stack([cells, np.maximum(tops[rows] - below, bottom)]), self.size)

    def under(self, roof: VoxelScene) -> NDArray[np.bool_]:
        """Which voxels (N,) lie in a column of another scene, at or below its highest voxel there."""
        columns, tops = roof._columns()
        if not len(columns):
            return np.zeros(len(self), dtype=bool)
        own = self._column_keys()
        place = np.minimum(np.searchsorted(columns, own), len(columns) - 1)
        return (columns[place] == own) & (self.cells[:, 2] <= tops[place])

    def where(self, mask: NDArray[np.bool_]) -> VoxelScene:
        """The voxels of a mask (N,)."""
        return VoxelScene(self.cells[mask], self.size)

    def octree(self) -> coal.OcTree:
        """The voxels as collision geometry in `world`; one voxel far below the table stands in for an empty scene."""
        centres = self.centres if len(self) else np.array([[0.0, 0.0, -10.0]])
        return coal.makeOctree(np.ascontiguousarray(centres), self.size)

    def _column_keys(self) -> NDArray[np.int64]:
        return ((self.cells[:, 0] + _OFFSET) << _BITS) | (self.cells[:, 1] + _OFFSET)

    def _columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sorted keys of the occupied columns, and the highest cell of each."""
        keys, inverse = np.unique(self._column_keys(), return_inverse=True)
        tops = np.full(len(keys), np.iinfo(np.int64).min)
        np.maximum.at(tops, inverse, self.cells[:, 2])
        return keys, tops


def target_mask(scene: VoxelScene, surface: Array, seed_point: Array) -> NDArray[np.bool_]:
    """Which voxels are the target of a grasp.

    They lie between palm and fingers, that is within `TARGET_MARGIN` of the convex hull of the hand's inner surface
    at the grasp, or within `SEED_RADIUS` of the seed point.

    Args:
        scene: The observed voxels.
        surface: array (K, 3), points of the hand's inner surface at the grasp posture [m], world frame.
        seed_point: array (3,) [m], world frame; NaN where the grasp has none.
    """
    normals, offsets = np.split(ConvexHull(surface).equations, [3], axis=1)
    between = (scene.centres @ normals.T + offsets.T).max(axis=1) < TARGET_MARGIN
    return between | (np.linalg.norm(scene.centres - seed_point, axis=1) < SEED_RADIUS)
