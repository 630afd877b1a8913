"""The terms for one hand: its points, made once, and the weights of named presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
from dexgrasp_common.parameters import param
from torch import Tensor

from dexgrasp_description import HandModel
from dexgrasp_planner.errors import PlannerError
from dexgrasp_planner.hand_shape import HandPoints
from dexgrasp_planner.physics.hand_solids import HandSolids
from dexgrasp_planner.physics.terms import (
    Depth,
    Surface,
    external_penetration,
    object_penetration,
    self_penetration,
    surface_pulling,
)


class UnknownPhysicsError(PlannerError):
    """There is no such preset of constraints."""


@dataclass(frozen=True)
class PhysicsConfig:
    """What is asked of a hand, and how much each of it counts.

    The defaults are those of DexGrasp Anything's code in training; its paper does not tell the weights.
    """

    pulling: float = param(1.0, "weight of SPF", range=(0.0, 1e6))
    penetration: float = param(1.0, "weight of ERF", range=(0.0, 1e6))
    self_penetration: float = param(1.0, "weight of SRF", range=(0.0, 1e6))
    object_penetration: float = param(0.0, "weight of ORF, which the authors do not have", range=(0.0, 1e6))
    reach: float = param(0.02, "inner points nearer than this are pulled [m]", range=(0.0, 1.0))
    depth: Depth = param("deepest", "penetration of the `deepest` point, or the `mean` over all")
    apart: float = param(0.02, "distance that key points keep [m]; 0: the sum of their own radii", range=(0.0, 0.1))
    samples: int = param(1536, "points on the hand's outside", range=(10, 100_000))


PHYSICS_PRESETS = {
    "none": PhysicsConfig(0.0, 0.0, 0.0),
    "paper": PhysicsConfig(),
    "paper_sampling": PhysicsConfig(penetration=0.3),
    # Every point that is inside is moved, and thick links are kept apart by what they are.
    "tuned": PhysicsConfig(pulling=1.0, penetration=20.0, self_penetration=0.2, depth="mean", apart=0.0, samples=512),
    # The deepest point alone is pushed out: it is what tests measure, and the fingers that hold stay where they are. So
    # is each link, of what of the object is deepest in it.
    "tuned_sampling": PhysicsConfig(self_penetration=0.2, object_penetration=0.2, apart=0.0),
}


TERMS = {"spf": "pulling", "erf": "penetration", "srf": "self_penetration", "orf": "object_penetration"}


def physics_preset(name: str) -> PhysicsConfig:
    """The preset of that name; with `/` and terms behind it, these of its terms alone: `tuned/srf/erf`.

    Raises:
        UnknownPhysicsError: There is no such preset or term.
    """
    preset, *terms = name.split("/")
    if preset not in PHYSICS_PRESETS or not set(terms) <= set(TERMS):
        raise UnknownPhysicsError(
            f"There are no constraints {name!r}. Presets: {', '.join(PHYSICS_PRESETS)}; "
            f"behind them, for some terms alone, /{', /'.join(TERMS)}."
        )
    left_out: dict[str, Any] = {weight: 0.0 for term, weight in TERMS.items() if terms and term not in terms}
    return replace(PHYSICS_PRESETS[preset], **left_out)


@dataclass(frozen=True)
class Constraints:
    """The terms of B hands, unweighted, each (B,) [m]; `object_penetration` is zero where it has no weight."""

    pulling: Tensor
    penetration: Tensor
    self_penetration: Tensor
    object_penetration: Tensor

    def weighted(self, config: PhysicsConfig) -> Tensor:
        """Their weighted sum (B,)."""
        return (
            config.pulling * self.pulling
            + config.penetration * self.penetration
            + config.self_penetration * self.self_penetration
            + config.object_penetration * self.object_penetration
        )


class HandPhysics:
    """The constraints on one hand; made once, called in every step.

    Args:
        hand: The hand.
        config: None: the paper's.
        dtype: In which everything is computed.
        device: Where.
    """

    def __init__(
        self,
        hand: HandModel,
        config: PhysicsConfig | None = None,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.config = config = config or PhysicsConfig()
        sets = point_sets(hand, config.samples)
        self.inner, self.outer, self.keys = (HandPoints(hand, points, dtype, device) for points in sets)
        self.solids = HandSolids(hand, self.inner.posed_links, dtype, device)
        pairs, least = apart_pairs(hand, list(sets[2]), config.apart)
        self.pairs = torch.as_tensor(pairs, device=device)
        self.least = torch.as_tensor(least, dtype=dtype, device=device)

    def __call__(self, object_T_palm: Tensor, q: Tensor, surface: Surface) -> Constraints:
        """The terms for palms (B, 4, 4) and postures (B, D) [rad or m] against the surface of one object, or B."""
        poses = self.inner.poses(object_T_palm, q)
        fixed = poses.detach()
        sets = (self.inner, self.outer, self.keys)
        (inner, outer, keys) = ((points.placed(fixed), partial(points.some_placed, poses)) for points in sets)
        pulling = surface_pulling(inner[0], surface, self.config.reach, inner[1])
        return Constraints(
            pulling,
            external_penetration(outer[0], surface, self.config.depth, outer[1]),
            self_penetration(keys[0], self.pairs, self.least, keys[1]),
            object_penetration(poses, surface, self.solids)
            if self.config.object_penetration
            else torch.zeros_like(pulling),
        )


def point_sets(hand: HandModel, samples: int) -> tuple[dict[str, np.ndarray], ...]:
    """Points of each link (K, 3) [m]: on the inner surface, about so many on the outside, and the key points."""
    inner = {link: points for link, (points, _) in hand.contact_points.items()}
    outer = {link: points for link, (points, _) in hand.surface_samples(samples, seed=0).items()}
    return inner, outer, {link: spheres[:, :3] for link, spheres in hand.key_points.items() if len(spheres)}


def apart_pairs(hand: HandModel, links: list[str], apart: float) -> tuple[np.ndarray, np.ndarray]:
    """Key points (M, 2) that are meant to keep apart, and how far (M,): those of links that may collide.

    Pairs of links that are joined, or overlap by design, are left out: the sum over them is nothing a posture changes.
    """
    joined = {frozenset((joint.parent, joint.child)) for joint in hand.joints} | set(hand.ignored_pairs)
    owner = [link for link in links for _ in hand.key_points[link]]
    radius = np.concatenate([hand.key_points[link][:, 3] for link in links])
    rows = [
        (i, j)
        for i, j in combinations(range(len(owner)), 2)
        if owner[i] != owner[j] and frozenset((owner[i], owner[j])) not in joined
    ]
    pairs = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return pairs, np.full(len(pairs), apart) if apart else radius[pairs].sum(axis=1)
