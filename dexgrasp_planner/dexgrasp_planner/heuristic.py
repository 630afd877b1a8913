"""Enveloping grasps from local geometry: propose palms, close the fingers on the completed cloud, keep what opposes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_planner import closing, opposition
from dexgrasp_planner.generators import (
    Generation,
    NoGraspsError,
    SceneCloud,
    Stage,
    _never_cancelled,
    _no_progress,
)
from dexgrasp_planner.hand_clearance import ClearanceConfig, HandClearance
from dexgrasp_planner.hand_shape import HandPoints
from dexgrasp_planner.postures import PostureRules, approach_directions
from dexgrasp_planner.preshapes import load_preshapes
from dexgrasp_planner.pressing import fingers_of_links
from dexgrasp_planner.proposals import HandCentre, ProposalConfig, Proposals, joined, perturbed, propose
from dexgrasp_planner.scene_field import FieldConfig, SceneField
from dexgrasp_planner.selection import distinct
from dexgrasp_planner.stage_watch import watched


@dataclass(frozen=True)
class HeuristicConfig:
    """Sizes of the search and weights of the score.

    Attributes:
        completion: How the cloud is completed.
        proposals: How palms are proposed.
        clearance: What counts as clear.
        friction: Coefficient that the opposition score assumes.
        parents: Best grasps of the first round that are varied in the second.
        copies: Variations of each.
        filtered: Best grasps that the collision filter looks at.
        apart: Two grasps nearer than this are one, see `selection.distinct` [m].
    """

    completion: FieldConfig = field(default_factory=FieldConfig)
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    clearance: ClearanceConfig = field(default_factory=ClearanceConfig)
    friction: float = 0.25
    parents: int = 150
    copies: int = 5
    filtered: int = 500
    apart: float = 0.020


# The score is about the logit of lifting. Fitted to simulated lifts at friction 0.6 and 0.25 N m a joint (1,180 of 24
# scenes, then 276 of 9 others with the final squeeze), rounded.
WEIGHTS = {
    "residual": -0.3,  # part of the six unit loads that the contacts cannot balance
    "links": 0.3,  # links that touch
    "opposition": 0.3,  # minus the cosine between the thumb's mean normal and the other fingers'
    "upward": 4.5,  # mean vertical part of the normals: contacts below the widest place carry
    "width": -20.0,  # between thumb and fingers [1/m]
    "depth": 20.0,  # of the contacts below the top [1/m]
    "top": 4.5,  # height of the object [1/m]
    "tilt": -0.5,  # squared [1/rad^2]; not fitted: what a robot reaches most easily is straight down
}
_ABOVE_TOP = 0.01  # a contact this much above the patch's top is on something else [m]


@dataclass(frozen=True)
class Scored:
    """Closed grasps with their scores; arrays of equal length N."""

    proposals: Proposals
    grasp: NDArray[np.float64]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, chosen: NDArray) -> Scored:
        return Scored(self.proposals[chosen], self.grasp[chosen], self.score[chosen])


def _nothing() -> None:
    """Nobody wants to stop the search."""


class HeuristicGenerator:
    """The floor that learned generators must beat."""

    def __init__(self, hand: HandModel, config: HeuristicConfig | None = None) -> None:
        self._hand = hand
        self._config = config or HeuristicConfig()
        self._preshapes = load_preshapes(hand)
        self._clearance = HandClearance(hand, self._config.clearance)
        self._contacts = HandPoints(hand, {link: points for link, (points, _) in hand.contact_points.items()})
        self._rules = PostureRules(hand)
        self._centre = HandCentre(hand, self._preshapes, self._clearance.palm_points)
        self._finger_of_link = fingers_of_links(hand, self._contacts)

    def generate(
        self,
        scene: SceneCloud,
        max_grasps: int,
        seed: int,
        progress: Callable[[Stage], None] = _no_progress,
        cancelled: Callable[[], bool] = _never_cancelled,
    ) -> Generation:
        """See `GraspGenerator.generate`."""
        completion, rng = self._config.completion, np.random.default_rng(seed)
        watch = watched(max_grasps, progress, cancelled)
        watch.enter(Stage.PREPARE)
        space = SceneField.seen_from(scene.world_points(), completion, scene.area)
        watch.enter(Stage.GENERATE)
        found = self._searched(space, rng, watch.check)
        watch.enter(Stage.FILTER)
        candidates, found = len(found), self._clear(space, found)
        watch.enter(Stage.RANK)
        grasps = self._best(found, max_grasps)
        watch.finish()
        return Generation(grasps, candidates, watch.milliseconds)

    def grasps(self, space: SceneField, max_grasps: int, rng: np.random.Generator) -> GraspSet:
        """The same grasps for a scene that is completed already.

        Raises:
            NoGraspsError: None was found.
        """
        return self._best(self._clear(space, self._searched(space, rng)), max_grasps)

    def _searched(self, space: SceneField, rng: np.random.Generator, check: Callable[[], None] = _nothing) -> Scored:
        """All that oppose: of palms that are proposed, and of variations of the best; `check` is called in between."""
        config, limits = self._config, (self._hand.lower, self._hand.upper)
        proposals = propose(space.clusters, self._centre, self._preshapes, limits, rng, config.proposals)
        first = self._closed(proposals, space)
        check()
        best = first[_spread_over_targets(first, config.parents)]
        varied = perturbed(best.proposals, config.copies, limits, self._preshapes.jitter, rng)
        found = _both(first, self._closed(varied, space))
        if not len(found):
            raise NoGraspsError("No closing of the fingers opposed thumb and fingers on an object: too large, or flat?")
        return found

    def _clear(self, space: SceneField, found: Scored) -> Scored:
        """The best of them that are clear on the whole way."""
        candidates = len(found)
        found = found[_spread_over_targets(found, self._config.filtered)]
        pregrasp = self._rules.opened(found.grasp)
        clear = self._clearance.approach_is_clear(space, found.proposals.world_T_palm, pregrasp, found.grasp)
        if not clear.any():
            raise NoGraspsError(f"All {candidates} grasps would touch the support or a neighbour of their object.")
        return found[clear]

    def _best(self, found: Scored, max_grasps: int) -> GraspSet:
        """Best first, no two nearly the same, with the postures that go with them."""
        chosen = found[distinct(found.proposals.world_T_palm, found.score, max_grasps, self._config.apart)]
        unknown = np.full(len(chosen), np.nan)
        return GraspSet(
            hand=self._hand.name,
            world_T_palm=chosen.proposals.world_T_palm,
            pregrasp=self._rules.opened(chosen.grasp),
            grasp=chosen.grasp,
            squeeze=self._rules.squeezed(chosen.grasp),
            score=chosen.score,
            log_likelihood=unknown,
            graspness=unknown,
            seed_point=chosen.proposals.seed_point,
        )

    def _closed(self, proposals: Proposals, space: SceneField) -> Scored:
        """Proposals whose palm and opened fingers are clear and whose closed fingers oppose, with scores."""
        palm = torch.as_tensor(proposals.world_T_palm, dtype=torch.float32)
        start = torch.as_tensor(proposals.start, dtype=torch.float32)
        free = self._clearance.palm_is_clear(space, palm, start)
        kept = torch.nonzero(free)[:, 0]
        free = self._clearance.is_clear(space, palm[kept], start[kept])
        kept = kept[free]
        proposals = proposals[kept.numpy()]
        if not len(kept):
            return Scored(proposals, proposals.start, np.zeros(0))
        end = torch.as_tensor(proposals.end, dtype=torch.float32)
        closure = closing.close(
            self._contacts, space, palm[kept], start[kept], end, self._config.clearance.table_margin
        )
        owner = space.owner(closure.points.reshape(-1, 3).numpy()).reshape(closure.touches.shape)
        top = torch.as_tensor(2.0 * proposals.centre[:, 2:], dtype=torch.float32)
        below_top = closure.points[..., 2] < top + _ABOVE_TOP
        on_target = torch.as_tensor(owner == proposals.target[:, None]) & closure.touches & below_top
        on_other = (closure.touches & ~on_target).any(dim=1)
        thumb = on_target[:, self._finger_of_link == self._centre.opposing].any(dim=1)
        others = [
            on_target[:, self._finger_of_link == finger].any(dim=1)
            for finger in range(len(self._hand.fingertips))
            if finger != self._centre.opposing
        ]
        fingers = torch.stack(others, dim=1).sum(dim=1)
        good = thumb & (fingers >= 1) & ~on_other & (closure.lowest > self._config.clearance.table_margin)
        rows = torch.nonzero(good)[:, 0]
        if not len(rows):
            return Scored(proposals[rows.numpy()], proposals.start[rows.numpy()], np.zeros(0))
        chosen = proposals[rows.numpy()]
        score = self._score(closure, on_target, rows, chosen)
        return Scored(chosen, closure.q[rows].double().numpy(), score)

    def _score(
        self, closure: closing.Closure, on_target: torch.Tensor, rows: torch.Tensor, proposals: Proposals
    ) -> NDArray[np.float64]:
        active = on_target[rows]
        points, forces = closure.points[rows], closure.forces[rows]
        centre = torch.as_tensor(proposals.centre, dtype=torch.float32)
        thumb = active & (self._finger_of_link == self._centre.opposing)
        rest = active & (self._finger_of_link != self._centre.opposing)
        thumb_point, rest_point = _mean(points, thumb), _mean(points, rest)
        thumb_force, rest_force = _mean(forces, thumb), _mean(forces, rest)
        middle = 0.5 * (thumb_point + rest_point)
        approach = approach_directions(proposals.world_T_palm, self._hand.approach_axis)
        top = 2.0 * centre[:, 2]
        features = {
            "residual": opposition.holding_residual(points, forces, active, centre, self._config.friction),
            "links": active.sum(dim=1),
            "opposition": -(thumb_force * rest_force).sum(dim=1),
            "upward": 0.5 * (thumb_force + rest_force)[:, 2],
            "width": (rest_point - thumb_point).norm(dim=1),
            "depth": top - middle[:, 2],
            "top": top,
            "tilt": torch.as_tensor(np.arccos(np.clip(-approach[:, 2], -1.0, 1.0))) ** 2,
        }
        return np.sum([WEIGHTS[name] * value.double().numpy() for name, value in features.items()], axis=0)


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean (N, 3) of the chosen (N, L) rows of values (N, L, 3)."""
    weight = chosen.to(values.dtype)[..., None]
    return (weight * values).sum(dim=1) / weight.sum(dim=1).clamp_min(1.0)


def _both(first: Scored, second: Scored) -> Scored:
    return Scored(
        joined([first.proposals, second.proposals]),
        np.concatenate([first.grasp, second.grasp]),
        np.concatenate([first.score, second.score]),
    )


def _spread_over_targets(found: Scored, count: int) -> NDArray[np.intp]:
    """Indices of the best of every target in turn, so that one easy object does not take every place."""
    order = np.argsort(-found.score, kind="stable")
    target = found.proposals.target[order]
    rank = np.zeros(len(order), dtype=int)
    for value in np.unique(target):
        members = target == value
        rank[members] = np.arange(members.sum())
    return order[np.argsort(rank, kind="stable")[:count]]
