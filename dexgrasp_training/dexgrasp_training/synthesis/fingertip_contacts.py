"""Fingers on an object's surface: a tip put in contact, withdrawn for the pregrasp, and pressed for the squeeze."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from dexgrasp_planner.finger_chains import FingerChains, point_jacobian, tip_pose
from numba import njit
from numpy.typing import NDArray

from dexgrasp_training.synthesis.contact_domains import FingerFields, nearest_contacts, reaches
from dexgrasp_training.synthesis.finger_ik import reach
from dexgrasp_training.synthesis.hand_arrays import HandArrays
from dexgrasp_training.synthesis.kernels import compose, link_distance, link_poses, place, sdf, sdf_gradient

_STARTS = 3  # stored contacts from which the inverse kinematics are tried
_ITERATIONS = 12
_TOLERANCE = 5e-5  # of the inverse kinematics [m]
_CORRECTIONS = 4  # of a target, so that the tip's surface rather than one point of it touches
_GRAZE = 0.003  # how deep a finger may reach into the object at a stored contact, which is not yet the final one [m]
TOUCH = 1e-4  # distance between tip and surface of a contact [m]


class FingeredHand(NamedTuple):
    """A hand as the search needs it.

    Attributes:
        arrays: The whole hand.
        chains: Joints of each fingertip.
        fields: Contacts of each fingertip.
        links: array (F,), links of the fingertips.
        home: array (D,), resting posture.
    """

    arrays: HandArrays
    chains: FingerChains
    fields: FingerFields
    links: NDArray[np.int64]
    home: NDArray[np.float64]


class Solid(NamedTuple):
    """An object as the search needs it, object frame.

    Attributes:
        points: array (N, 3), surface points that a tip can get at [m].
        inward: array (N, 3), inward normals.
        wrenches: array (N, 6), see `contact_wrenches`.
        step: Standard deviation of a step of the contact search [m].
        values, origin, spacing: The distance grid.
    """

    points: NDArray[np.float64]
    inward: NDArray[np.float64]
    wrenches: NDArray[np.float64]
    step: float
    values: NDArray[np.float32]
    origin: NDArray[np.float64]
    spacing: float


@njit(cache=True)
def into_palm(
    object_T_palm: NDArray[np.float64],
    point: NDArray[np.float64],
    direction: NDArray[np.float64],
    palm_point: NDArray[np.float64],
    palm_direction: NDArray[np.float64],
) -> None:
    """A point (3,) [m] and a direction (3,) of the object's frame, written in the palm's."""
    for i in range(3):
        palm_point[i] = palm_direction[i] = 0.0
        for j in range(3):
            palm_point[i] += object_T_palm[j, i] * (point[j] - object_T_palm[j, 3])
            palm_direction[i] += object_T_palm[j, i] * direction[j]


@njit(cache=True)
def reached(
    fields: FingerFields,
    solid: Solid,
    object_T_palm: NDArray[np.float64],
    domains: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> None:
    """Which surface points each finger reaches without running its other links far into the object.

    Args:
        fields: The fingers.
        solid: What they touch.
        object_T_palm: (4, 4).
        domains: Result (F, N): the first `sizes[f]` of each row are the numbers of the points.
        sizes: Result (F,).
    """
    point, direction = np.empty(3), np.empty(3)
    stored = np.empty(_STARTS, dtype=np.int64)
    sizes[:] = 0
    for row in range(len(solid.points)):
        into_palm(object_T_palm, solid.points[row], solid.inward[row], point, direction)
        for finger in range(len(fields.first)):
            if not reaches(fields, finger, point, direction):
                continue
            for start in range(nearest_contacts(fields, finger, point, direction, stored)):
                if _probes_clear(fields, finger, stored[start], solid, object_T_palm):
                    domains[finger, sizes[finger]] = row
                    sizes[finger] += 1
                    break


@njit(cache=True)
def _probes_clear(
    fields: FingerFields, finger: int, stored: int, solid: Solid, object_T_palm: NDArray[np.float64]
) -> bool:
    """Whether the balls inside a finger's links, at a stored contact, reach no more than `_GRAZE` into the object."""
    for ball in range(fields.probe.shape[1]):
        radius = fields.probe_radius[finger, ball]
        centre = fields.probe[stored, ball]
        spot = place(object_T_palm, centre[0], centre[1], centre[2])
        if radius > 0.0 and sdf(solid.values, solid.origin, solid.spacing, spot) < radius - _GRAZE:
            return False
    return True


