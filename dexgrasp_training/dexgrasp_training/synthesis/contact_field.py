"""Grasp method `contact_field`: balanced fingertip contacts within the fingers' reach (precision grasps)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dexgrasp_common.parameters import param
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.synthesis.balance import MOST, contact_wrenches
from dexgrasp_training.synthesis.contact_domains import contact_domains
from dexgrasp_training.synthesis.contact_search import Rules, grasps_at, nothing_known
from dexgrasp_training.synthesis.fingertip_contacts import FingeredHand, Solid
from dexgrasp_training.synthesis.hand_arrays import hand_arrays
from dexgrasp_training.synthesis.method import Candidates
from dexgrasp_training.synthesis.resting import DRAWS, Resting
from dexgrasp_training.synthesis.wrist_poses import wrist_poses

SURFACE_POINTS = 2048
_STEP = 5.0  # of the contact search, in distances between surface points


@dataclass(frozen=True)
class ContactFieldConfig:
    """What is tried at each wrist pose, and what is accepted."""

    mated: float = param(0.35, "share of wrist poses with the palm facing a point of the object", range=(0.0, 1.0))
    boxed: float = param(
        0.30, "share of wrist poses in any orientation, the object near the fingertips", range=(0.0, 1.0)
    )
    pinched: float = param(
        0.35, "share of wrist poses with two sides of the object between fingertips", range=(0.0, 1.0)
    )
    starts: int = param(256, "random contact sets tried at each wrist pose", range=(1, 10000))
    sweeps: int = param(5, "sweeps of improvement of a contact set", range=(0, 100))
    variants: int = param(6, "random steps tried in each sweep", range=(1, 100))
    two: float = param(0.1, "share of two-finger sets among the tried", range=(0.0, 1.0))
    four: float = param(0.2, "share of four-finger sets among the tried", range=(0.0, 1.0))
    imbalance: float = param(0.15, "greatest imbalance of the contacts' pushes", range=(0.0, 1.0))
    shortfall: float = param(0.88, "greatest share of a pull that the contacts cannot balance", range=(0.0, 1.0))
    per_pose: int = param(4, "most grasps of one wrist pose", range=(1, 100))
    normal_angle: float = param(0.25, "between a tip's normal and the surface's [rad]", range=(0.0, 1.0))
    clearance: float = param(0.001, "distance of what does not touch [m]", range=(0.0, 0.1))
    opening: float = param(0.025, "how far the tips withdraw for the pregrasp [m]", range=(0.0, 0.1))
    squeeze: float = param(0.02, "how far the finger that presses most moves a joint [rad]", range=(0.0, 0.5))


class ContactField:
    """See the module. Implements `GraspMethod`.

    Args:
        hand: A hand with at least two fingertips that move in space.
        config: `None`: the defaults.

    Raises:
        SynthesisError: The hand is no such hand.
    """

    def __init__(self, hand: HandModel, config: ContactFieldConfig | None = None) -> None:
        self._hand = hand
        self._config = config or ContactFieldConfig()
        self._domains = contact_domains(hand)
        links = np.array([hand.links.index(tip.link) for tip in hand.fingertips])
        self._fingers = FingeredHand(
            hand_arrays(hand), self._domains.chains, self._domains.fields, links, np.array(hand.home)
        )

    def generate(self, asset: ObjectAsset, attempts: int, seed: int, resting: Resting | None = None) -> Candidates:
        """See `GraspMethod.generate`. An attempt is a wrist pose, which may have several grasps."""
        hand, config = self._hand, self._config
        rng = np.random.default_rng(seed)
        points, normals = (np.array(rows, dtype=np.float64) for rows in asset.surface(SURFACE_POINTS))
        kept = ~concave(points, normals)
        points, inward = points[kept], -normals[kept]
        shares = (config.mated, config.boxed, config.pinched)
        drawn = DRAWS * attempts if resting else attempts
        poses = wrist_poses(hand, self._domains, points, inward, drawn, shares, rng)
        if resting:
            poses = poses[resting.preferred(poses, attempts, rng)]
        solid = Solid(
            points,
            inward,
            contact_wrenches(points, inward),
            _STEP * np.sqrt(asset.model.mesh.area / SURFACE_POINTS),
            np.ascontiguousarray(asset.field.values, dtype=np.float32),
            np.array(asset.field.origin, dtype=np.float64),
            float(asset.field.spacing),
        )
        rules = Rules(*(getattr(config, name) for name in Rules._fields))
        known = nothing_known(self._fingers, len(points))
        rows = attempts * config.per_pose
        joints = np.empty((rows, 3, len(hand.joint_names)))
        contacts, quality, which = np.empty((rows, MOST, 3)), np.empty(rows), np.empty(rows, dtype=np.int64)
        found = 0
        for number, pose in enumerate(poses):
            more = grasps_at(
                self._fingers, solid, rules, known, pose, rng, joints[found:], contacts[found:], quality[found:]
            )
            which[found : found + more] = number
            found += more
        pregrasp, grasp, squeeze = (joints[:found, i].copy() for i in range(3))
        return Candidates(
            hand.name,
            "contact_field",
            attempts,
            poses[which[:found]],
            pregrasp,
            grasp,
            squeeze,
            contacts[:found].copy(),
            quality[:found].copy(),
        )


@njit(cache=True)
def concave(points: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (N, 3) [m] with outward normals (N, 3) lie in hollows too narrow for a fingertip: array (N,).

    These have more than 5 others within 10 mm tangentially and 2 to 10 mm above them.
    """
    result = np.zeros(len(points), dtype=np.bool_)
    for i in range(len(points)):
        above = 0
        for j in range(len(points)):
            x, y, z = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]
            height = x * normals[i, 0] + y * normals[i, 1] + z * normals[i, 2]
            if 0.002 < height < 0.01 and x * x + y * y + z * z - height * height < 1e-4:
                above += 1
        result[i] = above > 5
    return result
