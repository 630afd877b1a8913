"""Paths around obstacles in joint space."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from dexgrasp_planner.errors import NoPathError, PlanTimeoutError
from dexgrasp_planner.joint_path import RrtConnect, densify, path_is_free
from dexgrasp_planner.timing import path_spline

FIND = RrtConnect(np.full(6, -2.0 * np.pi), np.full(6, 2.0 * np.pi))
START = np.array([-1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
GOAL = np.array([1.0, 0.1, 0.5, 0.0, 0.0, 0.0])


def beside_the_wall(q: np.ndarray) -> bool:
    """Everything but a wall at q0 = 0 that is 2 rad high in q1."""
    return bool(abs(q[0]) > 0.3 or abs(q[1]) > 1.0)


def soon() -> float:
    return time.monotonic() + 5.0


def test_a_path_leads_around_a_wall_and_is_free_between_its_vertices() -> None:
    path = FIND(START, GOAL, beside_the_wall, soon())
    assert path[0] == pytest.approx(START)
    assert path[-1] == pytest.approx(GOAL)
    assert not all(beside_the_wall(q) for q in densify(np.array([START, GOAL]), 0.01))
    spline = path_spline(path)
    assert all(beside_the_wall(q) for q in spline(np.linspace(0.0, spline.x[-1], 2000)))


def test_corners_are_rounded() -> None:
    path = FIND(START, GOAL, beside_the_wall, soon())
    steps = np.diff(path, axis=0)
    steps /= np.linalg.norm(steps, axis=1)[:, None]
    cosine = np.einsum("ij,ij->i", steps[1:], steps[:-1])
    assert np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).max() < 30.0


def test_without_obstacles_the_path_is_straight() -> None:
    path = FIND(START, GOAL, lambda q: True, soon())
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).sum() == pytest.approx(np.linalg.norm(GOAL - START))


def test_the_same_seed_gives_the_same_path_and_another_seed_another() -> None:
    first, second = (FIND(START, GOAL, beside_the_wall, soon()) for _ in range(2))
    assert np.array_equal(first, second)
    other = replace(FIND, seed=7)(START, GOAL, beside_the_wall, soon())
    assert other.shape != first.shape or not np.allclose(other, first)


def test_where_there_is_no_way_the_search_ends_at_its_deadline() -> None:
    start = time.monotonic()
    with pytest.raises(PlanTimeoutError):
        FIND(START, GOAL, lambda q: bool(abs(q[0]) > 0.3), start + 0.3)
    assert time.monotonic() - start < 10.0


def test_ends_beyond_the_limits_are_refused() -> None:
    with pytest.raises(NoPathError, match="goal"):
        FIND(START, np.full(6, 7.0), lambda q: True, soon())


def test_a_collision_between_vertices_is_seen() -> None:
    path = np.array([[-1.0, 0.0], [1.0, 0.0]])
    assert not path_is_free(path, lambda q: bool(abs(q[0]) > 0.02), 0.02)
    assert path_is_free(path, lambda q: bool(abs(q[1]) < 0.01), 0.02)
