"""An emulated Dynamixel bus on a pseudo-terminal: XC330 motors, one for each joint of a plant."""

from __future__ import annotations

import logging
import os
import selectors
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dexgrasp_sim.emulators.dynamixel_motor import HardwareError, Motor, StatusError
from dexgrasp_sim.emulators.dynamixel_packet import BROADCAST, HEADER, Instruction, Packet, crc16, encode, split
from dexgrasp_sim.plant import JointPlant

log = logging.getLogger(__name__)


class DynamixelBus:
    """A hand's motors behind a serial port.

    Motor `i` is joint `i` of the plant; its tick 2048 is the joint's zero, as in the LEAP hand's own software. The
    plant is commanded whenever an instruction changed a goal, a current limit or the torque. In mode 5 the goal
    current limits a joint's torque; a motor whose torque is off exerts none.

    Args:
        plant: The joints.
        link: Path of a symbolic link to the pseudo-terminal, made by `start`; what a client opens.
    """

    def __init__(self, plant: JointPlant, link: str = "/tmp/dexgrasp/leap") -> None:
        self.link = Path(link)
        self._plant = plant
        self._lock = threading.RLock()
        self.motors = {i: Motor(i) for i in range(len(plant.joint_names))}
        self._thread: threading.Thread | None = None
        self._wake: tuple[int, int] = (-1, -1)
        self._mute: set[int] = set()
        self._applied: tuple[bytes, bytes] | None = None

    def start(self) -> None:
        """Plug in: make the pseudo-terminal, point the link at it, and answer.

        Motors start with their torque off, as after power-up.

        Raises:
            FileExistsError: Something other than a symbolic link is at `link`.
        """
        if self._thread is not None:
            return
        with self._lock:
            for motor in self.motors.values():
                motor.reboot()
            self._applied = None
            self._apply()
        master, slave = os.openpty()
        tty.setraw(slave)
        self._point_link(os.ttyname(slave))
        self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(master, slave), name="dynamixel_bus", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Unplug: the terminal hangs up, the link disappears, the motors lose power."""
        if self._thread is None:
            return
        os.write(self._wake[1], b"\0")
        self._thread.join()
        self._thread = None
        for end in self._wake:
            os.close(end)
        self.link.unlink(missing_ok=True)
        self._plant.release()

    def __enter__(self) -> DynamixelBus:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def set_temperature(self, motor: int, celsius: int) -> None:
        """Warm a motor; above its limit it shuts down with a hardware error."""
        with self._lock:
            self.motors[motor].set_temperature(celsius)
            self._apply()

    def fail(self, motor: int, error: HardwareError = HardwareError.OVERLOAD) -> None:
        """Make a motor shut down with a hardware error, until it is rebooted."""
        with self._lock:
            self.motors[motor].fail(error)
            self._apply()

    def mute(self, motor: int, silent: bool = True) -> None:
        """Cut one motor's data line, or mend it: it keeps its last goal but hears and says nothing."""
        with self._lock:
            (self._mute.add if silent else self._mute.discard)(motor)

    def _point_link(self, target: str) -> None:
        self.link.parent.mkdir(parents=True, exist_ok=True)
        if self.link.exists() and not self.link.is_symlink():
            raise FileExistsError(f"{self.link} exists and is no symbolic link; choose another path for the bus.")
        fresh = self.link.with_name(f".{self.link.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(self.link)

    def _run(self, master: int, slave: int) -> None:
        """Answer until woken; holding the slave open too keeps the master readable between clients."""
        stream = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(master, selectors.EVENT_READ)
            selector.register(self._wake[0], selectors.EVENT_READ)
            try:
                while True:
                    ready = [key.fd for key, _ in selector.select()]
                    if self._wake[0] in ready:
                        return
                    stream += os.read(master, 4096)
                    for packet in split(stream):
                        answer = self.answer(packet)
                        while answer:
                            answer = answer[os.write(master, answer) :]
            except OSError as error:
                log.error("The bus stops answering: %s", error)
            finally:
                os.close(master)
                os.close(slave)

    def answer(self, packet: Packet) -> bytes:
        """Carry out one instruction; the bytes that all motors send back."""
        with self._lock:
            if not packet.intact:
                known = packet.id in self.motors
                return self._status(self.motors[packet.id], StatusError.CRC) if known else b""
            try:
                answer = b"".join(self._answers(packet))
            except IndexError:
                return b""
            self._apply()
            return answer

    def _answers(self, packet: Packet) -> Iterator[bytes]:
        data = packet.parameters
        self._measure()
        match packet.instruction:
            case Instruction.SYNC_WRITE:
                address, size = _words(data, 0)
                for first in range(4, len(data) - size, size + 1):
                    for motor in self._known(data[first : first + 1]):
                        motor.write(address, data[first + 1 : first + 1 + size])
            case Instruction.BULK_WRITE:
                first = 0
                while first + 5 <= len(data):
                    address, size = _words(data, first + 1)
                    for motor in self._known(data[first : first + 1]):
                        motor.write(address, data[first + 5 : first + 5 + size])
                    first += 5 + size
            case Instruction.SYNC_READ:
                address, size = _words(data, 0)
                for motor in self._known(data[4:]):
                    yield self._status(motor, *motor.read(address, size))
            case Instruction.FAST_SYNC_READ:
                yield self._fast_sync_read(data)
            case Instruction.BULK_READ:
                for first in range(0, len(data) - 4, 5):
                    for motor in self._known(data[first : first + 1]):
                        yield self._status(motor, *motor.read(*_words(data, first + 1)))
            case Instruction.STATUS:
                return
            case _:
                broadcast = packet.id == BROADCAST
                for motor in self._known(bytes(self.motors) if broadcast else bytes([packet.id])):
                    status = self._single(motor, packet)
                    if not broadcast or packet.instruction == Instruction.PING:
                        yield status

    def _single(self, motor: Motor, packet: Packet) -> bytes:
        """One motor's answer to an instruction for one motor."""
        data = packet.parameters
        match packet.instruction:
            case Instruction.PING:
                return self._status(motor, StatusError.NONE, bytes(motor.table[0:2]) + bytes(motor.table[6:7]))
            case Instruction.READ:
                return self._status(motor, *motor.read(*_words(data, 0)))
            case Instruction.WRITE:
                return self._status(motor, motor.write(_word(data, 0), data[2:]))
            case Instruction.REG_WRITE:
                motor.registered = (_word(data, 0), data[2:])
                return self._status(motor, StatusError.NONE)
            case Instruction.ACTION:
                if motor.registered is None:
                    return self._status(motor, StatusError.RESULT)
                error = motor.write(*motor.registered)
                motor.registered = None
                return self._status(motor, error)
            case Instruction.REBOOT:
                status = self._status(motor, StatusError.NONE)
                motor.reboot()
                return status
        return self._status(motor, StatusError.INSTRUCTION)

    def _known(self, ids: bytes) -> list[Motor]:
        return [self.motors[i] for i in ids if i in self.motors and i not in self._mute]

    def _status(self, motor: Motor, error: StatusError, data: bytes = b"") -> bytes:
        return encode(motor.id, Instruction.STATUS, bytes([error | motor.alert]) + data)

    def _fast_sync_read(self, data: bytes) -> bytes:
        """One status packet in which every motor adds its error, id, data and the checksum of all bytes so far."""
        address, size = _words(data, 0)
        motors = self._known(data[4:])
        length = 1 + len(motors) * (size + 4)
        packet = HEADER + bytes([BROADCAST]) + length.to_bytes(2, "little") + bytes([Instruction.STATUS])
        for motor in motors:
            error, values = motor.read(address, size)
            packet += bytes([error | motor.alert, motor.id]) + values
            packet += crc16(packet).to_bytes(2, "little")
        return packet

    def _measure(self) -> None:
        sample = self._plant.read()
        position, velocity, effort = sample.position.tolist(), sample.velocity.tolist(), sample.effort.tolist()
        for joint, motor in self.motors.items():
            motor.measure(position[joint], velocity[joint], effort[joint])

    def _apply(self) -> None:
        """Command the plant where goals or limits differ from the last command."""
        motors = self.motors.values()
        goal = np.array([motor.goal for motor in motors])
        enabled = np.array([motor.enabled for motor in motors])
        limit = np.array([motor.torque_limit for motor in motors])
        goal[~enabled] = 0.0
        wanted = (goal.tobytes(), limit.tobytes())
        if wanted == self._applied:
            return
        self._applied = wanted
        if enabled.any():
            self._plant.command(np.where(enabled, goal, self._plant.read().position), limit)
        else:
            self._plant.release()


def _word(data: bytes, first: int) -> int:
    return data[first] | data[first + 1] << 8


def _words(data: bytes, first: int) -> tuple[int, int]:
    return _word(data, first), _word(data, first + 2)
