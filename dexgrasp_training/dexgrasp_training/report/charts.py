"""Charts of yield, outcomes, diversity and scenes. Colours are those of Okabe and Ito: distinct to the colour-blind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from dexgrasp_sim.tester import HoldOutcome
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from dexgrasp_description import HandModel
from dexgrasp_training.report.diversity import LATITUDES, LONGITUDES, MethodGrasps, direction_cells, joint_unit
from dexgrasp_training.report.scene_facts import SceneFacts
from dexgrasp_training.report.yields import Tally, Yields, by_method
from dexgrasp_training.scene_record import KINDS
from dexgrasp_training.synthesis.method import METHODS

_OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_OUTCOMES = {
    HoldOutcome.HELD: "#009E73",
    HoldOutcome.PENETRATES: "#D55E00",
    HoldOutcome.UNSETTLED: "#CC79A7",
    HoldOutcome.DROPPED: "#56B4E9",
    HoldOutcome.TURNED: "#F0E442",
}
_KINDS = dict(zip(KINDS, _OKABE_ITO, strict=False))
_OTHERS = ("#666666", *_OKABE_ITO)  # parts that are no kinds, in turn
_TEXT, _GRID = "#333333", "#dddddd"
_FINER = 20  # lines drawn for each edge of a cell
_ROW = 0.19  # height of an object's row [in]


def method_colour(method: str) -> str:
    """The same in every chart."""
    number = METHODS.index(method) if method in METHODS else len(METHODS)
    return _OKABE_ITO[number % len(_OKABE_ITO)]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size [in], apart from pyplot's global ones."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(text: str) -> str:
    """Text that matplotlib shows as it is."""
    return text.replace("$", r"\$")


def draw_yield(yields: Yields, test: set[str], rate: Callable[[Tally], float | None], title: str) -> Figure:
    """A panel for each method with a bar for each object, best object first; test objects are hatched and marked."""
    methods = list(by_method(yields))

    def mean(name: str) -> float:
        rates = [rate(tally) for tally in yields[name].values()]
        return float(np.mean([value for value in rates if value is not None] or [0.0]))

    names = sorted(yields, key=lambda name: (mean(name), name))
    figure = new_figure(2.2 + 2.4 * len(methods), 1.5 + _ROW * len(names))
    panels = figure.subplots(1, len(methods), squeeze=False, sharey=True)[0]
    labels = [f"{plain(name)} (test)" if name in test else plain(name) for name in names]
    panels[0].set_yticks(range(len(names)), labels, fontsize=8)
    for number, (axes, method) in enumerate(zip(panels, methods, strict=True)):
        for row, name in enumerate(names):
            value = rate(yields[name][method]) if method in yields[name] else None
            if value is None:
                continue
            axes.barh(
                row,
                100.0 * value,
                height=0.72,
                color=method_colour(method),
                edgecolor="white",
                linewidth=0.0,
                alpha=0.55 if name in test else 1.0,
                hatch="////" if name in test else None,
            )
        overall = rate(by_method(yields)[method])
        if overall is not None:
            axes.axvline(100.0 * overall, color=_TEXT, linestyle=":", linewidth=1.2)
            axes.set_title(f"{plain(method)}\nall objects: {100 * overall:.1f} %", fontsize=10)
        axes.set_ylim(-0.7, len(names) - 0.3)
        axes.set_xlim(left=0.0)
        axes.tick_params(axis="y", length=0, labelleft=number == 0)
        _tidy(axes, "x")
        axes.set_xlabel(f"{title} [%]")
    marks = [Patch(facecolor="#777777", label="train"), Patch(facecolor="#bbbbbb", hatch="////", edgecolor="white")]
    marks[1].set_label("test")
    figure.legend(handles=marks, loc="outside lower right", ncols=2, frameon=False, fontsize=9)
    return figure


def draw_sorted_rates(yields: Yields) -> Figure:
    """Share of attempts that became valid grasps, per object in sorted order, means dotted (the paper's Fig. 12)."""
    figure = new_figure(8.0, 3.6)
    axes = figure.add_subplot()
    for method, total in by_method(yields).items():
        tallies = [tallies[method] for tallies in yields.values() if method in tallies]
        rates = sorted((100.0 * tally.valid / tally.attempts for tally in tallies if tally.attempts), reverse=True)
        if not rates:
            continue
        colour, overall = method_colour(method), 100.0 * total.valid / total.attempts
        label = f"{plain(method)}: {overall:.1f} % of {total.attempts:,} attempts"
        axes.plot(range(1, len(rates) + 1), rates, marker="o", markersize=3, color=colour, label=label)
        axes.axhline(overall, color=colour, linestyle=":", linewidth=1.2)
    axes.set_xlabel("object, in sorted order of each method")
    axes.set_ylabel("valid grasps per attempt [%]")
    axes.set_ylim(bottom=0.0)
    _tidy(axes, "y")
    axes.legend(frameon=False, fontsize=9)
    return figure


def draw_outcomes(tallies: Mapping[str, Tally]) -> Figure:
    """What the tester said of each method's candidates: shares of one bar."""
    figure = new_figure(9.0, 1.3 + 0.5 * len(tallies))
    axes = figure.add_subplot()
    tested = {method: tally for method, tally in tallies.items() if tally.candidates}
    for row, tally in enumerate(tested.values()):
        start = 0.0
        for outcome, colour in _OUTCOMES.items():
            width = 100.0 * tally.outcomes[outcome] / tally.candidates
            axes.barh(row, width, left=start, height=0.7, color=colour, edgecolor="white")
            if width >= 4.0:
                axes.text(start + width / 2, row, f"{width:.0f}", ha="center", va="center", fontsize=9, color="black")
            start += width
    labels = [f"{plain(method)}\n{tally.candidates:,} candidates" for method, tally in tested.items()]
    axes.set_yticks(range(len(tested)), labels, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0.0, 100.0)
    axes.set_xlabel("share of the candidates [%]")
    _tidy(axes, "")
    handles = [Patch(facecolor=colour, label=outcome.name.lower()) for outcome, colour in _OUTCOMES.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    return figure


def draw_directions(methods: Mapping[str, MethodGrasps]) -> Figure:
    """Sides from which the hand comes, as density over that of sides drawn evenly; equal-area map of the sphere."""
    columns = min(2, len(methods))
    rows = -(-len(methods) // columns)
    figure = new_figure(4.8 * columns + 0.8, 2.9 * rows)
    cells = LONGITUDES * LATITUDES
    densities = {
        method: np.bincount(direction_cells(-grasps.direction), minlength=cells).reshape(LONGITUDES, LATITUDES).T
        * (cells / len(grasps.direction))
        for method, grasps in methods.items()
    }
    most = max(float(density.max()) for density in densities.values())
    longitude = np.linspace(-np.pi, np.pi, LONGITUDES * _FINER + 1)
    latitude = np.arcsin(np.linspace(-1.0, 1.0, LATITUDES * _FINER + 1))
    panels = []
    for number, (method, density) in enumerate(densities.items()):
        axes = figure.add_subplot(rows, columns, number + 1, projection="mollweide")
        fine = np.kron(density, np.ones((_FINER, _FINER)))  # so that the cells' edges follow the map's curves
        mesh = axes.pcolormesh(longitude, latitude, fine, cmap="cividis", vmin=0.0, vmax=most, rasterized=True)
        axes.set_title(f"{plain(method)} ({len(methods[method].direction):,} grasps)", fontsize=10)
        axes.set_xticks(np.radians([-90, 0, 90]), ["-y", "+x", "+y"], fontsize=9, color="white")
        axes.set_yticks(np.radians([-60, 0, 60]), ["from\nbelow", "level", "from\nabove"], fontsize=8)
        for label in axes.get_xticklabels():
            label.set_path_effects([withStroke(linewidth=2.0, foreground="black")])
        axes.grid(color="white", alpha=0.25, linewidth=0.5)
        panels.append(axes)
    figure.colorbar(mesh, ax=panels, shrink=0.8, label="density (1: even)")
    return figure


def draw_distances(methods: Mapping[str, MethodGrasps]) -> Figure:
    """Distance of the palm from the object's centre, and number of contacts."""
    figure = new_figure(9.0, 3.2)
    left, right = figure.subplots(1, 2)
    most = max(float(grasps.distance.max()) for grasps in methods.values())
    bins = np.linspace(0.0, 100.0 * most, 31)
    width = 0.8 / len(methods)
    counts = range(1 + max(int(grasps.contacts.max()) for grasps in methods.values()))
    for number, (method, grasps) in enumerate(methods.items()):
        colour = method_colour(method)
        weights = np.full(len(grasps.distance), 100.0 / len(grasps.distance))
        left.hist(100.0 * grasps.distance, bins, weights=weights, histtype="step", linewidth=1.8, color=colour)
        shares = 100.0 * np.bincount(grasps.contacts, minlength=len(counts)) / len(grasps.contacts)
        place = np.array(counts) + (number - (len(methods) - 1) / 2) * width
        right.bar(place, shares, width, color=colour, label=plain(method))
    left.set_xlabel("palm's origin to centre of mass [cm]")
    right.set_xlabel("links in contact")
    right.set_xticks(list(counts))
    for axes in (left, right):
        axes.set_ylabel("share of the grasps [%]")
        _tidy(axes, "y")
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def draw_joints(methods: Mapping[str, MethodGrasps], hand: HandModel) -> Figure:
    """Joints of the grasps: median, quartiles, and from the 5th to the 95th percentile; limits in grey."""
    joints = hand.joint_names
    figure = new_figure(max(5.0, 1.2 + 0.65 * len(joints)), 3.8)
    axes = figure.add_subplot()
    width = 0.8 / len(methods)
    axes.use_sticky_edges = False
    axes.bar(range(len(joints)), hand.upper - hand.lower, 0.92, bottom=hand.lower, color="#eeeeee", zorder=0)
    for number, (method, grasps) in enumerate(methods.items()):
        low, lower, middle, upper, high = np.quantile(grasps.joints, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
        place = np.arange(len(joints)) + (number - (len(methods) - 1) / 2) * width
        colour = method_colour(method)
        axes.vlines(place, low, high, color=colour, linewidth=1.2)
        axes.bar(place, upper - lower, 0.8 * width, bottom=lower, color=colour, label=plain(method))
        axes.hlines(middle, place - 0.4 * width, place + 0.4 * width, color="black", linewidth=1.5)
    units = sorted({joint_unit(hand, joint) for joint in joints})
    axes.set_xticks(range(len(joints)), [plain(joint) for joint in joints], fontsize=9)
    axes.set_ylabel(f"position [{' or '.join(units)}]")
    axes.set_xlim(-0.6, len(joints) - 0.4)
    _tidy(axes, "y")
    figure.legend(loc="outside upper center", ncols=len(methods), frameon=False, fontsize=9)
    return figure


def draw_scene_facts(scenes: Sequence[SceneFacts]) -> Figure:
    """Objects, height of the pile, clear grasps of an object, and share that stays clear; by kind of scene."""
    figure = new_figure(10.0, 5.6)
    objects, height, clear, shares = figure.subplots(2, 2).ravel()
    groups = {kind: [scene for scene in scenes if scene.kind == kind] for kind in KINDS}
    groups = {kind: group for kind, group in groups.items() if group}
    series: list[tuple[Axes, str, Callable[[SceneFacts], Sequence[float]]]] = [
        (objects, "objects in a scene", lambda scene: [scene.objects]),
        (height, "height of the pile [cm]", lambda scene: [100.0 * scene.height]),
        (clear, "clear grasps of an object", lambda scene: scene.clear or ()),
        (shares, "share of an object's grasps that stay clear [%]", lambda scene: [100.0 * s for s in scene.shares]),
    ]
    for axes, title, read in series:
        values = {kind: [value for scene in group for value in read(scene)] for kind, group in groups.items()}
        everything = [value for list_ in values.values() for value in list_]
        axes.set_xlabel(title)
        axes.set_ylabel("scenes" if axes in (objects, height) else "objects in scenes")
        if not everything:
            axes.text(0.5, 0.5, "not known yet", ha="center", va="center", transform=axes.transAxes, color="#777777")
            continue
        if axes is objects:
            bins = np.arange(min(everything) - 0.5, max(everything) + 1.0).tolist()
        else:
            bins = np.linspace(0.0, 100.0 if axes is shares else 1.02 * max(everything) + 1e-9, 21).tolist()
        colours = [_KINDS[kind] for kind in KINDS if kind in values]
        axes.hist([values[kind] for kind in values], bins, stacked=True, color=colours, label=list(values))
        _tidy(axes, "y")
    objects.xaxis.get_major_locator().set_params(integer=True)
    objects.legend(frameon=False, fontsize=9)
    return figure


def draw_shares(axes: Axes, groups: Mapping[str, Mapping[str, tuple[float, float, float]]], title: str) -> None:
    """Bars with intervals.

    Args:
        axes: Where.
        groups: Name of each group to its parts, each with share, lower and upper end, from 0 to 1.
        title: Of the vertical axis.
    """
    parts = list(dict.fromkeys(part for group in groups.values() for part in group))
    width = 0.8 / max(len(parts), 1)
    for number, part in enumerate(parts):
        rows = [row for row, group in enumerate(groups.values()) if part in group]
        share, low, high = 100.0 * np.array([group[part] for group in groups.values() if part in group]).T
        place = np.array(rows) + (number - (len(parts) - 1) / 2) * width
        colour = _KINDS.get(part, _OTHERS[number % len(_OTHERS)])  # type: ignore[call-overload]
        error = np.maximum([share - low, high - share], 0.0)
        axes.bar(place, share, 0.9 * width, yerr=error, color=colour, ecolor=_TEXT, capsize=2, label=plain(part))
    axes.set_xticks(range(len(groups)), [plain(name) for name in groups], fontsize=9)
    axes.set_ylabel(title)
    axes.set_ylim(0.0, 100.0)
    _tidy(axes, "y")
    axes.legend(frameon=False, fontsize=9, ncols=len(parts), loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _tidy(axes: Axes, grid: Literal["x", "y", ""]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=_GRID, linewidth=0.8)
