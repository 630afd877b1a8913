"""What a camera delivers at one instant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dexgrasp_description import CameraIntrinsics


@dataclass(frozen=True, eq=False)
class Frame:
    """Images of one instant, all of the size in `intrinsics` and aligned with the depth image.

    Attributes:
        depth: (H, W) float32 [m], 0 where invalid.
        intrinsics: Of the depth image.
        color: (H, W, 3) uint8 RGB, or None.
        infrared: Left and right image (H, W) uint8, rectified, or None.
    """

    depth: NDArray[np.float32]
    intrinsics: CameraIntrinsics
    color: NDArray[np.uint8] | None = None
    infrared: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
