"""Which of many points is nearest to each of many others, on the CPU: exact, and without a table of all distances."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

BLOCK = 16  # neighbours on a space-filling curve that share a bounding sphere
_CELLS = 1024  # of that curve along each axis
_FACING = 0.3  # least part of a normal along an axis where a surface bounds its body along it


def nearest_points(
    points: NDArray[np.floating], surfaces: NDArray[np.floating], within: float = np.inf
) -> NDArray[np.int64]:
    """Index (B, P) of the point of its surface that is nearest to each point; any index where a point is no number.

    Args:
        points: (B, 3, P).
        surfaces: (B, 3, M), or (1, 3, M) for all, of the same type.
        within: Of points that are farther from their surface than this, any index.
    """
    found = np.zeros((points.shape[0], points.shape[2]), dtype=np.int64)
    _search(np.ascontiguousarray(points), np.ascontiguousarray(surfaces), within, found)
    return found


def deepest_points(
    points: NDArray[np.floating], surfaces: NDArray[np.floating], normals: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Index (B,) of the point that is deepest in each surface, as `terms.external_penetration` has it; 0 if none is.

    Args:
        points: (B, 3, P).
        surfaces: (B, 3, M), or (1, 3, M) for all, of the same type.
        normals: Outward, as many as there are surfaces.
    """
    found = np.zeros(len(points), dtype=np.int64)
    _dive(np.ascontiguousarray(points), np.ascontiguousarray(surfaces), np.ascontiguousarray(normals), found)
    return found


