"""Hole filling and edge-aware smoothing with OpenCV.

What it may and may not do: a hole is filled only if it is small, does not touch the image border, and what surrounds
it is one plane that the camera can see: no pixel of its rim, two pixels wide, is farther than `agreement` from the
plane through the rim, and that plane is not `steepest` to the view. Filled depth never leaves the rim's own range. So
the hole between an object and the table behind it stays a hole: no surface is invented across a depth discontinuity
of more than twice `agreement`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dexgrasp_description import CameraIntrinsics
from dexgrasp_perception.frame import Frame
from dexgrasp_perception.restoration import Restored, read_options


@dataclass(frozen=True)
class ClassicalConfig:
    """Options of the classical restoration.

    Attributes:
        largest_hole: Holes of more pixels stay [px].
        agreement: Largest distance of a rim pixel from the plane through the rim, along the view [m].
        steepest: Largest angle between the plane through a rim and the image plane [rad].
        smallest_patch: Valid patches of fewer pixels that differ from all around are noise and removed [px].
        step: Depth difference to all around from which on a patch is noise [m].
        smoothing_radius: Neighbourhood of the bilateral filter [px]; 0 switches it off.
        smoothing_depth: Depth difference at which a neighbour's weight has fallen to 0.6 [m].
    """

    largest_hole: int = 600
    agreement: float = 0.006
    steepest: float = 1.2
    smallest_patch: int = 12
    step: float = 0.02
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
        depth = fill_holes(depth, frame.intrinsics, config)
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


def fill_holes(
    depth: NDArray[np.float32], intrinsics: CameraIntrinsics, config: ClassicalConfig
) -> NDArray[np.float32]:
    """Depth (H, W) [m] with holes filled by the plane through their rim, under the rules of this module.

    A plane is linear in inverse depth over the image: `1 / z = a u + b v + c`, least squares for each hole.
    """
    height, width = depth.shape
    invalid = (depth <= 0).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(invalid, connectivity=8)
    left, top, wide, high, area = stats.T
    # Two pixels of rim all around lie inside of the image.
    inner = (left > 1) & (top > 1) & (left + wide < width - 1) & (top + high < height - 1)
    candidate = inner & (area <= config.largest_hole)
    candidate[0] = False  # the valid pixels
    if not candidate.any():
        return depth
    # Image coordinates relative to each hole, so that the normal equations are well conditioned.
    centre_u, centre_v = left + wide / 2.0, top + high / 2.0
    extent = np.maximum(wide, high).astype(np.float64)

    def coordinates(which: NDArray[Any], pixels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        v, u = np.divmod(pixels, width)
        return (u - centre_u[which]) / extent[which], (v - centre_v[which]) / extent[which]

    hole, rim = _rims(labels, invalid, candidate)
    z = depth.ravel()[rim].astype(np.float64)
    x, y = coordinates(hole, rim)
    rims = np.bincount(hole, minlength=count)
    sx, sy, sxx, sxy, syy, sw, sxw, syw = (
        np.bincount(hole, weights, count) for weights in (x, y, x * x, x * y, y * y, 1 / z, x / z, y / z)
    )
    normal = np.stack([sxx, sxy, sx, sxy, syy, sy, sx, sy, rims], axis=1).reshape(count, 3, 3)
    candidate &= (rims >= 6) & (np.linalg.det(normal / np.maximum(rims, 1)[:, None, None]) > 1e-6)
    normal[~candidate] = np.eye(3)
    a, b, c = np.linalg.solve(normal, np.stack([sxw, syw, sw], axis=1)[..., None])[..., 0].T

    with np.errstate(divide="ignore", invalid="ignore"):
        misfit = np.abs(1.0 / (a[hole] * x + b[hole] * y + c[hole]) - z)
        # Of the plane, in the middle of its hole: dz/dx = -fx z d(1/z)/du, metres along the view for metres across.
        slope = np.hypot(a * intrinsics.fx, b * intrinsics.fy) / extent / np.abs(c)
    nearest, farthest, worst = np.full(count, np.inf), np.zeros(count), np.zeros(count)
    np.minimum.at(nearest, hole, z)
    np.maximum.at(farthest, hole, z)
    np.maximum.at(worst, hole, misfit)
    candidate &= (worst <= config.agreement) & (slope <= np.tan(config.steepest))

    pixels = np.flatnonzero(candidate[labels])
    which = labels.ravel()[pixels]
    x, y = coordinates(which, pixels)
    with np.errstate(divide="ignore"):
        z = 1.0 / (a[which] * x + b[which] * y + c[which])
    filled = depth.copy()
    filled.ravel()[pixels] = np.clip(z, nearest[which], farthest[which])
    return filled


def smooth(depth: NDArray[np.float32], radius: int, deviation: float) -> NDArray[np.float32]:
    """Bilateral filter of depth (H, W) [m]: an invalid pixel (0) is as far as can be, so it neither gives nor takes."""
    smoothed = cv2.bilateralFilter(depth, 2 * radius + 1, deviation, float(radius))
    return np.where(depth > 0, smoothed, np.float32(0))


def _rims(
    labels: NDArray[Any], invalid: NDArray[np.uint8], candidate: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Hole and flat pixel index of the valid pixels within two pixels of candidate holes, some more than once."""
    width = labels.shape[1]
    outermost = cv2.erode(invalid, np.ones((3, 3), np.uint8)) < invalid
    border = np.flatnonzero(outermost & candidate[labels])
    hole = labels.ravel()[border]
    near = [(dv, du) for dv in range(-2, 3) for du in range(-2, 3) if 0 < abs(dv) + abs(du) <= 2]
    rim = np.concatenate([border + dv * width + du for dv, du in near])
    valid = invalid.ravel()[rim] == 0
    return np.tile(hole, len(near))[valid].astype(np.intp), rim[valid]
