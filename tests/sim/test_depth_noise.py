"""Depth noise: its size follows the square of the depth, edges drop out, and nothing is invented."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_sim.depth_noise import DepthNoise, DepthNoiseConfig, to_millimetres

SHAPE = (240, 320)


def flat(depth: float) -> np.ndarray:
    return np.full(SHAPE, depth, np.float32)


@pytest.mark.parametrize("depth", [0.5, 0.8, 1.5])
def test_error_of_a_plane_is_that_of_the_disparity(depth: float) -> None:
    config = DepthNoiseConfig()
    measured = DepthNoise(SHAPE, config=config).apply(flat(depth))
    # dz = z^2 / (f b) dd; rounding to 1/steps px adds 1/(steps sqrt 12).
    disparity = np.sqrt(config.correlated**2 + config.white**2 + (1 / config.steps) ** 2 / 12)
    expected = depth**2 / (config.focal * config.baseline) * disparity
    assert measured.std() == pytest.approx(expected, rel=0.2)
    assert abs(measured.mean() - depth) < 0.5 * expected


def test_scale_multiplies_the_error_and_zero_removes_it() -> None:
    full, half = DepthNoise(SHAPE, scale=1.0), DepthNoise(SHAPE, scale=0.5)
    assert half.apply(flat(1.0)).std() == pytest.approx(0.5 * full.apply(flat(1.0)).std(), rel=0.15)
    assert np.array_equal(DepthNoise(SHAPE, scale=0.0).apply(flat(1.0)), flat(1.0))


def test_half_of_the_pixels_on_edges_drop_out_and_none_elsewhere() -> None:
    depth = flat(0.8)
    depth[60:180, 80:240] = 0.7
    measured = DepthNoise(SHAPE).apply(depth)
    edge = np.zeros(SHAPE, bool)
    edge[59:181, 79:241] = True
    edge[61:179, 81:239] = False
    assert (measured[edge] == 0).mean() == pytest.approx(0.5, abs=0.08)
    assert (measured[~edge] > 0).all()


def test_missing_depth_stays_missing_and_everything_is_finite() -> None:
    depth = flat(0.0)
    depth[:, 160:] = 0.9
    measured = DepthNoise(SHAPE).apply(depth)
    assert (measured[:, :150] == 0).all()
    assert np.isfinite(measured).all()


def test_same_seed_same_sequence() -> None:
    one, again = DepthNoise(SHAPE, seed=5), DepthNoise(SHAPE, seed=5)
    for _ in range(3):
        assert np.array_equal(one.apply(flat(0.8)), again.apply(flat(0.8)))


def test_millimetres_are_rounded_and_what_does_not_fit_is_missing() -> None:
    depth = np.array([[0.0, 0.8004, 0.8006, 70.0]], np.float32)
    assert to_millimetres(depth).tolist() == [[0, 800, 801, 0]]
