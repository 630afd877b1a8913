"""One diagnostic status of a node: published when it changes and once a second."""

from __future__ import annotations

import threading

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Header


class Health:
    """Thread-safe. Whatever is not OK is also logged, once for each change.

    Args:
        node: On whose `diagnostics` it is published.
        name: Name of the status.
    """

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._status = DiagnosticStatus(name=name, level=DiagnosticStatus.STALE, message="nothing yet")
        self._publisher = node.create_publisher(DiagnosticArray, "diagnostics", 10)
        node.create_timer(1.0, self._publish)

    def report(self, level: bytes, message: str) -> None:
        """Set the status: DiagnosticStatus.OK, WARN or ERROR, and what would mend it."""
        with self._lock:
            changed = (level, message) != (self._status.level, self._status.message)
            worse = level != DiagnosticStatus.OK
            recovered = not worse and self._status.level not in (DiagnosticStatus.OK, DiagnosticStatus.STALE)
            self._status.level, self._status.message = level, message
        if changed:
            if worse:
                self._node.get_logger().error(message)
            elif recovered:
                self._node.get_logger().info(f"Recovered: {message}.")
            self._publish()

    def _publish(self) -> None:
        with self._lock:
            header = Header(stamp=self._node.get_clock().now().to_msg())
            self._publisher.publish(DiagnosticArray(header=header, status=[self._status]))
