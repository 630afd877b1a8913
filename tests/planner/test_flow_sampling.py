"""The sampler on data whose flow is known in closed form: a normal distribution of any mean and width."""

from __future__ import annotations

import math

import pytest
import torch
from dexgrasp_planner.network.flow_sampling import FLOW_PRESETS, FlowPreset, sample_flow
from dexgrasp_planner.network.schedule import STEPS, angles, betas, noised, velocity
from dexgrasp_planner.network.velocity_field import Flow
from torch import Tensor

MEAN = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
WIDTH = torch.tensor([0.3, 0.1, 0.8], dtype=torch.float64)


def normal_flow(x: Tensor, step: int) -> Flow:
    """Velocity field of data drawn from N(MEAN, WIDTH^2): the best prediction of v given x, which is linear in x."""
    angle = angles()[step]
    c, s = torch.cos(angle), torch.sin(angle)
    variance = (c * WIDTH) ** 2 + s**2
    slope = c * s * (1.0 - WIDTH**2) / variance
    return Flow(slope * (x - c * MEAN) - s * MEAN, slope.sum().expand(len(x)))


def carried(noise: Tensor) -> Tensor:
    """Where the flow takes noise: along a line, each value keeps its number of standard deviations."""
    c, s = torch.cos(angles()[-1]), torch.sin(angles()[-1])
    return MEAN + WIDTH * (noise - c * MEAN) / torch.sqrt((c * WIDTH) ** 2 + s**2)


def test_the_schedule_is_the_one_of_the_authors() -> None:
    assert betas()[0].item() == pytest.approx(1e-4)
    assert betas()[-1].item() == pytest.approx(2e-2)
    rate = 500.0 * betas() / torch.tan(angles())  # of the angle over time
    assert [round(rate[step].item(), 3) for step in (995, 100, 0)] == pytest.approx([0.066, 3.06, 5.0], abs=0.01)
    assert bool((angles().diff() > 0.0).all())


def test_the_velocity_is_the_derivative_by_the_angle() -> None:
    x0, noise = torch.randn(2, 6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    angle, h = torch.linspace(0.1, 1.5, 6, dtype=torch.float64), 1e-6
    slope = (noised(x0, noise, angle + h) - noised(x0, noise, angle - h)) / (2.0 * h)
    torch.testing.assert_close(slope, velocity(x0, noise, angle), atol=1e-8, rtol=0.0)


@pytest.mark.parametrize(("name", "error"), [("paper", 0.01), ("fast", 0.004)])
def test_noise_becomes_data_and_its_likelihood_is_known(name: str, error: float) -> None:
    noise = torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sampled = sample_flow(normal_flow, noise, FLOW_PRESETS[name])
    deviations = (sampled.samples - carried(noise)) / WIDTH
    assert deviations.abs().mean() < 10.0 * error
    standard = (sampled.samples - MEAN) / WIDTH
    density = -0.5 * (standard**2).sum(-1) - torch.log(WIDTH).sum() - 1.5 * math.log(2.0 * math.pi)
    ranks = torch.stack([density, sampled.log_likelihood]).argsort(dim=1).argsort(dim=1).double()
    assert torch.corrcoef(ranks)[0, 1] > 1.0 - error


def test_more_evaluations_come_closer_to_the_truth() -> None:
    noise = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    errors = [
        (sample_flow(normal_flow, noise, FlowPreset("ab2", count)).samples - carried(noise)).abs().mean().item()
        for count in (5, 10, 20, 40)
    ]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert fine < 0.6 * coarse


@pytest.mark.parametrize("name", FLOW_PRESETS)
def test_the_network_is_asked_as_often_as_the_preset_says_and_at_training_steps_only(name: str) -> None:
    asked: list[int] = []

    def field(x: Tensor, step: int) -> Flow:
        asked.append(step)
        return Flow(torch.zeros_like(x), x.new_zeros(len(x)))

    noise = torch.zeros(1, 12)
    sampled = sample_flow(field, noise, FLOW_PRESETS[name])
    assert len(asked) == FLOW_PRESETS[name].evaluations
    assert asked == sorted(asked, reverse=True)
    assert all(isinstance(step, int) and 0 <= step < STEPS for step in asked)
    assert sampled.log_likelihood.item() == pytest.approx(-6.0 * math.log(2.0 * math.pi))


def test_no_samples_are_no_samples() -> None:
    nothing = torch.zeros(0, 3, dtype=torch.float64)
    assert sample_flow(normal_flow, nothing, FLOW_PRESETS["fast"]).samples.shape == (0, 3)
