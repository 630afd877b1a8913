"""The kinematic plant against the closed form of a first-order lag."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_sim.plant import KinematicPlant, PlantError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_small_step_decays_exponentially(clock: Clock) -> None:
    plant = KinematicPlant(["a"], time_constant=0.1, velocity_limit=100.0, clock=clock)
    plant.command([0.5])
    clock.now += 0.25
    sample = plant.read()
    assert sample.position == pytest.approx([0.5 * (1 - np.exp(-2.5))])
    assert sample.velocity == pytest.approx([0.5 * np.exp(-2.5) / 0.1])
    assert sample.time == pytest.approx(0.25)


def test_large_step_first_runs_at_the_velocity_limit(clock: Clock) -> None:
    plant = KinematicPlant(["a"], time_constant=0.1, velocity_limit=2.0, clock=clock)
    plant.command([-5.0])
    clock.now += 1.0
    assert plant.read().position == pytest.approx([-2.0])
    assert plant.read().velocity == pytest.approx([-2.0])


def test_motion_does_not_depend_on_how_often_it_is_read(clock: Clock) -> None:
    once = KinematicPlant(["a", "b"], clock=clock)
    often = KinematicPlant(["a", "b"], clock=clock)
    for plant in (once, often):
        plant.command([1.0, -0.3])
    for _ in range(50):
        clock.now += 0.003
        often.read()
    assert often.read().position == pytest.approx(once.read().position)


def test_wall_stops_the_joint_and_the_effort_stays_at_its_limit(clock: Clock) -> None:
    plant = KinematicPlant(["a"], upper=0.3, stiffness=10.0, clock=clock)
    plant.command([1.0], effort_limit=0.5)
    clock.now += 2.0
    sample = plant.read()
    assert sample.position == pytest.approx([0.3])
    assert sample.velocity == pytest.approx([0.0])
    assert sample.effort == pytest.approx([0.5])


def test_effort_limit_is_never_above_the_joints_own(clock: Clock) -> None:
    plant = KinematicPlant(["a"], upper=0.0, effort_limit=0.8, stiffness=10.0, clock=clock)
    plant.command([1.0], effort_limit=5.0)
    assert plant.read().effort == pytest.approx([0.8])


def test_hold_stops_where_it_is_and_release_exerts_nothing(clock: Clock) -> None:
    plant = KinematicPlant(["a"], time_constant=0.1, clock=clock)
    plant.command([0.5])
    clock.now += 0.05
    plant.hold()
    there = plant.read().position
    clock.now += 1.0
    assert plant.read().position == pytest.approx(there)
    plant.release()
    sample = plant.read()
    assert not sample.powered
    assert sample.effort == pytest.approx([0.0])


@pytest.mark.parametrize(
    ("position", "limit"), [([0.1], None), ([0.1, np.nan], None), ([0.1, 0.2], -1.0), ([0.1, 0.2], [1.0, 1.0, 1.0])]
)
def test_commands_that_do_not_fit_are_refused(position: list[float], limit: object) -> None:
    with pytest.raises(PlantError, match="2 "):
        KinematicPlant(["a", "b"]).command(position, limit)  # type: ignore[arg-type]
