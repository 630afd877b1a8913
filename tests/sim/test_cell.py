"""The cell: real time, determinism, resets that leave the robot alone, and objects that are gone."""

from __future__ import annotations

import time

import numpy as np
import pytest
from dexgrasp_sim.cell import MAX_OBJECTS, CellConfig, InvalidRequestError, SimCell
from dexgrasp_sim.scene import TIMESTEP, qpos_of

from dexgrasp_description import load_cell


@pytest.fixture
def sim() -> SimCell:
    return SimCell(load_cell(), CellConfig(seed=3, objects=3))


def run(sim: SimCell, seconds: float) -> None:
    for _ in range(round(seconds / TIMESTEP)):
        sim.step()


def put(sim: SimCell, name: str, position: tuple[float, float, float]) -> None:
    """Move an object by hand."""
    pose = np.eye(4)
    pose[:3, 3] = position
    joint = sim._data.joint(f"{name}/free")
    joint.qpos, joint.qvel = qpos_of(pose), 0.0


def test_same_seed_gives_the_same_scene_and_another_seed_another(sim: SimCell) -> None:
    again = SimCell(load_cell(), CellConfig(seed=3, objects=3))
    for one, other in zip(sim.ground_truth(), again.ground_truth(), strict=True):
        assert one.name == other.name
        assert np.array_equal(one.world_T_object, other.world_T_object)
    sim.reset(4, 3)
    assert [item.name for item in sim.ground_truth()] != [item.name for item in again.ground_truth()]


def test_objects_lie_still_on_the_table(sim: SimCell) -> None:
    before = sim.ground_truth()
    run(sim, 2.0)
    for old, new in zip(before, sim.ground_truth(), strict=True):
        assert np.linalg.norm(old.world_T_object[:3, 3] - new.world_T_object[:3, 3]) < 2e-3
        assert new.on_table


def test_time_runs_as_fast_as_the_clock(sim: SimCell) -> None:
    with sim:
        time.sleep(0.3)
        start, began = sim.snapshot().time, time.monotonic()
        time.sleep(1.5)
        simulated, elapsed = sim.snapshot().time - start, time.monotonic() - began
        # Never ahead; behind only as far as a busy machine makes it, which the cell then says itself.
        assert simulated < elapsed + 0.02
        assert simulated / elapsed == pytest.approx(sim.real_time_factor, abs=0.1)
        assert simulated / elapsed > 0.5
    stopped = sim.snapshot().time
    time.sleep(0.05)
    assert sim.snapshot().time == stopped


def test_reset_exchanges_the_objects_and_leaves_robot_and_time_alone(sim: SimCell) -> None:
    goal = sim.cell.home + np.array([0.0, 0.0, 0.0, 0.0, 0.1, 0.2])
    for fraction in np.linspace(0, 1, 60):
        sim.arm_plant.command(sim.cell.home + fraction * (goal - sim.cell.home))
        sim.step()
    before, then = sim.arm_plant.read(), sim.snapshot()
    sim.reset(8, 5)
    now = sim.snapshot()
    assert len(sim.ground_truth()) == 5
    assert now.model is not then.model
    assert now.time == then.time
    sim.step()
    assert np.abs(sim.arm_plant.read().position - before.position).max() < 0.01
    run(sim, 1.0)
    assert np.abs(sim.arm_plant.read().position - goal).max() < 2e-3, "the command is still in force"


def test_reset_is_refused_while_the_robot_reaches_over_the_area(sim: SimCell) -> None:
    assert not sim.robot_in_workspace()
    over = sim.cell.home.copy()
    over[0] = 0.0  # the arm straight out from its base, over the area
    sim.arm_plant.place(sim._data, over)
    sim.step()
    assert sim.robot_in_workspace()
    names = [item.name for item in sim.ground_truth()]
    with pytest.raises(InvalidRequestError, match="home"):
        sim.reset(1, 3)
    assert [item.name for item in sim.ground_truth()] == names
    sim.send_arm_home()
    sim.reset(1, 3)
    assert np.abs(sim.arm_plant.read().position - sim.cell.home).max() < 1e-9


@pytest.mark.parametrize("count", [-1, MAX_OBJECTS + 1])
def test_impossible_counts_are_refused(sim: SimCell, count: int) -> None:
    with pytest.raises(InvalidRequestError, match=str(MAX_OBJECTS)):
        sim.reset(0, count)


def test_objects_in_the_bin_or_off_the_table_are_removed(sim: SimCell) -> None:
    binned, dropped, lying = (model.name for model in sim.objects)
    table = sim.cell.table
    put(sim, binned, (*sim.cell.bin.center, 0.25))
    put(sim, dropped, (table.center[0], table.center[1] + table.size[1] / 2 + 0.2, 0.1))
    assert all(item.on_table for item in sim.ground_truth()), "not yet fallen"
    run(sim, 1.5)
    truth = {item.name: item.on_table for item in sim.ground_truth()}
    assert truth == {binned: False, dropped: False, lying: True}


def test_an_object_that_lay_still_moves_when_something_strikes_it(sim: SimCell) -> None:
    """The simulator puts objects at rest to sleep; a touch has to wake them."""
    run(sim, 2.0)
    struck, thrown = sim.ground_truth()[:2]
    before, height = struck.world_T_object[:3, 3], thrown.world_T_object[2, 3] + 0.005
    distance = sim.objects[0].radius + sim.objects[1].radius + 0.02
    put(sim, thrown.name, (before[0] - distance, before[1], height))
    sim._data.joint(f"{thrown.name}/free").qvel[0] = 1.5
    run(sim, 1.0)
    assert np.linalg.norm(sim.ground_truth()[0].world_T_object[:3, 3] - before) > 5e-3
