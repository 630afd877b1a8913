"""The emulated Dynamixel bus against the real dynamixel_sdk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from dexgrasp_sim.emulators.dynamixel_bus import DynamixelBus
from dexgrasp_sim.emulators.dynamixel_motor import TORQUE_PER_CURRENT, HardwareError, StatusError
from dexgrasp_sim.plant import KinematicPlant
from dynamixel_sdk import (
    COMM_RX_TIMEOUT,
    COMM_SUCCESS,
    GroupBulkRead,
    GroupSyncRead,
    GroupSyncWrite,
    PacketHandler,
    PortHandler,
)

IDS = range(16)
OPERATING_MODE, CURRENT_LIMIT, TORQUE, ERROR, GOAL_CURRENT, GOAL, PRESENT = 11, 38, 64, 70, 102, 116, 126
ALERT = 0x80


def again(port: PortHandler, exchange: Callable[[], tuple]) -> tuple:
    """An exchange, repeated where the SDK's 34 ms ran out, as they do on a busy machine; its result is next to last."""
    for _ in range(5):
        answer = exchange()
        if answer[-2] == COMM_SUCCESS:
            return answer
        time.sleep(0.05)
        port.ser.reset_input_buffer()
    return answer


class Client:
    """The SDK on an open port."""

    def __init__(self, path: str) -> None:
        self.port, self.packets = PortHandler(path), PacketHandler(2.0)
        assert self.port.openPort()
        assert self.port.setBaudRate(4_000_000)

    def write(self, motor: int, address: int, size: int, value: int) -> tuple[int, int]:
        data = list(value.to_bytes(size, "little"))
        return again(self.port, lambda: self.packets.writeTxRx(self.port, motor, address, size, data))

    def read(self, motor: int, address: int, size: int) -> tuple[int, int, int]:
        data, result, error = again(self.port, lambda: self.packets.readTxRx(self.port, motor, address, size))
        return int.from_bytes(bytes(data), "little", signed=size > 1), result, error

    def value(self, motor: int, address: int, size: int) -> int:
        return self.read(motor, address, size)[0]

    def power_up(self) -> None:
        """As a hand driver does: mode 5, 350 mA, torque on."""
        for motor in IDS:
            assert self.write(motor, OPERATING_MODE, 1, 5) == (COMM_SUCCESS, 0)
            assert self.write(motor, GOAL_CURRENT, 2, 350) == (COMM_SUCCESS, 0)
            assert self.write(motor, TORQUE, 1, 1) == (COMM_SUCCESS, 0)

    def ping(self, motor: int) -> tuple[int, int, int]:
        return again(self.port, lambda: self.packets.ping(self.port, motor))

    def reboot(self, motor: int) -> int:
        return again(self.port, lambda: self.packets.reboot(self.port, motor))[0]

    def sync_goals(self, ticks: dict[int, int]) -> None:
        group = GroupSyncWrite(self.port, self.packets, GOAL, 4)
        for motor, tick in ticks.items():
            assert group.addParam(motor, list(tick.to_bytes(4, "little")))
        assert group.txPacket() == COMM_SUCCESS


@pytest.fixture
def client(bus, port: str) -> Iterator[Client]:
    client = Client(port)
    yield client
    client.port.closePort()


