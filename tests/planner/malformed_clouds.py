"""Clouds as no camera should send them: a seed gives one, of any kind in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from dexgrasp_common.transforms import apply, invert, look_at
from dexgrasp_planner.generators import SceneCloud
from numpy.typing import NDArray

WORLD_T_CAMERA = look_at([0.1, 0.0, 0.6], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])
AREA = (-0.15, 0.15, -0.25, 0.25)
Rng = np.random.Generator
Points = NDArray[np.float64]


class Malformed(NamedTuple):
    """A cloud and the kind that it is of."""

    kind: str
    scene: SceneCloud


def malformed(seed: int) -> Malformed:
    """The cloud of that seed; the same on every call."""
    rng = np.random.default_rng(seed)
    shares = np.array([share for share, _ in KINDS.values()], dtype=float)
    kind = list(KINDS)[rng.choice(len(KINDS), p=shares / shares.sum())]
    points = KINDS[kind][1](rng)
    return Malformed(kind, SceneCloud(points, WORLD_T_CAMERA, AREA if rng.random() < 0.5 else None))


def in_camera(world_p: Points) -> Points:
    return apply(invert(WORLD_T_CAMERA), world_p)


def good(rng: Rng) -> Points:
    """A table with one to three boxes on it (N, 3) [m], camera frame."""
    count = int(rng.integers(500, 4000))
    parts = [rng.uniform(-0.3, 0.3, (count, 3)) * [1.0, 1.0, 0.0]]
    for _ in range(rng.integers(1, 4)):
        half, middle = rng.uniform(0.01, 0.06, 3), rng.uniform(-0.15, 0.15, 3) * [1.0, 1.0, 0.0]
        box = rng.uniform(-1.0, 1.0, (count, 3))
        box[np.arange(count), rng.integers(3, size=count)] = rng.choice([-1.0, 1.0], count)
        parts.append(half * box + [middle[0], middle[1], half[2]])
    return in_camera(np.concatenate(parts))


def empty(rng: Rng) -> Any:
    return np.zeros([(0, 3), (0,), (0, 4), (3, 0), (0, 640, 3)][rng.integers(5)], dtype=rng.choice(["f4", "f8"]))


def few(rng: Rng) -> Any:
    return in_camera(rng.uniform([-0.1, -0.1, 0.0], [0.1, 0.1, 0.3], (rng.integers(1, 6), 3)))


def all_missing(rng: Rng) -> Any:
    return np.full((rng.integers(1, 3000), 3), rng.choice([np.nan, np.inf, -np.inf]))


def numbers_missing(rng: Rng) -> Any:
    points = good(rng)
    points[rng.random(points.shape) < rng.uniform(0.0, 1.0)] = rng.choice([np.nan, np.inf, -np.inf])
    return points


def rows_missing(rng: Rng) -> Any:
    points = good(rng)
    points[rng.random(len(points)) < rng.uniform(0.0, 1.0)] = rng.choice([np.nan, np.inf, -np.inf])
    return points.astype(np.float32)


def all_table(rng: Rng) -> Any:
    table = rng.uniform(-0.4, 0.4, (rng.integers(1, 5000), 3)) * [1.0, 1.0, 0.0]
    table[:, 2] += rng.normal(0.0, rng.uniform(0.0, 0.006), len(table))
    return in_camera(table)


def a_metre_away(rng: Rng) -> Any:
    return good(rng) + rng.choice([-1.0, 0.0, 1.0], 3)


def in_other_units(rng: Rng) -> Any:
    return good(rng) * 10.0 ** rng.integers(-4, 7)


def turned(rng: Rng) -> Any:
    """A camera whose pose is another one."""
    return good(rng) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]


def huge(rng: Rng) -> Any:
    points = good(rng)
    rows = rng.random(len(points)) < rng.uniform(0.0, 0.2)
    points[rows] *= 10.0 ** rng.uniform(1, [6, 30, 38, 300][rng.integers(4)])
    return points


def half_precision(rng: Rng) -> Any:
    with np.errstate(over="ignore"):
        return (good(rng) * [1.0, 10.0, 1e5][rng.integers(3)]).astype(np.float16)


def wrong_shape(rng: Rng) -> Any:
    points = good(rng)
    forms: list[Callable[[], Any]] = [
        lambda: points[:, :2],
        lambda: np.column_stack([points, points[:, 0]]),
        lambda: points.T,
        lambda: points.ravel(),
        lambda: points[..., None],
        lambda: points[None],
        lambda: points[0, 0],
        lambda: [[0.0, 0.0, 0.5], [0.0, 0.1]],
        lambda: points.tolist(),
    ]
    return forms[rng.integers(len(forms))]()


def wrong_type(rng: Rng) -> Any:
    points = good(rng)
    forms: list[Callable[[], Any]] = [
        lambda: (1000 * points).astype(rng.choice([np.int16, np.int64, np.uint8])),
        lambda: points > 0.0,
        lambda: points.astype(object),
        lambda: points.astype(str),
        lambda: points.astype(complex),
        lambda: points.astype(np.longdouble),
        lambda: points.astype(">f4"),
        lambda: (1000 * points).astype("M8[s]"),
        lambda: np.rec.fromarrays(points.T, names=["x", "y", "z"]),
        lambda: np.ma.masked_greater(points, 0.5),
        lambda: points.astype(np.float32)[::-3],
        lambda: None,
    ]
    return forms[rng.integers(len(forms))]()


def on_a_line(rng: Rng) -> Any:
    direction = np.eye(3)[rng.integers(3)] if rng.random() < 0.5 else rng.normal(size=3)
    along = rng.uniform(-1.0, 1.0, (rng.integers(2, 5000), 1)) * rng.choice([0.05, 0.3, 3.0])
    return in_camera(along * direction + [0.0, 0.0, rng.uniform(0.0, 0.2)])


def on_a_plane(rng: Rng) -> Any:
    across = rng.uniform(-0.3, 0.3, (rng.integers(3, 5000), 2))
    return in_camera(across @ rng.normal(size=(2, 3)) + [0.0, 0.0, rng.uniform(0.0, 0.2)])


def duplicates(rng: Rng) -> Any:
    points = few(rng) if rng.random() < 0.5 else good(rng)[:: rng.integers(1, 1000)]
    return np.repeat(points, rng.integers(2, 500), axis=0)


def scattered(rng: Rng) -> Any:
    points = rng.uniform(-1.0, 1.0, (rng.integers(1, 20_000), 3)) * 10.0 ** rng.uniform(-3.0, 2.0)
    return in_camera(points * [1.0, 1.0, rng.choice([0.0, 0.1, 1.0])])


def specks(rng: Rng) -> Any:
    """Hundreds of tiny things."""
    middles = rng.uniform([-0.5, -0.5, 0.0], [0.5, 0.5, 0.1], (rng.integers(10, 400), 1, 3))
    return in_camera((middles + rng.normal(0.0, 0.005, (len(middles), 40, 3))).reshape(-1, 3))


def a_million(rng: Rng) -> Any:
    """Of a scene, of a cloud of dust, of one place, or of all the room."""
    count = 1_000_000
    match rng.integers(4):
        case 0:
            points = good(rng)
            points = points[rng.integers(len(points), size=count)] + rng.normal(0.0, 1e-3, (count, 3))
        case 1:
            points = in_camera(rng.uniform([-0.3, -0.3, 0.0], [0.3, 0.3, 0.4], (count, 3)))
        case 2:
            points = np.broadcast_to(few(rng)[:1], (count, 3))
        case _:
            points = rng.normal(0.0, 10.0 ** rng.uniform(-1.0, 2.0), (count, 3))
    return points.astype(np.float32)


def mixture(rng: Rng) -> Any:
    """A scene with rows of several other kinds in it."""
    others = [few, numbers_missing, all_missing, on_a_line, on_a_plane, duplicates, scattered, huge, specks]
    parts = [good(rng), *(others[i](rng) for i in rng.choice(len(others), 3, replace=False))]
    points = rng.permutation(np.concatenate(parts))
    with np.errstate(over="ignore"):
        return points.astype(rng.choice([np.float32, np.float64]))


# How often each is drawn.
KINDS: dict[str, tuple[float, Callable[[Rng], Any]]] = {
    "good": (1, good),
    "empty": (3, empty),
    "few": (3, few),
    "all_missing": (3, all_missing),
    "numbers_missing": (4, numbers_missing),
    "rows_missing": (4, rows_missing),
    "all_table": (4, all_table),
    "a_metre_away": (4, a_metre_away),
    "in_other_units": (4, in_other_units),
    "turned": (4, turned),
    "huge": (4, huge),
    "half_precision": (4, half_precision),
    "wrong_shape": (4, wrong_shape),
    "wrong_type": (4, wrong_type),
    "on_a_line": (4, on_a_line),
    "on_a_plane": (4, on_a_plane),
    "duplicates": (4, duplicates),
    "scattered": (4, scattered),
    "specks": (3, specks),
    "a_million": (1, a_million),
    "mixture": (4, mixture),
}
