"""`dexgrasp demo`: bringup in simulation, a new scene, clear-table, shutdown, and the figures of the run."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_common.nodes.clients import call_service
from dexgrasp_common.report import machine, versions, write_report
from sensor_msgs.msg import PointCloud2

from dexgrasp.live import clear_report, clear_table, generate, print_clear
from dexgrasp.nodes import Arguments
from dexgrasp.session import Session, SessionError, cancel_on_signals, wait_until
from dexgrasp.view import View
from dexgrasp_msgs.action import ClearTable, ExecuteGrasp, GenerateGrasp
from dexgrasp_msgs.msg import GroundTruth
from dexgrasp_msgs.srv import PlanGrasp, ResetScene

START_DEADLINE = 90.0  # every node answers by then, also on a busy machine [s]
STOP_DEADLINE = 15.0  # nodes have ended by then, or are killed [s]

# Outcomes that end a run by its own rules; anything else is a fault and the exit status says so.
_COMPLETED = (
    ClearTable.Result.SUCCESS,
    ClearTable.Result.CONSECUTIVE_FAILURES,
    ClearTable.Result.ATTEMPTS_EXHAUSTED,
)


def run(parsed: argparse.Namespace, arguments: Arguments) -> int:
    """Run the demo; the exit status is 0 where the run came to its end, whether or not the table is empty.

    Raises:
        SessionError: A node did not start, or the scene could not be made.
    """
    log = parsed.log or _default_log(parsed.report)
    if "ROS_DOMAIN_ID" not in os.environ:  # a robot that is up on this machine must not hear the demo
        os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 99)
        print(f"To look on: export ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}")
    with cancel_on_signals() as cancelled:
        start = time.monotonic()
        with bringup(arguments, log) as suite, Session() as session:
            figures = _run(session, suite, parsed, cancelled, start, log)
    print_clear(figures)
    print(f"Ground truth: {figures['removed']} of {figures['objects']} objects removed.")
    if parsed.report:
        write_report(parsed.report, figures)
        print(f"Report: {parsed.report}")
    if figures["error_code"] not in _COMPLETED:
        print(f"dexgrasp demo: error {figures['error_code']}: {figures['error_msg']}", file=sys.stderr)
        return 1
    return 0


def _run(
    session: Session,
    suite: subprocess.Popen,
    parsed: argparse.Namespace,
    cancelled: threading.Event,
    start: float,
    log: Path,
) -> dict[str, Any]:
    def gone() -> bool:
        return cancelled.is_set() or suite.poll() is not None

    truth = session.latest(GroundTruth, "sim/ground_truth")
    cloud = session.latest(PointCloud2, "perception/points")
    view = View(session) if parsed.picture else None
    try:
        wait_for_nodes(session, gone)
    except SessionError as error:
        raise SessionError(f"{error} The nodes' log is {log}; its end: {log_tail(log)}") from None
    startup_s = time.monotonic() - start
    print(f"All nodes are up after {startup_s:.1f} s; logs in {log}")

    reset_scene(session, parsed.seed, parsed.objects)
    reset_stamp = session.node.get_clock().now().nanoseconds
    cloud.wait(20.0, lambda message: nanoseconds(message) > reset_stamp)
    first = generate(session, parsed.generator, 0, parsed.seed, 60.0, cancelled)
    first_generate_s = time.monotonic() - start
    print(f"First {len(first.grasps.grasps)} grasps {first_generate_s:.1f} s after start")
    if view is not None:
        view.draw(parsed.picture, first.grasps)
    factors: list[float] = []
    session.node.create_subscription(
        GroundTruth, "sim/ground_truth", lambda message: factors.append(message.real_time_factor), 10
    )
    began = time.monotonic()
    result = clear_table(session, parsed, cancelled)
    clear_s = time.monotonic() - began
    final = truth.wait(5.0)
    figures = {
        "seed": parsed.seed,
        "objects": parsed.objects,
        **clear_report(result),
        "real_time_factor": round(float(np.mean(factors)), 4) if factors else 0.0,
        "removed": sum(not on_table for on_table in final.on_table),
        "startup_s": round(startup_s, 2),
        "first_generate_s": round(first_generate_s, 2),
        "clear_s": round(clear_s, 2),
        "generator": parsed.generator,
        "machine": machine(),
        "versions": versions(),
    }
    return figures


@contextlib.contextmanager
def bringup(arguments: Arguments, log: Path) -> Iterator[subprocess.Popen]:
    """`dexgrasp bringup` as a process of its own, with its output in a file; stopped on leaving."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        suite = subprocess.Popen(
            [sys.executable, "-m", "dexgrasp.cli", "bringup", *bringup_options(arguments)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process first, which cancels the goal before nodes end
        )
        try:
            yield suite
        finally:
            stop(suite)


def stop(suite: subprocess.Popen) -> None:
    """SIGTERM, and after a deadline SIGKILL."""
    if suite.poll() is None:
        suite.terminate()
        try:
            suite.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(suite.pid, signal.SIGKILL)
            suite.wait()


def bringup_options(arguments: Arguments) -> list[str]:
    """The command-line options of `dexgrasp bringup` that give these arguments."""
    options = []
    for item in fields(Arguments):
        value, option = getattr(arguments, item.name), item.name.replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            options.append(f"--{option}={value}")
    return options


def wait_for_nodes(session: Session, gone: Any, deadline: float = START_DEADLINE) -> None:
    """Until every server that a clearing needs is there.

    Raises:
        SessionError: One is not there in time, or `gone()` became true.
    """
    end = time.monotonic() + deadline
    clients = {
        "sim/reset": session.service(ResetScene, "sim/reset"),
        "plan_grasp": session.service(PlanGrasp, "plan_grasp"),
        "generate_grasp": session.action(GenerateGrasp, "generate_grasp"),
        "execute_grasp": session.action(ExecuteGrasp, "execute_grasp"),
        "clear_table": session.action(ClearTable, "clear_table"),
    }
    for name, client in clients.items():
        ready = getattr(client, "server_is_ready", None) or client.service_is_ready
        wait_until(ready, end - time.monotonic(), name, gone)


def reset_scene(session: Session, seed: int, objects: int, deadline: float = 60.0) -> None:
    """New objects on the table, the robot at home.

    Raises:
        SessionError: The cell refused.
    """
    client = session.service(ResetScene, "sim/reset")
    answer = call_service(client, ResetScene.Request(seed=seed, objects=objects), deadline)
    if answer.error_code:
        raise SessionError(f"sim/reset: error {answer.error_code}: {answer.error_msg}")


def log_tail(log: Path, lines: int = 3) -> str:
    """The last lines of the nodes' log that do not come from the supervisor."""
    texts = [line for line in log.read_text(errors="replace").splitlines() if " system" not in line]
    return " / ".join(texts[-lines:]) or "(empty)"


def _default_log(report: Path | None) -> Path:
    if report is not None:
        return report.with_suffix(".log")
    return Path(tempfile.mkstemp(prefix="dexgrasp_demo_", suffix=".log")[1])


def nanoseconds(message: PointCloud2) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
