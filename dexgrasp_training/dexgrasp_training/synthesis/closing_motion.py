"""Compiled motions of a hand towards an object: the palm moves in, then the fingers close until they touch."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dexgrasp_training.synthesis.fingers import Fingers
from dexgrasp_training.synthesis.hand_arrays import REVOLUTE, HandArrays
from dexgrasp_training.synthesis.kernels import (
    compose,
    link_distance,
    link_gap,
    link_poses,
    place,
    sdf,
    sdf_bound,
    sdf_gradient,
)

TOUCH = 3e-4  # a moving link this near the surface touches it [m]
CONTACT = 1.2e-3  # a link this near the surface at the end counts as a contact, the palm too [m]
CONTACTS = 8  # of one grasp at most: as many as the force-closure test looks at

_ROUNDS = 120  # of small motions at most
_FAR = 0.02  # distances beyond this are not told apart while the fingers close [m]
_STRIDE = 0.1  # a finger's largest motion in one round [rad or m], at full speed
_SELF = 1e-3  # room that is left between links [m]
_ADVANCES = 60  # of the palm at most
_CLEAR = 2e-3  # fingers come no nearer than this while the palm moves in [m]
_SIDLE = 4e-3  # the palm's motion while fingers are nearer than this [m]
_AWAY = 0.05  # distances beyond this are not told apart while the palm moves in [m]
_CLEAR_NORMAL = 0.3  # the distance's gradient is shorter in the middle of thin walls and in corners
_PATCH = 8e-3  # two contacts of one link are at least so far apart [m]


class Field(NamedTuple):
    """A distance grid, see `DistanceGrid`."""

    values: NDArray[np.float32]
    origin: NDArray[np.float64]
    spacing: float


@njit(cache=True)
def distance_of(
    hand: HandArrays,
    link: int,
    object_T_palm: NDArray[np.float64],
    poses: NDArray[np.float64],
    field: Field,
    cap: float,
) -> tuple[float, int]:
    """`link_distance` of a link posed in the palm frame."""
    object_T_link = np.empty((3, 4))
    compose(object_T_palm, poses[link], object_T_link)
    return link_distance(hand, link, object_T_link, field.values, field.origin, field.spacing, cap)


@njit(cache=True)
def hand_distances(
    hand: HandArrays,
    fingers: Fingers,
    object_T_palm: NDArray[np.float64],
    poses: NDArray[np.float64],
    field: Field,
    cap: float,
) -> tuple[float, float]:
    """Distance of the palm and of the nearest finger [m], each no more than `cap`."""
    palm = moving = cap
    for link in range(len(hand.parent)):
        if fingers.of_link[link] < 0:
            palm = distance_of(hand, link, object_T_palm, poses, field, palm)[0]
        else:
            moving = distance_of(hand, link, object_T_palm, poses, field, moving)[0]
    return palm, moving


@njit(cache=True)
def advance(
    hand: HandArrays,
    fingers: Fingers,
    object_T_palm: NDArray[np.float64],
    approach: NDArray[np.float64],
    room: float,
    gap: float,
    poses: NDArray[np.float64],
    field: Field,
) -> bool:
    """Move the palm along a direction until it is `gap` from the object or has gone `room`.

    Args:
        object_T_palm: array (4, 4), changed in place.
        approach: array (3,), unit, object frame.
        poses: array (L, 3, 4), of the links, palm frame.

    Returns:
        Whether no finger came near the object on the way.
    """
    distance = np.zeros(len(hand.parent))
    for _ in range(_ADVANCES):
        step = room
        for link in range(len(hand.parent)):
            finger = fingers.of_link[link] >= 0
            if distance[link] < (step + _CLEAR if finger else step + gap):
                distance[link] = distance_of(hand, link, object_T_palm, poses, field, _AWAY)[0]
            if finger:
                if distance[link] < _CLEAR:
                    return False
                step = min(step, max(distance[link] - _CLEAR, _SIDLE))
            else:
                if distance[link] < 0.0:
                    return False
                step = min(step, max(distance[link] - gap, 0.0))
        if step < 1e-4:
            return True
        room -= step
        distance -= step
        for i in range(3):
            object_T_palm[i, 3] += step * approach[i]
    return False


@njit(cache=True)
def close_fingers(
    hand: HandArrays,
    fingers: Fingers,
    object_T_palm: NDArray[np.float64],
    q: NDArray[np.float64],
    speed: NDArray[np.float64],
    poses: NDArray[np.float64],
    field: Field,
    touches: NDArray[np.bool_],
    travel: NDArray[np.float64],
) -> bool:
    """Flex every finger at its own speeds until its links touch, a limit stops it, or it would touch another finger.

    A link that touches holds the joints that carry it; the joints beyond go on. Each round moves a finger no further
    than its nearest link is away from the object, so that nothing is passed through.

    Args:
        q: array (D,), start; the end is written to it.
        speed: array (D,), signed; 0: the joint stays.
        poses: array (L, 3, 4), of the links at `q`, palm frame; kept up to date.
        touches: array (L,), links that touched are set.
        travel: array (F,), how long each finger moved, in units of 1 / speed.

    Returns:
        False if two fingers could not be kept apart.
    """
    links, joints = len(hand.parent), len(q)
    held = speed == 0.0
    done = np.zeros(len(fingers.tips), dtype=np.bool_)
    before = np.empty(joints)
    # What is known of distances are lower bounds: they shrink by as much as links may have moved, and are measured anew
    # only when they matter.
    distance, moved, rate = np.zeros(links), np.zeros(links), np.zeros(links)
    apart = np.full(len(hand.pairs), -1.0)
    for _ in range(_ROUNDS):
        before[:] = q
        moved[:] = 0.0
        for finger in range(len(fingers.tips)):
            if done[finger]:
                continue
            step = _safe_step(hand, fingers, finger, object_T_palm, speed, held, poses, field, distance, touches, rate)
            if step <= 0.0:
                done[finger] = True
                continue
            travel[finger] += step
            for link in range(links):
                if fingers.of_link[link] == finger:
                    moved[link] = rate[link] * step
                    distance[link] -= moved[link]
            for joint in range(joints):
                if hand.carries[fingers.tips[finger], joint] and not held[joint]:
                    q[joint] += speed[joint] * step
                    if q[joint] >= hand.upper[joint] or q[joint] <= hand.lower[joint]:
                        q[joint] = min(max(q[joint], hand.lower[joint]), hand.upper[joint])
                        held[joint] = True
        if not moved.any():
            return True
        link_poses(hand, q, poses)
        if not _keep_apart(hand, fingers, q, before, done, poses, moved, apart):
            return False
    return True


@njit(cache=True)
def _safe_step(
    hand: HandArrays,
    fingers: Fingers,
    finger: int,
    object_T_palm: NDArray[np.float64],
    speed: NDArray[np.float64],
    held: NDArray[np.bool_],
    poses: NDArray[np.float64],
    field: Field,
    distance: NDArray[np.float64],
    touches: NDArray[np.bool_],
    rate: NDArray[np.float64],
) -> float:
    """How long a finger may move so that none of its links gets nearer than half of `TOUCH`; 0: it cannot move.

    Links that touch already are marked, and their joints held. `rate` (L,) is written: the most that any point of a
    link moves in unit time.
    """
    measured = np.zeros(len(rate), dtype=np.bool_)
    while True:
        fastest = _rates(hand, fingers, finger, speed, held, poses, rate)
        if fastest == 0.0:
            return 0.0
        step, first = _STRIDE / fastest, -1
        for link in range(len(rate)):
            if fingers.of_link[link] == finger and rate[link] > 0.0 and not touches[link]:
                free = (distance[link] - 0.5 * TOUCH) / rate[link]
                if free < step:
                    step, first = free, link
        if first < 0 or measured[first]:
            return step
        measured[first] = True
        distance[first] = distance_of(hand, first, object_T_palm, poses, field, _FAR)[0]
        if distance[first] < TOUCH:
            touches[first] = True
            held |= hand.carries[first]


@njit(cache=True)
def _rates(
    hand: HandArrays,
    fingers: Fingers,
    finger: int,
    speed: NDArray[np.float64],
    held: NDArray[np.bool_],
    poses: NDArray[np.float64],
    rate: NDArray[np.float64],
) -> float:
    """Write the most that any point of each link of a finger moves in unit time; returns its fastest joint's speed."""
    fastest = 0.0
    for link in range(len(rate)):
        if fingers.of_link[link] != finger:
            continue
        rate[link] = 0.0
        ball = hand.ball[link]
        x, y, z = place(poses[link], ball[0], ball[1], ball[2])
        carrier = link
        while carrier >= 0:
            joint = hand.column[carrier]
            if joint >= 0 and not held[joint]:
                fastest = max(fastest, abs(speed[joint]))
                arm = 1.0
                if hand.kind[carrier] == REVOLUTE:
                    pose = poses[carrier]
                    arm = math.sqrt((x - pose[0, 3]) ** 2 + (y - pose[1, 3]) ** 2 + (z - pose[2, 3]) ** 2) + ball[3]
                rate[link] += abs(speed[joint]) * arm
            carrier = hand.parent[carrier]
    return fastest


