"""Hole filling and edge-aware smoothing with OpenCV.

What it may and may not do: a hole is filled only if it is small, does not touch the image border, and what surrounds
it is one plane: no pixel of its rim is farther than `agreement` from the plane through the rim, and the rim spans no
more than `step` in depth. Filled depth never leaves the rim's own range. So a hole between an object and the table
behind it stays a hole, and no surface is invented across a discontinuity of more than `step`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dexgrasp_perception.frame import Frame
from dexgrasp_perception.restoration import Restored, read_options


@dataclass(frozen=True)
class ClassicalConfig:
    """Options of the classical restoration.

    Attributes:
        largest_hole: Holes of more pixels stay [px].
        agreement: Largest distance of a rim pixel from the plane through the rim, along the view [m].
        step: Largest depth range of a rim [m].
        smallest_patch: Valid patches of fewer pixels that differ from all around are noise and removed [px].
        smoothing_radius: Neighbourhood of the bilateral filter [px]; 0 switches it off.
        smoothing_depth: Depth difference at which a neighbour's weight has fallen to 0.6 [m].
    """

    largest_hole: int = 600
    agreement: float = 0.006
    step: float = 0.02
    smallest_patch: int = 12
    smoothing_radius: int = 2
    smoothing_depth: float = 0.005


class ClassicalRestoration:
    """Removes specks, fills small holes, smooths within surfaces."""

    needs: frozenset[str] = frozenset()

    def __init__(self, config: ClassicalConfig | None = None) -> None:
        self.config = config or ClassicalConfig()

    def restore(self, frame: Frame) -> Restored:
        config = self.config
        depth = np.where(np.isfinite(frame.depth) & (frame.depth > 0), frame.depth, 0).astype(np.float32)
        depth = remove_specks(depth, config.smallest_patch, config.step)
        depth = fill_holes(depth, config)
        if config.smoothing_radius > 0:
            depth = smooth(depth, config.smoothing_radius, config.smoothing_depth)
        return Restored(depth)


def create(options_file: str = "") -> ClassicalRestoration:
    """The factory in `DEPTH_RESTORATIONS`; options are the fields of `ClassicalConfig`."""
    return ClassicalRestoration(read_options(options_file, ClassicalConfig))


def remove_specks(depth: NDArray[np.float32], smallest: int, step: float) -> NDArray[np.float32]:
    """Depth (H, W) [m] without patches of fewer than `smallest` pixels, a patch ending where depth jumps by `step`."""
    millimetres = np.clip(depth * 1000.0, 0, np.iinfo(np.int16).max).astype(np.int16)
    kept, _ = cv2.filterSpeckles(millimetres, 0, smallest - 1, step * 1000.0)
    return np.where(kept > 0, depth, np.float32(0))


def fill_holes(depth: NDArray[np.float32], config: ClassicalConfig) -> NDArray[np.float32]:
    """Depth (H, W) [m] with holes filled by the plane through their rim, under the rules of this module.

    A plane is linear in inverse depth over the image: `1 / z = a u + b v + c`, least squares for each hole.
    """
    height, width = depth.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats((depth <= 0).astype(np.uint8), connectivity=8)
    left, top, wide, high, area = stats.T
    inner = (left > 0) & (top > 0) & (left + wide < width) & (top + high < height)
    candidate = inner & (area <= config.largest_hole)
    candidate[0] = False  # the valid pixels
    if not candidate.any():
        return depth
    hole, rim_v, rim_u = _rims(labels, depth, candidate)
    rim_z = depth[rim_v, rim_u].astype(np.float64)
    # Coordinates relative to each hole, so that the normal equations are well conditioned.
    centre_u, centre_v = left + wide / 2.0, top + high / 2.0
    scale = np.maximum(np.maximum(wide, high), 1).astype(np.float64)

    def basis(which: NDArray[Any], u: NDArray[np.intp], v: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.stack(
            [(u - centre_u[which]) / scale[which], (v - centre_v[which]) / scale[which], np.ones(len(which))], axis=1
        )

    rows = basis(hole, rim_u, rim_v)
    normal = np.zeros((count, 3, 3))
    right = np.zeros((count, 3))
    for i in range(3):
        right[:, i] = np.bincount(hole, rows[:, i] / rim_z, count)
        for j in range(3):
            normal[:, i, j] = np.bincount(hole, rows[:, i] * rows[:, j], count)
    rims = np.bincount(hole, minlength=count)
    candidate &= (rims >= 6) & (np.linalg.det(normal / np.maximum(rims, 1)[:, None, None]) > 1e-6)
    normal[~candidate] = np.eye(3)
    planes = np.linalg.solve(normal, right[..., None])[..., 0]

    with np.errstate(divide="ignore"):
        misfit = np.abs(1.0 / np.einsum("nk,nk->n", rows, planes[hole]) - rim_z)
    nearest, farthest = np.full(count, np.inf), np.zeros(count)
    worst = np.zeros(count)
    np.minimum.at(nearest, hole, rim_z)
    np.maximum.at(farthest, hole, rim_z)
    np.maximum.at(worst, hole, misfit)
    candidate &= (worst <= config.agreement) & (farthest - nearest <= config.step)

    v, u = np.nonzero(candidate[labels])
    which = labels[v, u]
    with np.errstate(divide="ignore"):
        z = 1.0 / np.einsum("nk,nk->n", basis(which, u, v), planes[which])
    filled = depth.copy()
    filled[v, u] = np.clip(z, nearest[which], farthest[which])
    return filled


def smooth(depth: NDArray[np.float32], radius: int, deviation: float) -> NDArray[np.float32]:
    """Bilateral filter of depth (H, W) [m]: an invalid pixel (0) is as far as can be, so it neither gives nor takes."""
    smoothed = cv2.bilateralFilter(depth, 2 * radius + 1, deviation, float(radius))
    return np.where(depth > 0, smoothed, np.float32(0))


def _rims(
    labels: NDArray[Any], depth: NDArray[np.float32], candidate: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Hole, row and column of every valid pixel within two pixels of a candidate hole; near corners more than once."""
    height, width = depth.shape
    v, u = np.nonzero(candidate[labels] & (cv2.erode((depth <= 0).astype(np.uint8), np.ones((3, 3))) == 0))
    hole = labels[v, u]
    found = []
    for dv in range(-2, 3):
        for du in range(-2, 3):
            rim_v, rim_u = np.clip(v + dv, 0, height - 1), np.clip(u + du, 0, width - 1)
            valid = depth[rim_v, rim_u] > 0
            found.append((hole[valid], rim_v[valid], rim_u[valid]))
    holes, rows, columns = (np.concatenate(part).astype(np.intp) for part in zip(*found, strict=True))
    return holes, rows, columns
