"""What ur_rtde's control script does on a controller: read a command from registers, move, answer in registers.

There is no URScript interpreter. The emulated controller recognises the script that `ur_rtde` uploads and then
behaves as that script would; a command that this emulation lacks ends the program, as a script error does.
"""

from __future__ import annotations

import logging
import re

import numpy as np

from dexgrasp_sim.emulators.ur_motion import Deceleration, Motion, ServoTracking, Setpoint, SpeedTracking, TrapezoidMove

log = logging.getLogger(__name__)

REGISTERS = 48
READY, DONE = 1, 2

MOVE_J, SPEED_J, SERVO_J, SPEED_STOP, SERVO_STOP, SET_PAYLOAD = 1, 9, 11, 15, 16, 17
GET_STEPTIME, SET_TCP, PROTECTIVE_STOP, STOP_J, SET_WATCHDOG = 26, 29, 31, 34, 35
JOINTS_WITHIN_LIMITS, GET_JOINT_TORQUES, IS_STEADY, STOP_SCRIPT = 37, 38, 47, 255
REALTIME = frozenset({SPEED_J, SERVO_J, GET_STEPTIME, GET_JOINT_TORQUES})

PROGRAM_END_DECELERATION = 10.0
"""Deceleration when the program ends while the arm moves [rad/s^2]."""


class Registers:
    """The general-purpose registers through which a client and the running program talk."""

    def __init__(self) -> None:
        self.int_in = [0] * REGISTERS
        self.double_in = [0.0] * REGISTERS
        self.int_out = [0] * REGISTERS
        self.double_out = [0.0] * REGISTERS


