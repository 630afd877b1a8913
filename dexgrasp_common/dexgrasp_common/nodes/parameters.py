"""ROS parameters declared from a config dataclass, so that names, defaults and ranges are written once."""

from __future__ import annotations

from dataclasses import fields
from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from dexgrasp_common.errors import DexgraspError

Config = TypeVar("Config")


class ParameterError(DexgraspError):
    """A parameter has the wrong type or lies outside its range."""


def declare(node: Node, config: type[Config]) -> Config:
    """Declare every field of a config dataclass as a parameter of the node and return the values set by the user.

    Raises:
        ParameterError: A value has the wrong type or lies outside its range.
    """
    values = {}
    for spec in fields(config):  # type: ignore[arg-type]
        descriptor = ParameterDescriptor(description=spec.metadata.get("help", ""), read_only=True)
        bounds = spec.metadata.get("range")
        default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        if bounds is not None and isinstance(default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(bounds[0]), to_value=float(bounds[1]))
            ]
        elif bounds is not None:
            descriptor.integer_range = [IntegerRange(from_value=int(bounds[0]), to_value=int(bounds[1]))]
        try:
            value = node.declare_parameter(spec.name, default, descriptor).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            limits = "" if bounds is None else f" between {bounds[0]} and {bounds[1]}"
            raise ParameterError(
                f"Parameter {spec.name!r} of {node.get_name()} must be a {type(default).__name__}{limits}: {error}"
            ) from error
        values[spec.name] = tuple(value) if isinstance(spec.default, tuple) else value
    return config(**values)
