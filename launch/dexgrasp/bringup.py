"""Starts every node and supervises them with honcho, for machines without `ros2 launch`.

One rule for failures: a node that ends, ends the rest, and the exit status is that node's. A suite with a part missing
would look alive and answer goals with time-outs; the robot is safe in the meantime, because the controllers hold
position when a driver goes. Recoverable faults (unplugged hand, lost controller, protective stop) do not end a node.
"""

from __future__ import annotations

import os
import shutil
import sys

from honcho.manager import Manager
from honcho.printer import Printer

from dexgrasp.nodes import Arguments, command, rviz_command, selected


class Supervisor(Manager):
    """honcho's manager, which would otherwise fail on a signal that arrives while processes are still starting."""

    def _killall(self, force: bool = False) -> None:
        waiting = {name: process for name, process in self._processes.items() if process.get("pid") is None}
        for name in waiting:
            del self._processes[name]
        try:
            super()._killall(force)
        finally:
            self._processes.update(waiting)


def run(arguments: Arguments) -> int:
    """Start the nodes and return when all have ended; the exit status is 0 after Ctrl-C or SIGTERM.

    Raises:
        FileNotFoundError: A parameter file, or RViz where it was asked for, is missing.
    """
    if arguments.use_rviz and shutil.which("rviz2") is None:
        raise FileNotFoundError("use_rviz needs rviz2, which comes with an installed ROS 2 and is not on PATH here.")
    environment = node_environment()
    manager = Supervisor(Printer(sys.stdout))
    for node in selected(arguments):
        manager.add_process(node.executable, command(node, arguments), env=environment)
    if arguments.use_rviz:
        manager.add_process("rviz2", "exec " + " ".join(rviz_command()), env=environment)
    manager.loop()
    stopped_by_signal = manager.returncode in (130, 143)
    return 0 if stopped_by_signal else manager.returncode or 1


def node_environment() -> dict[str, str]:
    """Environment of every node: unbuffered logs, and one thread per numeric library, as the nodes share the cores."""
    environment = dict(os.environ)
    environment["PYTHONUNBUFFERED"] = "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment.setdefault(name, "1")
    return environment