def until(condition: Callable[[], bool], timeout: float = 3.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_motors_answer_pings_with_their_model_and_others_not_at_all(client: Client) -> None:
    assert [client.ping(motor) for motor in IDS] == [(1240, COMM_SUCCESS, 0)] * 16
    assert client.packets.ping(client.port, 16)[1] == COMM_RX_TIMEOUT
    until(lambda: sorted(client.packets.broadcastPing(client.port)[0]) == list(IDS))


def test_torque_on_holds_the_present_position(client: Client, bus) -> None:
    assert not bus.call("plant.read").powered
    client.power_up()
    assert client.value(3, GOAL, 4) == 2048
    np.testing.assert_allclose(bus.call("plant.read").position, 0.0, atol=1e-9)


def test_goals_in_ticks_move_joints_in_radians(client: Client, bus) -> None:
    client.power_up()
    client.sync_goals({0: 2048 + 1024, 5: 2048 - 512})
    until(lambda: abs(bus.call("plant.read").position[0] - np.pi / 2) < 1e-3)
    assert bus.call("plant.read").position[5] == pytest.approx(-np.pi / 4, abs=1e-3)
    group = GroupSyncRead(client.port, client.packets, PRESENT, 10)
    for motor in IDS:
        group.addParam(motor)
    for read in (group.txRxPacket, group.fastSyncRead):
        assert again(client.port, lambda read=read: (read(), None))[0] == COMM_SUCCESS
        assert abs(group.getData(0, 132, 4) - 3072) <= 1
        assert abs(group.getData(5, 132, 4) - 1536) <= 1
        assert group.getData(7, 132, 4) == 2048
    bulk = GroupBulkRead(client.port, client.packets)
    bulk.addParam(0, 132, 4)
    bulk.addParam(5, 146, 1)
    assert again(client.port, lambda: (bulk.txRxPacket(), None))[0] == COMM_SUCCESS
    assert abs(bulk.getData(0, 132, 4) - 3072) <= 1
    assert bulk.getData(5, 146, 1) == 32


def test_the_goal_current_limits_the_force_on_a_wall(client: Client, bus) -> None:
    client.power_up()
    client.sync_goals({1: 2048 + 2000})
    until(lambda: bus.call("plant.read").position[1] == pytest.approx(0.5))
    assert abs(client.value(1, PRESENT, 2) - 350) <= 1
    sample = bus.call("plant.read")
    assert sample.effort[1] == pytest.approx(0.350 * TORQUE_PER_CURRENT)
    assert client.write(1, GOAL_CURRENT, 2, 100) == (COMM_SUCCESS, 0)
    until(lambda: abs(client.value(1, PRESENT, 2) - 100) <= 1)


def test_registered_writes_wait_for_the_action(client: Client) -> None:
    client.power_up()
    goal = list((2100).to_bytes(4, "little"))
    assert again(client.port, lambda: client.packets.regWriteTxRx(client.port, 2, GOAL, 4, goal)) == (COMM_SUCCESS, 0)
    assert client.value(2, GOAL, 4) == 2048
    assert client.packets.action(client.port, 2) == COMM_SUCCESS
    until(lambda: client.value(2, GOAL, 4) == 2100)


@pytest.mark.parametrize(
    ("address", "size", "value", "error"),
    [
        (OPERATING_MODE, 1, 3, StatusError.ACCESS),  # EEPROM while the torque is on
        (132, 4, 0, StatusError.ACCESS),  # read only
        (GOAL_CURRENT, 2, 2000, StatusError.DATA_LIMIT),
        (TORQUE, 1, 2, StatusError.DATA_RANGE),
        (GOAL, 2, 2048, StatusError.DATA_LENGTH),  # half a register
        (146, 4, 0, StatusError.DATA_LENGTH),  # beyond the table
    ],
)
def test_refused_writes_say_why_and_change_nothing(
    client: Client, address: int, size: int, value: int, error: StatusError
) -> None:
    client.power_up()
    before = client.value(4, address, 1)
    assert client.write(4, address, size, value) == (COMM_SUCCESS, error)
    assert client.value(4, address, 1) == before


def test_position_mode_keeps_goals_within_one_turn(client: Client) -> None:
    assert client.write(0, OPERATING_MODE, 1, 3) == (COMM_SUCCESS, 0)
    assert client.write(0, GOAL, 4, 4096) == (COMM_SUCCESS, StatusError.DATA_LIMIT)


def test_an_overheated_motor_goes_limp_until_it_is_cool_and_rebooted(client: Client, bus) -> None:
    client.power_up()
    bus.call("set_temperature", 4, 75)
    assert client.read(4, ERROR, 1) == (HardwareError.OVERHEATING, COMM_SUCCESS, ALERT)
    assert client.value(4, TORQUE, 1) == 0
    assert client.write(4, TORQUE, 1, 1) == (COMM_SUCCESS, ALERT | StatusError.RESULT)
    assert client.reboot(4) == COMM_SUCCESS
    assert client.value(4, ERROR, 1) == HardwareError.OVERHEATING
    bus.call("set_temperature", 4, 40)
    assert client.reboot(4) == COMM_SUCCESS
    assert client.read(4, ERROR, 1) == (0, COMM_SUCCESS, 0)
    assert client.value(4, OPERATING_MODE, 1) == 5  # EEPROM survives
    assert client.value(4, GOAL_CURRENT, 2) == 910  # RAM does not
    assert client.write(4, TORQUE, 1, 1) == (COMM_SUCCESS, 0)


def test_an_overload_switches_one_motor_off_and_leaves_the_others(client: Client, bus) -> None:
    client.power_up()
    bus.call("fail", 6)
    assert client.value(6, ERROR, 1) == HardwareError.OVERLOAD
    assert (client.value(6, TORQUE, 1), client.value(7, TORQUE, 1)) == (0, 1)


def test_unplugging_closes_the_port_and_plugging_in_serves_the_same_path(client: Client, bus, port: str) -> None:
    client.power_up()
    bus.call("stop")
    assert not os.path.lexists(port)
    with pytest.raises(Exception, match="Input/output|disconnected|readiness"):
        client.packets.ping(client.port, 0)
    bus.call("start")
    fresh = Client(port)
    assert fresh.ping(0) == (1240, COMM_SUCCESS, 0)
    assert fresh.value(0, TORQUE, 1) == 0
    fresh.port.closePort()


def test_a_file_in_the_links_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "leap").write_text("mine")
    with pytest.raises(FileExistsError, match="no symbolic link"):
        DynamixelBus(KinematicPlant(["j0"]), str(tmp_path / "leap")).start()
    assert (tmp_path / "leap").read_text() == "mine"
