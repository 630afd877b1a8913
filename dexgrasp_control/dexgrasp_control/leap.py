"""A LEAP hand: sixteen DYNAMIXEL motors in current-limited position control."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from dexgrasp_common.parameters import param
from numpy.typing import NDArray

from dexgrasp_control import dynamixel
from dexgrasp_control.checking import checked_path, nearest_start
from dexgrasp_control.driver import Health, MotionResult, Reading, ResultCode, Run, Tolerances, TrajectoryRefused
from dexgrasp_control.dynamixel import BusError, DynamixelChain, Present
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.judging import verdict
from dexgrasp_control.phases import Trajectory
from dexgrasp_description import HandModel

SIDE_JOINTS = (0, 4, 8)
"""Joints that spread the fingers; the LEAP hand's own software drives them with 0.75 of the gains."""
SIDE_GAIN = 0.75
TORQUE_PER_CURRENT = 0.93 / 1.80
"""Torque per current [N m/A]: stall torque over stall current at 5 V, from the XC330-M288-T's data sheet."""
REBOOT_PAUSE = 1.0
"""Between attempts to reboot a motor in hardware error [s]."""
FAULT_HOLD = 1.0
"""An overload is reported for at least this long, for those who look once a second [s]."""
COOLING = 5.0
"""How far below the limit a motor that was too hot has to cool [K]."""


@dataclass(frozen=True)
class LeapConfig:
    """How the motors are set and watched. Gains and currents are those of the LEAP hand's own software."""

    baud: int = param(4_000_000, "Baud rate of the motors [bit/s]", range=(9_600, 4_500_000))
    rate: float = param(60.0, "Control cycles a second [Hz]", range=(10.0, 200.0))
    position_p: int = param(600, "Position P gain", range=(0, 16_383))
    position_i: int = param(0, "Position I gain", range=(0, 16_383))
    position_d: int = param(200, "Position D gain", range=(0, 16_383))
    current_limit: float = param(550.0, "Goal current of every motor; 350 for the lite hand [mA]", range=(10.0, 900.0))
    overcurrent: float = param(600.0, "A motor above this current is overloaded [mA]", range=(10.0, 1800.0))
    overcurrent_time: float = param(0.3, "when it stays there for this long [s]", range=(0.0, 10.0))
    temperature_limit: float = param(65.0, "A motor above this is too hot to move [Celsius]", range=(30.0, 75.0))
    silence_timeout: float = param(0.1, "A hand without a complete answer for this long is lost [s]", range=(0.02, 5.0))
    speed_limit: float = param(1.0, "Fraction of the velocity limits that a trajectory may use", range=(0.01, 1.0))
    start_tolerance: float = param(
        0.2,
        "Largest distance of a trajectory's point at time zero from the joints or their goals [rad]",
        range=(0.01, 3.0),
    )


