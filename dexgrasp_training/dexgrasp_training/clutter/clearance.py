"""Which of an object's grasps stay clear of the other objects and of the table in a scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from dexgrasp_common.transforms import invert
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import load_hand
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.synthesis.hand_arrays import HandArrays, hand_arrays
from dexgrasp_training.synthesis.kernels import compose, link_distance, link_poses, place
from dexgrasp_training.synthesis.table import ClearanceConfig, above_table


def clear_grasps(
    assets: Sequence[ObjectAsset],
    world_T_object: NDArray[np.float64],
    target: int,
    grasps: ObjectGrasps,
    config: ClearanceConfig | None = None,
) -> NDArray[np.uint32]:
    """Rows of `grasps` whose pregrasp, the way to it, and grasp are clear of all but their own object: (K,), ascending.

    The table is the half-space z < 0 of the world.

    Args:
        assets: The M objects of the scene.
        world_T_object: array (M, 4, 4).
        target: Which of them the grasps are of.
        config: Margins; None: the defaults.
    """
    config = config or ClearanceConfig()
    hand = load_hand(grasps.hand)
    arrays = hand_arrays(hand)
    retreat = config.retreat(hand)
    world_T_palm = np.ascontiguousarray(world_T_object[target] @ grasps.object_T_palm)
    pregrasp, grasp = np.ascontiguousarray(grasps.pregrasp), np.ascontiguousarray(grasps.grasp)
    clear = above_table(hand, world_T_palm, pregrasp, grasp, config)
    margin = max(config.pregrasp_margin, config.grasp_margin)
    reach = _reach(arrays, np.concatenate([pregrasp, grasp])) + config.approach + margin
    for index in _nearest_first(assets, world_T_object, target):
        other_T_palm = np.ascontiguousarray(invert(world_T_object[index]) @ world_T_palm)
        field, radius = assets[index].field, assets[index].model.radius
        near = clear & (np.linalg.norm(other_T_palm[:, :3, 3], axis=1) < radius + reach)
        rows = np.flatnonzero(near)
        arguments = (field.values, field.origin, float(field.spacing), radius)
        for postures, ways, margin in (
            (grasp, retreat[:1], config.grasp_margin),
            (pregrasp, retreat, config.pregrasp_margin),
        ):
            _clear_of(arrays, other_T_palm, postures, ways, margin, rows, *arguments, clear)
            rows = rows[clear[rows]]
    return np.flatnonzero(clear).astype(np.uint32)


def _nearest_first(assets: Sequence[ObjectAsset], world_T_object: NDArray[np.float64], target: int) -> list[int]:
    """The other objects, those first that leave the least room and so decide most grasps."""
    apart = np.linalg.norm(world_T_object[:, :3, 3] - world_T_object[target, :3, 3], axis=1)
    room = apart - [asset.model.radius for asset in assets]
    return [int(index) for index in np.argsort(room, kind="stable") if index != target]


@njit(cache=True)
def _reach(hand: HandArrays, postures: NDArray[np.float64]) -> float:
    """Greatest distance [m] of any part of the hand from the palm's origin, in any of the postures (N, D)."""
    poses = np.empty((len(hand.parent), 3, 4))
    farthest = 0.0
    for n in range(len(postures)):
        link_poses(hand, postures[n], poses)
        for link in range(len(hand.parent)):
            ball = hand.ball[link]
            if ball[3] >= 0.0:
                x, y, z = place(poses[link], ball[0], ball[1], ball[2])
                farthest = max(farthest, np.sqrt(x * x + y * y + z * z) + ball[3])
    return farthest


@njit(cache=True)
def _clear_of(
    hand: HandArrays,
    other_T_palm: NDArray[np.float64],
    postures: NDArray[np.float64],
    retreat: NDArray[np.float64],
    margin: float,
    rows: NDArray[np.int64],
    values: NDArray[np.float32],
    origin: NDArray[np.float64],
    spacing: float,
    radius: float,
    clear: NDArray[np.bool_],
) -> None:
    """Clear the marks of those grasps among `rows` whose hand comes nearer than `margin` to one object on its way."""
    poses = np.empty((len(hand.parent), 3, 4))
    moved, other_T_link = np.empty((3, 4)), np.empty((3, 4))
    for n in rows:
        link_poses(hand, postures[n], poses)
        for s in range(len(retreat)):
            moved[:] = other_T_palm[n, :3]
            moved[:, 3] = place(other_T_palm[n], retreat[s, 0], retreat[s, 1], retreat[s, 2])
            for link in range(len(hand.parent)):
                ball = hand.ball[link]
                if ball[3] < 0.0:
                    continue
                compose(moved, poses[link], other_T_link)
                x, y, z = place(other_T_link, ball[0], ball[1], ball[2])
                reach = radius + ball[3] + margin
                if x * x + y * y + z * z >= reach * reach:
                    continue
                if link_distance(hand, link, other_T_link, values, origin, spacing, margin)[0] < margin:
                    clear[n] = False
                    break
            if not clear[n]:
                break
