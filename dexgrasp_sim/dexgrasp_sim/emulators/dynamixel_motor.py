"""The control table of one DYNAMIXEL XC330-M288-T and the rules for reading and writing it."""

from __future__ import annotations

import math
from enum import IntEnum

TICKS = 4096
VELOCITY_UNIT = 0.229 * 2.0 * math.pi / 60.0
"""Present velocity [rad/s per unit]."""
TORQUE_PER_CURRENT = 0.93 / 1.80
"""Torque per current [N m/A]: stall torque over stall current at 5 V, from the XC330-M288-T's data sheet."""

OPERATING_MODE, TEMPERATURE_LIMIT, CURRENT_LIMIT, SHUTDOWN, TORQUE_ENABLE = 11, 31, 38, 63, 64
HARDWARE_ERROR, GOAL_CURRENT, GOAL_POSITION, MOVING = 70, 102, 116, 122
PRESENT_CURRENT, PRESENT_VELOCITY, PRESENT_POSITION, PRESENT_VOLTAGE, PRESENT_TEMPERATURE = 126, 128, 132, 144, 146
TABLE_SIZE = 147
RAM_START = 64

POSITION_MODE, CURRENT_BASED_POSITION_MODE = 3, 5

_DEFAULTS: dict[int, tuple[int, int]] = {
    0: (2, 1240),  # model number
    6: (1, 46),  # firmware version
    8: (1, 1),  # baud rate: 57600
    9: (1, 250),  # return delay [2 us]
    OPERATING_MODE: (1, POSITION_MODE),
    12: (1, 255),  # secondary id: none
    13: (1, 2),  # protocol
    24: (4, 10),  # moving threshold
    TEMPERATURE_LIMIT: (1, 70),
    32: (2, 70),  # voltage limits [0.1 V]
    34: (2, 35),
    36: (2, 885),  # PWM limit
    CURRENT_LIMIT: (2, 910),
    44: (4, 401),  # velocity limit
    48: (4, 4095),  # position limits
    SHUTDOWN: (1, 0x35),
    68: (1, 2),  # answer every instruction
    78: (2, 180),  # velocity gains
    76: (2, 1600),
    84: (2, 400),  # position P gain
    100: (2, 885),  # goal PWM
    GOAL_CURRENT: (2, 910),
    PRESENT_VOLTAGE: (2, 50),
    PRESENT_TEMPERATURE: (1, 32),
}
_READ_ONLY = (*range(0, 7), 69, 70, *range(120, TABLE_SIZE))
_FIELDS = {OPERATING_MODE: 1, CURRENT_LIMIT: 2, TORQUE_ENABLE: 1, GOAL_CURRENT: 2, GOAL_POSITION: 4}


class StatusError(IntEnum):
    """Error numbers of a status packet; bit 7 beside them says that the hardware error status is not zero."""

    NONE = 0
    RESULT = 1
    INSTRUCTION = 2
    CRC = 3
    DATA_RANGE = 4
    DATA_LENGTH = 5
    DATA_LIMIT = 6
    ACCESS = 7


class HardwareError(IntEnum):
    """Bits of the hardware error status."""

    INPUT_VOLTAGE = 0x01
    OVERHEATING = 0x04
    ENCODER = 0x08
    ELECTRICAL_SHOCK = 0x10
    OVERLOAD = 0x20


