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
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_planner.object_level.object_generator import ObjectGraspGenerator
from dexgrasp_planner.physics.hand_solids import HandSolids
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.synthesis.candidate_making import CandidateMaker
from dexgrasp_training.synthesis.descent import State, objects_of
from dexgrasp_training.synthesis.finishing import FinishConfig
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
        self._generator, self._config = generator, config or GeneratedConfig()
        self._moving = MovingHand(hand)
        self._maker = CandidateMaker(GENERATED, self._moving, self._config.finish)
        self._fk = ForwardKinematics(hand, dtype=torch.float32)
        self._solids = HandSolids(hand, self._fk.link_names)
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
        depth = self._depth_in_hand(found, asset.points)
        return replace(found[depth < self._config.object_penetration], attempts=attempts)

    def _depth_in_hand(self, found: Candidates, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """How deep points of the object (M, 3) lie in the hands of N candidates: (N,) [m]."""
        palm, q = (torch.as_tensor(array, dtype=torch.float32) for array in (found.object_T_palm, found.grasp))
        poses = palm[:, None] @ self._fk.stacked_poses(q)
        deepest = self._solids.deepest(poses, torch.as_tensor(points.T[None], dtype=torch.float32))
        return deepest.depth.amax(dim=1).double().numpy()