class ControlScript:
    """The running control script.

    Args:
        text: The uploaded program.
        registers: Shared with the RTDE server.
        setpoint: Joint targets, changed in place.
        period: Control period [s].
    """

    def __init__(self, text: str, registers: Registers, setpoint: Setpoint, period: float) -> None:
        self._registers = registers
        self._setpoint = setpoint
        self._period = period
        offset = re.search(r"# int register offset\s*\n\s*(\d+)", text)
        self._offset = int(offset.group(1)) if offset else 0
        self._motion: Motion | None = None
        self._executing = False
        self._pending: Motion | None = None
        self._async_operation = 0
        self._async_writes = 0
        self._async_motion: Motion | None = None
        self._watchdog_period = 0.0
        self._since_input = 0.0
        self._torques = np.zeros(6)
        self.running = True
        self.protective_stop_requested = False
        self._write_async_progress(running=False)
        self._answer(READY)

    @staticmethod
    def recognises(text: str) -> bool:
        """Whether the program is ur_rtde's control script."""
        return "RTDE Control Script Loaded" in text

    @property
    def moving(self) -> bool:
        """Whether a motion is under way."""
        return self._motion is not None

    def input_received(self) -> None:
        """A client wrote registers: feeds the watchdog.

        A realtime command counts even when the client takes it back within the same control period.
        """
        self._since_input = 0.0
        command = self._registers.int_in[self._offset]
        if command in REALTIME:
            self._realtime(command)
        elif command == 0:
            self._executing = False
            self._answer(READY)

    def step(self, dt: float, torques: np.ndarray) -> None:
        """One control period: look at the command register, then advance the motion by `dt` [s] (speed-scaled)."""
        self._torques = torques
        self._since_input += self._period
        if self._watchdog_period and self._since_input > self._watchdog_period:
            log.warning("The program ends: no client input for %.3f s.", self._since_input)
            self.running = False
            return
        command = self._registers.int_in[self._offset]
        if command in REALTIME:
            self._realtime(command)
            self._answer(READY)
        elif command == 0:
            self._executing = False
            self._answer(READY)
        elif not self._executing:
            self._executing = True
            self._pending = self._process(command)
            if self._pending is None and self.running:
                self._answer(DONE)
        if self._motion is not None and self._motion.step(self._setpoint, dt):
            self._ended(self._motion)

    def _ended(self, motion: Motion) -> None:
        self._motion = None
        if motion is self._async_motion:
            self._async_motion = None
            self._write_async_progress(running=False)
        if motion is self._pending:
            self._pending = None
            self._answer(DONE)

    def _process(self, command: int) -> Motion | None:
        """Begin a regular command; the motion that must end before the command is done, or None."""
        double, integer = self._double, self._integer
        if command == MOVE_J:
            move = TrapezoidMove(self._setpoint.q, self._vector(0), double(6), double(7))
            return self._begin(move, asynchronous=integer(1) == 1)
        if command == STOP_J:
            return self._begin(Deceleration(double(0)), asynchronous=integer(1) == 1)
        if command in (SERVO_STOP, SPEED_STOP):
            return self._begin(Deceleration(double(0)), asynchronous=False)
        if command == SET_WATCHDOG:
            self._watchdog_period = 1.0 / double(0) if double(0) > 0 else 0.0
        elif command == JOINTS_WITHIN_LIMITS:
            self._integer_out(1, int(np.abs(self._vector(0)).max() <= 2 * np.pi))
        elif command == IS_STEADY:
            self._integer_out(1, int(self._setpoint.steady))
        elif command == PROTECTIVE_STOP:
            self.protective_stop_requested = True
        elif command == STOP_SCRIPT:
            self.running = False
        elif command not in (SET_PAYLOAD, SET_TCP):
            log.error("The program ends: command %d of the control script is not emulated.", command)
            self.running = False
        return None

    def _replace(self, motion: Motion) -> None:
        """Run another motion; an asynchronous one that it cuts short is over."""
        if self._async_motion is not None:
            self._async_motion = None
            self._write_async_progress(running=False)
        self._motion = motion

    def _begin(self, motion: Motion, *, asynchronous: bool) -> Motion | None:
        self._replace(motion)
        if not asynchronous:
            return motion
        self._async_motion = motion
        self._async_operation = (self._async_operation + 1) % 128
        self._write_async_progress(running=True)
        return None

    def _realtime(self, command: int) -> None:
        if command == SERVO_J:
            if not isinstance(self._motion, ServoTracking):
                self._replace(ServoTracking(self._setpoint))
            assert isinstance(self._motion, ServoTracking)
            self._motion.target = self._vector(0)
            self._motion.lookahead = min(max(self._double(9), 0.03), 0.2)
            self._motion.gain = min(max(self._double(10), 100.0), 2000.0)
        elif command == SPEED_J:
            if not isinstance(self._motion, SpeedTracking):
                self._replace(SpeedTracking())
            assert isinstance(self._motion, SpeedTracking)
            self._motion.target = self._vector(0)
            self._motion.acceleration = max(self._double(6), 1e-3)
        elif command == GET_STEPTIME:
            self._registers.double_out[self._offset] = self._period
        else:
            self._registers.double_out[self._offset : self._offset + 6] = self._torques.tolist()

    def _double(self, index: int) -> float:
        return self._registers.double_in[self._offset + index]

    def _integer(self, index: int) -> int:
        return self._registers.int_in[self._offset + index]

    def _vector(self, index: int) -> np.ndarray:
        first = self._offset + index
        return np.array(self._registers.double_in[first : first + 6])

    def _integer_out(self, index: int, value: int) -> None:
        self._registers.int_out[self._offset + index] = value

    def _answer(self, value: int) -> None:
        self._registers.int_out[self._offset] = value

    def _write_async_progress(self, *, running: bool) -> None:
        """Bits 24-30 operation, 16-22 write count, 15 running: the layout that `getAsyncOperationProgress` reads."""
        self._async_writes = (self._async_writes + 1) % 128
        value = self._async_operation * 2**24 + self._async_writes * 2**16 + (2**15 if running else 0)
        self._integer_out(2, value)
