"""Kernel maps in tiles and row by row, and the products made with them, against pairs and plain products."""

from __future__ import annotations

import pytest
import torch
from dexgrasp_planner.network import gathered_conv
from dexgrasp_planner.network import pyramid as pyramid_module
from dexgrasp_planner.network.gathered_conv import GatherMap, convolve_gathered
from dexgrasp_planner.network.pyramid import CoordinatePyramid, KernelMap
from dexgrasp_planner.network.sparse_conv import SparseConvolution, SparseFeatures, TorchLayers
from dexgrasp_planner.network.tiled_conv import convolve_tiles, multiply
from dexgrasp_planner.network.tiles import HEIGHT, TiledMap
from dexgrasp_planner.network.voxels import Voxels, voxelize

from .sparse_grids import convolve, random, scene

KINDS = ("centred", "down", "up")


@pytest.fixture(scope="module")
def surface() -> Voxels:
    """A bent sheet, more voxels than a tile has rows: as in a scene, most neighbours of a voxel are missing."""
    x, y = (60.0 * torch.rand(2, 8000, generator=torch.Generator().manual_seed(4))).unbind()
    return voxelize(torch.stack([x, y, 6.0 * torch.sin(0.1 * x)], dim=1), 1.0)


def maps(pyramid: CoordinatePyramid, kind: str) -> tuple[KernelMap, TiledMap, GatherMap]:
    match kind:
        case "centred":
            return pyramid.centred(1, 3), pyramid.centred_tiles(1, 3), pyramid.centred_gather(1, 3)
        case "down":
            return pyramid.down(1), pyramid.down_tiles(1), pyramid.down_gather(1)
        case _:
            return pyramid.down(1).reversed, pyramid.down_tiles(1).reversed, pyramid.down_gather(1).reversed


@pytest.mark.parametrize("gathered", [1, 20_000, 1 << 27])  # a row at a time, some, all
@pytest.mark.parametrize("kind", KINDS)
def test_tiles_and_gathers_give_the_sums_of_pairs_and_their_gradients(
    surface: Voxels, kind: str, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered_conv, "GATHERED", gathered)
    pairs, tiled, gathers = maps(surface.pyramid, kind)
    rows, kernel = random(pairs.input_rows, 4), random(len(pairs.counts), 4, 3, seed=1)
    results = []
    for call, mapped in ((convolve, pairs), (convolve_tiles, tiled), (convolve_gathered, gathers)):
        x, w = rows.clone().requires_grad_(), kernel.clone().requires_grad_()
        result = call(x, w, mapped)  # type: ignore[operator]
        results.append((result, *torch.autograd.grad(result, (x, w), random(*result.shape, seed=2))))
    for expected, *told in zip(*results, strict=True):
        for one in told:
            torch.testing.assert_close(one, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_tiles_and_gathers_are_exact(kind: str) -> None:
    pairs, tiled, gathers = maps(scene(points=12).pyramid, kind)
    rows = random(pairs.input_rows, 2).requires_grad_()
    kernel = random(len(pairs.counts), 2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: convolve_tiles(x, w, tiled), (rows, kernel))
    assert torch.autograd.gradcheck(lambda x, w: convolve_gathered(x, w, gathers), (rows, kernel))


@pytest.mark.parametrize("rows", [1, 300, 2048, 2500])
def test_a_product_in_blocks_is_the_product(rows: int) -> None:
    x, w = random(rows, 5).requires_grad_(), random(5, 3, seed=1).requires_grad_()
    above = random(rows, 3, seed=2)
    torch.testing.assert_close(multiply(x, w), x @ w)
    for told, expected in zip(
        torch.autograd.grad(multiply(x, w), (x, w), above), torch.autograd.grad(x @ w, (x, w), above), strict=True
    ):
        torch.testing.assert_close(told, expected)


def test_every_row_is_in_one_tile_and_tiles_need_few_elements(surface: Voxels) -> None:
    table = surface.pyramid.neighbours(1, 3)
    tiles = surface.pyramid.centred_tiles(1, 3).forward
    rows = table.shape[1]
    assert torch.equal(tiles.order[tiles.place], torch.arange(rows))
    assert len(tiles.order) == len(tiles.elements) * HEIGHT < rows + HEIGHT
    reached = float((table >= 0).sum()) / rows
    used = sum(len(elements) for elements in tiles.elements) / len(tiles.elements)
    assert reached < used < 2.2 * reached  # 27 where rows come in any order
    assert all(len(elements.unique()) == len(elements) for elements in tiles.elements)


def test_larger_kernels_have_tiles_too() -> None:
    pyramid = scene().pyramid
    rows, kernel = random(pyramid.rows(1), 2), random(125, 2, 2, seed=1)
    expected = convolve(rows, kernel, pyramid.centred(1, 5))
    torch.testing.assert_close(convolve_tiles(rows, kernel, pyramid.centred_tiles(1, 5)), expected)


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("cells", [0, 1 << 24])
def test_occupancy_says_where_neighbours_are(
    surface: Voxels, size: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyramid_module, "DENSE_CELLS", cells)
    pyramid = CoordinatePyramid(surface.coordinates)
    assert torch.equal(pyramid.occupancy(1, size), (pyramid.neighbours(1, size) >= 0).T.byte())


def test_features_of_ones_need_no_features(surface: Voxels) -> None:
    layers = TorchLayers()
    layer = layers.convolution(3, 4, kernel_size=5).double()
    ones = layers.ones(3, surface, like=random(1))
    given = layers.sparse(ones.rows, surface)
    told, expected = layer(ones).rows, layer(given).rows
    torch.testing.assert_close(told, expected)
    above = random(*told.shape, seed=1)
    torch.testing.assert_close(*(torch.autograd.grad(result, layer.kernel, above)[0] for result in (told, expected)))


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (2, 2)])
def test_autocast_multiplies_in_sixteen_bits_and_sums_gradients_in_thirty_two(
    surface: Voxels, size: int, stride: int
) -> None:
    layer = SparseConvolution(8, 6, size, stride)
    rows = random(len(surface), 8).float()
    exact = layer(SparseFeatures(rows, 1, surface.pyramid)).rows
    with torch.autocast("cpu", torch.bfloat16):
        rounded = layer(SparseFeatures(rows, 1, surface.pyramid)).rows
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.02, atol=0.02)
    above = random(*exact.shape, seed=1).float()
    (expected,) = torch.autograd.grad(exact, layer.kernel, above)
    (told,) = torch.autograd.grad(rounded, layer.kernel, above.bfloat16())
    assert told.dtype == torch.float32
    assert torch.cosine_similarity(told.flatten(), expected.flatten(), dim=0) > 0.9999
