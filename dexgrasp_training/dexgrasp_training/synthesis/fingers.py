"""What the fingers of a hand are, which joints flex them, and where they meet: by rule, from the hand's data."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.errors import SynthesisError
from dexgrasp_training.synthesis.hand_arrays import PRISMATIC, HandArrays, hand_arrays
from dexgrasp_training.synthesis.kernels import link_poses, self_collides

_FLEXES = 0.7  # least cosine between a fingertip's motion and its inner normal for the joint to count as flexing
_DRAWS = 100000  # postures among which grips are looked for
_GRIPS = 1000  # grips kept at most
_SPREAD = 0.15  # of sideways joints of fingers about the resting posture, as a share of half their range
_FACING = 0.5  # least cosine between a gripping fingertip's inner normal and the line across the grip
_NARROWEST, _WIDEST = 0.01, 0.14  # between opposing fingertips of a grip [m]
_MARGIN = 0.002  # between links of a grip [m]


class Fingers(NamedTuple):
    """The fingers of a hand with L links, D joints and F fingertips.

    Attributes:
        tips: array (F,), links of the fingertips.
        of_link: array (L,), finger that owns each link; -1 for the palm.
        flexion: array (D,), +1 or -1: the direction in which a joint closes its finger; 0: it only places the finger.
        opened: array (D,), a flexing joint's limit away from the palm's inside; the resting posture of other joints.
        opposing: The finger that works against the others: a thumb, or either finger of a gripper.
        idle: array (D,) bool, joints that move no fingertip, as those of a wrist behind the palm: they rest.
    """

    tips: NDArray[np.int64]
    of_link: NDArray[np.int64]
    flexion: NDArray[np.float64]
    opened: NDArray[np.float64]
    opposing: int
    idle: NDArray[np.bool_]


class Grips(NamedTuple):
    """Postures in which the opposing finger and the others face each other, free of self-collision, narrow grips first.

    Attributes:
        posture: array (G, D).
        width: array (G,), between the opposing fingertip and the middle of the others [m], ascending.
        middle: array (G, 3), half-way between the opposing fingertip and the middle of the others, palm frame [m].
        across: array (G, 3), unit, from the opposing fingertip to the others.
    """

    posture: NDArray[np.float64]
    width: NDArray[np.float64]
    middle: NDArray[np.float64]
    across: NDArray[np.float64]


@cache
def find_fingers(hand: HandModel) -> Fingers:
    """The fingers of a hand; the same object for the same hand.

    A joint flexes if, in the resting posture, it moves its fingertip along the tip's inner normal. The opposing finger
    is the one whose inner normal points most against those of the others.

    Raises:
        SynthesisError: The hand has fewer than two fingertips, or a finger that no joint flexes.
    """
    if len(hand.fingertips) < 2:
        raise SynthesisError(f"Grasps need a hand with two fingertips or more; {hand.name} has {len(hand.fingertips)}.")
    arrays = hand_arrays(hand)
    poses = np.empty((len(hand.links), 3, 4))
    link_poses(arrays, hand.home, poses)
    of_link = np.full(len(hand.links), -1)
    flexion = np.zeros(len(hand.joint_names))
    tips, inner = [], []
    for finger, tip in enumerate(hand.fingertips):
        link = hand.links.index(tip.link)
        tips.append(link)
        normal = poses[link, :, :3] @ tip.inner_normal
        inner.append(normal)
        centre = poses[link, :, :3] @ tip.centre + poses[link, :, 3]
        while arrays.carries[link].any():
            if of_link[link] < 0:
                of_link[link] = finger
            column = arrays.column[link]
            if column >= 0:
                axis = poses[link, :, :3] @ arrays.axis[link]
                motion = axis if arrays.kind[link] == PRISMATIC else np.cross(axis, centre - poses[link, :, 3])
                along = float(motion @ normal) / max(float(np.linalg.norm(motion)), 1e-9)
                flexion[column] = np.sign(along) if abs(along) > _FLEXES else 0.0
            link = arrays.parent[link]
        if not (arrays.carries[tips[-1]] & (flexion != 0.0)).any():
            raise SynthesisError(f"No joint moves fingertip {tip.name!r} of {hand.name} along its inner normal.")
    directions = np.array(inner)
    against = (directions @ directions.T).sum(axis=1)
    opened = np.where(flexion > 0.0, hand.lower, np.where(flexion < 0.0, hand.upper, hand.home))
    idle = np.logical_not(arrays.carries[tips].any(axis=0))
    return Fingers(np.array(tips), of_link, flexion, opened, int(against.argmin()), idle)


@cache
def find_grips(hand: HandModel) -> Grips:
    """Where and how the fingers of a hand meet; the same object for the same hand.

    Of random postures, those are kept in which the opposing fingertip and two or more of the others (or the only
    other) face each other.

    Raises:
        SynthesisError: There are none.
    """
    fingers, arrays = find_fingers(hand), hand_arrays(hand)
    rng = np.random.default_rng(0)
    postures = _random_postures(hand, fingers, rng)
    local = np.array([[tip.centre, tip.inner_normal] for tip in hand.fingertips])
    centres, normals = np.moveaxis(_tips(arrays, fingers.tips, local, postures), 2, 0)  # (N, F, 3) each
    others = [finger for finger in range(len(fingers.tips)) if finger != fingers.opposing]
    line = centres[:, others] - centres[:, [fingers.opposing]]
    width = np.linalg.norm(line, axis=-1)
    line /= np.maximum(width, 1e-9)[..., None]
    faces = (line * normals[:, [fingers.opposing]]).sum(-1) > _FACING
    faces &= (line * normals[:, others]).sum(-1) < -_FACING
    faces &= (width > _NARROWEST) & (width < _WIDEST)
    kept = []
    frames = np.empty((len(hand.links), 3, 4))
    for row in np.flatnonzero(faces.sum(axis=1) >= min(2, len(others))):
        link_poses(arrays, postures[row], frames)
        if not self_collides(arrays, frames, _MARGIN):
            kept.append(row)
        if len(kept) == _GRIPS:
            break
    if not kept:
        raise SynthesisError(f"No posture of {hand.name} was found in which its fingers face each other.")
    weight = faces[kept] / faces[kept].sum(axis=1, keepdims=True)
    far = np.einsum("nf,nfi->ni", weight, centres[kept][:, others])
    near = centres[kept][:, fingers.opposing]
    across = far - near
    apart = np.linalg.norm(across, axis=1)
    order = np.argsort(apart, kind="stable")
    return Grips(postures[kept][order], apart[order], 0.5 * (near + far)[order], (across / apart[:, None])[order])


def _random_postures(hand: HandModel, fingers: Fingers, rng: np.random.Generator) -> NDArray[np.float64]:
    """Postures (N, D): the opposing finger anywhere, the others flexed alike and spread a little."""
    lower, upper = np.asarray(hand.lower), np.asarray(hand.upper)
    postures = rng.uniform(lower, upper, (_DRAWS, len(lower)))
    carries = hand_arrays(hand).carries[fingers.tips]
    closed = np.where(fingers.flexion > 0.0, upper, lower)
    for finger in range(len(fingers.tips)):
        flexes = carries[finger] & (fingers.flexion != 0.0)
        amount = rng.uniform(0.0, 1.0, (_DRAWS, 1)) ** 1.5 * rng.uniform(0.5, 1.0, (_DRAWS, int(flexes.sum())))
        start = np.asarray(hand.home)[flexes] * 0.5 + 0.5 * fingers.opened[flexes]
        postures[:, flexes] = start + amount * (closed[flexes] - start)
        places = carries[finger] & (fingers.flexion == 0.0)
        if finger != fingers.opposing:
            spread = rng.normal(0.0, _SPREAD, (_DRAWS, int(places.sum()))) * 0.5 * (upper - lower)[places]
            postures[:, places] = np.asarray(hand.home)[places] + spread
    postures[:, fingers.idle] = np.asarray(hand.home)[fingers.idle]
    return np.clip(postures, lower, upper)


@njit(cache=True)
def _tips(
    hand: HandArrays, tips: NDArray[np.int64], local: NDArray[np.float64], postures: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Centres and inner normals of fingertips (N, F, 2, 3), palm frame, from those in their link frames (F, 2, 3)."""
    result = np.empty((len(postures), len(tips), 2, 3))
    poses = np.empty((len(hand.parent), 3, 4))
    for row in range(len(postures)):
        link_poses(hand, postures[row], poses)
        for finger in range(len(tips)):
            pose, place = poses[tips[finger]], local[finger]
            for i in range(3):
                for k in range(2):
                    turned = pose[i, 0] * place[k, 0] + pose[i, 1] * place[k, 1] + pose[i, 2] * place[k, 2]
                    result[row, finger, k, i] = turned + (pose[i, 3] if k == 0 else 0.0)
    return result
