"""Wrist poses for precision grasps: three ways to bring an object between the fingertips of a hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import HandModel
from dexgrasp_training.synthesis.contact_domains import WIDEST_PINCH, ContactDomains

_TILT = 0.2  # between palm and surface, where they are mated [rad]
_PARALLEL = 0.35  # between the two sides of what is pinched [rad]
_THIN = 0.004  # how far from a line a surface point counts as on it [m]
_WIDTH_TOLERANCE = 0.01  # between what is pinched and a stored pinch [m]
_OFFSET = 0.008  # spread of the pinched place about that of the stored pinch [m]


def wrist_poses(
    hand: HandModel,
    domains: ContactDomains,
    points: NDArray[np.float64],
    inward: NDArray[np.float64],
    count: int,
    shares: tuple[float, float, float],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Palm poses `object_T_palm` (count, 4, 4).

    Each is made in one of three ways, drawn by `shares`:
    - mated: the palm's inner surface faces a point of the object, up to the depth of the fingertips away;
    - boxed: a point of the object lies in the box where the hand can pinch things, in any orientation;
    - pinched: two opposite sides of the object lie where two fingertips oppose each other.

    Args:
        hand: The hand.
        domains: Its fields.
        points: (N, 3), surface of the object [m].
        inward: (N, 3), inward normals.
        count: Number of poses.
        shares: Of mated, boxed and pinched poses, in any scale.
        rng: Source of all choices.
    """
    poses = np.tile(np.eye(4), (count, 1, 1))
    ways = rng.choice(3, size=count, p=np.array(shares) / np.sum(shares))
    palm_points, palm_normals = hand.contact_points.get(hand.base_link, (np.zeros((1, 3)), hand.approach_axis[None]))
    for row, way in enumerate(ways):
        at = int(rng.integers(len(points)))
        if way == 0:
            spot = rng.integers(len(palm_points))
            normal = palm_normals[spot]
            place = palm_points[spot] + rng.uniform(0.0, _depth(domains, palm_points[spot], normal)) * normal
            direction = _tilted(inward[at], _TILT, rng)
            poses[row] = _aligned(place, normal, points[at], direction, rng)
            continue
        if way == 2:
            width = _width_at(points, inward, at)
            low, high = np.searchsorted(domains.pinches.width, [width - _WIDTH_TOLERANCE, width + _WIDTH_TOLERANCE])
            if high > low:
                i = rng.integers(low, high)
                place, normal = domains.pinches.point[i], domains.pinches.normal[i]
                aside = rng.normal(0.0, _OFFSET, 3)
                aside -= (aside @ normal) * normal
                middle = place + aside - 0.5 * (width - domains.pinches.width[i]) * normal
                poses[row] = _aligned(middle, normal, points[at], inward[at], rng)
                continue
        place = rng.uniform(domains.box[0], domains.box[1])
        turn = Rotation.random(random_state=rng).as_matrix()
        poses[row, :3, :3] = turn
        poses[row, :3, 3] = points[at] - turn @ place
    return poses


def _depth(domains: ContactDomains, point: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """How far from a point of the palm the box of pinched things reaches along the palm's normal [m]."""
    corners = np.array([[domains.box[i, 0], domains.box[j, 1], domains.box[k, 2]] for i, j, k in np.ndindex(2, 2, 2)])
    return max(float(((corners - point) @ normal).max()), 0.0)


def _width_at(points: NDArray[np.float64], inward: NDArray[np.float64], at: int) -> float:
    """Thickness [m] of the object under one of its points, from there along the inward normal; infinite if too thick.

    The far side is the nearest surface that faces the other way.
    """
    away = points - points[at]
    along = away @ inward[at]
    aside = np.linalg.norm(away - along[:, None] * inward[at], axis=1)
    opposite = (inward @ inward[at] < -np.cos(_PARALLEL)) & (along > 0.0) & (along < WIDEST_PINCH) & (aside < _THIN)
    return float(along[opposite].min()) if opposite.any() else np.inf


def _tilted(direction: NDArray[np.float64], angle: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A unit vector up to `angle` [rad] from another."""
    return Rotation.from_rotvec(_any_normal(direction, rng) * rng.uniform(0.0, angle)).as_matrix() @ direction


def _any_normal(direction: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    aside = rng.normal(size=3)
    aside -= (aside @ direction) * direction
    return aside / np.linalg.norm(aside)


def _aligned(
    palm_point: NDArray[np.float64],
    palm_direction: NDArray[np.float64],
    object_point: NDArray[np.float64],
    object_direction: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """`object_T_palm` (4, 4) that brings point on point and direction on direction, the turn about it random."""
    frames = []
    for direction in (palm_direction, object_direction):
        x = _any_normal(direction, rng)
        frames.append(np.column_stack([x, np.cross(direction, x), direction]))
    object_T_palm = np.eye(4)
    object_T_palm[:3, :3] = frames[1] @ frames[0].T
    object_T_palm[:3, 3] = object_point - object_T_palm[:3, :3] @ palm_point
    return object_T_palm
