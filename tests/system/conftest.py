"""The whole suite, started once for all tests that can share it, with cables between drivers and robot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dexgrasp.demo import bringup, log_tail, wait_for_nodes
from dexgrasp.nodes import Arguments
from dexgrasp.session import Session
from sensor_msgs.msg import JointState, PointCloud2

from dexgrasp_msgs.msg import GroundTruth

from .cables import NetworkCable, SerialCable
from .suite import CABLE, CONTROLLER, DOMAIN, Suite, wait_for


@pytest.fixture(scope="package")
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