@njit(cache=True)
def touch(
    hand: FingeredHand,
    solid: Solid,
    object_T_palm: NDArray[np.float64],
    finger: int,
    row: int,
    least_cosine: float,
    q: NDArray[np.float64],
    contact: NDArray[np.float64],
    inward: NDArray[np.float64],
) -> bool:
    """Put a finger's tip on a surface point.

    Args:
        hand, solid: Who touches what.
        object_T_palm: (4, 4).
        finger: Number of the fingertip.
        row: Number of the surface point.
        least_cosine: Of the angle between the tip's outward and the surface's inward normal where they touch.
        q: Joints of the finger (m,), the result [rad].
        contact: Where they touch (3,), the result, object frame [m].
        inward: The surface's inward normal there (3,), the result, object frame.

    Returns:
        Whether the tip can touch there.
    """
    fields = hand.fields
    point, direction, target = np.empty(3), np.empty(3), np.empty(3)
    into_palm(object_T_palm, solid.points[row], solid.inward[row], point, direction)
    stored = np.empty(_STARTS, dtype=np.int64)
    for start in range(nearest_contacts(fields, finger, point, direction, stored)):
        for k in range(len(q)):
            q[k] = fields.joints[stored[start], k]
        pad = fields.pad[stored[start]]
        target[:] = point
        if _settle_tip(
            hand,
            solid,
            object_T_palm,
            finger,
            fields.pad_point[finger, pad],
            fields.pad_normal[finger, pad],
            target,
            direction,
            q,
        ) and _read_contact(hand, solid, object_T_palm, finger, least_cosine, q, contact, inward):
            return True
    return False


@njit(cache=True)
def _settle_tip(
    hand: FingeredHand,
    solid: Solid,
    object_T_palm: NDArray[np.float64],
    finger: int,
    pad_point: NDArray[np.float64],
    pad_normal: NDArray[np.float64],
    target: NDArray[np.float64],
    direction: NDArray[np.float64],
    q: NDArray[np.float64],
) -> bool:
    """Move a tip until its surface, not one point of its pad alone, just touches; `target` is moved on the way."""
    count = len(q)
    palm_T_tip, object_T_tip = np.empty((3, 4)), np.empty((3, 4))
    axes, centres = np.empty((count, 3)), np.empty((count, 3))
    for _ in range(_CORRECTIONS):
        if (
            reach(hand.chains, finger, pad_point, pad_normal, target, direction, _ITERATIONS, _TOLERANCE, q)
            > _TOLERANCE
        ):
            return False
        tip_pose(hand.chains, finger, q, palm_T_tip, axes, centres)
        compose(object_T_palm, palm_T_tip, object_T_tip)
        gap = _pad_gap(hand.fields, finger, solid, object_T_tip)[0]
        if abs(gap) < TOUCH:
            return True
        for i in range(3):
            target[i] += gap * direction[i]
    return False


@njit(cache=True)
def _pad_gap(fields: FingerFields, finger: int, solid: Solid, object_T_tip: NDArray[np.float64]) -> tuple[float, int]:
    """Signed distance [m] of a tip's pad to the object, and the point of the pad that is nearest."""
    gap, nearest = np.inf, 0
    for i in range(fields.pad_point.shape[1]):
        x, y, z = fields.pad_point[finger, i, 0], fields.pad_point[finger, i, 1], fields.pad_point[finger, i, 2]
        distance = sdf(solid.values, solid.origin, solid.spacing, place(object_T_tip, x, y, z))
        if distance < gap:
            gap, nearest = distance, i
    return gap, nearest


@njit(cache=True)
def _read_contact(
    hand: FingeredHand,
    solid: Solid,
    object_T_palm: NDArray[np.float64],
    finger: int,
    least_cosine: float,
    q: NDArray[np.float64],
    contact: NDArray[np.float64],
    inward: NDArray[np.float64],
) -> bool:
    """Contact and inward normal of a tip that touches; whether the tip's own normal agrees."""
    count = len(q)
    palm_T_tip, object_T_tip = np.empty((3, 4)), np.empty((3, 4))
    tip_pose(hand.chains, finger, q, palm_T_tip, np.empty((count, 3)), np.empty((count, 3)))
    compose(object_T_palm, palm_T_tip, object_T_tip)
    fields = hand.fields
    nearest = _pad_gap(fields, finger, solid, object_T_tip)[1]
    local, normal = fields.pad_point[finger, nearest], fields.pad_normal[finger, nearest]
    spot = place(object_T_tip, local[0], local[1], local[2])
    distance, x, y, z = sdf_gradient(solid.values, solid.origin, solid.spacing, spot)
    length = np.sqrt(x * x + y * y + z * z)
    if length < 0.5:  # two sides of a thin wall are equally near
        return False
    inward[0], inward[1], inward[2] = -x / length, -y / length, -z / length
    cosine = 0.0
    for i in range(3):
        contact[i] = spot[i] + distance * inward[i]
        along = object_T_tip[i, 0] * normal[0] + object_T_tip[i, 1] * normal[1] + object_T_tip[i, 2] * normal[2]
        cosine += inward[i] * along
    return cosine > least_cosine


