"""Energies of grasps, each with its derivative, for B grasps at once (the innermost dimension of every tensor).

Forces press along the inward normals `c = -n` of the object; a contact at `x` exerts the wrench
`w = (f, x cross f / arm)` on it, with torques about the object's centre of mass counted as the forces that make them at
the distance `arm`, the object's radius. Derivatives are written out: they cost a third of what recording and replaying
the same operations does, and the tests hold them against finite differences.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import torch
from torch import Tensor

from dexgrasp_training.synthesis.moving_hand import cross


def contact_distance(distance: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """`sum |d|` over the contacts, rounded below `width` [m] (Huber), so that descent comes to rest at the surface.

    Args:
        distance: tensor (C, B) [m], signed distance of each contact from the object.

    Returns:
        Energy (B,) [m] and derivative (C, B).
    """
    size = distance.abs()
    energy = torch.where(size > width, size - 0.5 * width, 0.5 / width * size * size)
    return energy.sum(0), (distance / width).clamp(-1.0, 1.0)


def misalignment(hand_normal: Tensor, normal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`sum 1 + n_hand . n_object` over the contacts: 0 where every finger meets the surface squarely.

    Args:
        hand_normal, normal: tensors (C, 3, B), outward unit normals of hand and object.

    Returns:
        Energy (B,) and derivatives (C, 3, B) with respect to both.
    """
    return (1.0 + (hand_normal * normal).sum(1)).sum(0), normal, hand_normal


