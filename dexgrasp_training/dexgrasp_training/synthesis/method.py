"""One interface for every way to make grasps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from dexgrasp_common.registry import Backend, Registry
from numpy.typing import NDArray

from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.errors import SynthesisError
from dexgrasp_training.storage import read_arrays, write_arrays
from dexgrasp_training.synthesis.resting import Resting


@dataclass(frozen=True, eq=False)
class Candidates:
    """N proposed grasps of one hand on one object, not yet tested in simulation.

    Attributes:
        hand: Name of the hand.
        method: Name of the method.
        attempts: Initial poses that were tried to get these N.
        object_T_palm: array (N, 4, 4).
        pregrasp: array (N, D), opened joints at the same palm pose, in the hand's joint order [rad or m].
        grasp: array (N, D), joints in contact [rad or m].
        squeeze: array (N, D), joint targets that press [rad or m].
        contacts: array (N, K, 3), where the hand touches, object frame [m]; NaN rows where a grasp has fewer.
        quality: array (N,), the method's own measure, higher is better.
    """

    hand: str
    method: str
    attempts: int
    object_T_palm: NDArray[np.float64]
    pregrasp: NDArray[np.float64]
    grasp: NDArray[np.float64]
    squeeze: NDArray[np.float64]
    contacts: NDArray[np.float64]
    quality: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.object_T_palm)
        lengths = {item.name: len(getattr(self, item.name)) for item in fields(self)[3:]}
        if set(lengths.values()) != {count}:
            raise SynthesisError(f"Candidates need one row per grasp in every array; got {lengths}.")

    def __len__(self) -> int:
        return len(self.object_T_palm)

    def __getitem__(self, which: slice | Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> Candidates:
        """The candidates of a slice, of indices, or where a mask is true; `attempts` stays."""
        rows = {item.name: getattr(self, item.name)[which] for item in fields(self)[3:]}
        return Candidates(self.hand, self.method, self.attempts, **rows)

    def save(self, path: Path) -> None:
        """Write one npz file (float32).

        Raises:
            DatasetError: The file cannot be written.
        """
        arrays: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        for item in fields(self)[3:]:
            arrays[item.name] = arrays[item.name].astype(np.float32)
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> Candidates:
        """Read what `save` wrote.

        Raises:
            DatasetError: The file is missing, damaged or of another kind.
        """
        data = read_arrays(path, tuple(item.name for item in fields(cls)))
        rows = {item.name: data[item.name].astype(np.float64) for item in fields(cls)[3:]}
        return cls(str(data["hand"]), str(data["method"]), int(data["attempts"]), **rows)


class GraspMethod(Protocol):
    """Makes grasps of one hand."""

    def generate(self, asset: ObjectAsset, attempts: int, seed: int, resting: Resting | None = None) -> Candidates:
        """Try `attempts` initial poses on an object and return what passed the method's own filter.

        The same arguments give the same candidates.

        Args:
            asset: The object.
            attempts: How many poses.
            seed: Of every choice.
            resting: Prefer poses that a hand can take while the object lies on a table; None: any around the object.

        Raises:
            SynthesisError: This method cannot work with the hand.
        """
        ...


# Factories take a `HandModel` and, if wanted, the method's config.
GRASP_METHODS = Registry(
    "grasp method",
    {
        "closing": Backend(
            "dexgrasp_training.synthesis.closing:Closing", summary="fingers closed on the object's distance grid"
        ),
        "contact_field": Backend(
            "dexgrasp_training.synthesis.contact_field:ContactField", summary="balanced fingertip contacts"
        ),
        "force_closure": Backend(
            "dexgrasp_training.synthesis.force_closure:ForceClosure",
            summary="relaxed force closure by gradient descent (DexGraspNet 2.0, D.2.2)",
        ),
        "wrench_space": Backend(
            "dexgrasp_training.synthesis.wrench_space:WrenchSpace",
            summary="grasp wrench space by gradient descent (DexGraspNet 2.0, D.2.1)",
        ),
    },
    default="closing",
)
IMPORTED = "imported"  # in place of a method's name: grasps from other people's files
GENERATED = "generated"  # and of one: a trained network proposed them, see `generated`
METHODS = (*(name for name, _ in GRASP_METHODS), IMPORTED, GENERATED)
