"""The page of an evaluation on objects: one HTML file with its chart and pictures inside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_sim.camera import RenderError
from rich.console import Console

from dexgrasp_description import load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.evaluation_objects.summary import COLUMNS, OUTCOMES, shown
from dexgrasp_training.evaluation_objects.trial import DEXGRASPBENCH, DGA
from dexgrasp_training.object_grasps import CONTACTS, ObjectGrasps
from dexgrasp_training.report.charts import draw_shares, new_figure
from dexgrasp_training.report.embedding import figure_png
from dexgrasp_training.report.grasp_pictures import draw_sheet
from dexgrasp_training.report.page import render
from dexgrasp_training.storage import write_file


def write_page(path: Path, content: Mapping[str, Any], dataset: Dataset, pictures: int, console: Console) -> None:
    """Write the page.

    Args:
        path: The file.
        content: Of the JSON report.
        dataset: What it is of.
        pictures: Objects that are drawn, at most.
        console: Where it is said if nothing can be drawn.

    Raises:
        DatasetError: A file of the dataset is damaged, or the page cannot be written.
    """
    drawn: list[dict[str, str]] = []
    missing = ""
    try:
        with console.status("Drawing grasps"):
            for one in content["object_rows"][:pictures]:
                grasps = _drawable(one, content["settings"]["hand"])
                if len(grasps):
                    sheet = draw_sheet(dataset.asset(one["object"]), grasps, one["object"])
                    drawn.append({"object": one["object"], "picture": figure_png(sheet)})
    except RenderError as error:
        missing = str(error)
        console.print(f"[yellow]No pictures[/]: {error}", highlight=False)
    page = render(
        "object_evaluation.html",
        **content,
        columns={name: columns for name, columns in COLUMNS.items() if name in content["settings"]["protocols"]},
        shown=shown,
        outcomes=OUTCOMES,
        chart=_chart(content["contestants"]),
        pictures=drawn,
        pictures_missing=missing,
    )
    write_file(path.expanduser(), lambda stream: stream.write(page.encode()))


def _drawable(one: Mapping[str, Any], hand: str) -> ObjectGrasps:
    """The grasps of all contestants on one object; the contestant stands where the method does."""
    joints = len(load_hand(hand).joint_names)
    rows = [row for row in one["rows"] if not row["error"]]
    counts = [len(row["joints"]) for row in rows]
    poses = [np.array(row["object_T_palm"]).reshape(-1, 4, 4) for row in rows]
    postures = np.concatenate([np.zeros((0, joints)), *(np.array(row["joints"]).reshape(-1, joints) for row in rows)])
    return ObjectGrasps(
        hand,
        one["object"],
        tuple(row["contestant"] for row in rows),
        np.concatenate([np.zeros((0, 4, 4)), *poses]),
        postures,
        postures,
        postures,
        np.full((sum(counts), CONTACTS, 3), np.nan),
        np.repeat(np.arange(len(rows)), counts).astype(np.uint8),
        np.zeros(sum(counts)),
    )


def _chart(contestants: Mapping[str, Mapping[str, Any]]) -> str:
    """Shares of grasps that hold, with their intervals."""
    parts = (("Suc.6", DGA, "success"), ("Suc.1", DGA, "any_direction"), (DEXGRASPBENCH, DEXGRASPBENCH, "success"))
    groups: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, figures in contestants.items():
        found = {label: figures.get(protocol, {}).get(key) for label, protocol, key in parts}
        groups[name] = {label: tuple(figure.values()) for label, figure in found.items() if figure}
    figure = new_figure(max(5.0, 1.2 + 1.4 * len(groups)), 3.8)
    draw_shares(figure.add_subplot(), groups, "grasps that hold [%]")
    return figure_png(figure)
