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
    },
    default="leap",
)
"""Factories take the hand's model (`HandModel`) and a port, and return a `driver.Driver`."""
