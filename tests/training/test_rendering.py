"""Drawn depth and ids against rays cast on boxes by hand; what is written is what was drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dexgrasp_common.transforms import look_at
from dexgrasp_training.clutter.cameras import camera_poses
from dexgrasp_training.clutter.rendering import INTRINSICS, SceneRenderer
from dexgrasp_training.clutter.view_files import UNIT, SceneViews
from dexgrasp_training.errors import DatasetError
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from dexgrasp_description import CameraIntrinsics

from .boxes import at, box_asset

SIZES = np.array([[0.06, 0.08, 0.04], [0.03, 0.05, 0.12], [0.05, 0.05, 0.05]])
MODELS = [box_asset(str(i), size).model for i, size in enumerate(SIZES)]
POSES = np.stack([at(0.0, 0.0, 0.02), at(0.07, 0.03, 0.06), at(-0.02, 0.12, 0.03)])
POSES[1, :3, :3] = Rotation.from_euler("z", 0.7).as_matrix()
POSES[2, :3, :3] = Rotation.from_rotvec([0.3, 0.2, 0.1]).as_matrix()


def cast(
    world_T_camera: NDArray[np.float64], k: CameraIntrinsics = INTRINSICS
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Depth and ids of the boxes and the table, by intersecting the ray of each pixel's centre with slabs."""
    v, u = np.indices((k.height, k.width))
    camera_d = np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy, np.ones(u.shape)], axis=-1)
    world_d, eye = camera_d @ world_T_camera[:3, :3].T, world_T_camera[:3, 3]
    with np.errstate(divide="ignore"):
        depth = np.where(world_d[..., 2] < 0.0, -eye[2] / world_d[..., 2], np.inf)
    hit = eye + np.where(np.isfinite(depth), depth, 0.0)[..., None] * world_d
    depth[(np.abs(hit[..., :2]) > 2.5).any(axis=-1)] = np.inf
    ids = np.zeros(depth.shape, np.uint8)
    for index, (size, pose) in enumerate(zip(SIZES, POSES, strict=True)):
        o, d = (eye - pose[:3, 3]) @ pose[:3, :3], world_d @ pose[:3, :3]
        with np.errstate(divide="ignore"):
            sides = np.stack([(-size / 2 - o) / d, (size / 2 - o) / d])
        enter, leave = sides.min(axis=0).max(axis=-1), sides.max(axis=0).min(axis=-1)
        nearer = (enter < leave) & (enter > 0.0) & (enter < depth)
        depth[nearer], ids[nearer] = enter[nearer], 1 + index
    return np.where(np.isfinite(depth) & (depth < 10.0), depth, 0.0), ids


@pytest.fixture(scope="module")
def drawn() -> list[tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.uint8]]]:
    """Camera, depth and ids of three views."""
    with SceneRenderer(MODELS, POSES) as renderer:
        return [(pose, *renderer.draw(pose)) for pose in camera_poses(0)[:3]]


def test_depth_and_ids_are_those_of_the_rays(
    drawn: list[tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.uint8]]],
) -> None:
    for world_T_camera, depth, ids in drawn:
        wanted, owner = cast(world_T_camera)
        assert set(np.unique(owner)) == {0, 1, 2, 3}
        # A pixel whose centre is on an outline may fall to either side.
        outline = ndimage.maximum_filter(owner, 3) != ndimage.minimum_filter(owner, 3)
        assert (ids == owner)[~outline].all()
        assert (ids == owner).mean() > 0.999
        assert np.abs(depth - wanted)[~outline].max() < 2e-4
        assert np.abs(depth - wanted)[~outline].mean() < 2e-6


def test_views_do_not_depend_on_those_before(
    drawn: list[tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.uint8]]],
) -> None:
    world_T_camera, depth, ids = drawn[2]
    with SceneRenderer(MODELS, POSES) as renderer:
        again = renderer.draw(world_T_camera)
    assert np.array_equal(again[0], depth)
    assert np.array_equal(again[1], ids)


def test_any_intrinsics_and_nothing_beyond_the_table() -> None:
    k = CameraIntrinsics(width=200, height=150, fx=90.0, fy=120.0, cx=80.0, cy=90.0)
    world_T_camera = look_at((0.6, 0.0, 0.3), (0.0, 0.0, 0.15))
    with SceneRenderer(MODELS, POSES, k) as renderer:
        depth, ids = renderer.draw(world_T_camera)
    wanted, owner = cast(world_T_camera, k)
    assert depth.shape == ids.shape == (150, 200)
    assert (depth[0] == 0.0).all()
    assert (ids[0] == 0).all()
    seen = ndimage.binary_erosion(owner > 0, iterations=2)
    assert seen.any()
    assert np.abs(depth - wanted)[seen & (ids == owner)].max() < 1e-3
    assert ((depth > 0) == (wanted > 0)).mean() > 0.995


def test_written_views_are_read_back_in_tenths_of_a_millimetre(
    drawn: list[tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.uint8]]], tmp_path: Path
) -> None:
    views = SceneViews(tmp_path, np.array([0, 17]), np.stack([drawn[0][0], drawn[1][0]]), INTRINSICS)
    depth = drawn[1][1].copy()
    depth[0, 0], depth[0, 1] = 7.0, 6.5535
    views.write(17, depth, drawn[1][2])
    views.save()
    loaded = SceneViews.load(tmp_path)
    assert loaded.numbers.tolist() == [0, 17]
    assert np.array_equal(loaded.world_T_camera, views.world_T_camera)
    assert loaded.intrinsics.__dict__ == INTRINSICS.__dict__
    units, ids = loaded.read(17)
    assert (units.dtype, ids.dtype) == (np.uint16, np.uint8)
    assert np.array_equal(ids, drawn[1][2])
    assert units[0, :2].tolist() == [0, 65535], "what does not fit is stored as none"
    assert np.abs(units[1:] * UNIT - depth[1:]).max() <= 0.501 * UNIT
    with pytest.raises(DatasetError, match="000.depth.png cannot be read"):
        loaded.read(0)
    (tmp_path / "017.ids.png").write_bytes(b"half a file")
    with pytest.raises(DatasetError, match="damaged"):
        loaded.read(17)
