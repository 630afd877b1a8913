"""Camera poses keep to the ranges of the paper's captures, and every beginning of them is spread out."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_training.clutter.cameras import POSES, CameraConfig, camera_poses
from dexgrasp_training.errors import SettingsError


@pytest.mark.parametrize("seed", [0, 1, 12345678901234])
def test_height_distance_tilt_and_target_are_in_range(seed: int) -> None:
    poses = camera_poses(seed)
    assert poses.shape == (POSES, 4, 4)
    eye, forward = poses[:, :3, 3], poses[:, :3, 2]
    tilt = np.degrees(np.arccos(-forward[:, 2]))
    distance = eye[:, 2] / -forward[:, 2]
    assert eye[:, 2].min() >= 0.32 - 1e-9
    assert eye[:, 2].max() <= 0.48 + 1e-9
    assert distance.min() >= 0.46 - 1e-9
    assert distance.max() <= 0.52 + 1e-9
    assert tilt.min() >= 10.0 - 1e-6
    assert tilt.max() <= 53.0
    assert 29.0 < tilt.mean() < 33.0, "31 degrees in the captures"
    target = eye + distance[:, None] * forward
    assert np.abs(target[:, 2]).max() < 1e-12
    assert np.linalg.norm(target[:, :2], axis=1).max() <= 0.04 + 1e-9


def test_frames_are_optical() -> None:
    rotation = camera_poses(0)[:, :3, :3]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(rotation), 1.0)
    assert (rotation[:, 2, 1] < 0).all(), "y points down"
    assert np.allclose(rotation[:, 2, 0], 0.0, atol=1e-12), "x is level"


@pytest.mark.parametrize("count", [8, 16, 48, 256])
def test_the_first_poses_are_spread_over_tilts_and_directions(count: int) -> None:
    for seed in range(5):
        poses = camera_poses(seed)[:count]
        tilt = np.degrees(np.arccos(-poses[:, 2, 2]))
        thirds = np.histogram(tilt, bins=np.linspace(10.0, np.degrees(np.arccos(0.32 / 0.52)), 4))[0]
        assert thirds.min() >= count // 3 - 2
        heading = np.arctan2(poses[:, 1, 2], poses[:, 0, 2])
        quarters = np.histogram(heading, bins=np.linspace(-np.pi, np.pi, 5))[0]
        assert quarters.min() >= count // 4 - 2


def test_the_seed_fixes_the_poses() -> None:
    assert np.array_equal(camera_poses(3), camera_poses(3))
    assert not np.allclose(camera_poses(3), camera_poses(4))


def test_ranges_that_exclude_each_other_are_an_error() -> None:
    with pytest.raises(SettingsError, match="widen one of the ranges"):
        camera_poses(0, CameraConfig(lowest=0.51, highest=0.6, farthest=0.5))
    with pytest.raises(SettingsError, match="widen one of the ranges"):
        camera_poses(0, CameraConfig(least_tilt=54.0, most_tilt=60.0))
