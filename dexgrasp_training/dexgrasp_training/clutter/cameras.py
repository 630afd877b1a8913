"""Where a scene is looked at from: 256 poses a scene, spread as those of the paper's captures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dexgrasp_common.parameters import param
from dexgrasp_common.transforms import look_at
from numpy.typing import NDArray
from scipy.stats import qmc

from dexgrasp_training.errors import SettingsError

POSES = 256  # of each scene; a dataset renders the first V of them


@dataclass(frozen=True)
class CameraConfig:
    """Ranges of the camera poses; the defaults are those of the captures that DexGraspNet 2.0 uses."""

    lowest: float = param(0.32, "Least height of the camera above the table [m]")
    highest: float = param(0.48, "Greatest height of the camera above the table [m]")
    nearest: float = param(0.46, "Least distance along the optical axis to the table [m]")
    farthest: float = param(0.52, "Greatest distance along the optical axis to the table [m]")
    least_tilt: float = param(10.0, "Least angle between the optical axis and the vertical [deg]", range=(0.1, 89.0))
    most_tilt: float = param(53.0, "Greatest angle between the optical axis and the vertical [deg]", range=(0.1, 89.0))
    wander: float = param(0.04, "The place that is looked at is this far from the middle of the area, at most [m]")


def camera_poses(seed: int, config: CameraConfig | None = None) -> NDArray[np.float64]:
    """`world_T_camera` (256, 4, 4) of the optical frames, in an order whose every beginning is spread out.

    A scrambled Sobol sequence in tilt, distance, direction and the place looked at. So the first V poses are a fair
    sample of all, and a dataset that gets more views later keeps those that it has.

    Args:
        seed: Fixes the scrambling; scenes with different seeds are seen from different places.

    Raises:
        SettingsError: No camera can keep to all ranges.
    """
    config = config or CameraConfig()
    # Height is distance times the cosine of the tilt: what the heights leave of the range of tilts.
    least = max(config.least_tilt, _arc_cosine(config.highest / config.nearest))
    most = min(config.most_tilt, _arc_cosine(config.lowest / config.farthest))
    if least > most or config.nearest > config.farthest or config.lowest > config.highest:
        raise SettingsError(
            f"No camera is {config.lowest}-{config.highest} m above the table, {config.nearest}-{config.farthest} m "
            f"from it and tilted by {config.least_tilt}-{config.most_tilt} degrees at once; widen one of the ranges."
        )
    sobol = qmc.Sobol(5, scramble=True, rng=np.random.default_rng(seed)).random(POSES)
    tilt = np.radians(least + sobol[:, 0] * (most - least))
    shortest = np.maximum(config.nearest, config.lowest / np.cos(tilt))
    longest = np.minimum(config.farthest, config.highest / np.cos(tilt))
    distance = shortest + sobol[:, 1] * (longest - shortest)
    heading, around = 2.0 * np.pi * sobol[:, 2], 2.0 * np.pi * sobol[:, 3]
    reach = config.wander * np.sqrt(sobol[:, 4])  # uniform over the disc
    target = np.stack([reach * np.cos(around), reach * np.sin(around), np.zeros(POSES)], axis=1)
    sideways = np.sin(tilt)
    back = np.stack([sideways * np.cos(heading), sideways * np.sin(heading), np.cos(tilt)], axis=1)
    eye = target + distance[:, None] * back
    return np.stack([look_at(e, t) for e, t in zip(eye, target, strict=True)])


def _arc_cosine(value: float) -> float:
    return float(np.degrees(np.arccos(min(value, 1.0))))
