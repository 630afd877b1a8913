"""Grasps of one wrist pose: contact sets that balance, fingers that can make them, and a hand that clears the rest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dexgrasp_training.synthesis.balance import MOST, balanced_set, contact_wrenches, imbalance, shortfall
from dexgrasp_training.synthesis.fingertip_contacts import (
    TOUCH,
    FingeredHand,
    Solid,
    finger_clear,
    press,
    reached,
    touch,
    withdraw,
)
from dexgrasp_training.synthesis.kernels import (
    clearance,
    first_self_collision,
    link_distance,
    link_poses,
    self_collides,
)

FRICTION = 0.1  # half of what the test has: the rest is for what moves while the fingers press
_LEAST_REACHED = 5  # a finger with no more points than these in reach is not used
_FREE_TRIALS = 8  # postures of the fingers that do not touch
_OPENINGS = 4  # distances at which a pregrasp is tried, from all of it down to 40 %
_ALIKE = 0.15  # two grasps of a wrist pose whose touching joints are all this close are one [rad]


class Rules(NamedTuple):
    """What is tried at each wrist pose, and what is accepted: the fields of the same names in `ContactFieldConfig`."""

    starts: int
    sweeps: int
    variants: int
    two: float
    four: float
    imbalance: float
    shortfall: float
    per_pose: int
    normal_angle: float
    clearance: float
    opening: float
    squeeze: float


class Known(NamedTuple):
    """What has been found out about fingers on surface points at one wrist pose.

    Attributes:
        touches: array (F, N) bool, the finger can touch there; then the others are its joints and the contact.
        joints: array (F, N, m) [rad].
        contact: array (F, N, 3), object frame [m].
        inward: array (F, N, 3), inward normal of the surface, object frame.
    """

    touches: NDArray[np.bool_]
    joints: NDArray[np.float64]
    contact: NDArray[np.float64]
    inward: NDArray[np.float64]


def nothing_known(hand: FingeredHand, points: int) -> Known:
    """Room for what is found out about a hand on so many surface points."""
    fingers, longest = hand.chains.lower.shape
    return Known(
        np.zeros((fingers, points), dtype=np.bool_),
        np.zeros((fingers, points, longest)),
        np.zeros((fingers, points, 3)),
        np.zeros((fingers, points, 3)),
    )


@njit(cache=True)
def grasps_at(
    hand: FingeredHand,
    solid: Solid,
    rules: Rules,
    known: Known,
    object_T_palm: NDArray[np.float64],
    rng: np.random.Generator,
    joints: NDArray[np.float64],
    contacts: NDArray[np.float64],
    quality: NDArray[np.float64],
) -> int:
    """Grasps of one wrist pose.

    A finger that turns out not to reach one of its points is not offered that point again, so that later starts find
    what is left.

    Args:
        hand, solid, rules: Who grasps what, and how.
        known: Scratch.
        object_T_palm: (4, 4).
        rng: Source of all choices.
        joints: Result (N, 3, D): pregrasp, grasp and squeeze in the first rows, N >= `rules.per_pose`.
        contacts: Result (N, 4, 3), object frame, NaN where a grasp has fewer [m].
        quality: Result (N,), see `shortfall`: 1 less that.

    Returns:
        How many there are.
    """
    palm_gap = link_distance(hand.arrays, 0, object_T_palm, solid.values, solid.origin, solid.spacing, rules.clearance)[
        0
    ]
    if palm_gap < rules.clearance:
        return 0
    domains = np.empty((len(hand.links), len(solid.points)), dtype=np.int64)
    sizes = np.zeros(len(hand.links), dtype=np.int64)
    reached(hand.fields, solid, object_T_palm, domains, sizes)
    known.touches[:] = False
    poses = np.empty((len(hand.arrays.parent), 3, 4))
    rows, all_rows, forces = np.empty(MOST, dtype=np.int64), np.arange(MOST), np.empty(MOST)
    points, inward = np.empty((MOST, 3)), np.empty((MOST, 3))
    q = np.empty(len(hand.home))
    found = 0
    for _ in range(rules.starts):
        usable = np.flatnonzero(sizes > _LEAST_REACHED)
        if len(usable) < 2:
            break
        chosen = _some(usable, rules, rng)
        count = len(chosen)
        score = balanced_set(
            solid.points,
            solid.inward,
            solid.wrenches,
            domains,
            sizes,
            chosen,
            solid.step,
            rules.sweeps,
            rules.variants,
            0.5 * rules.imbalance,
            rng,
            rows[:count],
        )
        if score > rules.imbalance:
            continue
        possible = True
        for i in range(count):
            if not _can_touch(hand, solid, rules, known, object_T_palm, chosen[i], rows[i], poses):
                _drop(domains[chosen[i]], sizes, chosen[i], rows[i])
                possible = False
        if not possible:
            continue
        q[:] = hand.home
        for i in range(count):
            points[i], inward[i] = known.contact[chosen[i], rows[i]], known.inward[chosen[i], rows[i]]
            for k in range(hand.chains.length[chosen[i]]):
                q[hand.chains.columns[chosen[i], k]] = known.joints[chosen[i], rows[i], k]
        # The tips touch near the points that were aimed at, so the contacts are judged anew.
        wrenches = contact_wrenches(points[:count], inward[:count])
        if imbalance(wrenches, all_rows[:count], forces[:count]) > rules.imbalance:
            continue
        lacking = shortfall(points[:count], inward[:count], FRICTION)
        if lacking > rules.shortfall or _seen(hand, chosen, q, joints[:found]):
            continue
        if not _free_fingers_clear(hand, solid, rules, object_T_palm, chosen, q, poses, rng):
            continue
        if not _opened(hand, solid, rules, object_T_palm, chosen, points, inward, q, poses, joints[found, 0]):
            continue
        joints[found, 1] = joints[found, 2] = q
        strongest = forces[:count].max()
        for i in range(count):
            angle = rules.squeeze * forces[i] / strongest
            press(hand, object_T_palm, chosen[i], points[i], inward[i], angle, joints[found, 2])
        contacts[found, :count] = points[:count]
        contacts[found, count:] = np.nan
        quality[found] = 1.0 - lacking
        found += 1
        if found == rules.per_pose:
            break
    return found


@njit(cache=True)
def _some(usable: NDArray[np.int64], rules: Rules, rng: np.random.Generator) -> NDArray[np.int64]:
    """Two, three or four of the usable fingers."""
    draw = rng.random()
    count = 2 if draw < rules.two else (4 if draw > 1.0 - rules.four else 3)
    count = min(count, len(usable))
    for i in range(count):
        other = rng.integers(i, len(usable))
        usable[i], usable[other] = usable[other], usable[i]
    return usable[:count]


@njit(cache=True)
def _seen(hand: FingeredHand, chosen: NDArray[np.int64], q: NDArray[np.float64], joints: NDArray[np.float64]) -> bool:
    """Whether one of the grasps before, (N, 3, D), has its touching fingers where this one has them."""
    for i in range(len(joints)):
        alike = True
        for finger in chosen:
            for k in range(hand.chains.length[finger]):
                column = hand.chains.columns[finger, k]
                alike &= abs(joints[i, 1, column] - q[column]) < _ALIKE
        if alike:
            return True
    return False


@njit(cache=True)
def _drop(domain: NDArray[np.int64], sizes: NDArray[np.int64], finger: int, row: int) -> None:
    """Take a point out of a finger's domain."""
    for i in range(sizes[finger]):
        if domain[i] == row:
            sizes[finger] -= 1
            domain[i] = domain[sizes[finger]]
            return


