"""Rigid transforms as 4x4 matrices: `A_T_B` is the pose of frame B in frame A, so `p_A = apply(A_T_B, p_B)`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation


def from_xyz_quat(xyz_quat: Sequence[float] | ArrayLike) -> NDArray[np.float64]:
    """4x4 transform from `[x, y, z, qx, qy, qz, qw]` ([m], xyzw).

    Raises:
        ValueError: Not seven finite numbers, or a quaternion of length zero.
    """
    values = np.asarray(xyz_quat, dtype=np.float64)
    if values.shape != (7,) or not np.isfinite(values).all():
        raise ValueError(f"A pose is seven finite numbers x y z qx qy qz qw; got {xyz_quat!r}.")
    A_T_B = np.eye(4)
    A_T_B[:3, :3] = Rotation.from_quat(values[3:]).as_matrix()
    A_T_B[:3, 3] = values[:3]
    return A_T_B


def to_xyz_quat(A_T_B: ArrayLike) -> NDArray[np.float64]:
    """`[x, y, z, qx, qy, qz, qw]` of a 4x4 transform."""
    matrix = np.asarray(A_T_B, dtype=np.float64)
    return np.concatenate([matrix[:3, 3], Rotation.from_matrix(matrix[:3, :3]).as_quat()])


def from_xyz_rpy(xyz: ArrayLike, rpy: ArrayLike) -> NDArray[np.float64]:
    """4x4 transform from a URDF origin: translation [m] and fixed-axis roll, pitch, yaw [rad]."""
    A_T_B = np.eye(4)
    A_T_B[:3, :3] = Rotation.from_euler("xyz", np.asarray(rpy, dtype=np.float64)).as_matrix()
    A_T_B[:3, 3] = np.asarray(xyz, dtype=np.float64)
    return A_T_B


def invert(A_T_B: NDArray[np.float64]) -> NDArray[np.float64]:
    """`B_T_A` of one transform (4, 4) or a batch (..., 4, 4)."""
    B_T_A = np.zeros_like(A_T_B)
    A_R_B = A_T_B[..., :3, :3]
    B_T_A[..., :3, :3] = np.swapaxes(A_R_B, -1, -2)
    B_T_A[..., :3, 3] = -np.einsum("...ji,...j->...i", A_R_B, A_T_B[..., :3, 3])
    B_T_A[..., 3, 3] = 1.0
    return B_T_A


def apply(A_T_B: NDArray[np.float64], points_B: NDArray[np.floating]) -> NDArray[np.floating]:
    """Points (..., 3) of frame B in frame A, for one transform (4, 4)."""
    A_R_B = A_T_B[:3, :3].astype(points_B.dtype)
    return points_B @ A_R_B.T + A_T_B[:3, 3].astype(points_B.dtype)


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> NDArray[np.float64]:
    """Pose of an optical frame (z forward, x right, y down) at `eye` that looks at `target` [m].

    Raises:
        ValueError: The view direction is parallel to `up`.
    """
    eye_, target_ = np.asarray(eye, dtype=np.float64), np.asarray(target, dtype=np.float64)
    forward = target_ - eye_
    right = np.cross(forward, np.asarray(up, dtype=np.float64))
    if np.linalg.norm(right) < 1e-9:
        raise ValueError("The view direction is parallel to `up`; choose another `up`.")
    z, x = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    A_T_C = np.eye(4)
    A_T_C[:3, :3] = np.column_stack([x, np.cross(z, x), z])
    A_T_C[:3, 3] = eye_
    return A_T_C
