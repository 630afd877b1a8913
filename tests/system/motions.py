"""A pick in free air: every phase of a grasp as a small motion around home, so that tests need no grasp."""

from __future__ import annotations

import numpy as np
from dexgrasp_common.nodes.messages import trajectory_msg

from dexgrasp_description import load_arm, load_cell, load_hand
from dexgrasp_msgs.action import ExecuteGrasp
from dexgrasp_msgs.msg import GraspPhase, GraspTrajectory

CELL = load_cell("ur5_leap")
ARM, HAND = load_arm(CELL.arm), load_hand(CELL.hand)
PHASES = {
    name: getattr(GraspPhase, name)
    for name in ("PREGRASP", "COVER", "GRASP", "SQUEEZE", "LIFT", "MOVE", "RELEASE", "HOME")
}
SWING = 0.12  # of every wrist joint between two phases [rad]
CURL = 0.2  # of every finger's forward joint [rad]


def air_pick(seconds: float) -> ExecuteGrasp.Goal:
    """All eight phases, each `seconds` long, from home to home: the wrist swings to and fro, the fingers curl."""
    phases = []
    for index, phase in enumerate(PHASES.values()):
        here, there = (CELL.home, _swung()) if index % 2 == 0 else (_swung(), CELL.home)
        open_, curled = (HAND.home, _curled()) if index % 2 == 0 else (_curled(), HAND.home)
        phases.append(
            GraspPhase(
                phase=phase,
                arm=_motion(ARM.joint_names, here, there, seconds),
                hand=_motion(HAND.joint_names, open_, curled, seconds),
            )
        )
    return ExecuteGrasp.Goal(trajectory=GraspTrajectory(phases=phases))


def home() -> ExecuteGrasp.Goal:
    """Go home from wherever an interruption left the robot."""
    return ExecuteGrasp.Goal(trajectory=GraspTrajectory(phases=[GraspPhase(phase=GraspPhase.HOME)]))


def _swung() -> np.ndarray:
    return CELL.home + np.array([0.0, 0.0, 0.0, SWING, SWING, SWING])


def _curled() -> np.ndarray:
    curled = HAND.home.copy()
    curled[[1, 5, 9]] += CURL
    return curled


def _motion(names: tuple[str, ...], start: np.ndarray, end: np.ndarray, seconds: float):
    """A smooth motion (minimum jerk) with ten points a second."""
    s = np.linspace(0.0, 1.0, max(3, round(10 * seconds)))
    blend = (10 * s**3 - 15 * s**4 + 6 * s**5)[:, None]
    rate = (30 * s**2 - 60 * s**3 + 30 * s**4)[:, None] / seconds
    return trajectory_msg(names, s * seconds, start + blend * (end - start), rate * (end - start))
