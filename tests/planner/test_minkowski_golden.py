"""The plain PyTorch backend against what MinkowskiEngine itself computed: `golden/minkowski.npz`.

Tolerances are relative to the largest value of what is compared. Float32 outputs differ by the order of summation:
one operation adds up to 250 products (1e-6 leaves ten roundings), the network some fifty such sums behind each other,
and in training mode the coarsest batch norms divide by the spread of a few dozen voxels (1e-5). Gradients are compared
in float64, where a ReLU that float32 would tip over does not hide an error: 1e-12.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dexgrasp_planner.network.folded import FoldedResUNet14
from dexgrasp_planner.network.pyramid import CoordinatePyramid
from dexgrasp_planner.network.resunet import ResUNet14, ResUNetConfig
from dexgrasp_planner.network.sparse_conv import (
    SparseBatchNorm,
    SparseConvolution,
    SparseFeatures,
    SparseTransposedConvolution,
)
from dexgrasp_planner.network.voxels import Voxels, voxelize
from torch import Tensor, nn

FILE = Path(__file__).parent / "golden" / "minkowski.npz"
GOLDEN = dict(np.load(FILE))
CONFIG = ResUNetConfig(initial=3, planes=(3, 4, 5, 6, 5, 4, 4, 3), out_channels=5)
OPERATIONS = {
    "centred5": lambda: SparseConvolution(2, 3, 5),
    "centred3": lambda: SparseConvolution(2, 3, 3),
    "down": lambda: SparseConvolution(2, 3, 2, stride=2),
    "up": lambda: SparseTransposedConvolution(2, 3),
    "matrix": lambda: SparseConvolution(2, 3, 1, bias=True),
    "norm_train": lambda: SparseBatchNorm(3),
    "norm_eval": lambda: SparseBatchNorm(3).eval(),
    "network": lambda: ResUNet14(CONFIG, "torch"),
}
SINGLE, WHOLE, EXACT = 1e-6, 1e-5, 1e-12


def entries(prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): torch.from_numpy(a) for name, a in GOLDEN.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def voxels() -> Voxels:
    points, batch = torch.from_numpy(GOLDEN["points"]), torch.from_numpy(GOLDEN["batch"])
    return voxelize(points, float(GOLDEN["size"]), batch)


class Case:
    """One module with the file's values, and the ways between the file's order of voxels and ours."""

    def __init__(self, name: str, voxels: Voxels) -> None:
        self.name, self._voxels = name, voxels
        self.module: nn.Module = OPERATIONS[name]()
        state = self.module.state_dict()
        parameters = entries(f"{name}.parameter.")
        assert set(parameters) == {key for key, value in state.items() if value.is_floating_point()}
        self.module.load_state_dict(state | parameters)
        self._stride, to = {"down": (1, 2), "up": (2, 1)}.get(name, (1, 1))
        self._given, self._made = (order(voxels.pyramid, stride) for stride in (self._stride, to))

    def run(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Input and output in the file's order."""
        rows = entries(f"{self.name}.")["input"].to(dtype).requires_grad_()
        given = SparseFeatures(rows[self._given], self._stride, self._voxels.pyramid)
        module = self.module.to(dtype)
        if isinstance(module, ResUNet14):
            # The network's own input is ones; the file's is anything, so that its gradient says something.
            hook = module.conv0p1s1.register_forward_pre_hook(lambda layer, inputs: (given,))
            output = module(self._voxels)
            hook.remove()
        else:
            output = module(given).rows
        return rows, output[self._made.argsort()]

    def error(self, output: str = "output") -> float:
        """Of the output in float32."""
        return relative(self.run(torch.float32)[1], entries(f"{self.name}.")[output])


def order(pyramid: CoordinatePyramid, stride: int) -> Tensor:
    """Rows (V,) of the file that our voxels at that stride are; its coordinates are in units of the finest voxels."""
    row_of_cell = {tuple(cell): row for row, cell in enumerate(GOLDEN[f"cells.{stride}"].tolist())}
    cells = pyramid.cells(stride) * torch.tensor([1, stride, stride, stride])
    assert len(cells) == len(row_of_cell)
    return torch.tensor([row_of_cell[tuple(cell)] for cell in cells.tolist()])


def relative(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours.detach() - theirs).abs().max() / theirs.abs().max())


def test_the_file_has_both_clouds_negative_coordinates_and_points_that_share_voxels() -> None:
    assert set(GOLDEN["batch"].tolist()) == {0, 1}
    assert (GOLDEN["voxels"][:, 1:] < 0).any(axis=0).all()
    assert (GOLDEN["cells.2"][:, 1:] < 0).any(axis=0).all()
    assert len(GOLDEN["voxels"]) + 100 < len(GOLDEN["points"])


def test_voxels_their_first_points_and_the_way_back_are_the_same(voxels: Voxels) -> None:
    theirs = GOLDEN["voxels"]
    mine = np.lexsort(theirs.T[::-1])  # the file's rows in our order
    np.testing.assert_array_equal(voxels.coordinates.numpy(), theirs[mine])
    np.testing.assert_array_equal(voxels.first_point.numpy(), GOLDEN["first_point"][mine])
    np.testing.assert_array_equal(mine[voxels.voxel_of_point.numpy()], GOLDEN["voxel_of_point"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_outputs_are_the_same_in_float32(name: str, voxels: Voxels) -> None:
    case = Case(name, voxels)
    assert case.error() < (WHOLE if name == "network" else SINGLE)
    buffers = dict(case.module.named_buffers())
    for key, after in entries(f"{name}.after.").items():
        assert relative(buffers[key], after) < WHOLE, key


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_are_the_same_in_float64(name: str, voxels: Voxels) -> None:
    case = Case(name, voxels)
    rows, output = case.run(torch.float64)
    (output * entries(f"{name}.")["probe"]).sum().backward()
    expected = entries(f"{name}.gradient.")
    ours = {"input": rows, **dict(case.module.named_parameters())}
    assert set(ours) == set(expected)
    for key, gradient in expected.items():
        assert relative(ours[key].grad, gradient) < EXACT, key


def test_in_evaluation_mode_modules_and_folded_network_give_what_minkowski_engine_gives(voxels: Voxels) -> None:
    case = Case("network", voxels)
    case.module.eval()
    assert case.error("output_in_eval") < WHOLE
    expected = entries("network.")["output_of_ones"][order(voxels.pyramid, 1)]
    with torch.no_grad():
        assert relative(case.module(voxels), expected) < WHOLE
    folded = FoldedResUNet14(case.module, nn.Linear(CONFIG.out_channels, 3))(voxels)
    assert relative(folded.features(torch.arange(len(voxels))), expected) < WHOLE


@pytest.mark.parametrize("name", ["centred5", "centred3", "down", "up", "network"])
def test_z_fastest_in_one_convolution_is_noticed(name: str, voxels: Voxels) -> None:
    case = Case(name, voxels)
    kernel = case.module.get_submodule("block3.0.conv1" if name == "network" else "").kernel
    size = round(len(kernel) ** (1 / 3))
    with torch.no_grad():
        kernel.copy_(kernel.unflatten(0, (size, size, size)).transpose(0, 2).flatten(0, 2))
    assert case.error() > 1e-2
