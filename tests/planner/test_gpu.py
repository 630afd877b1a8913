"""The network on a GPU gives what it gives on a CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from dexgrasp_common.transforms import apply, invert, look_at
from dexgrasp_planner.generators import SceneCloud
from dexgrasp_planner.learned import LearnedConfig, LearnedGenerator
from dexgrasp_planner.network.folded import FoldedResUNet14
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from dexgrasp_planner.network.resunet import ResUNet14, ResUNetConfig
from dexgrasp_planner.network.voxels import Voxels, voxelize
from torch import Tensor, nn

from dexgrasp_description import load_hand

from .cylinder_scene import on_a_table

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
CONFIG = ResUNetConfig(initial=3, planes=(3, 4, 5, 6, 5, 4, 4, 3), out_channels=5)


def cloud(device: str) -> Voxels:
    """Two bent sheets, with voxels on both sides of the origin."""
    x, y = (60.0 * torch.rand(2, 8000, generator=torch.Generator().manual_seed(4)) - 30.0).unbind()
    points = torch.stack([x, y, 6.0 * torch.sin(0.1 * x)], dim=1)
    return voxelize(points.to(device), 1.0, (torch.arange(8000) % 2).to(device))


def test_voxels_are_the_same() -> None:
    ours, theirs = cloud("cpu"), cloud("cuda")
    for name in ("coordinates", "voxel_of_point", "first_point"):
        assert torch.equal(getattr(theirs, name).cpu(), getattr(ours, name)), name


def test_outputs_gradients_and_statistics_are_the_same() -> None:
    results: list[dict[str, Tensor]] = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        network = ResUNet14(CONFIG).double().to(device)
        output = network(cloud(device))
        probe = torch.linspace(-1.0, 1.0, output.numel(), dtype=output.dtype, device=device).view_as(output)
        (output * probe).sum().backward()
        gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
        results.append({"output": output.detach(), **gradients, **dict(network.named_buffers())})
    assert results[0].keys() == results[1].keys()
    for name, expected in results[0].items():
        torch.testing.assert_close(results[1][name].cpu(), expected, rtol=1e-8, atol=1e-9, msg=name)


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_the_folded_network_gives_the_same(dtype: torch.dtype, share: float) -> None:
    torch.manual_seed(0)
    network, head = ResUNet14(ResUNetConfig.preset("small")).eval(), nn.Linear(512, 3)
    expected = FoldedResUNet14(network, head)(cloud("cpu"))
    told = FoldedResUNet14(network, head, dtype, "cuda")(cloud("cuda"))
    rows = torch.arange(50)
    for one, other in ((told.scores, expected.scores), (told.features(rows.cuda()), expected.features(rows))):
        assert float((one.cpu() - other).abs().max() / other.abs().max()) < share


def test_the_generator_gives_the_same_grasps() -> None:
    torch.manual_seed(0)
    hand = load_hand("leap_right")
    network = GraspNetwork(len(hand.joint_names), NetworkConfig(backbone="small")).eval()
    network.graspable.bias.data = torch.tensor([0.0, 9.0, 0.0])
    world_T_camera = look_at([0.1, 0.0, 0.6], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    scene = SceneCloud(apply(invert(world_T_camera), on_a_table((0.0, 0.0))).astype(np.float32), world_T_camera)
    config = LearnedConfig(points=5000, seeds=64, finish="sampled", guidance="none", device="cpu")
    ours, theirs = (
        LearnedGenerator(hand, network, replace(config, device=device)).sample(scene, 0).grasps
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(theirs.seed_point, ours.seed_point, atol=1e-6)
    np.testing.assert_allclose(theirs.world_T_palm, ours.world_T_palm, atol=2e-3)
    np.testing.assert_allclose(theirs.grasp, ours.grasp, atol=2e-3)
    np.testing.assert_allclose(theirs.log_likelihood, ours.log_likelihood, rtol=1e-3, atol=1e-2)
