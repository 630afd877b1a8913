"""Configuration as frozen dataclasses whose fields carry their own description and range."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def param(default: Any, help: str, *, range: tuple[float, float] | None = None) -> Any:
    """A field of a config dataclass that a node can declare as a ROS parameter.

    Args:
        default: Value used where the user sets none; its type is the parameter's type.
        help: One sentence with the unit in brackets, shown by `ros2 param describe`.
        range: Lowest and highest allowed value of a number.
    """
    return field(default=default, metadata={"help": help, "range": range})
