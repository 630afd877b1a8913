"""Whether the robot touches itself, the workcell or the scene, by pinocchio and coal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from dexgrasp_planner.manipulator import Manipulator, link_of

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rule:
    """Solids that must stay apart.

    Attributes:
        movers: Solids of the robot, or what it carries.
        obstacles: What they must not touch.
        distance: How far they must stay away [m]; below zero, how deep they may sink in.
    """

    movers: Sequence[pin.GeometryObject]
    obstacles: Sequence[pin.GeometryObject]
    distance: float = 0.0


class CollisionChecker:
    """Free or not, for arm configurations under one or more hand postures.

    The robot's own links are always checked against each other (`Manipulator.self_pairs`). Whether a hand posture
    collides with itself does not depend on the arm and is left to whoever makes postures.

    Args:
        manipulator: The robot.
        rules: What must stay apart.
        hands: array (K, Dh) or (Dh,), hand postures [rad]; a configuration is free if it is under all of them.
    """

    def __init__(self, manipulator: Manipulator, rules: Iterable[Rule], hands: Array) -> None:
        self._robot = manipulator
        self._hands = np.atleast_2d(hands)
        self._geometry = pin.GeometryModel()
        index: dict[str, int] = {}
        margins: list[float] = []
        own = [Rule([a], [b]) for a, b in manipulator.self_pairs]
        for rule in (*rules, *own):
            for solid in (*rule.movers, *rule.obstacles):
                if solid.name not in index:
                    index[solid.name] = self._geometry.addGeometryObject(solid)
            for obstacle in rule.obstacles:
                for mover in rule.movers:
                    self._geometry.addCollisionPair(pin.CollisionPair(index[mover.name], index[obstacle.name]))
                    margins.append(rule.distance)
        self._pairs = pin.GeometryData(self._geometry)
        for request, margin in zip(self._pairs.collisionRequests, margins, strict=True):
            request.security_margin = margin
        # A tree of bounding boxes over all solids: 45 us a check instead of 240 us pair by pair.
        self._broad_phase = pin.BroadPhaseManager_DynamicAABBTreeCollisionManager(
            manipulator.model, self._geometry, self._pairs
        )

    def is_free(self, arm: Array) -> bool:
        """Whether nothing touches with the arm at these joints (D,) [rad], whichever posture the hand is in."""
        robot = self._robot
        return not any(
            pin.computeCollisions(robot.model, robot.data, self._broad_phase, q, True)
            for q in robot.configurations(arm, self._hands)
        )

    def contact(self, arm: Array) -> str:
        """What touches what there, in words; empty where nothing does."""
        robot = self._robot
        for q in robot.configurations(arm, self._hands):
            pin.computeCollisions(robot.model, robot.data, self._geometry, self._pairs, q, False)
            for pair, result in zip(self._geometry.collisionPairs, self._pairs.collisionResults, strict=True):
                if result.isCollision():
                    solids = self._geometry.geometryObjects
                    return f"{link_of(solids[pair.first])} touches {link_of(solids[pair.second])}"
        return ""
