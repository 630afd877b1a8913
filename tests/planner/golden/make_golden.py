"""Writes minkowski.npz beside this file: what MinkowskiEngine itself computes, for `test_minkowski_golden.py`.

    python tests/planner/golden/make_golden.py

Needs MinkowskiEngine and nothing of this repository: version 0.5.4 (CPU only, OpenBLAS) with PyTorch 2.13.0 and numpy
2.4.6 on Python 3.11; the file says in `about` what it was made with. MinkowskiEngine builds for them with setuptools
69.5.1 and `python setup.py bdist_wheel --cpu_only --blas=openblas`, once `from collections import Sequence` in its
Python files has become `from collections.abc import Sequence`.

All inputs and weights come from one seed and are in the file too, since the streams of numpy's distributions may
change. Rows are in MinkowskiEngine's own order, with their coordinates beside them. The network is written out here
with MinkowskiEngine's layers, so that it shares no wiring with the one under test.

Entries of an operation, or of the network in training mode: `parameter.*`, `input`, `output` in float32; `after.*`,
buffers after that; `probe`, whose product with the output is the loss; `gradient.*` of that loss in float64. Of the
network also `output_in_eval`, of the same input, and `output_of_ones`, of the input that DexGraspNet 2.0 gives it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import MinkowskiEngine as ME
import numpy as np
import torch
from MinkowskiEngine import MinkowskiFunctional as MF
from numpy.typing import NDArray
from torch import nn

FILE = Path(__file__).with_name("minkowski.npz")
SEED = 20
SIZE = 0.01  # edge of a voxel [m]
INITIAL, PLANES, FEATURES = 3, (3, 4, 5, 6, 5, 4, 4, 3), 5
RNG = np.random.default_rng(SEED)


class Block(nn.Module):
    """ResNet's basic block."""

    def __init__(self, width: int, planes: int) -> None:
        super().__init__()
        self.conv1 = ME.MinkowskiConvolution(width, planes, kernel_size=3, dimension=3)
        self.norm1 = ME.MinkowskiBatchNorm(planes)
        self.conv2 = ME.MinkowskiConvolution(planes, planes, kernel_size=3, dimension=3)
        self.norm2 = ME.MinkowskiBatchNorm(planes)
        self.downsample = None
        if width != planes:
            self.downsample = nn.Sequential(
                ME.MinkowskiConvolution(width, planes, kernel_size=1, dimension=3), ME.MinkowskiBatchNorm(planes)
            )

    def forward(self, x: Any) -> Any:
        """A sparse tensor at the same voxels."""
        residual = x if self.downsample is None else self.downsample(x)
        out = self.norm2(self.conv2(MF.relu(self.norm1(self.conv1(x)))))
        out += residual
        return MF.relu(out)


