"""Paths through trajectories against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_control.following import Path, PathRefused
from dexgrasp_control.phases import Trajectory
from scipy.interpolate import CubicHermiteSpline

RNG = np.random.default_rng(5)
TIMES = np.array([0.0, 0.4, 1.0, 1.3])
POSITIONS = RNG.normal(size=(4, 3))
VELOCITIES = RNG.normal(size=(4, 3))


def test_points_with_velocities_are_joined_by_hermite_cubics() -> None:
    path = Path(TIMES, POSITIONS, VELOCITIES)
    spline = CubicHermiteSpline(TIMES, POSITIONS, VELOCITIES)
    for time in np.linspace(0.0, 1.29, 40):
        position, velocity = path.at(time)
        np.testing.assert_allclose(position, spline(time), atol=1e-12)
        np.testing.assert_allclose(velocity, spline(time, 1), atol=1e-11)


def test_points_without_velocities_are_joined_by_lines() -> None:
    path = Path(TIMES, POSITIONS, None)
    for time in np.linspace(0.0, 1.29, 40):
        expected = [np.interp(time, TIMES, POSITIONS[:, joint]) for joint in range(3)]
        np.testing.assert_allclose(path.at(time)[0], expected, atol=1e-12)


def test_a_path_ends_at_rest_on_its_last_point() -> None:
    position, velocity = Path(TIMES, POSITIONS, VELOCITIES).at(99.0)
    np.testing.assert_array_equal(position, POSITIONS[-1])
    assert not velocity.any()


def test_a_trajectory_that_begins_later_leads_from_the_joints() -> None:
    start = np.ones(3)
    path = Path.through(Trajectory(("a", "b", "c"), TIMES + 0.5, POSITIONS), start)
    np.testing.assert_allclose(path.at(0.0)[0], start)
    np.testing.assert_allclose(path.at(0.25)[0], 0.5 * (start + POSITIONS[0]))


def test_overshoot_between_points_is_seen() -> None:
    path = Path(np.array([0.0, 1.0]), np.zeros((2, 1)), np.array([[4.0], [-4.0]]))  # reaches 1 at 0.5 s
    one = np.ones(1)
    with pytest.raises(PathRefused, match="a 0.100 rad beyond"):
        path.check(np.zeros(1), -0.9 * one, 0.9 * one, 9.0 * one, ["a"], 0.1)
    path.check(np.zeros(1), -one, one, 4.0 * one, ["a"], 0.1)
    with pytest.raises(PathRefused, match="4.00 rad/s"):
        path.check(np.zeros(1), -one, one, 3.0 * one, ["a"], 0.1)
