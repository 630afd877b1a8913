"""Distance grids of several objects, looked up by many poses at once on one device.

Poses are the innermost dimension of every tensor here and in the modules that use this one: each step is a few long
vector operations, on a CPU as on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dexgrasp_training.distance_grid import DistanceGrid

_CORNERS = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]


@dataclass(frozen=True)
class Surface:
    """The field at some points.

    Attributes:
        distance: tensor (P, B) [m], signed, negative inside.
        gradient: tensor (P, 3, B), its derivative with respect to the point.
        normal: tensor (P, 3, B), unit, outward.
        bend: tensor (P, 3, 3, B) [1/m], derivative of the normal (first index) with respect to the point (second).
    """

    distance: Tensor
    gradient: Tensor
    normal: Tensor
    bend: Tensor

    def bent(self, to_normal: Tensor) -> Tensor:
        """A derivative (P, 3, B) with respect to the normals as one with respect to the points."""
        return (to_normal.unsqueeze(2) * self.bend).sum(1)


class FieldBatch:
    """The grids of some objects in one table; row b of a batch looks up the object `which[b]`.

    Args:
        grids: One of each object.
        which: (B,) indices into `grids`.
        dtype, device: Of every tensor.
    """

    def __init__(
        self,
        grids: Sequence[DistanceGrid],
        which: Tensor,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        tables = []
        for grid in grids:
            slopes = np.gradient(grid.values.astype(np.float64), grid.spacing)
            tables.append(np.stack([grid.values, *slopes], axis=-1).reshape(-1, 4).astype(np.float32))
        starts = np.concatenate([[0], np.cumsum([len(table) for table in tables])])
        self._table = torch.tensor(np.concatenate(tables), dtype=dtype, device=device)
        self._origins = torch.tensor(np.array([grid.origin for grid in grids]).T, dtype=dtype, device=device)
        self._spacings = torch.tensor([grid.spacing for grid in grids], dtype=dtype, device=device)
        self._shapes = torch.tensor(np.array([grid.values.shape for grid in grids]).T, device=device)
        self._starts = torch.tensor(starts[:-1], device=device)
        self._assign(which.to(device))

    def of_rows(self, rows: Tensor) -> FieldBatch:
        """The same grids for some of the batch's rows (indices or mask)."""
        other = object.__new__(FieldBatch)
        other.__dict__.update(self.__dict__)
        other._assign(self.which[rows])
        return other

    def _assign(self, which: Tensor) -> None:
        self.which = which
        self._origin = self._origins[:, which]
        self._spacing = self._spacings[which]
        self._scale = 1.0 / self._spacing
        shape = self._shapes[:, which]
        self._last = (shape - 1).to(self._table.dtype)
        self._strides = shape[1] * shape[2], shape[2]
        self._start = self._starts[which]

    def near(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Distance (P, B) [m] and gradient (P, 3, B) at points (P, 3, B), from the nearest sample to first order.

        One look-up in place of eight. Outside a grid the distance to the grid is added, as in `DistanceGrid`.
        """
        scaled = (points - self._origin) * self._scale
        inside = scaled.clamp_min(0.0).minimum(self._last)
        sample = inside.round()
        found = self._table[self._rows(sample.long())]
        gradient = found[..., 1:].movedim(-1, -2)
        beyond = (scaled - inside) * self._spacing
        far = (beyond.square().sum(-2) + 1e-24).sqrt()
        rest = (inside - sample) * self._spacing
        distance = found[..., 0] + (gradient * rest).sum(-2) + far
        outside = beyond != 0.0
        return distance, torch.where(outside, beyond / far.unsqueeze(-2), gradient)

    def inside(self, points: Tensor) -> Tensor:
        """Distance (P, B) [m] at points (P, 3, B), trilinear as `DistanceGrid.distance`."""
        return self._corners(points, normals=False)[0]

    def surface(self, points: Tensor) -> Surface:
        """Everything at points (P, 3, B): distance and its exact derivative, interpolated normal and its derivative."""
        distance, gradient, slope, bend = self._corners(points, normals=True)
        length = slope.norm(dim=-2, keepdim=True).clamp_min(1e-6)
        normal = slope / length
        # Derivative of a normalised vector: what is tangential, over the length.
        along = (normal.unsqueeze(-2) * bend).sum(-3, keepdim=True)
        bend = (bend - normal.unsqueeze(-2) * along) / length.unsqueeze(-2)
        return Surface(distance, gradient, normal, bend)

    def _corners(self, points: Tensor, normals: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scaled = (points - self._origin) * self._scale
        inside = scaled.clamp_min(0.0).minimum(self._last)
        cell = inside.floor().minimum(self._last - 1.0)
        part = inside - cell
        cell = cell.long()
        upper, lower = part, 1.0 - part
        beyond = (scaled - inside) * self._spacing
        far = (beyond.square().sum(-2) + 1e-24).sqrt()
        distance = far
        count, batch = points.shape[0], points.shape[-1]
        gradient = points.new_zeros(count, 3, batch)
        slope, bend = points.new_zeros(count, 3, batch), points.new_zeros(count, 3, 3, batch)
        base = self._rows(cell)
        for i, j, k in _CORNERS:
            row = base + i * self._strides[0] + j * self._strides[1] + k
            x, y, z = ((upper if up else lower)[..., axis, :] for axis, up in enumerate((i, j, k)))
            weight = x * y * z
            if not normals:
                distance = distance + weight * self._table[:, 0][row]
                continue
            found = self._table[row].movedim(-1, -2)
            value, normal = found[..., :1, :], found[..., 1:, :]
            change = torch.stack(
                [y * z if i else -y * z, x * z if j else -x * z, x * y if k else -x * y], dim=-2
            )  # of the weight
            distance = distance + weight * value[..., 0, :]
            gradient = gradient + change * value
            slope = slope + weight.unsqueeze(-2) * normal
            bend = bend + normal.unsqueeze(-2) * change.unsqueeze(-3)
        if normals:
            within = beyond == 0.0
            gradient = torch.where(within, gradient * self._scale, beyond / far.unsqueeze(-2))
            bend = torch.where(within.unsqueeze(-3), bend * self._scale, 0.0)
        return distance, gradient, slope, bend

    def _rows(self, cell: Tensor) -> Tensor:
        x, y, z = cell.unbind(-2)
        return self._start + x * self._strides[0] + y * self._strides[1] + z
