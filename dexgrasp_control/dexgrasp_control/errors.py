"""What can go wrong when the robot moves, by the numbers that the interfaces give it."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from dexgrasp_common.errors import DexgraspError


class DriverFault(IntEnum):
    """`error_code` of a FollowJointTrajectory result, beyond the codes that control_msgs names.

    Both drivers use them, so that a supervisor tells a robot that is gone from a trajectory that went wrong.
    """

    LOST = -101  # no answer from the controller or the hand
    PROTECTIVE_STOP = -102  # the arm's safety system stopped it
    OVERLOAD = -103  # a motor of the hand over its current or temperature limit, or in hardware error
    STOPPED = -104  # somebody called the stop service


class ControlError(DexgraspError):
    """The root of this package's errors."""


class ExecutionError(ControlError):
    """A grasp was not carried out; codes of ExecuteGrasp."""

    code: ClassVar[int] = 399


class InvalidGoal(ExecutionError):
    code: ClassVar[int] = 300


class PlanningFailed(ExecutionError):
    code: ClassVar[int] = 301


class DriverUnavailable(ExecutionError):
    code: ClassVar[int] = 302


class ArmRejected(ExecutionError):
    code: ClassVar[int] = 303


class HandRejected(ExecutionError):
    code: ClassVar[int] = 304


class ArmFailed(ExecutionError):
    code: ClassVar[int] = 305


class HandFailed(ExecutionError):
    code: ClassVar[int] = 306


class ArmLost(ExecutionError):
    code: ClassVar[int] = 307


class HandLost(ExecutionError):
    code: ClassVar[int] = 308


class ProtectiveStop(ExecutionError):
    code: ClassVar[int] = 309


class HandOverload(ExecutionError):
    code: ClassVar[int] = 310


class ExecutionTimeout(ExecutionError):
    code: ClassVar[int] = 311


class ExecutionCancelled(ExecutionError):
    code: ClassVar[int] = 312


class ClearingError(ControlError):
    """The table was not cleared; codes of ClearTable."""

    code: ClassVar[int] = 499


class InvalidClearingGoal(ClearingError):
    code: ClassVar[int] = 400


class NoCamera(ClearingError):
    code: ClassVar[int] = 401


class GeneratorUnavailable(ClearingError):
    code: ClassVar[int] = 402


class PlannerUnavailable(ClearingError):
    code: ClassVar[int] = 403


class ExecutorUnavailable(ClearingError):
    code: ClassVar[int] = 404


class ConsecutiveFailures(ClearingError):
    code: ClassVar[int] = 405


class AttemptsExhausted(ClearingError):
    code: ClassVar[int] = 406


class RobotFault(ClearingError):
    code: ClassVar[int] = 407


class ClearingCancelled(ClearingError):
    code: ClassVar[int] = 408
