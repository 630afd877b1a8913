"""Power grasps: the palm is placed against the object and the fingers close on its distance grid.

Every attempt is a motion that a hand could make: the open hand approaches along the palm's direction without touching
the object, then the fingers flex at random speeds until they touch it, and the posture before is the pregrasp. What is
left is filtered by force closure: the contacts must balance a pull in each of six directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from dexgrasp_common.parameters import param
from dexgrasp_planner.opposition import holding_residual
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.synthesis.closing_motion import (
    CONTACTS,
    Field,
    advance,
    close_fingers,
    find_contacts,
    hand_distances,
    pressing,
)
from dexgrasp_training.synthesis.fingers import Fingers, find_fingers, find_grips
from dexgrasp_training.synthesis.hand_arrays import HandArrays, hand_arrays
from dexgrasp_training.synthesis.kernels import link_poses, self_collides
from dexgrasp_training.synthesis.method import Candidates
from dexgrasp_training.synthesis.palm_poses import Starts, palm_starts
from dexgrasp_training.synthesis.resting import DRAWS, Resting

_OPPOSED = -0.8  # cosine between the two contact forces that oppose each other most, at most
_DEEPEST = 8e-4  # overlap with the object at most [m]
_OPENINGS = (0.6, 0.4, 0.2, 0.0, -0.25, -0.5)  # of a pregrasp: share of the way to the grasp; < 0: to fully open
_ROOM = 0.01  # that a pregrasp should leave between fingers and object [m]
_GAIN = 1e-3  # in room for which a hand is opened wider [m]
_RETREAT, _RETREATS = 0.02, 6  # where that is looked at: that far apart along the way back [m], so often


@dataclass(frozen=True)
class ClosingConfig:
    """How power grasps are made."""

    residual: float = param(0.4, "mean part of a pull that the contacts leave unbalanced, at most", range=(0.0, 1.0))
    friction: float = param(0.2, "coefficient of friction of the force-closure test", range=(0.0, 2.0))
    straddle: float = param(
        0.75, "share of attempts that put the object's sides between thumb and fingers; the others face its surface",
        range=(0.0, 1.0),
    )  # fmt: skip
    close: float = param(0.7, "share of attempts whose palm goes as far as it can", range=(0.0, 1.0))
    furthest: float = param(0.05, "room left before the palm in the other attempts, at most [m]", range=(0.0, 0.2))
    squeeze: float = param(0.02, "motion of pressing joints beyond contact [rad or m]", range=(0.0, 0.2))
    opposing_squeeze: float = param(0.05, "the same of the opposing finger [rad or m]", range=(0.0, 0.2))


class _Closed(NamedTuple):
    """What attempts came to; rows of those that touch the object from opposing sides."""

    kept: NDArray[np.bool_]
    object_T_palm: NDArray[np.float64]
    grasp: NDArray[np.float64]
    pressing: NDArray[np.float64]
    points: NDArray[np.float64]
    forces: NDArray[np.float64]
    touching: NDArray[np.int64]


class Closing:
    """The method `closing`."""

    def __init__(self, hand: HandModel, config: ClosingConfig | None = None) -> None:
        """Make the hand's tables.

        Raises:
            SynthesisError: The hand has no fingers that oppose each other.
        """
        self._hand = hand
        self._config = config or ClosingConfig()
        self._arrays, self._fingers, self._grips = hand_arrays(hand), find_fingers(hand), find_grips(hand)

    def generate(self, asset: ObjectAsset, attempts: int, seed: int, resting: Resting | None = None) -> Candidates:
        """See `GraspMethod.generate`."""
        config, hand = self._config, self._hand
        rng = np.random.default_rng(seed)
        drawn = DRAWS * attempts if resting else attempts
        starts = palm_starts(hand, self._fingers, self._grips, asset, drawn, config.straddle, rng)
        if resting:
            rows = resting.preferred(starts.ends(), attempts, rng)
            starts = Starts(*(array[rows] for array in starts))
        close = rng.random(attempts) < config.close
        gap = np.where(close, 1e-3, rng.uniform(1e-3, config.furthest, attempts))
        starts.room[close] += 0.08
        field = Field(asset.field.values, asset.field.origin, asset.field.spacing)
        closed = _attempt(
            self._arrays, self._fingers, starts.object_T_palm, starts.approach, starts.room, gap,
            starts.posture, self._speeds(attempts, rng), field,
        )  # fmt: skip
        rows = np.flatnonzero(closed.kept)
        active = torch.as_tensor(np.arange(CONTACTS) < closed.touching[rows][:, None])
        residual = holding_residual(
            torch.as_tensor(closed.points[rows]), torch.as_tensor(closed.forces[rows]), active,
            torch.zeros(len(rows), 3, dtype=torch.float64), config.friction,
        ).numpy()  # fmt: skip
        holds = residual < config.residual
        rows, quality = rows[holds], 1.0 - residual[holds]
        contacts = np.where(
            np.arange(CONTACTS)[:, None] < closed.touching[rows][:, None, None], closed.points[rows], np.nan
        )
        object_T_palm, grasp = closed.object_T_palm[rows], closed.grasp[rows]
        return Candidates(
            hand=hand.name,
            method="closing",
            attempts=attempts,
            object_T_palm=object_T_palm,
            pregrasp=_pregrasps(
                self._arrays, self._fingers, object_T_palm, starts.approach[rows], starts.posture[rows], grasp, field
            ),
            grasp=grasp,
            squeeze=self._squeezed(grasp, closed.pressing[rows]),
            contacts=contacts,
            quality=quality,
        )

    def _speeds(self, attempts: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Signed speeds (attempts, D) of the joints that flex, in ratios of 0.2 to 1; 0 for those that only place."""
        return rng.uniform(0.2, 1.0, (attempts, len(self._fingers.flexion))) * self._fingers.flexion

    def _squeezed(self, grasp: NDArray[np.float64], press: NDArray[np.float64]) -> NDArray[np.float64]:
        """Joints (N, D) a little into the object."""
        config, fingers = self._config, self._fingers
        amount = np.full(len(fingers.flexion), config.squeeze)
        amount[self._arrays.carries[fingers.tips[fingers.opposing]]] = config.opposing_squeeze
        moves = np.where(np.abs(press) > 5e-3, np.sign(press), 0.0) * (fingers.flexion != 0.0)
        return np.clip(grasp + amount * moves, self._hand.lower, self._hand.upper)


