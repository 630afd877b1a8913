"""From what a network samples to grasps that a robot can execute: clear, closed on what was seen, guided, judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from dexgrasp_common.parameters import param
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_planner.guidance import REFINE, SAMPLER, TWICE, UNGUIDED
from dexgrasp_planner.hand_clearance import ClearanceConfig, HandClearance
from dexgrasp_planner.holding import FEATURES, GraspFeatures
from dexgrasp_planner.postures import PostureRules
from dexgrasp_planner.pressing import Pressing
from dexgrasp_planner.refinement import RefinementConfig, Refiner
from dexgrasp_planner.scene_field import SceneField
from dexgrasp_planner.selection import distinct
from dexgrasp_planner.success import SuccessModel

# What the hand does at a grasp: what was sampled, as the benchmark executes it; it closes its fingers on what was seen;
# or it presses what it then touches, where such a squeeze is likelier to lift. The last is for stiff drives such as the
# tester's: from soft ones objects slip. Where the palm is put is another thing, see `guidance.GUIDANCES`.
SAMPLED, CLOSED, PRESSED = FINISHES = ("sampled", "closed", "pressed")


@dataclass(frozen=True)
class FinishConfig:
    """How grasps are finished."""

    guided: int = param(64, "best grasps that physics moves", range=(1, 65536))
    copies: int = param(
        4, "varied copies of each refined grasp that compete where the chance of a lift is told", range=(0, 100)
    )
    vary_position: float = param(0.006, "standard deviation of a copy's palm along each axis [m]", range=(0.0, 0.1))
    vary_turn: float = param(0.12, "standard deviation of its turn about each axis [rad]", range=(0.0, 1.0))
    apart: float = param(0.02, "two grasps nearer than this are one, see `selection.distinct` [m]", range=(0.0, 1.0))
    clearance: ClearanceConfig = field(default_factory=ClearanceConfig)
    refinement: RefinementConfig = field(default_factory=RefinementConfig)


class Finished(NamedTuple):
    """Grasps that can be executed, and the rows of those that they came from."""

    rows: NDArray[np.intp]
    grasps: GraspSet


class Plan(NamedTuple):
    """What is done to executable grasps.

    Attributes:
        finish: One of `FINISHES`.
        guidance: One of `GUIDANCES`.
        judged: Whether scores become the chance of a lift, as a logit; they then decide what is kept, too.
    """

    finish: str
    guidance: str
    judged: bool


class Finishing:
    """See the module; for one hand, made once.

    Args:
        hand: The hand.
        config: None: the defaults.
        success: Tells the chance of a lift; None: scores stay what they are.
    """

    def __init__(
        self, hand: HandModel, config: FinishConfig | None = None, success: SuccessModel | None = None
    ) -> None:
        self.config, self.success = config or FinishConfig(), success
        self._clearance = HandClearance(hand, self.config.clearance)
        self._rules, self._pressing = PostureRules(hand), Pressing(hand)
        self._features = GraspFeatures(hand)
        self._refiner = Refiner(hand, self.config.refinement)

    def executable(self, space: SceneField, grasps: GraspSet, finish: str) -> Finished:
        """Those of the grasps that are clear on the whole way, with squeezes; closed unless they stay as sampled.

        Closed ones must hold something, see `GraspFeatures.closed`.
        """
        closes = finish != SAMPLED
        at_grasp = grasps.pregrasp if closes else grasps.grasp
        clear = self._clearance.approach_is_clear(space, grasps.world_T_palm, grasps.pregrasp, at_grasp)
        rows = np.flatnonzero(clear)
        found = grasps[rows]
        if closes and len(found):
            found, good = self._features.closed(space, found)
            rows, found = rows[good], found[good]
        return Finished(rows, replace(found, squeeze=self._rules.squeezed(found.grasp)))

    def chosen(
        self,
        space: SceneField,
        grasps: GraspSet,
        plan: Plan,
        count: int,
        sampled_again: Callable[[NDArray[np.intp]], Finished],
    ) -> GraspSet:
        """The best of executable grasps, best first, no two of them nearly the same.

        Args:
            space: The scene.
            grasps: From `executable`, with scores.
            plan: What is to be done.
            count: At most so many.
            sampled_again: Rows (M,) of `grasps` to what guided sampling makes of them, and which of the M came through.
        """
        config = self.config
        found = self._squeezed(space, grasps, plan)
        if plan.guidance != UNGUIDED:
            best = distinct(found.world_T_palm, found.score, config.guided, config.apart)
            rest = np.setdiff1d(np.arange(len(found)), best)
            moved = found[best]
            if plan.guidance in (SAMPLER, TWICE):
                rows, again = sampled_again(best)
                there, again = self.executable(space, again, plan.finish)
                moved = self._better(space, moved, Finished(rows[there], again), plan)
            if plan.guidance in (REFINE, TWICE):
                moved = self._better(space, moved, self._refined(space, moved, plan), plan)
            found = GraspSet.concatenate([moved, found[rest]])
        return found[distinct(found.world_T_palm, found.score, count, config.apart)]

    def variants(self, space: SceneField, grasps: GraspSet) -> Iterator[tuple[GraspSet, NDArray[np.float64]]]:
        """The same grasps with the benchmark's squeeze and with one that presses, each with its features (N, F)."""
        features = self._features.of(space, grasps, presses=False)
        yield grasps, features
        pressing = features.copy()
        pressing[:, FEATURES.index("presses")] = 1.0
        yield replace(grasps, squeeze=self._pressing.squeezed(space, grasps.world_T_palm, grasps.grasp)), pressing

    def moved(self, space: SceneField, grasps: GraspSet, finish: str = CLOSED) -> Finished:
        """Those of the grasps that are still executable once they are refined, and closed again."""
        return self.executable(space, self._refiner.refined(space, grasps), finish)

    def _squeezed(self, space: SceneField, grasps: GraspSet, plan: Plan) -> GraspSet:
        """The grasps with the squeeze that suits each, and its score."""
        if not plan.judged:
            return grasps
        scored = (replace(one, score=self._logits(features)) for one, features in self.variants(space, grasps))
        own = next(scored)
        if plan.finish != PRESSED:
            return own
        other = next(scored)
        return GraspSet.concatenate([own, other])[np.arange(len(own)) + len(own) * (other.score > own.score)]

    def _refined(self, space: SceneField, grasps: GraspSet, plan: Plan) -> Finished:
        """What physics makes of the grasps where that can be executed, and varied copies if something judges them."""
        rows, moved = self.moved(space, grasps, plan.finish)
        if not plan.judged:
            return Finished(rows, moved)
        again, copies = self.executable(space, self._varied(grasps), plan.finish)
        every = np.concatenate([rows, again % max(1, len(grasps))])
        return Finished(every, GraspSet.concatenate([moved, copies]))

    def _better(self, space: SceneField, grasps: GraspSet, others: Finished, plan: Plan) -> GraspSet:
        """Each of the grasps, or what became of it: the likeliest of all that did, or the one if nothing tells."""
        if not plan.judged:
            which = np.arange(len(grasps))
            which[others.rows] = len(grasps) + np.arange(len(others.rows))
            return GraspSet.concatenate([grasps, others.grasps])[which]
        every = GraspSet.concatenate([grasps, self._squeezed(space, others.grasps, plan)])
        origin = np.concatenate([np.arange(len(grasps)), others.rows])
        order = np.lexsort((-every.score, origin))
        return every[order[np.unique(origin[order], return_index=True)[1]]]

    def _varied(self, grasps: GraspSet) -> GraspSet:
        """Copies of the grasps, all of the first round before the second, palms moved and turned a little."""
        config, rng = self.config, np.random.default_rng(0)  # the same for the same grasps
        copies = grasps[np.tile(np.arange(len(grasps)), config.copies)]
        palms = copies.world_T_palm.copy()
        palms[:, :3, 3] += rng.normal(scale=config.vary_position, size=(len(copies), 3))
        turns = Rotation.from_rotvec(rng.normal(scale=config.vary_turn, size=(len(copies), 3))).as_matrix()
        palms[:, :3, :3] = palms[:, :3, :3] @ turns.reshape(-1, 3, 3)
        return replace(copies, world_T_palm=palms)

    def _logits(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        assert self.success is not None
        return self.success.logits(features[:, [FEATURES.index(name) for name in self.success.features]])
