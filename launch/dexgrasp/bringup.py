"""Starts every node and supervises them with honcho, for machines without `ros2 launch`.

One rule for failures: a node that ends, ends the rest, and the exit status is that node's. A suite with a part missing
would look alive and answer goals with time-outs; the robot is safe in the meantime, because the controllers hold
position when a driver goes. Recoverable faults (unplugged hand, lost controller, protective stop) do not end a node.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys

from honcho.manager import Manager
from honcho.printer import Printer

from dexgrasp.nodes import Arguments, command, rviz_command, selected


class Supervisor(Manager):
    """honcho's manager, made to end in two cases in which it hangs: a signal that arrives while processes are still
    starting, and processes that all ignore SIGTERM (they are killed after honcho's five seconds)."""

    _asked_to_end = False

    def terminate(self) -> None:
        """End all processes, as soon as all have started."""
        self._asked_to_end = True
        if super()._all_started():
            super().terminate()

    def _all_started(self) -> bool:
        started = super()._all_started()
        if started and self._asked_to_end:
            super().terminate()
        return started

    def _any_stopped(self) -> bool:
        return self._asked_to_end or super()._any_stopped()


def run(arguments: Arguments) -> int:
    """Start the nodes and return the exit status when all have ended; see `supervise`.

    Raises:
        FileNotFoundError: A parameter file, or RViz where it was asked for, is missing.
    """
    if arguments.use_rviz and shutil.which("rviz2") is None:
        raise FileNotFoundError("use_rviz needs rviz2, which comes with an installed ROS 2 and is not on PATH here.")
    commands = {node.executable: command(node, arguments) for node in selected(arguments)}
    if arguments.use_rviz:
        commands["rviz2"] = "exec " + shlex.join(rviz_command())
    return supervise(commands)


def supervise(commands: dict[str, str]) -> int:
    """Run shell commands until one ends or a signal arrives, then end the others.

    Returns:
        0 after Ctrl-C or SIGTERM, otherwise the status of the first command that ended, or 1 where that was 0.
    """
    environment = node_environment()
    manager = Supervisor(Printer(sys.stdout))
    for name, text in commands.items():
        manager.add_process(name, text, env=environment)
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