@njit(cache=True)
def _keep_apart(
    hand: HandArrays,
    fingers: Fingers,
    q: NDArray[np.float64],
    before: NDArray[np.float64],
    done: NDArray[np.bool_],
    poses: NDArray[np.float64],
    moved: NDArray[np.float64],
    apart: NDArray[np.float64],
) -> bool:
    """Take back the last motion of fingers that met another finger or the palm, and stop them there.

    Args:
        moved: array (L,), the most that any point of each link has just moved [m].
        apart: array (M,), lower bounds of the distances of `hand.pairs`, kept up to date [m].
    """
    scratch = np.empty((3, 3, 4))
    for pair in range(len(apart)):
        a, b = hand.pairs[pair]
        apart[pair] -= moved[a] + moved[b]
    pair = 0
    while pair < len(apart):
        a, b = hand.pairs[pair]
        if apart[pair] < _SELF:
            apart[pair] = link_gap(hand, poses, a, b, _SELF, scratch)
        if apart[pair] >= _SELF:
            pair += 1
            continue
        stopped = False
        for finger in (fingers.of_link[a], fingers.of_link[b]):
            if finger >= 0 and not done[finger]:
                done[finger] = stopped = True
                for joint in range(len(q)):
                    if hand.carries[fingers.tips[finger], joint]:
                        q[joint] = before[joint]
        if not stopped:
            return False
        link_poses(hand, q, poses)
        # The way back is a motion, too; what stood the first test has to stand it again.
        for other in range(len(apart)):
            apart[other] -= moved[hand.pairs[other, 0]] + moved[hand.pairs[other, 1]]
        pair = 0
    return True


