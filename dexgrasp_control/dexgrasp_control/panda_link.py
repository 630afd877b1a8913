"""The process that talks to a Franka controller through panda-python: 1 kHz stream on one side, a pipe on the other.

panda-python holds Python's lock while it connects and its control thread ends in its own time; in a process of its
own neither reaches the driver. Messages are those of `ur_link`, with a `PandaState`.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexgrasp_control.driver import ResultCode, Tolerances
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.following import Path
from dexgrasp_control.judging import verdict

PERIOD = 0.001
IDLE_PERIOD = 0.01
REPORT_PERIOD = 0.01
STANDING = 0.02
"""Below this speed a joint counts as standing [rad/s]."""
READY_MODES = ("kIdle", "kMove")
RECOVERABLE_MODES = (*READY_MODES, "kReflex", "kOther")


@dataclass(frozen=True)
class PandaSettings:
    """How to stream; see `panda.PandaConfig`."""

    ip: str
    joint_names: tuple[str, ...]
    stiffness: tuple[float, ...]
    damping: tuple[float, ...]
    smoothing: float
    stop_deceleration: float
    recover_after: float
    silence_timeout: float


@dataclass(frozen=True)
class PandaState:
    """One report: lists of seven in SI units, the robot's mode by libfranka's name, and why it is not ready."""

    q: list[float]
    qd: list[float]
    torque: list[float]
    mode: str
    errors: str
    ready: bool
    problem: str
    elapsed: float


class _Lost(Exception):
    """The controller does not answer any more."""


@dataclass
class _Brake:
    """Joints that come to rest from `position` and `velocity`, arrays (7,), each at the same deceleration [rad/s^2]."""

    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    deceleration: float
    began: float

    def at(self, now: float) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
        """Target position and velocity, and whether all joints have come to rest."""
        rest = np.abs(self.velocity) / self.deceleration
        time_ = np.minimum(now - self.began, rest)
        velocity = self.velocity - np.sign(self.velocity) * self.deceleration * time_
        return self.position + 0.5 * (self.velocity + velocity) * time_, velocity, bool((time_ >= rest).all())


class _Link:
    def __init__(self, settings: PandaSettings, pipe: Connection) -> None:
        import panda_py
        from panda_py import controllers

        self._settings = settings
        self._pipe = pipe
        self._make_controller = lambda: controllers.JointPosition(
            np.array(settings.stiffness), np.array(settings.damping), settings.smoothing
        )
        try:
            self._panda = panda_py.Panda(settings.ip)
        except RuntimeError as error:
            raise _Lost(f"cannot connect to {settings.ip}: {error}") from error
        self._controller: Any = None
        self._run: tuple[int, Path, Tolerances] | None = None
        self._began = 0.0
        self._brake: tuple[_Brake, int, str] | None = None
        self._stamp = -1.0
        self._fresh = self._reported = time.monotonic()
        self._stopped_at: float | None = None
        self._next_recovery = 0.0
        self._problem = ""

    def serve(self) -> None:
        """Until the driver closes the pipe or the controller is lost."""
        due = time.monotonic()
        while True:
            state = self._state()
            self._watch(state)
            if not self._listen():
                return
            if self._brake is not None:
                self._slow_down()
            elif self._run is not None:
                self._stream(state)
            self._report(state)
            period = PERIOD if self._controller is not None else IDLE_PERIOD
            due = max(due + period, time.monotonic() - period)
            time.sleep(max(0.0, due - time.monotonic()))

    def _state(self) -> Any:
        """The robot's state: the control thread's latest while a controller runs, else a fresh one."""
        if self._controller is not None:
            try:
                self._panda.raise_error()
            except RuntimeError as error:
                self._problem = f"its control loop ended: {error}"
                self._end_control()
        try:
            state = self._panda.get_state()
        except RuntimeError as error:
            raise _Lost(str(error)) from error
        stamp, now = state.time.to_sec(), time.monotonic()
        if stamp != self._stamp:
            self._stamp, self._fresh = stamp, now
        elif now - self._fresh > self._settings.silence_timeout:
            raise _Lost(f"the controller has been silent for {now - self._fresh:.2f} s")
        return state

    def _watch(self, state: Any) -> None:
        """Notice that the robot has stopped by itself, and clear the errors of a reflex after a pause."""
        now = time.monotonic()
        mode = state.robot_mode.name
        stopped = mode not in READY_MODES or bool(state.current_errors)
        if stopped and mode != "kAutomaticErrorRecovery":
            if self._stopped_at is None:
                self._stopped_at = now
                self._end_control()
            self._problem = _describe(mode, state.current_errors)
        if (stopped or self._problem) and self._run is not None and self._controller is None:
            self._stopped_at = self._stopped_at or now
            self._done(DriverFault.PROTECTIVE_STOP, f"The arm was stopped: {self._problem}")
        if self._stopped_at is None or now - self._stopped_at < self._settings.recover_after:
            return
        if not stopped:
            self._stopped_at, self._problem = None, ""
        elif mode in RECOVERABLE_MODES and now >= self._next_recovery:
            self._next_recovery = now + self._settings.recover_after
            try:
                self._panda.recover()
            except RuntimeError as error:
                self._problem = f"errors could not be cleared: {error}"

    def _listen(self) -> bool:
        """Take the driver's messages; false when it wants no more."""
        while self._pipe.poll():
            try:
                message = self._pipe.recv()
            except EOFError:
                message = ("close",)
            if message[0] == "follow":
                self._run = message[1:]
                self._brake = None
                if self._stopped_at is not None:
                    self._done(DriverFault.PROTECTIVE_STOP, f"The arm cannot move: {self._problem}")
                else:
                    self._begin()
            elif message[0] == "stop":
                self._slow(message[1], message[2])
            else:
                self._slow(DriverFault.STOPPED, "Stopped: the driver closes")
                deadline = time.monotonic() + 1.0
                while self._brake is not None and time.monotonic() < deadline:
                    self._slow_down()
                    time.sleep(PERIOD)
                self._end_control()
                return False
        return True

    def _begin(self) -> None:
        with suppress(RuntimeError):
            self._panda.raise_error()  # what is left of a motion that is over
        try:
            self._controller = self._make_controller()
            self._panda.start_controller(self._controller)
        except RuntimeError as error:
            self._controller = None
            self._done(DriverFault.PROTECTIVE_STOP, f"The arm does not start: {error}")
        self._began = self._fresh = time.monotonic()

    def _stream(self, state: Any) -> None:
        """One millisecond of the trajectory under way."""
        assert self._run is not None
        _, path, tolerances = self._run
        elapsed = time.monotonic() - self._began
        position, velocity = path.at(elapsed)
        self._controller.set_control(position, velocity)
        result = verdict(path, tolerances, elapsed, np.array(state.q), self._settings.joint_names)
        if result is None:
            return
        late = elapsed > path.duration + tolerances.goal_time
        if result.code == ResultCode.SUCCESSFUL and np.abs(state.dq).max() > STANDING and not late:
            return
        self._slow(result.code, result.message)

    def _slow(self, code: int, message: str) -> None:
        """Bring the joints to rest, then end the trajectory with a code and a message."""
        if self._run is None or self._controller is None or self._brake is not None:
            return
        now = time.monotonic()
        position, velocity = self._run[1].at(now - self._began)
        self._brake = (_Brake(position, velocity, self._settings.stop_deceleration, now), code, message)

    def _slow_down(self) -> None:
        assert self._brake is not None
        brake, code, message = self._brake
        position, velocity, resting = brake.at(time.monotonic())
        if self._controller is None:
            return
        self._controller.set_control(position, velocity)
        if resting:
            self._end_control()
            self._done(code, message)

    def _end_control(self) -> None:
        """The robot's own controller holds its joints from here on."""
        if self._controller is not None:
            self._controller = None
            self._panda.stop_controller()
            self._fresh = time.monotonic()

    def _done(self, code: int, message: str) -> None:
        self._brake = None
        if self._run is not None:
            self._pipe.send(("done", self._run[0], int(code), message))
            self._run = None

    def _report(self, state: Any) -> None:
        now = time.monotonic()
        if now - self._reported < REPORT_PERIOD:
            return
        self._reported = now
        elapsed = now - self._began if self._run is not None else 0.0
        report = PandaState(
            list(state.q),
            list(state.dq),
            list(state.tau_J),
            state.robot_mode.name,
            str(state.current_errors),
            self._stopped_at is None,
            self._problem,
            elapsed,
        )
        self._pipe.send(("state", report))


def _describe(mode: str, errors: Any) -> str:
    """Why the robot does not move, and what to do."""
    if mode == "kUserStopped":
        return "it is in user stop: release the button."
    if mode == "kGuiding":
        return "it is being guided by hand: let go of it."
    if mode == "kReflex":
        return f"reflex {errors}: its errors are being cleared."
    return f"mode {mode}, errors {errors}: see Desk; brakes open and FCI active?"


def main() -> None:
    """Serve one driver: file descriptor of the pipe as the only argument, settings as its first message."""
    pipe = Connection(int(sys.argv[1]))
    try:
        _Link(pipe.recv(), pipe).serve()
    except _Lost as error:
        pipe.send(("lost", str(error)))
    except (OSError, EOFError):
        pass
    except Exception as error:
        pipe.send(("lost", f"the link failed: {error!r}"))
    # panda-python's destructor waits for its control thread, which may be waiting for a controller that is gone.
    os._exit(0)