class Network(nn.Module):
    """MinkUNet14 with the stages and names of DexGraspNet 2.0's table."""

    def __init__(self) -> None:
        super().__init__()

        def down(width: int) -> nn.Module:
            return ME.MinkowskiConvolution(width, width, kernel_size=2, stride=2, dimension=3)

        def up(width: int, planes: int) -> nn.Module:
            return ME.MinkowskiConvolutionTranspose(width, planes, kernel_size=2, stride=2, dimension=3)

        norm, p = ME.MinkowskiBatchNorm, PLANES
        self.conv0p1s1 = ME.MinkowskiConvolution(3, INITIAL, kernel_size=5, dimension=3)
        self.conv1p1s2, self.conv2p2s2, self.conv3p4s2, self.conv4p8s2 = map(down, (INITIAL, *p[:3]))
        self.bn0, self.bn1, self.bn2, self.bn3, self.bn4 = map(norm, (INITIAL, INITIAL, *p[:3]))
        self.block1, self.block2 = nn.Sequential(Block(INITIAL, p[0])), nn.Sequential(Block(p[0], p[1]))
        self.block3, self.block4 = nn.Sequential(Block(p[1], p[2])), nn.Sequential(Block(p[2], p[3]))
        self.convtr4p16s2, self.convtr5p8s2 = up(p[3], p[4]), up(p[4], p[5])
        self.convtr6p4s2, self.convtr7p2s2 = up(p[5], p[6]), up(p[6], p[7])
        self.bntr4, self.bntr5, self.bntr6, self.bntr7 = map(norm, p[4:])
        self.block5, self.block6 = nn.Sequential(Block(p[4] + p[2], p[4])), nn.Sequential(Block(p[5] + p[1], p[5]))
        self.block7 = nn.Sequential(Block(p[6] + p[0], p[6]))
        self.block8 = nn.Sequential(Block(p[7] + INITIAL, p[7]))
        self.final = ME.MinkowskiConvolution(p[7], FEATURES, kernel_size=1, bias=True, dimension=3)

    def forward(self, x: Any) -> Any:
        """A sparse tensor with `FEATURES` channels at the voxels of x."""
        at1 = MF.relu(self.bn0(self.conv0p1s1(x)))
        at2 = self.block1(MF.relu(self.bn1(self.conv1p1s2(at1))))
        at4 = self.block2(MF.relu(self.bn2(self.conv2p2s2(at2))))
        at8 = self.block3(MF.relu(self.bn3(self.conv3p4s2(at4))))
        at16 = self.block4(MF.relu(self.bn4(self.conv4p8s2(at8))))
        up8 = self.block5(ME.cat(MF.relu(self.bntr4(self.convtr4p16s2(at16))), at8))
        up4 = self.block6(ME.cat(MF.relu(self.bntr5(self.convtr5p8s2(up8))), at4))
        up2 = self.block7(ME.cat(MF.relu(self.bntr6(self.convtr6p4s2(up4))), at2))
        up1 = self.block8(ME.cat(MF.relu(self.bntr7(self.convtr7p2s2(up2))), at1))
        return self.final(up1)


def main() -> None:
    """Make the file."""
    golden: dict[str, NDArray[Any]] = {}
    x = voxels(golden)
    to_coarse = ME.MinkowskiConvolution(1, 1, kernel_size=2, stride=2, dimension=3)
    coarse = to_coarse(x)
    golden["cells.1"], golden["cells.2"] = x.C.numpy(), coarse.C.numpy()
    convolution, transposed = ME.MinkowskiConvolution, ME.MinkowskiConvolutionTranspose
    operation(golden, "centred5", convolution(2, 3, kernel_size=5, dimension=3), x, 2)
    operation(golden, "centred3", convolution(2, 3, kernel_size=3, dimension=3), x, 2)
    operation(golden, "down", convolution(2, 3, kernel_size=2, stride=2, dimension=3), x, 2)
    operation(golden, "up", transposed(2, 3, kernel_size=2, stride=2, dimension=3), coarse, 2)
    operation(golden, "matrix", convolution(2, 3, kernel_size=1, bias=True, dimension=3), x, 2)
    operation(golden, "norm_train", ME.MinkowskiBatchNorm(3), x, 3)
    operation(golden, "norm_eval", ME.MinkowskiBatchNorm(3).eval(), x, 3)
    network = Network()
    operation(golden, "network", network, x, 3)
    network.float().load_state_dict(parameters(golden, "network"), strict=False)
    network.eval()
    with torch.no_grad():
        golden["network.output_in_eval"] = network(with_rows(x, torch.from_numpy(golden["network.input"]))).F.numpy()
        golden["network.output_of_ones"] = network(with_rows(x, torch.ones(len(x), 3))).F.numpy()
    about = {"MinkowskiEngine": ME.__version__, "torch": torch.__version__, "numpy": np.__version__, "seed": SEED}
    np.savez_compressed(FILE, about=json.dumps(about), **golden)
    print(f"{FILE}: {len(golden)} arrays, {FILE.stat().st_size / 1e3:.0f} kB, {len(x)} voxels, {about}")