@njit(cache=True)
def _attempt(
    hand: HandArrays,
    fingers: Fingers,
    object_T_palm: NDArray[np.float64],
    approach: NDArray[np.float64],
    room: NDArray[np.float64],
    gap: NDArray[np.float64],
    posture: NDArray[np.float64],
    speed: NDArray[np.float64],
    field: Field,
) -> _Closed:
    count, joints, links = len(posture), posture.shape[1], len(hand.parent)
    result = _Closed(
        np.zeros(count, dtype=np.bool_),
        object_T_palm.copy(),
        posture.copy(),
        np.zeros((count, joints)),
        np.zeros((count, CONTACTS, 3)),
        np.zeros((count, CONTACTS, 3)),
        np.zeros(count, dtype=np.int64),
    )
    poses = np.empty((links, 3, 4))
    touches = np.zeros(links, dtype=np.bool_)
    travel = np.zeros(len(fingers.tips))
    where = np.zeros(CONTACTS, dtype=np.int64)
    nearest = np.zeros(links)
    for row in range(count):
        palm, q = result.object_T_palm[row], result.grasp[row]
        link_poses(hand, q, poses)
        if self_collides(hand, poses, 1e-3):
            continue
        if not advance(hand, fingers, palm, approach[row], room[row], gap[row], poses, field):
            continue
        touches[:] = False
        travel[:] = 0.0
        if not close_fingers(hand, fingers, palm, q, speed[row], poses, field, touches, travel):
            continue
        if not _relax(hand, fingers, posture[row], q, speed[row], poses, palm, field, touches, travel):
            continue
        points, forces = result.points[row], result.forces[row]
        found = find_contacts(hand, fingers, palm, poses, field, points, forces, where, nearest)
        if nearest.min() < -_DEEPEST or not _opposed(forces, found):
            continue
        pressing(hand, palm, poses, points, forces, where, found, result.pressing[row])
        result.touching[row] = found
        result.kept[row] = True
    return result


@njit(cache=True)
def _relax(
    hand: HandArrays,
    fingers: Fingers,
    start: NDArray[np.float64],
    q: NDArray[np.float64],
    speed: NDArray[np.float64],
    poses: NDArray[np.float64],
    object_T_palm: NDArray[np.float64],
    field: Field,
    touches: NDArray[np.bool_],
    travel: NDArray[np.float64],
) -> bool:
    """Fingers that touch nothing go as far as those that do, in place of curling up; False: nothing can be touched."""
    longest = 0.0
    for link in range(len(hand.parent)):
        if touches[link]:
            longest = max(longest, travel[fingers.of_link[link]])
    if longest == 0.0:
        return False
    for finger in range(len(fingers.tips)):
        idle = True
        for link in range(len(hand.parent)):
            if touches[link] and fingers.of_link[link] == finger:
                idle = False
        if idle and travel[finger] > longest:
            for joint in range(len(q)):
                if hand.carries[fingers.tips[finger], joint]:
                    q[joint] = min(max(start[joint] + speed[joint] * longest, hand.lower[joint]), hand.upper[joint])
    link_poses(hand, q, poses)
    return not self_collides(hand, poses, 0.0)


@njit(cache=True)
def _opposed(forces: NDArray[np.float64], count: int) -> bool:
    for i in range(count):
        for j in range(i):
            if forces[i, 0] * forces[j, 0] + forces[i, 1] * forces[j, 1] + forces[i, 2] * forces[j, 2] < _OPPOSED:
                return True
    return False


@njit(cache=True)
def _pregrasps(
    hand: HandArrays,
    fingers: Fingers,
    object_T_palm: NDArray[np.float64],
    approach: NDArray[np.float64],
    start: NDArray[np.float64],
    grasp: NDArray[np.float64],
    field: Field,
) -> NDArray[np.float64]:
    """For each of N grasps the least open posture (N, D) in which the hand comes and goes with room to spare.

    Tried are postures between the start, which is known to be clear, and the grasp, then some more open than the start.
    Where none has the room, it is the one that has most.
    """
    result = start.copy()
    poses = np.empty((len(hand.parent), 3, 4))
    back = np.empty((4, 4))
    q = np.empty(start.shape[1])
    for row in range(len(start)):
        most = 0.0
        for share in _OPENINGS:
            end = grasp[row] if share > 0.0 else fingers.opened
            for joint in range(len(q)):
                moves = share > 0.0 or fingers.flexion[joint] != 0.0
                q[joint] = start[row, joint] + (abs(share) * (end[joint] - start[row, joint]) if moves else 0.0)
            link_poses(hand, q, poses)
            if self_collides(hand, poses, 1e-3):
                continue
            back[:] = object_T_palm[row]
            room = _ROOM
            for _ in range(_RETREATS):
                room = min(room, hand_distances(hand, fingers, back, poses, field, _ROOM)[1])
                if room <= most:
                    break
                for i in range(3):
                    back[i, 3] -= _RETREAT * approach[row, i]
            if room > most + _GAIN:
                most = room
                result[row] = q
            if most >= _ROOM:
                break
    return result
