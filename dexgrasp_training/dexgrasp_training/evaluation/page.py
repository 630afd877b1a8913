"""The page of an evaluation: one HTML file with its chart and pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from dexgrasp_sim.camera import RenderError
from dexgrasp_sim.picture import Image
from rich.console import Console

from dexgrasp_description import load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.evaluation.contestants import HEURISTIC, Contestant, unguided
from dexgrasp_training.evaluation.pictures import GraspPicture
from dexgrasp_training.evaluation.scenes import TestScene
from dexgrasp_training.evaluation.summary import OUTCOMES, succeeded
from dexgrasp_training.report.charts import draw_shares, new_figure
from dexgrasp_training.report.embedding import figure_png
from dexgrasp_training.report.page import render
from dexgrasp_training.scene_record import KINDS
from dexgrasp_training.storage import write_file

_QUALITY = 88  # of the JPEG pictures


def write_page(
    path: Path,
    content: Mapping[str, Any],
    scenes: Sequence[Mapping[str, Any]],
    dataset: Dataset,
    competing: Sequence[Contestant],
    pictures: int,
    console: Console,
) -> None:
    """Write the page.

    Args:
        path: The file.
        content: Of the JSON report.
        scenes: Rows of each scene, as `trial.try_scene` wrote them.
        dataset: What they are of.
        competing: Whose rows they are.
        pictures: Scenes that are drawn, at most.
        console: Where it is said if nothing can be drawn.

    Raises:
        DatasetError: A file of the dataset is damaged, or the page cannot be written.
    """
    drawn: list[dict[str, Any]] = []
    names = list(content["contestants"])
    pair = _pair(content["contestants"], competing)
    # The heuristic, and what guidance makes of grasps, or else the last of the others.
    shown = [name for name in names if name == HEURISTIC] + (pair or [name for name in names if name != HEURISTIC][-1:])
    missing = ""
    try:
        with console.status("Drawing grasps"):
            for scene in scenes[:pictures]:
                drawn.append(_draw(dataset, content["settings"]["hand"], scene, shown))
    except RenderError as error:
        missing = str(error)
        console.print(f"[yellow]No pictures[/]: {error}", highlight=False)
    page = render(
        "evaluation.html",
        **content,
        kinds=KINDS,
        outcomes=OUTCOMES,
        chart=_chart(content["contestants"]),
        pair=pair,
        pictures=drawn,
        pictures_missing=missing,
    )
    write_file(path.expanduser(), lambda stream: stream.write(page.encode()))


def _pair(figures: Mapping[str, Mapping[str, Any]], competing: Sequence[Contestant]) -> list[str]:
    """Of the guided contestants that which lifts most, after the same without guidance; none if no such two compete."""
    pairs = [(before.name, one.name) for one in competing if (before := unguided(one, competing))]
    best = max(pairs, key=lambda pair: figures[pair[1]]["successes"], default=())
    return list(best)


def _draw(dataset: Dataset, hand: str, scene: Mapping[str, Any], shown: Sequence[str]) -> dict[str, Any]:
    """The best grasps of some contestants, in this order, in the first view of a scene."""
    test = TestScene(dataset, scene["scene"])
    stage = GraspPicture(load_hand(hand), test)
    view = scene["rows"][0]["view"]
    figures = []
    rows = {row["contestant"]: row for row in scene["rows"] if row["view"] == view}
    for name in shown:
        row = rows[name]
        figure = {"contestant": row["contestant"], "lifted": succeeded(row), "picture": "", "words": row["error_msg"]}
        if row["best"]:
            best = row["best"]
            image = stage.draw(np.array(best["world_T_palm"]), np.array(best["grasp"]), row["aimed"][0])
            figure["picture"] = _jpeg(image)
            figure["words"] = row["outcome"][0]
        figures.append(figure)
    return {"scene": scene["scene"], "view": view, "figures": figures}


def _chart(contestants: Mapping[str, Mapping[str, Any]]) -> str:
    """Shares of all views and of each kind of scene, with their intervals."""
    groups: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, figures in contestants.items():
        parts = {"all": figures, **figures["kinds"]}
        groups[name] = {kind: tuple(part["success"].values()) for kind, part in parts.items() if part["success"]}
    figure = new_figure(max(5.0, 1.2 + 1.4 * len(groups)), 3.8)
    draw_shares(figure.add_subplot(), groups, "best grasps that lift an object [%]")
    return figure_png(figure)


def _jpeg(image: Image) -> str:
    encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
