"""Collision-free paths in joint space: OMPL's RRTConnect, shortened and rounded.

Given the same seed, start, goal and obstacles, the result is the same: nothing here depends on the clock except
the time limit, and that only ends in an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ompl import base, geometric, util

from dexgrasp_planner.errors import NoPathError, PlanTimeoutError
from dexgrasp_planner.timing import path_spline

Array = NDArray[np.float64]
IsFree = Callable[[Array], bool]
# Start, goal (D,) [rad], collision check and deadline on time.monotonic() to a path (N, D) [rad].
FindPath = Callable[[Array, Array, IsFree, float], Array]

# Vertices of the rounded path are this far apart [rad]; its spline then follows the checked polyline to about 1 mrad.
_VERTEX_SPACING = 0.06
# Corners are rounded over this many vertices on either side, or fewer where that would touch something.
_ROUNDING = 6
_ROUNDING_TRIES = 12
_SHORTCUT_ROUNDS = 3


@dataclass(frozen=True)
class RrtConnect:
    """Bidirectional random trees (Kuffner and LaValle, 2000) between two configurations.

    Attributes:
        lower: array (D,), joint limits [rad].
        upper: array (D,), joint limits [rad].
        resolution: Largest distance between checked configurations [rad].
        reach: Length of a tree's branch [rad].
        seed: Random seed.
    """

    lower: Array
    upper: Array
    resolution: float = 0.04
    reach: float = 0.8
    seed: int = 0

    def __call__(self, start: Array, goal: Array, is_free: IsFree, deadline: float) -> Array:
        """Path (N, D) from start to goal [rad], dense, free at the checked resolution and without sharp corners.

        Args:
            start: array (D,) [rad], free.
            goal: array (D,) [rad], free.
            is_free: Whether a configuration is free of collisions.
            deadline: Time at which to give up, on time.monotonic() [s].

        Raises:
            PlanTimeoutError: No path by the deadline.
            NoPathError: Start or goal lies outside the joint limits.
        """
        for name, q in (("start", start), ("goal", goal)):
            if ((q < self.lower) | (q > self.upper)).any():
                raise NoPathError(f"The {name} {np.round(q, 3).tolist()} lies outside the joint limits.")
        if segment_is_free(start, goal, is_free, self.resolution):
            return densify(np.array([start, goal]), _VERTEX_SPACING)
        return self.rounded(self._search(start, goal, is_free, deadline), is_free)

    def rounded(self, vertices: Array, is_free: IsFree) -> Array:
        """The polyline (N, D) [rad] densified, each corner rounded as far as that stays free."""
        dense = densify(vertices, _VERTEX_SPACING)
        widths = np.full(len(dense), _ROUNDING)
        for _ in range(_ROUNDING_TRIES):
            path = _round_corners(dense, widths)
            spline = path_spline(path)
            where = np.linspace(0.0, spline.x[-1], int(np.ceil(spline.x[-1] / self.resolution)) + 2)
            blocked = where[[not is_free(q) for q in spline(where)]]
            if not len(blocked):
                return path
            # Vertex i of the rounded path stands for vertex i of the dense one; sharpen those near a collision.
            near = np.abs(spline.x[:, None] - blocked).min(axis=1) < _ROUNDING * _VERTEX_SPACING
            if not widths[near].any():
                break
            widths[near] //= 2
        raise NoPathError("The path touches an obstacle between the checked configurations; use a finer resolution.")

    def _search(self, start: Array, goal: Array, is_free: IsFree, deadline: float) -> Array:
        util.setLogLevel(util.LogLevel.LOG_NONE)
        util.RNG.setSeed(self.seed + 1)  # OMPL takes zero for "no seed"
        dimension = len(start)
        space = base.RealVectorStateSpace(dimension)
        bounds = base.RealVectorBounds(dimension)
        # A way around obstacles needs no full turns beyond both ends; leaving them out shortens search and path.
        bounds.low = np.maximum(self.lower, np.minimum(start, goal) - np.pi).tolist()
        bounds.high = np.minimum(self.upper, np.maximum(start, goal) + np.pi).tolist()
        space.setBounds(bounds)
        info = base.SpaceInformation(space)
        info.setStateValidityChecker(lambda state: bool(is_free(np.array(state[0:dimension]))))
        info.setStateValidityCheckingResolution(self.resolution / space.getMaximumExtent())
        info.setup()
        problem = base.ProblemDefinition(info)
        problem.setStartAndGoalStates(_state(space, start), _state(space, goal))
        planner = geometric.RRTConnect(info)
        planner.setRange(self.reach)
        planner.setProblemDefinition(problem)
        planner.setup()
        planner.solve(base.PlannerTerminationCondition(lambda: time.monotonic() > deadline))
        if not problem.hasExactSolution():
            raise PlanTimeoutError("No way around the obstacles was found in the time given.")
        path = problem.getSolutionPath()
        simplifier = geometric.PathSimplifier(info)
        for _ in range(_SHORTCUT_ROUNDS):
            if time.monotonic() > deadline:
                break
            simplifier.reduceVertices(path)
            simplifier.partialShortcutPath(path)
        simplifier.collapseCloseVertices(path)
        return np.array([state[0:dimension] for state in path.getStates()])


def densify(vertices: Array, spacing: float) -> Array:
    """The polyline (N, D) with vertices added, evenly on each segment, until none is longer than the spacing."""
    pieces = [vertices[:1]]
    for a, b in zip(vertices[:-1], vertices[1:], strict=True):
        count = max(int(np.ceil(np.linalg.norm(b - a) / spacing)), 1)
        pieces.append(a + np.linspace(0.0, 1.0, count + 1)[1:, None] * (b - a))
    return np.concatenate(pieces)


def segment_is_free(a: Array, b: Array, is_free: IsFree, resolution: float) -> bool:
    """Whether the straight segment is free at the resolution [rad], both ends included."""
    return all(is_free(q) for q in _coarse_to_fine(densify(np.array([a, b]), resolution)))


def path_is_free(path: Array, is_free: IsFree, resolution: float) -> bool:
    """Whether the spline through the path (N, D), as it will be driven, is free at the resolution [rad]."""
    if len(path) < 2:
        return is_free(path[0])
    spline = path_spline(path)
    count = int(np.ceil(spline.x[-1] / resolution)) + 1
    return all(is_free(q) for q in _coarse_to_fine(spline(np.linspace(0.0, spline.x[-1], count + 1))))


def _coarse_to_fine(samples: Array) -> Array:
    """The samples, reordered so that collisions anywhere along the path show up early."""
    order = [i for step in (16, 4, 1) for i in range(0, len(samples), step)]
    return samples[list(dict.fromkeys(order))]


def _round_corners(dense: Array, widths: NDArray[np.int64]) -> Array:
    """Moving average of vertex i over `widths[i]` neighbours on either side; both ends stay where they are."""
    index = np.arange(len(dense))
    # A window that fits between both ends is symmetric there, too, and so leaves the ends and straight lines alone.
    widths = np.minimum(widths, np.minimum(index, index[::-1]))
    total = np.concatenate([np.zeros((1, dense.shape[1])), np.cumsum(dense, axis=0)])
    return (total[index + widths + 1] - total[index - widths]) / (2 * widths + 1)[:, None]


def _state(space: base.RealVectorStateSpace, q: Array) -> base.State:
    state = space.allocState()
    for i, value in enumerate(q):
        state[i] = float(value)
    return state
