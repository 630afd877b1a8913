"""What the eyes say about a grasp, on clouds rendered as the cell's camera sees them."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_control.heights import HeightMap, height_map, is_empty, seen_share
from dexgrasp_control.success import Sight, compare, judge

from dexgrasp_description import load_cell

from .table_scenes import box, can, look

AREA = load_cell().area
BOUNDS = (AREA[0] - 0.15, AREA[1] + 0.15, AREA[2] - 0.15, AREA[3] + 0.15)
BOX = box((0.0, 0.05), (0.06, 0.05, 0.07), 0.4)
SEED = np.array([0.0, 0.05, 0.07])
NEIGHBOUR = can((0.03, -0.08), 0.03, 0.12)


def seen(*objects, seed: int = 0) -> HeightMap:
    return height_map(look(*objects, seed=seed), BOUNDS)


def test_a_bare_table_is_empty_and_an_object_makes_it_not():
    assert is_empty(seen(), AREA)
    assert not is_empty(seen(BOX), AREA)


def test_a_flat_small_object_is_not_overlooked():
    assert not is_empty(seen(box((-0.1, -0.2), (0.03, 0.03, 0.02))), AREA)


def test_things_outside_the_area_do_not_keep_it_from_being_empty():
    assert is_empty(seen(box((0.0, 0.33), (0.05, 0.05, 0.05))), AREA)


def test_a_tilted_calibration_does_not_fill_the_table():
    cloud = look()
    cloud[:, 2] += 0.02 * cloud[:, 1] + 0.004
    assert is_empty(height_map(cloud, BOUNDS), AREA)


def test_a_blind_camera_sees_nothing_of_the_area():
    assert seen_share(height_map(np.full((1000, 3), np.nan), BOUNDS), AREA) == 0.0
    assert seen_share(seen(), AREA) > 0.95


def test_heights_are_those_of_the_objects():
    heights = seen(BOX)
    assert np.nanmedian(heights.heights[heights.around(SEED, 0.015)]) == pytest.approx(0.07, abs=0.003)


def test_object_removed():
    assert compare(seen(BOX, NEIGHBOUR), seen(NEIGHBOUR, seed=1), SEED).removed is True


def test_object_removed_from_the_edge_where_the_seed_was():
    assert compare(seen(BOX, NEIGHBOUR), seen(NEIGHBOUR, seed=1), SEED + [0.03, 0.0, -0.03]).removed is True


def test_nothing_changed():
    sight = compare(seen(BOX, NEIGHBOUR), seen(BOX, NEIGHBOUR, seed=1), SEED)
    assert sight.removed is False
    assert "still there" in sight.reason


@pytest.mark.parametrize("shift", [(0.015, 0.0), (-0.08, 0.08), (0.0, 0.16)])
def test_object_moved(shift):
    moved = box((shift[0], 0.05 + shift[1]), (0.06, 0.05, 0.07), 1.0)
    assert compare(seen(BOX, NEIGHBOUR), seen(moved, NEIGHBOUR, seed=1), SEED).removed is False


def test_object_pushed_into_its_own_shadow_is_left_to_the_fingers():
    moved = box((-0.05, 0.08), (0.06, 0.05, 0.07), 1.0)
    assert compare(seen(BOX, NEIGHBOUR), seen(moved, NEIGHBOUR, seed=1), SEED).removed is not True


def test_object_toppled_over():
    upright, lying = can((0.0, 0.05), 0.03, 0.15), can((0.0, 0.16), 0.03, 0.15, lying=True)
    assert compare(seen(upright, NEIGHBOUR), seen(lying, NEIGHBOUR, seed=1), SEED).removed is False


def test_neighbour_pushed_while_the_object_is_removed():
    pushed = can((0.015, -0.06), 0.03, 0.12)
    assert compare(seen(BOX, NEIGHBOUR), seen(pushed, seed=1), SEED).removed is True


def test_neighbour_toppled_while_the_object_is_removed():
    toppled = can((0.03, -0.15), 0.03, 0.12, lying=True)
    assert compare(seen(BOX, NEIGHBOUR), seen(toppled, seed=1), SEED).removed is True


def test_neighbour_toppled_and_the_object_still_there():
    toppled = can((0.03, -0.15), 0.03, 0.12, lying=True)
    assert compare(seen(BOX, NEIGHBOUR), seen(BOX, toppled, seed=1), SEED).removed is False


def test_neighbour_that_rolls_into_the_place_of_the_object():
    ball_before, ball_after = can((-0.08, 0.05), 0.025, 0.04), can((-0.01, 0.05), 0.025, 0.04)
    assert compare(seen(BOX, ball_before), seen(ball_after, seed=1), SEED).removed is True


def test_an_object_hidden_before_is_not_the_grasped_one_moved():
    tall, behind = box((0.05, 0.05), (0.05, 0.08, 0.16)), box((-0.04, 0.05), (0.04, 0.04, 0.03))
    sight = compare(seen(tall, behind), seen(behind, seed=1), np.array([0.05, 0.05, 0.16]))
    assert sight.removed is True


def test_a_place_that_nothing_was_seen_at_is_left_to_the_fingers():
    sight = compare(seen(NEIGHBOUR), seen(NEIGHBOUR, seed=1), np.array([-0.1, 0.2, 0.05]))
    assert sight.removed is None
    assert judge(True, sight).success
    assert not judge(False, sight).success


def test_the_eyes_overrule_the_fingers():
    assert judge(False, Sight(True, "gone")).success
    assert not judge(True, Sight(False, "there")).success
