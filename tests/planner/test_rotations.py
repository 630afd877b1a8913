"""Ways of writing rotations: there and back, against SciPy, and with numbers that no rotation has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dexgrasp_planner.network.rotations import ROTATION_CODES, nearest_rotation, quaternion_of
from scipy.spatial.transform import Rotation
from torch import Tensor


def rotations() -> Tensor:
    """Random ones, none, half turns about each axis, and those at which Euler angles lock."""
    turns = Rotation.random(200, rng=np.random.default_rng(0)).as_matrix()
    special = [Rotation.from_rotvec(axis * np.pi).as_matrix() for axis in np.eye(3)]
    locked = [Rotation.from_euler("XYZ", [0.3, sign * np.pi / 2, 0.4]).as_matrix() for sign in (1.0, -1.0)]
    tiny = Rotation.from_rotvec([1e-10, 0.0, 0.0]).as_matrix()
    return torch.tensor(np.concatenate([turns, [np.eye(3), tiny], special, locked]))


@pytest.mark.parametrize("name", ROTATION_CODES)
def test_there_and_back(name: str) -> None:
    code = ROTATION_CODES[name]
    numbers = code.encode(rotations())
    assert numbers.shape == (len(rotations()), code.size)
    torch.testing.assert_close(code.decode(numbers), rotations(), atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("name", ROTATION_CODES)
def test_any_numbers_become_a_rotation(name: str) -> None:
    code = ROTATION_CODES[name]
    numbers = 3.0 * torch.randn(100, code.size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    decoded = code.decode(numbers)
    torch.testing.assert_close(decoded @ decoded.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(100, 3, 3))
    torch.testing.assert_close(torch.det(decoded), torch.ones(100, dtype=torch.float64))


def test_quaternions_axes_and_euler_angles_are_scipys() -> None:
    turns = Rotation.random(100, rng=np.random.default_rng(1))
    matrices = torch.tensor(turns.as_matrix())
    expected = {
        "quaternion": turns.as_quat(canonical=True, scalar_first=True),
        "axis_angle": turns.as_rotvec(),
        "euler": turns.as_euler("XYZ"),
    }
    for name, numbers in expected.items():
        np.testing.assert_allclose(ROTATION_CODES[name].encode(matrices).numpy(), numbers, atol=1e-9)


def test_a_reflection_becomes_the_rotation_nearest_to_it() -> None:
    matrix = torch.diag(torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64))[None]
    torch.testing.assert_close(nearest_rotation(matrix)[0], torch.eye(3, dtype=torch.float64))
    flat, broken = torch.zeros(3, 3), torch.full((3, 3), torch.nan)
    rotations_ = nearest_rotation(torch.stack([flat, broken]))
    assert torch.det(rotations_[0]).item() == pytest.approx(1.0)
    assert bool(rotations_[1].isnan().all())


def test_gradients_reach_the_numbers() -> None:
    for name in ("sixd", "quaternion", "axis_angle", "euler"):
        code = ROTATION_CODES[name]
        numbers = torch.randn(4, code.size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        assert torch.autograd.gradcheck(code.decode, (numbers.requires_grad_(),))


def test_the_sign_of_a_quaternion_is_settled() -> None:
    assert bool((quaternion_of(rotations())[:, 0] >= 0.0).all())
