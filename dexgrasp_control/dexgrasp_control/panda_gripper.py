"""The Franka Panda's gripper through panda-python's binding of libfranka."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from dexgrasp_common.parameters import param
from numpy.typing import NDArray

from dexgrasp_control.checking import checked_path, nearest_start
from dexgrasp_control.driver import Health, MotionResult, Reading, ResultCode, Run, Tolerances, TrajectoryRefused
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.judging import verdict
from dexgrasp_control.phases import Trajectory
from dexgrasp_description import HandModel

PORT = 1338
CYCLE = 0.02
"""Between looks at a trajectory under way [s]."""
SLOWEST, FASTEST = 0.005, 0.1
"""Between these the gripper is asked to change its width [m/s]; a trajectory that is faster arrives late."""


@dataclass(frozen=True)
class PandaGripperConfig:
    """How the gripper closes and is watched."""

    force: float = param(30.0, "Force with which something is held [N]", range=(1.0, 70.0))
    speed_limit: float = param(1.0, "Fraction of the velocity limits that a trajectory may use", range=(0.01, 1.0))
    width_tolerance: float = param(
        0.004, "Fingers further apart than this beyond their goal have met something [m]", range=(0.001, 0.02)
    )
    start_tolerance: float = param(
        0.01, "Largest distance of a finger's point at time zero from the finger or its goal [m]", range=(0.001, 0.04)
    )
    rate: float = param(10.0, "Readings a second; each waits for the gripper's next packet [Hz]", range=(1.0, 50.0))


class PandaGripper:
    """A Panda gripper: two fingers that move alike, their positions in metres from where they touch.

    The gripper has no stream of positions: a trajectory is one motion to its last point, at the speed that arrives
    there in time. Fingers that meet something on their way together hold it with the configured force, and keep
    holding it until a trajectory opens them. A stop ends a motion and keeps what is held. The gripper tells only
    whether it holds something: the effort is the configured force then, else zero. The blocking calls are made on a
    thread of their own.

    Args:
        model: The gripper.
        address: The controller's address.
        config: See there.
    """

    Config = PandaGripperConfig

    def __init__(self, model: HandModel, address: str = "172.16.0.2", config: PandaGripperConfig | None = None) -> None:
        self.joint_names = model.joint_names
        self._model = model
        self._address = address
        self._config = config or PandaGripperConfig()
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._gripper: Any = None
        self._reading: Reading | None = None
        self._goal: NDArray[np.float64] | None = None
        self._holding = False
        self._run: Run | None = None
        self._tolerances = Tolerances(None, None, 0.0)
        self._began = 0.0
        self._motion: Future[None] | None = None
        self._values: dict[str, str] = {}
        self._problem = f"not connected to {address} yet"
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="panda_gripper_motion")
        self._thread = threading.Thread(target=self._serve, name="panda_gripper", daemon=True)
        self._thread.start()

    def reading(self) -> Reading | None:
        return self._reading

    def health(self) -> Health:
        with self._lock:
            values = {"address": self._address, **self._values}
            if self._reading is None:
                return Health(DriverFault.LOST, f"No connection to the gripper: {self._problem}", values)
        return Health(None, "ready", values)

    def follow(self, trajectory: Trajectory, tolerances: Tolerances) -> Run:
        with self._lock:
            if self._run is not None:
                raise TrajectoryRefused(
                    ResultCode.INVALID_GOAL, "The hand is following another trajectory: cancel it or wait for its end."
                )
            reading, goal = self._reading, self._goal
            if reading is None or goal is None:
                raise TrajectoryRefused(DriverFault.LOST, self.health().message)
            start = nearest_start(trajectory, self.joint_names, reading.position, goal)
            at_start = Reading(start, reading.velocity, None, reading.time)
            path = checked_path(
                trajectory, self._model, at_start, self._config.speed_limit, self._config.start_tolerance, "hand"
            )
            if np.ptp(path.end) > self._config.width_tolerance:
                raise TrajectoryRefused(
                    ResultCode.INVALID_GOAL,
                    f"The trajectory ends with the fingers at {path.end.tolist()} m; the gripper moves both alike.",
                )
            self._run = Run(path, self._cancel)
            self._tolerances = tolerances
            self._began = time.monotonic()
            keep = self._holding and path.end.sum() <= goal.sum() + self._config.width_tolerance
            self._goal = path.end.copy()
            self._motion = None if keep else self._worker.submit(self._move, self._gripper, self._run)
            return self._run

    def stop(self, reason: str) -> None:
        self._finish(MotionResult(DriverFault.STOPPED, f"Stopped: {reason}"), halt=True)

    def close(self) -> None:
        self._closing.set()
        self._finish(MotionResult(DriverFault.STOPPED, "Stopped: the driver closes"), halt=True)
        self._thread.join(timeout=5.0)
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _cancel(self, run: Run) -> None:
        if run is self._run:
            self._finish(MotionResult(ResultCode.SUCCESSFUL, "cancelled", cancelled=True), halt=True)

    def _finish(self, result: MotionResult, halt: bool = False) -> None:
        """End the trajectory under way; where fingers are still moving and `halt` is set, stop them."""
        with self._lock:
            run, self._run = self._run, None
            moving = self._motion is not None and not self._motion.done()
            gripper = self._gripper
            if run is not None and halt and moving and self._reading is not None:
                self._goal = self._reading.position.copy()
        if run is None:
            return
        if halt and moving and gripper is not None:
            try:
                gripper.stop()
            except RuntimeError as error:
                self._problem = str(error)
        run.finish(result)

    def _move(self, gripper: Any, run: Run) -> None:
        """On the worker: go to the end of a trajectory; where that is inside something, hold it."""
        config = self._config
        now, width = float(gripper.read_once().width), float(run.path.end.sum())
        speed = float(np.clip(abs(width - now) / max(run.path.duration, 1e-3), SLOWEST, FASTEST))
        closing = width < now
        if run is not self._run:
            return
        self._holding = False
        try:
            gripper.move(width, speed)
        except RuntimeError:
            if not closing:
                raise
        if not closing or run is not self._run:
            return
        left = float(gripper.read_once().width)
        if left > width + config.width_tolerance:
            # Any width counts as holding: how wide the thing is, the fingers have just found out.
            self._holding = bool(gripper.grasp(left, SLOWEST, config.force, left, left))

    def _serve(self) -> None:
        pause = 0.2
        while not self._closing.is_set():
            try:
                with socket.create_connection((self._address, PORT), timeout=1.0):
                    pass  # the library's own attempt would hold Python's lock for long
                from panda_py import libfranka

                gripper = libfranka.Gripper(self._address)
                pause = 0.2
                self._watch(gripper)
            except (OSError, RuntimeError) as error:
                self._lose(f"{self._address} port {PORT}: {error}")
            self._closing.wait(pause)
            pause = min(2.0 * pause, 2.0)

    def _watch(self, gripper: Any) -> None:
        """Read the gripper and judge the trajectory under way, until the connection ends."""
        due = 0.0
        while not self._closing.is_set():
            now = time.monotonic()
            if now >= due:
                due = now + 1.0 / self._config.rate
                self._take(gripper, gripper.read_once())
            self._judge(gripper)
            self._closing.wait(CYCLE)

    def _take(self, gripper: Any, state: Any) -> None:
        now = time.monotonic()
        position = np.full(2, 0.5 * float(state.width))
        with self._lock:
            last = self._reading
            velocity = np.zeros(2) if last is None else (position - last.position) / max(now - last.time, 1e-3)
            effort = np.full(2, self._config.force if state.is_grasped else 0.0)
            self._reading = Reading(position, velocity, effort, now)
            self._gripper = gripper
            if self._goal is None:
                self._goal, self._holding = position.copy(), bool(state.is_grasped)
            self._values = {"holding": str(bool(state.is_grasped)), "temperature": f"{state.temperature}"}

    def _judge(self, gripper: Any) -> None:
        with self._lock:
            run, tolerances, reading, motion = self._run, self._tolerances, self._reading, self._motion
        if run is None or reading is None:
            return
        run.elapsed = time.monotonic() - self._began
        if motion is not None and motion.done() and motion.exception() is not None:
            gripper.read_once()  # raises where the motion failed because the gripper is gone
            self._finish(MotionResult(DriverFault.OVERLOAD, f"The gripper does not move: {motion.exception()}"))
            return
        result = verdict(run.path, tolerances, run.elapsed, reading.position, self.joint_names)
        moving = motion is not None and not motion.done()
        if result is not None and not (result.code == ResultCode.SUCCESSFUL and moving):
            self._finish(result, halt=result.code == ResultCode.PATH_TOLERANCE_VIOLATED)

    def _lose(self, problem: str) -> None:
        with self._lock:
            self._reading = self._goal = self._gripper = None
            self._holding = False
            self._problem = problem
        self._finish(MotionResult(DriverFault.LOST, f"The connection to the gripper was lost: {problem}."))