@njit(cache=True)
def finger_clear(
    hand: FingeredHand,
    solid: Solid,
    object_T_palm: NDArray[np.float64],
    finger: int,
    q: NDArray[np.float64],
    poses: NDArray[np.float64],
    at_tip: float,
    elsewhere: float,
) -> bool:
    """Whether the links of a finger keep their distance from the object.

    Args:
        q: Joints of the hand (D,).
        poses: Scratch (L, 3, 4).
        at_tip, elsewhere: Least distance of the tip's link and of the finger's others [m].
    """
    arrays = hand.arrays
    object_T_link = np.empty((3, 4))
    link_poses(arrays, q, poses)
    for link in range(len(arrays.parent)):
        of_finger = False
        for k in range(hand.chains.length[finger]):
            of_finger |= arrays.carries[link, hand.chains.columns[finger, k]]
        if of_finger:
            least = at_tip if link == hand.links[finger] else elsewhere
            compose(object_T_palm, poses[link], object_T_link)
            if link_distance(arrays, link, object_T_link, solid.values, solid.origin, solid.spacing, least)[0] < least:
                return False
    return True


@njit(cache=True)
def withdraw(
    hand: FingeredHand,
    object_T_palm: NDArray[np.float64],
    finger: int,
    contact: NDArray[np.float64],
    inward: NDArray[np.float64],
    distance: float,
    q: NDArray[np.float64],
    opened: NDArray[np.float64],
) -> None:
    """Joints that move a contact's place on the tip back along the surface's normal, as far as they allow.

    Args:
        contact, inward: (3,), object frame.
        distance: How far [m].
        q: Joints of the finger in contact (m,).
        opened: Result (m,).
    """
    count = len(q)
    palm_T_tip, axes, centres = np.empty((3, 4)), np.empty((count, 3)), np.empty((count, 3))
    target, direction, local, normal = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    into_palm(object_T_palm, contact, inward, target, direction)
    tip_pose(hand.chains, finger, q, palm_T_tip, axes, centres)
    for i in range(3):
        local[i] = normal[i] = 0.0
        for j in range(3):
            local[i] += palm_T_tip[j, i] * (target[j] - palm_T_tip[j, 3])
            normal[i] += palm_T_tip[j, i] * direction[j]
    for i in range(3):
        target[i] -= distance * direction[i]
    opened[:] = q
    reach(hand.chains, finger, local, normal, target, direction, _ITERATIONS, 1e-3, opened)


@njit(cache=True)
def press(
    hand: FingeredHand,
    object_T_palm: NDArray[np.float64],
    finger: int,
    contact: NDArray[np.float64],
    inward: NDArray[np.float64],
    angle: float,
    q: NDArray[np.float64],
) -> None:
    """Move the joint of a finger that drives the contact inward the most; the others hold.

    Moved by the Jacobian's transpose, all joints would be at their torque limits, which leaves the tip free to be
    pushed aside: with one joint pressing, 65 % of grasps on thin and round objects held in place of 53 %.

    Args:
        contact, inward: (3,), object frame.
        angle: How far the joint is moved [rad].
        q: Joints of the hand in contact (D,), changed in place.
    """
    columns = hand.chains.columns[finger, : hand.chains.length[finger]]
    count = len(columns)
    palm_T_tip, axes, centres = np.empty((3, 4)), np.empty((count, 3)), np.empty((count, 3))
    point, direction, jacobian = np.empty(3), np.empty(3), np.empty((3, count))
    into_palm(object_T_palm, contact, inward, point, direction)
    tip_pose(hand.chains, finger, q[columns], palm_T_tip, axes, centres)
    point_jacobian(hand.chains, finger, axes, centres, point, jacobian)
    best, most = 0, 0.0
    for k in range(count):
        drive = jacobian[0, k] * direction[0] + jacobian[1, k] * direction[1] + jacobian[2, k] * direction[2]
        if abs(drive) > abs(most):
            best, most = columns[k], drive
    moved = q[best] + np.sign(most) * angle
    q[best] = min(max(moved, hand.arrays.lower[best]), hand.arrays.upper[best])