@njit(cache=True)
def find_contacts(
    hand: HandArrays,
    fingers: Fingers,
    object_T_palm: NDArray[np.float64],
    poses: NDArray[np.float64],
    field: Field,
    points: NDArray[np.float64],
    forces: NDArray[np.float64],
    links: NDArray[np.int64],
    nearest: NDArray[np.float64],
) -> int:
    """Where the hand touches the object: first one place of each link, then a second one of links that lie flat on it.

    Args:
        points: array (CONTACTS, 3), written: places on the object's surface, object frame [m].
        forces: array (CONTACTS, 3), written: unit inward normals.
        links: array (CONTACTS,), written: link of each contact.
        nearest: array (L,), written: distance of each link, no more than `CONTACT` [m].

    Returns:
        Number of contacts.
    """
    object_T_link = np.empty((3, 4))
    found = 0
    for link in range(len(hand.parent) - 1, -1, -1):
        nearest[link], row = distance_of(hand, link, object_T_palm, poses, field, CONTACT)
        if row >= 0 and found < CONTACTS:
            compose(object_T_palm, poses[link], object_T_link)
            if _contact_at(hand.points[row], object_T_link, field, points[found], forces[found]):
                links[found] = link
                found += 1
    for first in range(found):
        if found == CONTACTS:
            break
        link = links[first]
        compose(object_T_palm, poses[link], object_T_link)
        row = _second_place(hand, link, points[first], nearest[link], object_T_link, field)
        if row >= 0 and _contact_at(hand.points[row], object_T_link, field, points[found], forces[found]):
            links[found] = link
            found += 1
    return found