def close_pairs(
    points: NDArray[np.floating], pairs: NDArray[np.int64], least: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Which (B, M) of the pairs (M, 2) of points (B, 3, K) are nearer to each other than the least (M,)."""
    found = np.zeros((len(points), len(pairs)), dtype=np.bool_)
    _compare(np.ascontiguousarray(points), pairs, least, found)
    return found


@njit(cache=True, nogil=True)
def _search(
    points: NDArray[np.floating], surfaces: NDArray[np.floating], within: float, found: NDArray[np.int64]
) -> None:
    """See `nearest_points`."""
    order, placed, middle, radius, square = room(surfaces)
    lower, upper = np.empty(3), np.empty(3)
    for row in range(len(points)):
        if row < len(surfaces):
            arrange(surfaces[row], order, placed, middle, radius)
            for axis in range(3):
                lower[axis], upper[axis] = surfaces[row, axis].min() - within, surfaces[row, axis].max() + within
        for at in range(points.shape[2]):
            x, y, z = points[row, 0, at], points[row, 1, at], points[row, 2, at]
            if x < lower[0] or x > upper[0] or y < lower[1] or y > upper[1] or z < lower[2] or z > upper[2]:
                continue
            found[row, at] = order[_nearest(x, y, z, within, placed, middle, radius, square)[0]]


@njit(cache=True, nogil=True)
def _dive(
    points: NDArray[np.floating],
    surfaces: NDArray[np.floating],
    normals: NDArray[np.floating],
    found: NDArray[np.int64],
) -> None:
    """See `deepest_points`."""
    order, placed, middle, radius, square = room(surfaces)
    lower, upper = np.empty(3), np.empty(3)
    shape = 0
    for row in range(len(points)):
        if row < len(surfaces):
            shape = row
            arrange(surfaces[row], order, placed, middle, radius)
            _bound(surfaces[row], normals[row], lower, upper)
        deepest = 0.0
        for at in range(points.shape[2]):
            x, y, z = points[row, 0, at], points[row, 1, at], points[row, 2, at]
            if x < lower[0] or x > upper[0] or y < lower[1] or y > upper[1] or z < lower[2] or z > upper[2]:
                continue
            which, least = _nearest(x, y, z, np.inf, placed, middle, radius, square)
            if least <= deepest:
                continue
            normal = normals[shape, :, order[which]]
            ahead = (placed[0, which] - x) * normal[0] + (placed[1, which] - y) * normal[1]
            if ahead + (placed[2, which] - z) * normal[2] > 0.0:
                deepest, found[row] = least, at


@njit(cache=True, nogil=True)
def _compare(
    points: NDArray[np.floating], pairs: NDArray[np.int64], least: NDArray[np.floating], found: NDArray[np.bool_]
) -> None:
    """See `close_pairs`."""
    for row in range(len(points)):
        x, y, z = points[row]
        for at in range(len(pairs)):
            i, j = pairs[at, 0], pairs[at, 1]
            square = (x[i] - x[j]) ** 2 + (y[i] - y[j]) ** 2 + (z[i] - z[j]) ** 2
            found[row, at] = square < least[at] ** 2


@njit(cache=True, nogil=True)
def _nearest(
    x: float,
    y: float,
    z: float,
    within: float,
    placed: NDArray[np.floating],
    middle: NDArray[np.floating],
    radius: NDArray[np.floating],
    square: NDArray[np.floating],
) -> tuple[int, float]:
    """The nearest of the points (3, M) and its squared distance.

    Blocks whose bounding sphere is farther than what was found, or than `within`, are left out.
    """
    size = placed.shape[1]
    for block in range(len(radius)):
        dx, dy, dz = middle[0, block] - x, middle[1, block] - y, middle[2, block] - z
        square[block] = dx * dx + dy * dy + dz * dz
    first = int(np.argmin(square))
    least, which, reach = np.inf, 0, within
    for turn in range(-1, len(radius)):
        block = first if turn < 0 else turn
        if turn == first or square[block] >= (reach + radius[block]) ** 2:
            continue
        for i in range(block * BLOCK, min(size, (block + 1) * BLOCK)):
            dx, dy, dz = placed[0, i] - x, placed[1, i] - y, placed[2, i] - z
            distance = dx * dx + dy * dy + dz * dz
            if distance < least:
                least, which = distance, i
        reach = min(reach, np.sqrt(least))
    return which, least


@njit(cache=True, nogil=True)
def room(surfaces: NDArray[np.floating]) -> tuple[
    NDArray[np.int64], NDArray[np.floating], NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]
]:  # fmt: skip
    """Room for what `arrange` tells of one surface, and for one number a block."""
    size = surfaces.shape[2]
    blocks = (size + BLOCK - 1) // BLOCK
    placed, middle = np.empty_like(surfaces[0]), np.empty((3, blocks), dtype=surfaces.dtype)
    radius, square = np.empty(blocks, dtype=surfaces.dtype), np.empty(blocks, dtype=surfaces.dtype)
    return np.empty(size, dtype=np.int64), placed, middle, radius, square


@njit(cache=True, nogil=True)
def arrange(
    surface: NDArray[np.floating],
    order: NDArray[np.int64],
    placed: NDArray[np.floating],
    middle: NDArray[np.floating],
    radius: NDArray[np.floating],
) -> None:
    """Points (3, M) in the order of a Z-order curve, and the middle and radius of each block of them."""
    size = surface.shape[1]
    code = np.zeros(size, dtype=np.int64)
    edge = 1e-9
    for axis in range(3):
        edge = max(edge, surface[axis].max() - surface[axis].min())
    for axis in range(3):
        lowest = surface[axis].min()
        for i in range(size):
            cell = int((surface[axis, i] - lowest) / edge * (_CELLS - 1))
            for bit in range(10):
                code[i] |= ((cell >> bit) & 1) << (3 * bit + axis)
    order[:] = np.argsort(code)
    for i in range(size):
        for axis in range(3):
            placed[axis, i] = surface[axis, order[i]]
    for block in range(len(radius)):
        first, last = block * BLOCK, min(size, (block + 1) * BLOCK)
        for axis in range(3):
            middle[axis, block] = placed[axis, first:last].mean()
        widest = 0.0
        for i in range(first, last):
            square = 0.0
            for axis in range(3):
                square += (placed[axis, i] - middle[axis, block]) ** 2
            widest = max(widest, square)
        radius[block] = np.sqrt(widest)


@njit(cache=True, nogil=True)
def _bound(
    surface: NDArray[np.floating], normals: NDArray[np.floating], lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> None:
    """The box in which the inside of a surface (3, M) lies; without an end where the surface does not close it."""
    for axis in range(3):
        low, high = np.argmin(surface[axis]), np.argmax(surface[axis])
        lower[axis] = surface[axis, low] if normals[axis, low] < -_FACING else -np.inf
        upper[axis] = surface[axis, high] if normals[axis, high] > _FACING else np.inf
