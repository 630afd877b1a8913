"""Pictures show what they are asked to show."""

from __future__ import annotations

import numpy as np
from dexgrasp_sim.cell import CellConfig, SimCell
from dexgrasp_sim.picture import colour_of_depth, draw_camera, draw_cell

from dexgrasp_description import load_cell


def share_of(picture: np.ndarray, colour: tuple[float, float, float]) -> float:
    """Share of pixels of a hue, bright or in shade."""
    unit = np.array(colour) / np.linalg.norm(colour)
    pixels = picture.reshape(-1, 3).astype(float)
    length = np.linalg.norm(pixels, axis=1)
    return float(((pixels @ unit > 0.985 * length) & (length > 60)).mean())


def test_cell_is_drawn_with_its_table_and_without_errors() -> None:
    sim = SimCell(load_cell(), CellConfig(seed=1, objects=2))
    picture = draw_cell(sim, size=(320, 240))
    assert picture.shape == (240, 320, 3)
    assert share_of(picture, (0.80, 0.72, 0.60)) > 0.1
    view = draw_camera(sim)
    intrinsics = sim.cell.intrinsics
    assert view.shape == (intrinsics.height, 2 * intrinsics.width, 3)


def test_depth_is_coloured_from_near_to_far_and_black_where_missing() -> None:
    depth = np.tile(np.linspace(0.5, 1.0, 64, dtype=np.float32), (8, 1))
    depth[0, 0] = 0.0
    picture = colour_of_depth(depth)
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[4, 1, 1] > picture[4, 62, 1], "near is yellow, far is violet"
