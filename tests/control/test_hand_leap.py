"""The LEAP driver through the real dynamixel_sdk, against the emulated bus.

What every driver promises is in `test_driver_contract`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from dexgrasp_control.driver import ResultCode, Run, Tolerances, TrajectoryRefused
from dexgrasp_control.dynamixel import POSITION_D, POSITION_P
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.leap import LeapConfig, LeapHand
from dexgrasp_control.phases import Trajectory
from dexgrasp_sim.emulators.dynamixel_bus import DynamixelBus
from dexgrasp_sim.emulators.dynamixel_motor import TORQUE_PER_CURRENT, HardwareError
from dexgrasp_sim.plant import KinematicPlant

from dexgrasp_description import load_hand

MODEL = load_hand("leap_right")
WALL = 1  # index finger's base joint, which meets an object
FREE = Tolerances(None, None, 1.0)
EXACT = Tolerances(None, np.full(16, 0.03), 2.0)


def until(condition: Callable[[], bool], timeout: float = 10.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout, "the condition did not come true"
        time.sleep(0.002)
    return time.monotonic() - began


@pytest.fixture
def plant() -> KinematicPlant:
    upper = np.full(16, np.inf)
    upper[WALL] = MODEL.home[WALL] + 0.4
    return KinematicPlant(MODEL.joint_names, MODEL.home, effort_limit=0.95, upper=upper, stiffness=3.0)


@pytest.fixture
def bus(plant: KinematicPlant, tmp_path: Path) -> Iterator[DynamixelBus]:
    with DynamixelBus(plant, str(tmp_path / "leap")) as bus:
        yield bus


@pytest.fixture
def config() -> LeapConfig:
    """The bus shares this process, and with it Python's lock: its answers may take a while."""
    return LeapConfig(silence_timeout=0.5)


@pytest.fixture
def hand(bus: DynamixelBus, config: LeapConfig) -> Iterator[LeapHand]:
    hand = LeapHand(MODEL, str(bus.link), config)
    until(lambda: hand.health().fault is None)
    yield hand
    hand.close()


def to(posture: np.ndarray, duration: float = 0.6) -> Trajectory:
    """One point: the motion begins where the goals are."""
    return Trajectory(MODEL.joint_names, np.array([duration]), posture[None])


def closed(amount: float = 0.3) -> np.ndarray:
    """The home posture with every joint but the one at the wall moved, inside the limits."""
    posture = np.clip(MODEL.home + amount, MODEL.lower, MODEL.upper)
    posture[WALL] = MODEL.home[WALL]
    return posture


def begin(hand: LeapHand, plant: KinematicPlant) -> Run:
    run = hand.follow(to(closed(0.5), 2.0), FREE)
    until(lambda: np.abs(plant.read().velocity).max() > 0.1)
    return run


def test_start_up_sets_gains_and_currents_and_moves_nothing(
    hand: LeapHand, bus: DynamixelBus, plant: KinematicPlant
) -> None:
    for number, motor in bus.motors.items():
        side = 0.75 if number in (0, 4, 8) else 1.0
        assert motor.enabled
        assert motor.get(POSITION_P, 2) == round(600 * side)
        assert motor.get(POSITION_D, 2) == round(200 * side)
        assert motor.torque_limit == pytest.approx(0.550 * TORQUE_PER_CURRENT)
    np.testing.assert_allclose(plant.read().position, MODEL.home, atol=2e-3)  # one tick


def test_a_trajectory_is_followed_to_its_goal(hand: LeapHand, plant: KinematicPlant) -> None:
    run = hand.follow(to(closed()), EXACT)
    assert run.result.result(5.0).code == ResultCode.SUCCESSFUL
    until(lambda: np.abs(plant.read().position - closed()).max() < 0.002)
    reading = hand.reading()
    assert reading is not None
    np.testing.assert_allclose(reading.position, closed(), atol=0.05)


def test_fingers_press_with_the_current_limit_and_keep_pressing_after_a_cancel(
    hand: LeapHand, plant: KinematicPlant
) -> None:
    squeeze = closed()
    squeeze[WALL] = MODEL.home[WALL] + 1.0
    assert hand.follow(to(squeeze), FREE).result.result(5.0).code == ResultCode.SUCCESSFUL
    until(lambda: plant.read().effort[WALL] == pytest.approx(0.550 * TORQUE_PER_CURRENT))
    reading = hand.reading()
    assert reading is not None
    until(lambda: hand.reading().effort[WALL] == pytest.approx(0.550 * TORQUE_PER_CURRENT, abs=1e-3))
    run = hand.follow(to(squeeze, 1.0), FREE)
    run.cancel()
    assert run.result.result(1.0).cancelled
    time.sleep(0.1)
    assert plant.read().effort[WALL] == pytest.approx(0.550 * TORQUE_PER_CURRENT)
    # Planned from the goals or from the joints: a pressing hand accepts both as its start.
    for start in (squeeze, plant.read().position):
        trajectory = Trajectory(MODEL.joint_names, np.array([0.0, 0.2]), np.vstack([start, squeeze]))
        assert hand.follow(trajectory, FREE).result.result(5.0).code == ResultCode.SUCCESSFUL


