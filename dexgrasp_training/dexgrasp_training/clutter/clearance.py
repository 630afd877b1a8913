"""Which of an object's grasps stay clear of the other objects and of the table in a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dexgrasp_common.parameters import param
from dexgrasp_common.transforms import invert
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import load_hand
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.synthesis.hand_arrays import HandArrays, hand_arrays
from dexgrasp_training.synthesis.kernels import compose, link_distance, link_poses, place


@dataclass(frozen=True)
class ClearanceConfig:
    """How far the hand must stay away, and from where on.

    The margin is that of the paper's labels, and the way that of its evaluation, whose pregrasp is 10 cm back.
    """

    pregrasp_margin: float = param(0.0025, "Distance of the opened hand to other objects and the table [m]")
    grasp_margin: float = param(0.0, "Distance of the closed hand to other objects and the table [m]")
    approach: float = param(0.1, "Length of the straight way to the pregrasp that must be clear, too [m]")
    step: float = param(0.02, "Between the places that are looked at on that way [m]", range=(1e-3, 1.0))


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
    offsets = [0.0]
    if config.approach > 0.0:
        offsets = list(np.linspace(0.0, -config.approach, int(np.ceil(config.approach / config.step)) + 1))
    retreat = np.outer(offsets, hand.approach_axis)
    clear = np.ones(len(grasps), dtype=np.bool_)
    world_T_palm = np.ascontiguousarray(world_T_object[target] @ grasps.object_T_palm)
    pregrasp, grasp = np.ascontiguousarray(grasps.pregrasp), np.ascontiguousarray(grasps.grasp)
    _above_table(arrays, world_T_palm, pregrasp, retreat, config.pregrasp_margin, clear)
    _above_table(arrays, world_T_palm, grasp, retreat[:1], config.grasp_margin, clear)
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
def _above_table(
    hand: HandArrays,
    world_T_palm: NDArray[np.float64],
    postures: NDArray[np.float64],
    retreat: NDArray[np.float64],
    margin: float,
    clear: NDArray[np.bool_],
) -> None:
    """Clear the marks of grasps some point of whose hand lies less than `margin` above z = 0 on the way (S, 3)."""
    poses = np.empty((len(hand.parent), 3, 4))
    for n in range(len(postures)):
        if not clear[n]:
            continue
        pose = world_T_palm[n]
        # Only heights count, and all places on the way are lifted by less or more.
        lift = np.inf
        for s in range(len(retreat)):
            lift = min(lift, pose[2, 0] * retreat[s, 0] + pose[2, 1] * retreat[s, 1] + pose[2, 2] * retreat[s, 2])
        floor = margin - lift - pose[2, 3]
        link_poses(hand, postures[n], poses)
        for link in range(len(hand.parent)):
            if not _link_above(hand, link, poses[link], pose[2], floor):
                clear[n] = False
                break


@njit(cache=True)
def _link_above(
    hand: HandArrays, link: int, palm_T_link: NDArray[np.float64], up: NDArray[np.float64], floor: float
) -> bool:
    ball = hand.ball[link]
    if ball[3] < 0.0:
        return True
    x, y, z = place(palm_T_link, ball[0], ball[1], ball[2])
    if up[0] * x + up[1] * y + up[2] * z - ball[3] >= floor:
        return True
    # The direction of up in the link's frame turns the heights of its points into dot products.
    u0 = up[0] * palm_T_link[0, 0] + up[1] * palm_T_link[1, 0] + up[2] * palm_T_link[2, 0]
    u1 = up[0] * palm_T_link[0, 1] + up[1] * palm_T_link[1, 1] + up[2] * palm_T_link[2, 1]
    u2 = up[0] * palm_T_link[0, 2] + up[1] * palm_T_link[1, 2] + up[2] * palm_T_link[2, 2]
    rest = floor - up[0] * palm_T_link[0, 3] - up[1] * palm_T_link[1, 3] - up[2] * palm_T_link[2, 3]
    for patch in range(hand.patch_start[link], hand.patch_start[link + 1]):
        ball = hand.patch_ball[patch]
        if u0 * ball[0] + u1 * ball[1] + u2 * ball[2] - ball[3] >= rest:
            continue
        for row in range(hand.point_start[patch], hand.point_start[patch + 1]):
            point = hand.points[row]
            if u0 * point[0] + u1 * point[1] + u2 * point[2] < rest:
                return False
    return True


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
