"""`dexgrasp-train bench`: how fast this machine makes grasps, scenes, views and labels, and how good the grasps are.

Every method is given the same ten objects. Processes are started, compiled code loaded and tables made before the clock
starts: a real run lasts for hours.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_common.report import commit, machine, versions
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from dexgrasp_training.dataset import Dataset
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.settings import Settings, from_dict
from dexgrasp_training.stages import filter as filtering
from dexgrasp_training.stages import grasps, labels, objects, scenes, views
from dexgrasp_training.stages.grasps import Chunk
from dexgrasp_training.synthesis.method import GRASP_METHODS
from dexgrasp_training.work import Task, Workers, spread

PRIMITIVES = ("can", "box", "ball", "mug", "bottle", "torus", "cup", "pen", "l_shape", "superquadric")
SCANNED = (
    "apple", "banana", "camera", "coffeemug", "hammer", "mouse", "rubberduck", "stanfordbunny", "teapot", "waterbottle",
)  # fmt: skip
# What the suite promises on two cores.
VALID_PER_SECOND = {
    "primitives": {"closing": 15.0, "contact_field": 15.0, "force_closure": 2.0, "wrench_space": 2.0},
    "scanned": {"closing": 8.0, "contact_field": 8.0},
}
TESTS_PER_SECOND, TWO_CORE_GAIN, VIEWS_PER_SECOND = 10.0, 1.8, 25.0


SETTINGS = {
    "objects": {"procedural": len(PRIMITIVES), "families": list(PRIMITIVES), "test_share": 0.0},
    "scenes": {"dense": 6, "random": 6, "loose": 6, "test_share": 0.0},
    "views": {"count": 16},
}


def run(meshes: Path | None, jobs: int, console: Console, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Measure; see the module.

    Args:
        meshes: Folder with the scanned meshes; None: primitives only.
        jobs: Processes at once; 0: one a core.
        content: Settings to measure with; None: `SETTINGS`.

    Returns:
        The figures, as they stand in the report.
    """
    settings = from_dict(SETTINGS if content is None else content)
    workers = Workers(jobs=jobs)
    with tempfile.TemporaryDirectory(prefix="dexgrasp_bench_") as folder:
        dataset = Dataset.open(Path(folder) / "dataset", create=True)
        folders = (objects.MeshFolder(meshes),) if meshes else ()
        wanted = [
            task for task in objects.tasks(dataset, settings, folders) if task.name.rpartition(".")[0] in ("", *SCANNED)
        ]
        figures: dict[str, Any] = {"objects_per_second": len(wanted) / _clock(wanted, workers, "objects", console)}
        sets = {"primitives": [name for name in dataset.objects() if name not in SCANNED]}
        if meshes:
            sets["scanned"] = [name for name in dataset.objects() if name in SCANNED]
        figures["methods"] = {
            kind: {method: _method(dataset, settings, names, method, workers, console) for method, _ in GRASP_METHODS}
            for kind, names in sets.items()
        }
        figures["filter"] = _filter(dataset, settings, sets["primitives"], workers, console)
        for name in dataset.objects():
            filtering.gather(dataset, settings.grasps.hand, name)
        start, count = time.perf_counter(), 0
        for tasks in scenes.rounds(dataset, settings):
            count += sum(not outcome.error for outcome in spread(tasks, workers, "scenes", console))
        figures["scenes_per_minute"] = 60 * len(dataset.scenes()) / (time.perf_counter() - start)
        for stage, plan in (("views", views.tasks), ("labels", labels.tasks)):
            tasks = plan(dataset, settings)
            seconds = _clock(tasks, workers, stage, console)
            figures[f"{stage}_per_second"] = settings.views.count * len(tasks) / seconds
    return figures | {"machine": machine(), "versions": versions(), "commit": commit()}


