"""From rows to figures: success, penetration, diversity and contacts of each contestant, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dexgrasp_sim.tester import DexGraspBenchOutcome
from rich.markup import escape
from rich.table import Table

from dexgrasp_training.evaluation.intervals import clustered_mean
from dexgrasp_training.evaluation_objects.measures import joint_deviation, position_deviation
from dexgrasp_training.evaluation_objects.trial import DEXGRASPBENCH, DGA

OUTCOMES = tuple(outcome.name.lower() for outcome in DexGraspBenchOutcome)
Figure = dict[str, float] | None  # value, low and high
_Rows = Sequence[Mapping[str, Any]]
# Rows of the table and columns of the page: heading, key of the figure, factor, digits.
COLUMNS: dict[str, tuple[tuple[str, str, float, int], ...]] = {
    DGA: (
        ("Suc.6 [%]", "success", 100.0, 1),
        ("Suc.1 [%]", "any_direction", 100.0, 1),
        ("Pen. [mm]", "penetration", 1000.0, 2),
        ("Pen., all [mm]", "penetration_of_all", 1000.0, 2),
        ("Div. [rad]", "joint_deviation", 1.0, 3),
        ("Div. [mm]", "position_deviation", 1000.0, 1),
    ),
    DEXGRASPBENCH: (
        ("success [%]", "success", 100.0, 1),
        ("objects [%]", "object_success", 100.0, 1),
        ("penetration [mm]", "penetration", 1000.0, 2),
        ("self-pen. [mm]", "self_penetration", 1000.0, 2),
        ("contact links", "contact_links", 1.0, 2),
        ("distance [mm]", "contact_distance", 1000.0, 2),
        ("consistency [mm]", "contact_consistency", 1000.0, 2),
    ),
}


def summarise(objects: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Figures of every contestant by its name, in the order of the rows.

    Args:
        objects: What `trial.try_object` wrote of each.
    """
    rows = [row for one in objects for row in one["rows"]]
    names = dict.fromkeys(row["contestant"] for row in rows)
    return {name: _figures([row for row in rows if row["contestant"] == name]) for name in names}


def table(figures: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    """What the console shows: a row for each figure, a column for each contestant."""
    found = Table(title=title, title_justify="left")
    found.add_column("")
    for name in figures:
        found.add_column(escape(name), justify="right", overflow="fold")
    for protocol, columns in COLUMNS.items():
        if any(protocol in figure for figure in figures.values()):
            found.add_row(f"[bold]{protocol}[/]")
            for heading, key, factor, digits in columns:
                cells = [shown(figure.get(protocol, {}).get(key), factor, digits) for figure in figures.values()]
                found.add_row(escape(heading), *cells)
            found.add_section()
    found.add_row("grasps", *(str(figure["grasps"]) for figure in figures.values()))
    times = (figure["generate_ms"] for figure in figures.values())
    found.add_row(escape("generate, each [ms]"), *("-" if each is None else f"{each:.1f}" for each in times))
    return found


def shown(figure: Figure, factor: float, digits: int) -> str:
    """A figure with its interval in words."""
    if figure is None:
        return "-"
    value, low, high = (f"{factor * figure[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low}, {high})"


def _figures(rows: _Rows) -> dict[str, Any]:
    answered = [row for row in rows if not row["error"]]
    times = [row["generate_ms"] / len(row["joints"]) for row in answered if row["generate_ms"] and row["joints"]]
    figures: dict[str, Any] = {
        "objects": sum(bool(row["joints"]) for row in answered),
        "grasps": sum(len(row["joints"]) for row in answered),
        "errors": {row["object"]: row["error"] for row in rows if row["error"]},
        "generate_ms": float(np.median(times)) if times else None,
    }
    if any(DGA in row for row in answered):
        figures[DGA] = _dga(answered)
    if any(DEXGRASPBENCH in row for row in answered):
        figures[DEXGRASPBENCH] = _dexgraspbench([row[DEXGRASPBENCH] for row in answered])
    return figures


def _dga(rows: _Rows) -> dict[str, Any]:
    held = [np.array(row[DGA]["success"], dtype=bool) for row in rows]
    depths = [np.array(row["penetration"]) for row in rows]
    kept = [(row, own) for row, own in zip(rows, held, strict=True) if own.any()]
    joints = [joint_deviation(np.array(row["joints"])[own]) for row, own in kept]
    palms = [position_deviation(np.array(row["object_T_palm"])[own]) for row, own in kept]
    return {
        "success": _mean(held),
        "any_direction": _mean([row[DGA]["any_direction"] for row in rows]),
        "penetration": _mean([depth[own] for depth, own in zip(depths, held, strict=True)]),
        "penetration_of_all": _mean(depths),
        "joint_deviation": _mean([[value] for value in joints if value is not None]),
        "position_deviation": _mean([[value] for value in palms if value is not None]),
        "seconds": _seconds([row[DGA] for row in rows]),
    }


def _dexgraspbench(rows: _Rows) -> dict[str, Any]:
    keys = ("success", "penetration", "self_penetration", "contact_links", "contact_distance", "contact_consistency")
    outcomes = Counter(outcome for row in rows for outcome in row["outcome"])
    return {
        **{key: _mean([[value for value in row[key] if value is not None] for row in rows]) for key in keys},
        "object_success": _mean([[any(row["success"])] for row in rows if row["success"]]),
        "outcomes": {name: outcomes[name] for name in OUTCOMES},
        "seconds": _seconds(rows),
    }


def _mean(groups: Sequence[Any]) -> Figure:
    """Mean of all values of all objects, with an interval by bootstrap over objects."""
    interval = clustered_mean([[float(value) for value in group] for group in groups])
    return None if interval is None else {key: round(value, 6) for key, value in interval._asdict().items()}


def _seconds(rows: _Rows) -> float | None:
    """Processor time of one test."""
    tested = sum(len(row["success"]) for row in rows)
    return sum(row["seconds"] for row in rows) / tested if tested else None
