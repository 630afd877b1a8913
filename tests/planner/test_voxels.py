"""Points into voxels: floor, first point, order, limits."""

from __future__ import annotations

import math

import pytest
import torch
from dexgrasp_planner.network.voxels import COORDINATE_LIMIT, VoxelError, voxelize


def cloud(count: int = 500) -> torch.Tensor:
    return 0.2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) - 0.1


def test_coordinates_are_floors_also_below_zero() -> None:
    points = torch.tensor([[0.012, -0.001, 0.0], [-0.010, 0.004, -0.006]], dtype=torch.float64)
    voxels = voxelize(points, 0.005)
    assert voxels.coordinates.dtype == torch.int32
    assert voxels.coordinates.tolist() == [[0, -2, 0, -2], [0, 2, -1, 0]]
    assert voxels.voxel_of_point.tolist() == [1, 0]


def test_voxels_are_those_of_a_plain_loop_and_the_first_point_of_each_wins() -> None:
    points, batch = cloud(), torch.arange(500) % 2
    voxels = voxelize(points, 0.02, batch)
    first: dict[tuple[int, ...], int] = {}
    for index, (point, cloud_of_point) in enumerate(zip(points.tolist(), batch.tolist(), strict=True)):
        first.setdefault((cloud_of_point, *(math.floor(p / 0.02) for p in point)), index)
    cells = sorted(first)
    assert [tuple(row) for row in voxels.coordinates.tolist()] == cells
    assert voxels.first_point.tolist() == [first[cell] for cell in cells]
    assert torch.equal(voxels.voxel_of_point[voxels.first_point], torch.arange(len(voxels)))
    inside = (points - voxels.centres()[voxels.voxel_of_point]).abs() <= 0.01 + 1e-6
    assert inside.all()


def test_order_of_voxels_does_not_depend_on_the_order_of_points() -> None:
    points = cloud()
    shuffled = points[torch.randperm(500, generator=torch.Generator().manual_seed(2))]
    assert torch.equal(voxelize(points, 0.02).coordinates, voxelize(shuffled, 0.02).coordinates)


@pytest.mark.parametrize(
    ("points", "size", "batch", "message"),
    [
        (torch.zeros(0, 3), 0.005, None, "no points"),
        (torch.zeros(4, 2), 0.005, None, r"\(N, 3\)"),
        (torch.zeros(4, 3, dtype=torch.int64), 0.005, None, "float"),
        (torch.tensor([[0.0, 0.0, math.nan], [0.0, 0.0, 0.0]]), 0.005, None, "1 of 2 points are not finite"),
        (torch.tensor([[0.0, math.inf, 0.0]]), 0.005, None, "not finite"),
        (torch.tensor([[0.0, 0.0, 0.005 * COORDINATE_LIMIT]]), 0.005, None, "Are the points in metres"),
        (torch.zeros(1, 3), 0.0, None, "positive"),
        (torch.zeros(2, 3), 0.005, torch.tensor([0, -1]), "0 to 255"),
        (torch.zeros(2, 3), 0.005, torch.tensor([0, 256]), "0 to 255"),
        (torch.zeros(2, 3), 0.005, torch.tensor([0]), r"\(2,\)"),
    ],
)
def test_bad_input_is_refused(points: torch.Tensor, size: float, batch: torch.Tensor | None, message: str) -> None:
    with pytest.raises(VoxelError, match=message):
        voxelize(points, size, batch)
