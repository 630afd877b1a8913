"""The hand driver as a process of its own, over DDS on one side and real Dynamixel bytes on the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from dexgrasp_common.nodes.messages import trajectory_msg
from dexgrasp_control.driver import ResultCode
from dexgrasp_control.errors import DriverFault
from dexgrasp_sim.emulators.dynamixel_bus import DynamixelBus
from dexgrasp_sim.plant import KinematicPlant
from std_srvs.srv import Trigger

from dexgrasp_description import load_hand

from .driver_client import Client, end, start_node

MODEL = load_hand("leap_right")


@pytest.fixture
def plant() -> KinematicPlant:
    return KinematicPlant(MODEL.joint_names, MODEL.home, effort_limit=0.95, stiffness=3.0)


@pytest.fixture
def bus(plant: KinematicPlant, tmp_path: Path) -> Iterator[DynamixelBus]:
    with DynamixelBus(plant, str(tmp_path / "leap")) as bus:
        yield bus


@pytest.fixture
def client(bus: DynamixelBus, ros_context: None) -> Iterator[Client]:
    process = start_node("hand_driver", port=str(bus.link), silence_timeout="0.5")
    client = Client("hand", MODEL.joint_names)
    client.ready()
    yield client
    client.close()
    assert end(process) == 0


def goal_to(target: np.ndarray, duration: float) -> FollowJointTrajectory.Goal:
    times = np.array([duration])
    return FollowJointTrajectory.Goal(trajectory=trajectory_msg(MODEL.joint_names, times, target[None]))


@pytest.mark.slow
def test_a_goal_moves_the_hand_and_cancel_stop_heat_and_unplugging_end_it(
    client: Client, bus: DynamixelBus, plant: KinematicPlant
) -> None:
    """One process start for the whole life of a driver: each step leaves it ready for the next."""
    target = np.clip(MODEL.home + 0.4, MODEL.lower, MODEL.upper)

    def moving() -> bool:
        return bool(np.abs(plant.read().velocity).max() > 0.1)

    result = client.result(goal_to(target, 0.8))
    assert result.error_code == ResultCode.SUCCESSFUL, result.error_string
    client.until(lambda: np.abs(plant.read().position - target).max() < 0.01)
    client.until(lambda: np.abs(client.position - target).max() < 0.01)

    result = client.result(goal_to(target + 3.0, 5.0))
    assert result.error_code == ResultCode.INVALID_GOAL
    assert "beyond its limits" in result.error_string

    handle, outcome = client.send(goal_to(MODEL.home, 2.0))
    client.until(moving)
    handle.cancel_goal_async()
    client.until(outcome.done)
    assert outcome.result().status == GoalStatus.STATUS_CANCELED
    client.until(lambda: not moving(), 0.5)

    _, outcome = client.send(goal_to(MODEL.home, 2.0))
    client.until(moving)
    stopping = client.stop.call_async(Trigger.Request())
    client.until(lambda: outcome.done() and stopping.done())
    assert outcome.result().result.error_code == DriverFault.STOPPED

    _, outcome = client.send(goal_to(MODEL.home, 2.0))
    client.until(moving)
    bus.set_temperature(3, 80)
    client.until(outcome.done)
    assert outcome.result().result.error_code == DriverFault.OVERLOAD
    client.until(lambda: client.fault == "OVERLOAD")
    bus.set_temperature(3, 40)
    client.until(lambda: client.fault == "")

    _, outcome = client.send(goal_to(MODEL.home, 2.0))
    client.until(moving)
    bus.stop()
    client.until(outcome.done, 1.0)
    assert outcome.result().result.error_code == DriverFault.LOST
    client.until(lambda: client.fault == "LOST")
    bus.start()
    client.until(lambda: client.fault == "")
    assert client.result(goal_to(MODEL.home, 1.0)).error_code == ResultCode.SUCCESSFUL
