"""A hand in a MuJoCo scene whose joints position servos drive, as the bench's protocols need it."""

from __future__ import annotations

import mujoco
import numpy as np
from dexgrasp_description.mjcf import hand_spec
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_sim.scene import OBJECT, ROBOT, STATIC, surface

HAND = "hand/"  # before the names of the hand's bodies, joints and drives

# Inertia of a finger joint's motor [kg m^2 or kg]. Contacts of a lighter finger chatter, and what chatters slips: with
# 5 g on the slides of a parallel gripper a cube slips at half of what friction can bear.
ARMATURE = {"revolute": 5e-3, "prismatic": 0.1}


def add_driven_hand(
    spec: mujoco.MjSpec,
    parent: mujoco.MjsBody,
    hand: HandModel,
    *,
    friction: float,
    stiffness: float,
    damping: float,
    effort_limit: NDArray[np.float64],
    touches_itself: bool = False,
    inertia: float = 1.0,
) -> None:
    """Attach a weightless hand that collides with objects and with what stands still. Drives are named as joints are.

    Args:
        parent: Body to which the palm is fixed, at its origin.
        friction: Coefficient of the hand's surface.
        stiffness: Of every drive [N m/rad or N/m].
        damping: Of every drive [N m s/rad or N s/m].
        effort_limit: array (D,), what each drive can exert [N m or N].
        touches_itself: Links collide, too, but for those pairs that the description excepts.
        inertia: Of the motors, times `ARMATURE`.
    """
    child = hand_spec(hand)
    for body in child.bodies[1:]:
        body.gravcomp = 1.0
    for geom in child.geoms:
        geom.contype, geom.conaffinity = ROBOT, OBJECT | STATIC | (ROBOT if touches_itself else 0)
        for key, value in surface(friction).items():
            setattr(geom, key, value)
    for joint in hand.joints:
        if joint.kind != "fixed":
            child.joint(joint.name).armature = inertia * ARMATURE[joint.kind]
    spec.attach(child, prefix=HAND, frame=parent.add_frame())
    for name, effort in zip(hand.joint_names, effort_limit, strict=True):
        drive = spec.add_actuator(name=HAND + name, target=HAND + name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        drive.set_to_position(kp=stiffness, kv=damping)
        drive.forcelimited = True
        drive.forcerange = [-effort, effort]
