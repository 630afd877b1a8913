"""What the camera did not see, completed down to the table, and the distance of every place from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, cKDTree

from dexgrasp_planner.generators import NoObjectsError

# A place below what is seen belongs to it rather than to what is seen beside it: height counts less.
_OWNING = np.array([1.0, 1.0, 0.3])
_WINDOW = 0.5  # half the edge of what is looked at where nobody says where objects are [m]


@dataclass(frozen=True)
class FieldConfig:
    """How a cloud becomes a field.

    Attributes:
        voxel: Edge of a voxel [m].
        table_height: Points below this belong to the support [m].
        ceiling: Points above this are not part of the scene (the robot, noise) [m].
        margin: Free space around the points that the field covers [m].
        link: Points nearer than this belong to one cluster [m].
        min_points: A cluster with fewer voxels is noise.
        max_extent: A cluster longer than this is an obstacle, not an object (walls, the edge of a bin) [m].
        wall: What stands this near the rim of the seen support, or beyond it, is an obstacle [m].
    """

    voxel: float = 0.005
    table_height: float = 0.010
    ceiling: float = 0.40
    margin: float = 0.06
    link: float = 0.0075
    min_points: int = 12
    max_extent: float = 0.34
    wall: float = 0.03


@dataclass(frozen=True)
class Cluster:
    """Connected points that may be one object or several that touch.

    Attributes:
        points: array (M, 3) [m], world, one a voxel.
        is_target: False for what may only be avoided.
    """

    points: NDArray[np.float32]
    is_target: bool


class SceneField:
    """Signed distance to the visible hull of a scene: every seen point and everything below it.

    A view from above shows the tops; standing objects mostly are what their tops extruded to the table are. The
    field is sampled on voxels and expanded to first order in between, so that one look-up gives distance and normal.
    """

    def __init__(self, points: NDArray[np.float32], clusters: list[Cluster], config: FieldConfig) -> None:
        voxel = config.voxel
        lower = np.append(points[:, :2].min(axis=0) - config.margin, -2 * voxel)
        upper = points.max(axis=0) + config.margin
        self.clusters = clusters
        self._voxel = voxel
        shape = np.ceil((upper - lower) / voxel).astype(int) + 1
        occupied = np.zeros(shape, dtype=bool)
        cells = ((points - lower) / voxel).astype(int)
        heights = np.full(shape[:2], -1)
        np.maximum.at(heights, (cells[:, 0], cells[:, 1]), cells[:, 2])
        holes = heights < 0
        closed = ndimage.grey_closing(heights, size=3)
        # Single empty columns between seen ones are gaps of the sampling, not of the object.
        heights = np.where(holes, closed, heights)
        occupied = (np.arange(shape[2])[None, None] <= heights[:, :, None]) & (heights > 0)[:, :, None]
        outside = ndimage.distance_transform_edt(~occupied).astype(np.float32)
        inside = ndimage.distance_transform_edt(occupied).astype(np.float32)
        distance = (np.where(occupied, 0.5 - inside, outside - 0.5) * voxel).astype(np.float32)
        smooth = ndimage.gaussian_filter(distance, 1.0)
        gradient = np.stack(np.gradient(smooth, voxel), axis=-1)
        packed = np.concatenate([smooth[..., None], gradient], axis=-1).astype(np.float32)
        # Gradients are per voxel here, so that an offset in voxels times them is a distance.
        packed[:, :, :, 1:] *= voxel
        self._packed = torch.from_numpy(packed.reshape(-1, 4))
        self._seen_cells, self._shape = cells, shape
        self._last = torch.tensor(shape - 1, dtype=torch.float32)[:, None]
        self._strides = torch.tensor([shape[1] * shape[2], shape[2], 1], dtype=torch.float32)
        self._lower = torch.tensor(lower, dtype=torch.float32)[:, None]
        owners = [np.full(len(cluster.points), index) for index, cluster in enumerate(clusters)]
        self._owner = np.concatenate(owners)
        self._owner_tree = cKDTree(np.concatenate([cluster.points for cluster in clusters]) * _OWNING)

    @classmethod
    def seen_from(
        cls, points: NDArray[np.float32], config: FieldConfig, area: tuple[float, float, float, float] | None
    ) -> SceneField:
        """That of a cloud, see `segment`.

        Raises:
            NoObjectsError: Nothing in the cloud can be grasped.
        """
        return cls(*segment(points, config, area), config)

    def look_up(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Signed distance (N, P) [m] and outward unit normal (N, 3, P) at world points (N, 3, P), float32."""
        found, offset = self._found(points)
        gradient = found[..., 1:].transpose(1, 2)
        distance = found[..., 0] + (gradient * offset).sum(dim=1)
        return distance, torch.nn.functional.normalize(gradient, dim=1)

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """Signed distance (N, P) [m] at world points (N, 3, P), float32."""
        found, offset = self._found(points)
        distance = found[..., 0]
        for axis in range(3):
            distance = distance.addcmul(found[..., axis + 1], offset[:, axis])
        return distance

    def beyond(self, points: torch.Tensor, least: float, lowest: float) -> torch.Tensor:
        """Whether all of the world points (N, 3, P), float32, are farther than `least` and higher than `lowest`: (N,).

        Args:
            points: N sets.
            least: Signed distance that must be exceeded [m].
            lowest: Height that must be exceeded [m].
        """
        packed, last, lower = self._packed.numpy(), self._last[:, 0].numpy(), self._lower[:, 0].numpy()
        return torch.from_numpy(_beyond(packed, last, lower, self._voxel, points.numpy(), least, lowest))

    def seen(self, points: torch.Tensor) -> torch.Tensor:
        """Whether world points (N, 3, P) lie within two voxels of a place that the camera saw: (N, P)."""
        x, y, z = self._cells((points - self._lower) / self._voxel).long().unbind(dim=1)
        return self._near_seen[x, y, z]

    @cached_property
    def _near_seen(self) -> torch.Tensor:
        """Whether a cell lies within two of one that holds a seen point; few ask."""
        seen = np.zeros(self._shape, dtype=bool)
        seen[tuple(self._seen_cells.T)] = True
        return torch.from_numpy(ndimage.binary_dilation(seen, np.ones((5, 5, 5), dtype=bool)))

    def _found(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Contents (N, P, 4) of the nearest voxels and the way there (N, 3, P) in voxels."""
        scaled = (points - self._lower) / self._voxel
        index = self._cells(scaled)
        x, y, z = index.unbind(dim=1)
        flat = torch.add(z + y * self._strides[1], x, alpha=float(self._strides[0])).long()
        return self._packed[flat], scaled.sub_(index)

    def _cells(self, scaled: torch.Tensor) -> torch.Tensor:
        """Of places (N, 3, P) in voxels the nearest cells; some cell for what is no number."""
        return torch.minimum(scaled.round().clamp_min_(0.0), self._last).nan_to_num_(0.0)

    def owner(self, points: NDArray[np.floating]) -> NDArray[np.intp]:
        """Index of the cluster that each world point (M, 3) belongs to."""
        return self._owner[self._owner_tree.query(points * _OWNING)[1]]


@njit(cache=True, nogil=True)
def _beyond(
    packed: NDArray[np.float32],
    last: NDArray[np.float32],
    lower: NDArray[np.float32],
    voxel: float,
    points: NDArray[np.float32],
    least: float,
    lowest: float,
) -> NDArray[np.bool_]:
    """See `SceneField.beyond`; a set is left at its first point that is not."""
    sizes = (int(last[0]) + 1, int(last[1]) + 1, int(last[2]) + 1)
    found = np.ones(len(points), dtype=np.bool_)
    for row in range(len(points)):
        for i in range(points.shape[2]):
            x = (points[row, 0, i] - lower[0]) / voxel
            y = (points[row, 1, i] - lower[1]) / voxel
            z = (points[row, 2, i] - lower[2]) / voxel
            ix = min(max(int(np.floor(x + 0.5)), 0), sizes[0] - 1)
            iy = min(max(int(np.floor(y + 0.5)), 0), sizes[1] - 1)
            iz = min(max(int(np.floor(z + 0.5)), 0), sizes[2] - 1)
            near = packed[(ix * sizes[1] + iy) * sizes[2] + iz]
            distance = near[0] + near[1] * (x - ix) + near[2] * (y - iy) + near[3] * (z - iz)
            if not (distance > least and points[row, 2, i] > lowest):
                found[row] = False
                break
    return found


def segment(
    points: NDArray[np.float32], config: FieldConfig, area: tuple[float, float, float, float] | None
) -> tuple[NDArray[np.float32], list[Cluster]]:
    """Points above the support, thinned to one a voxel, and their clusters.

    Args:
        points: array (N, 3), float32 [m], world.
        config: Sizes.
        area: Where targets may be, `(x0, x1, y0, y1)` in world [m]; None: within `_WINDOW` of the middle of the points.

    Raises:
        NoObjectsError: Nothing that could be a target stands above the support.
    """
    above = points[(points[:, 2] > config.table_height) & (points[:, 2] < config.ceiling)]
    if area is None:
        middle = np.median(above[:, :2], axis=0) if len(above) else np.zeros(2)
        above = above[(np.abs(above[:, :2] - middle) < _WINDOW).all(axis=1)]
    else:
        x0, x1, y0, y1 = area
        reach = 0.15  # what stands farther away is in the way of no grasp inside the area
        near = (above[:, 0] > x0 - reach) & (above[:, 0] < x1 + reach) & (above[:, 1] > y0 - reach)
        above = above[near & (above[:, 1] < y1 + reach)]
    if len(above) < config.min_points:
        raise NoObjectsError(
            f"{len(above)} of {len(points)} points stand more than {1000 * config.table_height:.0f} mm above the "
            "support: there is nothing to grasp, or the camera's pose in the world is wrong."
        )
    cells = np.floor((above - above.min(axis=0)) / config.voxel).astype(np.int64)
    shape = cells.max(axis=0) + 1
    _, first = np.unique((cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2], return_index=True)
    thin = above[first]
    lonely = cKDTree(thin).query(thin, k=[min(5, len(thin))])[0][:, 0] > 4 * config.voxel
    thin = thin[~lonely]
    inner = _inside_support(thin, points, config)
    clusters = [Cluster(thin[~inner], False)] if (~inner).any() else []
    for members in _connected(thin[inner], config):
        extent = np.ptp(members[:, :2], axis=0).max()
        centre = members[:, :2].mean(axis=0)
        inside = area is None or (area[0] <= centre[0] <= area[1] and area[2] <= centre[1] <= area[3])
        clusters.append(Cluster(members, bool(inside and extent < config.max_extent)))
    if not any(cluster.is_target for cluster in clusters):
        where = "on the support that is seen" if area is None else f"inside the object area {area}"
        raise NoObjectsError(
            f"{len(clusters)} clusters stand above the support, none of them {where} and shorter than "
            f"{config.max_extent} m."
        )
    return np.concatenate([cluster.points for cluster in clusters]), clusters


def _inside_support(thin: NDArray[np.float32], points: NDArray[np.float32], config: FieldConfig) -> NDArray[np.bool_]:
    """Which of the points (M, 3) stand `config.wall` inside the rim of the support's seen part (N, 3).

    What stands on the rim is the wall of a bin, or its surroundings.
    The seen part is the convex hull of the largest connected piece of the plane.
    """
    plane = points[np.abs(points[:, 2]) < config.table_height, :2]
    if len(plane) < 3:
        return np.ones(len(thin), dtype=bool)
    grid = 0.01
    cells = np.floor((plane - plane.min(axis=0)) / grid).astype(int)
    counts = np.zeros(cells.max(axis=0) + 1, dtype=int)
    np.add.at(counts, (cells[:, 0], cells[:, 1]), 1)
    pieces, _ = ndimage.label(ndimage.binary_closing(np.pad(counts > 1, 2), iterations=2)[2:-2, 2:-2])
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    floor = np.argwhere(pieces == sizes.argmax())
    if not sizes.any() or np.linalg.matrix_rank(floor - floor[0]) < 2:  # in whole cells: a line is one exactly
        return np.ones(len(thin), dtype=bool)
    sides = ConvexHull(floor * grid + 0.5 * grid + plane.min(axis=0)).equations
    return (thin[:, :2] @ sides[:, :2].T + sides[:, 2] < -config.wall).all(axis=1)


def _connected(points: NDArray[np.float32], config: FieldConfig) -> list[NDArray[np.float32]]:
    """The points (N, 3) in pieces of at least `config.min_points`, joined where nearer than `config.link`."""
    if not len(points):
        return []
    pairs = cKDTree(points).query_pairs(config.link, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(points),) * 2)
    labels = connected_components(graph, directed=False)[1]
    order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels)
    pieces = np.split(points[order], np.cumsum(sizes)[:-1])
    return [piece for piece in pieces if len(piece) >= config.min_points]
