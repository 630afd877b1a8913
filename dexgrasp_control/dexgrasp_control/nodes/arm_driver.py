"""Drives the arm: trajectories in, joint states and diagnostics out; and what the robot is and where it stands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dexgrasp_common.nodes.messages import static_transform
from dexgrasp_common.nodes.parameters import declare
from dexgrasp_common.nodes.run import run_node
from dexgrasp_common.parameters import param
from dexgrasp_description.urdf import robot_urdf
from rclpy.executors import MultiThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from dexgrasp_control.arm import ARMS
from dexgrasp_control.driver import Tolerances
from dexgrasp_control.nodes.joint_driver import JointDriverNode
from dexgrasp_description import load_arm, load_cell, load_hand


@dataclass(frozen=True)
class ArmDriverConfig:
    """Which arm, and what trajectories are held to."""

    cell: str = param("ur5_leap", "Cell by name or YAML file")
    arm: str = param("ur", "Backend; see `dexgrasp doctor`")
    ip: str = param("127.0.0.1", "Address of the arm's controller")
    state_rate: float = param(100.0, "Joint states a second [Hz]", range=(1.0, 500.0))
    path_tolerance: float = param(
        0.3, "Largest tracking error where a goal asks for none of its own [rad]", range=(0.01, 3.0)
    )
    goal_tolerance: float = param(
        0.02, "Largest error at the end where a goal asks for none of its own [rad]", range=(0.001, 1.0)
    )
    goal_time: float = param(
        1.0, "Time for settling within the goal tolerance where a goal asks for none [s]", range=(0.0, 30.0)
    )


class ArmDriverNode(JointDriverNode):
    """See the package's README for parameters, topics and results."""

    def __init__(self) -> None:
        super().__init__("arm_driver", "arm")
        config = declare(self, ArmDriverConfig)
        factory = ARMS.load(config.arm)
        backend_config = declare(self, factory.Config)
        cell = load_cell(config.cell)
        model = load_arm(cell.arm)
        driver = factory(model, config.ip, backend_config)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._tf = self.create_publisher(TFMessage, "/tf_static", latched)
        stamp = self.get_clock().now().to_msg()
        frames = [
            ("world", model.base_link, cell.world_T_base),
            # The suite's own names, whatever the links are called in the URDF.
            (model.base_link, "base", np.eye(4)),
            (load_hand(cell.hand).base_link, "palm", np.eye(4)),
        ]
        self._tf.publish(TFMessage(transforms=[static_transform(*frame, stamp) for frame in frames]))
        self._description = self.create_publisher(String, "robot_description", latched)
        self._description.publish(String(data=robot_urdf(cell)))
        count = len(model.joint_names)
        tolerances = Tolerances(
            np.full(count, config.path_tolerance), np.full(count, config.goal_tolerance), config.goal_time
        )
        self.serve(driver, config.arm, config.state_rate, tolerances)


def main() -> None:
    run_node(ArmDriverNode, lambda: MultiThreadedExecutor(num_threads=4))


if __name__ == "__main__":
    main()
