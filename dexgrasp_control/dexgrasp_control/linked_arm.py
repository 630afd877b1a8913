"""An arm whose vendor library runs in a process of its own: what is the same for every such arm."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, ClassVar, Protocol

from dexgrasp_control.checking import checked_path
from dexgrasp_control.driver import Health, MotionResult, Reading, ResultCode, Run, Tolerances, TrajectoryRefused
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.phases import Trajectory
from dexgrasp_description import ArmModel

HANG_TIMEOUT = 3.0
"""A link process that says nothing for this long is replaced [s]; it notices a silent controller itself, sooner."""
CONNECT_TIMEOUT = 8.0
"""A link process may take this long until its first report [s]."""


class LinkedConfig(Protocol):
    """What every linked arm's config has."""

    @property
    def speed_limit(self) -> float: ...
    @property
    def start_tolerance(self) -> float: ...
    @property
    def reconnect_after(self) -> float: ...


class LinkedArm(ABC):
    """A driver whose library is in a link process, because vendor libraries block and hold Python's lock.

    The link and this driver exchange tuples, see `ur_link`. A link that ends, hangs or says that the controller is
    lost is replaced, from `reconnect_after` up to every 2 s.

    Args:
        model: The arm.
        ip: The controller's address.
        config: Limits and the first pause before connecting again.
        settings: First message to the link process.
    """

    controller: ClassVar[str]
    """What is at the other end, for messages."""
    port: ClassVar[int]
    """TCP port at which the controller listens."""
    link: ClassVar[str]
    """Module whose `main` serves a pipe given by its file descriptor."""

    def __init__(self, model: ArmModel, ip: str, config: LinkedConfig, settings: object) -> None:
        self.joint_names = model.joint_names
        self._model = model
        self._ip = ip
        self._limits = config
        self._settings = settings
        self._lock = threading.RLock()
        self._pipe: Connection | None = None
        self._state: Any = None
        self._reading: Reading | None = None
        self._run: Run | None = None
        self._problem = f"not connected to {ip} yet"
        self._closing = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="linked_arm", daemon=True)
        self._supervisor.start()

    @abstractmethod
    def _measured(self, state: Any) -> Reading:
        """The joints in a report of the link process."""

    @abstractmethod
    def _judged(self, state: Any) -> Health:
        """Whether the arm can move, by a report of the link process."""

    def reading(self) -> Reading | None:
        return self._reading

    def health(self) -> Health:
        with self._lock:
            state, problem = self._state, self._problem
        if state is None:
            return Health(DriverFault.LOST, f"No connection to the {self.controller}: {problem}", {"ip": self._ip})
        return self._judged(state)

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
                trajectory, self._model, reading, self._limits.speed_limit, self._limits.start_tolerance, "arm"
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
        pause = self._limits.reconnect_after
        while not self._closing.is_set():
            if self._answers():
                began = time.monotonic()
                self._serve_link()
                if time.monotonic() - began > 5.0:
                    pause = self._limits.reconnect_after
            self._closing.wait(pause)
            pause = min(2.0 * pause, 2.0)

    def _answers(self) -> bool:
        """Whether somebody listens at the controller's address: cheaper than starting a process to find out."""
        try:
            with socket.create_connection((self._ip, self.port), timeout=1.0):
                return True
        except OSError as error:
            self._problem = f"{self._ip} port {self.port}: {error}"
            return False

    def _serve_link(self) -> None:
        """Start a link process and pass on what it says, until it ends or hangs."""
        ours, theirs = Pipe()
        process = subprocess.Popen(
            [sys.executable, "-c", f"from {self.link} import main; main()", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
        theirs.close()
        problem = "the link process ended"
        try:
            ours.send(self._settings)
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
            state = message[1]
            with self._lock:
                self._state = state
                self._reading = self._measured(state)
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
            run.finish(MotionResult(DriverFault.LOST, f"The connection to the {self.controller} was lost: {problem}."))


def _end(process: subprocess.Popen) -> None:
    try:
        process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
