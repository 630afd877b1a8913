"""From one grasp to arm and hand motion: pregrasp, cover, grasp, squeeze, lift, move over the bin, release, home.

The rules of pregrasp, cover, squeeze and lift are those of DexGraspNet 2.0's simulation evaluation (its
configuration `IsaacGymSimulator.yaml` and `width_mapper.py`). The postures themselves come with the grasp.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from dexgrasp_common.parameters import param
from numpy.typing import NDArray

from dexgrasp_description import Cell, GraspSet, load_arm
from dexgrasp_planner.cartesian import follow_line, line_points
from dexgrasp_planner.collision import CollisionChecker
from dexgrasp_planner.drop import DROP_HEIGHTS, drops
from dexgrasp_planner.errors import (
    GraspInCollisionError,
    InvalidGraspError,
    MotionError,
    NoPathError,
    PlanTimeoutError,
    StartInCollisionError,
    UnreachableError,
)
from dexgrasp_planner.joint_path import FindPath, RrtConnect, path_is_free
from dexgrasp_planner.manipulator import Manipulator
from dexgrasp_planner.scene import Scene, TargetedScene
from dexgrasp_planner.timing import Trajectory, minimum_jerk, time_path

Array = NDArray[np.float64]

# DexGraspNet 2.0: pregrasp is the grasp moved 10 cm back along the approach [m].
PREGRASP_RETREAT = 0.10
# DexGraspNet 2.0: the object is lifted by 20 cm [m] ...
LIFT_HEIGHT = 0.20
# ... back along the approach if that is within 60 degrees of straight down, else straight up.
LIFT_BACK_WITHIN = np.cos(np.radians(60.0))
# Ours: where the arm cannot lift that far, it lifts as far as it can, but at least so far [m].
LEAST_LIFT = 0.10
# A tight arm configuration (see `Scene.roomy_checker`) ranks as if it were this much farther away [rad].
_TIGHTNESS_PENALTY = 1.0
# Of the places at one height above the bin, the paths to this many are tried.
_DROPS_TRIED = 4
# Postures may exceed the hand's limits by this much, for rounding on the way here [rad].
_LIMIT_TOLERANCE = 1e-3


class PhaseKind(IntEnum):
    """The phases, numbered as in GraspPhase.msg."""

    PREGRASP = 1
    COVER = 2
    GRASP = 3
    SQUEEZE = 4
    LIFT = 5
    MOVE = 6
    RELEASE = 7
    HOME = 8


@dataclass(frozen=True, eq=False)
class Phase:
    """One phase. Arm and hand start together; None keeps that part where it is."""

    kind: PhaseKind
    arm: Trajectory | None = None
    hand: Trajectory | None = None


@dataclass(frozen=True, eq=False)
class GraspMotion:
    """A whole pick.

    Attributes:
        phases: In the order of execution.
        stage_milliseconds: What planning spent where.
    """

    phases: tuple[Phase, ...]
    stage_milliseconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class PlanRequest:
    """What to plan.

    Attributes:
        grasp: One grasp, world frame.
        start_arm: array (D,) [rad].
        start_hand: array (Dh,) [rad].
        cloud: array (..., 3), what the camera sees [m], world frame; NaN marks invalid points.
        seen_arm: array (D,), where the arm stood when the camera saw that [rad]; None: at the start.
        seen_hand: array (Dh,), likewise [rad].
    """

    grasp: GraspSet
    start_arm: Array
    start_hand: Array
    cloud: NDArray[np.floating]
    seen_arm: Array | None = None
    seen_hand: Array | None = None

    @property
    def seen(self) -> Array:
        """Joints of arm and hand (D + Dh,) when the camera saw the cloud [rad]."""
        arm = self.start_arm if self.seen_arm is None else self.seen_arm
        hand = self.start_hand if self.seen_hand is None else self.seen_hand
        return np.concatenate([arm, hand])


@dataclass(frozen=True)
class MotionConfig:
    """Settings of the motion planner."""

    time_budget: float = param(5.0, "Longest time to plan one grasp [s].", range=(0.1, 120.0))
    path_budget: float = param(1.0, "Longest time to search one path around obstacles [s].", range=(0.05, 60.0))
    velocity_scale: float = param(0.5, "Share of the arm's velocity limits.", range=(0.01, 1.0))
    acceleration_scale: float = param(0.5, "Share of the arm's acceleration limits.", range=(0.01, 1.0))
    line_scale: float = param(0.3, "Speed of cover and lift as a share of that of free moves.", range=(0.01, 1.0))
    carry_scale: float = param(0.35, "Speed with an object in the hand, as such a share.", range=(0.01, 1.0))
    voxel_size: float = param(0.01, "Edge of the scene's voxels [m].", range=(0.003, 0.05))
    extrude: bool = param(True, "Fill the space below what the camera sees, down to the table.")
    arm_distance: float = param(0.01, "How far the arm (not the hand) stays from everything [m].", range=(0.0, 0.1))
    open_time: float = param(0.8, "Least time for opening the hand on the way to the object [s].", range=(0.1, 10.0))
    grasp_time: float = param(0.8, "Least time for closing the fingers on the object [s].", range=(0.1, 10.0))
    squeeze_time: float = param(0.5, "Least time for pressing [s].", range=(0.1, 10.0))
    release_time: float = param(0.6, "Least time for letting go over the bin [s].", range=(0.1, 10.0))
    period: float = param(0.02, "Time between trajectory points [s].", range=(0.002, 0.2))
    seed: int = param(0, "Random seed of the path search.", range=(0, 2**31 - 2))


@dataclass(frozen=True, eq=False)
class _Approach:
    """One way for the arm to take the grasp: lines of configurations (N, D) [rad]."""

    cover: Array
    lift: Array


class GraspMotionPlanner:
    """Plans picks in one workcell. Not thread-safe.

    Args:
        cell: The workcell.
        config: Settings.
        find_path: Finds the arm's way around obstacles.
    """

    def __init__(self, cell: Cell, config: MotionConfig, find_path: FindPath) -> None:
        self.manipulator = Manipulator(cell)
        self.config = config
        self._find_path = find_path
        self._scene: tuple[PlanRequest, Scene] | None = None

    def plan(self, request: PlanRequest) -> GraspMotion:
        """The motion of one grasp, from where the robot stands to home.

        Raises:
            InvalidGraspError: Not one grasp of the cell's hand, or a start of the wrong size.
            StartInCollisionError: The robot touches something where it stands.
            UnreachableError: The arm does not reach the grasp, its pregrasp, a lift, or the bin.
            GraspInCollisionError: It reaches them only by touching something other than the target.
            NoPathError: No way to the pregrasp, over the bin or home.
            PlanTimeoutError: The time budget ran out.
        """
        return _Plan(self, request).run()

    def scene_of(self, request: PlanRequest) -> Scene:
        """The scene of a request; kept for the next grasp in the same cloud."""
        if self._scene is not None:
            before, scene = self._scene
            if before.cloud is request.cloud and np.array_equal(before.seen, request.seen):
                return scene
        scene = Scene.of(
            self.manipulator,
            request.cloud,
            *np.split(request.seen, [len(request.start_arm)]),
            voxel_size=self.config.voxel_size,
            extrude=self.config.extrude,
            arm_distance=self.config.arm_distance,
        )
        self._scene = (request, scene)
        return scene

    def find_path(self, start: Array, goal: Array, checker: CollisionChecker, deadline: float) -> Array:
        """The arm's way (N, D) [rad] between two free configurations, within the path budget and the deadline."""
        return self._find_path(start, goal, checker.is_free, min(deadline, time.monotonic() + self.config.path_budget))

    def timed(self, path: Array, scale: float = 1.0) -> Trajectory:
        """A path of the arm (N, D) [rad] in time, at a share of the speed of free moves."""
        arm, config = self.manipulator.arm, self.config
        return time_path(
            arm.joint_names,
            path,
            arm.velocity_limit * config.velocity_scale * scale,
            arm.acceleration_limit * config.acceleration_scale * scale,
            config.period,
        )

    def closed(self, start: Array, end: Array, duration: float) -> Trajectory:
        """A motion of the hand between two postures (Dh,) [rad]."""
        hand = self.manipulator.hand
        return minimum_jerk(hand.joint_names, start, end, duration, hand.velocity_limit, self.config.period)


