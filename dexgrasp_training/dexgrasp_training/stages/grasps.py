"""Stage `grasps`: candidates by every method on every object, a chunk of attempts at a time."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dexgrasp_description import load_hand
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.settings import Settings, seed_of
from dexgrasp_training.stages.filter import read_tally
from dexgrasp_training.synthesis.method import GRASP_METHODS, IMPORTED, GraspMethod
from dexgrasp_training.synthesis.resting import Resting
from dexgrasp_training.work import Task


@dataclass(frozen=True)
class Chunk:
    """One task: attempts of one method on one object."""

    hand: str
    object: str
    method: str
    number: int


def check(settings: Settings) -> None:
    """Names of hand and methods are looked up before any work is done.

    Raises:
        UnknownNameError: There is no such hand.
        UnknownBackendError: There is no such method.
        SettingsError: A method has no number of attempts.
    """
    load_hand(settings.grasps.hand)
    for method in settings.grasps.shares:
        GRASP_METHODS.get(method)
        if settings.grasps.attempts.get(method, 0) < 1:
            raise SettingsError(f"grasps.attempts needs a positive number for {method!r}.")


def plan(dataset: Dataset, settings: Settings) -> list[Chunk]:
    """The next chunks of every method on every object: as many as the valid grasps still fall short.

    What is planned depends on finished files only, so a resumed run plans what an uninterrupted one does: how many
    chunks an object needs is reckoned from its yield over all its tested chunks. Grasps that were unpacked count.
    """
    grasps = settings.grasps
    chunks = []
    for name in dataset.objects():
        given = _given(dataset, grasps.hand, name)
        for method, share in grasps.shares.items():
            if share <= 0.0:
                continue
            tested = _tested(dataset, grasps.hand, name, method)
            wanted = share * grasps.valid - given[method]
            valid = sum(tally["valid"] for tally in tested)
            if valid >= wanted:
                continue
            # At most as many again as there are: a first chunk says little about the yield.
            more = min(math.ceil((wanted - valid) / valid * len(tested)), len(tested)) if valid else 1
            last = min(len(tested) + more, grasps.most_chunks)
            chunks += [Chunk(grasps.hand, name, method, number) for number in range(len(tested), last)]
    return chunks


def tasks(dataset: Dataset, chunks: list[Chunk], settings: Settings) -> list[Task]:
    """One task for each chunk whose candidates are not there yet."""
    wanted, tasks = settings.grasps, []
    for chunk in chunks:
        if not dataset.candidates_path(chunk.hand, chunk.object, chunk.method, chunk.number).is_file():
            numbers = wanted.attempts[chunk.method], settings.seed, wanted.resting.get(chunk.method, 0.0)
            tasks.append(Task(f"{chunk.method} on {chunk.object}", synthesise, (str(dataset.root), chunk, *numbers)))
    return tasks


def synthesise(root: str, chunk: Chunk, attempts: int, seed: int, share: float) -> dict[str, Any]:
    """Make one chunk's candidates and write them.

    Args:
        share: Of the chunks, spread evenly over their numbers, those of the object at rest. They keep the candidates
            that a hand can come to in one of its resting poses.
    """
    dataset = Dataset(Path(root))
    path = dataset.object_path(chunk.object)
    at_rest = math.floor((chunk.number + 1) * share) > math.floor(chunk.number * share)
    resting = _resting(path, chunk.hand) if at_rest else None
    candidates = method_of(chunk.hand, chunk.method).generate(
        _asset(path), attempts, seed_of(seed, chunk.object, chunk.method, chunk.number), resting
    )
    if resting:
        usable = resting.usable(candidates.object_T_palm, candidates.pregrasp, candidates.grasp)
        candidates = candidates[usable > 0.0]
    # Best first would bias what is kept when a set is cut short; the order is that of the attempts.
    candidates.save(dataset.candidates_path(chunk.hand, chunk.object, chunk.method, chunk.number))
    return {"object": chunk.object, "method": chunk.method, "attempts": attempts, "candidates": len(candidates)}


@lru_cache(maxsize=8)
def method_of(hand: str, method: str) -> GraspMethod:
    """A method, made once in each process: its tables take seconds."""
    made: GraspMethod = GRASP_METHODS.create(method, load_hand(hand))
    return made


@lru_cache(maxsize=4)
def _asset(path: Path) -> ObjectAsset:
    return ObjectAsset.load(path)


@lru_cache(maxsize=4)
def _resting(path: Path, hand: str) -> Resting:
    return Resting(load_hand(hand), _asset(path))


def _given(dataset: Dataset, hand: str, name: str) -> Counter[str]:
    """How many grasps of each method came with an import, or with the starter set."""
    path = dataset.tested_path(hand, name, IMPORTED, 0)
    if not path.is_file():
        return Counter()
    grasps = ObjectGrasps.load(path)
    return Counter(grasps.methods[index] for index in grasps.method)


def _tested(dataset: Dataset, hand: str, name: str, method: str) -> list[dict[str, int]]:
    """Tallies of the chunks 0, 1, ... up to the first that is not tested."""
    tallies: list[dict[str, int]] = []
    while (path := dataset.tested_path(hand, name, method, len(tallies))).is_file():
        tallies.append(read_tally(path))
    return tallies
