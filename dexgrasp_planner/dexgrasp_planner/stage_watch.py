"""Where a generation is, how long its stages took, and whether it is to go on."""

from __future__ import annotations

import time
from collections.abc import Callable

from dexgrasp_planner.generators import GenerationCancelledError, InvalidGenerateGoalError, Stage


def watched(max_grasps: int, progress: Callable[[Stage], None], cancelled: Callable[[], bool]) -> StageWatch:
    """The watch of a generation that is to give at most so many grasps.

    Raises:
        InvalidGenerateGoalError: These are none.
    """
    if max_grasps < 1:
        raise InvalidGenerateGoalError(f"max_grasps must be at least 1; got {max_grasps}.")
    return StageWatch(progress, cancelled)


class StageWatch:
    """Tells the caller where the generation is, asks whether to go on, and keeps the times.

    Attributes:
        milliseconds: Wall time of each finished stage, by its lower-case name.
    """

    def __init__(self, progress: Callable[[Stage], None], cancelled: Callable[[], bool]) -> None:
        self._progress, self._cancelled = progress, cancelled
        self._stage: Stage | None = None
        self._since = 0.0
        self.milliseconds: dict[str, float] = {}

    def enter(self, stage: Stage) -> None:
        """End the stage before and begin this one.

        Raises:
            GenerationCancelledError: The caller does not want it any more.
        """
        self.finish()
        self.check()
        self._stage, self._since = stage, time.perf_counter()
        self._progress(stage)

    def finish(self) -> None:
        """End the last stage."""
        if self._stage is not None:
            self.milliseconds[self._stage.name.lower()] = 1e3 * (time.perf_counter() - self._since)

    def check(self) -> None:
        """Go on, or not.

        Raises:
            GenerationCancelledError: The caller does not want it any more.
        """
        if self._cancelled():
            raise GenerationCancelledError("The generation was cancelled.")
