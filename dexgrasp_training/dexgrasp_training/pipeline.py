"""The stages in order: what each may start from, what it leaves, and how it goes on after it was stopped."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from typing import Any

from dexgrasp_common.report import PART, machine, versions
from rich.console import Console

from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.settings import Settings
from dexgrasp_training.stages import filter as filtering
from dexgrasp_training.stages import grasps, labels, objects, scenes, views
from dexgrasp_training.work import Outcome, Task, Workers, spread


@dataclass(frozen=True)
class Run:
    """One command at work on a dataset.

    Attributes:
        dataset: The dataset; this run alone writes to it.
        settings: What to make.
        meshes: Folders of meshes to import beside the procedural objects, with their options.
        workers: Who does the work.
        console: Where progress is shown.
    """

    dataset: Dataset
    settings: Settings
    meshes: tuple[objects.MeshFolder, ...]
    workers: Workers
    console: Console


def run_objects(run: Run) -> None:
    """Procedural objects, and those of the mesh folders."""
    tasks = objects.tasks(run.dataset, run.settings, run.meshes)
    _do(run, "objects", tasks, {"seed": run.settings.seed, "test_share": run.settings.objects.test_share})


def run_grasps(run: Run) -> bool:
    """The next chunks of candidates; returns whether there are any to test."""
    grasps.check(run.settings)
    filtering.check(run.settings)
    chunks = grasps.plan(run.dataset, run.settings)
    wanted = run.settings.grasps
    fixed = {"seed": run.settings.seed, "attempts": dict(wanted.attempts), "resting": dict(wanted.resting)}
    _do(run, "grasps", grasps.tasks(run.dataset, chunks, run.settings), fixed)
    # Where every task failed, planning again would plan the same.
    return any(run.dataset.candidates_path(*astuple(chunk)).is_file() for chunk in chunks)


def run_filter(run: Run) -> bool:
    """Test what is not tested, and gather each object's grasps; returns whether anything was tested."""
    filtering.check(run.settings)
    outcomes = _do(run, "filter", filtering.tasks(run.dataset, run.settings), {"tester": run.settings.filter.tester})
    hand = run.settings.grasps.hand
    counts = {name: filtering.gather(run.dataset, hand, name) for name in run.dataset.objects()}
    _note(run, "filter", {"valid": sum(counts.values()), "objects_without": [k for k, n in counts.items() if not n]})
    return any(not outcome.error for outcome in outcomes)


def run_scenes(run: Run) -> None:
    """Arrangements, then which grasps are clear in each."""
    fixed = {"seed": run.settings.seed, "test_share": run.settings.scenes.test_share}
    for tasks in scenes.rounds(run.dataset, run.settings):
        _do(run, "scenes", tasks, fixed)


def run_views(run: Run) -> None:
    """Depth and object ids."""
    fixed = {"seed": run.settings.seed, "count": run.settings.views.count, "noise": run.settings.views.noise}
    _do(run, "views", views.tasks(run.dataset, run.settings), fixed)


def run_labels(run: Run) -> None:
    """Graspness of every view."""
    fixed = {"variant": run.settings.labels.variant, "hand": run.settings.grasps.hand}
    _do(run, "labels", labels.tasks(run.dataset, run.settings), fixed)


def import_meshes(run: Run) -> None:
    """Objects of the mesh folders alone."""
    none = replace(run.settings, objects=replace(run.settings.objects, procedural=0))
    run_objects(replace(run, settings=none))


def run_elsewhere(run: Run, stage: str) -> Callable[[Sequence[Task], str], list[Outcome]]:
    """How an importer or exporter gets its tasks done: spread, and recorded under the name of its stage."""
    return lambda tasks, title: _do(run, stage, tasks, {}, title)


def run_all(run: Run) -> None:
    """Every stage; grasps and filter in turn until each object has what was asked for, or no more is tried."""
    run_objects(run)
    # A round in which every task fails would be planned again.
    while run_grasps(run) and run_filter(run):
        pass
    run_filter(run)
    run_scenes(run)
    run_views(run)
    run_labels(run)


STAGES: Mapping[str, Callable[[Run], object]] = {
    "objects": run_objects,
    "grasps": run_grasps,
    "filter": run_filter,
    "scenes": run_scenes,
    "views": run_views,
    "labels": run_labels,
    "make": run_all,
}


@contextmanager
def sole_writer(dataset: Dataset) -> Iterator[None]:
    """Keep every other run out of the dataset, and clear away what a killed one left half-written.

    Raises:
        DatasetError: Another run is at work on it.
    """
    with (dataset.root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetError(f"Another run is at work on {dataset.root}; wait for it, or end it.") from error
        for left in dataset.root.rglob(f".*{PART}"):
            left.unlink(missing_ok=True)
        yield


def _do(run: Run, stage: str, tasks: Sequence[Task], fixed: Mapping[str, Any], title: str = "") -> list[Outcome]:
    """Run the tasks of a stage and record it; `fixed` are the settings that its finished files were made with."""
    before = run.dataset.manifest()["stages"].get(stage, {})
    changed = {key: old for key, old in before.get("fixed", {}).items() if fixed.get(key) != old}
    if changed:
        raise SettingsError(
            f"The {stage} of {run.dataset.root} were made with {changed}, and these settings say "
            f"{ {key: fixed.get(key) for key in changed} }. Use the same, or make a new dataset."
        )
    entry = {
        "fixed": dict(fixed),
        "settings": run.settings.as_dict(),
        "versions": versions(),
        "machine": machine(),
        "tasks": before.get("tasks", 0),
        "seconds": before.get("seconds", 0.0),
        "failures": before.get("failures", {}),
    }
    run.dataset.record(stage, {**before, **entry})
    if not tasks:
        return []
    start = time.monotonic()
    outcomes = spread(tasks, run.workers, title or stage, run.console)
    failures = {outcome.task: outcome.error for outcome in outcomes if outcome.error}
    entry["tasks"] += len(outcomes) - len(failures)
    entry["seconds"] = round(entry["seconds"] + time.monotonic() - start, 1)
    made_up = {outcome.task for outcome in outcomes}  # what failed in an earlier run counts by what came of it now
    entry["failures"] = {task: error for task, error in entry["failures"].items() if task not in made_up} | failures
    run.dataset.record(stage, {**before, **entry})
    return outcomes


def _note(run: Run, stage: str, facts: Mapping[str, Any]) -> None:
    run.dataset.record(stage, {**run.dataset.manifest()["stages"].get(stage, {}), **facts})
