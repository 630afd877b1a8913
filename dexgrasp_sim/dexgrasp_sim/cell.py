"""The simulated cell: physics in real time on a thread of its own, the robot's joints as plants, objects to clear."""

from __future__ import annotations

import collections
import threading
import time
from dataclasses import dataclass
from types import TracebackType

import mujoco
import numpy as np
from dexgrasp_common.parameters import param
from numpy.typing import NDArray

from dexgrasp_description import Cell, load_arm, load_hand
from dexgrasp_sim.families import sample_objects
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.plant import SimError
from dexgrasp_sim.scene import pose_of
from dexgrasp_sim.servo import ServoPlant, arm_gains, hand_gains
from dexgrasp_sim.settle import settle
from dexgrasp_sim.world import build_world

MAX_OBJECTS = 20

_CATCH_UP = 0.1  # physics that is later than this lets the lost time go [s]
_WINDOW = 5.0  # over which the real-time factor is taken [s]
_WORKSPACE_HEIGHT = 0.45  # objects fall from below this [m]


class InvalidRequestError(SimError):
    """The scene cannot be laid out as asked."""

    code = 500  # ResetScene.Response.INVALID_REQUEST


@dataclass(frozen=True)
class CellConfig:
    """What lies on the table, and how slippery it is."""

    seed: int = param(0, "Seed of the objects and of how they fall", range=(0, 2**31 - 1))
    objects: int = param(5, "Number of objects dropped on the table", range=(0, MAX_OBJECTS))
    friction: float = param(0.6, "Sliding friction coefficient of hand, objects and table", range=(0.0, 2.0))


@dataclass(frozen=True)
class ObjectTruth:
    """Where an object is.

    Attributes:
        name: Name in the scene.
        world_T_object: 4x4.
        on_table: Neither in the bin nor off the table; an object in the hand is still on the table.
    """

    name: str
    world_T_object: NDArray[np.float64]
    on_table: bool


@dataclass(frozen=True)
class Snapshot:
    """The scene at one instant; enough to draw it on another thread.

    Attributes:
        model: The compiled scene, another object after each reset.
        qpos: Joint positions, array (nq,).
        time: Simulation time [s].
    """

    model: mujoco.MjModel
    qpos: NDArray[np.float64]
    time: float

    def data(self) -> mujoco.MjData:
        """State with every body's pose, for drawing."""
        data = mujoco.MjData(self.model)
        self.pose(data)
        return data

    def pose(self, data: mujoco.MjData) -> None:
        """Put this instant into a state of the same model."""
        data.qpos[:], data.time = self.qpos, self.time
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_camlight(self.model, data)


