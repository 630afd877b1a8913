"""Stage `filter`: every candidate is held against gravity from six sides; those that stay are the object's grasps."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_sim.tester import GRASP_TESTERS, GraspTester, HoldResult

from dexgrasp_description import load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.object_grasps import CONTACTS, ObjectGrasps
from dexgrasp_training.settings import Settings
from dexgrasp_training.storage import read_arrays, write_arrays
from dexgrasp_training.synthesis.method import METHODS, Candidates
from dexgrasp_training.work import Task


def check(settings: Settings) -> None:
    """The tester's name is looked up before any work is done.

    Raises:
        UnknownBackendError: There is no such tester.
        UnavailableBackendError: It cannot be used here.
    """
    GRASP_TESTERS.load(settings.filter.tester)


def tasks(dataset: Dataset, settings: Settings) -> list[Task]:
    """One task for each file of candidates that is not tested yet."""
    hand = settings.grasps.hand
    found = []
    for path in sorted((dataset.root / "candidates" / hand).glob("*/*.npz")):
        name, (method, number) = path.parent.name, path.stem.rsplit("-", 1)
        if not dataset.tested_path(hand, name, method, int(number)).is_file():
            arguments = (str(dataset.root), hand, name, method, int(number), settings.filter.tester)
            found.append(Task(f"{method} on {name}", judge, arguments))
    return found


def judge(root: str, hand: str, name: str, method: str, number: int, tester: str) -> dict[str, Any]:
    """Test one chunk of candidates and write the verdicts, with the settled state of those that held."""
    dataset = Dataset(Path(root))
    candidates = Candidates.load(dataset.candidates_path(hand, name, method, number))
    model = dataset.asset(name).model
    result = _tester(hand, tester).hold6(model, candidates.object_T_palm, candidates.grasp, candidates.squeeze)
    held = _held(candidates, name, result)
    verdicts = {
        "attempts": candidates.attempts,
        "outcome": result.outcome,
        "penetration": result.penetration.astype(np.float16),
        "displacement": result.displacement.astype(np.float16),
        "rotation": result.rotation.astype(np.float16),
    }
    write_arrays(dataset.tested_path(hand, name, method, number), {**held.encoded(), **verdicts})
    return {"object": name, "method": method, "candidates": len(candidates), "valid": len(held)}


def read_tally(path: Path) -> dict[str, int]:
    """Attempts, candidates and valid grasps of one tested chunk.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    data = read_arrays(path, ("attempts", "outcome", "method"))
    return {"attempts": int(data["attempts"]), "candidates": len(data["outcome"]), "valid": len(data["method"])}


def gather(dataset: Dataset, hand: str, name: str) -> int:
    """Write one object's grasps file from its tested chunks, by method and number; returns how many grasps it holds."""
    paths = sorted((dataset.root / "tested" / hand / name).glob("*.npz"))
    sets = [ObjectGrasps.load(path).named_by(METHODS) for path in paths]  # older files know fewer methods
    grasps = ObjectGrasps.concatenate(sets) if sets else ObjectGrasps.empty(load_hand(hand), name, METHODS)
    grasps.save(dataset.grasps_path(hand, name))
    return len(grasps)


def _held(candidates: Candidates, name: str, result: HoldResult) -> ObjectGrasps:
    kept = result.success
    contacts = np.full((int(kept.sum()), CONTACTS, 3), np.nan)
    most = min(CONTACTS, result.contacts.shape[1])
    contacts[:, :most] = result.contacts[kept][:, :most]
    return ObjectGrasps(
        candidates.hand,
        name,
        METHODS,
        result.object_T_palm[kept],
        candidates.pregrasp[kept],
        result.grasp[kept],
        result.squeeze[kept],
        contacts,
        np.full(int(kept.sum()), METHODS.index(candidates.method), dtype=np.uint8),
        candidates.quality[kept],
    )


@lru_cache(maxsize=4)
def _tester(hand: str, name: str) -> GraspTester:
    made: GraspTester = GRASP_TESTERS.create(name, load_hand(hand))
    return made
