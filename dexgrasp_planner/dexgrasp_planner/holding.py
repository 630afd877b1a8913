"""How a grasp would meet what the camera saw when its fingers close: numbers from which success can be told.

Fingers move from the pregrasp on to the benchmark's squeeze until they touch the distance field of the scene. What they
then touch, from which sides and how well that can bear loads, says more about a lift than the generator that
proposed the grasp knows: what that thinks of the grasp is not among them, so grasps of any generator can be judged.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_planner import closing, opposition
from dexgrasp_planner.contacts import LinkContacts
from dexgrasp_planner.hand_shape import HandPoints
from dexgrasp_planner.postures import PostureRules, approach_directions
from dexgrasp_planner.scene_field import SceneField

FRICTION = 0.2  # that the contacts are assumed to have
_NEAR = 0.05  # objects that touch are one cluster: this far around a seed is its own [m]
_SUPPORT = 0.002  # fingers that would come lower are not closed to the end [m]

FEATURES = (
    "residual",  # part of six unit loads that the contacts cannot balance
    "down",  # of the pull of gravity alone
    "links",  # that touch the object
    "fingers",  # of which some link touches
    "thumb",  # whether the last of them, the thumb, touches
    "palm",  # whether the palm touches
    "others",  # links that touch something else
    "opposition",  # length of the contacts' mean normal, taken from one
    "upward",  # mean vertical part of the normals
    "spread",  # mean distance of the contacts from their middle [m]
    "off_axis",  # horizontal distance of that middle from the object's [m]
    "depth",  # of the middle below the object's top [m]
    "height",  # of the object's top [m]
    "extent",  # largest horizontal size of the object [m]
    "near_depth",  # of the middle below the top of what is seen of the object near the seed [m]
    "near_off_axis",  # horizontal distance of the middle from the middle of that [m]
    "near_extent",  # its largest horizontal size [m]
    "near_gap",  # distance of the middle from the seed [m]
    "tilt",  # of the approach from straight down [rad]
    "gap",  # mean distance of the inner points that are near the surface at the grasp [m]
    "inside",  # greatest depth of an inner point at the grasp [m]
    "closed",  # part of the way from pregrasp to squeeze that joints went, on average
    "uneven",  # standard deviation of that over the fingers
    "presses",  # whether the squeeze presses where fingers touch, and is not the benchmark's
)


class GraspFeatures:
    """Closes the fingers of one hand on scenes and tells the numbers named in `FEATURES`; made once.

    Args:
        hand: The hand.
    """

    def __init__(self, hand: HandModel) -> None:
        self._hand, self._rules = hand, PostureRules(hand)
        self._points = HandPoints(hand, {link: points for link, (points, _) in hand.contact_points.items()})
        self._contacts = LinkContacts(hand, self._points)
        self._joints = [
            torch.nonzero(self._points.moves[self._points.links.index(tip.link)])[:, 0] for tip in hand.fingertips
        ]

    def closed(self, space: SceneField, grasps: GraspSet) -> tuple[GraspSet, NDArray[np.bool_]]:
        """The grasps (N,) with fingers where they come to rest on the scene, and which of them (N,) hold something.

        These touch their object with two fingers or more, nothing else, and not the support on the way.
        """
        closure, on_target = self._closure(space, grasps)
        grasp = replace(grasps, grasp=np.clip(closure.q.double().numpy(), self._hand.lower, self._hand.upper))
        alone = ~(closure.touches & ~on_target).any(dim=1)
        good = (self._contacts.touching(on_target).sum(dim=1) >= 2) & alone & (closure.lowest > _SUPPORT)
        return grasp, good.numpy()

    def _closure(self, space: SceneField, grasps: GraspSet) -> tuple[closing.Closure, Tensor]:
        """How fingers come to rest, and which links (N, L) then touch the object that the grasp is meant for."""
        palm, start, end = (
            torch.as_tensor(array, dtype=torch.float32)
            for array in (grasps.world_T_palm, grasps.pregrasp, self._rules.squeezed(grasps.grasp))
        )
        closure = closing.close(self._points, space, palm, start, end, _SUPPORT)
        owner = space.owner(closure.points.reshape(-1, 3).numpy()).reshape(closure.touches.shape)
        return closure, closure.touches & torch.as_tensor(owner == space.owner(grasps.seed_point)[:, None])

    def of(self, space: SceneField, grasps: GraspSet, *, presses: bool) -> NDArray[np.float64]:
        """Numbers (N, F) of the grasps, in world, in the order of `FEATURES`.

        Args:
            space: The scene.
            grasps: In world.
            presses: Whether their squeezes are those of `pressing`.
        """
        if not len(grasps):
            return np.zeros((0, len(FEATURES)))
        palm = torch.as_tensor(grasps.world_T_palm, dtype=torch.float32)
        start, end = (
            torch.as_tensor(array, dtype=torch.float32)
            for array in (grasps.pregrasp, self._rules.squeezed(grasps.grasp))
        )
        closure, on_target = self._closure(space, grasps)
        target = space.owner(grasps.seed_point)
        numbers, middle, force = self._contacts.tell(closure.points, closure.forces, on_target)
        boxes = [(points.min(axis=0), points.max(axis=0)) for points in (one.points for one in space.clusters)]
        lower, upper = (torch.as_tensor(np.stack([box[i] for box in boxes]))[target] for i in (0, 1))
        centre = 0.5 * (lower + upper)
        centre[:, 2] = 0.5 * upper[:, 2]
        near_lower, near_upper = self._near(space, grasps, target)
        near_centre = 0.5 * (near_lower + near_upper)
        near_centre[:, 2] = 0.5 * near_upper[:, 2]
        residual = opposition.load_residuals(closure.points, closure.forces, on_target, near_centre, FRICTION)
        seed = torch.as_tensor(grasps.seed_point, dtype=torch.float32)
        inner = space.distance(self._points.in_world(palm, torch.as_tensor(grasps.grasp, dtype=torch.float32)))
        near = (inner.abs() < 0.02).float()
        share = _share(start, closure.q, end)
        by_finger = torch.stack([share[:, joints].mean(dim=1) for joints in self._joints], dim=1)
        approach = approach_directions(grasps.world_T_palm, self._hand.approach_axis)
        values: dict[str, Tensor | NDArray[np.float64]] = {
            **numbers,
            "residual": residual.mean(dim=1),
            "down": residual[:, 5],
            "links": on_target.sum(dim=1),
            "others": (closure.touches & ~on_target).sum(dim=1),
            "upward": force[:, 2],
            "off_axis": (middle - centre)[:, :2].norm(dim=1),
            "depth": upper[:, 2] - middle[:, 2],
            "height": upper[:, 2],
            "extent": (upper - lower)[:, :2].amax(dim=1),
            "near_depth": near_upper[:, 2] - middle[:, 2],
            "near_off_axis": (middle - near_centre)[:, :2].norm(dim=1),
            "near_extent": (near_upper - near_lower)[:, :2].amax(dim=1),
            "near_gap": (middle - seed).norm(dim=1),
            "tilt": np.arccos(np.clip(-approach[:, 2], -1.0, 1.0)),
            "gap": (near * inner.abs()).sum(dim=1) / near.sum(dim=1).clamp_min(1.0),
            "inside": (-inner).amax(dim=1).clamp_min(0.0),
            "closed": by_finger.mean(dim=1),
            "uneven": by_finger.std(dim=1),
            "presses": np.full(len(grasps), presses),
        }
        return np.stack([np.asarray(values[name], dtype=np.float64) for name in FEATURES], axis=1)

    @staticmethod
    def _near(space: SceneField, grasps: GraspSet, target: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Corners (N, 3) of the box around what is seen of each grasp's object within `_NEAR` of its seed [m]."""
        corners = np.empty((2, len(grasps), 3), dtype=np.float32)
        for row, seed in enumerate(grasps.seed_point):
            points = space.clusters[target[row]].points
            close = points[(np.abs(points[:, :2] - seed[:2]) < _NEAR).all(axis=1)]
            close = close if len(close) else points
            corners[0, row], corners[1, row] = close.min(axis=0), close.max(axis=0)
        lower, upper = torch.from_numpy(corners)
        return lower, upper


def _share(start: Tensor, reached: Tensor, end: Tensor) -> Tensor:
    """Part (N, D) of the way from start to end that each joint went; 1 where there is no way."""
    way = end - start
    moving = way.abs() > 1e-3
    return torch.where(moving, (reached - start) / torch.where(moving, way, 1.0), 1.0)
