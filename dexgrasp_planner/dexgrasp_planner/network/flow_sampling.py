"""Samples and their exact log-likelihoods by the probability-flow ODE, from noise to data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dexgrasp_planner.network.schedule import STEPS, angles, betas
from dexgrasp_planner.network.velocity_field import Flow

Method = Literal["euler", "ab2"]
FlowField = Callable[[Tensor, int], Flow]
"""Velocity and divergence of samples (B, C) at one training step."""


@dataclass(frozen=True)
class FlowPreset:
    """How the ODE is solved.

    Attributes:
        method: `euler`, explicit in the training step, as the authors do; `ab2`, Adams-Bashforth of second order in the
            angle of the noise.
        evaluations: Of the network.
    """

    method: Method
    evaluations: int


FLOW_PRESETS = {"paper": FlowPreset("euler", 200), "fast": FlowPreset("ab2", 20)}
_CROWDING = 1.5  # nodes of `ab2` lie closer near the data, where the flow bends: angles go by this power


class Sampled(NamedTuple):
    """Samples (B, C) and their log-likelihoods (B,) [nat]."""

    samples: Tensor
    log_likelihood: Tensor


@torch.no_grad()
def sample_flow(field: FlowField, noise: Tensor, preset: FlowPreset) -> Sampled:
    """Follow the flow from noise to data.

    `d log p / da = - div v` along the way (Song et al. 2021, Eq. 39; DexGraspNet 2.0, Eq. 7).

    Args:
        field: Asked at integer training steps only.
        noise: (B, C), standard normal.
        preset: How.
    """
    solve = _euler if preset.method == "euler" else _adams_bashforth
    samples, growth = solve(field, noise, preset.evaluations)
    normal = -0.5 * (noise.square().sum(dim=-1) + noise.shape[-1] * math.log(2.0 * math.pi))
    return Sampled(samples, normal + growth)


def _euler(field: FlowField, x: Tensor, evaluations: int) -> tuple[Tensor, Tensor]:
    """As the authors do: equal steps in time, the angle's rate taken at the start of each."""
    growth = x.new_zeros(len(x))
    stride = STEPS // evaluations
    beta, angle = betas(), angles()
    for step in range(STEPS - stride, -1, -stride):
        advance = float(0.5 * stride * beta[step] / torch.tan(angle[step]))
        flow = field(x, step)
        x = x - advance * flow.velocity
        growth = growth + advance * flow.divergence
    return x, growth


def _adams_bashforth(field: FlowField, x: Tensor, evaluations: int) -> tuple[Tensor, Tensor]:
    growth = x.new_zeros(len(x))
    steps = _nodes(evaluations)
    ends = [float(angles()[step]) for step in steps] + [0.0]
    before: Flow | None = None
    for index, step in enumerate(steps):
        flow = field(x, step)
        advance = ends[index] - ends[index + 1]
        velocity, divergence = flow
        if before is not None:
            ratio = 0.5 * advance / (ends[index - 1] - ends[index])
            velocity = velocity + ratio * (velocity - before.velocity)
            divergence = divergence + ratio * (divergence - before.divergence)
        x = x - advance * velocity
        growth = growth + advance * divergence
        before = flow
    return x, growth


def _nodes(evaluations: int) -> list[int]:
    """Training steps, descending, whose angles are nearest to powers of equal parts of the largest angle."""
    angle = angles()
    wanted = angle[-1] * torch.linspace(1.0, 0.0, evaluations + 1, dtype=torch.float64)[:-1] ** _CROWDING
    nearest = (angle[None] - wanted[:, None]).abs().argmin(dim=1)
    return sorted(set(nearest.tolist()), reverse=True)
