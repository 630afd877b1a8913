"""How many attempts became valid grasps, and what became of the others, by object and method."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dexgrasp_sim.tester import HoldOutcome
from rich.progress import Progress

from dexgrasp_training.dataset import Dataset
from dexgrasp_training.storage import read_arrays
from dexgrasp_training.synthesis.method import METHODS


@dataclass(frozen=True)
class Tally:
    """What came of some tested chunks.

    Attributes:
        attempts: Initial poses.
        outcomes: Candidates by `HoldOutcome`.
    """

    attempts: int = 0
    outcomes: tuple[int, ...] = field(default=(0,) * len(HoldOutcome))

    def __add__(self, other: Tally) -> Tally:
        outcomes = tuple(a + b for a, b in zip(self.outcomes, other.outcomes, strict=True))
        return Tally(self.attempts + other.attempts, outcomes)

    @property
    def candidates(self) -> int:
        """Grasps that the method proposed."""
        return sum(self.outcomes)

    @property
    def valid(self) -> int:
        """Those that held."""
        return self.outcomes[HoldOutcome.HELD]

    def as_dict(self) -> dict[str, Any]:
        """Counts, and rates from 0 to 1 (None of nothing)."""
        return {
            "attempts": self.attempts,
            "candidates": self.candidates,
            "valid": self.valid,
            "valid_per_attempt": share(self.valid, self.attempts),
            "valid_per_candidate": share(self.valid, self.candidates),
            "outcomes": {outcome.name.lower(): self.outcomes[outcome] for outcome in HoldOutcome},
        }


Yields = dict[str, dict[str, Tally]]  # object -> method -> tally


def share(part: float, whole: float) -> float | None:
    """A quotient; None where there is nothing to divide by."""
    return part / whole if whole else None


def read_yields(dataset: Dataset, hand: str, progress: Progress) -> Yields:
    """Tallies of every tested chunk: object to method to tally, both in order.

    Raises:
        DatasetError: A file is damaged.
    """
    found: Yields = {}
    paths = sorted((dataset.root / "tested" / hand).glob("*/*.npz"))
    for path in progress.track(paths, description="yield"):
        data = read_arrays(path, ("attempts", "outcome"))
        counts = np.bincount(data["outcome"], minlength=len(HoldOutcome))
        of_object = found.setdefault(path.parent.name, {})
        method = path.stem.rsplit("-", 1)[0]
        tally = Tally(int(data["attempts"]), tuple(int(n) for n in counts))
        of_object[method] = of_object.get(method, Tally()) + tally
    return {name: {method: tallies[method] for method in in_order(tallies)} for name, tallies in found.items()}


def by_method(yields: Yields) -> dict[str, Tally]:
    """Tallies over all objects."""
    total: dict[str, Tally] = {}
    for tallies in yields.values():
        for method, tally in tallies.items():
            total[method] = total.get(method, Tally()) + tally
    return {method: total[method] for method in in_order(total)}


def in_order(methods: Iterable[str]) -> list[str]:
    """Methods as the registry lists them, then others by name."""
    return sorted(methods, key=lambda name: (METHODS.index(name) if name in METHODS else len(METHODS), name))
