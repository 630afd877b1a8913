"""The whole suite, started once for all tests that can share it, with cables between drivers and robot."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cables import NetworkCable, SerialCable
from dexgrasp.demo import bringup, log_tail, nanoseconds, reset_scene, wait_for_nodes
from dexgrasp.nodes import Arguments
from dexgrasp.session import Latest, Session
from dexgrasp_common.nodes.clients import call_action, call_service
from numpy.typing import NDArray
from sensor_msgs.msg import JointState, PointCloud2

from dexgrasp_msgs.action import ClearTable, ExecuteGrasp, GenerateGrasp
from dexgrasp_msgs.msg import GroundTruth
from dexgrasp_msgs.srv import PlanGrasp

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
        try:
            return call_action(client, goal or GenerateGrasp.Goal(), 60.0, **options)
        finally:
            client.destroy()

    def plan(self, grasp: Any) -> PlanGrasp.Response:
        """Response of one PlanGrasp request."""
        client = self.session.node.create_client(PlanGrasp, "plan_grasp")
        try:
            return call_service(client, PlanGrasp.Request(grasp=grasp), 60.0)
        finally:
            self.session.node.destroy_client(client)

    def execute(self, goal: ExecuteGrasp.Goal, deadline: float = 90.0, **options: Any) -> ExecuteGrasp.Result:
        """Result of one ExecuteGrasp goal."""
        client = self.session.action(ExecuteGrasp, "execute_grasp")
        try:
            return call_action(client, goal, deadline, **options)
        finally:
            client.destroy()

    def clear(self, goal: ClearTable.Goal, deadline: float = 120.0, **options: Any) -> ClearTable.Result:
        """Result of one ClearTable goal."""
        client = self.session.action(ClearTable, "clear_table")
        try:
            return call_action(client, goal, deadline, cancel_deadline=20.0, **options)
        finally:
            client.destroy()

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


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """The nodes of the node list as processes, a client session, and both cables plugged in."""
    folder = tmp_path_factory.mktemp("suite")
    driver_port, bus_port = folder / "driver" / "leap", folder / "bus" / "leap"
    parameters = folder / "far_ends.yaml"
    parameters.write_text(
        f"sim_cell:\n  ros__parameters:\n    controller_ip: {CONTROLLER}\n    hand_port: {bus_port}\n"
    )
    arguments = Arguments(robot_ip=CABLE, hand_port=str(driver_port), params_file=str(parameters))
    network, serial = NetworkCable(CABLE, CONTROLLER), SerialCable(driver_port, bus_port)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROS_DOMAIN_ID", str(DOMAIN))
        with bringup(arguments, folder / "nodes.log") as process, Session(DOMAIN) as session:
            joints: dict[str, float] = {}
            session.node.create_subscription(
                JointState,
                "joint_states",
                lambda message: joints.update(zip(message.name, message.position, strict=True)),
                10,
            )
            running = Suite(
                session,
                process,
                folder / "nodes.log",
                network,
                serial,
                session.latest(GroundTruth, "sim/ground_truth"),
                session.latest(PointCloud2, "perception/points"),
                joints,
            )
            try:
                serial.plug()
                wait_for_nodes(session, lambda: process.poll() is not None)
                wait_for(lambda: len(joints) == 22, 30.0, "joint states of arm and hand")
                yield running
            except BaseException:
                print(log_tail(running.log, 60).replace(" / ", "\n"))
                raise
            finally:
                serial.pull()
                network.pull()
