"""Rows of every scene or object, one file each: made by tasks that are spread over processes, kept for the next run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from dexgrasp_training.errors import DatasetError
from dexgrasp_training.storage import read_json, remember
from dexgrasp_training.work import Task, Workers, spread


def tested(
    report: Path,
    names: Sequence[str],
    asked: dict[str, Any],
    task: Callable[[str, Path], Task],
    things: str,
    workers: Workers,
    console: Console,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """What came of each, in the order of the names, and why some could not be tested.

    Args:
        report: File beside whose place the rows are kept, in `<report>.rows`.
        names: Of what is to be tested.
        asked: What decides the rows.
        task: A name and the file to write to what is to be done.
        things: What they are called.
        workers: Who does it.
        console: Shows progress.

    Raises:
        DatasetError: A file is damaged or cannot be written, or nothing could be tested.
        SettingsError: The rows that are there are of other settings.
        TrainingError: The workers cannot be started, or one died.
    """
    folder = report.with_name(f"{report.stem}.rows")
    remember(folder, asked)
    paths = {name: folder / f"{name}.json" for name in names}
    tasks = [task(name, path) for name, path in paths.items() if not path.is_file()]
    if len(tasks) < len(names):
        console.print(f"{len(names) - len(tasks)} of {len(names)} {things} are known from before.")
    outcomes = spread(tasks, workers, things, console) if tasks else []
    found = [read_json(path) for path in paths.values() if path.is_file()]
    failures = {outcome.task: outcome.error for outcome in outcomes if outcome.error}
    if not found:
        raise DatasetError(f"None of the {len(names)} {things} could be tested: {next(iter(failures.values()))}")
    return found, failures
