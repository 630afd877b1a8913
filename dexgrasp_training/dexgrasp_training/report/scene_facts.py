"""What the scenes hold: objects, height of the pile, grasps that stay clear, views and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from dexgrasp_training.assets import Split
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.report.yields import share
from dexgrasp_training.scene_record import KINDS, Kind, load_clear_grasps, load_totals


@dataclass(frozen=True)
class SceneFacts:
    """One scene.

    Attributes:
        name, kind, split: As in the scene's record.
        objects: How many.
        height: Of the highest point above the table [m].
        clear: Grasps that stay clear, by object; None where that is not known yet.
        grasps: All grasps of these objects when the clear ones were told, by object; None likewise.
        stale: Whether there are other grasps now than when the clear ones were told.
        views: Views rendered.
        labelled: Whether its views have graspness.
    """

    name: str
    kind: Kind
    split: Split
    objects: int
    height: float
    clear: tuple[int, ...] | None
    grasps: tuple[int, ...] | None
    stale: bool
    views: int
    labelled: bool

    @property
    def shares(self) -> list[float]:
        """Share of each object's grasps that stay clear; objects without grasps are left out."""
        return [n / total for n, total in zip(self.clear or (), self.grasps or (), strict=True) if total]

    def as_dict(self) -> dict[str, Any]:
        """Numbers of the report."""
        return {
            "kind": self.kind,
            "split": self.split,
            "objects": self.objects,
            "height_m": self.height,
            "clear": None if self.clear is None else list(self.clear),
            "grasps": None if self.grasps is None else list(self.grasps),
            "stale": self.stale,
            "views": self.views,
            "labelled": self.labelled,
        }


def read_scenes(
    dataset: Dataset, hand: str, corners: dict[str, NDArray[np.float64]], counts: dict[str, int], progress: Progress
) -> list[SceneFacts]:
    """Every scene, by name.

    Args:
        corners: Object to the corners of its convex hull (K, 3), object frame [m].
        counts: Object to the number of its grasps.

    Raises:
        DatasetError: A file is damaged.
    """
    found = []
    for name in progress.track(dataset.scenes(), description="scenes"):
        scene = dataset.scene(name)
        height = 0.0
        for object_, world_T_object in zip(scene.objects, scene.world_T_object, strict=True):
            if object_ in corners:
                height = max(height, float((corners[object_] @ world_T_object[2, :3]).max() + world_T_object[2, 3]))
        path = dataset.clear_grasps_path(name, hand)
        now = [counts.get(object_, 0) for object_ in scene.objects]
        clear = totals = None
        if path.is_file():
            clear = tuple(len(rows) for rows in load_clear_grasps(path))
            totals = tuple(load_totals(path) or now)
        facts = SceneFacts(
            name,
            scene.kind,
            scene.split,
            len(scene.objects),
            height,
            clear,
            totals,
            totals not in (None, tuple(now)),
            len(list(dataset.views_path(name).glob("*.depth.png"))),
            dataset.labels_path(name, hand).is_file(),
        )
        found.append(facts)
    return found


def by_group(scenes: list[SceneFacts]) -> dict[str, dict[str, Any]]:
    """Means and shares over the scenes of each kind and split that there are: `dense train` and so on."""
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        for split in ("train", "test"):
            group = [scene for scene in scenes if (scene.kind, scene.split) == (kind, split)]
            if group:
                found[f"{kind} {split}"] = _summary(group)
    return found


def _summary(group: list[SceneFacts]) -> dict[str, Any]:
    known = [scene for scene in group if scene.clear is not None and scene.grasps is not None]
    clear = [count for scene in known for count in scene.clear or ()]
    grasps = [count for scene in known for count in scene.grasps or ()]
    return {
        "scenes": len(group),
        "objects": float(np.mean([scene.objects for scene in group])),
        "height_m": float(np.mean([scene.height for scene in group])),
        "most_height_m": max(scene.height for scene in group),
        "scenes_with_clear_grasps_known": len(known),
        "clear_per_scene": sum(clear) / len(known) if known else None,
        "clear_per_object": float(np.mean(clear)) if clear else None,
        "median_clear_per_object": float(np.median(clear)) if clear else None,
        "objects_without_clear_grasps": share(sum(count == 0 for count in clear), len(clear)),
        "clear_share": share(sum(clear), sum(grasps)),
        "views": sum(scene.views for scene in group),
        "labelled": sum(scene.labelled for scene in group),
    }
