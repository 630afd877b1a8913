"""The diffusion head: an MLP that says how a noisy sample moves, given a local feature, and its exact divergence.

The network is small enough for its Jacobian's trace to have a closed form, which takes the place of one backward pass
per dimension: with `v = W3 mish(W2 mish(Wx x + ...))` the trace is `d2 . (W2 o (Wx W3)^T) d1`, where d1 and d2 are the
derivatives of the two activations and o is the elementwise product.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from dexgrasp_planner.network.schedule import STEPS

FEATURES = 512  # of a local feature
_WIDTHS = (512, 256)
_PERIOD = 10000.0
_LARGE = 20.0  # mish(x) is x beyond that, to the last bit


class VelocityField(nn.Module):
    """Predicts the velocity of a noisy sample (DexGraspNet 2.0, Sec. 4.2 and E.2).

    Args:
        channels: Of a sample, C.
        features: Of the condition, F.
    """

    def __init__(self, channels: int, features: int = FEATURES) -> None:
        super().__init__()
        self.channels, self.features = channels, features
        self.mlp = nn.Module()
        widths = (channels + features, *_WIDTHS, channels)
        for index, (width, wider) in enumerate(zip(widths, widths[1:], strict=False)):
            layer = nn.Linear(width, wider)
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
            self.mlp.add_module(f"linear{index}", layer)

    @property
    def layers(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """The three linear layers, first to last."""
        return self.mlp.linear0, self.mlp.linear1, self.mlp.linear2  # type: ignore[return-value]

    def forward(self, sample: Tensor, feature: Tensor, step: Tensor) -> Tensor:
        """Velocity (B, C) of samples (B, C) under features (B, F) at training steps (B,)."""
        first, second, third = self.layers
        condition = feature + step_embedding(step, self.features).to(feature.dtype)
        hidden = nn.functional.mish(first(torch.cat([sample, condition], dim=-1)))
        velocity: Tensor = third(nn.functional.mish(second(hidden)))
        return velocity

    def conditioned(self, feature: Tensor) -> ConditionedField:
        """The field of B given features (B, F), for the many evaluations of a sampler; without gradients."""
        return ConditionedField(self, feature)


class Flow(NamedTuple):
    """What a field says of B samples: `velocity` (B, C), and its `divergence` (B,), the trace of dv/dx."""

    velocity: Tensor
    divergence: Tensor


class ConditionedField:
    """A velocity field with its features fixed: what depends on them alone is computed once.

    Args:
        field: The head.
        feature: (B, F).
    """

    @torch.no_grad()
    def __init__(self, field: VelocityField, feature: Tensor) -> None:
        first, second, third = (layer.weight.detach() for layer in field.layers)
        own, shared = first[:, : field.channels], first[:, field.channels :]
        self.channels = field.channels
        self._field = field
        self._from_sample, self._from_step = own.T.contiguous(), shared
        self._constant = feature @ shared.T + field.layers[0].bias
        self._coupling = (second * (own @ third).T).T.contiguous()

    @torch.no_grad()
    def __call__(self, sample: Tensor, step: int) -> Flow:
        """Velocity and divergence of samples (B, C) at one training step."""
        _, second, third = self._field.layers
        embedded = step_embedding(torch.tensor([step], device=sample.device), self._field.features)
        before = torch.addmm(self._constant + embedded.to(sample.dtype) @ self._from_step.T, sample, self._from_sample)
        hidden, slope = mish_with_slope(before)
        second_hidden, second_slope = mish_with_slope(second(hidden))
        divergence = torch.einsum("bj,bj->b", second_slope, slope @ self._coupling)
        return Flow(third(second_hidden), divergence)


def step_embedding(step: Tensor, features: int) -> Tensor:
    """Sinusoids (B, features) of training steps (B,), sines first.

    The fastest turns by 10 rad from one step to the next: between training steps it means nothing.
    """
    half = features // 2
    rates = torch.exp(torch.arange(half, device=step.device) * (-math.log(_PERIOD) / (half - 1)))
    angle = (step.to(torch.float32) / STEPS)[:, None] * rates * _PERIOD
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)


def mish_with_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """mish(x) = x tanh(softplus(x)) and its derivative, both of x's shape, by one exponential; without gradients."""
    w = torch.exp(x.clamp(max=_LARGE))
    if x.device.type != "cpu":
        return _mish(x, w)
    value, slope = torch.empty_like(x), torch.empty_like(x)
    _compiled_mish(*(array.view(-1).numpy() for array in (x.contiguous(), w, value, slope)))
    return value, slope


def _mish(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """From x and its exponential, which is cut off where mish(x) is x."""
    n = w * (w + 2.0)
    below = 1.0 / (n + 2.0)
    t = n * below
    return x * t, torch.addcmul(t, x.clamp(max=_LARGE), 4.0 * w * (w + 1.0) * below * below)


@njit(cache=True, nogil=True)
def _compiled_mish(
    x: NDArray[np.floating], w: NDArray[np.floating], value: NDArray[np.floating], slope: NDArray[np.floating]
) -> None:
    """`_mish` in one pass over memory; all arrays are flat and of one type, in which everything is computed."""
    number = x.dtype.type
    one, two, four, most = number(1.0), number(2.0), number(4.0), number(_LARGE)
    for i in range(len(x)):
        wi = w[i]
        n = wi * (wi + two)
        below = one / (n + two)
        t = n * below
        value[i] = x[i] * t
        slope[i] = t + min(x[i], most) * four * wi * (wi + one) * below * below
