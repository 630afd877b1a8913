"""Pictures show what they are asked to show."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from dexgrasp_common.transforms import from_xyz_rpy
from dexgrasp_sim.camera import RenderError
from dexgrasp_sim.cell import CellConfig, SimCell
from dexgrasp_sim.picture import HAND_COLOURS, colour_of_depth, draw_camera, draw_cell, draw_grasps

from dexgrasp_description import GraspSet, load_cell, load_hand


def share_of(picture: np.ndarray, colour: tuple[float, float, float]) -> float:
    """Share of pixels of a hue, bright or in shade."""
    unit = np.array(colour) / np.linalg.norm(colour)
    pixels = picture.reshape(-1, 3).astype(float)
    length = np.linalg.norm(pixels, axis=1)
    return float(((pixels @ unit > 0.985 * length) & (length > 60)).mean())


def grasps(count: int) -> GraspSet:
    hand = load_hand("leap_right")
    poses = np.array([from_xyz_rpy((0.25 * i - 0.12, 0.0, 0.17), (0.0, 0.0, 0.0)) for i in range(count)])
    posture = np.tile(hand.home, (count, 1))
    none = np.full(count, np.nan)
    score = np.arange(count, dtype=float)
    return GraspSet("leap_right", poses, posture, posture, posture, score, none, none, poses[:, :3, 3] - [0, 0, 0.15])


def test_cell_is_drawn_with_its_table_and_without_errors() -> None:
    sim = SimCell(load_cell(), CellConfig(seed=1, objects=2))
    picture = draw_cell(sim, size=(320, 240))
    assert picture.shape == (240, 320, 3)
    assert share_of(picture, (0.80, 0.72, 0.60)) > 0.1
    view = draw_camera(sim)
    intrinsics = sim.cell.intrinsics
    assert view.shape == (intrinsics.height, 2 * intrinsics.width, 3)


def test_each_grasp_is_drawn_in_its_own_colour(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cloud = np.concatenate([rng.uniform(-0.3, 0.3, (4000, 3)) * [1, 1, 0], np.full((3, 3), np.nan)])
    path = tmp_path / "new" / "grasps.png"
    draw_grasps(cloud, grasps(2), load_hand("leap_right"), path)
    picture = cv2.imread(str(path))[..., ::-1]
    above = picture[: int(0.65 * len(picture))]
    for colour in HAND_COLOURS[:2]:
        assert share_of(above, colour) > 0.01
    below = picture[int(0.65 * len(picture)) :]
    first, second = below[:, : below.shape[1] // 4], below[:, below.shape[1] // 4 : below.shape[1] // 2]
    assert share_of(first, HAND_COLOURS[0]) > 10 * share_of(first, HAND_COLOURS[1])
    assert share_of(second, HAND_COLOURS[1]) > 10 * share_of(second, HAND_COLOURS[0])


def test_cloud_without_points_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="finite"):
        draw_grasps(np.full((5, 3), np.nan), grasps(1), load_hand("leap_right"), tmp_path / "grasps.png")


def test_depth_is_coloured_from_near_to_far_and_black_where_missing() -> None:
    depth = np.tile(np.linspace(0.5, 1.0, 64, dtype=np.float32), (8, 1))
    depth[0, 0] = 0.0
    picture = colour_of_depth(depth)
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[4, 1, 1] > picture[4, 62, 1], "near is yellow, far is violet"
