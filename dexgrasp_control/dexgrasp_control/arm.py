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
    },
    default="ur",
)
"""Factories take the arm's model (`ArmModel`) and an address, and return a `driver.Driver`."""