class _Plan:
    """One request on its way through the stages."""

    def __init__(self, planner: GraspMotionPlanner, request: PlanRequest) -> None:
        self._planner = planner
        self._robot = planner.manipulator
        self._request = request
        self._deadline = time.monotonic() + planner.config.time_budget
        self._milliseconds: dict[str, float] = {}
        self._mark = time.monotonic()
        self._check_request()
        limits = (self._robot.hand.lower, self._robot.hand.upper)
        self._opened, self._grasped, self._squeezed = (
            np.clip(posture[0], *limits)
            for posture in (request.grasp.pregrasp, request.grasp.grasp, request.grasp.squeeze)
        )
        self._pose: Array = request.grasp.world_T_palm[0]
        self._approach: Array = self._pose[:3, :3] @ self._robot.hand.approach_axis

    def run(self) -> GraspMotion:
        covers = self._reach()
        scene = self._planner.scene_of(self._request)
        on_the_way = _between(self._request.start_hand, self._opened)
        transit = scene.transit_checker(on_the_way)
        if not transit.is_free(self._request.start_arm):
            raise StartInCollisionError(
                f"The robot is in collision where it stands: {transit.contact(self._request.start_arm)}. "
                "Move it away first."
            )
        targeted = scene.around(self._robot.inner_surface(self._pose, self._grasped), self._request.grasp.seed_point[0])
        self._stage("scene")
        failures: list[MotionError] = []
        for approach in self._approaches(covers, targeted, transit, failures):
            try:
                return self._pick(approach, targeted, transit)
            except (UnreachableError, GraspInCollisionError, NoPathError) as error:
                failures.append(error)
        # The failure that came farthest says most.
        raise max(failures, key=lambda error: error.code)

    def _reach(self) -> Array:
        """Arm configurations at the grasp (K, D), and the cheap reasons why there is none."""
        start = self._request.start_arm
        covers = self._robot.reach(self._pose, start)
        x, y, z = self._pose[:3, 3]
        if not len(covers):
            raise UnreachableError(
                f"The arm cannot bring the palm to ({x:.3f}, {y:.3f}, {z:.3f}) with that orientation."
            )
        before = self._pose.copy()
        before[:3, 3] -= PREGRASP_RETREAT * self._approach
        if not len(self._robot.reach(before, start)):
            raise UnreachableError(
                f"The arm reaches the palm pose at ({x:.3f}, {y:.3f}, {z:.3f}), but not "
                f"{100 * PREGRASP_RETREAT:.0f} cm back along its approach."
            )
        self._stage("reach")
        return covers

    def _approaches(
        self, covers: Array, targeted: TargetedScene, transit: CollisionChecker, failures: list[MotionError]
    ) -> Iterator[_Approach]:
        """Free ways to cover the object and to lift it, the nearest and roomiest first."""
        roomy = targeted.scene.roomy_checker(self._opened)
        start = self._request.start_arm
        cost = [np.linalg.norm(q - start) + (0.0 if roomy.is_free(q) else _TIGHTNESS_PENALTY) for q in covers]
        contact = targeted.contact_checker(np.array([self._opened, self._grasped]))
        covering = targeted.contact_checker(self._opened)
        lifting = targeted.lift_checker(self._grasped)
        for i in np.argsort(cost, kind="stable"):
            self._check_time()
            try:
                yield self._one_approach(covers[i], contact, covering, lifting, transit)
            except (UnreachableError, GraspInCollisionError) as error:
                failures.append(error)

    def _one_approach(
        self,
        cover: Array,
        contact: CollisionChecker,
        covering: CollisionChecker,
        lifting: CollisionChecker,
        transit: CollisionChecker,
    ) -> _Approach:
        if not contact.is_free(cover):
            raise GraspInCollisionError(f"At the grasp {contact.contact(cover)}.")
        retreat = -PREGRASP_RETREAT * self._approach
        line = follow_line(self._robot, cover, self._pose, retreat)
        if len(line) < len(line_points(retreat)):
            raise UnreachableError("The arm cannot follow the straight line from pregrasp to grasp.")
        if not transit.is_free(line[-1]):
            raise GraspInCollisionError(f"At the pregrasp {transit.contact(line[-1])}.")
        resolution = self._planner.config.voxel_size
        if not path_is_free(line, covering.is_free, resolution):
            raise GraspInCollisionError("The hand or arm touches something between pregrasp and grasp.")
        return _Approach(line[::-1], self._lift(cover, lifting))

    def _lift(self, cover: Array, lifting: CollisionChecker) -> Array:
        """As much of the 20 cm lift as the arm can follow without touching anything, (N, D) [rad]."""
        shift = lift_shift(self._approach)
        line = follow_line(self._robot, cover, self._pose, shift)
        free = next((i for i, q in enumerate(line) if not lifting.is_free(q)), len(line))
        heights = np.linalg.norm(line_points(shift), axis=1)
        if heights[len(line) - 1] < LEAST_LIFT - 1e-9:
            raise UnreachableError(
                f"The arm can lift by only {heights[len(line) - 1]:.2f} m; it takes {LEAST_LIFT:.2f} m."
            )
        if not free or heights[free - 1] < LEAST_LIFT - 1e-9:
            raise GraspInCollisionError(f"While lifting {lifting.contact(line[free])}.")
        return line[:free]

    def _pick(self, approach: _Approach, targeted: TargetedScene, transit: CollisionChecker) -> GraspMotion:
        planner, request, config = self._planner, self._request, self._planner.config
        self._stage("approach")
        to_pregrasp = self._path("to the pregrasp", request.start_arm, approach.cover[0], transit)
        self._stage("transit")
        home_checker = targeted.carry_checker(_between(self._opened, self._robot.hand.home), None)
        over_bin = self._to_bin(approach, targeted, home_checker)
        self._stage("move")
        to_home = self._path("home", over_bin[-1], self._robot.cell.home, home_checker)
        self._stage("home")
        to_open = planner.timed(to_pregrasp)
        line, carry = config.line_scale, config.carry_scale
        phases = (
            Phase(
                PhaseKind.PREGRASP,
                to_open,
                planner.closed(request.start_hand, self._opened, max(config.open_time, to_open.duration)),
            ),
            Phase(PhaseKind.COVER, planner.timed(approach.cover, line)),
            Phase(PhaseKind.GRASP, hand=planner.closed(self._opened, self._grasped, config.grasp_time)),
            Phase(PhaseKind.SQUEEZE, hand=planner.closed(self._grasped, self._squeezed, config.squeeze_time)),
            Phase(PhaseKind.LIFT, planner.timed(approach.lift, line)),
            Phase(PhaseKind.MOVE, planner.timed(over_bin, carry)),
            Phase(PhaseKind.RELEASE, hand=planner.closed(self._squeezed, self._opened, config.release_time)),
            Phase(
                PhaseKind.HOME,
                planner.timed(to_home),
                planner.closed(self._opened, self._robot.hand.home, config.open_time),
            ),
        )
        self._stage("timing")
        return GraspMotion(phases, self._milliseconds)

    def _to_bin(self, approach: _Approach, targeted: TargetedScene, opened: CollisionChecker) -> Array:
        """From the end of the lift to a place from which the object falls into the bin, (N, D) [rad].

        There the hand must have room to open, too.
        """
        center, size = targeted.held_box(self._pose)
        checker = targeted.carry_checker(self._grasped, targeted.held_solid(center, size))
        lifted = approach.lift[-1]
        if not checker.is_free(lifted):
            raise GraspInCollisionError(f"With the object lifted, {checker.contact(lifted)}.")
        inner = self._robot.inner_surface(np.eye(4), self._grasped)
        failure: MotionError = UnreachableError("The arm does not reach the bin with this grasp.")
        for height in DROP_HEIGHTS:
            places = drops(self._robot.cell.bin, targeted.rest, self._pose, inner, center, size, height)
            reached = [(place.level, q) for place in places for q in self._robot.reach(place.world_T_palm, lifted)]
            reached.sort(key=lambda found: (found[0], float(np.linalg.norm(found[1] - lifted))))
            tried = 0
            for _, q in reached:
                if checker.is_free(q) and opened.is_free(q):
                    try:
                        return self._path("over the bin", lifted, q, checker)
                    except NoPathError as error:
                        failure = error
                    tried += 1
                elif not isinstance(failure, NoPathError):
                    failure = NoPathError(f"Over the bin {checker.contact(q) or opened.contact(q)}.")
                if tried == _DROPS_TRIED:
                    break
        raise failure

    def _path(self, where: str, start: Array, goal: Array, checker: CollisionChecker) -> Array:
        self._check_time()
        if not checker.is_free(goal):
            raise NoPathError(f"There is no way {where}: there {checker.contact(goal)}.")
        try:
            return self._planner.find_path(start, goal, checker, self._deadline)
        except PlanTimeoutError:
            self._check_time()
            raise NoPathError(
                f"No way {where} around the obstacles was found within {self._planner.config.path_budget:.1f} s."
            ) from None

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise PlanTimeoutError(
                f"The time budget of {self._planner.config.time_budget:.1f} s ran out. Raise `time_budget`, or take "
                "another grasp."
            )

    def _stage(self, name: str) -> None:
        now = time.monotonic()
        self._milliseconds[name] = self._milliseconds.get(name, 0.0) + 1e3 * (now - self._mark)
        self._mark = now

    def _check_request(self) -> None:
        request, robot = self._request, self._robot
        grasp, hand = request.grasp, robot.hand
        if len(grasp) != 1:
            raise InvalidGraspError(f"One grasp is planned at a time; got {len(grasp)}.")
        if grasp.hand != hand.name:
            raise InvalidGraspError(f"The grasp is for hand {grasp.hand!r}; the cell has {hand.name!r}.")
        if grasp.grasp.shape[1] != len(hand.joint_names):
            raise InvalidGraspError(
                f"{hand.name} has {len(hand.joint_names)} joints; the grasp has {grasp.grasp.shape[1]}."
            )
        for name, posture in (("pregrasp", grasp.pregrasp), ("grasp", grasp.grasp), ("squeeze", grasp.squeeze)):
            beyond = np.maximum(hand.lower - posture[0], posture[0] - hand.upper)
            # Not "beyond > tolerance": NaN must fail, too.
            if not (beyond <= _LIMIT_TOLERANCE).all():
                worst = int(np.argmax(np.where(np.isnan(beyond), np.inf, beyond)))
                raise InvalidGraspError(
                    f"Joint {hand.joint_names[worst]!r} of the {name} posture is {posture[0, worst]:.3f}; its limits "
                    f"are {hand.lower[worst]:.3f} to {hand.upper[worst]:.3f} rad."
                )
        rotation = grasp.world_T_palm[0, :3, :3]
        if not np.isfinite(grasp.world_T_palm).all() or np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3:
            raise InvalidGraspError("The palm pose is not a rigid transform: finite numbers and a rotation are needed.")
        for name, values, right in (
            ("start of the arm", request.start_arm, robot.arm),
            ("start of the hand", request.start_hand, hand),
            ("arm in the cloud", request.seen_arm, robot.arm),
            ("hand in the cloud", request.seen_hand, hand),
        ):
            if values is not None and (values.shape != right.lower.shape or not np.isfinite(values).all()):
                raise InvalidGraspError(f"The {name} needs {len(right.lower)} finite joint positions; got {values}.")


def with_rrt_connect(cell: Cell, config: MotionConfig) -> GraspMotionPlanner:
    """A planner whose paths come from OMPL's RRTConnect."""
    arm = load_arm(cell.arm)
    return GraspMotionPlanner(cell, config, RrtConnect(arm.lower, arm.upper, seed=config.seed))


def lift_shift(approach: Array) -> Array:
    """Translation of the palm (3,) [m] by which an object is lifted, for a unit approach direction (3,), world frame.

    Back along the approach where that points within 60 degrees of straight down, else straight up.
    """
    if -approach[2] > LIFT_BACK_WITHIN:
        return -LIFT_HEIGHT * approach
    return np.array([0.0, 0.0, LIFT_HEIGHT])


def _between(start: Array, end: Array) -> Array:
    """Postures (K, Dh) that stand for a motion between two: both ends and the middle, one where they are the same."""
    if np.abs(end - start).max() < 0.02:
        return end[None]
    return np.array([start, 0.5 * (start + end), end])
