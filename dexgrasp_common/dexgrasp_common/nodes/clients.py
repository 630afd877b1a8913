"""Calls of actions and services that always come back: with a result, or with an error that says why.

They block, so they belong on a worker thread or in a callback of a MultiThreadedExecutor with a reentrant group,
while the node is spun elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.action import ActionClient
from rclpy.client import Client
from rclpy.task import Future

from dexgrasp_common.errors import DexgraspError

_POLL = 0.02  # how often cancellation and deadlines are looked at while waiting [s]


class CallError(DexgraspError):
    """An action or service could not be called to its end."""


class ServerAbsentError(CallError):
    """Nobody offers the action or service."""


class GoalRejectedError(CallError):
    """The action server did not accept the goal."""


class DeadlineError(CallError):
    """No answer within the deadline; an accepted goal was asked to cancel."""


def call_service(client: Client, request: Any, deadline: float) -> Any:
    """Response of a service.

    Args:
        deadline: Longest time for finding the server and for its answer together [s].

    Raises:
        ServerAbsentError, DeadlineError: As they say.
    """
    end = time.monotonic() + deadline
    if not client.wait_for_service(timeout_sec=min(deadline, 5.0)):
        raise ServerAbsentError(f"No node offers the service {client.srv_name}. Is bringup running?")
    future = client.call_async(request)
    if not _wait(future, end):
        client.remove_pending_request(future)
        raise DeadlineError(f"The service {client.srv_name} did not answer within {deadline:.1f} s.")
    return future.result()


def call_action(
    client: ActionClient,
    goal: Any,
    deadline: float,
    *,
    on_feedback: Callable[[Any], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    cancel_deadline: float = 5.0,
) -> Any:
    """Result message of an action, whether its goal succeeded, was aborted or was cancelled by the server.

    Args:
        deadline: Longest time from here to the result; after it the goal is cancelled [s].
        on_feedback: Called with each feedback message, on the spinning thread.
        cancelled: Polled while waiting; once true, the goal is cancelled and its result, if it arrives within
            `cancel_deadline` [s], is returned.

    Raises:
        ServerAbsentError, GoalRejectedError, DeadlineError: As they say.
    """
    name = client._action_name
    end = time.monotonic() + deadline
    if not client.wait_for_server(timeout_sec=min(deadline, 5.0)):
        raise ServerAbsentError(f"No node offers the action {name}. Is bringup running?")
    callback = None if on_feedback is None else (lambda message: on_feedback(message.feedback))
    sending = client.send_goal_async(goal, feedback_callback=callback)
    if not _wait(sending, min(end, time.monotonic() + 5.0)):
        sending.add_done_callback(lambda late: late.result().accepted and late.result().cancel_goal_async())
        raise DeadlineError(f"The action {name} did not answer the goal in time.")
    handle = sending.result()
    if not handle.accepted:
        raise GoalRejectedError(f"The action {name} rejected the goal.")
    outcome = handle.get_result_async()
    if not _wait(outcome, end, cancelled):
        asked = cancelled()
        handle.cancel_goal_async()
        if not _wait(outcome, time.monotonic() + cancel_deadline):
            raise DeadlineError(f"The action {name} neither finished in {deadline:.1f} s nor let itself be cancelled.")
        if not asked:
            raise DeadlineError(f"The action {name} did not finish within {deadline:.1f} s and was cancelled.")
    return outcome.result().result


def _wait(future: Future, end: float, cancelled: Callable[[], bool] = lambda: False) -> bool:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    while not done.wait(_POLL):
        if cancelled() or time.monotonic() > end:
            return future.done()
    return True
