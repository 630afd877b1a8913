"""The LEAP hand through the DynamixelClient of its makers' leap_hand_utils."""

from __future__ import annotations

import math
import termios
from collections.abc import Sequence
from typing import Any

import numpy as np
from dynamixel_sdk import COMM_SUCCESS
from numpy.typing import NDArray
from serial import SerialException

from dexgrasp_control.dynamixel import (
    ALERT,
    CURRENT_UNIT,
    HARDWARE_ERROR,
    PRESENT_TEMPERATURE,
    TICKS,
    BusError,
    DynamixelChain,
    Present,
)
from dexgrasp_control.leap import LeapHand

RADIANS_PER_TICK = 2.0 * math.pi / TICKS


def _client(ids: Sequence[int], port: str, baud: int) -> Any:
    """A DynamixelClient, not connected, that keeps the last failed packet's error in `failure`.

    The client itself only logs it, and answers with the values of the last good packet.
    """
    from leap_hand_utils.dynamixel_client import DynamixelClient

    class Client(DynamixelClient):
        failure: str | None = None

        def handle_packet_result(self, comm_result, dxl_error=None, dxl_id=None, context=None):  # type: ignore[no-untyped-def]
            if comm_result != COMM_SUCCESS:
                self.failure = self.packet_handler.getTxRxResult(comm_result)
                return False
            if dxl_error is not None and dxl_error & ~ALERT:
                self.failure = self.packet_handler.getRxPacketError(dxl_error)
                return False
            return True

    return Client(list(ids), port, baud, cur_scale=CURRENT_UNIT)


class ClientChain(DynamixelChain):
    """Motors behind a DynamixelClient: goals and readings through its methods, single registers through its handlers.

    The client's readers know neither temperatures nor alert bits. Each cycle asks one motor for them, so that a hot
    motor or one in hardware error is noticed within as many cycles as there are motors.

    Args:
        port: Device path.
        baud: Baud rate [bit/s].
        ids: Motor ids, in joint order.

    Raises:
        BusError: The port cannot be opened, or a motor is absent.
    """

    def __init__(self, port: str, baud: int, ids: Sequence[int]) -> None:
        self.ids = tuple(ids)
        self._client = _client(ids, port, baud)
        self._port, self._packets = self._client.port_handler, self._client.packet_handler
        self._temperature = np.full(len(self.ids), np.nan)
        self._alerts: set[int] = set()
        self._next = 0
        try:
            self._client.connect()
        except (OSError, SerialException, termios.error) as error:
            self.close()
            raise BusError(f"cannot open {port}: {error}") from error
        absent = [motor for motor in self.ids if not self._answers(motor)]
        if absent:
            self.close()
            raise BusError(f"motors {absent} on {port} do not answer: check power, cables and ids")

    def close(self) -> None:
        """Close the port. Not by the client's `disconnect`, which would switch the torque off and drop what is held."""
        self._client.OPEN_CLIENTS.discard(self._client)
        if self._client.is_connected:
            super().close()
            self._port.is_open = False

    def write_goals(self, position: NDArray[np.float64]) -> None:
        # The client cuts off fractions of a tick; half of one more rounds.
        angle = position + math.pi + 0.5 * RADIANS_PER_TICK
        self._checked(self._client.write_desired_pos, self.ids, angle)

    def read_present(self) -> Present:
        angle, velocity, current = self._checked(self._client.read_pos_vel_cur)
        for motor in self.ids if np.isnan(self._temperature).any() else (self.ids[self._next],):
            self._look_at(motor)
        self._next = (self._next + 1) % len(self.ids)
        return Present(
            angle.astype(np.float64) - math.pi,
            velocity.astype(np.float64),
            current.astype(np.float64),
            self._temperature.copy(),
            tuple(sorted(self._alerts)),
        )

    def reboot(self, motor: int) -> None:
        super().reboot(motor)
        self._alerts.discard(motor)

    def _look_at(self, motor: int) -> None:
        self._temperature[self.ids.index(motor)] = self.read(motor, PRESENT_TEMPERATURE, 1)
        if self.read(motor, HARDWARE_ERROR, 1):
            self._alerts.add(motor)
        else:
            self._alerts.discard(motor)

    def _checked(self, method, *arguments):  # type: ignore[no-untyped-def]
        """Call a method of the client; what it only logs is raised."""
        self._client.failure = None
        result = self._call(lambda _: method(*arguments))
        if self._client.failure is not None:
            raise BusError(self._client.failure)
        return result


class LeapUtilsHand(LeapHand):
    """A LEAP hand behind leap_hand_utils; in everything else `LeapHand`."""

    _open_chain = ClientChain
