import numpy as np
import pytest
from dexgrasp_perception.cloud import deproject, object_box, sample, valid_points, workspace_mask
from dexgrasp_perception.errors import DepthError

from dexgrasp_description import CameraIntrinsics

from .scenes import INTRINSICS, plane_depth, sphere_depth, table_with_boxes


def test_plane_comes_back_as_a_plane() -> None:
    normal = np.array([0.1, -0.5, -0.8])
    normal /= np.linalg.norm(normal)
    cloud = deproject(plane_depth(normal, 0.7), INTRINSICS, np.float64)
    assert np.abs(cloud @ normal + 0.7).max() < 1e-12


def test_sphere_comes_back_as_a_sphere_with_holes_around_it() -> None:
    centre = np.array([0.05, -0.02, 0.6])
    depth = sphere_depth(centre, 0.08)
    cloud = deproject(depth, INTRINSICS)
    assert cloud.dtype == np.float32
    assert np.array_equal(np.isnan(cloud).all(-1), depth == 0)
    assert np.abs(np.linalg.norm(valid_points(cloud) - centre, axis=1) - 0.08).max() < 1e-6


def test_pixel_at_the_principal_point_lies_on_the_axis() -> None:
    k = CameraIntrinsics(width=5, height=3, fx=10.0, fy=20.0, cx=2.0, cy=1.0)
    cloud = deproject(np.full((3, 5), 2.0), k)
    assert np.array_equal(cloud[1, 2], [0.0, 0.0, 2.0])
    assert np.allclose(cloud[2, 4], [2 * 2 / 10, 1 * 2 / 20, 2.0])


@pytest.mark.parametrize("invalid", [0.0, -1.0, np.nan, np.inf])
def test_what_is_no_depth_is_no_point(invalid: float) -> None:
    depth = np.ones((480, 640))
    depth[7, 9] = invalid
    cloud = deproject(depth, INTRINSICS)
    assert np.isnan(cloud[7, 9]).all()
    assert np.isfinite(cloud).all(-1).sum() == depth.size - 1


@pytest.mark.parametrize("depth", [np.ones((4, 4), np.uint16), np.ones(4), np.ones((4, 4, 1))])
def test_sensor_counts_and_other_shapes_are_refused(depth: np.ndarray) -> None:
    with pytest.raises(DepthError, match="floating point in metres"):
        deproject(depth, INTRINSICS)


def _millimetres() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    depth, label, table_T_camera = table_with_boxes()
    counts = (depth * 1000).astype(np.uint16)
    counts[np.random.default_rng(3).random(counts.shape) < 0.1] = 0
    return counts, label, table_T_camera


def test_cloud_has_the_bits_of_the_plain_computation() -> None:
    counts, _, _ = _millimetres()
    k = INTRINSICS
    cloud = deproject(counts / 1000.0, k, np.float64)
    z = counts / 1000.0
    for v, u in np.random.default_rng(0).integers(0, (480, 640), (2000, 2)):
        if counts[v, u] == 0:
            assert np.isnan(cloud[v, u]).all()
        else:
            expected = ((u - k.cx) * z[v, u] / k.fx, (v - k.cy) * z[v, u] / k.fy, z[v, u])
            assert tuple(cloud[v, u]) == expected


def test_crop_keeps_the_pixels_of_the_plain_computation() -> None:
    # DexGraspNet 2.0's per-pixel label files can only be read after exactly this crop.
    counts, label, table_T_camera = _millimetres()
    label[counts == 0] = 0
    cloud = deproject(counts / 1000.0, INTRINSICS, np.float64)
    kept = workspace_mask(cloud, table_T_camera, *object_box(cloud, label, table_T_camera))

    k, z = INTRINSICS, counts / 1000.0
    u, v = np.meshgrid(np.arange(640), np.arange(480))
    plain = np.stack([(u - k.cx) * z / k.fx, (v - k.cy) * z / k.fy, z, np.ones(z.shape)], axis=-1).reshape(-1, 4)
    table = np.einsum("ab,nb->na", table_T_camera, plain)[:, :3]
    box = table[label.ravel() > 0]
    inside = ((table > box.min(0) - 0.02) & (table < box.max(0) + 0.02)).all(1).reshape(z.shape)
    expected = (counts > 0) & inside
    assert 0 < expected.sum() < expected.size
    assert np.array_equal(kept, expected)


def test_crop_box_excludes_its_own_faces() -> None:
    points = np.array([[[0.0, 0.0, 1.0], [0.5, 0.0, 1.0], [0.49, 0.0, 1.0], [np.nan] * 3]])
    kept = workspace_mask(points, np.eye(4), (-0.5, -0.5, 0.0), (0.5, 0.5, 2.0), margin=0.0)
    assert kept.tolist() == [[True, False, True, False]]


def test_box_of_nothing_is_refused() -> None:
    cloud = deproject(np.ones((480, 640)), INTRINSICS)
    with pytest.raises(DepthError, match="No valid pixel"):
        object_box(cloud, np.zeros((480, 640), int), np.eye(4))


def test_sample_is_seeded_uniform_and_with_replacement() -> None:
    points = np.arange(3000.0).reshape(-1, 3)
    drawn, chosen = sample(points, seed=5)
    again, _ = sample(points, seed=5)
    other, _ = sample(points, seed=6)
    assert drawn.shape == (40_000, 3)
    assert np.array_equal(drawn, points[chosen])
    assert np.array_equal(drawn, again)
    assert not np.array_equal(drawn, other)
    counts = np.bincount(chosen, minlength=1000)
    assert abs(counts.mean() - 40) < 1e-9
    assert 5 < counts.std() < 8  # sqrt(40) = 6.3: independent draws


def test_nothing_to_sample_from_is_refused() -> None:
    with pytest.raises(DepthError, match="empty"):
        sample(np.empty((0, 3)), seed=0)
