"""Tasks spread over processes: the same files whoever does the work, failures reported, the rest done."""

from __future__ import annotations

import importlib
import io
import os
from pathlib import Path
from typing import Any

import pytest
from dexgrasp_training.errors import DatasetError, TrainingError
from dexgrasp_training.work import Task, Workers, spread
from joblib.externals.loky import get_reusable_executor
from rich.console import Console


@pytest.fixture(autouse=True)
def tasks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are other processes, which find the tasks' functions by the name of their module."""
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here + os.pathsep + os.environ.get("PYTHONPATH", ""))
    get_reusable_executor().shutdown(wait=True)


def _run(function: str, arguments: list[tuple[Any, ...]], workers: Workers) -> tuple[list[Any], str]:
    console = Console(file=io.StringIO(), width=120)
    call = getattr(importlib.import_module("work_tasks"), function)
    tasks = [Task(f"task {i}", call, row) for i, row in enumerate(arguments)]
    outcomes = spread(tasks, workers, "squares", console)
    assert isinstance(console.file, io.StringIO)
    return outcomes, console.file.getvalue()


@pytest.mark.parametrize(
    "workers", [Workers(jobs=1), Workers(jobs=2), pytest.param(Workers("ray", 2), marks=pytest.mark.slow)]
)
def test_outcomes_come_in_order_and_a_failure_stops_nothing(tmp_path: Path, workers: Workers) -> None:
    outcomes, shown = _run("square", [(str(tmp_path), i) for i in range(20)], workers)
    assert [outcome.summary.get("square") for outcome in outcomes] == [
        i * i if i not in (13, 14) else None for i in range(20)
    ]
    assert outcomes[13].error == "thirteen is no mesh"
    assert outcomes[14].error.startswith("ZeroDivisionError in work_tasks.py:")
    assert "task 13: thirteen is no mesh" in shown
    assert len(list(tmp_path.glob("*.npz"))) == 18


def test_what_would_stop_every_task_stops_the_run() -> None:
    with pytest.raises(DatasetError, match="disk is full"):
        _run("no_disk", [(i,) for i in range(4)], Workers(jobs=2))


def test_a_worker_that_is_killed_is_said() -> None:
    with pytest.raises(TrainingError, match="fewer workers"):
        _run("die", [(i,) for i in range(4)], Workers(jobs=2))


def test_no_cluster_is_a_clear_error() -> None:
    with pytest.raises(TrainingError, match="No Ray cluster answers at 127.0.0.1:1"):
        _run("square", [("x", 1)], Workers("ray", 1, "127.0.0.1:1"))


def test_nothing_to_do_is_fine() -> None:
    assert _run("square", [], Workers(jobs=2))[0] == []
