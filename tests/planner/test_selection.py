"""The best grasps that are not nearly the same, and points far from each other."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_planner.selection import TURN_ARM, distinct, farthest_points
from scipy.spatial.transform import Rotation


def test_the_best_grasps_come_first_and_are_apart() -> None:
    rng, apart = np.random.default_rng(0), 0.05
    palms = np.tile(np.eye(4), (200, 1, 1))
    palms[:, :3, :3] = Rotation.from_rotvec(rng.normal(scale=0.5, size=(200, 3))).as_matrix()
    palms[:, :3, 3] = 0.1 * rng.random((200, 3))
    score = rng.random(200)
    chosen = distinct(palms, score, 200, apart)
    assert 10 < len(chosen) < 150
    assert chosen[0] == score.argmax()
    assert (np.diff(score[chosen]) < 0.0).all()
    turns = Rotation.from_matrix(palms[:, :3, :3])
    for index in range(200):
        better = chosen[score[chosen] > score[index]]
        gaps = np.linalg.norm(palms[better, :3, 3] - palms[index, :3, 3], axis=1)
        gaps += TURN_ARM * (turns[better].inv() * turns[index]).magnitude()
        assert (index in chosen) == bool((gaps >= apart).all())
    np.testing.assert_array_equal(distinct(palms, score, 7, apart), chosen[:7])


def test_no_grasps_are_no_grasps() -> None:
    assert len(distinct(np.zeros((0, 4, 4)), np.zeros(0), 5, 0.1)) == 0


def test_farthest_points_are_those_of_the_definition() -> None:
    points = np.random.default_rng(0).normal(size=(200, 3))
    chosen = farthest_points(points, 50, 7)
    assert chosen[0] == 7
    for index in range(1, 50):
        gaps = np.linalg.norm(points[:, None] - points[chosen[:index]], axis=-1).min(axis=1)
        assert gaps[chosen[index]] == pytest.approx(gaps.max())