def voxels(golden: dict[str, NDArray[Any]]) -> Any:
    """Two clouds, a rough plane and a ball each, on both sides of the origin; some points share a voxel."""
    clouds = []
    for shift in (-0.013, 0.021):
        plane = RNG.uniform((-0.17, -0.17, -0.02), (0.17, 0.17, 0.0), (180, 3))
        ball = RNG.normal(size=(100, 3))
        ball = 0.04 * ball / np.linalg.norm(ball, axis=1, keepdims=True)
        edges = SIZE * RNG.integers(-3, 3, (20, 3))  # on the faces between voxels
        cloud = np.concatenate([plane + shift, ball + shift, edges])
        again = cloud[:60] + RNG.uniform(0.0, 0.002, (60, 3))
        clouds.append(torch.tensor(np.concatenate([cloud, again]), dtype=torch.float32))
    points = torch.cat(clouds)
    coordinates, _ = ME.utils.sparse_collate([cloud / SIZE for cloud in clouds], [cloud[:, :1] for cloud in clouds])
    cells, first, inverse = ME.utils.sparse_quantize(coordinates, return_index=True, return_inverse=True)
    golden["points"], golden["batch"] = points.numpy(), coordinates[:, 0].numpy().astype(np.uint8)
    golden["size"], golden["voxels"] = np.float64(SIZE), cells.numpy()
    golden["first_point"], golden["voxel_of_point"] = first.numpy(), inverse.numpy()
    return ME.SparseTensor(features=torch.ones(len(cells), 1), coordinates=cells)


def operation(golden: dict[str, NDArray[Any]], name: str, module: nn.Module, at: Any, width: int) -> None:
    """Entries of one module, with values of its own, for `width` channels at the voxels of a sparse tensor."""
    state = {key: values(key, value) for key, value in module.state_dict().items() if value.is_floating_point()}
    golden |= {f"{name}.parameter.{key}": value.numpy() for key, value in state.items()}
    module.float().load_state_dict(parameters(golden, name), strict=False)
    given = RNG.normal(size=(len(at), width)).astype(np.float32)
    with torch.no_grad():
        output = module(with_rows(at, torch.from_numpy(given))).F
    probe = RNG.normal(size=output.shape).astype(np.float32)
    golden |= {f"{name}.input": given, f"{name}.output": output.numpy(), f"{name}.probe": probe}
    after = {key: value for key, value in module.named_buffers() if value.is_floating_point()}
    golden |= {f"{name}.after.{key}": value.numpy().copy() for key, value in after.items()}
    rows = torch.from_numpy(given).double().requires_grad_()
    (module.double()(with_rows(at, rows)).F * torch.from_numpy(probe)).sum().backward()
    golden[f"{name}.gradient.input"] = rows.grad.numpy()
    golden |= {f"{name}.gradient.{key}": value.grad.numpy().copy() for key, value in module.named_parameters()}
    module.zero_grad()


def parameters(golden: dict[str, NDArray[Any]], name: str) -> dict[str, torch.Tensor]:
    """Values of a module as the file has them."""
    prefix = f"{name}.parameter."
    return {key.removeprefix(prefix): torch.tensor(golden[key]) for key in golden if key.startswith(prefix)}


def with_rows(at: Any, rows: torch.Tensor) -> Any:
    """Other features at the voxels of a sparse tensor."""
    return ME.SparseTensor(rows, coordinate_map_key=at.coordinate_map_key, coordinate_manager=at.coordinate_manager)


def values(name: str, like: torch.Tensor) -> torch.Tensor:
    """Values that keep activations near 1 and batch norms far from the identity."""
    if name.endswith("running_var"):
        drawn = RNG.uniform(0.5, 2.0, like.shape)
    elif name.endswith("bn.weight"):
        drawn = RNG.uniform(0.5, 1.5, like.shape)
    elif name.endswith("kernel"):
        drawn = RNG.normal(0.0, (4.0 / like.shape[:-1].numel()) ** 0.5, like.shape)
    else:
        drawn = RNG.normal(0.0, 0.2, like.shape)
    return torch.tensor(drawn, dtype=torch.float32)


if __name__ == "__main__":
    main()
