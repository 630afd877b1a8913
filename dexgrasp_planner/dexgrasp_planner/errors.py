"""Errors of the planner, each with the `error_code` of the interface that reports it."""

from __future__ import annotations

from typing import ClassVar

from dexgrasp_common.errors import DexgraspError


class PlannerError(DexgraspError):
    """Any error that the planner raises on purpose."""


class MotionError(PlannerError):
    """No motion was planned. Codes are those of PlanGrasp.srv."""

    code: ClassVar[int] = 299


class InvalidGraspError(MotionError):
    """The grasp does not describe a pose and postures of the cell's hand."""

    code: ClassVar[int] = 200


class GraspFrameError(MotionError):
    """The grasp is not given in the frame `world`."""

    code: ClassVar[int] = 201


class NoStateError(MotionError):
    """No start was given, and no joint states have come in."""

    code: ClassVar[int] = 202


class NoSceneCloudError(MotionError):
    """No point cloud of the scene has come in."""

    code: ClassVar[int] = 203


class StartInCollisionError(MotionError):
    """The robot already touches something where it stands."""

    code: ClassVar[int] = 204


class UnreachableError(MotionError):
    """No arm configuration puts the palm where the grasp needs it."""

    code: ClassVar[int] = 205


class GraspInCollisionError(MotionError):
    """The arm reaches the grasp, but only by touching something that is not the target."""

    code: ClassVar[int] = 206


class NoPathError(MotionError):
    """Both ends are free, but no way between them was found."""

    code: ClassVar[int] = 207


class PlanTimeoutError(MotionError):
    """The time budget of one grasp ran out."""

    code: ClassVar[int] = 208


class MotionPlannerUnavailableError(MotionError):
    """The chosen motion planner cannot run here."""

    code: ClassVar[int] = 209
