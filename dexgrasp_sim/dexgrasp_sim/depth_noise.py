"""A parametric stereo camera in the manner of the D435: the errors that depth from disparity has."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from dexgrasp_common.parameters import param
from numpy.typing import NDArray


@dataclass(frozen=True)
class DepthNoiseConfig:
    """Stereo geometry and error sizes. The defaults are plausible for a D435, not calibrated against one."""

    baseline: float = param(0.05, "Distance between the two imagers [m]")
    focal: float = param(385.0, "Focal length of the imagers, which sets the disparity of a depth [px]")
    correlated: float = param(0.08, "Standard deviation of disparity errors that neighbours share [px]")
    white: float = param(0.04, "Standard deviation of disparity errors of single pixels [px]")
    correlation: float = param(3.0, "Over how far neighbours share an error [px of the image]")
    steps: int = param(32, "Disparity steps of the matcher in one pixel")
    edge: float = param(0.02, "Step in depth between neighbours that counts as an edge [m]")
    dropout: float = param(0.5, "Share of the pixels on edges that have no depth")
    jitter: float = param(0.5, "Standard deviation of a pixel's sideways displacement [px]")


_NO_MAP = np.empty(0, np.int16)  # both coordinates are in the first map
_BANK = 8  # errors are drawn once and reused at random offsets: drawing them anew would cost more than the image


class DepthNoise:
    """Adds the errors to images of one size; the sequence of errors is fixed by the seed.

    Args:
        shape: Height and width of the images [px].
        scale: Multiplies the sizes of all errors; 0 leaves the depth as it is, 1 is the full model.
    """

    def __init__(
        self, shape: tuple[int, int], *, scale: float = 1.0, config: DepthNoiseConfig | None = None, seed: int = 0
    ) -> None:
        self._config = config = config or DepthNoiseConfig()
        self._rng = rng = np.random.default_rng(seed)
        self._shape, self._scale = shape, scale
        self._error = np.empty((_BANK, *shape), np.float32)
        self._dropped = rng.uniform(size=(_BANK, *shape)) < config.dropout * scale
        self._maps: list[NDArray[np.int16]] = []
        v, u = np.indices(shape, dtype=np.float32)
        for k in range(_BANK):
            smooth = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), config.correlation)
            white = rng.standard_normal(shape).astype(np.float32)
            self._error[k] = scale * (config.correlated * smooth / smooth.std() + config.white * white)
            du, dv = scale * config.jitter * rng.standard_normal((2, *shape)).astype(np.float32)
            self._maps.append(np.rint(np.stack([u + du, v + dv], axis=-1)).astype(np.int16))

    def apply(self, depth: NDArray[np.float32], rng: np.random.Generator | None = None) -> NDArray[np.float32]:
        """The depth (H, W) [m] as the camera would measure it; 0 where it measures none, as in the input.

        Args:
            rng: Chooses among the errors; None: the next of the sequence that the seed fixes.
        """
        if self._scale == 0.0:
            return depth
        rng = self._rng if rng is None else rng
        k, j = rng.integers(_BANK, size=2)
        moved = cv2.remap(depth, self._maps[j], _NO_MAP, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        disparity_metres = np.float32(self._config.focal * self._config.baseline)
        valid = moved > 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            disparity = disparity_metres / moved
            disparity += self._error[k]
            steps = np.float32(self._config.steps)
            np.rint(disparity * steps, out=disparity)
            measured = (disparity_metres * steps) / disparity
        kernel = np.ones((3, 3), np.uint8)
        edges = cv2.morphologyEx(depth, cv2.MORPH_GRADIENT, kernel) > self._config.edge
        valid &= ~(edges & self._dropped[j])
        valid &= disparity > 0.0
        return np.where(valid, measured, np.float32(0.0))


def to_millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Depth [m] as the camera's 16-bit image [mm], rounded; 0 where there is none or it does not fit."""
    millimetres = np.rint(depth * 1000.0)
    return np.where(millimetres < 65536.0, millimetres, 0.0).astype(np.uint16)
