"""A ball before the LEAP hand's fingertips: for tests of precision grasps."""

from __future__ import annotations

from functools import cache

import numpy as np
from dexgrasp_training.distance_grid import DistanceGrid
from dexgrasp_training.synthesis.balance import contact_wrenches
from dexgrasp_training.synthesis.contact_domains import contact_domains
from dexgrasp_training.synthesis.fingertip_contacts import FingeredHand, Solid
from dexgrasp_training.synthesis.hand_arrays import hand_arrays
from dexgrasp_training.synthesis.wrist_poses import wrist_poses
from numpy.typing import NDArray

from dexgrasp_description import load_hand

HAND = "leap_right"
RADIUS = 0.03
GRID_ERROR = 1e-4  # of distances to the ball, between the samples of its grid [m]
SAMPLES = 60_000


@cache
def ball() -> Solid:
    """The ball, about the origin."""
    outward = np.random.default_rng(0).normal(size=(400, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    axis = np.linspace(-0.06, 0.06, 61)
    distance = to_ball(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1))
    grid = DistanceGrid(np.full(3, -0.06), 0.002, distance.astype(np.float32))
    points, inward = RADIUS * outward, -outward
    return Solid(points, inward, contact_wrenches(points, inward), 0.01, grid.values, grid.origin, grid.spacing)


def to_ball(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed distance of points (..., 3) [m]."""
    return np.linalg.norm(points, axis=-1) - RADIUS


@cache
def fingered() -> FingeredHand:
    hand = load_hand(HAND)
    domains = contact_domains(hand, SAMPLES)
    links = np.array([hand.links.index(tip.link) for tip in hand.fingertips])
    return FingeredHand(hand_arrays(hand), domains.chains, domains.fields, links, np.array(hand.home))


@cache
def palms() -> NDArray[np.float64]:
    """`object_T_palm` (40, 4, 4): the palm faces the ball, or two fingertips are on its sides."""
    hand = load_hand(HAND)
    domains, solid = contact_domains(hand, SAMPLES), ball()
    return wrist_poses(hand, domains, solid.points, solid.inward, 40, (1.0, 0.0, 1.0), np.random.default_rng(0))
