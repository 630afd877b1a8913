"""What other people's grasps lack: the open hand, the squeeze, and a place in our dataset."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from dexgrasp_planner.postures import PostureRules
from dexgrasp_sim.tester import HoldOutcome
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import FormatError
from dexgrasp_training.object_grasps import CONTACTS, ObjectGrasps
from dexgrasp_training.storage import write_arrays
from dexgrasp_training.synthesis.method import IMPORTED, METHODS

_BATCH = 4096  # grasps opened and squeezed at once


def completed(
    hand: HandModel,
    name: str,
    object_T_palm: NDArray[np.float64],
    joints: NDArray,
    pregrasp: NDArray[np.float64] | None = None,
    squeeze: NDArray[np.float64] | None = None,
) -> ObjectGrasps:
    """Grasps of a hand on an object, with their own open hand and squeeze, or those of DexGraspNet 2.0's benchmark.

    The benchmark's open hand has every fingertip-link origin 25 mm back against its inner normal, its squeeze 30 mm
    forward along it without the part along the approach (`dexgrasp_planner.postures`), within the joint limits. There
    are no contacts, and the quality is 0.

    Args:
        object_T_palm: array (N, 4, 4).
        joints: array (N, D), in the hand's joint order [rad or m].
        pregrasp: array (N, D), the open hand; None: the benchmark's [rad or m].
        squeeze: array (N, D); None: the benchmark's [rad or m].
    """
    grasp = np.clip(joints.astype(np.float64), hand.lower, hand.upper)
    rules = _rules(hand.name)

    def in_batches(rule: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([grasp[:0], *(rule(grasp[i : i + _BATCH]) for i in range(0, len(grasp), _BATCH))])

    return ObjectGrasps(
        hand.name,
        name,
        METHODS,
        object_T_palm,
        in_batches(rules.opened) if pregrasp is None else pregrasp,
        grasp,
        in_batches(rules.squeezed) if squeeze is None else squeeze,
        np.full((len(grasp), CONTACTS, 3), np.nan),
        np.full(len(grasp), METHODS.index(IMPORTED), dtype=np.uint8),
        np.zeros(len(grasp)),
    )


def store(dataset: Dataset, grasps: ObjectGrasps) -> None:
    """Write imported grasps as all that their object has, and as a tested chunk, so that the filter keeps them.

    Raises:
        FormatError: The object has grasps from elsewhere, whose rows would shift.
        DatasetError: A file cannot be written.
    """
    chunk = dataset.tested_path(grasps.hand, grasps.object, IMPORTED, 0)
    others = [path.name for path in chunk.parent.glob("*.npz") if path != chunk]
    if others:
        raise FormatError(
            f"{grasps.object} has grasps of other origin in {dataset.root} ({', '.join(sorted(others))}); "
            "import into a dataset of its own."
        )
    verdicts = {"attempts": len(grasps), "outcome": np.full(len(grasps), HoldOutcome.HELD, dtype=np.uint8)}
    write_arrays(chunk, {**grasps.encoded(), **verdicts})
    grasps.save(dataset.grasps_path(grasps.hand, grasps.object))


@lru_cache(maxsize=2)
def _rules(hand: str) -> PostureRules:
    return PostureRules(load_hand(hand))
