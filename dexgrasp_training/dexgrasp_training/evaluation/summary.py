"""From rows to figures: success with intervals, against the heuristic, by kind and family, and why grasps failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from dexgrasp_sim.tester import LiftOutcome
from rich.table import Table

from dexgrasp_training.evaluation.contestants import HEURISTIC
from dexgrasp_training.evaluation.intervals import Interval, clustered_mean, wilson
from dexgrasp_training.scene_record import KINDS

NO_GRASP = "no_grasp"
OUTCOMES = (*(outcome.name.lower() for outcome in LiftOutcome), NO_GRASP)
FAMILIES = ("seen family", "unseen family", "mesh")  # of the object that a grasp aims at

_Row = Mapping[str, Any]


def summarise(scenes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Figures of every contestant by its name, in the order of the rows.

    Args:
        scenes: What `trial.try_scene` wrote of each.
    """
    rows = [row for scene in scenes for row in scene["rows"]]
    objects = {scene["scene"]: scene["objects"] for scene in scenes}
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    of = {name: [row for row in rows if row["contestant"] == name] for name in names}
    found = {name: _figures(of[name], objects) for name in names}
    if HEURISTIC in of:
        for name in names:
            found[name]["against_heuristic"] = None if name == HEURISTIC else _difference(of[name], of[HEURISTIC])
    return found


def succeeded(row: _Row) -> bool:
    """Whether the best grasp of a row lifted an object."""
    return bool(row["success"]) and bool(row["success"][0])


def tables(figures: Mapping[str, Mapping[str, Any]], title: str) -> list[Table]:
    """What the console shows: how often objects were lifted, and why not."""
    kinds = [kind for kind in KINDS if any(kind in figure["kinds"] for figure in figures.values())]
    against = any(figure.get("against_heuristic") for figure in figures.values())
    lifts = Table(title=title, title_justify="left")
    lifts.add_column("contestant", no_wrap=True)
    last = ("depth, mean and most [mm]", "generate [ms]")
    for column in ("lifts [%]", *kinds, *(["against heuristic"] if against else []), *last):
        lifts.add_column(column, justify="right", overflow="fold")
    for name, figure in figures.items():
        cells = [_percent(figure["success"])]
        cells += [_percent(figure["kinds"].get(kind, {}).get("success"), whole=False) for kind in kinds]
        if against:
            cells.append(_points(figure.get("against_heuristic")))
        milliseconds = figure["generate_ms"]
        depth = figure["depth_mm"]
        cells.append("-" if depth is None else f"{depth['mean']:.1f}, {depth['most']:.1f}")
        lifts.add_row(name, *cells, "-" if milliseconds is None else f"{milliseconds:.0f}")
    outcomes = [name for name in OUTCOMES if any(figure["outcomes"][name] for figure in figures.values())]
    reasons = Table(title="What became of the best grasps", title_justify="left")
    reasons.add_column("contestant", no_wrap=True)
    for column in (*(name.replace("_", " ") for name in outcomes), "another object lifted"):
        reasons.add_column(column, justify="right", overflow="fold")
    for name, figure in figures.items():
        counts = [figure["outcomes"][key] for key in outcomes]
        reasons.add_row(name, *map(str, counts), str(figure["lifted_another_object"]))
    return [lifts, reasons]


def _figures(rows: Sequence[_Row], objects: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    tested = [success for row in rows for success in row["success"]]
    outcomes = Counter(row["outcome"][0] if row["outcome"] else NO_GRASP for row in rows)
    codes = Counter(str(row["error_code"]) for row in rows if row["error_code"])
    times = [row["generate_ms"] for row in rows]
    depths = [1e3 * row["depth"][0] for row in rows if row["depth"]]

    def family(row: _Row) -> str | None:
        if not row["aimed"]:
            return None
        seen = objects[row["scene"]][row["aimed"][0]]["seen"]
        return FAMILIES[2] if seen is None else FAMILIES[0] if seen else FAMILIES[1]

    return {
        **_share(rows),
        "kinds": _groups(rows, lambda row: row["kind"], KINDS),
        "families": _groups(rows, family, FAMILIES),
        "tested": len(tested),
        "tested_success": float(np.mean(tested)) if tested else None,
        "outcomes": {name: outcomes[name] for name in OUTCOMES},
        "errors": {
            code: {
                "views": count,
                "example": next(row["error_msg"] for row in rows if str(row["error_code"]) == code),
            }
            for code, count in sorted(codes.items())
        },
        "lifted_another_object": sum(succeeded(row) and row["lifted"][0] != row["aimed"][0] for row in rows),
        # Of the hand's deepest point in the true objects, at the best grasps.
        "depth_mm": {"mean": round(float(np.mean(depths)), 3), "most": round(max(depths), 3)} if depths else None,
        "generate_ms": float(np.median(times)) if times else None,
    }


def _share(rows: Sequence[_Row]) -> dict[str, Any]:
    successes = sum(map(succeeded, rows))
    return {"views": len(rows), "successes": successes, "success": _dict(wilson(successes, len(rows)))}


def _groups(rows: Sequence[_Row], key: Callable[[_Row], str | None], order: Sequence[str]) -> dict[str, Any]:
    of = {name: [row for row in rows if key(row) == name] for name in order}
    return {name: _share(own) for name, own in of.items() if own}


def _difference(rows: Sequence[_Row], others: Sequence[_Row]) -> dict[str, float] | None:
    """Success minus that of others in the same views."""
    before = {(row["scene"], row["view"]): succeeded(row) for row in others}
    scenes: dict[str, list[float]] = {}
    for row in rows:
        key = row["scene"], row["view"]
        scenes.setdefault(row["scene"], []).append(float(succeeded(row)) - float(before[key]))
    return _dict(clustered_mean(list(scenes.values())))


def _dict(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {key: round(value, 5) for key, value in interval._asdict().items()}


def _percent(share: Mapping[str, float] | None, *, whole: bool = True) -> str:
    if share is None:
        return "-"
    text = f"{100 * share['value']:.1f}"
    return f"{text} ({100 * share['low']:.1f}, {100 * share['high']:.1f})" if whole else text


def _points(difference: Mapping[str, float] | None) -> str:
    if difference is None:
        return ""
    return f"{100 * difference['value']:+.1f} ({100 * difference['low']:+.1f}, {100 * difference['high']:+.1f})"
