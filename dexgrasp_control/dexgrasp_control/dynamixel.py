"""A chain of DYNAMIXEL X motors through the Dynamixel SDK, in SI units and with one kind of error for a dead bus."""

from __future__ import annotations

import math
import struct
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dynamixel_sdk import COMM_SUCCESS, GroupSyncWrite, PacketHandler, PortHandler
from numpy.typing import NDArray
from serial import SerialException

Array = NDArray[np.float64]

OPERATING_MODE, TORQUE_ENABLE, HARDWARE_ERROR = 11, 64, 70
POSITION_D, POSITION_I, POSITION_P = 80, 82, 84
GOAL_CURRENT, GOAL_POSITION, PRESENT_CURRENT, PRESENT_TEMPERATURE = 102, 116, 126, 146
CURRENT_BASED_POSITION = 5
PRESENT_SIZE = 21  # current, velocity, position, two trajectories that are skipped, voltage, temperature

TICKS = 4096
VELOCITY_UNIT = 0.229 * 2.0 * math.pi / 60.0  # [rad/s]
CURRENT_UNIT = 1e-3  # [A]
ALERT = 0x80
ATTEMPTS = 4
"""How often a register is read or written before the motor counts as gone: serial lines drop packets, and a status
packet that comes late, as on a busy computer, is lost, too."""
HARDWARE_ERRORS = {
    0x01: "input voltage",
    0x04: "overheating",
    0x08: "encoder",
    0x10: "electrical shock",
    0x20: "overload",
}


class BusError(Exception):
    """The bus or a motor does not answer."""


@dataclass(frozen=True)
class Present:
    """What all motors measure at one instant.

    Attributes:
        position: array (D,) [rad], zero at tick 2048.
        velocity: array (D,) [rad/s].
        current: array (D,) [A].
        temperature: array (D,) [Celsius].
        alerts: Ids of motors that report a hardware error.
    """

    position: Array
    velocity: Array
    current: Array
    temperature: Array
    alerts: tuple[int, ...]


