"""The process that talks to a UR controller through ur_rtde: servo loop on one side, a pipe to the driver on the other.

ur_rtde blocks, holds Python's lock while it connects, and reconnects by itself on threads of its own. In a process
of its own none of that reaches the driver: whatever happens here, the driver sees the pipe fall silent and starts
another one. It also keeps the servo loop free of everything else that a node does.

Messages to the driver are tuples: `("state", LinkState)` at most 125 times a second, `("done", number, code, message)`
and `("lost", message)`; from the driver `("follow", number, Path, Tolerances)`, `("stop", code, message)` and
`("close",)`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from dexgrasp_control.driver import ResultCode, Tolerances
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.following import Path

VARIABLES = [
    "timestamp",
    "actual_q",
    "actual_qd",
    "actual_current",
    "joint_temperatures",
    "robot_mode",
    "safety_mode",
    "runtime_state",
    "speed_scaling",
    "safety_status_bits",
    "robot_status_bits",
]
NORMAL, REDUCED = 1, 2
RUNNING = 7
SAFETY_MODES = {
    1: "NORMAL",
    2: "REDUCED",
    3: "PROTECTIVE_STOP",
    4: "RECOVERY",
    5: "SAFEGUARD_STOP",
    6: "SYSTEM_EMERGENCY_STOP",
    7: "ROBOT_EMERGENCY_STOP",
    8: "VIOLATION",
    9: "FAULT",
}
ROBOT_MODES = {
    -1: "NO_CONTROLLER",
    0: "DISCONNECTED",
    1: "CONFIRM_SAFETY",
    2: "BOOTING",
    3: "POWER_OFF",
    4: "POWER_ON",
    5: "IDLE",
    6: "BACKDRIVE",
    7: "RUNNING",
}
REPORT_PERIOD = 0.008
STANDING = 0.02
"""Below this speed a joint counts as standing [rad/s]."""


@dataclass(frozen=True)
class LinkSettings:
    """How to stream; see `ur.UrConfig`."""

    ip: str
    lookahead: float
    gain: float
    stop_deceleration: float
    silence_timeout: float


@dataclass(frozen=True)
class LinkState:
    """One report: lists of six in SI units, and RTDE's modes."""

    q: list[float]
    qd: list[float]
    current: list[float]
    temperature: list[float]
    robot_mode: int
    safety_mode: int
    speed_scaling: float
    ready: bool
    elapsed: float


class _Lost(Exception):
    """The controller does not answer any more."""


