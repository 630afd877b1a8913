"""Descent that keeps the best of its way, against torch's own Adam and closed forms."""

from __future__ import annotations

import torch
from dexgrasp_planner.descent import least_on_the_way
from torch import Tensor

GOAL = torch.linspace(-0.6, 0.7, 6, dtype=torch.float64)


def starts(count: int) -> Tensor:
    return 0.5 * torch.randn(count, len(GOAL), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def bowl(values: Tensor) -> Tensor:
    return (values - GOAL).square().sum(dim=1)


def test_what_comes_out_is_never_worse_and_mostly_better() -> None:
    start = starts(30)
    after = least_on_the_way(bowl, start, 0.05, 40)
    assert not after.requires_grad
    assert (bowl(after) <= bowl(start)).all()
    assert bowl(after).mean() < 0.3 * bowl(start).mean()
    uphill = least_on_the_way(
        lambda values: (values.detach() - values).sum(dim=1) + bowl(values).detach(), GOAL[None], 0.05, 9
    )
    assert torch.equal(uphill, GOAL[None]), "every step leads away from the least, which is where it began"


def test_steps_are_those_of_adam() -> None:
    """Downhill all the way, so that the last values are the best."""
    start, steps, averaging = starts(5), 7, (0.8, 0.95)
    expected = start.clone().requires_grad_()
    adam = torch.optim.Adam([expected], lr=0.01, betas=averaging)
    for step in range(steps):
        (expected.grad,) = torch.autograd.grad(bowl(expected).sum(), expected)
        adam.param_groups[0]["lr"] = 0.01 * (1.0 - step / steps)
        adam.step()
    found = least_on_the_way(bowl, start, 0.01, steps, averaging=averaging)
    torch.testing.assert_close(found, expected.detach(), rtol=0.0, atol=1e-6)


def test_values_move_at_their_own_rates_and_within_their_limit() -> None:
    start = starts(8).clamp(-0.5, 0.5)
    rates = torch.tensor([0.0, 0.0, 0.001, 0.1, 0.1, 0.1], dtype=torch.float64)
    after = least_on_the_way(bowl, start, rates, 30, limit=0.5)
    assert torch.equal(after[:, :2], start[:, :2])
    assert (after - start)[:, 2].abs().max() < 0.016  # 30 steps that shrink to nothing
    assert after.abs().max() == 0.5  # the last goal lies beyond


def test_a_row_whose_gradient_is_no_number_stays_where_it_is() -> None:
    def energy(values: Tensor) -> Tensor:
        found = bowl(values)
        return torch.cat([found[:3], found[3:4] + torch.sqrt(0.0 * values[3:4, 0]), found[4:]])

    start = starts(6)
    after = least_on_the_way(energy, start, 0.05, 20)
    others = torch.arange(6) != 3
    torch.testing.assert_close(after[others], least_on_the_way(bowl, start, 0.05, 20)[others])
    assert torch.isfinite(after).all()
    assert torch.equal(after[3, 0], start[3, 0])
