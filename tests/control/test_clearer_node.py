"""The table_clearer node over DDS, with the real executor; the planner side and the hardware are stand-ins."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from dexgrasp_common.nodes.messages import points_to_cloud
from dexgrasp_control.nodes.grasp_executor import GraspExecutorNode
from dexgrasp_control.nodes.table_clearer import TableClearerNode
from dexgrasp_control.phases import PhaseName
from geometry_msgs.msg import Point
from rclpy.action import ActionClient, ActionServer
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from dexgrasp_msgs.action import ClearTable, ExecuteGrasp, GenerateGrasp
from dexgrasp_msgs.msg import Grasp, GraspArray
from dexgrasp_msgs.srv import PlanGrasp

from .plant_robot import HAND, HOME, pick
from .ros_robot import PlanService, PlantDriver, rclpy_for_a_module, spinning, trajectory_message, wait_until

Result = ClearTable.Result
TWO = [(0.0, 0.1), (0.0, -0.1)]


class Table(Node):
    """A table with blocks, its camera, and a generator that proposes one grasp per block.

    A block that is squeezed and lifted is gone, unless `slippery` says how many grasps are still to slip.
    """

    def __init__(self, arm: PlantDriver, hand: PlantDriver) -> None:
        super().__init__("table")
        self.arm, self.hand = arm, hand
        self.blocks: list[tuple[float, float]] = []
        self.planned: tuple[float, float] | None = None
        self.slippery = 0
        self.blind = False
        self.generate_error = 0
        self.seeds: list[int] = []
        group = ReentrantCallbackGroup()
        self._up = pick()[4].arm.positions[-1]
        self._squeeze = pick()[3].hand.positions[-1]
        self._points = self.create_publisher(PointCloud2, "perception/points", qos_profile_sensor_data)
        self.create_timer(0.01, self._physics, callback_group=group)
        self.create_timer(0.1, self._photograph, callback_group=group)
        self._server = ActionServer(
            self, GenerateGrasp, "generate_grasp", self._generate, callback_group=ReentrantCallbackGroup()
        )

    def _physics(self) -> None:
        if self.planned is None or self.planned not in self.blocks:
            return
        arm, hand = self.arm.plant.read(), self.hand.plant.read()
        if np.abs(arm.position - self._up).max() < 0.02 and np.abs(hand.target - self._squeeze).max() < 0.02:
            if self.slippery:
                self.slippery -= 1
            else:
                self.blocks.remove(self.planned)
            self.planned = None

    def _photograph(self) -> None:
        x, y = np.meshgrid(np.arange(-0.3, 0.3, 0.0025), np.arange(-0.4, 0.4, 0.0025))
        z = np.zeros_like(x)
        for bx, by in self.blocks:
            z[(np.abs(x - bx) < 0.025) & (np.abs(y - by) < 0.025)] = 0.06
        cloud = np.stack([x, y, z], axis=-1).astype(np.float32)
        if self.blind:
            cloud[:] = np.nan
        header = Header(frame_id="world", stamp=self.get_clock().now().to_msg())
        self._points.publish(points_to_cloud(cloud, header))

    def _generate(self, handle) -> GenerateGrasp.Result:
        self.seeds.append(handle.request.seed)
        handle.succeed()
        if self.generate_error:
            return GenerateGrasp.Result(error_code=self.generate_error, error_msg="for this test")
        grasps = [Grasp(joint_names=list(HAND.joint_names), seed_point=Point(x=x, y=y, z=0.06)) for x, y in self.blocks]
        return GenerateGrasp.Result(grasps=GraspArray(grasps=grasps))

    def plan(self, request: PlanGrasp.Request, response: PlanGrasp.Response) -> None:
        self.planned = request.grasp.seed_point.x, request.grasp.seed_point.y
        response.trajectory = trajectory_message(pick(0.1), request.grasp)


class Suite:
    def __init__(self, table: Table, planner: PlanService, client: ActionClient) -> None:
        self.table, self.planner, self.client = table, planner, client

    def send(self, **goal):
        self.stages: list[int] = []
        sending = self.client.send_goal_async(
            ClearTable.Goal(**goal), lambda message: self.stages.append(message.feedback.stage)
        )
        wait_until(sending.done)
        handle = sending.result()
        return handle, handle.get_result_async()

    def clear(self, timeout: float = 40.0, **goal) -> Result:
        _, ending = self.send(**goal)
        wait_until(ending.done, timeout)
        return ending.result().result


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    yield from rclpy_for_a_module()


@pytest.fixture(scope="module")
def whole(ros) -> Iterator[Suite]:
    arm, hand = PlantDriver("arm"), PlantDriver("hand")
    table = Table(arm, hand)
    planner = PlanService(table.plan)
    executor = GraspExecutorNode(
        parameter_overrides=[Parameter("arm_speed", value=1.5), Parameter("hand_speed", value=8.0)]
    )
    limits = {"recovery_timeout": 3.0, "recovery_pause": 0.2, "settle_time": 0.05, "camera_timeout": 1.5}
    clearer = TableClearerNode(parameter_overrides=[Parameter(name, value=value) for name, value in limits.items()])
    user = Node("user")
    client = ActionClient(user, ClearTable, "clear_table", callback_group=ReentrantCallbackGroup())
    with contextmanager(spinning)(arm, hand, table, planner, executor, clearer, user):
        assert client.wait_for_server(timeout_sec=10.0)
        yield Suite(table, planner, client)


@pytest.fixture
def suite(whole) -> Iterator[Suite]:
    whole.table.blocks = list(TWO)
    whole.planner.answer = whole.table.plan
    yield whole
    table = whole.table
    table.slippery, table.blind, table.generate_error, table.blocks = 0, False, 0, []
    for driver in (table.arm, table.hand):
        driver.unplugged, driver.fault = False, ""
    time.sleep(0.1)
    assert whole.clear().cleared
    np.testing.assert_allclose(table.arm.plant.read().position, HOME, atol=0.01)


def counts(result: Result) -> dict[int, int]:
    return {entry.error_code: entry.count for entry in result.error_counts}


def test_an_empty_table_is_cleared_at_once(suite):
    suite.table.blocks = []
    result = suite.clear()
    assert (result.error_code, result.cleared, result.attempts) == (Result.SUCCESS, True, 0)


def test_the_table_is_cleared_and_the_statistics_say_how(suite):
    suite.table.slippery = 1
    suite.table.seeds.clear()
    result = suite.clear(seed=7)
    assert result.error_code == Result.SUCCESS, result.error_msg
    assert result.cleared
    assert (result.attempts, result.successes, result.consecutive_failures) == (3, 2, 0)
    assert counts(result) == {Result.OBJECT_MISSED: 1}
    assert suite.table.seeds == [7, 8, 9]
    assert len(result.generate_ms) == len(result.plan_ms) == len(result.cycle_s) == 3
    assert min(result.cycle_s) > 0.8  # eight phases of 0.1 s


def test_two_misses_in_a_row_end_it(suite):
    suite.table.slippery = 2
    result = suite.clear()
    assert result.error_code == Result.CONSECUTIVE_FAILURES
    assert not result.cleared
    assert (result.attempts, result.successes, result.consecutive_failures) == (2, 0, 2)
    assert counts(result) == {Result.OBJECT_MISSED: 2}


def test_grasps_that_cannot_be_planned_are_counted_by_their_reason(suite):
    def refuse(request, response):
        response.error_code, response.error_msg = PlanGrasp.Response.UNREACHABLE, "too far"

    suite.planner.answer = refuse
    result = suite.clear()
    assert result.error_code == Result.CONSECUTIVE_FAILURES
    assert counts(result) == {PlanGrasp.Response.UNREACHABLE: 2}
    assert "too far" in result.error_counts[0].error_msg


def test_attempts_are_limited(suite):
    result = suite.clear(max_attempts=1)
    assert result.error_code == Result.ATTEMPTS_EXHAUSTED
    assert (result.attempts, result.successes) == (1, 1)


def test_a_generator_that_cannot_work_ends_it(suite):
    suite.table.generate_error = GenerateGrasp.Result.UNKNOWN_GENERATOR
    result = suite.clear(generator="magic")
    assert result.error_code == Result.GENERATOR_UNAVAILABLE
    assert "for this test" in result.error_msg


def test_a_planner_that_cannot_work_ends_it(suite):
    def absent(request, response):
        response.error_code, response.error_msg = PlanGrasp.Response.PLANNER_UNAVAILABLE, "not installed"

    suite.planner.answer = absent
    assert suite.clear().error_code == Result.PLANNER_UNAVAILABLE


def test_a_blind_camera_is_not_an_empty_table(suite):
    suite.table.blind = True
    result = suite.clear()
    assert result.error_code == Result.NO_CAMERA
    assert not result.cleared


def test_cancelling_in_a_pick_stops_the_robot_and_the_next_goal_works(suite):
    handle, ending = suite.send()
    wait_until(lambda: ClearTable.Feedback.EXECUTE in suite.stages)
    time.sleep(0.45)
    handle.cancel_goal_async()
    wait_until(ending.done)
    assert ending.result().result.error_code == Result.CANCELLED
    still = suite.table.arm.plant.read().position
    time.sleep(0.2)
    np.testing.assert_allclose(suite.table.arm.plant.read().position, still, atol=1e-3)
    assert suite.clear().cleared


def test_an_arm_that_comes_back_is_waited_for(suite):
    _, ending = suite.send()
    wait_until(lambda: ClearTable.Feedback.EXECUTE in suite.stages)
    suite.table.arm.unplugged = True
    time.sleep(1.0)
    suite.table.arm.unplugged = False
    wait_until(ending.done, 40.0)
    result = ending.result().result
    assert result.cleared, result.error_msg
    assert counts(result) == {ExecuteGrasp.Result.ARM_LOST: 1}


def test_an_arm_that_stays_away_ends_it(suite):
    _, ending = suite.send()
    wait_until(lambda: ClearTable.Feedback.EXECUTE in suite.stages)
    suite.table.arm.unplugged = True
    wait_until(ending.done, 20.0)
    result = ending.result().result
    assert result.error_code == Result.ROBOT_FAULT
    assert "arm" in result.error_msg


def test_a_second_goal_is_refused_with_a_message(suite):
    _, ending = suite.send()
    wait_until(lambda: len(suite.stages) > 0)
    second = suite.clear()
    assert second.error_code == Result.INVALID_GOAL
    assert "one goal at a time" in second.error_msg
    wait_until(ending.done, 40.0)
    assert ending.result().result.cleared


def test_phases_are_those_of_the_message():
    assert [name.value for name in PhaseName] == list(range(1, 9))
