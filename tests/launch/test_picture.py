"""Grasps are drawn where they are, in colours of their own, and only what differs is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp.picture import APART, HANDS, HEIGHT, picture, spread
from dexgrasp_common.transforms import from_xyz_rpy, look_at

from dexgrasp_description import load_hand

HAND = load_hand("leap_right")
MATRIX = np.array([[200.0, 0.0, 79.5], [0.0, 200.0, 59.5], [0.0, 0.0, 1.0]])
WORLD_T_CAMERA = look_at((0.0, 0.0, 0.8), (0.0, 0.0, 0.0), up=(1.0, 0.0, 0.0))
ORANGE = np.array([22.0, 146.0, 240.0])


def palms(*x: float) -> np.ndarray:
    """Hands that point down, side by side."""
    return np.array([from_xyz_rpy((value, -0.03, 0.18), (0.0, 0.0, 0.0)) for value in x]).reshape(-1, 4, 4)


def share_of(image: np.ndarray, colour: np.ndarray) -> float:
    """Share of pixels of a hue, bright or in shade."""
    pixels = image.reshape(-1, 3).astype(float)
    length = np.linalg.norm(pixels, axis=1)
    return float(((pixels @ (colour / np.linalg.norm(colour)) > 0.985 * length) & (length > 60)).mean())


def draw(table_depth: float, world_T_palm: np.ndarray) -> np.ndarray:
    depth = np.full((120, 160), table_depth)
    depth[:10, :10] = np.nan
    joints = np.tile(HAND.home, (len(world_T_palm), 1))
    return picture(None, depth, MATRIX, WORLD_T_CAMERA, world_T_palm, joints, HAND)


def test_a_hand_is_drawn_over_the_table_and_from_the_side() -> None:
    image = draw(0.8, palms(0.0))
    assert image.shape[0] == HEIGHT
    camera, close_ups = image[:, : HEIGHT * 4 // 3], image[:, HEIGHT * 4 // 3 :]
    assert share_of(camera, ORANGE) > 0.05
    assert share_of(close_ups[: HEIGHT // 2 - 10, 10:-10], ORANGE) > 0.05
    rows, columns = np.nonzero(np.abs(camera.astype(float) - ORANGE).sum(axis=-1) < 120)
    assert abs(rows.mean() - HEIGHT / 2) < 60
    assert abs(columns.mean() - HEIGHT * 2 / 3) < 120


def test_a_hand_behind_the_surface_is_faint() -> None:
    hidden = draw(0.4, palms(0.0))[:, : HEIGHT * 4 // 3]
    assert share_of(hidden, ORANGE) == 0.0
    assert len(np.unique(hidden.reshape(-1, 3), axis=0)) > 3, "it shines through"


def test_without_grasps_there_is_the_image_alone() -> None:
    assert draw(0.8, palms()).shape == (HEIGHT, HEIGHT * 4 // 3, 3)


@pytest.mark.parametrize("step", [0.4 * APART, 1.1 * APART])
def test_hands_that_are_drawn_enclose_different_places(step: float) -> None:
    world_T_palm = palms(*(step * np.arange(12)))
    chosen = spread(world_T_palm, HAND)
    assert len(chosen) == HANDS
    assert chosen[0] == 0
    assert np.diff(world_T_palm[chosen, 0, 3]).min() >= APART
