"""Downhill from many starts at once, each on its own, and the best of each way: what ends is never worse than began."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def least_on_the_way(
    energy: Callable[[Tensor], Tensor],
    start: Tensor,
    rates: Tensor | float,
    steps: int,
    *,
    averaging: tuple[float, float] = (0.9, 0.999),
    limit: float = torch.inf,
) -> Tensor:
    """Of each row the values (N, K) of the least energy on a way of Adam's steps (Kingma and Ba 2015), which shrink.

    Args:
        energy: Of values (N, K) to (N,); each depends on its own row only.
        start: (N, K).
        rates: Of the first step (K,) or for all, in units of the values; it falls to nothing.
        steps: How many.
        averaging: What gradients and their squares keep of those before.
        limit: Values stay within minus and plus this.
    """
    values = start.detach()
    mean, square = torch.zeros_like(values), torch.zeros_like(values)
    best, least = values.clone(), torch.full_like(values[:, 0], torch.inf)
    slow, slower = averaging
    for step in range(steps + 1):
        variable = values.clone().requires_grad_()
        with torch.enable_grad():  # also for callers that want none
            found = energy(variable)
        with torch.no_grad():
            better = found < least
            best[better], least[better] = values[better], found[better]
        if step == steps:
            break
        (gradient,) = torch.autograd.grad(found, variable, torch.ones_like(found))
        gradient = torch.where(torch.isfinite(gradient), gradient, 0.0)
        mean = torch.lerp(gradient, mean, slow)
        square = torch.lerp(gradient.square(), square, slower)
        bias = (1.0 - slow ** (step + 1)) / (1.0 - slower ** (step + 1)) ** 0.5
        way = mean / (bias * square.sqrt() + 1e-8)
        values = (values - (1.0 - step / steps) * rates * way).clamp(-limit, limit)
    return best
