"""Height maps of the table: what stands on it, cell by cell, and whether anything stands on it at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rectangle = tuple[float, float, float, float]
"""x0, x1, y0, y1 in the world frame [m]."""


@dataclass(frozen=True)
class HeightMap:
    """Mean height of the points over each cell of a horizontal grid.

    Attributes:
        heights: (X, Y) above the table top, NaN where nothing was seen [m].
        x, y: (X,) and (Y,) centres of the cells, world frame [m].
        cell: Edge of a cell [m].
    """

    heights: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    cell: float

    def inside(self, rectangle: Rectangle) -> NDArray[np.bool_]:
        """(X, Y) mask of the cells whose centres lie in the rectangle."""
        x0, x1, y0, y1 = rectangle
        return ((self.x >= x0) & (self.x <= x1))[:, None] & ((self.y >= y0) & (self.y <= y1))[None, :]

    def around(self, point: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
        """(X, Y) mask of the cells within `radius` [m] of a point's vertical (its z does not matter)."""
        return (self.x[:, None] - point[0]) ** 2 + (self.y[None, :] - point[1]) ** 2 <= radius**2


def height_map(
    cloud: NDArray[np.floating],
    bounds: Rectangle,
    *,
    cell: float = 0.005,
    ceiling: float = 0.22,
    min_points: int = 3,
) -> HeightMap:
    """Height map of a cloud.

    The table top is fitted as a plane to the cells within 1 cm of z = 0 and subtracted, so that a camera calibrated to
    some millimetres does not raise one end of the table into an object.

    Args:
        cloud: (N, 3), world frame; rows that are not finite are left out [m].
        bounds: What the map covers.
        cell: Edge of a cell [m].
        ceiling: Points above it are not on the table [m].
        min_points: A cell with fewer points counts as not seen: pixels fly at the edges of things.
    """
    x0, x1, y0, y1 = bounds
    shape = max(round((x1 - x0) / cell), 1), max(round((y1 - y0) / cell), 1)
    points = cloud[np.isfinite(cloud).all(axis=1)].astype(np.float64)
    points = points[(points[:, 2] > -0.03) & (points[:, 2] < ceiling)]
    column = np.floor((points[:, :2] - (x0, y0)) / cell).astype(int)
    kept = ((column >= 0) & (column < shape)).all(axis=1)
    flat = np.ravel_multi_index((column[kept, 0], column[kept, 1]), shape)
    count = np.bincount(flat, minlength=shape[0] * shape[1])
    total = np.bincount(flat, points[kept, 2], minlength=shape[0] * shape[1])
    heights = np.where(count >= min_points, total / np.maximum(count, 1), np.nan).reshape(shape)
    x: NDArray[np.float64] = np.linspace(x0, x0 + (shape[0] - 1) * cell, shape[0]) + 0.5 * cell
    y: NDArray[np.float64] = np.linspace(y0, y0 + (shape[1] - 1) * cell, shape[1]) + 0.5 * cell
    return HeightMap(_levelled(heights, x, y), x, y, cell)


def _levelled(heights: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    table = np.abs(heights) < 0.01
    if table.sum() < 100:
        return heights
    X, Y = np.meshgrid(x, y, indexing="ij")
    basis = np.stack([X, Y, np.ones_like(X)], axis=-1)
    plane, *_ = np.linalg.lstsq(basis[table], heights[table], rcond=None)
    return heights - basis @ plane


def seen_share(heights: HeightMap, area: Rectangle) -> float:
    """Share of the area's cells that were seen, 0 to 1."""
    inside = heights.inside(area)
    return float(np.isfinite(heights.heights[inside]).mean()) if inside.any() else 0.0


def is_empty(heights: HeightMap, area: Rectangle, *, min_height: float = 0.015, min_cells: int = 8) -> bool:
    """Whether nothing stands in the area: fewer than `min_cells` cells higher than `min_height` [m]."""
    inside = heights.inside(area)
    return int((heights.heights[inside] > min_height).sum()) < min_cells
