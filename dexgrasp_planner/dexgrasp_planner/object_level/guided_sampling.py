"""From noise to grasps, with physics that pulls every step (DexGrasp Anything, Sec. 3.4).

All samplers make the same step: the mean of DDPM's posterior, written as DDIM writes it so that steps may be left out
(Song et al. 2021, Eq. 12), plus something of its standard deviation (eta = 1: DDIM's deterministic step would leave
guidance no radius). With all steps of a schedule this is DDPM.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from dexgrasp_common.parameters import param
from torch import Tensor

from dexgrasp_planner.errors import PlannerError
from dexgrasp_planner.network.grasp_heads import noise_like
from dexgrasp_planner.object_level.noise_schedule import STEPS, NoiseSchedule

Predict = Callable[[Tensor, Tensor], Tensor]  # states (G, S) and the step (1,) to noise or velocity (G, S)
Energy = Callable[[Tensor], Tensor]  # clean states (G, S) to what is to be small (G,)

_SMALL = 1e-12


class UnknownSamplerError(PlannerError):
    """There is no sampler of that name."""


@dataclass(frozen=True)
class SamplerConfig:
    """Which steps are made."""

    steps: int = param(STEPS, "of the schedule's, evenly spaced, its first and last among them", range=(2, STEPS))
    clamp: bool = param(False, "whether estimates of clean states are kept within -1 and 1, where data are")


SAMPLERS = {"paper": SamplerConfig(), "fast": SamplerConfig(steps=10, clamp=True)}


def sampler(name: str) -> SamplerConfig:
    """The sampler of that name.

    Raises:
        UnknownSamplerError: There is none.
    """
    if name not in SAMPLERS:
        raise UnknownSamplerError(f"There is no sampler {name!r}. Samplers: {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]


@dataclass(frozen=True)
class Guide:
    """What pulls.

    Attributes:
        energy: Of clean states; each value depends on its own state only.
        scale: g_r of the paper, 0 (nothing) to 1 (noise is replaced altogether, as the authors' code does).
        through: `network`: the gradient is that by the noisy state, through the network, as in the paper; `estimate`:
            by the estimated clean state, which needs no pass back through the network.
    """

    energy: Energy
    scale: float = 1.0
    through: Literal["network", "estimate"] = "network"


@dataclass(frozen=True)
class Step:
    """One step of a sampler.

    Attributes:
        at: Index into the schedule.
        signal, noise: What `x` is made of here.
        next_signal, way, sigma: The next state is `next_signal` x0 + `way` noise + `sigma` new noise.
    """

    at: int
    signal: float
    noise: float
    next_signal: float
    way: float
    sigma: float


def steps(schedule: NoiseSchedule, config: SamplerConfig) -> Iterator[Step]:
    """The steps from noise to grasps; the last adds no noise."""
    chosen = torch.linspace(STEPS - 1, 0, config.steps).round().long()
    angles = [*schedule.angles[chosen.to(schedule.angles.device)].tolist(), 0.0]
    for at, (angle, after) in zip(chosen.tolist(), pairwise(angles), strict=True):
        signal, noise, next_signal, next_noise = math.cos(angle), math.sin(angle), math.cos(after), math.sin(after)
        # The variance of DDPM's posterior: (1 - a')/(1 - a) (1 - a/a'), with a and a' the squares of the signals.
        sigma = next_noise / noise * math.sqrt(max(0.0, 1.0 - (signal / next_signal) ** 2))
        yield Step(at, signal, noise, next_signal, math.sqrt(max(0.0, next_noise**2 - sigma**2)), sigma)


def sample_states(
    predict: Predict,
    schedule: NoiseSchedule,
    like: Tensor,
    generator: torch.Generator,
    config: SamplerConfig,
    guide: Guide | None = None,
) -> Tensor:
    """States (G, S), without gradients. The same generator gives the same noise, guided or not.

    Args:
        predict: The network for G grasps.
        schedule: That it was trained with.
        like: Anything (G, S) on the device and of the kind that states are to be.
        generator: Of all noise, on the CPU.
        config: Which steps.
        guide: What pulls; None, or one with scale 0: nothing does.
    """
    size = like.shape[1]
    x = noise_like(like, size, generator)
    for step in steps(schedule, config):
        at = torch.tensor([step.at], device=like.device)
        noise = noise_like(like, size, generator)
        if guide is None or guide.scale == 0.0 or step.sigma == 0.0:
            with torch.no_grad():
                estimate = schedule.estimate(x, predict(x, at), at)
            added = step.sigma * noise
        else:
            estimate, gradient = _pulled(predict, schedule, x, at, guide)
            added = constrained(noise, gradient, step.sigma, guide.scale)
        if config.clamp:
            estimate = estimate.clamp(-1.0, 1.0)
        known = (x - step.signal * estimate) / step.noise
        x = step.next_signal * estimate + step.way * known + added
    return x


def _pulled(predict: Predict, schedule: NoiseSchedule, x: Tensor, at: Tensor, guide: Guide) -> tuple[Tensor, Tensor]:
    """The estimated clean states and the gradient of their energy, both (G, S)."""
    through = guide.through == "network"
    with torch.set_grad_enabled(through):
        variable = x.detach().requires_grad_(through)
        estimate = schedule.estimate(variable, predict(variable, at), at)
    with torch.enable_grad():  # also for callers that want none
        by = variable if through else estimate.requires_grad_()
        (gradient,) = torch.autograd.grad(guide.energy(estimate).sum(), by)
    return estimate.detach(), gradient


def constrained(noise: Tensor, gradient: Tensor, sigma: float, scale: float) -> Tensor:
    """What is added to the mean (G, S): on the sphere on which noise lies, towards less energy (Eqs. 14 and 15).

    With r = sqrt(S) sigma, it is r d / |d| where d = d_sample + scale (d* - d_sample), d_sample = sigma noise and
    d* = -r g / |g|. The paper writes sigma^2 in d*; its code takes r, the radius at which d* is itself on the sphere.
    Without a gradient (it is zero, or no number) there is nothing to pull: the noise itself is added.

    Args:
        noise: (G, S), standard normal.
        gradient: Of the energy (G, S).
        sigma: Standard deviation of the noise.
        scale: g_r. At 0 every state still moves by r exactly; plain sampling is `Guide` without a scale.
    """
    largest = gradient.abs().amax(dim=1, keepdim=True)
    usable = torch.isfinite(largest) & (largest > 0.0)
    gradient = torch.where(usable, gradient / torch.where(usable, largest, 1.0), 0.0)  # of any size, without overflow
    radius = math.sqrt(noise.shape[1]) * sigma
    drawn = sigma * noise
    best = -radius * gradient / gradient.norm(dim=1, keepdim=True).clamp_min(_SMALL)
    mixed = drawn + scale * (best - drawn)
    return torch.where(usable, radius * mixed / mixed.norm(dim=1, keepdim=True).clamp_min(_SMALL), drawn)
