"""What is measured of grasps without a simulator: how deep they are in the object, how different they are."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_hand
from dexgrasp_training.distance_grid import DistanceGrid

HAND_POINTS = 1536  # on the hand's surface, as many as in DexGrasp Anything's evaluator


def penetration(
    hand: HandModel, field: DistanceGrid, object_T_palm: NDArray[np.float64], joints: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How deep the deepest of `HAND_POINTS` points on each hand is in the object (N,) [m]; 0: none is in it.

    DexGrasp Anything's evaluator takes the distance to the nearest of 4096 points on the object and that point's normal
    for the sign. Here both are those of the distance to the surface itself.

    Args:
        field: Of the object.
        object_T_palm: array (N, 4, 4).
        joints: array (N, D) [rad or m].
    """
    if not len(joints):
        return np.zeros(0)
    moved = _kinematics(hand.name).surface_points(torch.as_tensor(joints), HAND_POINTS).values()
    palm_p = torch.cat([points for points, _ in moved], dim=1).numpy()
    object_p = palm_p @ object_T_palm[:, :3, :3].transpose(0, 2, 1) + object_T_palm[:, None, :3, 3]
    return np.maximum(-field.distance(object_p).min(axis=1), 0.0)


def joint_deviation(joints: NDArray[np.float64]) -> float | None:
    """Standard deviation of each joint over grasps (N, D), mean over joints [rad or m]; None of fewer than two.

    Diversity as DexGrasp Anything's code has it.
    """
    return float(joints.std(axis=0).mean()) if len(joints) > 1 else None


def position_deviation(object_T_palm: NDArray[np.float64]) -> float | None:
    """Standard deviation of each coordinate of the palm (N, 4, 4), mean over the three [m]; None of fewer than two.

    DexGrasp Anything's paper names the pose's parameters and millimetres; of them these have that unit.
    """
    return float(object_T_palm[:, :3, 3].std(axis=0).mean()) if len(object_T_palm) > 1 else None


@lru_cache(maxsize=2)
def _kinematics(hand: str) -> ForwardKinematics:
    return ForwardKinematics(load_hand(hand))