class SimCell:
    """A workcell in simulation. Use it as a context manager, or call `start` and `stop`; or call `step` yourself.

    Args:
        cell: The workcell's description.
        config: Objects and friction.

    Raises:
        UnsettledError, InvalidRequestError: See `reset`.
    """

    def __init__(self, cell: Cell, config: CellConfig | None = None) -> None:
        self.cell = cell
        self.config = config = config or CellConfig()
        arm, hand = load_arm(cell.arm), load_hand(cell.hand)
        self.arm_plant = ServoPlant(arm.joint_names, arm.effort_limit, arm_gains(arm), cell.home)
        self.hand_plant = ServoPlant(hand.joint_names, hand.effort_limit, hand_gains(hand), hand.home)
        self._plants = (self.arm_plant, self.hand_plant)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._progress: collections.deque[tuple[float, float]] = collections.deque([(time.monotonic(), 0.0)])
        self._model, self._data, self._objects = self._lay_out(config.seed, config.objects)
        for plant, home in zip(self._plants, (cell.home, hand.home), strict=True):
            plant.bind(self._model)
            plant.place(self._data, home)
        mujoco.mj_forward(self._model, self._data)

    @property
    def objects(self) -> tuple[ObjectModel, ...]:
        """What was dropped on the table by the last reset."""
        return self._objects

    @property
    def real_time_factor(self) -> float:
        """Simulated over real time, over the last five seconds; 1 is real time."""
        first, last = self._progress[0], self._progress[-1]
        elapsed = max(time.monotonic(), last[0]) - first[0]
        return (last[1] - first[1]) / elapsed if elapsed > 0 else 1.0

    def start(self) -> None:
        """Let time run."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="physics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Let time stand still."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None

    def __enter__(self) -> SimCell:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def step(self) -> None:
        """Advance by one time step."""
        with self._lock:
            for plant in self._plants:
                plant.before_step(self._model, self._data)
            mujoco.mj_step(self._model, self._data)
            for plant in self._plants:
                plant.after_step(self._data)

    def snapshot(self) -> Snapshot:
        """The scene now."""
        with self._lock:
            return Snapshot(self._model, self._data.qpos.copy(), self._data.time)

    def ground_truth(self) -> list[ObjectTruth]:
        """Every object and whether it still lies on the table."""
        with self._lock:
            objects = self._objects
            poses = [pose_of(self._data.joint(f"{model.name}/free").qpos) for model in objects]
        return [
            ObjectTruth(model.name, pose, not self._removed(pose[:3, 3]))
            for model, pose in zip(objects, poses, strict=True)
        ]

    def reset(self, seed: int, count: int) -> None:
        """Take all objects away and drop new ones. Arm and hand keep their posture and what they were commanded.

        Time keeps running while the new objects are settled; the exchange itself takes a moment.

        Raises:
            InvalidRequestError: More than `MAX_OBJECTS`, or the robot reaches into the space where objects fall.
            UnsettledError: The objects did not come to rest inside the area.
        """
        if not 0 <= count <= MAX_OBJECTS:
            raise InvalidRequestError(f"{count} objects cannot be dropped; 0 to {MAX_OBJECTS} can.")
        if self.robot_in_workspace():
            raise InvalidRequestError("The robot reaches over the object area. Send it home, then reset the scene.")
        model, data, objects = self._lay_out(seed, count)
        with self._lock:
            for plant in self._plants:
                plant.copy_state(self._data, data, model)
            data.time = self._data.time
            self._model, self._data, self._objects = model, data, objects

    def robot_in_workspace(self) -> bool:
        """Whether any of the robot is where objects fall."""
        state = self.snapshot()
        data, model = state.data(), state.model
        x0, x1, y0, y1 = self.cell.area
        low, high = np.array([x0, y0, 0.0]), np.array([x1, y1, _WORKSPACE_HEIGHT])
        geoms = model.geom_bodyid != 0
        geoms &= ~np.isin(model.geom_bodyid, [model.body(item.name).id for item in self._objects])
        centre, reach = data.geom_xpos[geoms], model.geom_rbound[geoms]
        outside = np.linalg.norm(centre - np.clip(centre, low, high), axis=1)
        return bool((outside < reach).any())

    def send_arm_home(self) -> None:
        """Put the arm into its home posture in no time, which only a simulated arm can do."""
        with self._lock:
            self.arm_plant.place(self._data, self.cell.home)

    def _removed(self, centre: NDArray[np.float64]) -> bool:
        box = self.cell.bin
        in_bin = (np.abs(centre[:2] - box.center) < box.inner_size[:2] / 2).all() and centre[2] < box.inner_size[2]
        return bool(in_bin or centre[2] < 0.0)

    def _lay_out(self, seed: int, count: int) -> tuple[mujoco.MjModel, mujoco.MjData, tuple[ObjectModel, ...]]:
        rng = np.random.default_rng(seed)
        models = sample_objects(count, rng)
        poses = settle(models, self.cell.area, rng, friction=self.config.friction)
        model = build_world(self.cell, models, poses, self.config.friction).compile()
        return model, mujoco.MjData(model), tuple(models)

    def _run(self) -> None:
        timestep = self._model.opt.timestep
        due = time.monotonic()
        self._progress = collections.deque([(due, self._data.time)])
        while not self._stopping.is_set():
            self.step()
            due += timestep
            now = time.monotonic()
            self._progress.append((now, self._data.time))
            while self._progress[0][0] < now - _WINDOW:
                self._progress.popleft()
            if now < due:
                time.sleep(due - now)
            elif now > due + _CATCH_UP:
                due = now
