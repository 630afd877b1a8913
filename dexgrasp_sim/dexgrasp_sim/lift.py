"""The `lift` protocol in MuJoCo: a free-flying hand goes to a grasp in a scene, closes, squeezes and lifts."""

from __future__ import annotations

import math
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_sim.driven_hand import HAND, add_driven_hand
from dexgrasp_sim.scene import OBJECT, ROBOT, STATIC, add_object, set_physics, surface
from dexgrasp_sim.tester import RISE, LiftConfig, LiftOutcome, LiftScene

# DexGraspNet 2.0's simulation evaluator: where the hand goes and when.
RETREAT = 0.10  # the palm waits this far back along the approach [m]
LIFT = 0.20  # how far the palm lifts [m]
STEEP = math.cos(math.radians(60.0))  # an approach more downward than this lifts by retreating
PHASE_TIMES = (40 / 60, 20 / 60, 20 / 60, 60 / 60)  # cover, grasp, squeeze, lift [s]

_CARRIER = ("carrier_x", "carrier_y", "carrier_z")
CARRIER_STIFFNESS, CARRIER_DAMPING = 6000.0, 150.0  # [N/m], [N s/m]; the hand weighs 0.75 kg


def phases(
    hand: HandModel,
    world_T_palm: NDArray[np.float64],
    pregrasp: NDArray[np.float64],
    grasp: NDArray[np.float64],
    squeeze: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Where the palm and the joints of one grasp are before and after each phase, array (5, 3 + D).

    Palm positions in the world [m]; its orientation stays. Phases: cover, grasp, squeeze, lift (`PHASE_TIMES`).
    """
    approach = world_T_palm[:3, :3] @ hand.approach_axis
    position = world_T_palm[:3, 3]
    back = position - RETREAT * approach
    up = position + LIFT * (-approach if -approach[2] > STEEP else np.array([0.0, 0.0, 1.0]))
    waypoints = (back, pregrasp), (position, pregrasp), (position, grasp), (position, squeeze), (up, squeeze)
    return np.array([np.concatenate(parts) for parts in waypoints])


class Lift(NamedTuple):
    """What came of one grasp in a scene of M objects.

    Attributes:
        outcome: What became of it.
        rises: array (M,), how much each object rose [m].
        held: Index of the object that most links touched when the squeeze had ended; -1: none.
    """

    outcome: LiftOutcome
    rises: NDArray[np.float64]
    held: int


class LiftBench:
    """One compiled scene with a hand in it."""

    def __init__(self, hand: HandModel, config: LiftConfig, scene: LiftScene) -> None:
        poses = np.asarray(scene.world_T_object, dtype=np.float64)
        self._hand, self._config = hand, config
        spec = mujoco.MjSpec()
        set_physics(spec, config.timestep)
        spec.worldbody.add_geom(
            name="support",
            type=mujoco.mjtGeom.mjGEOM_PLANE,
            size=[2.0, 2.0, 0.1],
            contype=STATIC,
            conaffinity=ROBOT | OBJECT,
            **surface(config.friction),
        )
        for model, pose in zip(scene.objects, poses, strict=True):
            add_object(spec, model, config.friction, pose)
        self._add_hand(spec)
        self._model = model = spec.compile()
        self._data = mujoco.MjData(model)
        self._root = model.body(HAND + hand.base_link).id
        carrier = model.body("carrier").id
        self._hand_bodies = np.zeros(model.nbody, dtype=bool)
        for body in range(model.nbody):
            self._hand_bodies[body] = body == carrier or self._hand_bodies[model.body_parentid[body]]
        self._hand_bodies[0] = False
        bodies = [model.body(item.name).id for item in scene.objects]
        self._objects = np.array(bodies)
        first = model.body_jntadr[self._objects]
        self._object_dofs = (model.jnt_dofadr[first][:, None] + np.arange(6)).ravel()
        names = [*_CARRIER, *(HAND + joint for joint in hand.joint_names)]
        self._hand_qpos = np.array([model.joint(name).qposadr[0] for name in names])
        self._hand_dofs = np.array([model.joint(name).dofadr[0] for name in names])
        self._drives = np.array([model.actuator(name).id for name in names])

    def run(
        self, world_T_palm: NDArray[np.float64], pregrasp: NDArray[np.float64], grasp: NDArray[np.float64],
        squeeze: NDArray[np.float64],
    ) -> Lift:  # fmt: skip
        """One grasp through all phases; the objects lie where they were to begin with."""
        model, data, config = self._model, self._data, self._config
        waypoints = phases(self._hand, world_T_palm, pregrasp, grasp, squeeze)
        if not self.clear_at(world_T_palm, waypoints[0]):
            return Lift(LiftOutcome.COLLIDES, np.zeros(len(self._objects)), -1)
        heights = data.xpos[self._objects, 2].copy()
        model.body_gravcomp[self._objects] = 1.0 if config.held_still else 0.0
        last = len(PHASE_TIMES) - 1
        touched, links = False, np.zeros(len(self._objects), dtype=int)
        for phase, (start, end, duration) in enumerate(zip(waypoints[:-1], waypoints[1:], PHASE_TIMES, strict=True)):
            if phase == last:
                model.body_gravcomp[self._objects] = 0.0
            steps = round(duration / config.timestep)
            for step in range(1, steps + 1):
                data.ctrl[self._drives] = start + (end - start) * (step / steps)
                mujoco.mj_step(model, data)
                if config.held_still and phase < last:
                    data.qvel[self._object_dofs] = 0.0
            if phase < last:
                links = self._touching_links()
                touched |= bool(links.any())
        mujoco.mj_kinematics(model, data)
        rises = data.xpos[self._objects, 2] - heights
        held = int(links.argmax()) if links.any() else -1
        if rises.max() > RISE:
            return Lift(LiftOutcome.LIFTED, rises, held)
        if held >= 0:
            return Lift(LiftOutcome.DROPPED, rises, held)
        return Lift(LiftOutcome.LOST if touched else LiftOutcome.MISSED, rises, held)

    def clear_at(self, world_T_palm: NDArray[np.float64], waypoint: NDArray[np.float64]) -> bool:
        """Whether the hand, its palm turned as in `world_T_palm`, touches nothing at a waypoint (3 + D) of `phases`.

        The scene is left in that state, the objects where they were to begin with.
        """
        model, data = self._model, self._data
        mujoco.mj_resetData(model, data)
        mujoco.mju_mat2Quat(model.body_quat[self._root], world_T_palm[:3, :3].ravel())
        data.qpos[self._hand_qpos] = waypoint
        data.ctrl[self._drives] = waypoint
        mujoco.mj_forward(model, data)
        return not self._hand_touches()

    def _add_hand(self, spec: mujoco.MjSpec) -> None:
        hand, config = self._hand, self._config
        carrier = spec.worldbody.add_body(name="carrier", gravcomp=1.0)
        for name, axis in zip(_CARRIER, np.eye(3), strict=True):
            carrier.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
        carrier.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.001, 0.0, 0.0], mass=0.5, contype=0, conaffinity=0)
        for name in _CARRIER:
            drive = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            drive.set_to_position(kp=CARRIER_STIFFNESS, kv=CARRIER_DAMPING)
        add_driven_hand(
            spec,
            carrier,
            hand,
            friction=config.friction,
            stiffness=config.stiffness,
            damping=config.damping,
            effort_limit=np.full(len(hand.joint_names), config.effort_limit),
        )

    def _hand_touches(self) -> bool:
        bodies = self._model.geom_bodyid[self._data.contact.geom]
        of_hand = self._hand_bodies[bodies]
        return bool((of_hand.any(axis=1) & ~of_hand.all(axis=1) & (self._data.contact.dist < 0.0)).any())

    def _touching_links(self) -> NDArray[np.int64]:
        """How many links of the hand touch each object, (M,)."""
        bodies = self._model.geom_bodyid[self._data.contact.geom[self._data.contact.dist < 0.0]]
        pairs = np.unique(np.sort(bodies, axis=1), axis=0)
        of_hand = self._hand_bodies[pairs]
        others = pairs[of_hand.any(axis=1) & ~of_hand.all(axis=1)]
        return (others[:, :, None] == self._objects).any(axis=1).sum(axis=0)