class DynamixelChain:
    """Motors on one serial port.

    Args:
        port: Device path.
        baud: Baud rate [bit/s].
        ids: Motor ids, in joint order.

    Raises:
        BusError: The port cannot be opened, or a motor is absent.
    """

    def __init__(self, port: str, baud: int, ids: Sequence[int]) -> None:
        self.ids = tuple(ids)
        self._port = PortHandler(port)
        self._packets = PacketHandler(2.0)
        try:
            # setBaudRate opens the port; openPort would first open it at a rate that some adapters lack.
            opened = self._port.setBaudRate(baud)
        except (OSError, SerialException, termios.error) as error:
            raise BusError(f"cannot open {port}: {error}") from error
        if not opened:
            raise BusError(f"{port} does not support {baud} baud")
        self._goals = GroupSyncWrite(self._port, self._packets, GOAL_POSITION, 4)
        absent = [motor for motor in self.ids if not self._answers(motor)]
        if absent:
            self.close()
            raise BusError(f"motors {absent} on {port} do not answer: check power, cables and ids")

    def close(self) -> None:
        """Close the port; motors keep their last goal."""
        try:
            self._port.closePort()
        except (OSError, SerialException, termios.error):
            return  # it is gone already

    def read(self, motor: int, address: int, size: int) -> int:
        """A number from one motor's control table."""
        for _ in range(ATTEMPTS):
            data, result, _ = self._call(self._packets.readTxRx, motor, address, size)
            if result == COMM_SUCCESS and len(data) == size:
                break
            self.settle()
        else:
            raise BusError(f"motor {motor}: {self._packets.getTxRxResult(result)}")
        return int.from_bytes(bytes(data), "little", signed=size > 1)

    def write(self, motor: int, address: int, size: int, value: int) -> None:
        """A number into one motor's control table."""
        data = list(value.to_bytes(size, "little", signed=value < 0))
        for _ in range(ATTEMPTS):
            result, error = self._call(self._packets.writeTxRx, motor, address, size, data)
            if result == COMM_SUCCESS:
                break
            self.settle()
        else:
            raise BusError(f"motor {motor}: {self._packets.getTxRxResult(result)}")
        if error & ~ALERT:
            raise BusError(f"motor {motor} refuses {value} at {address}: {self._packets.getRxPacketError(error)}")

    def reboot(self, motor: int) -> None:
        """Restart a motor, which clears a hardware error."""
        result, _ = self._call(self._packets.reboot, motor)
        if result != COMM_SUCCESS:
            raise BusError(f"motor {motor}: {self._packets.getTxRxResult(result)}")

    def write_goals(self, position: Array) -> None:
        """Goal positions (D,) [rad] of all motors in one packet."""
        self._goals.clearParam()
        ticks = np.rint(position * (TICKS / (2.0 * math.pi))).astype(int) + TICKS // 2
        for motor, tick in zip(self.ids, ticks.tolist(), strict=True):
            self._goals.addParam(motor, list(tick.to_bytes(4, "little", signed=True)))
        result = self._call(lambda _: self._goals.txPacket())
        if result != COMM_SUCCESS:
            raise BusError(self._packets.getTxRxResult(result))

    def read_goals(self) -> Array:
        """Goal positions (D,) [rad] that the motors hold."""
        ticks = [self.read(motor, GOAL_POSITION, 4) for motor in self.ids]
        return (np.array(ticks, dtype=np.float64) - TICKS // 2) * (2.0 * math.pi / TICKS)

    def read_present(self) -> Present:
        """What all motors measure, in one exchange, and who raises the alert bit.

        The SDK's GroupSyncRead drops the alert bit, so its two halves are called here. Temperatures come along rather
        than in exchanges of their own, because the SDK does not tell a late answer to an earlier, longer question
        from the answer to this one.
        """
        ids = list(self.ids)
        result = self._call(self._packets.syncReadTx, PRESENT_CURRENT, PRESENT_SIZE, ids, len(ids), False)
        if result != COMM_SUCCESS:
            raise BusError(self._packets.getTxRxResult(result))
        rows, alerts = [], []
        for motor in ids:
            data, result, error = self._call(self._packets.readRx, motor, PRESENT_SIZE)
            if result != COMM_SUCCESS:
                raise BusError(f"motor {motor}: {self._packets.getTxRxResult(result)}")
            if len(data) != PRESENT_SIZE:  # the late answer to an earlier question
                raise BusError(f"motor {motor}: {len(data)} bytes instead of {PRESENT_SIZE}")
            rows.append(struct.unpack("<hii10xB", bytes(data)))
            if error & ALERT:
                alerts.append(motor)
        current, velocity, ticks, temperature = np.array(rows, dtype=np.float64).T
        return Present(
            (ticks - TICKS // 2) * (2.0 * math.pi / TICKS),
            velocity * VELOCITY_UNIT,
            current * CURRENT_UNIT,
            temperature,
            tuple(alerts),
        )

    def settle(self) -> None:
        """After an exchange that failed: throw away what still arrives."""
        quiet = 0
        while quiet < 3:
            waiting = self._call(lambda port: port.ser.in_waiting)
            self._call(lambda port: port.ser.reset_input_buffer())
            quiet = 0 if waiting else quiet + 1
            time.sleep(0.002)

    def _answers(self, motor: int) -> bool:
        return any(self._call(self._packets.ping, motor)[1] == COMM_SUCCESS for _ in range(ATTEMPTS))

    def _call(self, function, *arguments):  # type: ignore[no-untyped-def]
        try:
            return function(self._port, *arguments)
        except (OSError, SerialException, termios.error, TypeError) as error:
            # pyserial raises TypeError where the descriptor vanished between two of its own calls.
            raise BusError(f"the port failed: {error}") from error


def describe_hardware_error(bits: int) -> str:
    """Names of the bits of a hardware error status."""
    return ", ".join(name for bit, name in HARDWARE_ERRORS.items() if bits & bit) or f"0x{bits:02x}"
