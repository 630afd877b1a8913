"""A settled scene: which objects lie where on the table, and which of their grasps are clear there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from dexgrasp_training.assets import Split
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.storage import read_arrays, write_arrays

Kind = Literal["dense", "random", "loose"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, eq=False)
class SceneRecord:
    """Objects at rest on the plane z = 0 of the world frame (z up).

    Attributes:
        name: `<kind>_<split>_<number>`, unique within a dataset.
        kind: `dense` (8-11 objects), `random` (a dense one with objects taken away) or `loose` (1-2).
        split: Whether its objects are training or test objects.
        objects: Names of the M objects; one may stand there twice.
        world_T_object: array (M, 4, 4).
        parent: The dense scene that a random one came from; empty otherwise.
    """

    name: str
    kind: Kind
    split: Split
    objects: tuple[str, ...]
    world_T_object: NDArray[np.float64]
    parent: str = ""

    def __post_init__(self) -> None:
        if self.world_T_object.shape != (len(self.objects), 4, 4):
            raise DatasetError(
                f"Scene {self.name} has {len(self.objects)} objects and poses of shape {self.world_T_object.shape}; "
                "each object needs a pose (4, 4)."
            )

    def save(self, path: Path) -> None:
        """Write one npz file.

        Raises:
            DatasetError: The file cannot be written.
        """
        arrays = {
            "name": self.name,
            "kind": self.kind,
            "split": self.split,
            "objects": np.array(self.objects),
            "world_T_object": self.world_T_object,
            "parent": self.parent,
        }
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> SceneRecord:
        """Read what `save` wrote.

        Raises:
            DatasetError: The file is missing, damaged or of another kind.
        """
        data = read_arrays(path, ("name", "kind", "split", "objects", "world_T_object", "parent"))
        return cls(
            str(data["name"]),
            cast(Kind, str(data["kind"])),
            cast(Split, str(data["split"])),
            tuple(str(name) for name in data["objects"]),
            data["world_T_object"],
            str(data["parent"]),
        )


def save_clear_grasps(path: Path, rows: list[NDArray[np.uint32]], totals: list[int] | None = None) -> None:
    """Write, for each object of a scene, which rows of its `ObjectGrasps` are clear there: 4 bytes each at most.

    Args:
        rows: Of each object.
        totals: How many grasps each object had: once it has others, its rows are told anew. None: they are not.

    Raises:
        DatasetError: The file cannot be written.
    """
    arrays = {str(i): clear.astype(np.uint32) for i, clear in enumerate(rows)}
    write_arrays(path, arrays if totals is None else {**arrays, "totals": np.array(totals, dtype=np.int64)})


def load_clear_grasps(path: Path) -> list[NDArray[np.uint32]]:
    """Read the rows that `save_clear_grasps` wrote.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    data = read_arrays(path)
    return [data[str(i)] for i in range(len(data) - ("totals" in data))]


def load_totals(path: Path) -> list[int] | None:
    """How many grasps each object had when its clear ones were told; None where these stay as they are.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    data = read_arrays(path)
    return [int(total) for total in data["totals"]] if "totals" in data else None
