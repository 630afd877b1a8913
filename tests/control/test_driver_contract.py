"""What every arm and hand backend promises, held against each of them.

`ur`, `leap` and `leap_hand_utils` run against emulated hardware, `trajectory` against a controller of another node.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dexgrasp_control.arm import ARMS
from dexgrasp_control.driver import Driver, ResultCode, Run, Tolerances, TrajectoryRefused
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.hand import HANDS
from dexgrasp_control.leap import LeapConfig
from dexgrasp_control.phases import Trajectory
from dexgrasp_control.ur import UrConfig
from dexgrasp_description.models import RobotModel
from dexgrasp_sim.emulators.dynamixel_bus import DynamixelBus
from dexgrasp_sim.emulators.ur_controller import UrController
from dexgrasp_sim.plant import KinematicPlant

from dexgrasp_description import load_arm, load_hand

from .trajectory_controller import TrajectoryController

REGISTRIES = {"arm": ARMS, "hand": HANDS}
BACKENDS = [(role, name) for role, registry in REGISTRIES.items() for name, _ in registry]
DURATION = 1.0


@dataclass
class Rig:
    """A driver, what it moves, and the plug between them."""

    driver: Driver
    plant: KinematicPlant
    model: RobotModel
    unplug: Callable[[], None]
    plug: Callable[[], None]

    @property
    def way(self) -> float:
        """How far the joints are sent [rad or m]; what they are held to is in proportion."""
        return float(min(0.5, 0.25 * (self.model.upper - self.model.lower).min()))

    def moving(self) -> bool:
        return bool(np.abs(self.plant.read().velocity).max() > 0.05 * self.way)

    def ready(self) -> None:
        until(lambda: self.driver.health().fault is None and self.driver.reading() is not None)

    def trajectory(self, duration: float = DURATION) -> Trajectory:
        """A cubic from rest to rest, from where the joints are to where they are not."""
        reading = self.driver.reading()
        assert reading is not None
        start, middle = reading.position, 0.5 * (self.model.upper + self.model.lower)
        target = start + np.where(start < middle, self.way, -self.way)
        u = np.linspace(0.0, 1.0, 21)[:, None]
        position = start + (3.0 * u**2 - 2.0 * u**3) * (target - start)
        velocity = 6.0 * (u - u**2) * (target - start) / duration
        return Trajectory(self.model.joint_names, u[:, 0] * duration, position, velocity)

    def follow(self, trajectory: Trajectory) -> Run:
        count = len(self.model.joint_names)
        return self.driver.follow(trajectory, Tolerances(np.full(count, self.way), np.full(count, 0.1 * self.way), 1.0))

    def under_way(self) -> Run:
        run = self.follow(self.trajectory(2.0 * DURATION))
        until(self.moving)
        time.sleep(0.3)
        return run

    def arrives(self) -> None:
        """The next trajectory works."""
        trajectory = self.trajectory()
        result = self.follow(trajectory).result.result(6.0)
        assert result.code == ResultCode.SUCCESSFUL, result.message
        np.testing.assert_allclose(self.plant.read().position, trajectory.positions[-1], atol=0.1 * self.way)


def until(condition: Callable[[], bool], timeout: float = 10.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout, "the condition did not come true"
        time.sleep(0.005)
    return time.monotonic() - began


@contextmanager
def ur(request: pytest.FixtureRequest) -> Iterator[Rig]:
    model = load_arm("ur5")
    plant = KinematicPlant(model.joint_names, [0.0, -1.57, 1.57, -1.57, -1.57, 0.0])
    with UrController(plant, request.getfixturevalue("loopback_ip")) as controller:
        driver = ARMS.create("ur", model, controller.ip, UrConfig(silence_timeout=0.4))
        yield Rig(driver, plant, model, controller.stop, controller.start)


def dynamixel(name: str) -> Callable[[pytest.FixtureRequest], AbstractContextManager[Rig]]:
    @contextmanager
    def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
        model = load_hand("leap_right")
        plant = KinematicPlant(model.joint_names, model.home, effort_limit=0.95, stiffness=3.0)
        folder: Path = request.getfixturevalue("tmp_path")
        with DynamixelBus(plant, str(folder / "leap")) as bus:
            driver = HANDS.create(name, model, str(bus.link), LeapConfig(silence_timeout=0.5))
            yield Rig(driver, plant, model, bus.stop, bus.start)

    return rig


def over_dds(role: str) -> Callable[[pytest.FixtureRequest], AbstractContextManager[Rig]]:
    @contextmanager
    def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
        request.getfixturevalue("ros_context")
        model = load_arm("ur5") if role == "arm" else load_hand("leap_right")
        plant = KinematicPlant(model.joint_names, model.home)
        controller = TrajectoryController(plant)
        controller.start()
        driver = REGISTRIES[role].create("trajectory", model)
        yield Rig(driver, plant, model, controller.stop, controller.start)
        controller.stop()

    return rig


RIGS = {
    ("arm", "ur"): ur,
    ("arm", "trajectory"): over_dds("arm"),
    ("hand", "leap"): dynamixel("leap"),
    ("hand", "leap_hand_utils"): dynamixel("leap_hand_utils"),
    ("hand", "trajectory"): over_dds("hand"),
}


@pytest.fixture(params=BACKENDS, ids=lambda backend: "-".join(backend))
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    role, name = request.param
    missing = REGISTRIES[role].get(name).missing()
    if missing:
        pytest.skip(f"{', '.join(missing)} cannot be imported here")
    if request.param not in RIGS:
        pytest.skip(f"the {role} {name} has no emulated counterpart")
    with RIGS[request.param](request) as rig:
        rig.ready()
        yield rig
        rig.driver.close()


def test_a_trajectory_in_any_joint_order_is_followed_to_its_goal(rig: Rig) -> None:
    trajectory = rig.trajectory()
    run = rig.follow(trajectory.reordered(list(reversed(rig.model.joint_names))))
    began, errors = time.monotonic(), []
    while not run.result.done():
        desired, _ = run.path.at(time.monotonic() - began)
        errors.append(np.abs(rig.plant.read().position - desired).max())
        time.sleep(0.02)
    assert run.result.result().code == ResultCode.SUCCESSFUL, run.result.result().message
    assert np.median(errors) < 0.3 * rig.way  # a fifth of a second behind at most
    np.testing.assert_allclose(rig.plant.read().position, trajectory.positions[-1], atol=0.1 * rig.way)
    reading = rig.driver.reading()
    assert reading is not None
    np.testing.assert_allclose(reading.position, trajectory.positions[-1], atol=0.1 * rig.way)


def test_wrong_joints_and_a_wrong_start_are_refused_and_nothing_moves(rig: Rig) -> None:
    good, before = rig.trajectory(), rig.plant.read().position
    others = Trajectory(("elbow", *good.joint_names[1:]), good.times, good.positions, good.velocities)
    with pytest.raises(TrajectoryRefused, match="each of") as refused:
        rig.follow(others)
    assert refused.value.result == ResultCode.INVALID_JOINTS
    elsewhere = Trajectory(good.joint_names, good.times, good.positions[::-1])
    with pytest.raises(TrajectoryRefused, match="starts") as refused:
        rig.follow(elsewhere)
    assert refused.value.result == ResultCode.INVALID_GOAL
    time.sleep(0.1)
    np.testing.assert_allclose(rig.plant.read().position, before, atol=0.01 * rig.way)
    rig.arrives()


def test_stop_brings_the_joints_to_rest_and_says_why(rig: Rig) -> None:
    run = rig.under_way()
    with pytest.raises(TrajectoryRefused, match="following another trajectory"):
        rig.follow(rig.trajectory())
    rig.driver.stop("somebody shouted")
    assert until(lambda: not rig.moving()) < 0.4
    assert run.result.result(1.0).code == DriverFault.STOPPED
    assert "somebody shouted" in run.result.result().message
    rig.arrives()


def test_cancelling_brings_the_joints_to_rest(rig: Rig) -> None:
    run = rig.under_way()
    run.cancel()
    assert until(lambda: not rig.moving()) < 0.4
    assert run.result.result(1.0).cancelled
    rig.arrives()


def test_a_lost_connection_is_reported_and_used_again_when_it_is_back(rig: Rig) -> None:
    run = rig.under_way()
    waiting = rig.trajectory()
    rig.unplug()
    assert until(run.result.done) < 1.0
    assert run.result.result().code == DriverFault.LOST
    until(lambda: rig.driver.reading() is None)
    assert rig.driver.health().fault == DriverFault.LOST
    with pytest.raises(TrajectoryRefused, match="No connection") as refused:
        rig.follow(waiting)
    assert refused.value.result == DriverFault.LOST
    rig.plug()
    rig.ready()
    rig.arrives()
