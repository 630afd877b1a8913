"""The clearing loop on a model of a table: when it stops, what it counts, and how it recovers."""

from __future__ import annotations

import time

import numpy as np
import pytest
from dexgrasp_control.clearing import Candidate, ClearingConfig, Stage, Statistics, StepFailed, TableClearer, ranked
from dexgrasp_control.errors import (
    AttemptsExhausted,
    ClearingCancelled,
    ConsecutiveFailures,
    GeneratorUnavailable,
    NoCamera,
    RobotFault,
)

AREA = (-0.15, 0.15, -0.25, 0.25)
CONFIG = ClearingConfig(recovery_timeout=0.3, recovery_pause=0.05)
UNREACHABLE, NO_PATH, ARM_LOST, NO_GRASPS = 205, 207, 307, 108


class Table:
    """Blocks on a table seen straight from above, and a robot that does what each attempt's script says.

    Args:
        blocks: Centres (x, y) of blocks of 5 x 5 x 6 cm.
        script: Per execution: True removes the block, False leaves it, a StepFailed is raised. Then always True.
    """

    def __init__(self, blocks: list[tuple[float, float]], script: list[bool | StepFailed] = ()) -> None:
        self.blocks = list(blocks)
        self.script = list(script)
        self.seeds: list[int] = []
        self.executed: list[tuple[float, float]] = []
        self.planned = 0
        self.looks = 0
        self.homes: list[StepFailed | None] = []
        self.unreachable: dict[tuple[float, float], int] = {}

    def look(self) -> np.ndarray:
        self.looks += 1
        x, y = np.meshgrid(np.arange(-0.3, 0.3, 0.002), np.arange(-0.4, 0.4, 0.002))
        z = np.random.default_rng(self.looks).normal(0.0, 0.001, x.shape)
        for bx, by in self.blocks:
            z[(np.abs(x - bx) < 0.025) & (np.abs(y - by) < 0.025)] += 0.06
        return np.stack([x, y, z], axis=-1).reshape(-1, 3)

    def generate(self, seed: int) -> list[Candidate]:
        self.seeds.append(seed)
        return [Candidate(np.array([x, y, 0.06]), (x, y)) for x, y in self.blocks]

    def plan(self, candidate: Candidate) -> tuple[float, float]:
        self.planned += 1
        if candidate.grasp in self.unreachable:
            raise StepFailed(self.unreachable[candidate.grasp], f"cannot reach {candidate.grasp}")
        return candidate.grasp

    def execute(self, trajectory: tuple[float, float]) -> bool:
        self.executed.append(trajectory)
        step = self.script.pop(0) if self.script else True
        if isinstance(step, StepFailed):
            raise step
        if step:
            self.blocks.remove(trajectory)
        return step

    def go_home(self) -> None:
        problem = self.homes.pop(0) if self.homes else None
        if problem is not None:
            raise problem


def clear(table: Table, config: ClearingConfig = CONFIG, **options) -> Statistics:
    statistics = Statistics()
    clearer = TableClearer(table, AREA, config=config)
    try:
        clearer.clear(statistics, **options)
    finally:
        assert len(statistics.cycle_s) == statistics.attempts
        assert sum(statistics.errors.values()) + statistics.successes <= statistics.attempts
    return statistics


TWO = [(0.0, 0.1), (0.0, -0.1)]
THREE = [*TWO, (0.08, 0.0)]


def test_an_empty_table_is_cleared_without_an_attempt():
    statistics = clear(Table([]))
    assert statistics.cleared
    assert statistics.attempts == 0


def test_every_object_is_removed():
    statistics = clear(Table(THREE))
    assert statistics.cleared
    assert (statistics.attempts, statistics.successes) == (3, 3)
    assert len(statistics.generate_ms) == len(statistics.plan_ms) == 3
    assert not statistics.errors


