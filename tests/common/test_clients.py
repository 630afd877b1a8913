"""Calls come back in every case: over real DDS, with servers that answer, dawdle, refuse or are not there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from control_msgs.action import FollowJointTrajectory
from dexgrasp_common.nodes.clients import (
    DeadlineError,
    GoalRejectedError,
    ServerAbsentError,
    call_action,
    call_service,
)
from rclpy.action import ActionClient, ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger


class Servers(Node):
    """An action that runs until it is told to finish or cancelled, and a service."""

    def __init__(self) -> None:
        super().__init__("servers")
        self.finish = threading.Event()
        self.accept = True
        group = ReentrantCallbackGroup()
        self.create_service(Trigger, "answers", self._answer, callback_group=group)
        self.create_service(Trigger, "dawdles", self._dawdle, callback_group=group)
        self._action = ActionServer(
            self,
            FollowJointTrajectory,
            "move",
            self._move,
            goal_callback=lambda _: GoalResponse.ACCEPT if self.accept else GoalResponse.REJECT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=group,
        )
        # rclpy shows an action client to a spinning executor before it is complete.
        self.mover = ActionClient(self, FollowJointTrajectory, "move")

    def _answer(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = True
        return response

    def _dawdle(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.finish.wait(3.0)
        return response

    def _move(self, handle: object) -> FollowJointTrajectory.Result:
        while not self.finish.wait(0.01):
            if handle.is_cancel_requested:
                handle.canceled()
                return FollowJointTrajectory.Result(error_string="cancelled")
        handle.succeed()
        return FollowJointTrajectory.Result(error_string="done")


@pytest.fixture
def servers(ros_context: None) -> Iterator[Servers]:
    node = Servers()
    executor = MultiThreadedExecutor(4)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    node.finish.set()
    executor.shutdown()
    thread.join(5.0)


def test_service_answers_or_says_why_not(servers: Servers) -> None:
    assert call_service(servers.create_client(Trigger, "answers"), Trigger.Request(), 5.0).success
    with pytest.raises(DeadlineError, match="did not answer"):
        call_service(servers.create_client(Trigger, "dawdles"), Trigger.Request(), 0.5)
    with pytest.raises(ServerAbsentError, match="Is bringup running"):
        call_service(servers.create_client(Trigger, "absent"), Trigger.Request(), 0.3)


def test_action_returns_its_result(servers: Servers) -> None:
    servers.finish.set()
    assert call_action(servers.mover, FollowJointTrajectory.Goal(), 5.0).error_string == "done"


def test_cancelled_action_returns_the_result_of_the_cancelled_goal(servers: Servers) -> None:
    soon = time.monotonic() + 0.3
    result = call_action(servers.mover, FollowJointTrajectory.Goal(), 5.0, cancelled=lambda: time.monotonic() > soon)
    assert result.error_string == "cancelled"


def test_action_past_its_deadline_is_cancelled_and_said_so(servers: Servers) -> None:
    with pytest.raises(DeadlineError, match="was cancelled"):
        call_action(servers.mover, FollowJointTrajectory.Goal(), 0.5)


def test_rejected_goal_is_said_so(servers: Servers) -> None:
    servers.accept = False
    with pytest.raises(GoalRejectedError, match="rejected"):
        call_action(servers.mover, FollowJointTrajectory.Goal(), 5.0)