@njit(cache=True)
def _can_touch(
    hand: FingeredHand,
    solid: Solid,
    rules: Rules,
    known: Known,
    object_T_palm: NDArray[np.float64],
    finger: int,
    row: int,
    poses: NDArray[np.float64],
) -> bool:
    """Whether a finger can touch a surface point with nothing but its tip; tried once, then known."""
    if not known.touches[finger, row]:
        columns = hand.chains.columns[finger, : hand.chains.length[finger]]
        own = known.joints[finger, row, : len(columns)]
        contact, inward = known.contact[finger, row], known.inward[finger, row]
        if not touch(hand, solid, object_T_palm, finger, row, np.cos(rules.normal_angle), own, contact, inward):
            return False
        q = hand.home.copy()
        for k in range(len(columns)):
            q[columns[k]] = own[k]
        if not finger_clear(hand, solid, object_T_palm, finger, q, poses, -5.0 * TOUCH, rules.clearance):
            return False
        known.touches[finger, row] = True
    return True


@njit(cache=True)
def _free_fingers_clear(
    hand: FingeredHand,
    solid: Solid,
    rules: Rules,
    object_T_palm: NDArray[np.float64],
    chosen: NDArray[np.int64],
    q: NDArray[np.float64],
    poses: NDArray[np.float64],
    rng: np.random.Generator,
) -> bool:
    """Redraw the fingers that do not touch, ever farther from the resting posture, until the hand is clear.

    Returns:
        Whether they clear the object, and the hand itself. `poses` are then those of `q`.
    """
    fingers = len(hand.links)
    free = np.ones(fingers, dtype=np.bool_)
    free[chosen] = False
    for trial in range(_FREE_TRIALS if len(chosen) < fingers else 1):
        clear = True
        for finger in np.flatnonzero(free):
            if trial > 0:
                for k in range(hand.chains.length[finger]):
                    column = hand.chains.columns[finger, k]
                    drawn = rng.uniform(hand.arrays.lower[column], hand.arrays.upper[column])
                    q[column] = hand.home[column] + trial / (_FREE_TRIALS - 1.0) * (drawn - hand.home[column])
            if not finger_clear(hand, solid, object_T_palm, int(finger), q, poses, rules.clearance, rules.clearance):
                clear = False
                break
        if not clear:
            continue
        link_poses(hand.arrays, q, poses)
        pair = first_self_collision(hand.arrays, poses, 0.0)
        if pair < 0:
            return True
        # Redrawing free fingers does not part touching ones.
        first, second = hand.arrays.pairs[pair]
        redrawn = False
        for finger in np.flatnonzero(free):
            for k in range(hand.chains.length[finger]):
                column = hand.chains.columns[finger, k]
                redrawn |= hand.arrays.carries[first, column] or hand.arrays.carries[second, column]
        if not redrawn:
            return False
    return False


@njit(cache=True)
def _opened(
    hand: FingeredHand,
    solid: Solid,
    rules: Rules,
    object_T_palm: NDArray[np.float64],
    chosen: NDArray[np.int64],
    points: NDArray[np.float64],
    inward: NDArray[np.float64],
    q: NDArray[np.float64],
    poses: NDArray[np.float64],
    opened: NDArray[np.float64],
) -> bool:
    """Withdraw the touching tips against their normals, as far as the hand stays clear; whether it does at all."""
    for trial in range(_OPENINGS):
        opened[:] = q
        for i in range(len(chosen)):
            columns = hand.chains.columns[chosen[i], : hand.chains.length[chosen[i]]]
            own = np.empty(len(columns))
            distance = rules.opening * (1.0 - 0.6 * trial / (_OPENINGS - 1))
            withdraw(hand, object_T_palm, chosen[i], points[i], inward[i], distance, q[columns], own)
            for k in range(len(columns)):
                opened[columns[k]] = own[k]
        link_poses(hand.arrays, opened, poses)
        if clearance(
            hand.arrays, poses, object_T_palm, solid.values, solid.origin, solid.spacing, rules.clearance
        ) >= rules.clearance and not self_collides(hand.arrays, poses, 0.0):
            return True
    return False
