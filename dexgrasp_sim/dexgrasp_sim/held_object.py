"""A floating object in a hand whose palm is fixed, in MuJoCo: what the protocols that hold one object share."""

from __future__ import annotations

import math

import mujoco
import numpy as np
from dexgrasp_common.transforms import invert
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_sim.driven_hand import HAND
from dexgrasp_sim.scene import qpos_of, set_physics

# Of the simulation [B]: a hand deep in an object has thousands of contacts, and none may be lost.
_MEMORY = 1 << 26
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


def floating_spec(timestep: float) -> mujoco.MjSpec:
    """An empty scene without gravity: what pulls acts on the object alone, a real hand's servos bear its fingers."""
    spec = mujoco.MjSpec()
    set_physics(spec, timestep)
    # Fingers do not act on each other: 8 % faster than the dense matrices that MuJoCo would choose at this size.
    spec.option.jacobian = mujoco.mjtJacobian.mjJAC_SPARSE
    spec.option.gravity = np.zeros(3)
    spec.memory = _MEMORY
    # A simulation that went wrong would otherwise start again at the model's initial state.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    return spec


class HeldObject:
    """A scene with one object and one driven hand, compiled once for all grasps. The world is the palm's frame.

    Args:
        spec: Holds the object (`add_object`) and the hand, fixed to the world (`add_driven_hand`).
        hand: The hand.
        name: Of the object.

    Attributes:
        model, data: MuJoCo's.
        body: The object's.
        pose: Of the object in `data.qpos` (position, wxyz).
        speed: Of the object in `data.qvel` (linear in the world, angular in the object's frame).
        joints: Of the hand in `data.qpos`, (D,).
        drives: Of the hand in `data.ctrl`, (D,).
        link_of_body: Index into `hand.links` of each body, -1 for others.
    """

    def __init__(self, spec: mujoco.MjSpec, hand: HandModel, name: str) -> None:
        self.model = model = spec.compile()
        self.data = mujoco.MjData(model)
        self.body = model.body(name).id
        free = model.joint(f"{name}/free")
        self.pose = slice(free.qposadr[0], free.qposadr[0] + 7)
        self.speed = slice(free.dofadr[0], free.dofadr[0] + 6)
        self.joints = np.array([model.joint(HAND + joint).qposadr[0] for joint in hand.joint_names])
        self.drives = np.array([model.actuator(HAND + joint).id for joint in hand.joint_names])
        self.link_of_body = np.full(model.nbody, -1)
        for index, link in enumerate(hand.links):
            self.link_of_body[model.body(HAND + link).id] = index
        self._saved = np.zeros(mujoco.mj_stateSize(model, _STATE))

    def place(self, object_T_palm: NDArray[np.float64], q: NDArray[np.float64]) -> None:
        """Begin anew: nothing moves, the hand (4, 4) has the joints (D,) and drives to where they are."""
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[self.pose] = qpos_of(invert(object_T_palm))
        self.data.qpos[self.joints] = q
        self.data.ctrl[self.drives] = q
        mujoco.mj_fwdPosition(self.model, self.data)

    def save(self) -> None:
        """Remember this state, the only one."""
        mujoco.mj_getState(self.model, self.data, self._saved, _STATE)

    def restore(self) -> None:
        """Go back to the state that was remembered."""
        mujoco.mj_setState(self.model, self.data, self._saved, _STATE)

    def overlap(self) -> float:
        """How deep the deepest contact is, of a hand that does not touch itself: in the object [m]; 0: in nothing."""
        return max(0.0, -self.data.contact.dist.min(initial=0.0))


def travel(start: NDArray[np.float64], end: NDArray[np.float64]) -> tuple[float, float]:
    """Distance [m] and angle [rad] between two states of a free joint (position, wxyz); NaN where one is."""
    turn = np.zeros(3)
    mujoco.mju_subQuat(turn, end[3:], start[3:])
    return math.dist(start[:3], end[:3]), math.hypot(*turn)
