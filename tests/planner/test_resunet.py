"""The backbone: names and shapes of its parameters, its size, and what its output depends on."""

from __future__ import annotations

import io

import pytest
import torch
from dexgrasp_planner.network.resunet import PRESETS, ResUNet14, ResUNetConfig, UnknownPresetError
from dexgrasp_planner.network.voxels import Voxels, voxelize
from torch.utils.flop_counter import FlopCounterMode

TINY = ResUNetConfig(initial=4, planes=(4, 6, 8, 8, 6, 6, 4, 4), out_channels=5)
BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def table_with_a_ball(count: int = 3000, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(count, 3, generator=generator) * torch.tensor([0.3, 0.3, 0.001]) - 0.15
    ball = torch.randn(count, 3, generator=generator)
    return torch.cat((table, 0.04 * ball / ball.norm(dim=1, keepdim=True)))


@pytest.fixture(scope="module")
def voxels() -> Voxels:
    return voxelize(table_with_a_ball(), 0.01)


def expected_names() -> set[str]:
    """MinkUNet's, written out from DexGraspNet 2.0's table of stages."""
    kernels = ["conv0p1s1", "conv1p1s2", "conv2p2s2", "conv3p4s2", "conv4p8s2"]
    kernels += ["convtr4p16s2", "convtr5p8s2", "convtr6p4s2", "convtr7p2s2", "final"]
    norms = ["bn0", "bn1", "bn2", "bn3", "bn4", "bntr4", "bntr5", "bntr6", "bntr7"]
    for block in range(1, 9):
        kernels += [f"block{block}.0.conv1", f"block{block}.0.conv2"]
        norms += [f"block{block}.0.norm1", f"block{block}.0.norm2"]
        if block > 1:
            kernels.append(f"block{block}.0.downsample.0")
            norms.append(f"block{block}.0.downsample.1")
    return {f"{name}.kernel" for name in kernels} | {"final.bias"} | {f"{n}.bn.{b}" for n in norms for b in BATCH_NORM}


def test_the_paper_preset_takes_the_released_weights() -> None:
    state = ResUNet14().state_dict()
    assert set(state) == expected_names()
    assert len(state) == 194
    shapes = {
        "conv0p1s1.kernel": (125, 3, 32),
        "conv4p8s2.kernel": (8, 128, 128),
        "block2.0.downsample.0.kernel": (32, 64),
        "convtr4p16s2.kernel": (8, 256, 192),
        "block5.0.conv1.kernel": (27, 320, 192),
        "block8.0.conv1.kernel": (27, 224, 192),
        "final.kernel": (192, 512),
        "final.bias": (1, 512),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_the_paper_preset_has_the_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in ResUNet14().parameters()) == 14_646_816


def test_the_small_preset_takes_at_most_a_third_of_the_multiply_adds() -> None:
    voxels = voxelize(table_with_a_ball(), 0.005)
    work = {}
    for name, config in PRESETS.items():
        network = ResUNet14(config).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(voxels)
        work[name] = counter.get_total_flops() / 2
    assert 0 < work["small"] < work["paper"] / 3


def test_unknown_presets_and_wrong_widths_are_refused() -> None:
    with pytest.raises(UnknownPresetError, match="paper, small"):
        ResUNetConfig.preset("large")
    with pytest.raises(ValueError, match="8 blocks"):
        ResUNetConfig(planes=(32, 64))


def test_a_saved_state_gives_the_same_features(voxels: Voxels) -> None:
    torch.manual_seed(0)
    network, other = ResUNet14(TINY), ResUNet14(TINY)
    network(voxels)  # moves the running statistics
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    with torch.no_grad():
        assert torch.equal(network.eval()(voxels), other.eval()(voxels))


def test_every_parameter_is_trained(voxels: Voxels) -> None:
    torch.manual_seed(0)
    network = ResUNet14(TINY).double()
    features = network(voxels)
    assert features.shape == (len(voxels), 5)
    (features * torch.randn_like(features)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_cloud_has_the_same_features_alone_and_in_a_batch() -> None:
    torch.manual_seed(0)
    network = ResUNet14(TINY).double().eval()
    clouds = [table_with_a_ball(1000, seed) for seed in range(2)]
    both = voxelize(torch.cat(clouds), 0.01, torch.arange(2).repeat_interleave(2000))
    with torch.no_grad():
        together = network(both)
        apart = torch.cat([network(voxelize(cloud, 0.01)) for cloud in clouds])
    torch.testing.assert_close(together, apart)


def test_features_move_with_the_cloud_by_whole_coarse_voxels(voxels: Voxels) -> None:
    torch.manual_seed(0)
    network = ResUNet14(TINY).double().eval()
    moved = Voxels(voxels.size, voxels.coordinates.clone(), voxels.voxel_of_point, voxels.first_point)
    moved.coordinates[:, 1:] -= 16
    with torch.no_grad():
        torch.testing.assert_close(network(moved), network(voxels))
        moved = Voxels(voxels.size, moved.coordinates + torch.tensor([0, 1, 0, 0]), *(2 * [voxels.first_point]))
        assert (network(moved) - network(voxels)).abs().max() > 1e-3