class LeapHand:
    """A LEAP hand on a serial port.

    One thread writes the goals and reads all motors every cycle. A stop keeps the last goals, so that a hand keeps
    holding what it holds; an overload sets the goals to where the fingers are. Motors in hardware error are rebooted
    once they are cool enough. When the port comes back after a disconnection, motors whose torque stayed on keep
    their goals.

    Args:
        model: The hand.
        port: Serial device.
        config: See there.
    """

    Config = LeapConfig
    _open_chain: ClassVar[type[DynamixelChain]] = DynamixelChain

    def __init__(self, model: HandModel, port: str = "/dev/ttyUSB0", config: LeapConfig | None = None) -> None:
        self.joint_names = model.joint_names
        self._model = model
        self._port = port
        self._config = config or LeapConfig()
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._run: Run | None = None
        self._tolerances = Tolerances(None, None, 0.0)
        self._began = 0.0
        self._goal: NDArray[np.float64] | None = None
        self._reading: Reading | None = None
        self._fault: tuple[DriverFault, str] | None = (DriverFault.LOST, f"not connected to {port} yet")
        self._present: Present | None = None
        self._cycle_time = 0.0
        self._over_since = np.full(len(self.joint_names), np.inf)
        self._fault_since = 0.0
        self._next_reboot = 0.0
        self._thread = threading.Thread(target=self._serve, name="leap_hand", daemon=True)
        self._thread.start()

    def reading(self) -> Reading | None:
        return self._reading

    def health(self) -> Health:
        with self._lock:
            fault, present = self._fault, self._present
        values = {"port": self._port}
        if present is not None:
            values |= {
                "temperature": " ".join(f"{value:.0f}" for value in present.temperature),
                "current_mA": " ".join(f"{value * 1e3:.0f}" for value in present.current),
                "cycle_ms": f"{self._cycle_time * 1e3:.2f}",
            }
        return Health(None, "ready", values) if fault is None else Health(fault[0], fault[1], values)

    def follow(self, trajectory: Trajectory, tolerances: Tolerances) -> Run:
        with self._lock:
            if self._run is not None and not self._run.result.done():
                raise TrajectoryRefused(
                    ResultCode.INVALID_GOAL, "The hand is following another trajectory: cancel it or wait for its end."
                )
            if self._fault is not None:
                raise TrajectoryRefused(*self._fault)
            assert self._reading is not None
            assert self._goal is not None
            start = nearest_start(trajectory, self.joint_names, self._reading.position, self._goal)
            path = checked_path(
                trajectory,
                self._model,
                Reading(start, self._reading.velocity, None, self._reading.time),
                self._config.speed_limit,
                self._config.start_tolerance,
                "hand",
            )
            self._run = Run(path, self._cancel)
            self._tolerances = tolerances
            self._began = time.monotonic()
            return self._run

    def stop(self, reason: str) -> None:
        self._finish(MotionResult(DriverFault.STOPPED, f"Stopped: {reason}"))

    def close(self) -> None:
        self._closing.set()
        self._finish(MotionResult(DriverFault.STOPPED, "Stopped: the driver closes"))
        self._thread.join(timeout=5.0)

    def _cancel(self, run: Run) -> None:
        if run is self._run:
            self._finish(MotionResult(ResultCode.SUCCESSFUL, "cancelled", cancelled=True))

    def _finish(self, result: MotionResult) -> None:
        with self._lock:
            run, self._run = self._run, None
        if run is not None:
            run.finish(result)

    def _serve(self) -> None:
        pause = 0.1
        while not self._closing.is_set():
            chain = None
            try:
                chain = self._open_chain(self._port, self._config.baud, range(len(self.joint_names)))
                self._set_up(chain)
                pause = 0.1
                self._cycles(chain)
            except BusError as error:
                self._lose(str(error))
            finally:
                if chain is not None:
                    chain.close()
            self._closing.wait(pause)
            pause = min(2.0 * pause, 1.0)

    def _set_up(self, chain: DynamixelChain) -> None:
        """Set modes, gains and currents; torque that is on stays on, and its goals stay."""
        for motor in chain.ids:
            self._set_up_motor(chain, motor)
        present = chain.read_present()
        with self._lock:
            self._goal = np.clip(chain.read_goals(), self._model.lower, self._model.upper)
            self._over_since[:] = np.inf
            self._take(present)
            self._fault = None

    def _set_up_motor(self, chain: DynamixelChain, motor: int) -> None:
        if chain.read(motor, dynamixel.HARDWARE_ERROR, 1):
            return  # the cycle deals with it
        config = self._config
        gain = SIDE_GAIN if motor in SIDE_JOINTS else 1.0
        if chain.read(motor, dynamixel.OPERATING_MODE, 1) != dynamixel.CURRENT_BASED_POSITION:
            chain.write(motor, dynamixel.TORQUE_ENABLE, 1, 0)
            chain.write(motor, dynamixel.OPERATING_MODE, 1, dynamixel.CURRENT_BASED_POSITION)
        chain.write(motor, dynamixel.POSITION_P, 2, round(config.position_p * gain))
        chain.write(motor, dynamixel.POSITION_I, 2, config.position_i)
        chain.write(motor, dynamixel.POSITION_D, 2, round(config.position_d * gain))
        chain.write(motor, dynamixel.GOAL_CURRENT, 2, round(config.current_limit))
        if not chain.read(motor, dynamixel.TORQUE_ENABLE, 1):
            chain.write(motor, dynamixel.TORQUE_ENABLE, 1, 1)

    def _cycles(self, chain: DynamixelChain) -> None:
        period = 1.0 / self._config.rate
        answered = due = time.monotonic()
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self._cycle(chain)
                answered = time.monotonic()
            except BusError as error:
                if "port failed" in str(error) or time.monotonic() - answered > self._config.silence_timeout:
                    raise
                chain.settle()
            self._cycle_time = time.monotonic() - began
            due = max(due + period, time.monotonic())
            self._closing.wait(max(0.0, due - time.monotonic()))

    def _cycle(self, chain: DynamixelChain) -> None:
        with self._lock:
            run, tolerances, began = self._run, self._tolerances, self._began
            assert self._goal is not None
            if run is not None:
                run.elapsed = time.monotonic() - began
                self._goal = run.path.at(run.elapsed)[0].copy()
            goal = self._goal
        chain.write_goals(goal)
        present = chain.read_present()
        with self._lock:
            self._take(present)
        self._judge_motors(chain, present)
        if run is not None and not run.result.done():
            self._judge_run(run, tolerances, present)

    def _take(self, present: Present) -> None:
        self._present = present
        effort = present.current * TORQUE_PER_CURRENT
        self._reading = Reading(present.position, present.velocity, effort, time.monotonic())

    def _judge_motors(self, chain: DynamixelChain, present: Present) -> None:
        """Hardware errors, temperature and current; sets or clears the fault."""
        now = time.monotonic()
        if present.alerts:
            motor = present.alerts[0]
            error = dynamixel.describe_hardware_error(chain.read(motor, dynamixel.HARDWARE_ERROR, 1))
            self._overload(f"Motor {motor} reports a hardware error: {error}.", present)
            self._reboot(chain, present.alerts, now)
            return
        limit = self._config.temperature_limit - (COOLING if self._fault is not None else 0.0)
        hottest = int(present.temperature.argmax())
        if present.temperature[hottest] > limit:
            self._overload(
                f"Motor {hottest} is at {present.temperature[hottest]:.0f} Celsius, above {limit:.0f}: let it cool.",
                present,
            )
            return
        over = np.abs(present.current) * 1e3 > self._config.overcurrent
        self._over_since = np.where(over, np.minimum(self._over_since, now), np.inf)
        worst = int(self._over_since.argmin())
        if over.any() and now - self._over_since[worst] >= self._config.overcurrent_time:
            self._overload(
                f"Motor {worst} has drawn more than {self._config.overcurrent:.0f} mA "
                f"for {now - self._over_since[worst]:.2f} s.",
                present,
            )
            return
        with self._lock:
            if not over.any() and now - self._fault_since > FAULT_HOLD:
                self._fault = None

    def _overload(self, message: str, present: Present) -> None:
        """Enter or stay in the fault; on entering, stop and let the fingers relax where they are."""
        with self._lock:
            entering = self._fault is None
            self._fault_since = time.monotonic() if entering else self._fault_since
            self._fault = (DriverFault.OVERLOAD, message)
            if entering:
                self._goal = np.clip(present.position, self._model.lower, self._model.upper)
        if entering:
            self._finish(MotionResult(DriverFault.OVERLOAD, message))

    def _reboot(self, chain: DynamixelChain, motors: tuple[int, ...], now: float) -> None:
        if now < self._next_reboot:
            return
        self._next_reboot = now + REBOOT_PAUSE
        for motor in motors:
            if chain.read(motor, dynamixel.PRESENT_TEMPERATURE, 1) > self._config.temperature_limit - COOLING:
                continue
            chain.reboot(motor)
            deadline = time.monotonic() + 1.0
            while True:  # a real motor is deaf while it starts
                time.sleep(0.05)
                try:
                    self._set_up_motor(chain, motor)
                    break
                except BusError:
                    if time.monotonic() > deadline:
                        raise

    def _judge_run(self, run: Run, tolerances: Tolerances, present: Present) -> None:
        result = verdict(run.path, tolerances, run.elapsed, present.position, self.joint_names)
        if result is not None:
            self._finish(result)

    def _lose(self, problem: str) -> None:
        message = f"No connection to the hand: {problem}."
        with self._lock:
            self._reading = self._present = None
            self._fault = (DriverFault.LOST, message)
        self._finish(MotionResult(DriverFault.LOST, message))
