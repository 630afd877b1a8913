from pathlib import Path

import numpy as np
import pytest
from dexgrasp_perception.cloud import deproject, valid_points
from dexgrasp_perception.errors import PerceptionError
from dexgrasp_perception.surfaces import (
    clusters,
    downsample,
    load_cloud,
    normals,
    radius_inliers,
    save_cloud,
    statistical_inliers,
)

from .scenes import INTRINSICS, sphere_depth


def test_downsampling_leaves_one_mean_per_voxel() -> None:
    points = np.array([[0.001, 0.001, 0.001], [0.003, 0.003, 0.003], [0.011, 0.001, 0.001]])
    thin = downsample(points, 0.01)
    assert len(thin) == 2
    assert np.isclose(thin, [0.002, 0.002, 0.002]).all(axis=1).any()


def test_normals_of_a_sphere_are_radial_and_face_the_camera() -> None:
    centre = np.array([0.02, -0.01, 0.5])
    points = valid_points(deproject(sphere_depth(centre, 0.06), INTRINSICS))
    found = normals(points)
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0)
    assert (np.einsum("nk,nk->n", found, points) <= 0).all()
    radial = (points - centre) / np.linalg.norm(points - centre, axis=1, keepdims=True)
    inner = radial[:, 2] < -0.3  # at the outline a neighbourhood is one-sided
    assert np.einsum("nk,nk->n", found, radial)[inner].min() > 0.99


def test_outliers_are_dropped_and_the_surface_stays() -> None:
    random = np.random.default_rng(0)
    surface = np.column_stack([random.uniform(0, 0.1, (4000, 2)), np.full(4000, 0.5)])
    strays = random.uniform(0.6, 0.9, (20, 3))
    points = np.concatenate([surface, strays])
    for kept in (statistical_inliers(points), radius_inliers(points)):
        assert not kept[4000:].any()
        assert kept[:4000].mean() > 0.95


def test_clusters_are_the_objects_largest_first() -> None:
    random = np.random.default_rng(0)
    sizes = (300, 900, 500)
    groups = [random.uniform(0, 0.03, (n, 3)) + [0.1 * i, 0, 0] for i, n in enumerate(sizes)]
    points = np.concatenate([*groups, [[1.0, 1.0, 1.0]]])
    label = clusters(points)
    assert [set(label[a:b]) for a, b in ((0, 300), (300, 1200), (1200, 1700))] == [{2}, {0}, {1}]
    assert label[-1] == -1


def test_clusters_of_nothing_are_nothing() -> None:
    assert len(clusters(np.empty((0, 3)))) == 0
    assert (clusters(np.random.default_rng(0).uniform(0, 100, (50, 3))) == -1).all()


@pytest.mark.parametrize("suffix", [".ply", ".pcd"])
def test_cloud_goes_to_a_file_and_back(tmp_path: Path, suffix: str) -> None:
    points = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    colors = np.random.default_rng(1).integers(0, 255, (100, 3)).astype(np.uint8)
    save_cloud(tmp_path / f"c{suffix}", points, colors)
    assert np.allclose(load_cloud(tmp_path / f"c{suffix}"), points, atol=1e-7)


def test_cloud_files_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PerceptionError, match="ends in"):
        save_cloud(tmp_path / "c.xyz", np.zeros((1, 3)))
    with pytest.raises(PerceptionError, match="no cloud file"):
        load_cloud(tmp_path / "absent.ply")
    with pytest.raises(PerceptionError, match=r"\(N, 3\)"):
        downsample(np.zeros((4, 4, 3)), 0.01)
