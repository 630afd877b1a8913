"""Grasps that a trained object-level network proposes, brought into contact as the optimisers' are.

The network's grasps lie a few millimetres off the surface or in it. Fingertips that are near enough are taken to hold
the object; least squares bring them onto it and other links out of it, which all near links could seldom be brought to
at once; forces tell the squeeze, and what cannot hold is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from dexgrasp_common.parameters import param
from dexgrasp_planner.object_level.object_generator import ObjectGraspGenerator
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.synthesis.candidate_making import CandidateMaker
from dexgrasp_training.synthesis.descent import State, objects_of
from dexgrasp_training.synthesis.finishing import FinishConfig
from dexgrasp_training.synthesis.hand_arrays import HandArrays, hand_arrays
from dexgrasp_training.synthesis.kernels import compose, link_poses
from dexgrasp_training.synthesis.method import GENERATED, Candidates
from dexgrasp_training.synthesis.moving_hand import MovingHand


@dataclass(frozen=True)
class GeneratedConfig:
    """From a network's grasps to candidates."""

    near: float = param(0.01, "fingertips this near to the surface, or so deep in it, hold [m]", range=(0.0, 0.1))
    object_penetration: float = param(0.001, "of the object into the hand, at most [m]", range=(0.0, 0.1))
    finish: FinishConfig = FinishConfig()


class Generated:
    """Makes candidates of a network's grasps.

    Args:
        hand: The hand.
        generator: The network and how it samples.
        config: None: the defaults.
    """

    def __init__(self, hand: HandModel, generator: ObjectGraspGenerator, config: GeneratedConfig | None = None) -> None:
        self._hand, self._generator, self._config = hand, generator, config or GeneratedConfig()
        self._moving = MovingHand(hand)
        self._maker = CandidateMaker(GENERATED, self._moving, self._config.finish)
        tips = {tip.link for tip in hand.fingertips}
        self._tips = torch.tensor([link in tips for link in hand.links])

    def generate(self, asset: ObjectAsset, attempts: int, seed: int) -> Candidates:
        """So many samples on an object, those of them that can hold it; the same arguments give the same candidates."""
        drawn = self._generator.sample(asset.points, asset.normals, attempts, seed)
        moving = self._moving
        with torch.no_grad():
            palm = moving.tensor(drawn.world_T_palm[:, :3].transpose(1, 2, 0))
            state = State(palm, moving.tensor(drawn.grasp.T), torch.zeros(1, attempts, dtype=torch.int64))
            objects = objects_of(moving, [asset], np.zeros(attempts, dtype=np.int64))
            distance = self._maker.finishing.touch(moving.links(palm, state.q), objects).distance
            holds = (distance.abs() < self._config.near) & self._tips[:, None]
            holding = torch.where(holds, torch.arange(len(holds))[:, None], -1)
            found, _ = self._maker.finished(state, moving.tensor(drawn.pregrasp.T), objects, holding)
        found = self._maker.checked(found, asset)
        depth = depth_in_hand(
            hand_arrays(self._hand), found.object_T_palm, found.grasp, asset.points.astype(np.float64)
        )
        return replace(found[depth < self._config.object_penetration], attempts=attempts)


@njit(cache=True)
def depth_in_hand(
    hand: HandArrays, object_T_palm: NDArray[np.float64], q: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How deep points of the object (M, 3) lie in the hand's solids for palms (N, 4, 4) and postures (N, D): (N,) [m].

    0 where none does.
    """
    result = np.zeros(len(q))
    poses, solid = np.empty((len(hand.parent), 3, 4)), np.empty((3, 4))
    local, at = np.empty((len(points), 3)), np.empty(3)
    for row in range(len(q)):
        link_poses(hand, q[row], poses)
        palm = object_T_palm[row]
        for point in range(len(points)):
            _inverse_place(palm, points[point], local[point])
        for link in range(len(hand.parent)):
            for number in range(hand.solid_start[link], hand.solid_start[link + 1]):
                compose(poses[link], hand.solid_pose[number], solid)
                half, radius, reach = hand.solid_half[number], hand.solid_round[number], hand.solid_ball[number]
                for point in range(len(points)):
                    away = 0.0
                    for i in range(3):
                        away += (local[point, i] - solid[i, 3]) ** 2
                    if away > reach * reach:
                        continue
                    _inverse_place(solid, local[point], at)
                    outside, inside = 0.0, np.inf
                    for i in range(3):
                        beyond = abs(at[i]) - half[i]
                        outside += max(beyond, 0.0) ** 2
                        inside = min(inside, -beyond)
                    depth = radius - np.sqrt(outside) + max(inside, 0.0)
                    result[row] = max(result[row], depth)
    return result


@njit(cache=True)
def _inverse_place(pose: NDArray[np.float64], point: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write a point, given in the frame that a pose (3, 4) or (4, 4) is given in, in the pose's own frame to `out`."""
    for i in range(3):
        out[i] = 0.0
        for k in range(3):
            out[i] += pose[k, i] * (point[k] - pose[k, 3])