def test_a_failure_between_successes_does_not_stop_it():
    statistics = clear(Table(THREE, [True, False, True, True]))
    assert statistics.cleared
    assert (statistics.attempts, statistics.successes, statistics.consecutive_failures) == (4, 3, 0)
    assert statistics.errors == {409: 1}


def test_two_failures_in_a_row_stop_it():
    table, statistics = Table(THREE, [True, False, False]), Statistics()
    with pytest.raises(ConsecutiveFailures):
        TableClearer(table, AREA, config=CONFIG).clear(statistics)
    assert not statistics.cleared
    assert (statistics.attempts, statistics.successes, statistics.consecutive_failures) == (3, 1, 2)


def test_the_goal_may_allow_more_failures():
    statistics = clear(Table(TWO, [False, False, True, True]), max_consecutive_failures=3)
    assert statistics.cleared
    assert statistics.attempts == 4


def test_attempts_are_limited_by_the_goal():
    table, statistics = Table(THREE), Statistics()
    with pytest.raises(AttemptsExhausted):
        TableClearer(table, AREA, config=CONFIG).clear(statistics, max_attempts=2)
    assert statistics.successes == 2


def test_the_last_allowed_attempt_may_clear_the_table():
    assert clear(Table(TWO), max_attempts=2).cleared


def test_each_attempt_has_a_seed_of_its_own():
    table = Table(TWO, [False])
    clear(table, seed=40)
    assert table.seeds == [40, 41, 42]


def test_another_place_is_tried_after_a_failure():
    table = Table(TWO, [False, True, True])
    clear(table)
    assert table.executed == [TWO[0], TWO[1], TWO[0]]


def test_the_only_place_is_tried_again():
    table = Table(TWO[:1], [False, True])
    assert clear(table).cleared
    assert table.executed == [TWO[0], TWO[0]]


def test_grasps_near_a_failure_come_last_in_their_order():
    seeds = [(0.0, 0.0), (0.1, 0.0), (0.01, 0.0), (0.2, 0.0)]
    candidates = [Candidate(np.array([*seed, 0.05]), index) for index, seed in enumerate(seeds)]
    order = [c.grasp for c in ranked(candidates, [np.array([0.0, 0.0, 0.05])], 0.04)]
    assert order == [1, 3, 0, 2]


def test_the_ranking_is_gone_down_until_a_grasp_can_be_planned():
    table = Table(THREE)
    table.unreachable = {TWO[0]: UNREACHABLE, TWO[1]: NO_PATH}
    statistics = Statistics()
    with pytest.raises(ConsecutiveFailures):
        TableClearer(table, AREA, config=CONFIG).clear(statistics)
    assert table.executed == [THREE[2]]
    assert statistics.errors == {UNREACHABLE: 2}
    assert statistics.attempts == 3


def test_planning_is_capped_in_number():
    table = Table(THREE)
    table.unreachable = dict.fromkeys(THREE, UNREACHABLE)
    with pytest.raises(ConsecutiveFailures):
        clear(table, ClearingConfig(max_plans=2))
    assert table.planned == 4


def test_planning_is_capped_in_time():
    class Slow(Table):
        def plan(self, candidate):
            time.sleep(0.12)
            raise StepFailed(UNREACHABLE, "no")

    begin = time.monotonic()
    with pytest.raises(ConsecutiveFailures):
        clear(Slow(THREE * 3), ClearingConfig(plan_time=0.2))
    assert time.monotonic() - begin < 1.5


def test_generating_that_fails_is_a_failed_attempt():
    class Barren(Table):
        def generate(self, seed):
            super().generate(seed)
            if len(self.seeds) == 1:
                raise StepFailed(NO_GRASPS, "none survived the filter")
            return super().generate(seed) if len(self.seeds) > 2 else []

    statistics = Statistics()
    with pytest.raises(ConsecutiveFailures):
        TableClearer(Barren(TWO), AREA, config=CONFIG).clear(statistics)
    assert statistics.attempts == 2
    assert statistics.errors == {NO_GRASPS: 2}
    assert statistics.messages[NO_GRASPS] == "none survived the filter"