def test_a_goal_behind_the_wall_violates_a_goal_tolerance_that_was_asked_for(hand: LeapHand) -> None:
    posture = closed()
    posture[WALL] = MODEL.home[WALL] + 0.8
    result = hand.follow(to(posture), Tolerances(None, np.full(16, 0.1), 0.3)).result.result(5.0)
    assert result.code == ResultCode.GOAL_TOLERANCE_VIOLATED
    assert MODEL.joint_names[WALL] in result.message


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (
            lambda t: Trajectory(t.joint_names, np.array([0.0, 1.0]), np.vstack([t.positions + 0.5, t.positions])),
            ResultCode.INVALID_GOAL,
            "starts",
        ),
        (lambda t: Trajectory(t.joint_names, t.times, t.positions + 3.0), ResultCode.INVALID_GOAL, "beyond its limits"),
        (lambda t: Trajectory(t.joint_names, t.times * 0.01, t.positions), ResultCode.INVALID_GOAL, "its limit is"),
        (lambda t: Trajectory(t.joint_names[1:], t.times, t.positions[:, 1:]), ResultCode.INVALID_JOINTS, "each of"),
    ],
)
def test_bad_trajectories_are_refused_and_nothing_moves(
    hand: LeapHand, plant: KinematicPlant, spoil: Callable[[Trajectory], Trajectory], code: int, message: str
) -> None:
    before = plant.read().target
    with pytest.raises(TrajectoryRefused, match=message) as refused:
        hand.follow(spoil(to(closed())), FREE)
    assert refused.value.result == code
    time.sleep(0.05)
    np.testing.assert_array_equal(plant.read().target, before)


def test_a_hot_motor_stops_the_hand_until_it_has_cooled(
    hand: LeapHand, plant: KinematicPlant, bus: DynamixelBus
) -> None:
    run = begin(hand, plant)
    bus.set_temperature(9, 67)  # above the driver's limit, below the motor's own
    result = run.result.result(2.0)
    assert result.code == DriverFault.OVERLOAD
    assert "Motor 9 is at 67 Celsius" in result.message
    with pytest.raises(TrajectoryRefused, match="let it cool"):
        hand.follow(to(closed()), FREE)
    bus.set_temperature(9, 62)  # not cool enough
    time.sleep(1.5)
    assert hand.health().fault == DriverFault.OVERLOAD
    bus.set_temperature(9, 50)
    until(lambda: hand.health().fault is None)
    assert hand.follow(to(closed()), FREE).result.result(5.0).code == ResultCode.SUCCESSFUL


@pytest.mark.parametrize("error", [HardwareError.OVERLOAD, HardwareError.ELECTRICAL_SHOCK])
def test_a_hardware_error_stops_the_hand_and_the_motor_is_rebooted(
    hand: LeapHand, plant: KinematicPlant, bus: DynamixelBus, error: HardwareError
) -> None:
    run = begin(hand, plant)
    bus.fail(6, error)
    assert until(run.result.done) < 0.3
    assert run.result.result().code == DriverFault.OVERLOAD
    assert f"Motor 6 reports a hardware error: {error.name.lower().replace('_', ' ')}" in run.result.result().message
    until(lambda: hand.health().fault is None)
    assert bus.motors[6].torque_limit == pytest.approx(0.550 * TORQUE_PER_CURRENT)
    assert hand.follow(to(closed()), EXACT).result.result(5.0).code == ResultCode.SUCCESSFUL


class TestWithHighCurrents:
    """The limit above what counts as overcurrent, as a wrong parameter file would have it."""

    @pytest.fixture
    def config(self) -> LeapConfig:
        return LeapConfig(current_limit=800.0, overcurrent=600.0, overcurrent_time=0.2, silence_timeout=0.5)

    def test_a_lasting_overcurrent_relaxes_the_fingers_where_they_are(
        self, hand: LeapHand, plant: KinematicPlant
    ) -> None:
        posture = closed()
        posture[WALL] = MODEL.home[WALL] + 1.5
        result = hand.follow(to(posture, 1.0), FREE).result.result(5.0)
        assert result.code == DriverFault.OVERLOAD
        assert f"Motor {WALL} has drawn more than 600 mA" in result.message
        until(lambda: abs(plant.read().effort[WALL]) < 0.05)
        until(lambda: hand.health().fault is None)


def test_a_motor_that_falls_silent_loses_the_hand(hand: LeapHand, plant: KinematicPlant, bus: DynamixelBus) -> None:
    run = begin(hand, plant)
    bus.mute(12)
    result = run.result.result(2.0)
    assert result.code == DriverFault.LOST
    until(lambda: "motors [12]" in hand.health().message)
    bus.mute(12, silent=False)
    until(lambda: hand.health().fault is None)


def test_a_driver_that_starts_again_keeps_a_pressing_hand_pressing(
    hand: LeapHand, plant: KinematicPlant, bus: DynamixelBus
) -> None:
    squeeze = closed()
    squeeze[WALL] = MODEL.home[WALL] + 1.0
    hand.follow(to(squeeze), FREE).result.result(5.0)
    until(lambda: plant.read().effort[WALL] == pytest.approx(0.550 * TORQUE_PER_CURRENT))
    hand.close()
    again = LeapHand(MODEL, str(bus.link), LeapConfig(silence_timeout=0.5))
    until(lambda: again.health().fault is None)
    time.sleep(0.1)
    assert plant.read().effort[WALL] == pytest.approx(0.550 * TORQUE_PER_CURRENT)
    again.close()


def test_a_driver_may_start_before_its_hand(plant: KinematicPlant, tmp_path: Path) -> None:
    hand = LeapHand(MODEL, str(tmp_path / "leap"))
    until(lambda: "cannot open" in hand.health().message)
    with DynamixelBus(plant, str(tmp_path / "leap")):
        until(lambda: hand.health().fault is None)
    hand.close()
