"""Graspness is painted where the network saw it, and the rest of the image stays as it is."""

from __future__ import annotations

import numpy as np
from dexgrasp.heat_map import heat_map
from dexgrasp_common.transforms import apply, look_at

WORLD_T_CAMERA = look_at((0.0, 0.0, 0.5), (0.0, 0.0, 0.0), up=(1.0, 0.0, 0.0))


def test_graspness_is_painted_where_it_was_predicted() -> None:
    v, u = np.indices((60, 80))
    cloud = np.stack([(u - 40) * 0.005, (v - 30) * 0.005, np.full(u.shape, 0.5)], axis=-1).astype(np.float32)
    cloud[:5] = np.nan
    color = np.full((60, 80, 3), 90, np.uint8)
    left = cloud[20:40, 10:30].reshape(-1, 3)
    right = cloud[20:40, 50:70].reshape(-1, 3)
    voxels = apply(WORLD_T_CAMERA, np.concatenate([left, right]).astype(np.float64))
    graspness = np.repeat([2.0, -6.9], [len(left), len(right)])
    image = heat_map(color, cloud, WORLD_T_CAMERA, voxels, graspness)
    assert image.shape == (86, 80, 3)
    changed = (image[:60] != color).any(axis=-1)
    assert changed[20:40, 10:30].all()
    changed[18:42, 8:32] = False  # voxels reach a pixel farther
    assert not changed.any(), "what is no seed is not painted"
    assert (color == 90).all()


def test_where_nothing_is_graspable_the_image_is_as_it_was() -> None:
    cloud = np.full((10, 40, 3), np.nan)
    color = np.full((10, 40, 3), 90, np.uint8)
    image = heat_map(color, cloud, WORLD_T_CAMERA, np.zeros((1, 3)), np.array([-6.9]))
    assert (image[:10] == 90).all()