@njit(cache=True)
def _contact_at(
    place_on_link: NDArray[np.float64],
    object_T_link: NDArray[np.float64],
    field: Field,
    point: NDArray[np.float64],
    force: NDArray[np.float64],
) -> bool:
    """Write the place on the object's surface and its inward normal; False where the grid has no clear normal."""
    x, y, z = place(object_T_link, place_on_link[0], place_on_link[1], place_on_link[2])
    d, gx, gy, gz = sdf_gradient(field.values, field.origin, field.spacing, (x, y, z))
    length = math.sqrt(gx * gx + gy * gy + gz * gz)
    if length < _CLEAR_NORMAL:
        return False
    gx, gy, gz = gx / length, gy / length, gz / length
    point[0], point[1], point[2] = x - d * gx, y - d * gy, z - d * gz
    force[0], force[1], force[2] = -gx, -gy, -gz
    return True


@njit(cache=True)
def _second_place(
    hand: HandArrays,
    link: int,
    first: NDArray[np.float64],
    nearest: float,
    object_T_link: NDArray[np.float64],
    field: Field,
) -> int:
    """The surface point of a link farthest from its first contact among those that touch as well; -1: none is far."""
    best, which = _PATCH * _PATCH, -1
    limit = max(nearest + TOUCH, 0.5 * CONTACT)
    for patch in range(hand.patch_start[link], hand.patch_start[link + 1]):
        ball = hand.patch_ball[patch]
        centre = place(object_T_link, ball[0], ball[1], ball[2])
        if sdf_bound(field.values, field.origin, field.spacing, centre) - ball[3] >= limit:
            continue
        for row in range(hand.point_start[patch], hand.point_start[patch + 1]):
            point = hand.points[row]
            x, y, z = place(object_T_link, point[0], point[1], point[2])
            apart = (x - first[0]) ** 2 + (y - first[1]) ** 2 + (z - first[2]) ** 2
            if apart > best and sdf(field.values, field.origin, field.spacing, (x, y, z)) < limit:
                best, which = apart, row
    return which


@njit(cache=True)
def pressing(
    hand: HandArrays,
    object_T_palm: NDArray[np.float64],
    poses: NDArray[np.float64],
    points: NDArray[np.float64],
    forces: NDArray[np.float64],
    links: NDArray[np.int64],
    count: int,
    out: NDArray[np.float64],
) -> None:
    """How each joint moves the contacts it carries into the object: the sum of `force . d point / d q`, to out (D,)."""
    out[:] = 0.0
    for contact in range(count):
        x, y, z = points[contact]
        carrier = links[contact]
        while carrier >= 0:
            joint = hand.column[carrier]
            if joint >= 0:
                pose, axis = poses[carrier], hand.axis[carrier]
                ax, ay, az = _turned(object_T_palm, *_turned(pose, axis[0], axis[1], axis[2]))
                mx, my, mz = ax, ay, az
                if hand.kind[carrier] == REVOLUTE:
                    ox, oy, oz = place(object_T_palm, pose[0, 3], pose[1, 3], pose[2, 3])
                    rx, ry, rz = x - ox, y - oy, z - oz
                    mx, my, mz = ay * rz - az * ry, az * rx - ax * rz, ax * ry - ay * rx
                force = forces[contact]
                out[joint] += force[0] * mx + force[1] * my + force[2] * mz
            carrier = hand.parent[carrier]


@njit(cache=True)
def _turned(pose: NDArray[np.float64], x: float, y: float, z: float) -> tuple[float, float, float]:
    return (
        pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z,
        pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z,
        pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z,
    )
