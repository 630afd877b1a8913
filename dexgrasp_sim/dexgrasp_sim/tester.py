"""The test bench that judges grasps by the papers' named protocols: what goes in, what comes out, who does it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from dexgrasp_common.parameters import param
from dexgrasp_common.registry import Backend, Registry
from numpy.typing import NDArray

from dexgrasp_description import GraspSet
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.plant import SimError
from dexgrasp_sim.scene import TIMESTEP

RISE = 0.03  # `lift`: an object this much higher at the end was lifted [m]
MAX_CONTACTS = 6  # `hold6`: contacts that are reported of one grasp

# Unit vectors of the pulls, in the order of the results' columns. `hold6`: palm frame; `dga` and `dexgraspbench`: the
# object's, as it is to begin with.
DIRECTIONS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=np.float64)


class LiftTestError(SimError):
    """The scene or the grasps cannot be tested."""


class HoldTestError(SimError):
    """The grasps do not fit the hand, or are no numbers."""


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
class HoldConfig:
    """Physics and thresholds of the `hold6` protocol (DexGraspNet 2.0, D.3; the strict figures are ours).

    The drives are as strong as the hand's description says.
    """

    friction: float = param(0.2, "coefficient of friction of every contact", range=(0.0, 2.0))
    timestep: float = param(
        TIMESTEP, "simulation step [s]; a slower one is not honest about friction", range=(1e-4, TIMESTEP)
    )
    impratio: float = param(
        10.0, "stiffness of friction against that of the normal force; more creeps less", range=(1.0, 1000.0)
    )
    stiffness: float = param(800.0, "stiffness of the finger drives [N m/rad or N/m]", range=(0.0, 1e4))
    damping: float = param(20.0, "damping of the finger drives [N m s/rad or N s/m]", range=(0.0, 1e3))
    penetration_limit: float = param(0.002, "deepest overlap of hand and object to begin with [m]", range=(0.0, 0.1))
    settle_time: float = param(0.25, "time of each of the two settlings, without gravity [s]", range=(0.0, 10.0))
    hold_time: float = param(1.0, "how long gravity pulls in each direction [s]", range=(0.0, 10.0))
    displacement_limit: float = param(0.02, "an object that moves further is lost [m]", range=(0.0, 1.0))
    rotation_limit: float = param(
        math.radians(45.0), "an object that turns further is lost [rad]", range=(0.0, math.pi)
    )
    rest_speed: float = param(
        3e-4, "a direction is passed early once the object is slower over 0.1 s; 0: never [m/s]", range=(0.0, 1.0)
    )
    rest_turn: float = param(0.01, "and turns slower [rad/s]", range=(0.0, 10.0))
    strict_displacement: float = param(0.005, "a strict hold moves no further, in any phase [m]", range=(0.0, 1.0))
    strict_rotation: float = param(math.radians(15.0), "a strict hold turns no further [rad]", range=(0.0, math.pi))


@dataclass(frozen=True)
class DgaConfig:
    """Physics and thresholds of the `dga` protocol, those of DexGrasp Anything's evaluator in PhysX.

    The drives are as strong as the hand's description says; how strong theirs are is not published.
    """

    friction: float = param(2.0, "coefficient of friction of every contact", range=(0.0, 10.0))
    timestep: float = param(TIMESTEP, "simulation step, a whole part of 1/60 s [s]", range=(1e-4, 1.0 / 60.0))
    stiffness: float = param(400.0, "stiffness of the finger drives [N m/rad or N/m]", range=(0.0, 1e4))
    damping: float = param(400.0, "damping of the finger drives [N m s/rad or N s/m]", range=(0.0, 1e4))
    inertia: float = param(
        10.0, "of the fingers' motors, times that of the other protocols; 1 needs a step of 1/960 s", range=(0.1, 100.0)
    )
    density: float = param(1000.0, "of the object, whatever its description weighs [kg/m^3]", range=(1.0, 1e5))
    linear_damping: float = param(10.0, "share of the object's velocity that is lost [1/s]", range=(0.0, 1e3))
    angular_damping: float = param(100.0, "share of its angular velocity that is lost [1/s]", range=(0.0, 1e3))
    reach: float = param(0.005, "points of the hand this near to the object squeeze [m]", range=(0.0, 0.1))
    squeeze: float = param(0.5, "by how much a joint that can press closes [rad or m]", range=(0.0, 3.0))
    settle_time: float = param(200 / 60, "time of the squeeze [s]", range=(0.0, 100.0))
    pull_time: float = param(50 / 60, "time of the pull in each direction [s]", range=(0.0, 100.0))
    pull: float = param(500.0, "force by the object's volume [N/m^3]", range=(0.0, 1e5))
    displacement_limit: float = param(0.02, "an object that moves further is lost [m]", range=(0.0, 1.0))


@dataclass(frozen=True)
class DexGraspBenchConfig:
    """Physics and thresholds of the `dexgraspbench` protocol: DexGraspBench's test of force closure, `fc`.

    Its hands' joints have dampings of their own; here one figure near the critical one of a driven finger stands for
    them.
    """

    friction: float = param(0.6, "coefficient of sliding friction of every contact", range=(0.0, 2.0))
    torsion: float = param(0.02, "of torsional friction [m]", range=(0.0, 1.0))
    timestep: float = param(0.004, "simulation step [s]", range=(1e-4, 0.01))
    stiffness: float = param(5.0, "stiffness of the finger drives [N m/rad or N/m]", range=(0.0, 1e4))
    damping: float = param(0.3, "damping of the finger drives [N m s/rad or N s/m]", range=(0.0, 1e3))
    effort_limit: float = param(3.0, "largest torque of a finger joint [N m or N]", range=(0.0, 100.0))
    mass: float = param(0.1, "of the object, whatever its description weighs [kg]", range=(1e-3, 10.0))
    acceleration: float = param(10.0, "force by the object's mass [m/s^2]", range=(0.0, 100.0))
    penetration_limit: float = param(
        0.01, "deepest overlap of hand and object, or of the hand with itself, at the grasp [m]", range=(0.0, 0.1)
    )
    phase_time: float = param(0.4, "from pregrasp to grasp, and from there to the squeeze [s]", range=(0.0, 10.0))
    hold_time: float = param(2.0, "how long each direction is held [s]", range=(0.0, 10.0))
    displacement_limit: float = param(0.05, "an object that moves further is lost [m]", range=(0.0, 1.0))
    rotation_limit: float = param(
        math.radians(15.0), "an object that turns further is lost [rad]", range=(0.0, math.pi)
    )


@dataclass(frozen=True)
class LiftScene:
    """Objects at rest on the plane z = 0.

    Attributes:
        objects: The objects; their names differ.
        world_T_object: array (M, 4, 4).
    """

    objects: Sequence[ObjectModel]
    world_T_object: NDArray[np.float64]


class LiftOutcome(IntEnum):
    """Why `lift` accepted or refused a grasp."""

    LIFTED = 0
    COLLIDES = 1  # the hand touched something at the pregrasp
    MISSED = 2  # the closing and squeezing fingers touched no object
    LOST = 3  # they touched one, and none any more when the squeeze had ended
    DROPPED = 4  # they held on to one, and it did not come along, or fell
    FAILED = 5  # not lifted, by a bench that cannot tell which of the last three


@dataclass(frozen=True)
class LiftResult:
    """What came of each of N grasps.

    Attributes:
        success: array (N,) bool: clear at the pregrasp and an object rose by more than `RISE`.
        pregrasp_clear: array (N,) bool: the hand touched nothing at the pregrasp.
        rise: array (N,), how much the highest-risen object rose [m].
        lifted: array (N,), index of that object.
        outcome: array (N,) uint8, see `LiftOutcome`.
        held: array (N,), index of the object that most links touched when the squeeze had ended; -1: none, or not told.
    """

    success: NDArray[np.bool_]
    pregrasp_clear: NDArray[np.bool_]
    rise: NDArray[np.float64]
    lifted: NDArray[np.intp]
    outcome: NDArray[np.uint8]
    held: NDArray[np.intp]


class HoldOutcome(IntEnum):
    """Why `hold6` accepted or refused a grasp."""

    HELD = 0
    PENETRATES = 1  # hand and object overlap too deeply to begin with
    UNSETTLED = 2  # the closing fingers pushed the object away, or never got hold of it
    DROPPED = 3  # gravity moved the object too far
    TURNED = 4  # gravity turned the object too far


@dataclass(frozen=True)
class HoldResult:
    """What came of each of N grasps. What was not simulated, because the grasp had failed before, is NaN.

    Attributes:
        success: array (N,) bool: the object was held in all six directions.
        outcome: array (N,) uint8, see `HoldOutcome`.
        strict: array (N,) bool: held, and the second settling and every direction stayed within the strict figures.
        object_T_palm: array (N, 4, 4), after the first settling; as given where it was not reached.
        grasp: array (N, D), joints after the first settling [rad or m]; likewise.
        squeeze: array (N, D), settled grasp + (squeeze - grasp) as given.
        penetration: array (N,), deepest overlap to begin with [m]; 0: none.
        settling: array (N, 2), how far the object moved in each settling [m].
        displacement: array (N, 6), how far the object moved under gravity along each of `DIRECTIONS` [m].
        rotation: array (N, 6), how far it turned [rad].
        contacts: array (N, K, 3), after the second settling, the strongest contact of each link that touches, strongest
            first, object frame [m]; NaN where there are fewer than K = `MAX_CONTACTS`.
        links: array (N, K), index of that link in `hand.links`; -1 where there are fewer.
    """

    success: NDArray[np.bool_]
    outcome: NDArray[np.uint8]
    strict: NDArray[np.bool_]
    object_T_palm: NDArray[np.float64]
    grasp: NDArray[np.float64]
    squeeze: NDArray[np.float64]
    penetration: NDArray[np.float64]
    settling: NDArray[np.float64]
    displacement: NDArray[np.float64]
    rotation: NDArray[np.float64]
    contacts: NDArray[np.float64]
    links: NDArray[np.int64]

    @classmethod
    def untested(
        cls, object_T_palm: NDArray[np.float64], grasp: NDArray[np.float64], squeeze: NDArray[np.float64]
    ) -> HoldResult:
        """A result for a bench to fill in: the grasps as given, and NaN."""
        count = len(object_T_palm)
        return cls(
            success=np.zeros(count, dtype=bool),
            outcome=np.zeros(count, dtype=np.uint8),
            strict=np.zeros(count, dtype=bool),
            object_T_palm=object_T_palm.copy(),
            grasp=grasp.copy(),
            squeeze=squeeze.copy(),
            penetration=np.full(count, np.nan),
            settling=np.full((count, 2), np.nan),
            displacement=np.full((count, 6), np.nan),
            rotation=np.full((count, 6), np.nan),
            contacts=np.full((count, MAX_CONTACTS, 3), np.nan),
            links=np.full((count, MAX_CONTACTS), -1),
        )

    def judged(self, config: HoldConfig) -> HoldResult:
        """The same result with `success` and `strict` as they follow from the rest."""
        moved = np.maximum(self.settling[:, 1], self.displacement.max(axis=1))
        self.success[:] = self.outcome == HoldOutcome.HELD
        self.strict[:] = self.success & (moved < config.strict_displacement)
        self.strict[:] &= self.rotation.max(axis=1) < config.strict_rotation
        return self


@dataclass(frozen=True)
class DgaResult:
    """What came of each of N grasps.

    Attributes:
        success: array (N,) bool: the object moved less than the limit in all six directions (Suc.6).
        any_direction: array (N,) bool: in at least one (Suc.1).
        displacement: array (N, 6), from where the object was before the pull along each of `DIRECTIONS` to where it was
            after it [m].
        squeeze: array (N, D), joint targets of the squeeze, which the protocol makes itself [rad or m].
    """

    success: NDArray[np.bool_]
    any_direction: NDArray[np.bool_]
    displacement: NDArray[np.float64]
    squeeze: NDArray[np.float64]


class DexGraspBenchOutcome(IntEnum):
    """Why `dexgraspbench` accepted or refused a grasp."""

    HELD = 0
    PENETRATES = 1  # hand and object overlap too deeply at the grasp
    SELF_PENETRATES = 2  # the hand overlaps itself too deeply there
    DROPPED = 3  # the object moved too far, in the fingers' closing or under the force
    TURNED = 4  # it turned too far


@dataclass(frozen=True)
class DexGraspBenchResult:
    """What came of each of N grasps. What was not simulated, because the grasp had failed before, is NaN.

    Attributes:
        success: array (N,) bool: the object was held in all six directions.
        outcome: array (N,) uint8, see `DexGraspBenchOutcome`.
        displacement: array (N, 6), how far the object was from where it lay at the pregrasp, under the force along each
            of `DIRECTIONS` [m].
        rotation: array (N, 6), how far it had turned [rad].
        penetration: array (N,), deepest overlap of hand and object at the grasp [m]; 0: none.
        self_penetration: array (N,), deepest overlap of two links [m]; 0: none.
        contact_links: array (N,), links within 2 mm of the object, or in it.
        contact_distance: array (N,), mean over fingers within 1 cm of how far their nearest link is from touching, or
            how deep it is in the object [m]; NaN: no finger is that near.
        contact_consistency: array (N,), largest less smallest signed distance of these fingers [m]; NaN likewise.
    """

    success: NDArray[np.bool_]
    outcome: NDArray[np.uint8]
    displacement: NDArray[np.float64]
    rotation: NDArray[np.float64]
    penetration: NDArray[np.float64]
    self_penetration: NDArray[np.float64]
    contact_links: NDArray[np.int64]
    contact_distance: NDArray[np.float64]
    contact_consistency: NDArray[np.float64]


class GraspTester(Protocol):
    """Judges grasps of one hand. The same grasps give the same verdicts, alone or among others."""

    def lift(self, scene: LiftScene, grasps: GraspSet) -> LiftResult:
        """Each grasp in the scene as given: pregrasp, cover, grasp, squeeze, lift.

        Raises:
            LiftTestError: The grasps are of another hand, or the scene is malformed.
        """
        ...

    def hold6(
        self,
        model: ObjectModel,
        object_T_palm: NDArray[np.float64],
        grasp: NDArray[np.float64],
        squeeze: NDArray[np.float64],
    ) -> HoldResult:
        """Each grasp on the floating object: settle, relabel, settle, then gravity along six directions in turn.

        Args:
            model: The object.
            object_T_palm: array (N, 4, 4), palm poses in the object's frame.
            grasp: array (N, D), joints in contact, in the order of `hand.joint_names` [rad or m].
            squeeze: array (N, D), joint targets that press [rad or m].

        Raises:
            HoldTestError: Shapes do not fit the hand, or a number is not finite, or a matrix is no pose.
        """
        ...

    def dga(self, model: ObjectModel, object_T_palm: NDArray[np.float64], grasp: NDArray[np.float64]) -> DgaResult:
        """Each grasp on the floating object: squeezed by the protocol's own rule, then pulled in six directions on end.

        Args:
            model: The object.
            object_T_palm: array (N, 4, 4), palm poses in the object's frame.
            grasp: array (N, D), joints to begin with, in the order of `hand.joint_names` [rad or m].

        Raises:
            HoldTestError: As `hold6`.
        """
        ...

    def dexgraspbench(
        self,
        model: ObjectModel,
        object_T_palm: NDArray[np.float64],
        pregrasp: NDArray[np.float64],
        grasp: NDArray[np.float64],
        squeeze: NDArray[np.float64],
    ) -> DexGraspBenchResult:
        """Each grasp on the floating object: closed from the pregrasp by way of the grasp to the squeeze, then pulled.

        Args:
            model: The object.
            object_T_palm: array (N, 4, 4), palm poses in the object's frame, the same for the three postures.
            pregrasp: array (N, D), opened joints [rad or m].
            grasp: array (N, D), joints in contact [rad or m].
            squeeze: array (N, D), joint targets that press [rad or m].

        Raises:
            HoldTestError: As `hold6`.
        """
        ...


def check_lift(hand: str, scene: LiftScene, grasps: GraspSet) -> None:
    """Raise LiftTestError unless the grasps are of that hand and the scene is one, see `GraspTester.lift`."""
    if grasps.hand != hand:
        raise LiftTestError(f"This bench holds {hand}; the grasps are of {grasps.hand!r}.")
    shape = np.shape(scene.world_T_object)
    if not scene.objects or shape != (len(scene.objects), 4, 4):
        raise LiftTestError(
            f"A scene needs at least one object and a pose (4, 4) for each; got {len(scene.objects)} objects and "
            f"poses of shape {shape}."
        )


def check_hold(joints: int, object_T_palm: NDArray[np.float64], **postures: NDArray[np.float64]) -> None:
    """Raise HoldTestError unless these are N grasps of a hand with that many joints, see `GraspTester.hold6`."""
    count = len(object_T_palm)
    for name, array, shape in (
        ("object_T_palm", object_T_palm, (count, 4, 4)),
        *((name, array, (count, joints)) for name, array in postures.items()),
    ):
        if array.shape != shape:
            raise HoldTestError(f"{name} of {count} grasps of this hand must have shape {shape}; got {array.shape}.")
        bad = ~np.isfinite(array).reshape(count, math.prod(shape[1:])).all(axis=1)
        if bad.any():
            raise HoldTestError(f"{name} must be finite; grasp {int(np.argmax(bad))} is not.")
    turns = object_T_palm[:, :3, :3]
    error = np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2), initial=0.0)
    bad = (error > 1e-4) | (np.linalg.det(turns) < 0.0) | (object_T_palm[:, 3] != [0.0, 0.0, 0.0, 1.0]).any(axis=1)
    if bad.any():
        raise HoldTestError(
            f"object_T_palm must be poses (a rotation, a translation, last row 0 0 0 1); number {int(np.argmax(bad))} "
            "is not."
        )


GRASP_TESTERS = Registry(
    "grasp tester",
    {
        "mujoco": Backend(
            "dexgrasp_sim.mujoco_tester:MujocoTester", ("mujoco",), "pip install mujoco", "free-flying hand in MuJoCo"
        ),
        "isaacgym": Backend(
            "dexgrasp_sim.isaacgym_tester:IsaacGymTester",
            ("$DEXGRASP_ISAACGYM_PYTHON",),
            "an NVIDIA GPU; Isaac Gym Preview 4 (developer.nvidia.com/isaac-gym) and ninja in an environment with "
            "Python 3.8; then DEXGRASP_ISAACGYM_PYTHON=<that environment>/bin/python",
            "free-flying hand in PhysX, as in the papers",
        ),
    },
    default="mujoco",
)
