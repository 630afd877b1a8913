"""What an import will bring: which objects stand in which scenes, and what they are called here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.assets import Split
from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats.dexgraspnet2 import files
from dexgrasp_training.formats.dexgraspnet2.conventions import NAMES, VIEWS, Release, hand_layout
from dexgrasp_training.formats.dexgraspnet2.numbering import object_name, parent_name, scene_kind, scene_name
from dexgrasp_training.scene_record import Kind


@dataclass(frozen=True)
class ObjectEntry:
    """An object of the release.

    Attributes:
        id: Its number there.
        name: Its name here.
        split: Whether it stands in a training scene.
        scenes: Numbers of the scenes that it stands in.
    """

    id: int
    name: str
    split: Split
    scenes: tuple[int, ...]


@dataclass(frozen=True)
class SceneEntry:
    """A scene of the release.

    Attributes:
        number: Its number there.
        name: Its name here.
        kind: Ours.
        split: Ours.
        parent: Name of the dense scene that it was made from.
        objects: Numbers of its objects.
        camera0_T_mesh: array (M, 4, 4), their poses in the frame of camera 0.
    """

    number: int
    name: str
    kind: Kind
    split: Split
    parent: str
    objects: tuple[int, ...]
    camera0_T_mesh: NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What an import brings.

    Attributes:
        release: Where from.
        objects: By number.
        scenes: By number.
        failed: Scene to why it is left out.
    """

    release: Release
    objects: dict[int, ObjectEntry]
    scenes: dict[int, SceneEntry]
    failed: dict[str, str]


def plan_import(release: Release, scenes: Iterable[int] | None = None) -> Plan:
    """Which objects stand in which scenes, and what all of them are called here.

    Raises:
        FormatError: A scene that was asked for is not there, or the names beside the release cannot be read.
    """
    known = _names(release)
    there = release.numbers()
    wanted = there if scenes is None else sorted(set(scenes))
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise FormatError(f"{release.root / 'scenes'} has no scene {', '.join(f'{n:04d}' for n in missing[:8])}.")
    entries: dict[int, SceneEntry] = {}
    failed: dict[str, str] = {}
    for number in wanted:
        try:
            entries[number] = scene_entry(release, number, known.get("scenes", {}))
        except FormatError as error:
            failed[f"scene_{number:04d}"] = str(error)
    standing: dict[int, list[int]] = {}
    for entry in entries.values():
        for object_id in entry.objects:
            standing.setdefault(object_id, []).append(entry.number)
    objects = {}
    for object_id, numbers in sorted(standing.items()):
        told = known.get("objects", {}).get(f"{object_id:03d}", {})
        trained = any(entries[number].split == "train" for number in numbers)
        split: Split = told.get("split", "train" if trained else "test")
        objects[object_id] = ObjectEntry(
            object_id, told.get("name", object_name(object_id)), split, tuple(sorted(numbers))
        )
    return Plan(release, objects, entries, failed)


def check_hand(plan: Plan, hand: HandModel) -> None:
    """A release that has grasps, but of other hands only, is not what was meant.

    Raises:
        FormatError: It is so.
    """
    wanted, others = hand_layout(hand).folder, set()
    for number in plan.scenes:
        folder = plan.release.grasps(number, wanted)
        if folder.is_dir():
            return
        if folder.parent.is_dir():
            others |= {path.name for path in folder.parent.iterdir()}
    if others:
        raise FormatError(
            f"These scenes have no grasps of {hand.name!r} (folder {wanted!r}), but of: {', '.join(sorted(others))}."
        )


def cameras(release: Release, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`table_T_camera0` (4, 4) and `camera0_T_camera` (256, 4, 4) of a scene.

    Raises:
        FormatError: A file is missing or damaged.
    """
    folder = release.scene(number)
    table_T_camera0 = files.read_array(folder / "cam0_wrt_table.npy", (4, 4))
    camera0_T_camera = files.read_array(folder / "camera_poses.npy", (VIEWS, 4, 4))
    return table_T_camera0.astype(np.float64), camera0_T_camera.astype(np.float64)


def scene_entry(release: Release, number: int, known: dict[str, Any]) -> SceneEntry:
    """A scene of the release.

    Args:
        known: What scenes were called by whoever exported them, by number of four digits.

    Raises:
        FormatError: Its annotations or cameras are missing or damaged.
    """
    annotations = release.annotation(number, 0).parent
    views = sorted(int(path.stem) for path in annotations.glob("*.xml") if path.stem.isdigit())
    if not views:
        raise FormatError(f"{annotations} has no annotation (VVVV.xml): unpack scenes_*.tar.gz again.")
    ids, camera_T_mesh = files.read_annotation(release.annotation(number, views[0]))
    if len(set(ids)) < len(ids):
        raise FormatError(f"{annotations} names an object twice; its label image cannot tell them apart.")
    _, camera0_T_camera = cameras(release, number)
    told = known.get(f"{number:04d}")
    if told:
        kind, split, name, parent = told["kind"], told["split"], told["name"], told["parent"]
    else:
        kind, split = scene_kind(number, len(ids))
        name, parent = scene_name(number, kind, split), parent_name(number)
    return SceneEntry(number, name, kind, split, parent, tuple(ids), camera0_T_camera[views[0]] @ camera_T_mesh)


def _names(release: Release) -> dict[str, Any]:
    """What objects and scenes were called by whoever exported this release; empty for the authors'."""
    path = release.root / NAMES
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
        return {kind: dict(content[kind]) for kind in ("objects", "scenes")}
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} must map `objects` and `scenes` to their names ({error}); or delete it.") from error
