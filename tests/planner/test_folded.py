"""The inference path against the modules that it is made from."""

from __future__ import annotations

import pytest
import torch
from dexgrasp_planner.network.folded import BLOCK, FoldedResUNet14
from dexgrasp_planner.network.resunet import PRESETS, ResUNet14
from dexgrasp_planner.network.voxels import Voxels, voxelize
from torch import nn

from .sparse_grids import scene


def trained(preset: str = "small") -> ResUNet14:
    """A network in evaluation mode whose batch norms are far from the identity."""
    torch.manual_seed(0)
    network = ResUNet14(PRESETS[preset]).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            for values in (module.bias, module.running_mean):
                nn.init.normal_(values, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


@pytest.fixture(scope="module")
def voxels() -> Voxels:
    """Two clouds, more voxels than a block has rows."""
    generator = torch.Generator().manual_seed(0)
    cloud = torch.rand(6000, 3, generator=generator) * torch.tensor([0.3, 0.3, 0.02]) - 0.1
    return voxelize(cloud, 0.006, torch.arange(6000) % 2)


@pytest.fixture(scope="module")
def head() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(512, 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_float32_gives_the_output_of_the_modules(preset: str, head: nn.Linear) -> None:
    network, voxels = trained(preset), scene()
    outputs = FoldedResUNet14(network, head)(voxels)
    rows = torch.arange(0, len(voxels), 7)
    with torch.no_grad():
        features = network(voxels)
        scale = float(features.abs().max())
        torch.testing.assert_close(outputs.features(rows), features[rows], rtol=0.0, atol=3e-6 * scale)
        torch.testing.assert_close(outputs.scores, head(features), rtol=0.0, atol=3e-6 * scale)


def test_bfloat16_stays_close(voxels: Voxels, head: nn.Linear) -> None:
    assert len(voxels) > BLOCK
    network = trained()
    exact = FoldedResUNet14(network, head)(voxels)
    outputs = FoldedResUNet14(network, head, torch.bfloat16)(voxels)
    everywhere = torch.arange(len(voxels))
    features, expected = outputs.features(everywhere), exact.features(everywhere)
    assert features.dtype == outputs.scores.dtype == torch.float32
    assert torch.cosine_similarity(features, expected).min() > 0.999
    assert (outputs.scores - exact.scores).abs().max() < 0.05 * exact.scores.abs().max()


def test_it_keeps_its_weights_when_the_network_trains_on(voxels: Voxels, head: nn.Linear) -> None:
    network = trained()
    folded = FoldedResUNet14(network, head)
    before = folded(voxels).scores
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(folded(voxels).scores, before)
    assert not before.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_of_no_rows_are_empty(voxels: Voxels, head: nn.Linear, dtype: torch.dtype) -> None:
    outputs = FoldedResUNet14(trained(), head, dtype)(voxels)
    assert outputs.features(torch.zeros(0, dtype=torch.int64)).shape == (0, 512)


def test_a_head_of_another_width_and_other_types_are_refused(head: nn.Linear) -> None:
    with pytest.raises(ValueError, match="takes 256 features; the network makes 512"):
        FoldedResUNet14(trained(), nn.Linear(256, 3))
    with pytest.raises(ValueError, match="float32 or bfloat16"):
        FoldedResUNet14(trained(), head, torch.float16)
