"""The diffusion head against automatic differentiation, and its embedding against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from dexgrasp_planner.network.velocity_field import VelocityField, mish_with_slope, step_embedding


@pytest.fixture
def field() -> VelocityField:
    torch.manual_seed(0)
    made = VelocityField(channels=12, features=32).double()
    for layer in made.layers:
        torch.nn.init.normal_(layer.bias)
    return made


def test_mish_and_its_slope_are_torchs_own() -> None:
    x = torch.cat([torch.linspace(-40.0, 40.0, 801, dtype=torch.float64), torch.tensor([-1e30, 1e30])])
    x.requires_grad_()
    expected = torch.nn.functional.mish(x)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    value, own = mish_with_slope(x.detach())
    torch.testing.assert_close(value, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(own, slope, rtol=1e-10, atol=1e-10)


def test_the_conditioned_field_moves_samples_as_the_network_says(field: VelocityField) -> None:
    sample, feature = torch.randn(7, 12, dtype=torch.float64), torch.randn(7, 32, dtype=torch.float64)
    for step in (0, 1, 500, 999):
        expected = field(sample, feature, torch.full((7,), step))
        torch.testing.assert_close(field.conditioned(feature)(sample, step).velocity, expected.detach())


def test_the_divergence_is_the_trace_of_the_jacobian(field: VelocityField) -> None:
    sample, feature = torch.randn(5, 12, dtype=torch.float64), torch.randn(5, 32, dtype=torch.float64)
    flow = field.conditioned(feature)(sample, 321)
    for row in range(5):
        jacobian = torch.autograd.functional.jacobian(
            lambda x, row=row: field(x[None], feature[row : row + 1], torch.tensor([321]))[0], sample[row]
        )
        torch.testing.assert_close(flow.divergence[row], torch.trace(jacobian))


def test_the_embedding_is_sines_then_cosines_of_the_time() -> None:
    embedded = step_embedding(torch.tensor([0, 7]), 512)
    assert embedded.shape == (2, 512)
    torch.testing.assert_close(embedded[0], torch.cat([torch.zeros(256), torch.ones(256)]))
    for index in (0, 100, 255):
        angle = 7 / 1000 * 10000 * math.exp(-index * math.log(10000) / 255)
        assert embedded[1, index].item() == pytest.approx(math.sin(angle), abs=1e-4)
        assert embedded[1, 256 + index].item() == pytest.approx(math.cos(angle), abs=1e-4)


def test_entries_are_named_as_in_the_authors_files() -> None:
    shapes = {name: tuple(value.shape) for name, value in VelocityField(12).state_dict().items()}
    assert shapes == {
        "mlp.linear0.weight": (512, 524),
        "mlp.linear0.bias": (512,),
        "mlp.linear1.weight": (256, 512),
        "mlp.linear1.bias": (256,),
        "mlp.linear2.weight": (12, 256),
        "mlp.linear2.bias": (12,),
    }
