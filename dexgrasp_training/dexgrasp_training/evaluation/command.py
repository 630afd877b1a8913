"""`dexgrasp-train evaluate`: rows of every scene, spread over processes; then table, report and page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dexgrasp_common.report import machine, versions, write_report
from dexgrasp_sim.tester import GRASP_TESTERS
from rich.console import Console

from dexgrasp_training.dataset import Dataset
from dexgrasp_training.evaluation import samplers
from dexgrasp_training.evaluation.contestants import Contestant, about
from dexgrasp_training.evaluation.rows import tested
from dexgrasp_training.evaluation.scenes import chosen_scenes, family_of
from dexgrasp_training.evaluation.summary import summarise, tables
from dexgrasp_training.evaluation.trial import EvaluationConfig, try_scene
from dexgrasp_training.work import Task, Workers


@dataclass(frozen=True)
class Evaluation:
    """What is asked for.

    Attributes:
        competing: Who.
        report: JSON file to write. Rows of finished scenes are kept in a folder beside it: a run that was killed goes
            on, and one with more scenes adds to them.
        scenes: At most so many.
        page: HTML file to write; None: none.
        pictures: Scenes whose grasps are drawn on it.
        config: How each scene is tested.
        workers: Who does the work.
    """

    competing: tuple[Contestant, ...]
    report: Path
    scenes: int = 100
    page: Path | None = None
    pictures: int = 12
    config: EvaluationConfig = field(default_factory=EvaluationConfig)
    workers: Workers = field(default_factory=Workers)


def evaluate(dataset: Dataset, wanted: Evaluation, console: Console) -> dict[str, Any]:
    """Test all contestants on the dataset's test scenes; returns the content of the report.

    Raises:
        DatasetError: There are no test scenes with views, a file is damaged, or one cannot be written.
        SettingsError: The rows beside the report are of other settings.
        TrainingError: The workers cannot be started, one died, or no scene could be tested.
    """
    from dexgrasp_training.evaluation.page import write_page  # draws, which not every machine can

    GRASP_TESTERS.load(wanted.config.tester)
    names = chosen_scenes(dataset, wanted.scenes)
    report = wanted.report.expanduser()
    families = frozenset(family_of(dataset.asset(name).source) for name in dataset.objects("train")) - {""}
    asked = {
        "dataset": str(dataset.root),
        "config": asdict(wanted.config),
        "contestants": [asdict(replace(one, checkpoint="")) for one in wanted.competing],  # its digest says which
    }

    def task(name: str, path: Path) -> Task:
        arguments = (str(dataset.root), name, wanted.competing, wanted.config, families, str(path))
        return Task(name, try_scene, arguments)

    scenes, failures = tested(report, names, asked, task, "scenes", wanted.workers, console)
    content: dict[str, Any] = {
        "dataset": dataset.root.name,
        "settings": asdict(wanted.config),
        "scenes": len(scenes),
        "views": sum(len({row["view"] for row in scene["rows"]}) for scene in scenes),
        "contestants": summarise(scenes),
        "samplers": samplers.summarise([row for scene in scenes for row in scene["samplers"]]),
        "checkpoints": about(wanted.competing),
        "failures": failures,
        "machine": machine(),
        "versions": versions(),
        "scene_rows": scenes,
    }
    write_report(report, content)
    title = f"{content['views']} views of {len(scenes)} test scenes of {dataset.root.name}"
    for shown in tables(content["contestants"], title):
        console.print(shown)
    _print_samplers(content["samplers"], console)
    if wanted.page is not None:
        write_page(wanted.page, content, scenes, dataset, wanted.competing, wanted.pictures, console)
    return content


def _print_samplers(rows: Sequence[dict[str, Any]], console: Console) -> None:
    for row in rows:
        one, other = row["samplers"]
        rank = "-" if row["spearman"] is None else f"{row['spearman']:.4f}"
        console.print(
            f"{one} and {other}, medians over {row['views']} views: "
            f"{row['millimetres'][0]:.2f} mm and {row['degrees'][0]:.2f} degrees apart (median), "
            f"{row['millimetres'][1]:.2f} mm and {row['degrees'][1]:.2f} degrees (95th percentile); "
            f"Spearman of the log-likelihoods {rank}",
            highlight=False,
        )
