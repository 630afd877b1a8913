"""A Universal Robots arm through ur_rtde."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
from dexgrasp_common.parameters import param

from dexgrasp_control.checking import checked_path
from dexgrasp_control.driver import Health, MotionResult, Reading, ResultCode, Run, Tolerances, TrajectoryRefused
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.phases import Trajectory
from dexgrasp_control.ur_link import ROBOT_MODES, SAFETY_MODES, LinkSettings, LinkState
from dexgrasp_description import ArmModel

RTDE_PORT = 30004
HANG_TIMEOUT = 3.0
"""A link process that says nothing for this long is replaced [s]; it notices a silent controller itself, sooner."""
CONNECT_TIMEOUT = 8.0
"""A link process may take this long until its first report [s]."""


@dataclass(frozen=True)
class UrConfig:
    """How a UR arm is streamed to and watched."""

    speed_limit: float = param(1.0, "Fraction of the velocity limits that a trajectory may use", range=(0.01, 1.0))
    start_tolerance: float = param(
        0.05, "Largest distance of a trajectory's point at time zero from the joints [rad]", range=(0.001, 1.0)
    )
    servo_lookahead: float = param(0.05, "servoJ's lookahead_time: smooths and delays [s]", range=(0.03, 0.2))
    servo_gain: float = param(500.0, "servoJ's gain", range=(100.0, 2000.0))
    stop_deceleration: float = param(10.0, "How hard a stop brakes the joints [rad/s^2]", range=(0.5, 40.0))
    silence_timeout: float = param(0.1, "A controller that sends nothing for this long is lost [s]", range=(0.02, 5.0))
    reconnect_after: float = param(0.2, "First pause before connecting again [s]; doubles up to 2 s", range=(0.05, 2.0))


class UrArm:
    """A UR arm behind a controller's RTDE, dashboard and script ports.

    Trajectories are streamed by servoJ at the controller's rate from a process of their own (`ur_link`). After a
    protective stop has been unlocked, or the controller has come back, the arm is ready again by itself.

    Args:
        model: The arm.
        ip: The controller's address.
        config: See there.
    """

    def __init__(self, model: ArmModel, ip: str = "127.0.0.1", config: UrConfig | None = None) -> None:
        self.joint_names = model.joint_names
        self._model = model
        self._ip = ip
        self._config = config or UrConfig()
        self._lock = threading.RLock()
        self._pipe: Connection | None = None
        self._state: LinkState | None = None
        self._reading: Reading | None = None
        self._run: Run | None = None
        self._problem = f"not connected to {ip} yet"
        self._closing = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="ur_arm", daemon=True)
        self._supervisor.start()

    def reading(self) -> Reading | None:
        return self._reading

    def health(self) -> Health:
        with self._lock:
            state = self._state
            problem = self._problem
        if state is None:
            return Health(DriverFault.LOST, f"No connection to the UR controller: {problem}", {"ip": self._ip})
        safety = SAFETY_MODES.get(state.safety_mode, str(state.safety_mode))
        mode = ROBOT_MODES.get(state.robot_mode, str(state.robot_mode))
        values = {
            "ip": self._ip,
            "safety_mode": safety,
            "robot_mode": mode,
            "speed_scaling": f"{state.speed_scaling:.2f}",
            "current": " ".join(f"{value:.2f}" for value in state.current),
            "temperature": " ".join(f"{value:.0f}" for value in state.temperature),
        }
        if state.ready:
            return Health(None, "ready", values)
        return Health(DriverFault.PROTECTIVE_STOP, self._not_ready(state), values)

    @staticmethod
    def _not_ready(state: LinkState) -> str:
        safety = SAFETY_MODES.get(state.safety_mode, str(state.safety_mode))
        mode = ROBOT_MODES.get(state.robot_mode, str(state.robot_mode))
        if safety == "PROTECTIVE_STOP":
            return "The arm is in a protective stop: see what stopped it, then unlock it on the pendant."
        if safety not in ("NORMAL", "REDUCED"):
            return f"The arm's safety mode is {safety}: clear it on the pendant."
        if mode != "RUNNING":
            return f"The arm's robot mode is {mode}: switch it on and release the brakes on the pendant."
        return "The control program is being started on the controller."

    def follow(self, trajectory: Trajectory, tolerances: Tolerances) -> Run:
        with self._lock:
            if self._run is not None and not self._run.result.done():
                raise TrajectoryRefused(
                    ResultCode.INVALID_GOAL, "The arm is following another trajectory: cancel it or wait for its end."
                )
            reading, pipe = self._reading, self._pipe
            health = self.health()
            if reading is None or pipe is None or health.fault is not None:
                raise TrajectoryRefused(health.fault or DriverFault.LOST, health.message)
            path = checked_path(
                trajectory, self._model, reading, self._config.speed_limit, self._config.start_tolerance, "arm"
            )
            run = self._run = Run(path, self._cancel)
            self._send(("follow", run.number, path, tolerances))
            return run

    def stop(self, reason: str) -> None:
        self._send(("stop", int(DriverFault.STOPPED), f"Stopped: {reason}"))

    def close(self) -> None:
        self._closing.set()
        self._send(("close",))
        self._supervisor.join(timeout=5.0)

    def _cancel(self, run: Run) -> None:
        if run is self._run and not run.result.done():
            self._send(("stop", int(ResultCode.SUCCESSFUL), "cancelled"))

    def _send(self, message: tuple) -> None:
        with self._lock:
            if self._pipe is not None:
                try:
                    self._pipe.send(message)
                except OSError:
                    return  # the supervisor is about to notice

    def _supervise(self) -> None:
        pause = self._config.reconnect_after
        while not self._closing.is_set():
            if self._answers():
                began = time.monotonic()
                self._serve_link()
                if time.monotonic() - began > 5.0:
                    pause = self._config.reconnect_after
            self._closing.wait(pause)
            pause = min(2.0 * pause, 2.0)

    def _answers(self) -> bool:
        """Whether somebody listens at the controller's address: cheaper than starting a process to find out."""
        try:
            with socket.create_connection((self._ip, RTDE_PORT), timeout=1.0):
                return True
        except OSError as error:
            self._problem = f"{self._ip} port {RTDE_PORT}: {error}"
            return False

    def _serve_link(self) -> None:
        """Start a link process and pass on what it says, until it ends or hangs."""
        config = self._config
        ours, theirs = Pipe()
        process = subprocess.Popen(
            [sys.executable, "-c", "from dexgrasp_control.ur_link import main; main()", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        theirs.close()
        problem = "the link process ended"
        try:
            ours.send(
                LinkSettings(
                    self._ip,
                    config.servo_lookahead,
                    config.servo_gain,
                    config.stop_deceleration,
                    config.silence_timeout,
                )
            )
            with self._lock:
                self._pipe = ours
            timeout = CONNECT_TIMEOUT
            while True:
                if not ours.poll(timeout):
                    problem = f"the link process hung for {timeout:.0f} s"
                    break
                message = ours.recv()
                if message[0] == "lost":
                    problem = message[1]
                    break
                self._handle(message)
                timeout = HANG_TIMEOUT if self._state is not None else CONNECT_TIMEOUT
        except (EOFError, OSError):
            pass
        finally:
            self._lose(problem)
            ours.close()
            _end(process)

    def _handle(self, message: tuple) -> None:
        if message[0] == "state":
            state: LinkState = message[1]
            with self._lock:
                self._state = state
                self._reading = Reading(np.array(state.q), np.array(state.qd), None, time.monotonic())
                if self._run is not None:
                    self._run.elapsed = state.elapsed
        elif message[0] == "done":
            _, number, code, text = message
            run = self._run
            if run is not None and run.number == number:
                run.finish(MotionResult(code, text, cancelled=text == "cancelled"))

    def _lose(self, problem: str) -> None:
        with self._lock:
            self._pipe = None
            self._state = self._reading = None
            self._problem = problem
            run = self._run
        if run is not None:
            run.finish(MotionResult(DriverFault.LOST, f"The connection to the UR controller was lost: {problem}."))


def _end(process: subprocess.Popen) -> None:
    try:
        process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
