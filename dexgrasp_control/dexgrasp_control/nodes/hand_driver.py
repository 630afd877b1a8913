"""Drives the hand: trajectories in, joint states and diagnostics out."""

from __future__ import annotations

from dataclasses import dataclass

from dexgrasp_common.nodes.parameters import declare
from dexgrasp_common.nodes.run import run_node
from dexgrasp_common.parameters import param
from rclpy.executors import MultiThreadedExecutor

from dexgrasp_control.driver import Tolerances
from dexgrasp_control.hand import HANDS
from dexgrasp_control.nodes.joint_driver import JointDriverNode
from dexgrasp_description import load_cell, load_hand


@dataclass(frozen=True)
class HandDriverConfig:
    """Which hand. Fingers are meant to press on things, so that only a goal itself can ask for tolerances."""

    cell: str = param("ur5_leap", "Cell by name or YAML file")
    hand: str = param("leap", "Backend; see `dexgrasp doctor`")
    port: str = param("/tmp/dexgrasp/leap", "Serial port of the hand, or address of the gripper")
    state_rate: float = param(60.0, "Joint states a second [Hz]", range=(1.0, 200.0))
    goal_time: float = param(
        1.0, "Time for settling within the goal tolerance where a goal asks for none [s]", range=(0.0, 30.0)
    )


class HandDriverNode(JointDriverNode):
    """See the package's README for parameters, topics and results."""

    def __init__(self) -> None:
        super().__init__("hand_driver", "hand")
        config = declare(self, HandDriverConfig)
        factory = HANDS.load(config.hand)
        backend_config = declare(self, factory.Config)
        model = load_hand(load_cell(config.cell).hand)
        driver = factory(model, config.port, backend_config)
        self.serve(driver, config.hand, config.state_rate, Tolerances(None, None, config.goal_time))


def main() -> None:
    run_node(HandDriverNode, lambda: MultiThreadedExecutor(num_threads=4))


if __name__ == "__main__":
    main()
