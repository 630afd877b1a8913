"""The hands that can be driven."""

from dexgrasp_common.registry import Backend, Registry

HANDS = Registry(
    "hand",
    {
        "leap": Backend(
            "dexgrasp_control.leap:LeapHand",
            requires=("dynamixel_sdk",),
            install="pip install dynamixel-sdk==4.1.0",
            summary="LEAP hand through the Dynamixel SDK",
        ),
        "leap_hand_utils": Backend(
            "dexgrasp_control.leap_hand_utils:LeapUtilsHand",
            requires=("leap_hand_utils", "dynamixel_sdk"),
            install="pip install dynamixel-sdk==4.1.0; git clone https://github.com/leap-hand/LEAP_Hand_API "
            "and add its folder `python` to PYTHONPATH",
            summary="LEAP hand through its makers' leap_hand_utils",
        ),
        "panda_gripper": Backend(
            "dexgrasp_control.panda_gripper:PandaGripper",
            requires=("panda_py",),
            install="pip install panda-python==1.1.1",
            summary="Franka Panda's gripper through panda-python",
        ),
        "trajectory": Backend(
            "dexgrasp_control.nodes.trajectory:TrajectoryDriver",
            requires=("rclpy", "control_msgs"),
            install="make build and . ./env.sh, or source an installed ROS 2",
            summary="any running FollowJointTrajectory controller",
        ),
    },
    default="leap",
)
"""Factories take the hand's model (`HandModel`), a port or address and their `Config`, and return a `Driver`."""
