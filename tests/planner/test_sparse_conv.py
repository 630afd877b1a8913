"""Sparse convolutions against dense ones, with the voxels that are missing masked."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from dexgrasp_planner.network import pyramid as pyramid_module
from dexgrasp_planner.network.pyramid import CoordinatePyramid
from dexgrasp_planner.network.sparse_conv import (
    SparseConvolution,
    SparseFeatures,
    SparseTransposedConvolution,
)

from .sparse_grids import convolve, dense_convolution, grid, random, rows_at, scene, weight


@pytest.fixture(scope="module")
def pyramid() -> CoordinatePyramid:
    return scene().pyramid


def test_coarse_voxels_are_the_floors_of_the_fine_ones() -> None:
    pyramid = scene().pyramid
    for stride in (2, 4, 8, 16):
        floors = {(b, x // stride, y // stride, z // stride) for b, x, y, z in pyramid.cells(1).tolist()}
        assert {tuple(cell) for cell in pyramid.cells(stride).tolist()} == floors
        assert pyramid.rows(stride) == len(floors)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_centred_convolution_is_the_dense_one(pyramid: CoordinatePyramid, stride: int, size: int) -> None:
    cells = pyramid.cells(stride)
    rows, kernel = random(len(cells), 4), random(size**3, 4, 3, seed=1)
    result = convolve(rows, kernel, pyramid.centred(stride, size))
    torch.testing.assert_close(result, dense_convolution(rows, kernel, cells, stride, size))


def test_z_fastest_would_be_another_convolution(pyramid: CoordinatePyramid) -> None:
    rows, kernel = random(pyramid.rows(1), 4), random(27, 4, 3, seed=1)
    wrong = kernel.view(3, 3, 3, 4, 3).permute(2, 1, 0, 3, 4).reshape(27, 4, 3)
    difference = convolve(rows, wrong, pyramid.centred(1, 3)) - dense_convolution(rows, kernel, pyramid.cells(1), 1, 3)
    assert difference.abs().max() > 1.0


@pytest.mark.parametrize("stride", [1, 2])
def test_down_is_the_dense_strided_convolution(pyramid: CoordinatePyramid, stride: int) -> None:
    rows, kernel = random(pyramid.rows(stride), 4), random(8, 4, 3, seed=1)
    dense = F.conv3d(grid(rows, pyramid.cells(stride), stride), weight(kernel, 2), stride=2)
    result = convolve(rows, kernel, pyramid.down(stride))
    torch.testing.assert_close(result, rows_at(dense, pyramid.cells(2 * stride), 2 * stride))


@pytest.mark.parametrize("stride", [1, 2])
def test_up_is_the_dense_transposed_convolution(pyramid: CoordinatePyramid, stride: int) -> None:
    rows, kernel = random(pyramid.rows(2 * stride), 4), random(8, 4, 3, seed=1)
    coarse = grid(rows, pyramid.cells(2 * stride), 2 * stride)
    dense = F.conv_transpose3d(coarse, weight(kernel, 2).transpose(0, 1), stride=2)
    result = convolve(rows, kernel, pyramid.down(stride).reversed)
    torch.testing.assert_close(result, rows_at(dense, pyramid.cells(stride), stride))


def test_sparse_search_finds_what_the_table_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = scene().coordinates
    cells = cells[torch.randperm(len(cells), generator=torch.Generator().manual_seed(3))]
    table = CoordinatePyramid(cells).neighbours(1, 3)
    monkeypatch.setattr(pyramid_module, "DENSE_CELLS", 0)
    assert torch.equal(CoordinatePyramid(cells).neighbours(1, 3), table)


def test_voxels_far_apart_are_searched_without_a_table() -> None:
    cells = torch.tensor([[0, -130000, -130000, -130000], [0, 130000, 130000, 130000], [255, 130000, 130000, 129999]])
    table = CoordinatePyramid(cells.int()).neighbours(1, 3)
    assert (table >= 0).sum() == 3
    assert table[13].tolist() == [0, 1, 2]


def test_modules_have_the_parameters_of_minkowski_engine() -> None:
    shapes = {
        (3, 1): (27, 4, 6),
        (5, 1): (125, 4, 6),
        (2, 2): (8, 4, 6),
        (1, 1): (4, 6),
    }
    for (size, stride), shape in shapes.items():
        layer = SparseConvolution(4, 6, size, stride, bias=True)
        assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {"kernel": shape, "bias": (1, 6)}
    assert {n: tuple(p.shape) for n, p in SparseTransposedConvolution(4, 6).named_parameters()} == {"kernel": (8, 4, 6)}


def test_other_kernels_are_refused() -> None:
    for size, stride in ((2, 1), (3, 2), (4, 2)):
        with pytest.raises(ValueError, match="odd with stride 1"):
            SparseConvolution(4, 6, size, stride)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_down_and_up_return_to_the_same_voxels_in_any_float_type(
    pyramid: CoordinatePyramid, dtype: torch.dtype
) -> None:
    x = SparseFeatures(random(pyramid.rows(1), 4).to(dtype), 1, pyramid)
    down, up = SparseConvolution(4, 6, 2, stride=2).to(dtype), SparseTransposedConvolution(6, 5).to(dtype)
    result = up(down(x))
    assert (result.stride, result.rows.dtype, tuple(result.rows.shape)) == (1, dtype, (pyramid.rows(1), 5))
    exact = SparseFeatures(x.rows.double(), 1, pyramid)
    expected = up.double()(down.double()(exact)).rows
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(result.rows.double(), expected, rtol=tolerance, atol=tolerance)
