"""What may touch what in each phase of a grasp."""

from __future__ import annotations

from dataclasses import dataclass

import coal
import numpy as np
import pinocchio as pin
from dexgrasp_common.transforms import apply, invert
from numpy.typing import NDArray

from dexgrasp_planner.collision import CollisionChecker, Rule
from dexgrasp_planner.manipulator import Manipulator, world_box, world_solid
from dexgrasp_planner.voxel_scene import VoxelScene, target_mask

Array = NDArray[np.float64]

# How deep a finger may sink into the table in the model [m]: tips that slide under a low object touch it lightly.
HAND_TABLE_TOLERANCE = 0.005
# Extra distance that tells a roomy arm configuration from a tight one [m].
ROOMY = 0.03


@dataclass(frozen=True, eq=False)
class Scene:
    """The obstacles around one start of the robot.

    Attributes:
        manipulator: The robot.
        observed: Voxels that the camera saw, without the robot's own.
        solid: The same, extruded down to the table where that was asked for.
        arm_distance: How far the arm stays from scene and workcell [m].
    """

    manipulator: Manipulator
    observed: VoxelScene
    solid: VoxelScene
    arm_distance: float

    @classmethod
    def of(
        cls,
        manipulator: Manipulator,
        points: NDArray[np.floating],
        arm: Array,
        hand: Array,
        *,
        voxel_size: float,
        extrude: bool,
        arm_distance: float,
    ) -> Scene:
        """The scene of a cloud (..., 3) in `world` [m], seen while the robot stood at these joints [rad]."""
        observed = VoxelScene.from_points(points, voxel_size).without_robot(manipulator, arm, hand)
        # What the robot stands in front of may be extruded into the robot: then that is not solid, either.
        solid = observed.extruded().without_robot(manipulator, arm, hand) if extrude else observed
        return cls(manipulator, observed, solid, arm_distance)

    def around(self, surface: Array, seed_point: Array) -> TargetedScene:
        """The scene divided into the target of a grasp and the rest; see `target_mask`."""
        target = self.observed.where(target_mask(self.observed, surface, seed_point))
        under = self.solid.under(target)
        return TargetedScene(self, self.solid.where(~under), self.solid.where(under))

    def transit_checker(self, hands: Array) -> CollisionChecker:
        """Before the grasp: nothing touches anything."""
        return self._checker(self.solid, self.solid, hands)

    def roomy_checker(self, hands: Array) -> CollisionChecker:
        """Whether the arm has room to spare; the hand is not looked at."""
        robot = self.manipulator
        obstacles = [world_solid("scene", self.solid.octree()), *self._boxes()]
        return CollisionChecker(robot, [Rule(robot.arm_solids, obstacles, self.arm_distance + ROOMY)], hands)

    def _checker(
        self, for_arm: VoxelScene, for_hand: VoxelScene, hands: Array, held: pin.GeometryObject | None = None
    ) -> CollisionChecker:
        robot = self.manipulator
        table, *boxes = self._boxes()
        hand_cloud = [world_solid("scene", for_hand.octree())]
        arm_cloud = hand_cloud if for_arm is for_hand else [world_solid("scene or target", for_arm.octree())]
        rules = [
            Rule(robot.arm_solids, [*arm_cloud, table, *boxes], self.arm_distance),
            Rule(robot.hand_solids, [*hand_cloud, *boxes]),
            Rule(robot.hand_solids, [table], -HAND_TABLE_TOLERANCE),
        ]
        if held is not None:
            rules.append(Rule([held], [*hand_cloud, table, *boxes]))
        return CollisionChecker(robot, rules, hands)

    def _boxes(self) -> list[pin.GeometryObject]:
        """Table first."""
        return [world_box(b.name, b.center, b.size) for b in self.manipulator.cell.static_boxes()]


@dataclass(frozen=True, eq=False)
class TargetedScene:
    """A scene, divided for one grasp.

    Attributes:
        scene: The scene.
        rest: Solid voxels that are not the target.
        target: Solid voxels of the target.
    """

    scene: Scene
    rest: VoxelScene
    target: VoxelScene

    def contact_checker(self, hands: Array) -> CollisionChecker:
        """Cover, grasp, squeeze and lift: the hand may touch the target and nothing else; the arm not even that."""
        return self.scene._checker(self.scene.solid, self.rest, hands)

    def lift_checker(self, hands: Array) -> CollisionChecker:
        """Lift: as while covering, but the target moves along and is out of the arm's way."""
        return self.scene._checker(self.rest, self.rest, hands)

    def carry_checker(self, hands: Array, held: pin.GeometryObject | None) -> CollisionChecker:
        """Over to the bin: as while lifting, and what is held must not touch anything either."""
        return self.scene._checker(self.rest, self.rest, hands, held)

    def held_box(self, world_T_palm: Array) -> tuple[Array, Array]:
        """What the hand holds: a box around the target's voxels, centre (3,) and edges (3,) [m], palm frame.

        Both are zero where the target has no voxels.
        """
        if not len(self.target):
            return np.zeros(3), np.zeros(3)
        corners = apply(invert(world_T_palm), self.target.centres)
        low, high = corners.min(axis=0), corners.max(axis=0)
        return (low + high) / 2.0, high - low + self.target.size

    def held_solid(self, center: Array, size: Array) -> pin.GeometryObject | None:
        """The held box as collision geometry; None where nothing is held."""
        if not size.any():
            return None
        palm_T_box = np.eye(4)
        palm_T_box[:3, 3] = center
        shape = coal.Box(*(float(edge) for edge in size))
        return self.scene.manipulator.held_solid("held object", shape, palm_T_box)
