"""A running bringup and what tests ask of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp.demo import nanoseconds, reset_scene
from dexgrasp.session import Latest, Session
from dexgrasp_common.nodes.clients import call_action, call_service
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2

from dexgrasp_msgs.action import ClearTable, ExecuteGrasp, GenerateGrasp
from dexgrasp_msgs.msg import GroundTruth
from dexgrasp_msgs.srv import PlanGrasp

from . import motions
from .cables import NetworkCable, SerialCable

DOMAIN = 100  # the fixtures of the other tests use 1 to 99
CONTROLLER, CABLE = "127.0.100.1", "127.0.100.2"


@dataclass
class Suite:
    """A running bringup in simulation and everything that a test needs to talk to it."""

    session: Session
    process: subprocess.Popen
    log: Path
    network: NetworkCable
    serial: SerialCable
    truth: Latest[GroundTruth]
    cloud: Latest[PointCloud2]
    joints: dict[str, float]

    def reset(self, seed: int, objects: int) -> None:
        """A new scene, and a cloud that shows it."""
        reset_scene(self.session, seed, objects)
        stamp = self.session.node.get_clock().now().nanoseconds
        self.cloud.wait(20.0, lambda message: nanoseconds(message) > stamp)

    def generate(self, goal: GenerateGrasp.Goal | None = None, **options: Any) -> GenerateGrasp.Result:
        """Result of one GenerateGrasp goal."""
        client = self.session.action(GenerateGrasp, "generate_grasp")
        return call_action(client, goal or GenerateGrasp.Goal(), 60.0, **options)

    def plan(self, grasp: Any) -> PlanGrasp.Response:
        """Response of one PlanGrasp request."""
        client = self.session.service(PlanGrasp, "plan_grasp")
        return call_service(client, PlanGrasp.Request(grasp=grasp), 60.0)

    def execute(self, goal: ExecuteGrasp.Goal, deadline: float = 90.0, **options: Any) -> ExecuteGrasp.Result:
        """Result of one ExecuteGrasp goal."""
        client = self.session.action(ExecuteGrasp, "execute_grasp")
        return call_action(client, goal, deadline, **options)

    def go_home(self, deadline: float = 60.0) -> None:
        """Bring the robot home from wherever a test left it, trying again while drivers come back."""
        end = time.monotonic() + deadline
        while True:
            result = self.execute(motions.home())
            if result.error_code == ExecuteGrasp.Result.SUCCESS:
                return
            assert time.monotonic() < end, f"not home: error {result.error_code}: {result.error_msg}"
            time.sleep(0.5)

    def clear(self, goal: ClearTable.Goal, deadline: float = 120.0, **options: Any) -> ClearTable.Result:
        """Result of one ClearTable goal."""
        client = self.session.action(ClearTable, "clear_table")
        return call_action(client, goal, deadline, cancel_deadline=20.0, **options)

    def moves(self, seconds: float) -> float:
        """Largest change of any joint's published position over some time [rad]."""
        before = dict(self.joints)
        time.sleep(seconds)
        return max(abs(self.joints[name] - before[name]) for name in before)

    def positions(self, names: tuple[str, ...]) -> NDArray[np.float64]:
        """Published positions of these joints [rad]."""
        return np.array([self.joints[name] for name in names])


def wait_for(condition: Callable[[], bool], deadline: float, what: str) -> None:
    """Poll until the condition holds; fail at the deadline [s]."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"{what} not within {deadline} s"
        time.sleep(0.02)
