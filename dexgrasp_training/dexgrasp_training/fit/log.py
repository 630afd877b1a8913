"""What a run says of itself: a line of JSON per entry, and TensorBoard's curves where that is installed."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dexgrasp_common.report import write_whole

LOG = "log.jsonl"
CURVES = "curves"
NO_CURVES = "TensorBoard is not installed: log.jsonl alone is written. For curves, too: pip install tensorboard"
_RECENT = 50  # entries that shown figures are means of


class Log:
    """The log of one run.

    Args:
        folder: Of the run.
        iteration: Where the run goes on from; entries after it, which a kill made void, are dropped.

    Attributes:
        recent: The last entries of training.
        validation: The last entry of a validation; None before the first.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        self._path = folder / LOG
        self.recent: deque[Mapping[str, Any]] = deque(maxlen=_RECENT)
        self.validation: Mapping[str, Any] | None = None
        for entry in _keep_until(self._path, iteration):
            self._note(entry)
        self._curves = _curves(folder / CURVES, iteration)

    @property
    def has_curves(self) -> bool:
        """Whether TensorBoard is here."""
        return self._curves is not None

    def write(self, entry: Mapping[str, Any]) -> None:
        """Add an entry: numbers, some of them in groups; its `iteration` says when."""
        self._note(entry)
        with self._path.open("a") as log:
            log.write(json.dumps(entry) + "\n")
        if self._curves is not None:
            for name, value in _numbers(entry):
                self._curves.add_scalar(name, value, entry["iteration"])

    def losses(self) -> dict[str, float]:
        """Means of the recent losses; empty before the first."""
        entries = [entry["losses"] for entry in self.recent]
        return {name: sum(entry[name] for entry in entries) / len(entries) for name in (entries[0] if entries else ())}

    def close(self) -> None:
        """Write what the curves still hold back."""
        if self._curves is not None:
            self._curves.close()

    def _note(self, entry: Mapping[str, Any]) -> None:
        if "validation" in entry:
            self.validation = entry
        else:
            self.recent.append(entry)


def _curves(folder: Path, iteration: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        return None
    return SummaryWriter(str(folder), purge_step=iteration + 1)


def _numbers(entry: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """Every number of nested groups with its name: `losses/total`."""
    for name, value in entry.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{above}{name}/")
        elif name != "iteration":
            yield f"{above}{name}", float(value)


def _keep_until(path: Path, iteration: int) -> list[dict[str, Any]]:
    """Drop the entries of a log that came after the state that a run goes on from, and give those that stay."""
    if not path.is_file():
        return []
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    entries = [entry for entry in entries if entry["iteration"] <= iteration]
    text = "".join(f"{json.dumps(entry)}\n" for entry in entries)
    write_whole(path, lambda file: file.write(text.encode()))
    return entries
