"""What to make: one frozen dataclass per stage, read from a YAML file or from the presets beside this module."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from dexgrasp_common.parameters import param

from dexgrasp_training.errors import SettingsError

PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class ObjectSettings:
    """Which objects."""

    procedural: int = param(60, "procedural objects")
    families: tuple[str, ...] = param((), "their families; empty: all")
    test_share: float = param(0.2, "share of the objects of each source that is held out for testing", range=(0, 1))


@dataclass(frozen=True)
class GraspSettings:
    """How many grasps, by which methods.

    Attributes:
        shares: Method to its share of the valid grasps wanted.
    """

    hand: str = param("leap_right", "name of the hand")
    valid: int = param(3000, "valid grasps wanted of each object")
    shares: Mapping[str, float] = field(
        default_factory=lambda: {"closing": 0.45, "contact_field": 0.45, "force_closure": 0.05, "wrench_space": 0.05}
    )
    attempts: Mapping[str, int] = field(
        default_factory=lambda: {"closing": 4000, "contact_field": 200, "force_closure": 128, "wrench_space": 128},
        metadata={"help": "initial poses of one task, by method"},
    )
    resting: Mapping[str, float] = field(
        default_factory=lambda: {"closing": 0.25, "contact_field": 0.75, "force_closure": 0.5, "wrench_space": 0.5},
        metadata={"help": "share of a method's tasks that make grasps of the object at rest on a table"},
    )
    most_chunks: int = param(40, "tasks of one method on one object after which no more is tried")


@dataclass(frozen=True)
class FilterSettings:
    """How grasps are tested."""

    tester: str = param("mujoco", "name of the grasp tester")


@dataclass(frozen=True)
class SceneSettings:
    """How many scenes of each kind; the test split gets `test_share` of each."""

    dense: int = param(150, "scenes of 8 to 11 objects")
    random: int = param(250, "scenes made by taking objects out of dense ones")
    loose: int = param(100, "scenes of 1 or 2 objects")
    test_share: float = param(0.2, "share of the scenes that is made of test objects", range=(0, 1))


@dataclass(frozen=True)
class ViewSettings:
    """Which views are rendered."""

    count: int = param(48, "views of each scene, of the 256 poses available", range=(1, 256))
    noise: float = param(0.0, "size of the depth sensor's errors: 0 none, 1 the whole model", range=(0, 2))


@dataclass(frozen=True)
class LabelSettings:
    """Which graspness."""

    variant: str = param("paper", "`paper`: Eqs. 1-4 as printed; `code`: with the authors' additions")


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a dataset holds."""

    seed: int = param(0, "of everything random")
    objects: ObjectSettings = ObjectSettings()
    grasps: GraspSettings = GraspSettings()
    filter: FilterSettings = FilterSettings()
    scenes: SceneSettings = SceneSettings()
    views: ViewSettings = ViewSettings()
    labels: LabelSettings = LabelSettings()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        return asdict(self)


def load_settings(name: str | Path, changes: Sequence[str] = ()) -> Settings:
    """A preset by name, or a YAML file by path.

    Args:
        name: `starter`, `tiny`, or a path.
        changes: `key=value` pairs that replace single settings: `grasps.valid=100`.

    Raises:
        SettingsError: No such preset or file, an unknown key, or a value of the wrong kind.
    """
    return from_dict(read_preset(name, PRESETS, "preset"), changes)


def read_preset(name: str | Path, presets: Path, kind: str) -> Any:
    """Content of a preset by name, or of a YAML file by path.

    Args:
        presets: Folder of the presets.
        kind: What the error message calls them.

    Raises:
        SettingsError: There is neither, or it is not YAML.
    """
    path = presets / f"{name}.yaml"
    if not path.is_file():
        path = Path(name).expanduser()
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in presets.glob("*.yaml")))
        raise SettingsError(f"{name!r} is neither a {kind} ({known}) nor a file.")
    try:
        return yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not YAML: {error}") from error


def from_dict(content: Mapping[str, Any], changes: Sequence[str] = ()) -> Settings:
    """Settings of a mapping as it stands in a YAML file or in a manifest.

    Args:
        changes: `key=value` pairs that replace single settings: `grasps.valid=100`.

    Raises:
        SettingsError: An unknown key or a value of the wrong kind.
    """
    built = build(Settings, with_changes(content, changes), "settings")
    assert isinstance(built, Settings)
    return built


def with_changes(content: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of nested mappings with some values replaced, each by a `key.key=value` text.

    Raises:
        SettingsError: A text without `=`.
    """
    changed = copy.deepcopy(dict(content))
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise SettingsError(f"--set takes key=value, as in grasps.valid=100; got {change!r}.")
        place: dict[str, Any] = changed
        *above, last = key.split(".")
        for part in above:
            place = place.setdefault(part, {})
        place[last] = yaml.safe_load(value)
    return changed


def seed_of(*parts: str | int) -> int:
    """A seed for one task that depends on nothing but these names and numbers."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "little")


def build(kind: type, content: Any, where: str) -> Any:
    """A dataclass of that kind from nested mappings; what is not mentioned keeps its default.

    Args:
        where: What the content is called in error messages.

    Raises:
        SettingsError: An unknown key, or a value of the wrong kind or out of range.
    """
    if not isinstance(content, Mapping):
        raise SettingsError(f"{where} must be a mapping of keys to values; got {content!r}.")
    known = {item.name: item for item in dataclasses.fields(kind)}
    unknown = set(content) - set(known)
    if unknown:
        raise SettingsError(f"{where}: unknown key {', '.join(sorted(unknown))}. Keys: {', '.join(known)}.")
    values = {}
    for key, value in content.items():
        values[key] = _value(known[key], value, f"{where}.{key}")
    return kind(**values)


def _value(item: dataclasses.Field[Any], value: Any, where: str) -> Any:
    make = item.default_factory
    default = item.default if make is dataclasses.MISSING else make()
    if dataclasses.is_dataclass(default):
        return build(type(default), value, where)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, Mapping) and isinstance(value, Mapping):
        return dict(value)
    right = isinstance(value, type(default)) and not (isinstance(value, bool) and not isinstance(default, bool))
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value, right = float(value), True
    if not right:
        raise SettingsError(f"{where} must be of the kind of {default!r}; got {value!r}.")
    limits = item.metadata.get("range")
    if limits and not (limits[0] <= value <= limits[1] and np.isfinite(value)):
        raise SettingsError(f"{where} must lie between {limits[0]} and {limits[1]}; got {value!r}.")
    if isinstance(default, int) and not isinstance(default, bool) and value < 0:
        raise SettingsError(f"{where} must not be negative; got {value!r}.")
    return value
