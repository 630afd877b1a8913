"""Where a hand starts before it moves towards an object: palm poses and open postures for power grasps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.synthesis.fingers import Fingers, Grips
from dexgrasp_training.synthesis.kernels import sdf

_TILT = 0.2  # between palm and surface, and between grip and surface [rad]
_NEARBY = 0.05  # the object's shape is looked at this far around a place [m]
_LONG = 2.5  # ratio of variances from which a shape is long there: it is grasped across
_END = 0.7  # cosine between surface normal and long axis from which a place is at the end of a long shape
_ACROSS = 0.35  # spread about a right angle to a long shape's axis [rad]
_WIDEST = 0.11  # thickest part of an object that is taken between thumb and fingers [m]
_LEEWAY = 0.02  # between the width of a part and that of a grip [m]
_RAISED = 0.3  # what is gripped lies at most this share of the way from the fingertips towards the palm
_POINTS = 2048  # surface points of the object that are aimed at
_SHAPE = 256  # of these, those by which its shape around a place is judged


class Starts(NamedTuple):
    """N starts.

    Attributes:
        object_T_palm: array (N, 4, 4), clear of the object.
        approach: array (N, 3), unit: where the palm goes, object frame.
        distance: array (N,), to where the palm or the grip meets the place that was aimed at [m].
        room: array (N,), how far it may go [m].
        posture: array (N, D), open, the opposing finger turned to face the others.
    """

    object_T_palm: NDArray[np.float64]
    approach: NDArray[np.float64]
    distance: NDArray[np.float64]
    room: NDArray[np.float64]
    posture: NDArray[np.float64]

    def ends(self) -> NDArray[np.float64]:
        """`object_T_palm` (N, 4, 4) there."""
        result = self.object_T_palm.copy()
        result[:, :3, 3] += self.distance[:, None] * self.approach
        return result


def palm_starts(
    hand: HandModel,
    fingers: Fingers,
    grips: Grips,
    asset: ObjectAsset,
    count: int,
    straddle: float,
    rng: np.random.Generator,
) -> Starts:
    """Starts in two ways.

    - The palm faces a point of the surface.
    - A part of the object that is thin enough comes to lie where thumb and fingers meet, which close along the
      surface's normal there, and the palm comes from any side.

    Where the object is long, palm and fingers come and close across it.

    Args:
        straddle: Share of the second way.
    """
    points, normals = (np.asarray(array, dtype=np.float64) for array in asset.surface(_POINTS))
    at = rng.integers(len(points), size=count)
    place, inward = points[at], -normals[at]
    width = _thickness(place, inward, asset.field.values, asset.field.origin, asset.field.spacing, _WIDEST)
    straddling = (rng.random(count) < straddle) & (width < _WIDEST)
    grip = _grips_of_width(grips, width, rng)
    axis = np.broadcast_to(hand.approach_axis, (count, 3))
    middle, across = grips.middle[grip], grips.across[grip]
    across = _unit(across - (across * axis).sum(1, keepdims=True) * axis)
    # Object frame: the approach, and the line along which the fingers close.
    crossing = _crossing(points[:_SHAPE], place, inward, rng)
    approach = _tilted(np.where(straddling[:, None], crossing, inward), rng)
    line = np.where(straddling[:, None], inward, crossing)
    line = _unit(line - (line * approach).sum(1, keepdims=True) * approach) * rng.choice([-1.0, 1.0], (count, 1))
    palm_frame = np.stack([across, np.cross(axis, across), axis], axis=2)
    object_frame = np.stack([line, np.cross(approach, line), approach], axis=2)
    object_R_palm = object_frame @ palm_frame.transpose(0, 2, 1)
    # What meets: a place of the palm and one of the surface; or a place between palm and grip, and the object's middle.
    inner, _ = hand.contact_points.get(hand.base_link, (grips.middle, None))
    target = inner[rng.integers(len(inner), size=count)]
    raised = middle - (rng.uniform(0.0, _RAISED, count) * (middle * axis).sum(1))[:, None] * axis
    target = np.where(straddling[:, None], raised, target)
    place = np.where(straddling[:, None], place + 0.5 * width[:, None] * inward, place)
    back = 2.0 * float(np.linalg.norm(points, axis=1).max()) + 0.15
    object_T_palm = np.tile(np.eye(4), (count, 1, 1))
    object_T_palm[:, :3, :3] = object_R_palm
    object_T_palm[:, :3, 3] = place - np.einsum("nij,nj->ni", object_R_palm, target) - back * approach
    posture = _open(hand, fingers, grips.posture[grip], rng)
    room = np.where(straddling, back, back + 0.05)
    return Starts(object_T_palm, approach, np.full(count, back), room, posture)


def _grips_of_width(grips: Grips, width: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A grip about as wide as each width (N,)."""
    low, high = (np.searchsorted(grips.width, width + aside) for aside in (-_LEEWAY, _LEEWAY))
    low = np.minimum(low, len(grips.width) - 1 - len(grips.width) // 10)
    high = np.minimum(np.maximum(high, low + 1 + len(grips.width) // 10), len(grips.width))
    return rng.integers(low, high)


@njit(cache=True)
def _thickness(
    place: NDArray[np.float64],
    inward: NDArray[np.float64],
    values: NDArray[np.float32],
    origin: NDArray[np.float64],
    spacing: float,
    most: float,
) -> NDArray[np.float64]:
    """How far it is from surface points (N, 3) along their inward normals to the far side (N,), at most `most` [m]."""
    width = np.full(len(place), most)
    for row in range(len(place)):
        p, n = place[row], inward[row]
        depth = spacing
        while depth < most:
            d = sdf(values, origin, spacing, (p[0] + depth * n[0], p[1] + depth * n[1], p[2] + depth * n[2]))
            if d >= 0.0:
                width[row] = depth
                break
            depth += max(-d, 0.25 * spacing)
    return width


def _open(
    hand: HandModel, fingers: Fingers, grip: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Postures with the sideways joints of the grips and the flexing ones opened, all of a hand alike."""
    amount = rng.uniform(0.0, 0.6, (len(grip), 1))
    flexed = hand.home + amount * (fingers.opened - hand.home)
    return np.where(fingers.flexion != 0.0, flexed, grip)


def _crossing(
    points: NDArray[np.float64], place: NDArray[np.float64], inward: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Unit vectors (N, 3) along the surface at places (N, 3): across the object where it is long, any elsewhere."""
    away = points - place[:, None]
    near = (away * away).sum(-1) < _NEARBY**2
    away -= (away * near[..., None]).sum(1, keepdims=True) / np.maximum(near.sum(1), 1)[:, None, None]
    variance, axes = np.linalg.eigh(np.einsum("npi,np,npj->nij", away, near, away, optimize=True))
    across = _unit(np.cross(inward, axes[:, :, 2]))
    turn = rng.normal(0.0, _ACROSS, (len(place), 1))
    across = (np.cos(turn) * across + np.sin(turn) * np.cross(inward, across)) * rng.choice(
        [-1.0, 1.0], (len(place), 1)
    )
    long = (variance[:, 2] > _LONG * variance[:, 1]) & (np.abs((axes[:, :, 2] * inward).sum(1)) < _END)
    return np.where(long[:, None], across, _aside(inward, rng))


def _aside(direction: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Random unit vectors (N, 3) at right angles to others (N, 3)."""
    drawn = rng.normal(size=direction.shape)
    return _unit(drawn - (drawn * direction).sum(1, keepdims=True) * direction)


def _tilted(direction: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Unit vectors up to `_TILT` from others (N, 3)."""
    angle = rng.uniform(0.0, _TILT, (len(direction), 1))
    return np.cos(angle) * direction + np.sin(angle) * _aside(direction, rng)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
