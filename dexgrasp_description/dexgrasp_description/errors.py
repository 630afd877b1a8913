"""Errors of the robot and workcell descriptions."""

from __future__ import annotations

from dexgrasp_common.errors import DexgraspError


class DescriptionError(DexgraspError):
    """A robot, workcell or grasp set that cannot be what was asked for."""


class UnknownNameError(DescriptionError):
    """There is no robot or workcell of that name; the message lists those that exist."""


class MalformedDescriptionError(DescriptionError):
    """A description file, or an array handed in, has the wrong keys, shapes or values."""
