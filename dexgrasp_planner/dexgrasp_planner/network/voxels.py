"""Points into voxels: floor quantisation, one voxel per occupied cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dexgrasp_planner.errors import PlannerError
from dexgrasp_planner.network.pyramid import CoordinatePyramid

COORDINATE_LIMIT = 1 << 17  # beyond it (655 m at 5 mm) a coordinate is a mistake; numbers of cells fit 64 bits within
BATCH_LIMIT = 256


class VoxelError(PlannerError):
    """The points cannot be put into voxels."""


@dataclass(frozen=True)
class Voxels:
    """The occupied voxels of a batch of clouds, in the order of their coordinates.

    Attributes:
        size: Edge of a voxel [m].
        coordinates: tensor (V, 4), int32, unique and sorted: batch index and floor(xyz / size).
        voxel_of_point: tensor (N,), int64, row of the voxel that holds each point.
        first_point: tensor (V,), int64, the first of the points in each voxel.
    """

    size: float
    coordinates: Tensor
    voxel_of_point: Tensor
    first_point: Tensor

    def __len__(self) -> int:
        return len(self.coordinates)

    def centres(self) -> Tensor:
        """Middles of the voxels (V, 3), float32 [m]."""
        return (self.coordinates[:, 1:].float() + 0.5) * self.size

    @cached_property
    def pyramid(self) -> CoordinatePyramid:
        """The same voxels at coarser strides, and their kernel maps."""
        return CoordinatePyramid(self.coordinates)


def voxelize(points: Tensor, size: float, batch: Tensor | None = None) -> Voxels:
    """Quantise points by floor(p / size), as MinkowskiEngine's `sparse_collate` does.

    Args:
        points: tensor (N, 3), float [m]; rows are never dropped, so all must be finite.
        size: Edge of a voxel [m].
        batch: tensor (N,), integer, cloud that each point belongs to, 0 <= b < 256; None: one cloud.

    Raises:
        VoxelError: No points, a wrong shape, a point that is not finite or further than 131072 voxels from the origin
            along an axis, a batch index out of range, or a size that is not positive.
    """
    if points.ndim != 2 or points.shape[1] != 3 or not points.is_floating_point():
        raise VoxelError(f"Points are a float tensor of shape (N, 3); got {points.dtype}, {tuple(points.shape)}.")
    if not len(points):
        raise VoxelError("There are no points, so there are no voxels. Send a cloud with at least one point.")
    if not size > 0.0:
        raise VoxelError(f"The edge of a voxel must be positive; got {size} m.")
    if batch is None:
        batch = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    if batch.shape != (len(points),) or batch.is_floating_point():
        raise VoxelError(
            f"Batch indices are integers of shape ({len(points)},); got {batch.dtype}, {tuple(batch.shape)}."
        )
    # A divisor on the device: by a Python number, CUDA multiplies with the reciprocal, and cells differ from the CPU's.
    cells = torch.floor(points / torch.full((1,), size, dtype=points.dtype, device=points.device))
    if not bool((cells.abs() < COORDINATE_LIMIT).all()):  # also false where a point is not finite
        finite = points.isfinite().all(1)
        if not bool(finite.all()):
            raise VoxelError(
                f"{int((~finite).sum())} of {len(points)} points are not finite. Remove them before making voxels."
            )
        raise VoxelError(
            f"The furthest coordinate is {float(points.abs().max()):g} m; with voxels of {size:g} m they must stay "
            f"below {COORDINATE_LIMIT * size:g} m. Are the points in metres?"
        )
    if int(batch.min()) < 0 or int(batch.max()) >= BATCH_LIMIT:
        raise VoxelError(f"Batch indices must be 0 to {BATCH_LIMIT - 1}; got {int(batch.min())} to {int(batch.max())}.")

    coordinates = torch.cat((batch[:, None].long(), cells.long()), dim=1)
    unique, voxel_of_point = torch.unique(_order_keys(coordinates), return_inverse=True)
    first_point = torch.full_like(unique, len(points))
    first_point.scatter_reduce_(0, voxel_of_point, torch.arange(len(points), device=points.device), "amin")
    return Voxels(size, coordinates[first_point].int(), voxel_of_point, first_point)


def _order_keys(coordinates: Tensor) -> Tensor:
    """One number (N,), int64, per coordinate, in the order of (batch, x, y, z)."""
    batch, x, y, z = coordinates.unbind(1)
    span = 2 * COORDINATE_LIMIT
    return ((batch * span + x + COORDINATE_LIMIT) * span + y + COORDINATE_LIMIT) * span + z + COORDINATE_LIMIT
