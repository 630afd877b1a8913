"""How well the contacts of a grasp can hold an object: friction cones fitted to the loads it must bear."""

from __future__ import annotations

import torch

TORQUE_ARM = 0.05  # a torque counts as the force that makes it at this distance [m]
_ITERATIONS = 40
_MOST = 8  # contacts of one grasp that are looked at; grasps with more are rare and hold anyway
_REGULAR = 0.02  # keeps out grasps that resist only with forces many times the load


def holding_residual(
    points: torch.Tensor, forces: torch.Tensor, active: torch.Tensor, centre: torch.Tensor, friction: float
) -> torch.Tensor:
    """Mean over six unit loads of what `load_residuals` tells of each: tensor (N,)."""
    return load_residuals(points, forces, active, centre, friction).mean(dim=-1)


def load_residuals(
    points: torch.Tensor, forces: torch.Tensor, active: torch.Tensor, centre: torch.Tensor, friction: float
) -> torch.Tensor:
    """Of six unit loads the part that no allowed contact force balances, 0 (holds) to 1 (no contact at all).

    For each load w, a pull at `centre` along an axis, it solves `min |A f - w|^2 + r |f|^2, f >= 0` by accelerated
    projected gradient; the columns of A are the wrenches of four-sided friction cones.

    Args:
        points: tensor (N, K, 3) [m], contact positions.
        forces: tensor (N, K, 3), unit inward normals: the direction in which the hand presses.
        active: bool tensor (N, K), contacts that exist.
        centre: tensor (N, 3) [m], centre of the object.
        friction: Coefficient of friction.

    Returns:
        tensor (N, 6), for pulls along x, y, z, -x, -y, -z.
    """
    if active.shape[1] > _MOST:
        strongest = active.to(torch.uint8).topk(_MOST, dim=1).indices
        rows = strongest[..., None].expand(-1, -1, 3)
        points, forces, active = points.gather(1, rows), forces.gather(1, rows), active.gather(1, strongest)
    count, contacts = active.shape
    helper = torch.zeros_like(forces)
    helper.scatter_(-1, forces.abs().argmin(-1, keepdim=True), 1.0)
    first = torch.nn.functional.normalize(torch.cross(forces, helper, dim=-1), dim=-1)
    second = torch.cross(forces, first, dim=-1)
    edges = torch.stack([forces + friction * side for side in (first, second, -first, -second)], dim=2)  # (N, K, 4, 3)
    edges = edges * active[..., None, None]
    arms = ((points - centre[:, None]) / TORQUE_ARM)[:, :, None].expand_as(edges)
    wrenches = torch.cat([edges, torch.cross(arms, edges, dim=-1)], dim=-1).reshape(count, contacts * 4, 6)
    loads = torch.zeros(6, 6, dtype=points.dtype)
    loads[:3, :3], loads[3:, :3] = torch.eye(3), -torch.eye(3)
    normal = wrenches @ wrenches.transpose(1, 2) + _REGULAR * torch.eye(contacts * 4, dtype=points.dtype)
    right = (wrenches @ loads.T).transpose(1, 2)  # (N, 6, 4K)
    rate = 1.0 / normal.diagonal(dim1=1, dim2=2).sum(-1).clamp_min(1e-6)[:, None, None]
    solution = torch.zeros_like(right)
    momentum, scale = solution, 1.0
    for _ in range(_ITERATIONS):
        better = (momentum - rate * (momentum @ normal - right)).clamp_min(0.0)
        grown = 0.5 * (1.0 + (1.0 + 4.0 * scale * scale) ** 0.5)
        momentum, solution, scale = better + (scale - 1.0) / grown * (better - solution), better, grown
    return (solution @ wrenches - loads).norm(dim=-1)
