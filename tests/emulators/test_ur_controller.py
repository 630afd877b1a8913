"""The emulated UR controller against the real ur_rtde."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from dashboard_client import DashboardClient
from dexgrasp_sim.emulators.ur_controller import SERIES, UrController
from dexgrasp_sim.emulators.ur_state import OUTPUTS
from dexgrasp_sim.plant import KinematicPlant
from rtde_control import RTDEControlInterface
from rtde_io import RTDEIOInterface
from rtde_receive import RTDEReceiveInterface

START = np.array([0.0, -1.57, 1.57, -1.57, -1.57, 0.0])
RUNNING, NORMAL, PROTECTIVE_STOP = 7, 1, 3


def until(condition: Callable[[], bool], timeout: float = 5.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout, "the condition did not come true"
        time.sleep(0.002)
    return time.monotonic() - began


@pytest.fixture
def receive(controller, loopback_ip: str) -> Iterator[RTDEReceiveInterface]:
    receive = RTDEReceiveInterface(loopback_ip)
    yield receive
    receive.disconnect()


@pytest.fixture
def control(controller, loopback_ip: str) -> Iterator[RTDEControlInterface]:
    control = RTDEControlInterface(loopback_ip)
    yield control
    control.disconnect()


def position(receive: RTDEReceiveInterface) -> np.ndarray:
    return np.array(receive.getActualQ())


def test_the_arm_moves_by_movej_and_servoj(
    controller, receive: RTDEReceiveInterface, control: RTDEControlInterface, series: str
) -> None:
    assert control.isProgramRunning()
    assert (receive.getRobotMode(), receive.getSafetyMode()) == (RUNNING, NORMAL)
    np.testing.assert_allclose(position(receive), START, atol=1e-9)
    # ur_rtde reads the answer to this command without waiting for it.
    until(lambda: control.getStepTime() == pytest.approx(1.0 / SERIES[series][1]))

    began = time.monotonic()
    assert control.moveJ((START + 0.3).tolist(), 1.0, 2.0)
    # A triangle: with 2 rad/s^2, 0.3 rad take 2 sqrt(0.3 / 2) s.
    assert 2.0 * np.sqrt(0.15) - 0.02 < time.monotonic() - began < 2.0 * np.sqrt(0.15) + 1.0
    until(lambda: np.abs(position(receive) - START - 0.3).max() < 1e-4)

    period = 1.0 / SERIES[series][1]
    began, errors = time.monotonic(), []
    while (elapsed := time.monotonic() - began) < 1.0:
        target = START + 0.3 - 0.15 * (1.0 - np.cos(np.pi * elapsed))
        assert control.servoJ(target.tolist(), 0.0, 0.0, period, 0.03, 500.0)
        errors.append(np.abs(position(receive) - target).max())
        time.sleep(period)
    assert max(errors) < 0.15 * np.pi * 0.2  # fastest motion times 0.2 s
    assert control.servoStop(10.0)
    until(lambda: np.abs(np.array(receive.getActualQd())).max() < 1e-3, 1.0)

    assert control.isJointsWithinSafetyLimits(START.tolist())
    assert control.isSteady()
    assert control.getJointTorques() == pytest.approx(controller.call("plant.read").effort, abs=0.05)


@pytest.mark.xfail(
    reason="now and then the cb3 controller takes no speedJ; no driver of the suite sends it", strict=False
)
def test_the_arm_moves_by_speedj(receive: RTDEReceiveInterface, control: RTDEControlInterface) -> None:
    speed = [0.0, 0.0, 0.0, 0.0, 0.0, 0.4]
    # Speeds are streamed: ur_rtde does not wait for the controller to take one, so a single one may pass unseen.
    until(lambda: control.speedJ(speed, 2.0, 0.0) and abs(receive.getActualQd()[5] - 0.4) < 0.01)
    assert control.speedStop(10.0)
    until(lambda: abs(receive.getActualQd()[5]) < 1e-3)


def test_an_asynchronous_move_is_stopped_by_stopj(receive: RTDEReceiveInterface, control: RTDEControlInterface) -> None:
    assert control.moveJ((START + 1.0).tolist(), 0.5, 1.0, True)
    until(lambda: receive.getActualQd()[0] > 0.2)
    assert control.getAsyncOperationProgressEx().isAsyncOperationRunning()
    control.stopJ(5.0)
    until(lambda: np.abs(np.array(receive.getActualQd())).max() < 1e-3, 1.0)
    assert not control.getAsyncOperationProgressEx().isAsyncOperationRunning()
    assert position(receive)[0] < 0.9


def test_a_protective_stop_ends_the_program_until_unlocked_and_uploaded_again(
    controller, receive: RTDEReceiveInterface, control: RTDEControlInterface, loopback_ip: str
) -> None:
    dashboard = DashboardClient(loopback_ip)
    dashboard.connect()
    assert control.moveJ((START + 1.0).tolist(), 1.0, 2.0, True)
    until(lambda: receive.getActualQd()[0] > 0.2)
    controller.call("protective_stop")
    until(receive.isProtectiveStopped)
    until(lambda: np.abs(np.array(receive.getActualQd())).max() < 1e-3, 1.0)
    assert receive.getSafetyMode() == PROTECTIVE_STOP
    assert dashboard.safetymode() == "Safetymode: PROTECTIVE_STOP"
    assert not control.moveJ(START.tolist())
    until(lambda: not control.isProgramRunning())
    controller.call("protective_stop")
    with pytest.raises(Exception, match="Cannot unlock protective stop"):
        dashboard.unlockProtectiveStop()
    time.sleep(0.6)
    dashboard.unlockProtectiveStop()
    until(lambda: not receive.isProtectiveStopped())
    control.reuploadScript()
    until(control.isProgramRunning)
    assert control.moveJ(START.tolist(), 2.0, 4.0)
    until(lambda: np.abs(position(receive) - START).max() < 1e-3)


def test_an_emergency_stop_needs_power_and_brakes(
    controller, receive: RTDEReceiveInterface, control: RTDEControlInterface, loopback_ip: str
) -> None:
    dashboard = DashboardClient(loopback_ip)
    dashboard.connect()
    controller.call("emergency_stop")
    until(receive.isEmergencyStopped)
    assert dashboard.robotmode() == "Robotmode: POWER_OFF"
    dashboard.powerOn()
    assert dashboard.robotmode() == "Robotmode: POWER_OFF"
    controller.call("release_emergency_stop")
    dashboard.powerOn()
    assert dashboard.robotmode() == "Robotmode: IDLE"
    dashboard.brakeRelease()
    assert dashboard.robotmode() == "Robotmode: RUNNING"
    control.reuploadScript()
    until(control.isProgramRunning)
    assert control.moveJ((START + 0.1).tolist(), 2.0, 4.0)
    assert dashboard.running()
    dashboard.stop()
    assert not dashboard.running()


def test_the_speed_slider_slows_a_move(
    receive: RTDEReceiveInterface, control: RTDEControlInterface, loopback_ip: str
) -> None:
    inputs = RTDEIOInterface(loopback_ip)
    assert inputs.setSpeedSlider(0.5)
    until(lambda: receive.getTargetSpeedFraction() == 0.5)
    began = time.monotonic()
    assert control.moveJ((START + 0.2).tolist(), 1.0, 5.0)
    assert time.monotonic() - began > 1.6 * (0.2 + 0.2)
    inputs.disconnect()


def test_sockets_close_at_once_and_the_same_ports_serve_again(
    controller, receive: RTDEReceiveInterface, loopback_ip: str
) -> None:
    controller.call("stop")
    assert until(lambda: not receive.isConnected()) < 0.5
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((loopback_ip, 30004), timeout=1.0)
    controller.call("start")
    assert receive.reconnect()
    np.testing.assert_allclose(position(receive), START, atol=1e-6)


def ask(client: socket.socket, kind: bytes, payload: bytes = b"") -> bytes:
    client.sendall(struct.pack(">H", len(payload) + 3) + kind + payload)
    size, answered = struct.unpack(">Hc", client.recv(3, socket.MSG_WAITALL))
    assert answered == kind
    return client.recv(size - 3, socket.MSG_WAITALL)


def test_every_variable_has_its_type_and_unknown_ones_are_not_found(controller, loopback_ip: str) -> None:
    with socket.create_connection((loopback_ip, 30004), timeout=5.0) as client:
        assert ask(client, b"V", struct.pack(">H", 2)) == b"\x01"
        assert ask(client, b"V", struct.pack(">H", 1)) == b"\x00"
        names = [name for name in OUTPUTS if "register_" not in name]
        types = ask(client, b"O", struct.pack(">d", 125.0) + ",".join(names).encode())[1:].decode().split(",")
        assert dict(zip(names, types, strict=True)) == {name: OUTPUTS[name][0] for name in names}
        assert ask(client, b"O", struct.pack(">d", 125.0) + b"actual_q,no_such_thing") == b"\x01VECTOR6D,NOT_FOUND"
        assert ask(client, b"I", b"input_int_register_0,no_such_input") == b"\x00INT32,NOT_FOUND"
        assert ask(client, b"I", b"input_int_register_0,input_double_register_3") == b"\x01INT32,DOUBLE"


def test_data_packages_come_at_the_controllers_rate(controller, loopback_ip: str, series: str) -> None:
    frequency = SERIES[series][1]
    with socket.create_connection((loopback_ip, 30004), timeout=5.0) as client:
        ask(client, b"V", struct.pack(">H", 2))
        ask(client, b"O", struct.pack(">d", frequency) + b"timestamp")
        assert ask(client, b"S") == b"\x01"
        stamps = [struct.unpack(">HBBd", client.recv(12, socket.MSG_WAITALL))[3] for _ in range(200)]
    np.testing.assert_allclose(np.diff(stamps), 1.0 / frequency, rtol=1e-6)


def test_a_second_controller_on_the_same_address_is_refused(loopback_ip: str) -> None:
    plant = KinematicPlant([f"joint_{i}" for i in range(6)])
    with UrController(plant, loopback_ip), pytest.raises(OSError, match="in use"):
        UrController(plant, loopback_ip).start()
    with UrController(plant, loopback_ip):
        pass


def test_an_arm_without_six_joints_and_an_unknown_series_are_refused() -> None:
    with pytest.raises(ValueError, match="six joints; the plant has 5"):
        UrController(KinematicPlant([f"joint_{i}" for i in range(5)]))
    with pytest.raises(ValueError, match="Valid series: cb3, e"):
        UrController(KinematicPlant([f"joint_{i}" for i in range(6)]), series="x")
