"""What tells whether a grasp holds an object that is known all around, as a cloud with normals."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_planner.contacts import LinkContacts
from dexgrasp_planner.opposition import holding_residual
from dexgrasp_planner.physics.constraints import HandPhysics, PhysicsConfig
from dexgrasp_planner.physics.terms import Surface, external_penetration, nearest, object_penetration, self_penetration

FRICTION = 0.2  # that the contacts are assumed to have
TOUCHING = 0.006  # inner points nearer than this touch [m]
FAR = 0.02  # farther ones count as this far [m]
_BLOCK = 256  # grasps that are looked at together

OBJECT_FEATURES = (
    "gap",  # mean distance of the inner points from the surface, none counting more than `FAR` [m]
    "touching",  # share of the inner points that touch
    "deepest",  # depth of the deepest outer point in the object [m]
    "inside",  # mean depth of the outer points [m]
    "in_hand",  # depth of the deepest point of the object in each link, summed [m]
    "self_penetration",  # what key points lack of the sum of their radii [m]
    "fingers",  # of which some point touches
    "thumb",  # whether the last of them, the thumb, touches
    "palm",  # whether the palm touches
    "opposition",  # length of the contacts' mean normal, taken from one
    "residual",  # part of six unit loads that the contacts cannot balance
    "off_centre",  # distance of the contacts' middle from the object's [m]
    "spread",  # mean distance of the contacts from their middle [m]
    "extent",  # largest distance of a point of the object from its middle [m]
    "pressed",  # how much deeper the squeeze brings inner points into the object, on average over fingers' links [m]
    "squeezes",  # share of the fingers' links that the squeeze brings in by a millimetre or more
)


class ObjectFeatures:
    """Tells the numbers named in `OBJECT_FEATURES` of grasps of one hand; made once.

    Args:
        hand: The hand.
    """

    def __init__(self, hand: HandModel) -> None:
        self._physics = HandPhysics(hand, PhysicsConfig(apart=0.0, samples=512))
        self._contacts = LinkContacts(hand, self._physics.inner)

    def __call__(
        self, points: NDArray[np.floating], normals: NDArray[np.floating], grasps: GraspSet
    ) -> NDArray[np.float64]:
        """Numbers (N, F) of grasps in the frame of the points.

        Args:
            points: Of the object's surface (M, 3) [m].
            normals: Unit, outward (M, 3).
            grasps: N of them.
        """
        if not len(grasps):
            return np.zeros((0, len(OBJECT_FEATURES)))
        surface = Surface(*(torch.as_tensor(rows.T.copy(), dtype=torch.float32)[None] for rows in (points, normals)))
        arrays = (grasps.world_T_palm, grasps.grasp, grasps.squeeze)
        parts = zip(*(torch.as_tensor(array, dtype=torch.float32).split(_BLOCK) for array in arrays), strict=True)
        with torch.no_grad():
            return torch.cat([self._of(surface, *part) for part in parts]).double().numpy()

    def _of(self, surface: Surface, palm: Tensor, q: Tensor, squeeze: Tensor) -> Tensor:
        physics = self._physics
        gap, depth, normal, placed = self._met(palm, q, surface)
        outer = physics.outer.in_world(palm, q)
        near, which = physics.inner.per_link(gap)
        touches = near < TOUCHING
        at = which[:, None].expand(-1, 3, -1)
        contact, force = placed.gather(2, at).mT, -normal.gather(2, at).mT
        told, middle, _ = self._contacts.tell(contact, force, touches)
        centre = surface.points.mean(dim=2)
        own = self._contacts.finger >= 0
        pressed = self._deepest(self._met(palm, squeeze, surface)[1]) - self._deepest(depth)
        pressed = pressed[:, own].clamp(-FAR, FAR)
        numbers = {
            **told,
            "gap": gap.clamp_max(FAR).mean(dim=1),
            "touching": (gap < TOUCHING).float().mean(dim=1),
            "deepest": external_penetration(outer, surface, "deepest"),
            "inside": external_penetration(outer, surface, "mean"),
            "in_hand": object_penetration(physics.inner.poses(palm, q), surface, physics.solids),
            "self_penetration": self_penetration(physics.keys.in_world(palm, q), physics.pairs, physics.least),
            "residual": holding_residual(contact, force, touches, centre.expand(len(q), 3), FRICTION),
            "off_centre": (middle - centre).norm(dim=1),
            "extent": (surface.points - centre[..., None]).norm(dim=1).amax(dim=1).expand(len(q)),
            "pressed": pressed.mean(dim=1),
            "squeezes": (pressed > 0.001).float().mean(dim=1),
        }
        return torch.stack([numbers[name].float() for name in OBJECT_FEATURES], dim=1)

    def _met(self, palm: Tensor, q: Tensor, surface: Surface) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the inner points: distance from the surface and depth in it (N, P), its normal and they (N, 3, P)."""
        placed = self._physics.inner.in_world(palm, q)
        index = nearest(placed, surface.points)[:, None].expand(-1, 3, -1)
        way = surface.points.expand(len(q), -1, -1).gather(2, index) - placed
        normal = surface.normals.expand(len(q), -1, -1).gather(2, index)
        return way.norm(dim=1), (way * normal).sum(dim=1), normal, placed

    def _deepest(self, depth: Tensor) -> Tensor:
        """Largest depth (N, L) of each link's inner points."""
        return -self._physics.inner.per_link(-depth)[0]
