"""A UR5 and a LEAP hand as kinematic plants, moved by trajectories: the physics behind the executor's tests."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import numpy as np
from dexgrasp_control.execution import End, Outcome
from dexgrasp_control.phases import Phase, PhaseName, Trajectory
from dexgrasp_sim.plant import KinematicPlant
from numpy.typing import NDArray

from dexgrasp_description import load_arm, load_cell, load_hand

CELL = load_cell()
ARM, HAND = load_arm(CELL.arm), load_hand(CELL.hand)
HOME = CELL.home
CLOSED = HAND.home + 0.4


class PlantMotion:
    """Streams one trajectory to a plant, every 2 ms, on a thread of its own."""

    def __init__(self, plant: KinematicPlant, trajectory: Trajectory) -> None:
        self.outcome: Future[Outcome] = Future()
        self._plant = plant
        self._trajectory = trajectory
        self._ended: Outcome | None = None
        threading.Thread(target=self._stream, daemon=True).start()

    def cancel(self) -> None:
        self.end(End.CANCELLED)

    def end(self, end: End, message: str = "") -> None:
        self._ended = self._ended or Outcome(end, message)

    def _stream(self) -> None:
        begin, trajectory = time.monotonic(), self._trajectory
        while self._ended is None:
            now = time.monotonic() - begin
            self._plant.command([np.interp(now, trajectory.times, column) for column in trajectory.positions.T])
            if now > trajectory.duration:
                self.end(End.SUCCEEDED)
            time.sleep(0.002)
        self.outcome.set_result(self._ended)


class PlantMover:
    """An arm or a hand. A stopped arm stays where it is; a stopped hand goes on pressing towards its last command."""

    def __init__(self, plant: KinematicPlant, *, keeps_command: bool) -> None:
        self.plant = plant
        self.gone = False
        self.motion: PlantMotion | None = None
        self.stopped_at: float | None = None
        self._keeps_command = keeps_command

    def start(self, trajectory: Trajectory) -> PlantMotion:
        self.motion = PlantMotion(self.plant, trajectory)
        if self.gone:
            self.motion.end(End.UNAVAILABLE, "nobody there")
        return self.motion

    def stop(self) -> None:
        self.stopped_at = time.monotonic()
        if self.motion is not None:
            self.motion.cancel()
        if not self._keeps_command:
            self.plant.hold()

    @property
    def position(self) -> NDArray[np.float64]:
        return self.plant.read().position


def arm_and_hand() -> tuple[PlantMover, PlantMover]:
    arm = KinematicPlant(ARM.joint_names, HOME, time_constant=0.005)
    hand = KinematicPlant(HAND.joint_names, HAND.home, time_constant=0.005)
    return PlantMover(arm, keeps_command=False), PlantMover(hand, keeps_command=True)


def line(names: tuple[str, ...], start: NDArray[np.float64], goal: NDArray[np.float64], duration: float) -> Trajectory:
    u = np.linspace(0.0, 1.0, 11)[:, None]
    return Trajectory(names, duration * u[:, 0], start + u * (goal - start))


def pick(duration: float = 0.1) -> list[Phase]:
    """A whole pick, each phase of `duration` [s]."""
    above, at, up, over_bin = (HOME + np.array(offset) for offset in _WAYPOINTS)

    def arm(start, goal):
        return line(ARM.joint_names, start, goal, duration)

    def hand(start, goal):
        return line(HAND.joint_names, start, goal, duration)

    opened, grasp, squeeze = HAND.home - 0.1, HAND.home + 0.2, CLOSED
    return [
        Phase(PhaseName.PREGRASP, arm(HOME, above), hand(HAND.home, opened)),
        Phase(PhaseName.COVER, arm(above, at)),
        Phase(PhaseName.GRASP, hand=hand(opened, grasp)),
        Phase(PhaseName.SQUEEZE, hand=hand(grasp, squeeze)),
        Phase(PhaseName.LIFT, arm(at, up)),
        Phase(PhaseName.MOVE, arm(up, over_bin)),
        Phase(PhaseName.RELEASE, hand=hand(squeeze, opened)),
        Phase(PhaseName.HOME, arm(over_bin, HOME), hand(opened, HAND.home)),
    ]


_WAYPOINTS = (
    (0.1, 0.2, 0.1, 0.0, 0.0, 0.1),
    (0.1, 0.3, 0.15, 0.0, 0.0, 0.1),
    (0.1, 0.1, 0.1, 0.0, 0.0, 0.1),
    (-0.3, 0.1, 0.1, 0.0, 0.0, 0.0),
)