def show(figures: Mapping[str, Any], console: Console) -> None:
    """The figures as tables, with what the suite promises."""
    table = Table(title=f"Grasp synthesis on {figures['machine']}, wall time of all workers")
    for column in ("objects", "method", "candidates/s", "hold", "of attempts", "valid/s", "target", "wrist", "joints"):
        table.add_column(column, justify="left" if column in ("objects", "method") else "right")
    for kind, methods in figures["methods"].items():
        for method, row in methods.items():
            target = VALID_PER_SECOND[kind].get(method)
            table.add_row(
                kind,
                method,
                f"{row['candidates_per_second']:.0f}",
                f"{100 * row['hold']:.0f} %",
                f"{100 * row['yield']:.1f} %",
                f"{row['valid_per_second']:.1f}",
                "" if target is None else f"{target:.0f}",
                f"{1000 * row['wrist_position_m']:.0f} mm {np.degrees(row['wrist_rotation_rad']):.0f} deg",
                f"{row['joint_spread_rad']:.2f} rad",
            )
    console.print(table)
    console.print(
        "wrist: mean distance and angle between two valid grasps of one object; joints: mean of their spreads"
    )
    rates = Table(title="The other stages")
    for column in ("figure", "value", "target"):
        rates.add_column(column, justify="left" if column == "figure" else "right")
    tests = figures["filter"]
    rates.add_row("hold6 tests/s, one process", f"{tests['one_process']:.1f}", f"{TESTS_PER_SECOND:.0f}")
    rates.add_row("the same with all processes, times", f"{tests['gain']:.2f}", f"{TWO_CORE_GAIN} on two cores")
    rates.add_row("objects/s", f"{figures['objects_per_second']:.2f}", "")
    rates.add_row("scenes/min", f"{figures['scenes_per_minute']:.0f}", "")
    rates.add_row("views/s", f"{figures['views_per_second']:.1f}", f"{VIEWS_PER_SECOND:.0f}")
    rates.add_row("labels/s", f"{figures['labels_per_second']:.1f}", "")
    console.print(rates)


def _method(
    dataset: Dataset, settings: Settings, names: Sequence[str], method: str, workers: Workers, console: Console
) -> dict[str, float]:
    """One method on the same objects: chunk 0 warms up, chunk 1 is measured."""
    hand, spent = settings.grasps.hand, [0.0, 0.0]
    for number in (0, 1):
        chunks = [Chunk(hand, name, method, number) for name in names]
        title = f"{method} on {len(names)} objects"
        spent[0] = _clock(grasps.tasks(dataset, chunks, settings), workers, title, console)
        spent[1] = _clock(filtering.tasks(dataset, settings), workers, f"{title}, tested", console)
    paths = [dataset.tested_path(hand, name, method, 1) for name in names]
    tallies = [filtering.read_tally(path) for path in paths]
    attempts, candidates, valid = (sum(tally[key] for tally in tallies) for key in ("attempts", "candidates", "valid"))
    return {
        "attempts": attempts,
        "candidates": candidates,
        "valid": valid,
        "candidates_per_second": candidates / spent[0],
        "hold": valid / max(candidates, 1),
        "yield": valid / attempts,
        "valid_per_second": valid / sum(spent),
        **_diversity([ObjectGrasps.load(path) for path in paths]),
    }


def _filter(
    dataset: Dataset, settings: Settings, names: Sequence[str], workers: Workers, console: Console
) -> dict[str, float]:
    """Tests per second of one process and of all: the same chunks of `closing`, tested again."""
    hand, method = settings.grasps.hand, GRASP_METHODS.default
    rates = {}
    for title, crew in (("one_process", Workers(jobs=1)), ("all_processes", workers)):
        for name in names:
            dataset.tested_path(hand, name, method, 1).unlink()
        tasks = filtering.tasks(dataset, settings)
        seconds = _clock(tasks, crew, f"tests, {title.replace('_', ' ')}", console)
        tests = sum(filtering.read_tally(dataset.tested_path(hand, name, method, 1))["candidates"] for name in names)
        rates[title] = tests / seconds
    return rates | {"gain": rates["all_processes"] / rates["one_process"]}


def _diversity(sets: Sequence[ObjectGrasps]) -> dict[str, float]:
    """How far apart two valid grasps of one object are, on average, and how much their joints spread."""
    rng = np.random.default_rng(0)
    apart, turned, joints = [], [], []
    for grasps_ in sets:
        if len(grasps_) < 2:
            continue
        first, second = rng.integers(len(grasps_), size=(2, 2000))
        poses = grasps_.object_T_palm
        apart.append(np.linalg.norm(poses[first, :3, 3] - poses[second, :3, 3], axis=1).mean())
        between = poses[first, :3, :3].transpose(0, 2, 1) @ poses[second, :3, :3]
        turned.append(Rotation.from_matrix(between).magnitude().mean())
        joints.append(grasps_.grasp.std(axis=0).mean())
    nothing = [float("nan")]
    return {
        "wrist_position_m": float(np.mean(apart or nothing)),
        "wrist_rotation_rad": float(np.mean(turned or nothing)),
        "joint_spread_rad": float(np.mean(joints or nothing)),
    }


def _clock(tasks: Sequence[Task], workers: Workers, title: str, console: Console) -> float:
    start = time.perf_counter()
    spread(tasks, workers, title, console)
    return time.perf_counter() - start
