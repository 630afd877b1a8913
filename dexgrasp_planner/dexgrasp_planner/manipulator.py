"""The arm with its hand in the workcell: kinematics and solids by pinocchio, in frame `world`."""

from __future__ import annotations

from itertools import combinations, product

import coal
import numpy as np
import pinocchio as pin
from dexgrasp_common.transforms import apply, invert
from dexgrasp_description.primitives import Primitive
from numpy.typing import NDArray

from dexgrasp_description import Cell, load_arm, load_hand
from dexgrasp_planner.ik import inverse_kinematics

Array = NDArray[np.float64]


class Manipulator:
    """Arm, bracket and hand as one tree.

    Attributes:
        cell: The workcell.
        arm: The arm's data.
        hand: The hand's data.
        model: The pinocchio model; its joint order is pinocchio's own, see `configurations`.
        arm_solids: Collision geometry of the moving arm links and of the bracket, named `link#number`.
        hand_solids: Collision geometry of the hand.
        fixed_solids: Collision geometry of the arm's base, which stands on the table.
        self_pairs: Solids of the robot that must not touch each other.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.arm, self.hand = load_arm(cell.arm), load_hand(cell.hand)
        arm = pin.buildModelFromUrdf(str(self.arm.urdf_path))
        hand = pin.buildModelFromUrdf(str(self.hand.urdf_path))
        model = pin.appendModel(pin.Model(), arm, 0, pin.SE3(cell.world_T_base))
        flange = model.getFrameId(self.arm.flange_link)
        self.model = pin.appendModel(model, hand, flange, pin.SE3(cell.flange_T_palm))
        self.data = self.model.createData()
        self.ik = inverse_kinematics(self.arm)
        self._arm_columns = self._columns(self.arm.joint_names)
        self._hand_columns = self._columns(self.hand.joint_names)
        self._palm = self.model.getFrameId(self.hand.base_link)
        self._base_T_world = invert(cell.world_T_base)
        self._palm_T_flange = invert(cell.flange_T_palm)
        self._primitives = (*self.arm.collision, *cell.bracket, *self.hand.collision)
        solids = [self._solid(primitive, f"{primitive.link}#{i}") for i, primitive in enumerate(self._primitives)]
        of_arm = len(self._primitives) - len(self.hand.collision)
        self.fixed_solids = [solid for solid in solids[:of_arm] if solid.parentJoint == 0]
        self.arm_solids = [solid for solid in solids[:of_arm] if solid.parentJoint != 0]
        self.hand_solids = solids[of_arm:]
        self.self_pairs = self._self_pairs()

    def configurations(self, arm: Array, hands: Array) -> Array:
        """Joint vectors (K, nq) of one arm configuration (D,) under K hand postures (K, Dh) [rad]."""
        q = np.empty((len(hands), self.model.nq))
        q[:, self._arm_columns] = arm
        q[:, self._hand_columns] = hands
        return q

    def world_T_palm(self, arm: Array) -> Array:
        """Pose (4, 4) of the palm, by forward kinematics of the arm (D,) [rad]."""
        pin.forwardKinematics(self.model, self.data, self.configurations(arm, self.hand.home[None])[0])
        return pin.updateFramePlacement(self.model, self.data, self._palm).homogeneous

    def reach(self, world_T_palm: Array, reference: Array) -> Array:
        """Arm configurations (K, D) [rad] that put the palm there, nearest to the reference (D,) first."""
        return self.ik.solutions(self._base_T_world @ world_T_palm @ self._palm_T_flange, reference)

    def inner_surface(self, world_T_palm: Array, hand: Array) -> Array:
        """Contact points (N, 3) of the hand's inner surface [m], world frame, for a palm pose and joints (Dh,)."""
        pin.framesForwardKinematics(self.model, self.data, self.configurations(self.cell.home, hand[None])[0])
        world_T_now = self.data.oMf[self._palm].homogeneous
        palm_T_world = invert(world_T_now)
        points = [
            apply(palm_T_world @ self.data.oMf[self.model.getFrameId(link)].homogeneous, inner)
            for link, (inner, _) in self.hand.contact_points.items()
        ]
        return np.asarray(apply(world_T_palm, np.concatenate(points)), dtype=np.float64)

    def primitive_poses(self, arm: Array, hand: Array) -> list[tuple[Primitive, Array]]:
        """Every collision primitive of the robot with the pose `world_T_link` (4, 4) of its link."""
        pin.framesForwardKinematics(self.model, self.data, self.configurations(arm, hand[None])[0])
        return [
            (primitive, self.data.oMf[self.model.getFrameId(primitive.link)].homogeneous)
            for primitive in self._primitives
        ]

    def held_solid(self, name: str, shape: coal.CollisionGeometry, palm_T_shape: Array) -> pin.GeometryObject:
        """A solid that moves with the palm."""
        frame = self.model.frames[self._palm]
        return pin.GeometryObject(name, frame.parentJoint, frame.placement * pin.SE3(palm_T_shape), shape)

    def _columns(self, joint_names: tuple[str, ...]) -> NDArray[np.int64]:
        return np.array([self.model.joints[self.model.getJointId(name)].idx_q for name in joint_names])

    def _solid(self, primitive: Primitive, name: str) -> pin.GeometryObject:
        frame = self.model.frames[self.model.getFrameId(primitive.link)]
        placement = frame.placement * pin.SE3(np.array(primitive.link_T_geom))
        return pin.GeometryObject(name, frame.parentJoint, placement, _shape(primitive))

    def _self_pairs(self) -> list[tuple[pin.GeometryObject, pin.GeometryObject]]:
        """Arm against arm, and hand against arm, but for solids on the same or on neighbouring joints."""
        ignored = self.arm.ignored_pairs
        own = [*self.fixed_solids, *self.arm_solids]
        within = [
            (a, b)
            for a, b in combinations(own, 2)
            if abs(a.parentJoint - b.parentJoint) > 1 and frozenset((link_of(a), link_of(b))) not in ignored
        ]
        last = self.model.getJointId(self.arm.joint_names[-1])
        return within + [(a, b) for a, b in product(own, self.hand_solids) if a.parentJoint < last - 1]


def world_solid(name: str, shape: coal.CollisionGeometry, world_T_shape: Array | None = None) -> pin.GeometryObject:
    """A solid that stands still in `world`; at its origin where no pose is given."""
    pose = pin.SE3.Identity() if world_T_shape is None else pin.SE3(world_T_shape)
    return pin.GeometryObject(name, 0, pose, shape)


def world_box(name: str, center: Array, size: Array) -> pin.GeometryObject:
    """An axis-aligned box of the world, by its centre (3,) and full edges (3,) [m]."""
    pose = np.eye(4)
    pose[:3, 3] = center
    return world_solid(name, coal.Box(*(float(edge) for edge in size)), pose)


def link_of(solid: pin.GeometryObject) -> str:
    """Name of a solid without its number."""
    return solid.name.split("#")[0]


def _shape(primitive: Primitive) -> coal.CollisionGeometry:
    size = [float(value) for value in primitive.size]
    match primitive.kind:
        case "box":
            return coal.Box(2.0 * size[0], 2.0 * size[1], 2.0 * size[2])
        case "capsule":
            return coal.Capsule(size[0], 2.0 * size[1])
        case "cylinder":
            return coal.Cylinder(size[0], 2.0 * size[1])
        case _:
            return coal.Sphere(size[0])
