"""The robot's joints behind the plant contract: torque limits, tracking, holding and letting go."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_sim.cell import CellConfig, SimCell
from dexgrasp_sim.plant import PlantError
from dexgrasp_sim.scene import TIMESTEP

from dexgrasp_description import load_cell, load_hand


@pytest.fixture(scope="module")
def empty_cell() -> SimCell:
    return SimCell(load_cell(), CellConfig(objects=0))


@pytest.fixture
def sim(empty_cell: SimCell) -> SimCell:
    """The cell without objects, at home and at rest; time runs only when a test steps it."""
    empty_cell.send_arm_home()
    empty_cell.hand_plant.command(load_hand(empty_cell.cell.hand).home)
    run(empty_cell, 1.5)
    return empty_cell


def run(sim: SimCell, seconds: float) -> None:
    for _ in range(round(seconds / TIMESTEP)):
        sim.step()


def test_arm_rests_at_home_within_a_milliradian(sim: SimCell) -> None:
    sample = sim.arm_plant.read()
    assert np.abs(sample.position - sim.cell.home).max() < 1e-3
    assert np.abs(sample.velocity).max() < 1e-3


def test_arm_follows_a_stream_of_125_targets_a_second_within_a_few_milliradians(sim: SimCell) -> None:
    home, period = sim.cell.home, 3.0
    amplitude = 0.6 * np.array([1.0, -1.0, 0.5, 1.0, 1.0, 1.0])  # up and away from the table, up to 0.63 rad/s
    rate = 2 * np.pi / period
    errors, start = [], sim.arm_plant.read().time
    target = home
    next_target = start
    for _ in range(round(period / TIMESTEP)):
        now = sim.arm_plant.read().time
        if now >= next_target:
            target = home + amplitude * 0.5 * (1 - np.cos(rate * (now - start)))
            sim.arm_plant.command(target)
            next_target += 0.008
        sim.step()
        sample = sim.arm_plant.read()
        errors.append(sample.position - (home + amplitude * 0.5 * (1 - np.cos(rate * (sample.time - start)))))
    assert np.abs(errors).max() < 3e-3


def test_arm_stops_where_it_is_told_to_hold(sim: SimCell) -> None:
    goal = sim.cell.home + 0.2 * np.array([1.0, -1.0, 0.5, 1.0, 1.0, 1.0])
    for fraction in np.linspace(0, 1, 100):
        sim.arm_plant.command(sim.cell.home + fraction * (goal - sim.cell.home))
        sim.step()
    sim.arm_plant.hold()
    there = sim.arm_plant.read().position
    run(sim, 1.0)
    sample = sim.arm_plant.read()
    assert np.abs(sample.position - there).max() < 0.03
    assert np.abs(sample.velocity).max() < 1e-3


def test_hand_torque_is_the_servo_law_clamped_at_the_motor_limit(sim: SimCell) -> None:
    hand = load_hand(sim.cell.hand)
    assert hand.effort_limit == pytest.approx(0.95 * np.ones(16))
    sim.hand_plant.command(hand.home + 3.0)
    for _ in range(40):
        sim.step()
        assert np.abs(sim.hand_plant.read().effort).max() <= 0.95 + 1e-9
    assert np.abs(sim.hand_plant.read().effort).max() == pytest.approx(0.95)


def test_smaller_effort_limit_is_obeyed_at_once_and_lifted_by_the_next_command(sim: SimCell) -> None:
    hand = load_hand(sim.cell.hand)
    limit = np.linspace(0.05, 0.3, 16)
    sim.hand_plant.command(hand.home + 3.0, limit)
    sim.step()
    assert np.abs(sim.hand_plant.read().effort) == pytest.approx(limit)
    sim.hand_plant.command(hand.home + 3.0)
    sim.step()
    assert np.abs(sim.hand_plant.read().effort).min() > 0.3


def test_released_hand_has_no_torque_and_sags(sim: SimCell) -> None:
    before = sim.hand_plant.read().position
    sim.hand_plant.release()
    run(sim, 1.0)
    sample = sim.hand_plant.read()
    assert not sample.powered
    assert np.abs(sample.effort).max() < 1e-12
    assert np.abs(sample.position - before).max() > 0.05
    sim.hand_plant.hold()
    run(sim, 0.2)
    assert sim.hand_plant.read().powered


def test_hand_reaches_a_posture_and_carries_its_own_weight(sim: SimCell) -> None:
    hand = load_hand(sim.cell.hand)
    goal = np.clip(hand.home + 0.3, hand.lower, hand.upper)
    sim.hand_plant.command(goal)
    run(sim, 1.5)
    assert np.abs(sim.hand_plant.read().position - goal).max() < 0.05


def test_plants_carry_the_names_of_the_description(sim: SimCell) -> None:
    assert sim.hand_plant.joint_names == tuple(f"j{i}" for i in range(16))
    assert sim.arm_plant.joint_names[0] == "shoulder_pan_joint"
    with pytest.raises(PlantError, match="6 "):
        sim.arm_plant.command([0.0] * 5)
