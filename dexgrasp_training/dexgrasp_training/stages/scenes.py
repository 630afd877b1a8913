"""Stage `scenes`: objects settled on the table, and which of their grasps are clear there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from dexgrasp_training.assets import ObjectAsset, Split
from dexgrasp_training.clutter.arranging import drop, thin_out
from dexgrasp_training.clutter.clearance import clear_grasps
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.scene_record import KINDS, Kind, SceneRecord, load_totals, save_clear_grasps
from dexgrasp_training.settings import Settings, seed_of
from dexgrasp_training.work import Task


def rounds(dataset: Dataset, settings: Settings) -> Iterator[list[Task]]:
    """Tasks in three rounds, each of which needs what the one before left: what is dropped, what is taken out of that,
    and the clear grasps of every scene whose objects all have grasps.

    Raises:
        SettingsError: Scenes are wanted of a split that has no objects.
    """
    objects = {split: tuple(dataset.objects(split)) for split in ("train", "test")}
    for kinds in (("dense", "loose"), ("random",)):
        tasks = []
        for kind in KINDS:
            for split in ("train", "test"):
                count = scene_count(settings, kind, split)
                if count and not objects[split]:
                    raise SettingsError(
                        f"{count} {kind} scenes of {split} objects are wanted and there are none; "
                        "make some, or change scenes.test_share."
                    )
                for number in range(count if kind in kinds else 0):
                    name = scene_name(kind, split, number)
                    if not dataset.scene_path(name).is_file():
                        parents = max(scene_count(settings, "dense", split), 1)
                        arguments = (str(dataset.root), kind, split, number, parents, objects[split], settings.seed)
                        tasks.append(Task(name, arrange, arguments))
        yield tasks
    yield clearance_tasks(dataset, settings.grasps.hand)


def scene_count(settings: Settings, kind: Kind, split: Split) -> int:
    """How many scenes of a kind are made of a split's objects."""
    total: int = getattr(settings.scenes, kind)
    test = round(settings.scenes.test_share * total)
    return test if split == "test" else total - test


def scene_name(kind: Kind, split: Split, number: int) -> str:
    """Of a scene."""
    return f"{kind}_{split}_{number:04d}"


def arrange(
    root: str, kind: Kind, split: Split, number: int, parents: int, objects: tuple[str, ...], seed: int
) -> dict[str, Any]:
    """Task: settle one scene and write it.

    Args:
        parents: How many dense scenes of the split there are: random ones come from each in turn.
        objects: Names of the split's objects.
    """
    start = time.perf_counter()
    dataset = Dataset(Path(root))
    if kind == "random":
        dense = _dense(dataset, split, number % parents, objects, seed)
        name = scene_name(kind, split, number)
        models = [_asset(root, object_).model for object_ in dense.objects]
        record = thin_out(name, dense, models, seed_of(seed, "scene", name))
    else:
        record = _dropped(root, kind, split, number, objects, seed)
    record.save(dataset.scene_path(record.name))
    return {"scene": record.name, "objects": len(record.objects), "seconds": _since(start)}


def clearance_tasks(dataset: Dataset, hand: str) -> list[Task]:
    """One task for each scene whose clear grasps are not told yet, or were told of other grasps than there are now."""
    totals = {
        name: len(dataset.grasps(hand, name)) for name in dataset.objects() if dataset.grasps_path(hand, name).is_file()
    }
    tasks = []
    for name in dataset.scenes():
        objects, path = dataset.scene(name).objects, dataset.clear_grasps_path(name, hand)
        if not all(object_ in totals for object_ in objects):
            continue
        if not path.is_file() or load_totals(path) not in (None, [totals[object_] for object_ in objects]):
            tasks.append(Task(f"clear grasps of {name}", clear, (str(dataset.root), name, hand)))
    return tasks


def clear(root: str, scene: str, hand: str) -> dict[str, Any]:
    """Task: tell which grasps of each object are clear in a scene, and write their rows."""
    start = time.perf_counter()
    dataset = Dataset(Path(root))
    record = dataset.scene(scene)
    assets = [_asset(root, object_) for object_ in record.objects]
    grasps = [dataset.grasps(hand, object_) for object_ in record.objects]
    rows = [clear_grasps(assets, record.world_T_object, index, own) for index, own in enumerate(grasps)]
    dataset.labels_path(scene, hand).unlink(missing_ok=True)  # they are votes of the grasps that were clear before
    save_clear_grasps(dataset.clear_grasps_path(scene, hand), rows, [len(own) for own in grasps])
    return {
        "scene": scene,
        "grasps": sum(len(own) for own in grasps),
        "clear": sum(len(own) for own in rows),
        "seconds": _since(start),
    }


def _dense(dataset: Dataset, split: Split, number: int, objects: tuple[str, ...], seed: int) -> SceneRecord:
    """A dense scene from its file; made anew where it is not part of the dataset."""
    name = scene_name("dense", split, number)
    if dataset.scene_path(name).is_file():
        return dataset.scene(name)
    return _dropped(str(dataset.root), "dense", split, number, objects, seed)


def _dropped(root: str, kind: Kind, split: Split, number: int, objects: tuple[str, ...], seed: int) -> SceneRecord:
    name = scene_name(kind, split, number)
    return drop(name, kind, split, objects, lambda object_: _asset(root, object_).model, seed_of(seed, "scene", name))


@lru_cache(maxsize=32)
def _asset(root: str, name: str) -> ObjectAsset:
    return Dataset(Path(root)).asset(name)


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 2)
