"""Places above the bin."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_common.transforms import apply
from dexgrasp_description.cell import Bin
from dexgrasp_planner.drop import Drop, drops
from dexgrasp_planner.voxel_scene import VoxelScene
from scipy.spatial.transform import Rotation

BIN = Bin(np.array([-0.1, -0.5]), np.array([0.3, 0.3, 0.1]), 0.01)
CENTER, SIZE = np.array([0.02, -0.03, -0.1]), np.array([0.05, 0.06, 0.08])
INNER = np.array([[0.0, 0.0, -0.02], [0.05, 0.0, -0.12], [-0.05, 0.02, -0.12]])
CORNERS = CENTER + np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * SIZE
TILTED = np.eye(4)
TILTED[:3, :3] = Rotation.from_euler("xyz", [0.3, -0.2, 1.0]).as_matrix()


def places(pile: np.ndarray) -> list[Drop]:
    return drops(BIN, VoxelScene.from_points(pile, 0.01), TILTED, INNER, CENTER, SIZE, 0.03)


def block(x: float, y: float, top: float) -> np.ndarray:
    axis = np.linspace(-0.05, 0.05, 21)
    return np.stack([part.ravel() for part in np.meshgrid(x + axis, y + axis, np.linspace(0.02, top, 9))], axis=1)


def test_what_is_held_is_above_the_inside_of_the_bin_everywhere() -> None:
    for place in places(np.empty((0, 3))):
        held = apply(place.world_T_palm, CORNERS)
        assert (np.abs(held[:, :2] - BIN.center) < BIN.inner_size[:2] / 2.0).all()
        lowest = min(held[:, 2].min(), apply(place.world_T_palm, INNER)[:, 2].min())
        assert lowest == pytest.approx(BIN.inner_size[2] + 0.03)


def test_the_palm_only_turns_about_the_vertical() -> None:
    for place in places(np.empty((0, 3))):
        assert place.world_T_palm[2, :3] == pytest.approx(TILTED[2, :3])


def test_into_an_empty_bin_things_go_to_the_middle() -> None:
    best = min(places(np.empty((0, 3))), key=lambda place: place.level)
    middle = apply(best.world_T_palm, CORNERS)
    assert (middle.min(axis=0) + middle.max(axis=0))[:2] / 2.0 == pytest.approx(BIN.center)


def test_onto_a_pile_nothing_is_dropped_while_there_is_room_beside_it() -> None:
    pile = block(BIN.center[0], BIN.center[1], 0.09)
    best = min(places(pile), key=lambda place: place.level)
    held = apply(best.world_T_palm, CORNERS)
    assert np.abs((held.min(axis=0) + held.max(axis=0))[:2] / 2.0 - BIN.center).max() > 0.05


def test_above_a_pile_higher_than_the_walls_the_hand_stays_higher() -> None:
    heap = np.concatenate(
        [block(BIN.center[0] + dx, BIN.center[1] + dy, 0.2) for dx in (-0.1, 0, 0.1) for dy in (-0.1, 0, 0.1)]
    )
    for place in places(heap):
        assert apply(place.world_T_palm, CORNERS)[:, 2].min() > 0.22
