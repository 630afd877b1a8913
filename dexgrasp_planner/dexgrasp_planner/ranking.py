"""The best of many grasps, no two of them nearly the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TURN_ARM = 0.05  # what turning the palm by one radian counts [m]


def distinct(
    world_T_palm: NDArray[np.float64], score: NDArray[np.float64], count: int, apart: float
) -> NDArray[np.intp]:
    """Indices of the best grasps, best first.

    Args:
        world_T_palm: array (N, 4, 4).
        score: array (N,), higher is better.
        count: At most so many.
        apart: Two palms nearer than this, in position plus `TURN_ARM` times their angle, are one [m].
    """
    position, rotation = world_T_palm[:, :3, 3], world_T_palm[:, :3, :3]
    kept: list[int] = []
    for index in np.argsort(-score, kind="stable"):
        if len(kept) == count:
            break
        if kept:
            trace = np.einsum("kij,ij->k", rotation[kept], rotation[index])
            angle = np.arccos(np.clip(0.5 * (trace - 1.0), -1.0, 1.0))
            gap = np.linalg.norm(position[kept] - position[index], axis=1) + TURN_ARM * angle
            if gap.min() < apart:
                continue
        kept.append(int(index))
    return np.array(kept, dtype=int)
