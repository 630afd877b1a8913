"""The noise of diffusion: how much of it at which training step, and what the network is to predict.

Noising turns data and noise into each other by an angle: `x = cos(a) x0 + sin(a) noise`, where `cos(a)^2` is the
cumulative alpha of DDPM (Ho et al. 2020, Eq. 4). The velocity `v = cos(a) noise - sin(a) x0` (Salimans and Ho 2022,
App. D), which the network learns, is `dx/da`: the probability-flow ODE (Song et al. 2021, Eq. 13) is `dx = v da`, from
the noisiest angle to 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 1000  # training steps
_FIRST, _LAST = 1e-4, 2e-2  # variance added in the first and in the last of them


def betas() -> Tensor:
    """Variance added in each training step: (STEPS,), linear (DexGraspNet 2.0 trains with DDPM's own)."""
    return torch.linspace(_FIRST, _LAST, STEPS, dtype=torch.float64)


def angles() -> Tensor:
    """Angle of the noise at each training step [rad]: (STEPS,), ascending from 0.01 to nearly pi / 2."""
    return torch.arccos(torch.sqrt(torch.cumprod(1.0 - betas(), dim=0)))


def noised(x0: Tensor, noise: Tensor, angle: Tensor) -> Tensor:
    """Data (B, C) with noise (B, C), at angles (B,) [rad]."""
    angle = angle.unsqueeze(-1)
    return torch.cos(angle) * x0 + torch.sin(angle) * noise


def velocity(x0: Tensor, noise: Tensor, angle: Tensor) -> Tensor:
    """What the network is to predict for `noised` with the same arguments: (B, C)."""
    angle = angle.unsqueeze(-1)
    return torch.cos(angle) * noise - torch.sin(angle) * x0
