"""The simulated robot moves because bytes of the real client libraries reach it, and for no other reason."""

from __future__ import annotations

import ast
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from rtde_receive import RTDEReceiveInterface

from dexgrasp_msgs.action import ExecuteGrasp

from . import motions
from .cables import Chunk
from .suite import CONTROLLER, Suite

ROOT = Path(__file__).resolve().parents[2]
RTDE = 30004
SERVOJ = 11  # command number of servoJ in ur_rtde's registers
HEADER = b"\xff\xff\xfd\x00"  # of a Dynamixel Protocol 2.0 packet
SYNC_WRITE = 0x83


@pytest.fixture(autouse=True)
def at_home(suite: Suite) -> None:
    suite.go_home()


def servo_commands(chunks: list[Chunk]) -> list[float]:
    """Times at which the arm was sent a servoJ command: an RTDE data package with that number in its registers."""
    needle = struct.pack(">i", SERVOJ)
    return [chunk.time for chunk in chunks if chunk.port == RTDE and b"U" in chunk.data and needle in chunk.data]


def hand_goals(chunks: list[Chunk]) -> list[bytes]:
    """Goal positions that the hand was sent."""
    stream = b"".join(chunk.data for chunk in chunks if chunk.port == 0)
    packets = [packet for packet in stream.split(HEADER) if len(packet) > 8]
    return [packet for packet in packets if packet[3] == SYNC_WRITE]


def test_nothing_on_the_graph_can_move_the_simulated_robot(suite: Suite) -> None:
    node = suite.session.node
    subscribed = {name for name, _ in node.get_subscriber_names_and_types_by_node("sim_cell", "/")}
    assert subscribed <= {"/parameter_events", "/clock"}
    services = {name for name, _ in node.get_service_names_and_types_by_node("sim_cell", "/")}
    own = {name for name in services if not name.startswith("/sim_cell/")}
    assert own == {"/sim/reset"}
    assert not any(name.endswith("_action/send_goal") for name in services)


def test_the_arm_is_sent_servo_commands_exactly_while_it_follows_a_trajectory(suite: Suite) -> None:
    time.sleep(0.5)
    start = time.monotonic()
    time.sleep(0.5)
    began = time.monotonic()
    result = suite.execute(motions.air_pick(0.6))
    ended = time.monotonic()
    assert result.error_code == ExecuteGrasp.Result.SUCCESS, result.error_msg
    time.sleep(0.5)
    assert not servo_commands(suite.network.recorder.between(start, began))
    during = servo_commands(suite.network.recorder.between(began, ended))
    assert len(during) > 50 * 8 * 0.6, f"{len(during)} servo commands in {ended - began:.1f} s"
    assert not servo_commands(suite.network.recorder.between(ended + 0.1, time.monotonic()))


def test_the_fingers_follow_the_goals_on_the_serial_line(suite: Suite) -> None:
    began = time.monotonic()
    result = suite.execute(motions.air_pick(0.6))
    assert result.error_code == ExecuteGrasp.Result.SUCCESS, result.error_msg
    goals = hand_goals(suite.serial.recorder.between(began, time.monotonic()))
    assert len(set(goals)) > 50


def test_with_the_cables_pulled_nothing_moves(suite: Suite) -> None:
    begun = threading.Event()
    pulled = threading.Thread(
        target=lambda: (begun.wait(20.0), time.sleep(0.5), suite.serial.pull(), suite.network.pull())
    )
    pulled.start()
    try:
        result = suite.execute(motions.air_pick(2.0), on_feedback=lambda feedback: begun.set())
        assert result.error_code in (ExecuteGrasp.Result.ARM_LOST, ExecuteGrasp.Result.HAND_LOST)
        pulled.join()
        time.sleep(0.5)
        witness = RTDEReceiveInterface(CONTROLLER)  # beside the cable, and only listens
        before = np.array(witness.getActualQ())
        assert suite.execute(motions.air_pick(0.6)).error_code != ExecuteGrasp.Result.SUCCESS
        time.sleep(0.5)
        after = np.array(witness.getActualQ())
        witness.disconnect()
        assert np.abs(after - before).max() < 0.002
    finally:
        pulled.join()
        suite.network.plug()
        suite.serial.plug()
        suite.go_home()


def test_only_emulated_controllers_command_the_plants() -> None:
    callers = set()
    for path in (ROOT / "dexgrasp_sim" / "dexgrasp_sim").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "command":
                callers.add(path.relative_to(ROOT / "dexgrasp_sim" / "dexgrasp_sim").parts[0])
    assert callers == {"emulators"}
