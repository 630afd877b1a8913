"""Rotations as numbers that a network can predict; DexGraspNet 2.0 compares them (Table 3) and takes `matrix`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

_SMALL = 1e-9


class RotationCode(NamedTuple):
    """One way of writing rotations.

    Attributes:
        size: How many numbers.
        encode: Rotations (B, 3, 3) to numbers (B, size).
        decode: Numbers (B, size), as a network gives them, to rotations (B, 3, 3).
    """

    size: int
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


def nearest_rotation(matrix: Tensor) -> Tensor:
    """Of matrices (B, 3, 3) the rotations that differ least from them (Levinson et al. 2020): by SVD, in float64.

    Of what is not finite, NaN.
    """
    finite = torch.isfinite(matrix).all(dim=-1).all(dim=-1)[..., None, None]
    u, _, vh = torch.linalg.svd(torch.where(finite, matrix, 0.0).double())
    # A reflection becomes a rotation by turning the axis round that counts least.
    u = torch.cat([u[..., :2], u[..., 2:] * torch.det(u @ vh)[..., None, None]], dim=-1)
    return torch.where(finite, u @ vh, torch.nan).to(matrix.dtype)


def turned(rotation: Tensor, turn: Tensor) -> Tensor:
    """Rotations (B, 3, 3) after turns (B, 3) [rad] about their own axes: R exp([turn])."""
    axes = torch.eye(3, dtype=turn.dtype, device=turn.device).expand(len(turn), 3, 3)
    skew = torch.linalg.cross(turn[:, None].expand(-1, 3, -1), axes).transpose(1, 2)
    return rotation @ torch.matrix_exp(skew)


def quaternion_of(rotation: Tensor) -> Tensor:
    """Unit quaternions wxyz (B, 4), w >= 0, of rotations (B, 3, 3)."""
    m = rotation
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    diagonal = [trace, *(2.0 * m[..., i, i] - trace for i in range(3))]
    squares = 1.0 + torch.stack(diagonal, dim=-1)  # 4 w^2, 4 x^2, 4 y^2, 4 z^2
    wx, wy, wz = (m[..., i, j] - m[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    xy, xz, yz = (m[..., i, j] + m[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    rows = [squares[..., 0], wx, wy, wz, wx, squares[..., 1], xy, xz, wy, xy, squares[..., 2], yz, wz, xz, yz]
    products = torch.stack([*rows, squares[..., 3]], dim=-1).unflatten(-1, (4, 4))  # 4 q q^T
    # The row of the largest component is the one that rounding spoils least.
    largest = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = normalize(products.gather(-2, largest).squeeze(-2), dim=-1)
    return torch.where(quaternion[..., :1] < 0.0, -quaternion, quaternion)


def rotation_of(quaternion: Tensor) -> Tensor:
    """Rotations (B, 3, 3) of quaternions wxyz (B, 4) of any length; of zeros the identity."""
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=quaternion.dtype, device=quaternion.device)
    length = quaternion.norm(dim=-1, keepdim=True)
    w, x, y, z = torch.where(length > _SMALL, quaternion / length.clamp(min=_SMALL), identity).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _axis_angle_of(rotation: Tensor) -> Tensor:
    quaternion = quaternion_of(rotation)
    sine = quaternion[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2.0 * torch.atan2(sine, quaternion[..., :1])
    return quaternion[..., 1:] * torch.where(sine > _SMALL, angle / sine.clamp(min=_SMALL), 2.0)


def _rotation_of_axis_angle(vector: Tensor) -> Tensor:
    angle = vector.norm(dim=-1, keepdim=True)
    return rotation_of(torch.cat([torch.cos(0.5 * angle), 0.5 * torch.sinc(0.5 * angle / torch.pi) * vector], dim=-1))


def _euler_of(rotation: Tensor) -> Tensor:
    """Angles (x, y, z) with R = Rx Ry Rz."""
    m = rotation
    sine = m[..., 0, 2].clamp(-1.0, 1.0)
    locked = sine.abs() > 1.0 - 1e-7
    x = torch.where(locked, torch.atan2(m[..., 2, 1], m[..., 1, 1]), torch.atan2(-m[..., 1, 2], m[..., 2, 2]))
    z = torch.where(locked, 0.0, torch.atan2(-m[..., 0, 1], m[..., 0, 0]))
    return torch.stack([x, torch.asin(sine), z], dim=-1)


def _rotation_of_euler(angles: Tensor) -> Tensor:
    x, y, z = (_rotation_of_axis_angle(torch.nn.functional.pad(angles[..., i : i + 1], (i, 2 - i))) for i in range(3))
    return x @ y @ z


def _rotation_of_sixd(columns: Tensor) -> Tensor:
    """Gram-Schmidt (Zhou et al. 2019, Eq. 15)."""
    first = normalize(columns[..., :3], dim=-1)
    second = columns[..., 3:] - (first * columns[..., 3:]).sum(-1, keepdim=True) * first
    second = normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


ROTATION_CODES = {
    "matrix": RotationCode(9, lambda r: r.flatten(-2), lambda x: nearest_rotation(x.unflatten(-1, (3, 3)))),
    "sixd": RotationCode(6, lambda r: r[..., :2].transpose(-1, -2).flatten(-2), _rotation_of_sixd),
    "quaternion": RotationCode(4, quaternion_of, rotation_of),
    "axis_angle": RotationCode(3, _axis_angle_of, _rotation_of_axis_angle),
    "euler": RotationCode(3, _euler_of, _rotation_of_euler),
}
