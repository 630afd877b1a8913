"""Poses in contact, however they were found, as candidates: finished, opened, and checked by exact geometry."""

from __future__ import annotations

import numpy as np
import torch
from dexgrasp_planner.postures import PostureRules
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.synthesis.descent import Objects, State
from dexgrasp_training.synthesis.finishing import CONTACTS, FinishConfig, Finished, Finishing
from dexgrasp_training.synthesis.hand_arrays import HandArrays, hand_arrays
from dexgrasp_training.synthesis.kernels import link_poses, penetration, self_collides
from dexgrasp_training.synthesis.method import Candidates
from dexgrasp_training.synthesis.moving_hand import MovingHand


class CandidateMaker:
    """Makes one method's candidates.

    Args:
        method: Its name.
        moving: The hand.
        config: How poses become grasps, and which are kept.

    Attributes:
        finishing: Brings contacts onto the surface and finds forces.
    """

    def __init__(self, method: str, moving: MovingHand, config: FinishConfig) -> None:
        self._method, self._moving, self._config, self._hand = method, moving, config, moving.hand
        self.finishing = Finishing(moving, config)
        self._postures = PostureRules(moving.hand)

    def finished(self, state: State, start: Tensor, objects: Objects, holding: Tensor) -> tuple[Candidates, Tensor]:
        """Those of B poses that can hold their object as candidates, not yet checked, and which of the poses they are.

        Args:
            state: The poses.
            start: tensor (D, B), postures from which they came: open hands.
            objects: One for each.
            holding: tensor (C, B), the links that hold each object; below 0: none.
        """
        finished = self.finishing.finished(state, objects, holding)
        rows = torch.nonzero(finished.good)[:, 0]
        return self._candidates(finished, rows, self._opened(finished.state, start, rows, objects)), rows

    def checked(self, candidates: Candidates, asset: ObjectAsset) -> Candidates:
        """Those that neither penetrate the object nor the hand itself, by exact geometry."""
        field = asset.field
        good = _clear(
            hand_arrays(self._hand),
            candidates.object_T_palm,
            candidates.grasp,
            field.values,
            field.origin,
            field.spacing,
            self._config.penetration,
        )
        return candidates[good]

    def _opened(self, state: State, start: Tensor, rows: Tensor, objects: Objects) -> NDArray[np.float64]:
        """Pregrasps (N, D) of some rows: fingertips drawn back, or the posture before closing where that is clearer."""
        moving = self._moving
        palm = state.object_T_palm[..., rows]
        back = self._postures.opened(state.q[:, rows].T.double().cpu().numpy())
        if not len(rows):
            return back
        field = objects.field.of_rows(rows)
        some = Objects(field, objects.arm[rows])
        options = [moving.tensor(back.T), start[:, rows]]
        room = [self.finishing.touch(moving.links(palm, q), some).distance.amin(0) for q in options]
        chosen = torch.where(room[1] > room[0].clamp(max=0.0), options[1], options[0])
        return chosen.T.double().cpu().numpy()

    def _candidates(self, finished: Finished, rows: Tensor, pregrasp: NDArray[np.float64]) -> Candidates:
        """Some rows as candidates, not yet checked."""

        def numbers(values: Tensor) -> NDArray[np.float64]:
            return np.asarray(values[..., rows].movedim(-1, 0).double().cpu().numpy())

        lower, upper = self._hand.lower, self._hand.upper
        object_T_palm = np.tile(np.eye(4), (len(rows), 1, 1))
        object_T_palm[:, :3] = numbers(finished.state.object_T_palm)
        left, _, right = np.linalg.svd(object_T_palm[:, :3, :3])
        object_T_palm[:, :3, :3] = left @ right  # hundreds of small turns in single precision leave a little scale
        contacts = np.full((len(rows), CONTACTS, 3), np.nan)
        contacts[:, : len(finished.contacts)] = numbers(finished.contacts)
        return Candidates(
            self._hand.name,
            self._method,
            len(rows),
            object_T_palm,
            pregrasp.clip(lower, upper),
            numbers(finished.state.q).clip(lower, upper),
            numbers(finished.squeeze).clip(lower, upper),
            contacts,
            1.0 - numbers(finished.imbalance),
        )


@njit(cache=True)
def _clear(
    hand: HandArrays,
    object_T_palm: NDArray[np.float64],
    q: NDArray[np.float64],
    values: NDArray[np.float32],
    origin: NDArray[np.float64],
    spacing: float,
    deepest: float,
) -> NDArray[np.bool_]:
    """Which postures (N, D) of palms (N, 4, 4) reach at most `deepest` [m] into the object and not into the hand."""
    result = np.empty(len(q), dtype=np.bool_)
    poses = np.empty((len(hand.parent), 3, 4))
    for row in range(len(q)):
        link_poses(hand, q[row], poses)
        result[row] = penetration(hand, poses, object_T_palm[row], values, origin, spacing) < deepest
        result[row] = result[row] and not self_collides(hand, poses, 0.0)
    return result