def test_a_missing_generator_ends_it_at_once():
    class Headless(Table):
        def generate(self, seed):
            raise GeneratorUnavailable("nobody there")

    with pytest.raises(GeneratorUnavailable):
        clear(Headless(TWO))


def test_a_fault_is_waited_out():
    table = Table(TWO, [StepFailed(ARM_LOST, "gone")])
    table.homes = [None, StepFailed(ARM_LOST, "gone"), StepFailed(ARM_LOST, "gone")]
    statistics = clear(table)
    assert statistics.cleared
    assert statistics.errors == {ARM_LOST: 1}
    assert table.homes == []


def test_faults_do_not_count_as_failed_grasps():
    gone = StepFailed(ARM_LOST, "gone")
    table = Table(TWO, [gone, False, gone, True, True])
    statistics = clear(table)
    assert statistics.cleared
    assert statistics.errors == {ARM_LOST: 2, 409: 1}
    assert table.executed[:2] == [TWO[0], TWO[0]]  # nor is their place avoided


def test_faults_without_end_end_it():
    table, statistics = Table(TWO, [StepFailed(ARM_LOST, "loose cable")] * 10), Statistics()
    with pytest.raises(RobotFault, match="loose cable"):
        TableClearer(table, AREA, config=CONFIG).clear(statistics)
    assert statistics.attempts == 4
    assert statistics.consecutive_failures == 0


def test_a_fault_that_lasts_ends_it():
    table, statistics = Table(TWO, [StepFailed(ARM_LOST, "gone")]), Statistics()
    table.homes = [None, *[StepFailed(ARM_LOST, "still gone")] * 100]
    begin = time.monotonic()
    with pytest.raises(RobotFault, match="still gone"):
        TableClearer(table, AREA, config=CONFIG).clear(statistics)
    assert time.monotonic() - begin < 1.0
    assert statistics.attempts == 1


def test_a_fault_at_the_end_of_a_pick_that_worked_still_leaves_the_table_cleared():
    class Late(Table):
        def execute(self, trajectory):
            super().execute(trajectory)
            raise StepFailed(ARM_LOST, "on the way home")

    statistics = clear(Late(TWO[:1]))
    assert statistics.cleared
    assert statistics.successes == 0


def test_a_blind_camera_is_not_an_empty_table():
    class Blind(Table):
        def look(self):
            return np.full((1000, 3), np.nan)

    with pytest.raises(NoCamera, match="0 % of the object area"):
        clear(Blind(TWO))


@pytest.mark.parametrize("stage", list(Stage))
def test_cancelling_ends_it_at_every_stage(stage):
    reached = []
    statistics = Statistics()
    with pytest.raises(ClearingCancelled):
        TableClearer(Table(THREE), AREA, config=CONFIG).clear(
            statistics, cancelled=lambda: stage in reached, on_stage=reached.append
        )
    assert reached[-1] is stage
    assert statistics.consecutive_failures == 0


def test_a_cancel_ends_the_wait_for_the_robot():
    table = Table(TWO)
    table.homes = [StepFailed(ARM_LOST, "gone")] * 1000
    begin = time.monotonic()
    with pytest.raises(ClearingCancelled):
        clear(table, ClearingConfig(), cancelled=lambda: time.monotonic() - begin > 0.2)
    assert time.monotonic() - begin < 1.0


def test_a_block_pushed_aside_is_a_failure():
    class Clumsy(Table):
        def execute(self, trajectory):
            self.blocks.remove(trajectory)
            self.blocks.append((trajectory[0] + 0.08, trajectory[1]))
            return False

    statistics = Statistics()
    with pytest.raises(ConsecutiveFailures):
        TableClearer(Clumsy(TWO[:1]), AREA, config=CONFIG).clear(statistics)
    assert "moved" in statistics.messages[409]
