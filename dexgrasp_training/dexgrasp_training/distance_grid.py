"""Signed distance to an object's surface, sampled on a regular grid and interpolated in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

_CORNERS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])


@dataclass(frozen=True, eq=False)
class DistanceGrid:
    """Signed distance, negative inside; trilinear between samples.

    Outside the grid it is the distance at the nearest place of the grid plus the distance to that place: continuous,
    and never less than the true distance.

    Attributes:
        origin: array (3,), position of sample [0, 0, 0], object frame [m].
        spacing: Between samples [m].
        values: array (X, Y, Z), float32 [m].
    """

    origin: NDArray[np.float64]
    spacing: float
    values: NDArray[np.float32]

    def distance(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Signed distance (...) [m] at points (..., 3), object frame."""
        return self._look_up(points)[0]

    def distance_and_normal(self, points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Signed distance (...) [m] and its unit gradient (..., 3), which points outward, at points (..., 3)."""
        distance, gradient = self._look_up(points)
        length = np.linalg.norm(gradient, axis=-1, keepdims=True)
        return distance, gradient / np.maximum(length, 1e-12)

    def distance_torch(self, points: torch.Tensor) -> torch.Tensor:
        """As `distance`, differentiable with respect to the points (..., 3), in their dtype and on their device."""
        values = torch.as_tensor(self.values, device=points.device).to(points.dtype)
        origin = torch.as_tensor(self.origin, dtype=points.dtype, device=points.device)
        last = torch.tensor(self.values.shape, dtype=points.dtype, device=points.device) - 1
        scaled = (points - origin) / self.spacing
        inside = scaled.clamp_min(0).minimum(last)
        cell = inside.detach().floor().minimum(last - 1).clamp_min(0)
        f = inside - cell
        x, y, z = cell.long().unbind(-1)
        result = torch.zeros_like(points[..., 0])
        for i, j, k in _CORNERS.tolist():
            weight = (f[..., 0] if i else 1 - f[..., 0]) * (f[..., 1] if j else 1 - f[..., 1])
            weight = weight * (f[..., 2] if k else 1 - f[..., 2])
            result = result + weight * values[x + i, y + j, z + k]
        beyond = (scaled - inside) * self.spacing
        return result + (beyond.square().sum(-1) + 1e-24).sqrt()

    def _look_up(self, points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        points = np.asarray(points, dtype=np.float64)
        last = np.array(self.values.shape) - 1
        scaled = (points - self.origin) / self.spacing
        inside = np.clip(scaled, 0, last)
        cell = np.clip(np.floor(inside).astype(int), 0, last - 1)
        f = (inside - cell)[..., None, :]
        weights = np.where(_CORNERS, f, 1 - f)
        corners = cell[..., None, :] + _CORNERS
        found = self.values[corners[..., 0], corners[..., 1], corners[..., 2]].astype(np.float64)
        distance = (found * weights.prod(-1)).sum(-1)
        sign = 2.0 * _CORNERS - 1.0
        gradient = np.stack(
            [(found * sign[:, a] * weights[..., [b for b in range(3) if b != a]].prod(-1)).sum(-1) for a in range(3)],
            axis=-1,
        )
        beyond = (scaled - inside) * self.spacing
        far = np.linalg.norm(beyond, axis=-1)
        outside = far > 0
        gradient = np.where(scaled == inside, gradient / self.spacing, 0.0)
        gradient[outside] += beyond[outside] / far[outside][..., None]
        return distance + far, gradient
