"""A client of the running nodes: its own node, spun on a thread, with calls that always come back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import rclpy
from dexgrasp_common.errors import DexgraspError
from rclpy.action import ActionClient
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions

Message = TypeVar("Message")


class SessionError(DexgraspError):
    """The running nodes did not do what was asked."""


class Session:
    """Holds the client node, in an rclpy context of its own; use it as a context manager.

    Args:
        domain: ROS domain; None takes ROS_DOMAIN_ID.
    """

    def __init__(self, domain: int | None = None) -> None:
        self._context = Context()
        self._domain = domain
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> Session:
        rclpy.init(context=self._context, domain_id=self._domain, signal_handler_options=SignalHandlerOptions.NO)
        self.node: Node = rclpy.create_node(f"dexgrasp_client_{os.getpid()}", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(timeout=2.0)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    # Clients are made on the spinning thread, since rclpy shows an action client to its executor before it is complete,
    # and live as long as the session: an executor that meets one being destroyed ends with an error.

    def action(self, action_type: type, name: str) -> ActionClient:
        """Client of an action; one for each name."""
        return self._client(name, lambda: ActionClient(self.node, action_type, name))

    def service(self, service_type: type, name: str) -> Client:
        """Client of a service; one for each name."""
        return self._client(name, lambda: self.node.create_client(service_type, name))

    def _client(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._clients:
            made: Future[Any] = Future()
            self._executor.create_task(lambda: made.set_result(make()))
            self._clients[name] = made.result(timeout=10.0)
        return self._clients[name]

    def latest(self, message_type: type[Message], topic: str, qos: Any = qos_profile_sensor_data) -> Latest[Message]:
        """Subscribe and keep the newest message."""
        latest: Latest[Message] = Latest(topic)
        self.node.create_subscription(message_type, topic, latest.put, qos)
        return latest


class Latest(Generic[Message]):
    """The newest message of a topic."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.count = 0
        self._message: Message | None = None
        self._arrived = threading.Condition()

    def put(self, message: Message) -> None:
        """Subscription callback."""
        with self._arrived:
            self._message = message
            self.count += 1
            self._arrived.notify_all()

    def get(self) -> Message | None:
        """The newest message so far, or None."""
        return self._message

    def wait(self, deadline: float, accept: Callable[[Message], bool] = lambda message: True) -> Message:
        """The newest message, once there is one that `accept` takes.

        Raises:
            SessionError: None arrived within `deadline` [s].
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: self._message is not None and accept(self._message), deadline):
                raise SessionError(f"No fitting message on {self.topic} within {deadline:.0f} s. Is bringup running?")
            assert self._message is not None
            return self._message


@contextmanager
def cancel_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second signal ends the command at once."""
    cancelled = threading.Event()

    def on_signal(number: int, frame: Any) -> None:
        if cancelled.is_set():
            raise KeyboardInterrupt
        cancelled.set()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancelled
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def wait_until(condition: Callable[[], bool], deadline: float, what: str, give_up: Callable[[], bool]) -> None:
    """Poll until the condition holds.

    Raises:
        SessionError: It did not within `deadline` [s], or `give_up` became true first.
    """
    end = time.monotonic() + deadline
    while not condition():
        if give_up():
            raise SessionError(f"Interrupted while waiting for {what}.")
        if time.monotonic() > end:
            raise SessionError(f"{what} did not appear within {deadline:.0f} s.")
        time.sleep(0.05)
