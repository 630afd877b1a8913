"""`dexgrasp-train evaluate-objects`: rows of every object, spread over processes; then tables, report and page."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dexgrasp_common.report import machine, versions, write_report
from dexgrasp_sim.tester import GRASP_TESTERS
from rich.console import Console

from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.evaluation.rows import tested
from dexgrasp_training.evaluation_objects.contestants import ObjectContestant, about
from dexgrasp_training.evaluation_objects.summary import summarise, table
from dexgrasp_training.evaluation_objects.trial import PROTOCOLS, ObjectEvaluationConfig, try_object
from dexgrasp_training.work import Task, Workers


@dataclass(frozen=True)
class ObjectEvaluation:
    """What is asked for.

    Attributes:
        competing: Who.
        report: JSON file to write. Rows of finished objects are kept in a folder beside it: a run that was killed goes
            on, and one with more objects adds to them.
        objects: At most so many.
        page: HTML file to write; None: none.
        pictures: Objects whose grasps are drawn on it.
        config: How each object is tested.
        workers: Who does the work.
    """

    competing: tuple[ObjectContestant, ...]
    report: Path
    objects: int = 1000
    page: Path | None = None
    pictures: int = 12
    config: ObjectEvaluationConfig = field(default_factory=ObjectEvaluationConfig)
    workers: Workers = field(default_factory=Workers)


def evaluate_objects(dataset: Dataset, wanted: ObjectEvaluation, console: Console) -> dict[str, Any]:
    """Test all contestants on the dataset's held-out objects; returns the content of the report.

    Raises:
        DatasetError: There are no held-out objects, a file is damaged, or one cannot be written.
        SettingsError: There is no such protocol, or the rows beside the report are of other settings.
        TrainingError: The workers cannot be started, one died, or no object could be tested.
        TextError: A contestant that is told of objects lacks a description of one.
    """
    from dexgrasp_training.evaluation_objects.page import write_page  # draws, which not every machine can

    config = wanted.config
    GRASP_TESTERS.load(config.tester)
    unknown = sorted(set(config.protocols) - set(PROTOCOLS))
    if unknown or not config.protocols:
        raise SettingsError(f"There is no protocol {', '.join(unknown)}. Protocols: {', '.join(PROTOCOLS)}.")
    names = dataset.objects("test")[: wanted.objects]
    if not names:
        raise DatasetError(
            f"{dataset.root} has no held-out objects; make some: dexgrasp-train objects {dataset.root} "
            "--set objects.test_share=0.2"
        )
    for said in (one.text.said() for one in wanted.competing if one.text):
        for name in names:
            said.of(name)  # one that lacks shows now
    report = wanted.report.expanduser()
    asked = {
        "dataset": str(dataset.root),
        "config": asdict(config),
        "contestants": [one.settings() for one in wanted.competing],
    }

    def task(name: str, path: Path) -> Task:
        return Task(name, try_object, (str(dataset.root), name, wanted.competing, config, str(path)))

    objects, failures = tested(report, names, asked, task, "objects", wanted.workers, console)
    content: dict[str, Any] = {
        "dataset": dataset.root.name,
        "settings": asdict(config),
        "objects": len(objects),
        "contestants": summarise(objects),
        "checkpoints": about(wanted.competing),
        "failures": failures,
        "machine": machine(),
        "versions": versions(),
        "object_rows": objects,
    }
    write_report(report, content)
    title = f"{config.hand}, up to {config.grasps} grasps on each of {len(objects)} held-out objects"
    console.print(table(content["contestants"], title))
    if wanted.page is not None:
        write_page(wanted.page, content, dataset, wanted.pictures, console)
    return content
