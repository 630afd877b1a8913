"""Timed trajectories keep to the limits and to their path."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_planner.joint_path import densify
from dexgrasp_planner.timing import minimum_jerk, path_spline, time_path

NAMES = ("a", "b", "c")
VELOCITY = np.array([1.0, 0.5, 2.0])
ACCELERATION = np.array([2.0, 1.0, 4.0])


def curved_path() -> np.ndarray:
    s = np.linspace(0.0, 1.0, 40)
    return np.column_stack([np.sin(2.0 * s), s**2, np.cos(3.0 * s)])


def test_velocity_and_acceleration_stay_within_limits() -> None:
    trajectory = time_path(NAMES, curved_path(), VELOCITY, ACCELERATION, 0.005)
    assert (np.abs(trajectory.velocities) <= 1.001 * VELOCITY).all()
    step = np.diff(trajectory.times)[:, None]
    assert (np.abs(np.diff(trajectory.positions, axis=0) / step) <= 1.001 * VELOCITY).all()
    assert (np.abs(np.diff(trajectory.velocities, axis=0) / step) <= 1.05 * ACCELERATION).all()


def test_the_trajectory_follows_the_path_from_rest_to_rest() -> None:
    path = curved_path()
    trajectory = time_path(NAMES, path, VELOCITY, ACCELERATION, 0.01)
    assert trajectory.positions[0] == pytest.approx(path[0], abs=1e-6)
    assert trajectory.end == pytest.approx(path[-1], abs=1e-6)
    assert not trajectory.velocities[[0, -1]].any()
    spline = path_spline(path)
    fine = spline(np.linspace(0.0, spline.x[-1], 5000))
    gaps = np.linalg.norm(trajectory.positions[:, None] - fine, axis=2).min(axis=1)
    assert gaps.max() < 1e-3


def test_a_straight_move_takes_the_time_of_a_trapezoid() -> None:
    # One joint moves by 1 rad at 0.5 rad/s and 1 rad/s^2: 0.5 s up, 1.5 s along, 0.5 s down.
    path = densify(np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 0.05)
    assert time_path(NAMES, path, VELOCITY, ACCELERATION, 0.01).duration == pytest.approx(2.5, abs=0.02)


def test_a_path_that_stays_where_it_is_has_one_point() -> None:
    trajectory = time_path(NAMES, np.zeros((2, 3)), VELOCITY, ACCELERATION, 0.01)
    assert trajectory.duration == 0.0
    assert trajectory.end == pytest.approx(np.zeros(3))


def test_minimum_jerk_takes_its_time_and_slows_down_for_the_limits() -> None:
    start, end = np.zeros(3), np.array([0.1, 0.0, -0.2])
    gentle = minimum_jerk(NAMES, start, end, 0.8, VELOCITY, 0.01)
    assert gentle.duration == pytest.approx(0.8)
    far = minimum_jerk(NAMES, start, 20.0 * end, 0.8, VELOCITY, 0.01)
    assert far.duration > 0.8
    assert (np.abs(far.velocities) <= 1.0001 * VELOCITY).all()
    assert far.positions[0] == pytest.approx(start)
    assert far.end == pytest.approx(20.0 * end)
    step = np.gradient(far.positions, far.times, axis=0)
    assert np.abs(step - far.velocities).max() < 0.01


def test_positions_between_points_are_interpolated() -> None:
    trajectory = minimum_jerk(NAMES, np.zeros(3), np.ones(3), 1.0, 10.0 * VELOCITY, 0.1)
    assert trajectory.at(np.array([0.5, 9.0])) == pytest.approx(np.array([[0.5] * 3, [1.0] * 3]))
