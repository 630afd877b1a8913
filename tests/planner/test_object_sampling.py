"""The samplers: what a guided step adds and what stays the same without guidance."""

from __future__ import annotations

import math

import pytest
import torch
from dexgrasp_planner.object_level.guided_sampling import (
    SAMPLERS,
    Guide,
    Predict,
    UnknownSamplerError,
    constrained,
    sample_states,
    sampler,
    steps,
)
from dexgrasp_planner.object_level.noise_schedule import SCHEDULES, STEPS, NoiseSchedule
from torch import Tensor

SIZE = 6
GOAL = torch.linspace(-0.6, 0.7, SIZE)


def exact(schedule: NoiseSchedule, spread: float = 0.0) -> Predict:
    """The best prediction there is, for states that are normal about `GOAL`."""

    def predict(x: Tensor, step: Tensor) -> Tensor:
        angle = schedule.angles[step].unsqueeze(-1)
        signal, noise = torch.cos(angle), torch.sin(angle)
        x0 = GOAL + spread**2 * signal / (noise**2 + (spread * signal) ** 2) * (x - signal * GOAL)
        eps = (x - signal * x0) / noise
        return eps if schedule.prediction == "noise" else signal * eps - noise * x0

    return predict


def drawn(
    schedule: NoiseSchedule, name: str, guide: Guide | None = None, count: int = 16, spread: float = 0.0
) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    like = torch.empty(count, SIZE)
    return sample_states(exact(schedule, spread), schedule, like, generator, sampler(name), guide)


def test_a_constrained_step_is_exactly_as_long_as_noise_is() -> None:
    noise, gradient = torch.randn(2, 50, 27, generator=torch.Generator().manual_seed(0))
    for scale in (0.0, 0.3, 1.0):
        length = constrained(noise, gradient, 0.2, scale).norm(dim=1)
        torch.testing.assert_close(length, torch.full((50,), math.sqrt(27) * 0.2))


def test_a_constrained_step_turns_from_the_noise_to_the_gradient() -> None:
    noise, gradient = torch.randn(2, 50, 27, generator=torch.Generator().manual_seed(0))
    whole = constrained(noise, gradient, 0.2, 1.0)
    radius = math.sqrt(27) * 0.2
    torch.testing.assert_close(whole, -radius * gradient / gradient.norm(dim=1, keepdim=True))
    mixed = 0.2 * noise + 0.3 * (whole - 0.2 * noise)
    expected = radius * mixed / mixed.norm(dim=1, keepdim=True)
    torch.testing.assert_close(constrained(noise, gradient, 0.2, 0.3), expected)


def test_the_size_of_a_gradient_does_not_matter_and_without_one_there_is_noise() -> None:
    noise, gradient = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(0))
    expected = constrained(noise, gradient, 0.1, 0.5)
    for factor in (1e-30, 1e30):
        torch.testing.assert_close(constrained(noise, factor * gradient, 0.1, 0.5), expected)
    for bad in (0.0, math.nan, math.inf):
        spoiled = gradient.clone()
        spoiled[2] = bad
        found = constrained(noise, spoiled, 0.1, 0.5)
        torch.testing.assert_close(found[2], 0.1 * noise[2])
        torch.testing.assert_close(found[3], expected[3])


@pytest.mark.parametrize("name", SCHEDULES)
def test_all_steps_are_those_of_ddpm(name: str) -> None:
    schedule = NoiseSchedule(name)
    power = torch.cos(schedule.angles.double()) ** 2
    made = list(steps(schedule, SAMPLERS["paper"]))
    assert [step.at for step in made] == list(range(STEPS - 1, -1, -1))
    for step in made[1:-1]:
        here, after = power[step.at].item(), power[step.at - 1].item()
        beta = 1.0 - here / after
        assert step.sigma**2 == pytest.approx(beta * (1.0 - after) / (1.0 - here), rel=1e-3)
        # The mean (Ho et al. 2020, Eq. 7): what it takes of x and of x0.
        assert step.way / step.noise == pytest.approx(
            math.sqrt(here / after) * (1.0 - after) / (1.0 - here), rel=1e-3, abs=1e-5
        )
    assert made[-1].sigma == 0.0
    fast = [step.at for step in steps(schedule, SAMPLERS["fast"])]
    assert len(fast) == 10
    assert (fast[0], fast[-1]) == (STEPS - 1, 0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_best_prediction_gives_the_data(name: str) -> None:
    schedule = NoiseSchedule("zero_terminal")
    torch.testing.assert_close(drawn(schedule, name), GOAL.expand(16, -1), rtol=0.0, atol=1e-4)
    states = drawn(schedule, name, count=4000, spread=0.1)
    torch.testing.assert_close(states.mean(dim=0), GOAL, rtol=0.0, atol=0.01)
    # Few steps that each add noise make less of the spread (Song et al. 2021, Sec. 5.1).
    least, most = {"paper": (0.08, 0.12), "fast": (0.04, 0.12)}[name]
    assert least < states.std(dim=0).mean().item() < most


def test_no_scale_is_plain_sampling_to_the_last_bit() -> None:
    schedule = NoiseSchedule("zero_terminal")
    guide = Guide(lambda x0: x0.square().sum(dim=1), scale=0.0)
    assert torch.equal(drawn(schedule, "fast", guide, spread=0.1), drawn(schedule, "fast", spread=0.1))


@pytest.mark.parametrize("through", ["network", "estimate"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_guidance_lowers_the_energy(name: str, through: str) -> None:
    schedule = NoiseSchedule(name)

    def energy(x0: Tensor) -> Tensor:
        return x0[:, 0]

    plain = drawn(schedule, "paper", spread=0.1, count=200)
    with torch.no_grad():  # as callers have it
        guided = drawn(schedule, "paper", Guide(energy, 0.5, through), spread=0.1, count=200)
    assert not guided.requires_grad
    assert guided[:, 0].mean() < plain[:, 0].mean() - 0.05


def test_an_energy_that_is_no_number_spoils_its_own_state_only() -> None:
    schedule = NoiseSchedule("zero_terminal")

    def energy(x0: Tensor) -> Tensor:
        return torch.where(torch.arange(len(x0)) == 3, torch.sqrt(-x0.square().sum(dim=1) - 1.0), x0[:, 0])

    assert torch.isfinite(drawn(schedule, "fast", Guide(energy, 1.0, "estimate"), spread=0.1)).all()


def test_unknown_samplers_are_refused() -> None:
    with pytest.raises(UnknownSamplerError, match="paper, fast"):
        sampler("slow")
