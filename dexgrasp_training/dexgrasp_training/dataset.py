"""A dataset is a folder: where each stage's files lie, and a manifest that says how they were made.

Whether something is done is read from the files themselves, each of which is written whole or not at all; so a stage
that was killed goes on where it stopped. The manifest records settings, versions, counts and times.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from dexgrasp_training.assets import ObjectAsset, Split
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.scene_record import SceneRecord
from dexgrasp_training.storage import write_file, write_json

FORMAT = "dexgrasp-dataset"
VERSION = 1


@dataclass(frozen=True)
class Dataset:
    """The folder and its layout.

    Attributes:
        root: The folder.
    """

    root: Path

    @classmethod
    def open(cls, root: str | Path, *, create: bool = False) -> Dataset:
        """The dataset in a folder.

        Args:
            root: The folder.
            create: Make a new dataset where the folder is missing or empty.

        Raises:
            DatasetError: There is no dataset, or one of a newer version.
        """
        dataset = cls(Path(root).expanduser().absolute())
        if not dataset.manifest_path.is_file():
            occupied = dataset.root.exists() and (not dataset.root.is_dir() or any(dataset.root.iterdir()))
            if not create or occupied:
                raise DatasetError(
                    f"{dataset.root} is not a dataset (no manifest.json)"
                    + ("; give an empty or a new folder." if create else ". Make one with: dexgrasp-train objects ...")
                )
            write_json(dataset.manifest_path, {"format": FORMAT, "version": VERSION, "stages": {}})
        dataset.manifest()
        return dataset

    @property
    def manifest_path(self) -> Path:
        """Of the manifest."""
        return self.root / "manifest.json"

    def manifest(self) -> dict[str, Any]:
        """`format`, `version`, and `stages`: what each stage recorded.

        Raises:
            DatasetError: It is damaged, of another kind, or of a newer version.
        """
        try:
            content = json.loads(self.manifest_path.read_text())
            kind, version = content["format"], int(content["version"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{self.manifest_path} cannot be read ({error}).") from error
        if kind != FORMAT:
            raise DatasetError(f"{self.manifest_path} describes a {kind!r}, not a {FORMAT!r}.")
        if version > VERSION:
            raise DatasetError(
                f"{self.root} was written in version {version} of the format; this program reads up to {VERSION}. "
                "Update dexgrasp, or make the dataset anew."
            )
        return content

    def record(self, stage: str, entry: Mapping[str, Any]) -> None:
        """Replace what the manifest says of a stage."""
        content = self.manifest()
        content["stages"][stage] = dict(entry)
        write_json(self.manifest_path, content)

    def keep_settings(self, settings: Mapping[str, Any]) -> None:
        """Make these the settings of whoever works on this dataset next and gives none."""
        write_json(self.manifest_path, {**self.manifest(), "settings": dict(settings)})

    def take_objects(self, other: Dataset) -> int:
        """Copy another dataset's objects, those that are here stay; returns how many were copied.

        What the other's manifest says of them comes too, and where this dataset has no settings the other's do.
        """
        missing = [name for name in other.objects() if not self.object_path(name).is_file()]
        for name in missing:
            content = other.object_path(name).read_bytes()
            write_file(self.object_path(name), partial(_put, content))
        theirs, mine = other.manifest(), self.manifest()
        if "objects" in theirs["stages"]:
            self.record("objects", {**theirs["stages"]["objects"], **mine["stages"].get("objects", {})})
        if "settings" not in mine and "settings" in theirs:
            self.keep_settings(theirs["settings"])
        return len(missing)

    def object_path(self, name: str) -> Path:
        """Of an `ObjectAsset`."""
        return self.root / "objects" / f"{name}.npz"

    def candidates_path(self, hand: str, name: str, method: str, chunk: int) -> Path:
        """Of the `Candidates` that one task made."""
        return self.root / "candidates" / hand / name / f"{method}-{chunk:03d}.npz"

    def tested_path(self, hand: str, name: str, method: str, chunk: int) -> Path:
        """Of the verdicts on these candidates, and those that held."""
        return self.root / "tested" / hand / name / f"{method}-{chunk:03d}.npz"

    def grasps_path(self, hand: str, name: str) -> Path:
        """Of the `ObjectGrasps`."""
        return self.root / "grasps" / hand / f"{name}.npz"

    def scene_path(self, scene: str) -> Path:
        """Of a `SceneRecord`."""
        return self.root / "scenes" / f"{scene}.npz"

    def clear_grasps_path(self, scene: str, hand: str) -> Path:
        """Of the rows of grasps that stay clear in a scene."""
        return self.root / "scenes" / hand / f"{scene}.npz"

    def views_path(self, scene: str) -> Path:
        """The folder of a scene's views."""
        return self.root / "views" / scene

    def labels_path(self, scene: str, hand: str) -> Path:
        """Of a scene's graspness, view by view."""
        return self.root / "labels" / hand / f"{scene}.npz"

    def objects(self, split: Split | None = None) -> list[str]:
        """Names of the objects, sorted; of one split where it is given."""
        names = sorted(path.stem for path in (self.root / "objects").glob("*.npz"))
        return names if split is None else [name for name in names if self.asset(name).split == split]

    def scenes(self) -> list[str]:
        """Names of the scenes, sorted."""
        return sorted(path.stem for path in (self.root / "scenes").glob("*.npz"))

    def asset(self, name: str) -> ObjectAsset:
        """An object.

        Raises:
            DatasetError: It is not there, or damaged.
        """
        return ObjectAsset.load(self.object_path(name))

    def grasps(self, hand: str, name: str) -> ObjectGrasps:
        """The validated grasps of a hand on an object.

        Raises:
            DatasetError: They are not there, or damaged.
        """
        return ObjectGrasps.load(self.grasps_path(hand, name))

    def scene(self, name: str) -> SceneRecord:
        """A scene.

        Raises:
            DatasetError: It is not there, or damaged.
        """
        return SceneRecord.load(self.scene_path(name))

    def counts(self) -> dict[str, str]:
        """What there is of each stage, in words."""
        folders = {
            "objects": ("objects", "*.npz", "objects"),
            "grasps": ("candidates", "*/*/*.npz", "files of candidates"),
            "filter": ("tested", "*/*/*.npz", "files tested"),
            "scenes": ("scenes", "*.npz", "scenes"),
            "views": ("views", "*/*.depth.png", "views"),
            "labels": ("labels", "*/*.npz", "scenes labelled"),
        }
        found = {stage: len(list((self.root / folder).glob(files))) for stage, (folder, files, _) in folders.items()}
        words = {stage: f"{count} {folders[stage][2]}" for stage, count in found.items()}
        valid = self.manifest()["stages"].get("filter", {}).get("valid")
        if valid is not None:
            words["filter"] += f", {valid} valid grasps"
        return words


def _put(content: bytes, stream: IO[bytes]) -> None:
    stream.write(content)
