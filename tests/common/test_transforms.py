from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dexgrasp_common import transforms


@pytest.fixture
def poses() -> np.ndarray:
    rng = np.random.default_rng(0)
    A_T_B = np.tile(np.eye(4), (20, 1, 1))
    A_T_B[:, :3, :3] = Rotation.random(20, rng=rng).as_matrix()
    A_T_B[:, :3, 3] = rng.normal(size=(20, 3))
    return A_T_B


def test_inverse_undoes_the_transform(poses: np.ndarray) -> None:
    np.testing.assert_allclose(transforms.invert(poses) @ poses, np.tile(np.eye(4), (20, 1, 1)), atol=1e-12)


def test_xyz_quat_goes_there_and_back(poses: np.ndarray) -> None:
    for A_T_B in poses:
        np.testing.assert_allclose(transforms.from_xyz_quat(transforms.to_xyz_quat(A_T_B)), A_T_B, atol=1e-12)


def test_apply_maps_the_origin_to_the_translation_and_keeps_the_type() -> None:
    A_T_B = transforms.from_xyz_rpy([1.0, 2.0, 3.0], [0.0, 0.0, np.pi / 2])
    moved = transforms.apply(A_T_B, np.array([[0, 0, 0], [1, 0, 0]], np.float32))
    np.testing.assert_allclose(moved, [[1, 2, 3], [1, 3, 3]], atol=1e-6)
    assert moved.dtype == np.float32


def test_urdf_angles_turn_about_fixed_axes() -> None:
    A_R_B = transforms.from_xyz_rpy([0, 0, 0], [0.3, -0.2, 0.5])[:3, :3]
    x, y, z = (Rotation.from_rotvec(v).as_matrix() for v in ([0.3, 0, 0], [0, -0.2, 0], [0, 0, 0.5]))
    np.testing.assert_allclose(A_R_B, z @ y @ x, atol=1e-12)


def test_look_at_points_the_optical_axis_at_the_target_with_the_image_upright() -> None:
    world_T_camera = transforms.look_at([0.3, 0.0, 0.6], [0.0, 0.0, 0.0])
    R = world_T_camera[:3, :3]
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1.0)
    np.testing.assert_allclose(R[:, 2], -np.array([0.3, 0.0, 0.6]) / np.hypot(0.3, 0.6), atol=1e-12)
    assert R[2, 1] < 0, "the image's y axis points down"


@pytest.mark.parametrize("values", [[0.0] * 6, [0.0] * 6 + [np.nan], [0.0] * 7])
def test_a_pose_that_is_none_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="(?i)seven finite|norm"):
        transforms.from_xyz_quat(values)
