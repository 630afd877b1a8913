"""The test bench that judges grasps: a free-flying hand executes them in a scene under the papers' named protocols."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np
from dexgrasp_common.parameters import param
from dexgrasp_common.registry import Backend, Registry
from dexgrasp_description.mjcf import hand_spec
from numpy.typing import NDArray

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.plant import SimError
from dexgrasp_sim.scene import OBJECT, ROBOT, STATIC, TIMESTEP, add_object, set_physics, surface

# DexGraspNet 2.0's simulation evaluator: where the hand goes and when.
RETREAT = 0.10  # the palm waits this far back along the approach [m]
LIFT = 0.20  # how far the palm lifts [m]
STEEP = math.cos(math.radians(60.0))  # an approach more downward than this lifts by retreating
RISE = 0.03  # an object this much higher at the end was lifted [m]
COVER_TIME, GRASP_TIME, SQUEEZE_TIME, LIFT_TIME = 40 / 60, 20 / 60, 20 / 60, 60 / 60  # [s]

_HAND = "hand/"  # before the names of its bodies and joints
_CARRIER = ("carrier_x", "carrier_y", "carrier_z")
_CARRIER_STIFFNESS, _CARRIER_DAMPING = 6000.0, 150.0  # [N/m], [N s/m]; the hand weighs 0.75 kg


class LiftTestError(SimError):
    """The scene or the grasps cannot be tested."""


@dataclass(frozen=True)
class LiftConfig:
    """Physics of the `lift` protocol.

    Attributes:
        friction: Coefficient of every contact.
        timestep: Of the simulation [s]; slower than 1/240 s is not honest about friction.
        stiffness: Of the finger drives [N m/rad].
        damping: Of the finger drives [N m s/rad].
        effort_limit: Largest torque of a finger joint [N m].
        held_still: Cancel gravity and velocities of the objects until the squeeze has ended, as the benchmark does;
            False lets them fall, roll and be pushed, as a robot would.
    """

    friction: float = param(0.2, "coefficient of friction of every contact", range=(0.0, 2.0))
    timestep: float = param(TIMESTEP, "simulation step [s]", range=(1e-4, TIMESTEP))
    stiffness: float = param(800.0, "stiffness of the finger drives [N m/rad]", range=(0.0, 1e4))
    damping: float = param(20.0, "damping of the finger drives [N m s/rad]", range=(0.0, 1e3))
    effort_limit: float = param(0.95, "largest torque of a finger joint [N m]", range=(0.0, 10.0))
    held_still: bool = param(True, "cancel gravity and velocities of the objects until the squeeze has ended")


@dataclass(frozen=True)
class LiftScene:
    """Objects at rest on the plane z = 0.

    Attributes:
        objects: The objects; their names differ.
        world_T_object: array (M, 4, 4).
    """

    objects: Sequence[ObjectModel]
    world_T_object: NDArray[np.float64]


@dataclass(frozen=True)
class LiftResult:
    """What came of each of N grasps.

    Attributes:
        success: array (N,) bool: clear at the pregrasp and an object rose by more than `RISE`.
        pregrasp_clear: array (N,) bool: the hand touched nothing at the pregrasp.
        rise: array (N,), how much the highest-risen object rose [m].
        lifted: array (N,), index of that object.
    """

    success: NDArray[np.bool_]
    pregrasp_clear: NDArray[np.bool_]
    rise: NDArray[np.float64]
    lifted: NDArray[np.intp]


class GraspTester(Protocol):
    """Judges grasps of one hand."""

    def lift(self, scene: LiftScene, grasps: GraspSet) -> LiftResult:
        """Each grasp in the scene as given: pregrasp, cover, grasp, squeeze, lift.

        Raises:
            LiftTestError: The grasps are of another hand, or the scene is malformed.
        """
        ...


class MujocoTester:
    """The bench in MuJoCo: the hand on three position-controlled slides, its orientation fixed as in the protocol."""

    def __init__(self, hand: HandModel, config: LiftConfig | None = None) -> None:
        self._hand = hand
        self._config = config or LiftConfig()

    def lift(self, scene: LiftScene, grasps: GraspSet) -> LiftResult:
        """See `GraspTester.lift`."""
        if grasps.hand != self._hand.name:
            raise LiftTestError(f"This bench holds {self._hand.name}; the grasps are of {grasps.hand!r}.")
        bench = _Bench(self._hand, self._config, scene)
        outcomes = [
            bench.run(grasps.world_T_palm[i], grasps.pregrasp[i], grasps.grasp[i], grasps.squeeze[i])
            for i in range(len(grasps))
        ]
        clear = np.array([outcome[0] for outcome in outcomes], dtype=bool)
        rises = np.array([outcome[1] for outcome in outcomes]).reshape(len(outcomes), len(scene.objects))
        lifted = rises.argmax(axis=1)
        rise = rises.max(axis=1, initial=-np.inf)
        return LiftResult(clear & (rise > RISE), clear, rise, lifted)


class _Bench:
    """One compiled scene with a hand in it."""

    def __init__(self, hand: HandModel, config: LiftConfig, scene: LiftScene) -> None:
        poses = np.asarray(scene.world_T_object, dtype=np.float64)
        if not scene.objects or poses.shape != (len(scene.objects), 4, 4):
            raise LiftTestError(
                f"A scene needs at least one object and a pose (4, 4) for each; got {len(scene.objects)} objects and "
                f"poses of shape {poses.shape}."
            )
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
        self._root = model.body(_HAND + hand.base_link).id
        carrier = model.body("carrier").id
        self._hand_bodies = np.zeros(model.nbody, dtype=bool)
        for body in range(model.nbody):
            self._hand_bodies[body] = body == carrier or self._hand_bodies[model.body_parentid[body]]
        self._hand_bodies[0] = False
        bodies = [model.body(item.name).id for item in scene.objects]
        self._objects = np.array(bodies)
        first = model.body_jntadr[self._objects]
        self._object_dofs = (model.jnt_dofadr[first][:, None] + np.arange(6)).ravel()
        names = [*_CARRIER, *(_HAND + joint for joint in hand.joint_names)]
        self._hand_qpos = np.array([model.joint(name).qposadr[0] for name in names])
        self._hand_dofs = np.array([model.joint(name).dofadr[0] for name in names])
        self._drives = np.array([model.actuator(f"drive/{name}").id for name in names])

    def run(
        self, world_T_palm: NDArray[np.float64], pregrasp: NDArray[np.float64], grasp: NDArray[np.float64],
        squeeze: NDArray[np.float64],
    ) -> tuple[bool, NDArray[np.float64]]:  # fmt: skip
        """Whether the pregrasp was clear, and how much each object rose [m]."""
        model, data, config = self._model, self._data, self._config
        mujoco.mj_resetData(model, data)
        mujoco.mju_mat2Quat(model.body_quat[self._root], world_T_palm[:3, :3].ravel())
        approach = world_T_palm[:3, :3] @ self._hand.approach_axis
        position = world_T_palm[:3, 3]
        back = position - RETREAT * approach
        up = position + LIFT * (-approach if -approach[2] > STEEP else np.array([0.0, 0.0, 1.0]))
        waypoints = [np.concatenate(parts) for parts in (
            (back, pregrasp), (position, pregrasp), (position, grasp), (position, squeeze), (up, squeeze)
        )]  # fmt: skip
        data.qpos[self._hand_qpos] = waypoints[0]
        data.ctrl[self._drives] = waypoints[0]
        mujoco.mj_forward(model, data)
        if self._hand_touches():
            return False, np.zeros(len(self._objects))
        heights = data.xpos[self._objects, 2].copy()
        model.body_gravcomp[self._objects] = 1.0 if config.held_still else 0.0
        durations = (COVER_TIME, GRASP_TIME, SQUEEZE_TIME, LIFT_TIME)
        for phase, (start, end, duration) in enumerate(zip(waypoints[:-1], waypoints[1:], durations, strict=True)):
            if phase == len(durations) - 1:
                model.body_gravcomp[self._objects] = 0.0
            steps = round(duration / config.timestep)
            for step in range(1, steps + 1):
                data.ctrl[self._drives] = start + (end - start) * (step / steps)
                mujoco.mj_step(model, data)
                if config.held_still and phase < len(durations) - 1:
                    data.qvel[self._object_dofs] = 0.0
        mujoco.mj_kinematics(model, data)
        return True, data.xpos[self._objects, 2] - heights

    def _add_hand(self, spec: mujoco.MjSpec) -> None:
        hand, config = self._hand, self._config
        carrier = spec.worldbody.add_body(name="carrier", gravcomp=1.0)
        for name, axis in zip(_CARRIER, np.eye(3), strict=True):
            carrier.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
        carrier.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.001, 0.0, 0.0], mass=0.5, contype=0, conaffinity=0)
        child = hand_spec(hand)
        for body in child.bodies[1:]:
            body.gravcomp = 1.0
        for geom in child.geoms:
            geom.contype, geom.conaffinity = ROBOT, OBJECT | STATIC  # not with itself, as in the protocol
            for key, value in surface(config.friction).items():
                setattr(geom, key, value)
        for name in hand.joint_names:
            child.joint(name).armature = 5e-3
        spec.attach(child, prefix=_HAND, frame=carrier.add_frame())
        for name in _CARRIER:
            drive = spec.add_actuator(name=f"drive/{name}", target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            drive.set_to_position(kp=_CARRIER_STIFFNESS, kv=_CARRIER_DAMPING)
        for name in (_HAND + joint for joint in hand.joint_names):
            drive = spec.add_actuator(name=f"drive/{name}", target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            drive.set_to_position(kp=config.stiffness, kv=config.damping)
            drive.forcelimited = True
            drive.forcerange = [-config.effort_limit, config.effort_limit]

    def _hand_touches(self) -> bool:
        bodies = self._model.geom_bodyid[self._data.contact.geom]
        of_hand = self._hand_bodies[bodies]
        return bool((of_hand.any(axis=1) & ~of_hand.all(axis=1) & (self._data.contact.dist < 0.0)).any())


GRASP_TESTERS = Registry(
    "grasp tester",
    {
        "mujoco": Backend(
            "dexgrasp_sim.tester:MujocoTester", ("mujoco",), "pip install mujoco", "free-flying hand in MuJoCo"
        )
    },
    default="mujoco",
)
