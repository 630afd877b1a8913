"""Ranked grasps of one hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_common.report import write_whole
from numpy.typing import NDArray

from dexgrasp_description.errors import MalformedDescriptionError

_SHAPES: dict[str, tuple[int | None, ...]] = {
    "world_T_palm": (4, 4),
    "pregrasp": (None,),
    "grasp": (None,),
    "squeeze": (None,),
    "score": (),
    "log_likelihood": (),
    "graspness": (),
    "seed_point": (3,),
}


@dataclass(frozen=True, eq=False)
class GraspSet:
    """N grasps. Joint positions are in the hand's motor order.

    Attributes:
        hand: Name of the hand, as in `load_hand`.
        world_T_palm: array (N, 4, 4), palm poses.
        pregrasp: array (N, D), opened joints [rad or m].
        grasp: array (N, D), joints in contact [rad or m].
        squeeze: array (N, D), joint targets that press [rad or m].
        score: array (N,), higher is better.
        log_likelihood: array (N,), of what was sampled, whatever moved it since; NaN where the generator has none.
        graspness: array (N,), NaN where the generator has none.
        seed_point: array (N, 3), surface point that each grasp grew from [m], world frame.

    Raises:
        MalformedDescriptionError: Shapes disagree.
    """

    hand: str
    world_T_palm: NDArray[np.float64]
    pregrasp: NDArray[np.float64]
    grasp: NDArray[np.float64]
    squeeze: NDArray[np.float64]
    score: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    graspness: NDArray[np.float64]
    seed_point: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(np.atleast_1d(self.score))
        joints = np.shape(self.grasp)[-1] if np.ndim(self.grasp) == 2 else 0
        for name, tail in _SHAPES.items():
            values = np.asarray(getattr(self, name), dtype=np.float64)
            right = (count, *(joints if size is None else size for size in tail))
            if values.shape != right:
                raise MalformedDescriptionError(f"GraspSet.{name} must have shape {right}; got {values.shape}.")
            object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, which: slice | Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> GraspSet:
        """The grasps of a slice, of a list of indices (in that order), or where a mask is true.

        Raises:
            TypeError: A single number: take `grasps[i : i + 1]`.
        """
        if isinstance(which, (int, np.integer)):
            raise TypeError(f"A GraspSet takes slices, lists or masks; for one grasp use [{which} : {which} + 1].")
        index = which if isinstance(which, slice) else np.asarray(which, dtype=None if len(which) else np.int64)
        return GraspSet(self.hand, **{name: getattr(self, name)[index] for name in _SHAPES})

    @classmethod
    def empty(cls, hand: str, joints: int) -> GraspSet:
        """No grasps of a hand with that many joints."""
        sizes = {name: (0, *(joints if size is None else size for size in tail)) for name, tail in _SHAPES.items()}
        return cls(hand, **{name: np.zeros(size) for name, size in sizes.items()})

    @classmethod
    def concatenate(cls, sets: Sequence[GraspSet]) -> GraspSet:
        """One set of all grasps of several sets, in order.

        Raises:
            MalformedDescriptionError: No sets, or sets of different hands.
        """
        hands = {grasps.hand for grasps in sets}
        if len(hands) != 1:
            raise MalformedDescriptionError(f"Only grasps of one hand can be joined; got hands {sorted(hands)}.")
        return cls(
            sets[0].hand, **{name: np.concatenate([getattr(grasps, name) for grasps in sets]) for name in _SHAPES}
        )

    def save(self, path: str | Path) -> None:
        """Write an npz file: to a temporary file first, then renamed, so that it is never half-written."""
        arrays: dict[str, Any] = {item.name: np.asarray(getattr(self, item.name)) for item in fields(self)}
        write_whole(Path(path), lambda stream: np.savez_compressed(stream, **arrays))

    @classmethod
    def load(cls, path: str | Path) -> GraspSet:
        """Read a file that `save` wrote.

        Raises:
            MalformedDescriptionError: An array is missing or has the wrong shape.
        """
        with np.load(path, allow_pickle=False) as data:
            missing = [item.name for item in fields(cls) if item.name not in data]
            if missing:
                raise MalformedDescriptionError(f"{path} is not a grasp set: it lacks {', '.join(missing)}.")
            return cls(str(data["hand"]), **{name: data[name] for name in _SHAPES})
