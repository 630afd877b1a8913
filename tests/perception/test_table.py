from pathlib import Path

import numpy as np
import pytest
from dexgrasp_common.transforms import apply, invert, look_at
from dexgrasp_perception.cloud import deproject, valid_points
from dexgrasp_perception.depth_image import load_depth, load_intrinsics
from dexgrasp_perception.errors import TableError
from dexgrasp_perception.scene import look_at_table
from dexgrasp_perception.table import Plane, find_table, points_on_objects

from .scenes import INTRINSICS, plane_depth, table_normal, table_with_boxes


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


@pytest.mark.parametrize("tilt", [0.1, 0.5, 0.8])
def test_tilted_noisy_table_is_found_under_its_boxes(tilt: float) -> None:
    depth, _, table_T_camera = table_with_boxes(tilt, noise=0.002)
    table = find_table(valid_points(deproject(depth, INTRINSICS)))
    assert _angle(table.normal, table_normal(table_T_camera)) < 0.3
    assert abs(table.offset - table_T_camera[2, 3]) < 0.001


def test_same_cloud_and_seed_give_the_same_plane() -> None:
    depth, _, _ = table_with_boxes(noise=0.002)
    points = valid_points(deproject(depth, INTRINSICS))
    first, second = find_table(points, seed=4), find_table(points, seed=4)
    assert np.array_equal(first.normal, second.normal)
    assert first.offset == second.offset


def _table_and_wall() -> tuple[np.ndarray, np.ndarray]:
    """A table with a larger wall behind it, camera frame; and up."""
    random = np.random.default_rng(0)
    table = np.column_stack([random.uniform(-0.3, 0.3, (20000, 2)), np.zeros(20000)])
    wall = np.column_stack([random.uniform(-0.6, 0.6, 60000), np.full(60000, 0.3), random.uniform(0, 0.8, 60000)])
    world_T_camera = look_at((0.0, -0.5, 0.45), (0.0, 0.1, 0.1))
    points = apply(invert(world_T_camera), np.concatenate([table, wall]))
    return points + random.normal(0, 0.001, points.shape), invert(world_T_camera)[:3, 2]


def test_a_larger_wall_is_not_the_table_when_up_is_known() -> None:
    points, up = _table_and_wall()
    assert _angle(find_table(points, up).normal, up) < 0.5


def test_no_plane_that_faces_up_is_an_error_that_says_so() -> None:
    points, up = _table_and_wall()
    with pytest.raises(TableError, match="of the expected up direction"):
        find_table(points, up=[1.0, 0.0, 0.0])


def test_too_few_points_and_no_points_are_refused() -> None:
    for points in (np.empty((0, 3)), np.random.default_rng(0).random((20, 3))):
        with pytest.raises(TableError, match="at least"):
            find_table(points)


def test_heights_are_those_of_the_calibrated_frame() -> None:
    _, _, table_T_camera = table_with_boxes()
    points = np.random.default_rng(1).uniform(-0.3, 0.9, (50, 3))
    plane = Plane.of_frame(invert(table_T_camera))
    assert np.allclose(plane.heights(points), apply(table_T_camera, points)[:, 2], atol=1e-12)


def test_table_frame_is_right_handed_on_the_plane_and_below_the_point() -> None:
    plane = Plane(np.array([0.1, -0.6, -0.7]) / np.linalg.norm([0.1, -0.6, -0.7]), 0.65)
    near = np.array([0.05, 0.1, 0.6])
    table_T_camera = plane.table_T_camera(near)
    assert np.allclose(table_T_camera[:3, :3] @ table_T_camera[:3, :3].T, np.eye(3))
    assert np.isclose(np.linalg.det(table_T_camera[:3, :3]), 1.0)
    assert np.allclose(apply(table_T_camera, near), [0.0, 0.0, plane.heights(near)])
    assert np.isclose(table_T_camera[2, 3], 0.65)


def test_points_on_objects_are_the_pixels_of_the_boxes() -> None:
    depth, label, table_T_camera = table_with_boxes()
    on_objects = points_on_objects(deproject(depth, INTRINSICS), Plane.of_frame(invert(table_T_camera)))
    assert (on_objects & (label == 0)).sum() == 0
    assert (on_objects & (label > 0)).sum() > 0.9 * (label > 0).sum()  # all but the lowest 8 mm


def test_scene_of_an_uncalibrated_table() -> None:
    depth, label, table_T_camera = table_with_boxes(noise=0.001)
    scene = look_at_table(depth, INTRINSICS)
    assert _angle(scene.table.normal, table_normal(table_T_camera)) < 0.3
    assert (scene.on_table & (label > 0)).sum() > 0.85 * (label > 0).sum()
    assert (scene.on_table & (label == 0)).sum() < 0.02 * (label > 0).sum()
    assert scene.workspace[scene.on_table].all()
    tops = apply(scene.table_T_camera, scene.cloud[label == 3].astype(np.float64))[:, 2]
    assert abs(np.percentile(tops, 99) - 0.14) < 0.005


def test_an_empty_table_is_an_error() -> None:
    depth, _, _ = table_with_boxes()
    normal = np.array([0.0, -0.5, -0.8]) / np.linalg.norm([0.5, 0.8])
    with pytest.raises(TableError, match="Nothing stands"):
        look_at_table(plane_depth(normal, 0.7), INTRINSICS)


@pytest.mark.parametrize("view", [0, 1])
def test_bottom_of_a_real_bin_is_found(shared: Path, view: int) -> None:
    folder = shared / "real_rgbd"
    depth = load_depth(folder / f"input-{view}.depth.png", 0.0001)
    scene = look_at_table(depth, load_intrinsics(folder / f"camera-{view}.intrinsics.txt", (640, 480)))
    up = np.loadtxt(folder / f"camera-{view}.pose.txt")[2, :3]
    assert _angle(scene.table.normal, up) < 8.0
    # The middle of the image shows the bottom of the bin, half covered by what lies in it.
    heights = scene.table.heights(scene.cloud[140:400, 160:480])
    seen = np.isfinite(heights)
    assert (np.abs(heights[seen]) < 0.01).mean() > 0.5
    assert (heights[seen] < -0.02).mean() < 0.01
    assert scene.on_table.sum() > 2000