class _Link:
    def __init__(self, settings: LinkSettings, pipe: Connection) -> None:
        import rtde_control
        import rtde_receive

        self._settings = settings
        self._pipe = pipe
        self._sending = threading.Lock()
        self._make_control = lambda: rtde_control.RTDEControlInterface(settings.ip)
        try:
            self._receive = rtde_receive.RTDEReceiveInterface(settings.ip, -1.0, VARIABLES)
        except RuntimeError as error:
            raise _Lost(f"cannot connect to {settings.ip}: {error}") from error
        self._control: rtde_control.RTDEControlInterface | None = None
        self._period = 0.002
        self._run: tuple[int, Path, Tolerances] | None = None
        self._began = 0.0
        self._timestamp = 0.0
        self._fresh = time.monotonic()
        self._stale_cycles = 0
        self._reported = 0.0

    def serve(self) -> None:
        """Until the driver closes the pipe or the controller is lost."""
        threading.Thread(target=self._watch_forever, daemon=True).start()
        self._period = self._measure_period()
        due = time.monotonic()
        while True:
            if not self._ready():
                self._recover()
            if not self._listen():
                return
            if self._run is not None:
                self._servo()
            self._report()
            due = max(due + self._period, time.monotonic() - self._period)
            time.sleep(max(0.0, due - time.monotonic()))

    def _measure_period(self) -> float:
        """The controller's period from its own clock: 8 ms for CB3, 2 ms for e-Series."""
        seen: list[float] = []
        while len(seen) < 12:
            timestamp = self._receive.getTimestamp()
            if not seen or timestamp != seen[-1]:
                seen.append(timestamp)
            time.sleep(0.0005)
        return 0.008 if float(np.median(np.diff(seen))) > 0.005 else 0.002

    def _watch_forever(self) -> None:
        """End this process once the controller is lost; ur_rtde's calls would wait for it for seconds or minutes."""
        while True:
            try:
                self._watch()
            except _Lost as error:
                self._send(("lost", str(error)))
                os._exit(0)
            time.sleep(0.01)

    def _watch(self) -> None:
        """Raise when the controller has closed the connection or fallen silent."""
        if not self._receive.isConnected():
            raise _Lost("the controller closed the connection")
        now = time.monotonic()
        timestamp = self._receive.getTimestamp()
        if timestamp != self._timestamp:
            self._timestamp, self._fresh, self._stale_cycles = timestamp, now, 0
            return
        # Counting cycles too: when this process itself was held up, the data may only be waiting.
        self._stale_cycles += 1
        if now - self._fresh > self._settings.silence_timeout and self._stale_cycles > 5:
            raise _Lost(f"the controller has been silent for {now - self._fresh:.2f} s")

    def _safe(self) -> bool:
        return self._receive.getSafetyMode() in (NORMAL, REDUCED) and self._receive.getRobotMode() == RUNNING

    def _ready(self) -> bool:
        return self._control is not None and self._safe() and self._control.isProgramRunning()

    def _recover(self) -> None:
        """Report a stop by the safety system; once it is over, run the control script again."""
        if self._control is not None and self._safe():
            time.sleep(0.03)  # ur_rtde's two connections do not report a stop in the same period
        if not self._safe():
            mode = SAFETY_MODES.get(self._receive.getSafetyMode(), "unknown")
            robot = ROBOT_MODES.get(self._receive.getRobotMode(), "unknown")
            self._done(DriverFault.PROTECTIVE_STOP, f"The arm was stopped: safety mode {mode}, robot mode {robot}.")
            return
        self._done(DriverFault.PROTECTIVE_STOP, "The control program on the controller ended.")
        if self._control is None:
            try:
                self._control = self._make_control()
            except (RuntimeError, ValueError) as error:
                raise _Lost(f"cannot take control: {error}") from error
            return
        self._control.reuploadScript()
        deadline = time.monotonic() + 1.0
        while self._safe() and not self._control.isProgramRunning() and time.monotonic() < deadline:
            self._report()
            time.sleep(0.01)

    def _listen(self) -> bool:
        """Take the driver's messages; false when it wants no more."""
        while self._pipe.poll():
            try:
                message = self._pipe.recv()
            except EOFError:
                message = ("close",)
            if message[0] == "follow":
                _, number, path, tolerances = message
                self._run = (number, path, tolerances)
                self._began = time.monotonic()
                if not self._ready():
                    self._done(DriverFault.PROTECTIVE_STOP, "The arm cannot move at the moment.")
            elif message[0] == "stop":
                self._brake()
                self._done(message[1], message[2])
            else:
                self._brake()
                return False
        return True

    def _servo(self) -> None:
        """One period of the trajectory under way."""
        assert self._run is not None
        assert self._control is not None
        _, path, tolerances = self._run
        elapsed = time.monotonic() - self._began
        desired, _ = path.at(elapsed)
        sent = self._control.servoJ(
            desired.tolist(), 0.0, 0.0, self._period, self._settings.lookahead, self._settings.gain
        )
        if not sent:
            self._recover()
            return
        q = np.array(self._receive.getActualQ())
        error = np.abs(q - desired)
        if tolerances.path is not None and (error > tolerances.path).any():
            self._brake()
            self._done(
                ResultCode.PATH_TOLERANCE_VIOLATED,
                f"Joint {int(error.argmax())} was {error.max():.3f} rad off the trajectory after {elapsed:.2f} s.",
            )
            return
        if elapsed < path.duration:
            return
        standing = float(np.abs(self._receive.getActualQd()).max()) < STANDING
        arrived = tolerances.goal is None or bool((error <= tolerances.goal).all())
        if arrived and standing:
            self._brake()
            self._done(ResultCode.SUCCESSFUL, "")
        elif elapsed > path.duration + tolerances.goal_time:
            self._brake()
            if arrived:
                self._done(ResultCode.SUCCESSFUL, "")
            else:
                self._done(
                    ResultCode.GOAL_TOLERANCE_VIOLATED,
                    f"Joint {int(error.argmax())} ended {error.max():.4f} rad from the goal.",
                )

    def _brake(self) -> None:
        if self._run is not None and self._control is not None and self._control.isProgramRunning():
            self._control.servoStop(self._settings.stop_deceleration)

    def _done(self, code: int, message: str) -> None:
        if self._run is not None:
            self._send(("done", self._run[0], int(code), message))
            self._run = None

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._reported < REPORT_PERIOD * 0.9:
            return
        self._reported = now
        receive = self._receive
        state = LinkState(
            receive.getActualQ(),
            receive.getActualQd(),
            receive.getActualCurrent(),
            receive.getJointTemperatures(),
            receive.getRobotMode(),
            receive.getSafetyMode(),
            receive.getSpeedScaling(),
            self._ready(),
            now - self._began if self._run is not None else 0.0,
        )
        self._send(("state", state))

    def _send(self, message: tuple) -> None:
        with self._sending:
            self._pipe.send(message)


def main() -> None:
    """Serve one driver: file descriptor of the pipe as the only argument, settings as its first message."""
    pipe = Connection(int(sys.argv[1]))
    # ur_rtde reports on standard output and error; these lines belong to no log.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        link = _Link(pipe.recv(), pipe)
        link.serve()
    except _Lost as error:
        pipe.send(("lost", str(error)))
    except (OSError, EOFError):
        pass
    except Exception as error:
        pipe.send(("lost", f"the link failed: {error!r}"))
    # The destructors of ur_rtde wait for its threads, which may be connecting to a controller that is gone.
    os._exit(0)
