"""MuJoCo models of hands, arms and whole robots: kinematics and inertia of the URDF, geometry of the data file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from dexgrasp_common.transforms import to_xyz_quat
from numpy.typing import NDArray

from dexgrasp_description.cell import Cell
from dexgrasp_description.models import ArmModel, HandModel, RobotModel, load_arm, load_hand
from dexgrasp_description.primitives import Primitive
from dexgrasp_description.tree import Inertia, read_inertias

if TYPE_CHECKING:
    import mujoco

_ARM_COLOUR = (0.72, 0.76, 0.80, 1.0)
_HAND_COLOUR = (0.25, 0.27, 0.30, 1.0)
_TIP_COLOUR = (0.85, 0.45, 0.20, 1.0)
_BRACKET_COLOUR = (0.45, 0.47, 0.50, 1.0)


def hand_spec(hand: HandModel) -> mujoco.MjSpec:
    """A hand alone, its base fixed at the world's origin. Bodies and joints carry the names of links and joints.

    The geoms are the collision primitives, named `<link>_<number>`. There are no actuators; pairs of links whose
    contact is not a collision are excluded.
    """
    spec = _empty_spec(hand.name)
    _add_robot(spec, spec.worldbody, np.eye(4), hand)
    return spec


def arm_spec(arm: ArmModel) -> mujoco.MjSpec:
    """An arm alone, its base fixed at the world's origin; otherwise as `hand_spec`."""
    spec = _empty_spec(arm.name)
    _add_robot(spec, spec.worldbody, np.eye(4), arm)
    return spec


def robot_spec(cell: Cell) -> mujoco.MjSpec:
    """The cell's arm at `world_T_base`, with bracket and hand at its flange. Names are those of arm and hand.

    The bracket's geoms are named `bracket_<number>` and belong to the flange's body.
    """
    arm, hand = load_arm(cell.arm), load_hand(cell.hand)
    spec = _empty_spec(cell.name)
    _add_robot(spec, spec.worldbody, cell.world_T_base, arm)
    flange = spec.body(arm.flange_link)
    if cell.bracket:
        # The flange is a mere frame in the arm's URDF; with the bracket it gets a mass.
        flange.explicitinertial = False
    for i, primitive in enumerate(cell.bracket):
        geom = _add_geom(flange, primitive, f"bracket_{i}", _BRACKET_COLOUR)
        geom.mass = cell.bracket_mass / len(cell.bracket)
    _add_robot(spec, flange, cell.flange_T_palm, hand)
    # What is screwed together touches.
    wrist = next(joint.parent for joint in arm.joints if joint.child == arm.flange_link)
    for link in (arm.flange_link, wrist):
        spec.add_exclude(bodyname1=link, bodyname2=hand.base_link)
    return spec


def _empty_spec(name: str) -> mujoco.MjSpec:
    import mujoco

    spec = mujoco.MjSpec()
    spec.modelname = name
    spec.compiler.degree = False
    return spec


def _add_robot(spec: mujoco.MjSpec, parent: Any, parent_T_base: NDArray[np.float64], model: RobotModel) -> None:
    import mujoco

    inertias = read_inertias(model.urdf_path)
    bodies = {model.base_link: _add_body(parent, model.base_link, parent_T_base, inertias)}
    for joint in model.joints:
        body = bodies[joint.child] = _add_body(bodies[joint.parent], joint.child, joint.parent_T_joint, inertias)
        if joint.kind != "fixed":
            body.add_joint(
                name=joint.name,
                type=mujoco.mjtJoint.mjJNT_HINGE if joint.kind == "revolute" else mujoco.mjtJoint.mjJNT_SLIDE,
                axis=joint.axis,
                limited=mujoco.mjtLimited.mjLIMITED_TRUE,
                range=[joint.lower, joint.upper],
            )
    tips = {tip.link for tip in model.fingertips} if isinstance(model, HandModel) else set()
    body_colour = _HAND_COLOUR if isinstance(model, HandModel) else _ARM_COLOUR
    for link, body in bodies.items():
        for i, primitive in enumerate(model.primitives_of(link)):
            _add_geom(body, primitive, f"{link}_{i}", _TIP_COLOUR if link in tips and i == 0 else body_colour)
    for first, second in sorted(sorted(pair) for pair in model.ignored_pairs):
        spec.add_exclude(bodyname1=first, bodyname2=second)


def _add_body(parent: Any, link: str, parent_T_link: NDArray[np.float64], inertias: dict[str, Inertia]) -> Any:
    body = parent.add_body(name=link, pos=parent_T_link[:3, 3], quat=_wxyz(parent_T_link))
    # Geoms would otherwise add their own mass; a link without inertia is a mere frame.
    body.explicitinertial = True
    if link in inertias:
        inertia = inertias[link]
        body.mass = inertia.mass
        body.ipos = inertia.centre
        m = inertia.matrix
        body.fullinertia = [m[0, 0], m[1, 1], m[2, 2], m[0, 1], m[0, 2], m[1, 2]]
    return body


def _add_geom(body: Any, primitive: Primitive, name: str, colour: tuple[float, ...]) -> Any:
    import mujoco

    kinds = {
        "box": mujoco.mjtGeom.mjGEOM_BOX,
        "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
        "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
        "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    }
    size = np.zeros(3)
    size[: len(primitive.size)] = primitive.size
    return body.add_geom(
        name=name,
        type=kinds[primitive.kind],
        pos=primitive.link_T_geom[:3, 3],
        quat=_wxyz(primitive.link_T_geom),
        size=size,
        rgba=colour,
    )


def _wxyz(A_T_B: NDArray[np.float64]) -> NDArray[np.float64]:
    """MuJoCo's quaternion of a transform."""
    return to_xyz_quat(A_T_B)[[6, 3, 4, 5]]
