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
Steering = Callable[[Tensor, float], Tensor]
"""How far to move estimates of clean samples (B, C), told at an angle of the noise [rad]."""


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
def sample_flow(field: FlowField, noise: Tensor, preset: FlowPreset, steer: Steering | None = None) -> Sampled:
    """Follow the flow from noise to data.

    `d log p / da = - div v` along the way (Song et al. 2021, Eq. 39; DexGraspNet 2.0, Eq. 7).

    Where it is steered, the estimate of the clean sample is moved and the noise in the state stays what it is (MPGD: He
    et al. 2024, Alg. 1): since `x = cos(a) x0 + sin(a) noise`, the next state moves by cos(a) of as much.

    Args:
        field: Asked at integer training steps only.
        noise: (B, C), standard normal.
        preset: How.
        steer: None: nothing moves samples but the flow. Otherwise likelihoods are those of no density: they leave out
            what steering does to volumes.
    """
    growth = noise.new_zeros(len(noise))
    nodes = _equal_times(preset.evaluations) if preset.method == "euler" else _crowded_angles(preset.evaluations)
    x = noise
    before: tuple[Flow, float] | None = None
    for step, advance in nodes:
        flow = field(x, step)
        velocity, divergence = flow
        if preset.method == "ab2" and before is not None:
            ratio = 0.5 * advance / before[1]
            velocity = velocity + ratio * (velocity - before[0].velocity)
            divergence = divergence + ratio * (divergence - before[0].divergence)
        following = x - advance * velocity
        growth = growth + advance * divergence
        if steer is not None:
            angle = float(angles()[step])
            clean = math.cos(angle) * x - math.sin(angle) * flow.velocity
            following = following + math.cos(max(angle - advance, 0.0)) * steer(clean, angle)
        x, before = following, (flow, advance)
    normal = -0.5 * (noise.square().sum(dim=-1) + noise.shape[-1] * math.log(2.0 * math.pi))
    return Sampled(x, normal + growth)


def _equal_times(evaluations: int) -> list[tuple[int, float]]:
    """Training steps, and how far the angle goes from each: as the authors do, equal in time."""
    stride = STEPS // evaluations
    beta, angle = betas(), angles()
    steps = range(STEPS - stride, -1, -stride)
    # The angle's rate is taken at the start of each.
    return [(step, float(0.5 * stride * beta[step] / torch.tan(angle[step]))) for step in steps]


def _crowded_angles(evaluations: int) -> list[tuple[int, float]]:
    """The same, for nodes that lie closer near the data; the last ends there."""
    steps = _nodes(evaluations)
    ends = [float(angles()[step]) for step in steps] + [0.0]
    return [(step, start - end) for step, start, end in zip(steps, ends, ends[1:], strict=False)]


def _nodes(evaluations: int) -> list[int]:
    """Training steps, descending, whose angles are nearest to powers of equal parts of the largest angle."""
    angle = angles()
    wanted = angle[-1] * torch.linspace(1.0, 0.0, evaluations + 1, dtype=torch.float64)[:-1] ** _CROWDING
    nearest = (angle[None] - wanted[:, None]).abs().argmin(dim=1)
    return sorted(set(nearest.tolist()), reverse=True)
