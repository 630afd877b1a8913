"""What there is: objects, bytes on disk, what each stage recorded, and what is still missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from dexgrasp_training.assets import Split
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.report.scene_facts import SceneFacts


@dataclass(frozen=True, eq=False)
class ObjectFacts:
    """One object.

    Attributes:
        name, split, source: As in its asset.
        family: Of procedural objects; `mesh` for imported ones.
        extents: array (3,), of the box about it, along its axes [m].
        volume: [m^3].
        parts: Convex parts.
        corners: array (K, 3), of the convex hull, object frame [m].
    """

    name: str
    split: Split
    source: str
    family: str
    extents: NDArray[np.float64]
    volume: float
    parts: int
    corners: NDArray[np.float64]

    @property
    def shape(self) -> NDArray[np.float64]:
        """Four numbers by which objects differ: logarithms of the sorted extents, and how full their box is."""
        return np.append(np.log(np.sort(self.extents)), np.log(self.volume / self.extents.prod()))

    def as_dict(self) -> dict[str, Any]:
        """Numbers of the report."""
        return {
            "split": self.split,
            "source": self.source,
            "family": self.family,
            "extents_m": self.extents.tolist(),
            "volume_m3": self.volume,
            "parts": self.parts,
        }


def read_objects(dataset: Dataset, progress: Progress) -> dict[str, ObjectFacts]:
    """Every object, by name.

    Raises:
        DatasetError: A file is damaged.
    """
    found = {}
    for name in progress.track(dataset.objects(), description="objects"):
        asset = dataset.asset(name)
        mesh = asset.model.mesh
        found[name] = ObjectFacts(
            name,
            asset.split,
            asset.source,
            asset.model.family,
            np.asarray(mesh.extents),
            float(mesh.volume),
            len(asset.model.parts),
            np.asarray(mesh.convex_hull.vertices),
        )
    return found


def count_grasps(dataset: Dataset, hand: str, progress: Progress) -> dict[str, int]:
    """Valid grasps of every object that has a file of them.

    Raises:
        DatasetError: A file is damaged.
    """
    paths = sorted((dataset.root / "grasps" / hand).glob("*.npz"))
    return {
        path.stem: len(dataset.grasps(hand, path.stem)) for path in progress.track(paths, description="valid grasps")
    }


def disk_use(dataset: Dataset, hand: str) -> dict[str, int]:
    """Bytes of the files of each stage, of one hand where the stage depends on it."""
    root = dataset.root
    folders = {
        "objects": (root / "objects", "*"),
        "candidates": (root / "candidates" / hand, "*/*"),
        "tested": (root / "tested" / hand, "*/*"),
        "grasps": (root / "grasps" / hand, "*"),
        "scenes": (root / "scenes", "*"),
        "clear grasps of scenes": (root / "scenes" / hand, "*"),
        "views": (root / "views", "*/*"),
        "labels": (root / "labels" / hand, "*"),
    }
    return {name: _bytes(folder, pattern) for name, (folder, pattern) in folders.items()}


def untested_files(dataset: Dataset, hand: str) -> int:
    """Files of candidates that the tester has not seen."""
    made, seen = dataset.root / "candidates" / hand, dataset.root / "tested" / hand
    return sum(not (seen / path.relative_to(made)).is_file() for path in made.glob("*/*.npz"))


def stage_records(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """What the manifest says of each stage, without the settings."""
    kept = ("tasks", "seconds", "failures", "versions", "machine", "fixed")
    stages = dataset.manifest()["stages"]
    return {stage: {key: stages[stage][key] for key in kept if key in stages[stage]} for stage in stages}


def missing_stages(dataset: Dataset, hand: str, scenes: Sequence[SceneFacts]) -> dict[str, str]:
    """Stages that have left nothing yet or not everything: stage to what is missing, in words."""
    objects = dataset.objects()
    candidates = any((dataset.root / "candidates" / hand).glob("*/*.npz"))
    without = [name for name in objects if not dataset.grasps_path(hand, name).is_file()]
    words: dict[str, str] = {}
    if not objects:
        words["objects"] = "There are no objects."
    if not candidates and len(without) == len(objects):
        words["grasps"] = f"There are no candidates for {hand}."
    if untested := untested_files(dataset, hand):
        words["filter"] = f"Files of candidates that are not tested: {untested}."
    elif len(without) == len(objects):
        words["filter"] = f"There are no valid grasps for {hand}."
    elif without:
        words["filter"] = f"Objects without a file of valid grasps for {hand}: {_some(without)}."
    if not scenes:
        none = {"scenes": "There are no scenes.", "views": "There are no views."}
        return words | none | {"labels": f"There is no graspness for {hand}."}
    if unknown := [scene.name for scene in scenes if scene.clear is None]:
        words["scenes"] = f"Scenes of which it is not known which grasps of {hand} stay clear: {_some(unknown)}."
    elif stale := [scene.name for scene in scenes if scene.stale]:
        words["scenes"] = f"Scenes whose clear grasps were told before the last grasps were made: {_some(stale)}."
    if unseen := [scene.name for scene in scenes if not scene.views]:
        words["views"] = f"Scenes without views: {_some(unseen)}."
    if unlabelled := [scene.name for scene in scenes if not scene.labelled]:
        words["labels"] = f"Scenes without graspness for {hand}: {_some(unlabelled)}."
    return words


def _some(names: Sequence[str]) -> str:
    """Three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _bytes(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())
