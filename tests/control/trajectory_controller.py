"""A small controller of somebody else's: a FollowJointTrajectory action and joint states around a plant."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import numpy as np
import rclpy
from control_msgs.action import FollowJointTrajectory
from dexgrasp_common.nodes.messages import trajectory_arrays
from dexgrasp_sim.plant import KinematicPlant
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from sensor_msgs.msg import JointState

ACTION, JOINT_STATES = "joint_trajectory_controller/follow_joint_trajectory", "joint_state_broadcaster/joint_states"


class TrajectoryController:
    """Moves a plant along straight lines between points, on ROS, from `start` to `stop`."""

    def __init__(self, plant: KinematicPlant) -> None:
        self._plant = plant

    def start(self) -> None:
        self._closing = threading.Event()
        self._node = rclpy.create_node("trajectory_controller")
        self._publisher = self._node.create_publisher(JointState, JOINT_STATES, 10)
        self._server = ActionServer(
            self._node,
            FollowJointTrajectory,
            ACTION,
            self._execute,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )
        self._executor = MultiThreadedExecutor(num_threads=3)
        self._executor.add_node(self._node)
        self._threads = [threading.Thread(target=target) for target in (self._executor.spin, self._publish)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._closing.set()
        self._executor.shutdown()
        for thread in self._threads:
            thread.join()
        with suppress(ValueError):  # rclpy trips over a goal that was cut off
            self._server.destroy()
        self._node.destroy_node()

    def _publish(self) -> None:
        while not self._closing.wait(0.01):
            sample = self._plant.read()
            # Not in the driver's order, and with a joint that is none of its own.
            message = JointState(name=["rail", *reversed(self._plant.joint_names)])
            message.position = [0.0, *sample.position[::-1].tolist()]
            message.velocity = [0.0, *sample.velocity[::-1].tolist()]
            self._publisher.publish(message)

    def _execute(self, handle) -> FollowJointTrajectory.Result:
        times, positions = trajectory_arrays(handle.request.trajectory)
        assert tuple(handle.request.trajectory.joint_names) == self._plant.joint_names
        if times[0] > 0.0:
            times = np.concatenate([[0.0], times])
            positions = np.vstack([self._plant.read().position, positions])
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < times[-1] + 0.1 and not self._closing.is_set():
            if handle.is_cancel_requested:
                self._plant.hold()
                handle.canceled()
                return FollowJointTrajectory.Result()
            self._plant.command([np.interp(elapsed, times, column) for column in positions.T])
            time.sleep(0.005)
        if self._closing.is_set():
            self._plant.hold()
            handle.abort()
        else:
            handle.succeed()
        return FollowJointTrajectory.Result()
