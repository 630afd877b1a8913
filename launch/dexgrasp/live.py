"""`dexgrasp generate` and `dexgrasp clear-table` on a running bringup."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable
from typing import Any

from dexgrasp_common.nodes.clients import call_action
from dexgrasp_common.report import versions, write_report
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dexgrasp.session import Session, SessionError, cancel_on_signals
from dexgrasp_msgs.action import ClearTable, GenerateGrasp

STAGES = {
    ClearTable.Feedback.LOOK: "looking",
    ClearTable.Feedback.GENERATE: "generating grasps",
    ClearTable.Feedback.PLAN: "planning",
    ClearTable.Feedback.EXECUTE: "executing",
    ClearTable.Feedback.JUDGE: "judging",
}


def run_generate(parsed: argparse.Namespace) -> int:
    """One GenerateGrasp goal on the latest cloud."""
    with Session() as session, cancel_on_signals() as cancelled:
        view = _subscribe_view(session) if parsed.picture else None
        result = generate(session, parsed.generator, parsed.max_grasps, parsed.seed, parsed.timeout, cancelled)
        if result.error_code:
            raise SessionError(f"error {result.error_code}: {result.error_msg}")
        print_grasps(result)
        if parsed.report:
            write_report(parsed.report, generate_report(result, parsed.seed))
        if view is not None:
            view.draw(parsed.picture, result.grasps)
    return 0


def run_clear_table(parsed: argparse.Namespace) -> int:
    """One ClearTable goal; exit status 0 means that the table is empty."""
    with Session() as session, cancel_on_signals() as cancelled:
        result = clear_table(session, parsed, cancelled)
    figures = clear_report(result)
    print_clear(figures)
    if parsed.report:
        write_report(parsed.report, {"seed": parsed.seed, **figures, "versions": versions()})
    if result.error_code:
        print(f"dexgrasp clear-table: error {result.error_code}: {result.error_msg}", file=sys.stderr)
        return 1
    return 0


def generate(
    session: Session, generator: str, max_grasps: int, seed: int, timeout: float, cancelled: threading.Event
) -> GenerateGrasp.Result:
    """Result of one GenerateGrasp goal on the latest cloud, whether it succeeded or not."""
    goal = GenerateGrasp.Goal(generator=generator, max_grasps=max_grasps, seed=seed)
    client = session.action(GenerateGrasp, "generate_grasp")
    return call_action(client, goal, timeout, cancelled=cancelled.is_set)


def clear_table(session: Session, options: argparse.Namespace, cancelled: threading.Event) -> ClearTable.Result:
    """Result of one ClearTable goal, with its progress shown; a set `cancelled` cancels the goal.

    Args:
        options: generator (where it is offered), seed, max_attempts, max_consecutive_failures, timeout [s].
    """
    goal = ClearTable.Goal(
        generator=getattr(options, "generator", ""),
        max_attempts=options.max_attempts,
        max_consecutive_failures=options.max_consecutive_failures,
        seed=options.seed,
    )
    client = session.action(ClearTable, "clear_table")
    with _Progress() as progress:
        return call_action(
            client, goal, options.timeout, on_feedback=progress, cancelled=cancelled.is_set, cancel_deadline=20.0
        )


class _Progress:
    """Shows feedback: a live line on a terminal, one line a change elsewhere."""

    def __init__(self) -> None:
        self._console = Console()
        self._last = ""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._progress.add_task("starting", total=None)

    def __enter__(self) -> Callable[[Any], None]:
        self._progress.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _show(self, feedback: ClearTable.Feedback) -> None:
        stage = STAGES.get(feedback.stage, "working")
        text = f"{stage}; {feedback.successes} of {feedback.attempts} attempts succeeded"
        self._progress.update(self._task, description=text)
        if text != self._last and not self._console.is_terminal:
            print(text, flush=True)
        self._last = text


def clear_report(result: ClearTable.Result) -> dict[str, Any]:
    """The result's figures under the keys of the demo's report; `error_counts` is by error code."""
    return {
        "attempts": int(result.attempts),
        "successes": int(result.successes),
        "cleared": bool(result.cleared),
        "consecutive_failures": int(result.consecutive_failures),
        "error_counts": {str(item.error_code): int(item.count) for item in result.error_counts},
        "error_messages": {str(item.error_code): item.error_msg for item in result.error_counts},
        "error_code": int(result.error_code),
        "error_msg": result.error_msg,
        "generate_ms": [round(value, 2) for value in result.generate_ms],
        "plan_ms": [round(value, 2) for value in result.plan_ms],
        "cycle_s": [round(value, 3) for value in result.cycle_s],
    }


def print_clear(figures: dict[str, Any]) -> None:
    """The outcome in words."""
    print(f"{figures['successes']} of {figures['attempts']} attempts succeeded; ", end="")
    print("the table is empty." if figures["cleared"] else f"stopped: {figures['error_msg']}")
    for code, count in figures["error_counts"].items():
        print(f"  {count} x error {code}: {figures['error_messages'][code]}")


def generate_report(result: GenerateGrasp.Result, seed: int) -> dict[str, Any]:
    """Figures of one GenerateGrasp result."""
    return {
        "seed": seed,
        "grasps": len(result.grasps.grasps),
        "candidates": int(result.candidates),
        "scores": [round(grasp.score, 5) for grasp in result.grasps.grasps],
        "stage_ms": {stage.stage: round(stage.milliseconds, 2) for stage in result.stage_times},
        "versions": versions(),
    }


def print_grasps(result: GenerateGrasp.Result) -> None:
    """How many grasps, and the best."""
    total = sum(stage.milliseconds for stage in result.stage_times)
    count = len(result.grasps.grasps)
    print(f"{count} grasps of {result.candidates} candidates in {total:.0f} ms.")
    if count:
        best = result.grasps.grasps[0]
        p = best.palm_pose.position
        print(f"Best: score {best.score:.3f}, palm at x {p.x:.3f} y {p.y:.3f} z {p.z:.3f} m in {best.header.frame_id}.")


def _subscribe_view(session: Session) -> Any:
    from dexgrasp.view import View

    return View(session)
