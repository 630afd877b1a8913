"""The UR driver through the real ur_rtde, against the emulated controller.

What every driver promises is in `test_driver_contract`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from dexgrasp_control.driver import ResultCode, Run, Tolerances, TrajectoryRefused
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.phases import Trajectory
from dexgrasp_control.ur import UrArm, UrConfig
from dexgrasp_sim.emulators.ur_controller import UrController
from dexgrasp_sim.emulators.ur_state import RobotMode
from dexgrasp_sim.plant import KinematicPlant

from dexgrasp_description import load_arm

MODEL = load_arm("ur5")
START = np.array([0.0, -1.57, 1.57, -1.57, -1.57, 0.0])
CONFIG = UrConfig(silence_timeout=0.4)  # the controller shares this process, and the machine with other tests
TOLERANCES = Tolerances(np.full(6, 0.3), np.full(6, 0.02), 1.0)


def until(condition: Callable[[], bool], timeout: float = 10.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout, "the condition did not come true"
        time.sleep(0.002)
    return time.monotonic() - began


@pytest.fixture
def plant() -> KinematicPlant:
    return KinematicPlant(MODEL.joint_names, START)


@pytest.fixture(params=["cb3"])
def controller(request: pytest.FixtureRequest, plant: KinematicPlant, loopback_ip: str) -> Iterator[UrController]:
    with UrController(plant, loopback_ip, request.param, unlock_delay=0.1) as controller:
        yield controller


@pytest.fixture
def arm(controller: UrController) -> Iterator[UrArm]:
    arm = UrArm(MODEL, controller.ip, CONFIG)
    until(lambda: arm.health().fault is None)
    yield arm
    arm.close()


def smooth(arm: UrArm, way: float, duration: float) -> Trajectory:
    """All joints along a cubic from rest to rest, from where they are."""
    reading = arm.reading()
    assert reading is not None
    u = np.linspace(0.0, 1.0, 30)[:, None]
    position = reading.position + (3.0 * u**2 - 2.0 * u**3) * way
    velocity = np.repeat(6.0 * (u - u**2) * way / duration, 6, axis=1)
    return Trajectory(MODEL.joint_names, u[:, 0] * duration, position, velocity)


def begin(arm: UrArm, plant: KinematicPlant, way: float = 0.5, duration: float = 2.0) -> Run:
    """A trajectory that is well under way."""
    run = arm.follow(smooth(arm, way, duration), TOLERANCES)
    until(lambda: np.abs(plant.read().velocity).max() > 0.15)
    return run


def speed(plant: KinematicPlant) -> float:
    return float(np.abs(plant.read().velocity).max())


@pytest.mark.parametrize("controller", ["cb3", "e"], indirect=True)
def test_a_trajectory_is_followed_to_its_goal(arm: UrArm, plant: KinematicPlant) -> None:
    trajectory = smooth(arm, 0.4, 1.2)
    run = arm.follow(trajectory, TOLERANCES)
    errors = []
    began = time.monotonic()
    while not run.result.done():
        desired, velocity = run.path.at(time.monotonic() - began - UrConfig().servo_lookahead)
        errors.append(np.abs(plant.read().position - desired).max())
        time.sleep(0.01)
    assert run.result.result().code == ResultCode.SUCCESSFUL, run.result.result().message
    # Half a radian a second at most; a tenth of a second of lag beyond the lookahead would still pass.
    assert np.median(errors) < 0.05
    until(lambda: np.abs(plant.read().position - trajectory.positions[-1]).max() < 0.01)
    assert speed(plant) < 0.02


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (lambda t: Trajectory(t.joint_names, t.times, t.positions + 0.2), ResultCode.INVALID_GOAL, "starts 0.200 rad"),
        (lambda t: Trajectory(t.joint_names, t.times * 0.02, t.positions), ResultCode.INVALID_GOAL, "its limit is"),
        (
            lambda t: Trajectory(t.joint_names, t.times * 20.0, START + (t.positions - START) * 9.0),
            ResultCode.INVALID_GOAL,
            "beyond its limits",
        ),
        (lambda t: Trajectory(t.joint_names, t.times[::-1], t.positions), ResultCode.INVALID_GOAL, "increase"),
        (lambda t: Trajectory(t.joint_names, t.times, t.positions * np.nan), ResultCode.INVALID_GOAL, "not finite"),
        (lambda t: Trajectory(t.joint_names, t.times[:0], t.positions[:0]), ResultCode.INVALID_GOAL, "no points"),
        (lambda t: Trajectory(t.joint_names[:5], t.times, t.positions[:, :5]), ResultCode.INVALID_JOINTS, "each of"),
    ],
)
def test_bad_trajectories_are_refused_and_nothing_moves(
    arm: UrArm, plant: KinematicPlant, spoil: Callable[[Trajectory], Trajectory], code: int, message: str
) -> None:
    with pytest.raises(TrajectoryRefused, match=message) as refused:
        arm.follow(spoil(smooth(arm, 0.4, 1.0)), TOLERANCES)
    assert refused.value.result == code
    time.sleep(0.05)
    np.testing.assert_allclose(plant.read().position, START, atol=1e-6)


def test_an_arm_held_back_violates_its_path(arm: UrArm, plant: KinematicPlant, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(arm, plant, way=1.0, duration=2.0)
    monkeypatch.setattr(plant, "command", lambda position, effort_limit=None: plant.hold())
    result = run.result.result(3.0)
    assert result.code == ResultCode.PATH_TOLERANCE_VIOLATED
    assert "off the trajectory" in result.message


def test_a_protective_stop_is_reported_and_left_behind_once_unlocked(
    arm: UrArm, plant: KinematicPlant, controller: UrController
) -> None:
    run = begin(arm, plant)
    controller.protective_stop()
    assert until(run.result.done) < 0.25
    assert run.result.result().code == DriverFault.PROTECTIVE_STOP
    until(lambda: arm.health().fault == DriverFault.PROTECTIVE_STOP)
    until(lambda: "unlock" in arm.health().message)
    with pytest.raises(TrajectoryRefused) as refused:
        arm.follow(smooth(arm, 0.1, 1.0), TOLERANCES)
    assert refused.value.result == DriverFault.PROTECTIVE_STOP
    time.sleep(0.1)
    controller.unlock()
    until(lambda: arm.health().fault is None)
    assert arm.follow(smooth(arm, 0.1, 1.0), TOLERANCES).result.result(5.0).code == ResultCode.SUCCESSFUL


def test_an_emergency_stop_is_reported_and_left_behind_once_powered(
    arm: UrArm, plant: KinematicPlant, controller: UrController
) -> None:
    run = begin(arm, plant)
    controller.emergency_stop()
    assert run.result.result(1.0).code == DriverFault.PROTECTIVE_STOP
    until(lambda: "ROBOT_EMERGENCY_STOP" in arm.health().message)
    controller.release_emergency_stop()
    until(lambda: "POWER_OFF" in arm.health().message)
    controller.power(RobotMode.RUNNING)
    until(lambda: arm.health().fault is None)
    assert arm.follow(smooth(arm, 0.1, 1.0), TOLERANCES).result.result(5.0).code == ResultCode.SUCCESSFUL


def test_a_silent_controller_is_noticed_too(arm: UrArm, plant: KinematicPlant, controller: UrController) -> None:
    run = begin(arm, plant)
    with controller._lock:  # its thread stands still, its sockets stay open
        assert until(run.result.done) < 1.0
        assert run.result.result().code == DriverFault.LOST
        assert "silent" in run.result.result().message
    until(lambda: arm.health().fault is None)


def test_a_driver_may_start_before_its_controller(plant: KinematicPlant, loopback_ip: str) -> None:
    arm = UrArm(MODEL, loopback_ip, CONFIG)
    until(lambda: "port 30004" in arm.health().message)
    assert arm.health().fault == DriverFault.LOST
    with UrController(plant, loopback_ip):
        until(lambda: arm.health().fault is None)
    arm.close()
