"""The arms that can be driven."""

from dexgrasp_common.registry import Backend, Registry

ARMS = Registry(
    "arm",
    {
        "ur": Backend(
            "dexgrasp_control.ur:UrArm",
            requires=("rtde_control", "rtde_receive"),
            install="pip install ur_rtde==1.6.5",
            summary="Universal Robots CB3 and e-Series through RTDE",
        ),
        "panda": Backend(
            "dexgrasp_control.panda:PandaArm",
            requires=("panda_py",),
            install="pip install panda-python==1.1.1",
            summary="Franka Panda through panda-python",
        ),
        "trajectory": Backend(
            "dexgrasp_control.nodes.trajectory:TrajectoryDriver",
            requires=("rclpy", "control_msgs"),
            install="make build and . ./env.sh, or source an installed ROS 2",
            summary="any running FollowJointTrajectory controller",
        ),
    },
    default="ur",
)
"""Factories take the arm's model (`ArmModel`), an address and their `Config`, and return a `driver.Driver`."""