def penetration(distance: Tensor, radius: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """`sum max(0, r - d)` over the hand's spheres (points: r = 0) in the object's signed distance.

    Args:
        distance: tensor (P, B) [m], of the centres.
        radius: tensor (P,) [m].
        weight: tensor (P,), factor of each.

    Returns:
        Energy (B,) [m] and derivative (P, B).
    """
    depth = radius[:, None] - distance
    inside = (depth > 0.0).to(distance.dtype) * weight[:, None]
    return (inside * depth).sum(0), -inside


def self_penetration(centres: Tensor, pairs: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """`sum max(0, least - |a - b|)` over pairs of the hand's key-point spheres.

    Args:
        centres: tensor (S, 3, B) [m].
        pairs: tensor (M, 2), rows of `centres`.
        least: tensor (M,) [m], sum of the two radii.

    Returns:
        Energy (B,) [m] and derivative (S, 3, B).
    """
    apart = centres[pairs[:, 0]] - centres[pairs[:, 1]]
    length = apart.square().sum(1).clamp_min(1e-12).sqrt()
    overlap = least[:, None] - length
    push = (overlap > 0.0).to(centres.dtype) / length
    push = push.unsqueeze(1) * apart
    gradient = torch.zeros_like(centres)
    gradient.index_add_(0, pairs[:, 0], -push)
    gradient.index_add_(0, pairs[:, 1], push)
    return overlap.clamp_min(0.0).sum(0), gradient


def joint_limits(q: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """`sum max(0, q - upper) + max(0, lower - q)`: energy (B,) [rad or m] and derivative (D, B).

    Args:
        q: tensor (D, B); lower, upper: tensors (D, 1).
    """
    above, below = q - upper, lower - q
    energy = above.clamp_min(0.0) + below.clamp_min(0.0)
    return energy.sum(0), (above > 0.0).to(q.dtype) - (below > 0.0).to(q.dtype)


def contact_wrenches(places: Tensor, forces: Tensor, arm: Tensor) -> Tensor:
    """Wrenches (C, 6, B) of forces (C, 3, B) at places (C, 3, B) [m], torque arms (B,) [m]."""
    return torch.cat([forces, cross(places / arm, forces)], dim=1)


def wrench_derivative(places: Tensor, forces: Tensor, arm: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """From the derivative (C, 6, B) with respect to `contact_wrenches` to those with respect to places and forces."""
    turning = slope[:, 3:] / arm
    return cross(forces, turning), slope[:, :3] + cross(turning, places)


def balancing_forces(wrenches: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Forces that balance best: `min |sum_i s_i w_i|` with `max s = 1`, `s >= 0` (DexGraspNet 2.0, D.2.2).

    In closed form. At the optimum every force is 0, 1 or free in between, and at least one is 1. For each of the
    `3^C - 2^C` patterns the free forces solve a linear system of the wrenches' inner products; of the patterns whose
    solution lies in [0, 1] the best is the answer. A singular system may be skipped: its solution can be moved, at
    the same value, until one more force is at a bound, which is another pattern.

    Args:
        wrenches: tensor (C, 6, B), C at most 6.
        present: bool tensor (C, B), contacts that exist; `None`: all.

    Returns:
        Forces (C, B) and the norm (B,) of what they leave.
    """
    count, _, batch = wrenches.shape
    if present is not None:
        wrenches = wrenches * present.unsqueeze(1)
    inner = (wrenches.unsqueeze(1) * wrenches.unsqueeze(0)).sum(2)  # (C, C, B)
    tiny = 1e-6 * inner.diagonal().sum(-1)
    if present is not None:
        # A force that does not exist balances nothing, and is never worth being the one that is 1.
        inner.diagonal().add_((~present).T.to(inner.dtype) * 1e3)
    found = []
    for ones, free in _patterns(count):
        fixed = ones.to(wrenches)  # (K, C)
        forces = fixed.unsqueeze(-1).expand(-1, -1, batch)
        if free.shape[1]:
            free = free.to(wrenches.device)
            load = (fixed.unsqueeze(-1).unsqueeze(1) * inner).sum(2)  # (K, C, B)
            system = inner[free.unsqueeze(2), free.unsqueeze(1)]  # (K, F, F, B)
            right = -load.gather(1, free.unsqueeze(-1).expand(-1, -1, batch))
            forces = forces.scatter(1, free.unsqueeze(-1).expand(-1, -1, batch), _solved(system, right, tiny))
        found.append(forces)
    every = torch.cat(found)  # (K, C, B)
    # Solutions beyond the bounds are cut off at them, and worth what they are worth then: never less than the optimum.
    every = every.clamp(0.0, 1.0)
    square = (every * (inner.unsqueeze(0) * every.unsqueeze(1)).sum(2)).sum(1)  # (K, B)
    best = square.argmin(0)
    forces = every.gather(0, best.expand(1, count, -1))[0]
    return forces, (forces.unsqueeze(1) * wrenches).sum(0).norm(dim=0)


@cache
def _patterns(count: int) -> list[tuple[Tensor, Tensor]]:
    """By number of free forces F: which are 1 (K, C), and the indices of the free ones (K, F)."""
    result = []
    for number in range(count):
        rows = [row for row in product((0, 1, 2), repeat=count) if row.count(2) == number and 1 in row]
        ones = torch.tensor([[float(kind == 1) for kind in row] for row in rows], dtype=torch.float64)
        free = torch.tensor([[i for i, kind in enumerate(row) if kind == 2] for row in rows], dtype=torch.int64)
        result.append((ones, free.reshape(len(rows), number)))
    return result


def _solved(system: Tensor, right: Tensor, tiny: Tensor) -> Tensor:
    """Solution (K, F, B) of symmetric systems (K, F, F, B); zero in place of what a singular one leaves open."""
    rows = [list(row.unbind(1)) for row in system.unbind(1)]
    values = list(right.unbind(1))
    size = len(values)
    pivots = []
    for i in range(size):
        usable = rows[i][i] > tiny
        pivots.append(torch.where(usable, 1.0 / torch.where(usable, rows[i][i], 1.0), 0.0))
        for j in range(i + 1, size):
            factor = rows[i][j] * pivots[i]
            for k in range(j, size):
                rows[j][k] = rows[j][k] - factor * rows[i][k]
            values[j] = values[j] - factor * values[i]
    for i in reversed(range(size)):
        for k in range(i + 1, size):
            values[i] = values[i] - rows[i][k] * values[k]
        values[i] = values[i] * pivots[i]
    return torch.stack(values, dim=1)


def relaxed_force_closure(
    wrenches: Tensor, keep: Tensor, balanced: float, least: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The bilevel force-closure energy of DexGraspNet 2.0, D.2.2.

    With the forces `s` and the residual `P` of `balancing_forces`, it is `|sum s_i w_i|` where `P < balanced`, every
    `s_i >= least` and `keep`; elsewhere `|sum w_i|`. As `s` is optimal within bounds that do not depend on the pose,
    the derivative is taken with `s` held (envelope theorem).

    Args:
        wrenches: tensor (C, 6, B), of unit forces.
        keep: bool tensor (B,), the paper's random variable B = 1.
        balanced: The paper's tau_FC.
        least: The paper's tau_lambda.

    Returns:
        Energy (B,), derivative (C, 6, B), forces (C, B) and residual P (B,).
    """
    forces, residual = balancing_forces(wrenches)
    relaxed = (residual < balanced) & (forces.amin(0) >= least) & keep
    factor = torch.where(relaxed, forces, 1.0)
    total = (factor.unsqueeze(1) * wrenches).sum(0)
    energy = total.square().sum(0).clamp_min(1e-12).sqrt()
    return energy, factor.unsqueeze(1) * (total / energy), forces, residual


def cone_edges(normal: Tensor, friction: float) -> tuple[Tensor, Tensor, Tensor]:
    """Edges (C, 4, 3, B) of four-sided pyramids inside the friction cones about the inward normals.

    Args:
        normal: tensor (C, 3, B), outward unit normals.

    Returns:
        Edges `-n + mu t`; what `cone_derivative` needs: the tangents (2, C, 3, B), and the axis they are made from.
    """
    axis = torch.zeros_like(normal).scatter_(1, normal.abs().argmin(1, keepdim=True), 1.0)
    first = cross(axis, normal)
    first = first / first.norm(dim=1, keepdim=True)
    second = cross(normal, first)
    sides = torch.stack([first, second, -first, -second], dim=1)
    return friction * sides - normal.unsqueeze(1), torch.stack([first, second]), axis


def cone_derivative(normal: Tensor, tangents: Tensor, axis: Tensor, friction: float, slope: Tensor) -> Tensor:
    """From the derivative (C, 4, 3, B) with respect to the edges to that with respect to the normals (C, 3, B).

    The normal is taken as free in space: `first = (a x n) / |a x n|`, `second = n x first`.
    """
    first, second = tangents
    to_first = friction * (slope[:, 0] - slope[:, 2])
    to_second = friction * (slope[:, 1] - slope[:, 3])
    result = -slope.sum(1) + cross(first, to_second)
    to_first = to_first + cross(to_second, normal)
    length = cross(axis, normal).norm(dim=1, keepdim=True)
    across = (to_first - first * (first * to_first).sum(1, keepdim=True)) / length
    return result + cross(across, axis)


def wrench_space(wrenches: Tensor, start: Tensor, regular: float, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """How far a grasp is from resisting every task wrench of the unit ball in 6-D (after DexGraspNet 2.0, D.2.1).

    The ball is sampled by its `T = 12` points on the axes, `t_k = +-e_j`:

        E = 1/T sum_k  min_{f >= 0}  |W f - t_k|^2 + rho |f|^2

    over the primitive wrenches `W`, the edges of the linearised friction cones. With rho -> 0, E is 0 if and only if
    the hull of the primitive wrenches holds a ball about the origin (force closure). rho > 0 makes E smooth and
    prefers grasps that need small forces: a wrench that takes forces of size |f| costs at least rho |f|^2, so the
    larger the ball in the hull of unit primitive wrenches, the lower E. The inner problems are solved by accelerated
    projected gradient from `start`; the derivative is taken with `f` held (envelope theorem).

    Args:
        wrenches: tensor (M, 6, B), of unit normal forces.
        start: tensor (B, M, 12), forces to start from: those of the last call, or zeros.
        regular: rho.
        steps: Of the inner solver.

    Returns:
        Energy (B,), derivative (M, 6, B), and forces (B, M, 12).
    """
    columns = wrenches.permute(2, 1, 0)  # (B, 6, M)
    tasks = torch.eye(6, dtype=wrenches.dtype, device=wrenches.device)
    tasks = torch.cat([tasks, -tasks], dim=1)  # (6, 12)
    size = wrenches.shape[0]
    normal = columns.transpose(1, 2) @ columns
    normal.diagonal(dim1=1, dim2=2).add_(regular)
    right = columns.transpose(1, 2) @ tasks
    rate = 1.0 / normal.abs().sum(-1).amax(-1)[:, None, None]
    step = rate * normal
    shift = rate * right
    solution = momentum = start
    scale = 1.0
    for _ in range(steps):
        better = torch.baddbmm(momentum + shift, step, momentum, alpha=-1.0).clamp_min_(0.0)
        grown = 0.5 * (1.0 + (1.0 + 4.0 * scale * scale) ** 0.5)
        momentum = torch.lerp(solution, better, 1.0 + (scale - 1.0) / grown)
        solution, scale = better, grown
    left = columns @ solution - tasks  # (B, 6, 12)
    count = tasks.shape[1]
    energy = (left.square().sum((1, 2)) + regular * solution.square().sum((1, 2))) / count
    slope = 2.0 / count * (left @ solution.transpose(1, 2))  # (B, 6, M)
    assert slope.shape[-1] == size
    return energy, slope.permute(2, 1, 0), solution
