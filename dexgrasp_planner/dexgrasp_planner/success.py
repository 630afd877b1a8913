"""The chance that a grasp lifts, told from its features by a few small networks that learnt from simulated lifts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

WIDTH = 32  # of the hidden layers


class SuccessModel(nn.Module):
    """An ensemble of M networks of two hidden layers; their mean is the answer.

    Args:
        features: Names of what it looks at, F.
        members: M.

    Attributes:
        features: The same names.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: Sequence[str], members: int = 8) -> None:
        super().__init__()
        self.features = tuple(features)
        count = len(self.features)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        sizes = (count, WIDTH, WIDTH, 1)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(members, a, b) * (2.0 / a) ** 0.5) for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, b)) for b in sizes[1:])

    def forward(self, values: Tensor) -> Tensor:
        """Logits (M, N) of every member for values (N, F) or (M, N, F)."""
        x = ((values - self.mean) / self.scale).clamp(-5.0, 5.0)  # what was never seen is no farther than what was
        for layer, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            x = x @ weight + offset
            if layer + 1 < len(self.weights):
                x = torch.relu(x)
        return x[..., 0]

    @torch.no_grad()
    def logits(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean logit (N,) of lifting, for values (N, F) in the order of `features`."""
        found: NDArray[np.float64] = self(torch.as_tensor(values, dtype=torch.float32)).mean(dim=0).double().numpy()
        return found
