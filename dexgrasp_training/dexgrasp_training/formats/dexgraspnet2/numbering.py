"""Which number a scene and an object have in DexGraspNet 2.0's release, and what they are called here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dexgrasp_training.assets import Split
from dexgrasp_training.errors import FormatError
from dexgrasp_training.scene_record import Kind, SceneRecord

OBJECT_IDS = 255  # an 8-bit label is an object's number plus one

_RANDOM_PER_DENSE = 75  # scenes 1000 + 75 s + k are dense scene s with objects taken away
_SEMINAL = 100  # dense training scenes
_OTHERS = 10000  # where scenes are numbered for which the release has no place
_OBJECT_NAME = re.compile(r"graspnet_(\d{3})")
_SCENE_NAME = re.compile(r"(?:dense|random|loose)_(?:train|test)_graspnet(\d{4,})")


@dataclass(frozen=True)
class SceneRange:
    """Scene numbers of one kind.

    Attributes:
        numbers: Theirs.
        kind: Ours.
        split: Ours.
    """

    numbers: range
    kind: Kind
    split: Split


RANGES = (
    SceneRange(range(0, _SEMINAL), "dense", "train"),
    SceneRange(range(1000, 1000 + _RANDOM_PER_DENSE * _SEMINAL), "random", "train"),
    SceneRange(range(100, 190), "dense", "test"),
    SceneRange(range(200, 380), "loose", "test"),
    SceneRange(range(9000, 9900, 5), "random", "test"),
)


def object_name(number: int) -> str:
    """What an object of the release is called here."""
    return f"graspnet_{number:03d}"


def scene_name(number: int, kind: Kind, split: Split) -> str:
    """What a scene of the release is called here."""
    return f"{kind}_{split}_graspnet{number:04d}"


def scene_kind(number: int, objects: int) -> tuple[Kind, Split]:
    """Kind and split of a scene by its number; outside of the release's ranges by how many objects it has."""
    for item in RANGES:
        if number in item.numbers:
            return item.kind, item.split
    return ("dense" if objects >= 8 else "random" if objects > 2 else "loose"), "train"


def parent_name(number: int) -> str:
    """The dense scene that a random training scene was made from; empty for other scenes."""
    if number not in RANGES[1].numbers:
        return ""
    return scene_name((number - RANGES[1].numbers.start) // _RANDOM_PER_DENSE, "dense", "train")


def number_objects(copies: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Numbers for objects given by name and copy; the first copy of an imported one keeps its number.

    Raises:
        FormatError: There are more than labels can tell apart.
    """
    if len(copies) > OBJECT_IDS:
        raise FormatError(
            f"These scenes have {len(copies)} objects; the release's 8-bit labels tell {OBJECT_IDS} apart. Export "
            "fewer scenes at a time, each time into a folder of its own."
        )
    kept = {(name, copy): _OBJECT_NAME.fullmatch(name) for name, copy in copies if copy == 0}
    found = {key: int(match[1]) for key, match in kept.items() if match and int(match[1]) < OBJECT_IDS}
    free = iter(number for number in range(OBJECT_IDS) if number not in set(found.values()))
    return {key: found[key] if key in found else next(free) for key in copies}


def number_scenes(records: Iterable[SceneRecord]) -> dict[str, int]:
    """Numbers for scenes, by name, within the release's ranges while these have room; imported ones keep theirs.

    A random training scene gets one of the 75 numbers of its parent. What finds no place is numbered from 10000.
    """
    # Parents first: their numbers decide about those of random scenes.
    scenes = sorted(records, key=lambda record: ((record.kind, record.split) == ("random", "train"), record.name))
    kept = {record.name: _SCENE_NAME.fullmatch(record.name) for record in scenes}
    found = {name: int(match[1]) for name, match in kept.items() if match}
    taken = set(found.values())
    for record in scenes:
        if record.name in found:
            continue
        places = next((r.numbers for r in RANGES if (r.kind, r.split) == (record.kind, record.split)), range(0))
        if places is RANGES[1].numbers:
            seminal = found.get(record.parent, _OTHERS)
            first = places.start + _RANDOM_PER_DENSE * seminal
            places = range(first, first + _RANDOM_PER_DENSE) if seminal < _SEMINAL else range(0)
        beyond = range(_OTHERS, _OTHERS + len(taken) + 1)
        number = next(n for numbers in (places, beyond) for n in numbers if n not in taken)
        taken.add(number)
        found[record.name] = number
    return found