class Motor:
    """One motor's control table.

    Gains, profiles and PWM limits are stored and read back but change nothing: how hard and how fast a joint follows
    is the plant's. What counts is torque enable, the goal position, and in mode 5 the goal current.
    """

    def __init__(self, motor_id: int) -> None:
        self.id = motor_id
        self._persistent = bytearray(TABLE_SIZE)
        for address, (size, value) in _DEFAULTS.items():
            self._persistent[address : address + size] = value.to_bytes(size, "little")
        self._persistent[7] = motor_id
        self.table = bytearray(self._persistent)
        self.registered: tuple[int, bytes] | None = None

    def reboot(self) -> None:
        """Start again: RAM to its defaults, the hardware error cleared unless its cause remains."""
        temperature = self.table[PRESENT_TEMPERATURE]
        self.table[RAM_START:] = self._persistent[RAM_START:]
        self.registered = None
        self.set_temperature(temperature)

    def get(self, address: int, size: int, *, signed: bool = False) -> int:
        """A little-endian number of the table."""
        return int.from_bytes(self.table[address : address + size], "little", signed=signed)

    def set(self, address: int, size: int, value: int) -> None:
        """Set a number, whatever its access."""
        self.table[address : address + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    @property
    def enabled(self) -> bool:
        """Whether the motor's torque is on."""
        return self.table[TORQUE_ENABLE] == 1

    @property
    def alert(self) -> int:
        """The alert bit of status packets."""
        return 0x80 if self.table[HARDWARE_ERROR] else 0

    @property
    def goal(self) -> float:
        """Goal position as a joint angle [rad]: tick 2048 is zero."""
        return (self.get(GOAL_POSITION, 4, signed=True) - TICKS // 2) * 2.0 * math.pi / TICKS

    @property
    def torque_limit(self) -> float:
        """Largest torque that the motor exerts now [N m]."""
        if not self.enabled:
            return 0.0
        limited = self.table[OPERATING_MODE] == CURRENT_BASED_POSITION_MODE
        current = self.get(GOAL_CURRENT if limited else CURRENT_LIMIT, 2, signed=True)
        return abs(current) * 1e-3 * TORQUE_PER_CURRENT

    def measure(self, position: float, velocity: float, torque: float) -> None:
        """Refresh the present values from a joint's angle [rad], velocity [rad/s] and torque [N m]."""
        ticks = round(position * TICKS / (2.0 * math.pi)) + TICKS // 2
        self.set(PRESENT_CURRENT, 2, round(torque / TORQUE_PER_CURRENT * 1e3))
        self.set(PRESENT_VELOCITY, 4, round(velocity / VELOCITY_UNIT))
        self.set(PRESENT_POSITION, 4, ticks)
        self.table[MOVING] = int(abs(velocity) > 10 * VELOCITY_UNIT)

    def set_temperature(self, celsius: int) -> None:
        """Set the present temperature; above the limit the motor reports overheating and shuts down."""
        self.table[PRESENT_TEMPERATURE] = celsius
        if celsius > self.table[TEMPERATURE_LIMIT]:
            self.fail(HardwareError.OVERHEATING)

    def fail(self, error: HardwareError) -> None:
        """Raise a hardware error; where the shutdown setting names it, the torque goes off until a reboot."""
        self.table[HARDWARE_ERROR] |= error
        if self.table[SHUTDOWN] & error:
            self.table[TORQUE_ENABLE] = 0

    def read(self, address: int, size: int) -> tuple[StatusError, bytes]:
        """The bytes of a read instruction, or why there are none."""
        if size == 0 or address + size > TABLE_SIZE:
            return StatusError.DATA_LENGTH, b""
        return StatusError.NONE, bytes(self.table[address : address + size])

    def write(self, address: int, data: bytes) -> StatusError:
        """Carry out a write instruction, or say why not."""
        error = self._refusal(address, data)
        if error is not StatusError.NONE:
            return error
        enabling = address <= TORQUE_ENABLE < address + len(data) and not self.enabled
        self.table[address : address + len(data)] = data
        if address < RAM_START:
            self._persistent[address : address + len(data)] = data
        if enabling and self.enabled and not address <= GOAL_POSITION < address + len(data):
            self.table[GOAL_POSITION : GOAL_POSITION + 4] = self.table[PRESENT_POSITION : PRESENT_POSITION + 4]
        return StatusError.NONE

    def _refusal(self, address: int, data: bytes) -> StatusError:
        end = address + len(data)
        if not data or end > TABLE_SIZE:
            return StatusError.DATA_LENGTH
        if any(address <= protected < end for protected in _READ_ONLY) or (address < RAM_START and self.enabled):
            return StatusError.ACCESS
        for field, size in _FIELDS.items():
            if not address <= field or field + size > end:
                if address < field + size and field < end:
                    return StatusError.DATA_LENGTH
                continue
            value = int.from_bytes(data[field - address : field - address + size], "little", signed=size > 1)
            error = self._field_refusal(field, value)
            if error is not StatusError.NONE:
                return error
        return StatusError.NONE

    def _field_refusal(self, field: int, value: int) -> StatusError:
        mode = self.table[OPERATING_MODE]
        if field == TORQUE_ENABLE and value > 1:
            return StatusError.DATA_RANGE
        if field == TORQUE_ENABLE and value and self.table[HARDWARE_ERROR] & self.table[SHUTDOWN]:
            return StatusError.RESULT
        if field == OPERATING_MODE and value not in (0, 1, 3, 4, 5, 16):
            return StatusError.DATA_RANGE
        if field == GOAL_CURRENT and abs(value) > self.get(CURRENT_LIMIT, 2):
            return StatusError.DATA_LIMIT
        if field == GOAL_POSITION and mode == POSITION_MODE and not 0 <= value < TICKS:
            return StatusError.DATA_LIMIT
        return StatusError.NONE
