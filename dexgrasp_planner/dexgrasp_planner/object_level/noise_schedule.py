"""How much noise at which of the steps, and what the network is to predict of it.

As in `network.schedule`, a step is an angle: `x = cos(a) x0 + sin(a) noise`, `cos(a)^2` being the cumulative alpha.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from dexgrasp_planner.errors import PlannerError
from dexgrasp_planner.network.schedule import noised, velocity

STEPS = 100
PAPER, ZERO_TERMINAL = SCHEDULES = ("paper", "zero_terminal")


class UnknownScheduleError(PlannerError):
    """There is no schedule of that name."""


class NoiseSchedule(nn.Module):
    """The steps of one diffusion.

    `paper`: variances linear from 1e-4 to 0.01, as in DexGrasp Anything's code, which predicts the noise. Its last step
    still holds 0.602 of the signal's power, so that sampling from pure noise begins where training never was.

    `zero_terminal`: the cosine of Nichol and Dhariwal (2021, Eq. 17) without its cap, so that the last step is noise
    alone, where sampling begins. There the noise says nothing about the sample (`x` is the noise), so the velocity is
    predicted, which is minus the sample there (Salimans and Ho 2022, App. D; Lin et al. 2024, Sec. 3.2).

    Args:
        name: One of `SCHEDULES`.

    Attributes:
        prediction: What the network gives: `noise` or `velocity`.
        angles: (STEPS,) [rad], ascending to at most pi / 2.

    Raises:
        UnknownScheduleError: Another name.
    """

    angles: Tensor
    prediction: Literal["noise", "velocity"]

    def __init__(self, name: str) -> None:
        super().__init__()
        if name == PAPER:
            betas = torch.linspace(1e-4, 0.01, STEPS, dtype=torch.float64)
            angles = torch.arccos(torch.sqrt(torch.cumprod(1.0 - betas, dim=0)))
            self.prediction = "noise"
        elif name == ZERO_TERMINAL:
            offset = 0.008
            part = torch.arange(1, STEPS + 1, dtype=torch.float64) / STEPS
            angles = (part + offset) / (1.0 + offset) * (math.pi / 2.0)
            self.prediction = "velocity"
        else:
            raise UnknownScheduleError(f"There is no schedule {name!r}. Schedules: {', '.join(SCHEDULES)}.")
        self.register_buffer("angles", angles.float(), persistent=False)
        self._weighted = name == ZERO_TERMINAL

    def noised(self, x0: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """States (G, S) with noise (G, S), at steps (G,)."""
        return noised(x0, noise, self.angles[step])

    def target(self, x0: Tensor, noise: Tensor, step: Tensor) -> Tensor:
        """What the network is to predict (G, S)."""
        return noise if self.prediction == "noise" else velocity(x0, noise, self.angles[step])

    def estimate(self, x: Tensor, predicted: Tensor, step: Tensor) -> Tensor:
        """The clean state (G, S) that a prediction (G, S) implies, at steps (G,) or (1,)."""
        angle = self.angles[step].unsqueeze(-1)
        if self.prediction == "noise":
            return (x - torch.sin(angle) * predicted) / torch.cos(angle)
        return torch.cos(angle) * x - torch.sin(angle) * predicted

    def physics_weight(self, step: Tensor) -> Tensor:
        """How much the physics of an estimate counts (G,): as in the authors' code 1, or else its share of signal.

        An estimate from much noise is a mean of many grasps, which need not be one.
        """
        angle = self.angles[step]
        return torch.cos(angle).square() if self._weighted else torch.ones_like(angle)
