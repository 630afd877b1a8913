"""Grasps of one object from many scenes: each kept once, with the rows that every scene refers to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.storage import read_arrays, write_arrays


@dataclass
class Origins:
    """What an import remembers of an object's grasps besides the grasps.

    Attributes:
        seeds: array (N,), int32: the surface point that each grasp reaches for, as the release has it; -1 for none.
        rows: Scene number to rows (uint32) of the grasps that are clear there, in the order the scenes were read.
    """

    seeds: NDArray[np.int32]
    rows: dict[int, NDArray[np.uint32]] = field(default_factory=dict)

    @classmethod
    def load(cls, dataset: Dataset, hand: HandModel, name: str) -> Origins:
        """Of an object; empty where nothing was imported.

        Raises:
            DatasetError: The file is damaged.
        """
        path = _path(dataset, hand, name)
        if not path.is_file():
            return cls(np.zeros(0, np.int32))
        data = read_arrays(path, ("scenes", "seeds"))
        return cls(data["seeds"], {number: data[str(number)] for number in data["scenes"].tolist()})

    def save(self, dataset: Dataset, hand: HandModel, name: str) -> None:
        """Write them beside the dataset's own files.

        Raises:
            DatasetError: The file cannot be written.
        """
        rows = {str(number): rows for number, rows in self.rows.items()}
        order = np.array(list(self.rows), dtype=np.int64)
        write_arrays(_path(dataset, hand, name), {"scenes": order, "seeds": self.seeds, **rows})


class Gathered:
    """Distinct grasps in the order in which they are first met.

    Two are the same where all joints are, bit for bit, and the palm is, to a millimetre and a hundredth.

    Args:
        joints: Of the hand.
    """

    def __init__(self, joints: int) -> None:
        self._rows: dict[bytes, int] = {}
        self._poses: list[NDArray[np.float64]] = [np.zeros((0, 4, 4))]
        self._joints: list[NDArray[np.float32]] = [np.zeros((0, joints), np.float32)]
        self._seeds: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]

    def add(
        self, object_T_palm: NDArray[np.float64], joints: NDArray[np.float32], seeds: NDArray[np.int32]
    ) -> NDArray[np.uint32]:
        """Rows among all grasps, in the order of these N; what comes twice is named once.

        Args:
            object_T_palm: array (N, 4, 4).
            joints: array (N, D), float32 as in the file [rad or m].
            seeds: array (N,), indices of surface points.
        """
        place = np.rint(object_T_palm[:, :3, 3] * 1e3).astype(np.int16)
        turn = np.rint(object_T_palm[:, :3, :3].reshape(-1, 9) * 1e2).astype(np.int16)
        rows, fresh = np.zeros(len(joints), np.uint32), []
        for i, parts in enumerate(zip(joints, place, turn, strict=True)):
            before = len(self._rows)
            rows[i] = self._rows.setdefault(b"".join(part.tobytes() for part in parts), before)
            if rows[i] == before:
                fresh.append(i)
        self._poses.append(object_T_palm[fresh])
        self._joints.append(joints[fresh])
        self._seeds.append(seeds[fresh])
        _, first = np.unique(rows, return_index=True)
        return rows[np.sort(first)]

    def all(self) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int32]]:
        """Poses (N, 4, 4), joints (N, D) and seeds (N,) of all of them."""
        return np.concatenate(self._poses), np.concatenate(self._joints), np.concatenate(self._seeds)


def _path(dataset: Dataset, hand: HandModel, name: str) -> Path:
    return dataset.root / "imported" / hand.name / f"{name}.npz"
