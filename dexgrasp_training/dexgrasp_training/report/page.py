"""The report of a dataset: a folder with index.html, its pictures, and all numbers in report.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_common.report import machine, versions
from dexgrasp_sim.camera import RenderError
from dexgrasp_sim.tester import HoldOutcome
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dexgrasp_description import load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.report import charts, inventory
from dexgrasp_training.report.diversity import MethodGrasps, read_methods
from dexgrasp_training.report.grasp_pictures import draw_sheet, farthest
from dexgrasp_training.report.inventory import ObjectFacts
from dexgrasp_training.report.scene_facts import SceneFacts, by_group, read_scenes
from dexgrasp_training.report.scene_pictures import ScenePicture
from dexgrasp_training.report.yields import Tally, Yields, by_method, read_yields, share
from dexgrasp_training.storage import write_file, write_json

SHEETS = 12  # objects whose grasps are drawn
_PICTURES = "pictures"
_DPI = 100
Picture = dict[str, str]  # `file`, relative to the page, and `title`


def write_report(dataset: Dataset, hand: str, folder: Path, console: Console) -> dict[str, Any]:
    """Describe a dataset, finished or not, in `folder`/index.html and `folder`/report.json.

    Args:
        hand: Name of the hand whose grasps are described.
        folder: Made where it is missing; a report that is there is replaced.
        console: Where progress is shown.

    Returns:
        The content of report.json: SI units, rates from 0 to 1, None where there is nothing to measure.

    Raises:
        UnknownNameError: There is no such hand.
        DatasetError: A file of the dataset is damaged, or the report cannot be written.
    """
    load_hand(hand)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        objects = inventory.read_objects(dataset, progress)
        counts = inventory.count_grasps(dataset, hand, progress)
        yields = read_yields(dataset, hand, progress)
        methods = read_methods(dataset, hand, progress)
        corners = {name: facts.corners for name, facts in objects.items()}
        scenes = read_scenes(dataset, hand, corners, counts, progress)
        content = {
            "dataset": dataset.root.name,
            "hand": hand,
            "versions": versions(),
            "machine": machine(),
            "settings": dataset.manifest().get("settings"),
            "missing": inventory.missing_stages(dataset, hand, scenes),
            "summary": _summary(dataset, hand, objects, counts, yields, scenes),
            "disk_bytes": inventory.disk_use(dataset, hand),
            "stages": inventory.stage_records(dataset),
            "objects": {name: {**facts.as_dict(), "grasps": counts.get(name)} for name, facts in objects.items()},
            "yield": {
                "methods": {method: tally.as_dict() for method, tally in by_method(yields).items()},
                "objects": {
                    name: {method: tally.as_dict() for method, tally in tallies.items()}
                    for name, tallies in yields.items()
                },
            },
            "diversity": {method: grasps.as_dict(load_hand(hand)) for method, grasps in methods.items()},
            "scene_groups": by_group(scenes),
            "scenes": {scene.name: scene.as_dict() for scene in scenes},
        }
        pictures: dict[str, list[Picture]] = {}
        for section, title, figure in _charts(hand, objects, yields, methods, scenes):
            _keep(pictures, section, title, figure, folder)
        content["pictures_missing"] = ""
        try:
            for name in progress.track(_chosen(objects, counts), description="contact sheets"):
                title = f"{name} ({objects[name].split})"
                sheet = draw_sheet(dataset.asset(name), dataset.grasps(hand, name), title)
                _keep(pictures, "sheets", title, sheet, folder)
            for name in progress.track(_first_of_each_group(dataset, scenes), description="scene pictures"):
                _keep(pictures, "scenes", name, ScenePicture(dataset, hand, dataset.scene(name)).draw(), folder)
        except RenderError as error:
            content["pictures_missing"] = str(error)
    content["pictures"] = pictures
    write_json(folder / "report.json", content)
    page = render("page.html", **content, outcomes=[outcome.name.lower() for outcome in HoldOutcome])
    write_file(folder / "index.html", lambda stream: stream.write(page.encode()))
    return content


def _summary(
    dataset: Dataset,
    hand: str,
    objects: dict[str, ObjectFacts],
    counts: dict[str, int],
    yields: Yields,
    scenes: list[SceneFacts],
) -> dict[str, Any]:
    total = sum(by_method(yields).values(), Tally())
    disk = inventory.disk_use(dataset, hand)
    valid = sum(counts.values())
    references = sum(sum(scene.clear or ()) for scene in scenes)
    return {
        "objects": len(objects),
        "train_objects": sum(facts.split == "train" for facts in objects.values()),
        "test_objects": sum(facts.split == "test" for facts in objects.values()),
        "attempts": total.attempts,
        "candidates": total.candidates,
        "untested_files": inventory.untested_files(dataset, hand),
        "valid": valid,
        "objects_without_grasps": [name for name in objects if not counts.get(name)],
        "scenes": len(scenes),
        "train_scenes": sum(scene.split == "train" for scene in scenes),
        "test_scenes": sum(scene.split == "test" for scene in scenes),
        "views": sum(scene.views for scene in scenes),
        "labelled_scenes": sum(scene.labelled for scene in scenes),
        "scene_references": references,
        "bytes": sum(disk.values()),
        "bytes_per_valid_grasp": share(disk["grasps"], valid),
        "bytes_per_scene_reference": share(disk["clear grasps of scenes"], references),
    }


def _charts(
    hand: str,
    objects: dict[str, ObjectFacts],
    yields: Yields,
    methods: dict[str, MethodGrasps],
    scenes: list[SceneFacts],
) -> Iterator[tuple[str, str, Figure]]:
    """Section, title and figure of each chart there is something to draw of."""
    test = {name for name, facts in objects.items() if facts.split == "test"}
    total = sum(by_method(yields).values(), Tally())
    if total.attempts:
        yield "yield", "Valid grasps per attempt, sorted", charts.draw_sorted_rates(yields)
        title = "valid grasps per attempt"
        yield "yield", title.capitalize(), charts.draw_yield(yields, test, _per_attempt, title)
    if total.candidates:
        title = "valid grasps per candidate"
        yield "yield", title.capitalize(), charts.draw_yield(yields, test, _per_candidate, title)
        yield "outcomes", "What the tester said", charts.draw_outcomes(by_method(yields))
    if methods:
        yield "diversity", "Sides from which the hand comes, in the object's frame", charts.draw_directions(methods)
        yield "diversity", "Distance of the palm, and contacts", charts.draw_distances(methods)
        yield "diversity", "Joints of the grasps", charts.draw_joints(methods, load_hand(hand))
    if scenes:
        yield "scene_charts", "Scenes", charts.draw_scene_facts(scenes)


def _per_attempt(tally: Tally) -> float | None:
    return share(tally.valid, tally.attempts)


def _per_candidate(tally: Tally) -> float | None:
    return share(tally.valid, tally.candidates)


def _chosen(objects: dict[str, ObjectFacts], counts: dict[str, int]) -> list[str]:
    """Objects with grasps whose shapes differ most, the one nearest to the mean shape first."""
    names = [name for name in objects if counts.get(name)]
    if not names:
        return []
    shapes = np.array([objects[name].shape for name in names])
    middle = int(np.linalg.norm(shapes - shapes.mean(axis=0), axis=1).argmin())
    return [names[row] for row in farthest(shapes, SHEETS, middle)]


def _first_of_each_group(dataset: Dataset, scenes: list[SceneFacts]) -> list[str]:
    """The first scene of each kind and split whose objects are all there."""
    first: dict[tuple[str, str], str] = {}
    for scene in scenes:
        group = scene.kind, scene.split
        if group not in first and all(
            dataset.object_path(name).is_file() for name in dataset.scene(scene.name).objects
        ):
            first[group] = scene.name
    return list(first.values())


def _keep(pictures: dict[str, list[Picture]], section: str, title: str, figure: Figure, folder: Path) -> None:
    """Write a figure. Files are numbered: names of objects may hold anything."""
    found = pictures.setdefault(section, [])
    file = f"{_PICTURES}/{section}_{len(found):02d}.png"
    write_file(folder / file, lambda stream: figure.savefig(stream, format="png", dpi=_DPI))
    found.append({"file": file, "title": title})


def render(template: str, **content: Any) -> str:
    """A page from a template of this folder."""
    environment = Environment(
        loader=PackageLoader("dexgrasp_training", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=_count, percent=_percent, size=_size, duration=_duration, fixed=_fixed)
    return environment.get_template(template).render(**content)


def _count(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100.0 * value:.1f} %"


def _fixed(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _size(count: float | None) -> str:
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB"):
        if count < 1000.0:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000.0
    return f"{count:,.1f} GB"


def _duration(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
