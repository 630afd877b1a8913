"""The object-level network: sizes, what it does not depend on, its losses, and that it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from dexgrasp_planner.network.rotations import rotation_of
from dexgrasp_planner.object_level.cloud_sampling import CloudSampling, CloudShapeError
from dexgrasp_planner.object_level.denoiser import Denoiser, DenoiserConfig
from dexgrasp_planner.object_level.noise_schedule import STEPS, NoiseSchedule, UnknownScheduleError
from dexgrasp_planner.object_level.object_network import (
    ObjectGraspNetwork,
    UnknownNetworkError,
    object_network_config,
    turned,
)
from dexgrasp_planner.object_level.point_transformer import PointTransformer, PointTransformerConfig, sample_cloud
from dexgrasp_planner.object_level.state_layouts import STATE_LAYOUTS, StateBounds, UnknownLayoutError
from dexgrasp_planner.physics.constraints import HandPhysics, PhysicsConfig
from torch import Tensor

from dexgrasp_description import load_hand

from .object_level_cases import ENCODER, HAND, ball, grasps, network

LAYOUTS = tuple(STATE_LAYOUTS)
SCHEDULES = ("paper", "zero_terminal")


def clouds(count: int, points: int = 128) -> Tensor:
    return torch.stack([torch.as_tensor(ball(points, seed)) for seed in range(count)])


def size(module: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def test_the_paper_preset_has_the_sizes_of_the_paper() -> None:
    config = object_network_config("paper", load_hand("shadow_right"), grasps(5)[0].numpy())
    made = ObjectGraspNetwork(config)
    assert made.layout.size == 33
    assert size(made.encoder) == pytest.approx(4.9, abs=0.05)
    # 22.6 M, without the three matrices of each of 4 blocks that attention of one element to itself does not need.
    assert size(made.denoiser) == pytest.approx(22.6 - 4 * 3 * 512**2 / 1e6, abs=0.1)
    tokens = made.eval().tokens(clouds(1, 2048))
    assert tokens.shape == (1, 8, 512)


def test_the_small_preset_is_small() -> None:
    made = ObjectGraspNetwork(object_network_config("small", HAND, grasps(5)[0].numpy())).eval()
    assert size(made) < 3.0
    assert made.tokens(clouds(1, made.config.points)).shape == (1, 8, 256)


def test_unknown_names_are_refused() -> None:
    palms = grasps(5)[0].numpy()
    with pytest.raises(UnknownNetworkError, match="Presets: paper, small"):
        object_network_config("huge", HAND, palms)
    with pytest.raises(UnknownLayoutError, match="full_pose_33d"):
        object_network_config("small", HAND, palms, layout="euler")
    with pytest.raises(UnknownScheduleError, match="zero_terminal"):
        NoiseSchedule("linear")


def test_clouds_of_another_shape_are_refused() -> None:
    for bad in (torch.zeros(2, 8, 6), torch.zeros(128, 6), torch.zeros(2, 128, 2)):
        with pytest.raises(CloudShapeError, match="at least 16 points"):
            sample_cloud(bad, ENCODER)


def test_samplings_survive_turning_the_cloud() -> None:
    cloud = clouds(3).double()
    rotation = rotation_of(torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    before, after = (sample_cloud(one, ENCODER) for one in (cloud, turned(cloud, rotation)))
    for part in ("kept", "around", "beside"):
        for one, other in zip(getattr(before, part), getattr(after, part), strict=True):
            assert torch.equal(one, other)


def test_samplings_are_farthest_and_nearest_points() -> None:
    cloud = clouds(2)
    sampling = sample_cloud(cloud, ENCODER)
    assert [level.shape[1] for level in sampling.beside] == [128, 32, 8]
    points = cloud[1, :, :3]
    kept = sampling.kept[0][1]
    gaps = torch.cdist(points[kept], points[kept]) + torch.eye(32)
    assert gaps.min() > 0.5 * torch.cdist(points, points[kept]).amin(dim=1).max()
    expected = torch.cdist(points[kept], points).topk(8, largest=False).indices
    assert torch.equal(sampling.around[0][1].sort().values, expected.sort().values)


def test_joined_samplings_are_those_of_all_clouds() -> None:
    cloud = clouds(3)
    apart = CloudSampling.join([sample_cloud(cloud[:1], ENCODER), sample_cloud(cloud[1:], ENCODER)])
    together = sample_cloud(cloud, ENCODER)
    assert len(apart) == 3
    assert all(torch.equal(a, b) for a, b in zip(apart.beside, together.beside, strict=True))
    assert torch.equal(together[torch.tensor([2, 2])].kept[0][1], together.kept[0][2])


def test_clouds_do_not_see_each_other() -> None:
    encoder = PointTransformer(ENCODER).eval()
    cloud = clouds(3)
    sampling = sample_cloud(cloud, ENCODER)
    together = encoder(cloud, sampling)
    alone = encoder(cloud[1:2], sampling[torch.tensor([1])])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_tokens_without_a_place_do_not_depend_on_the_order_of_the_points() -> None:
    torch.manual_seed(0)
    config = PointTransformerConfig(128, (16, 32), (1, 1), (1, 4), (8, 8))
    encoder = PointTransformer(config).eval()
    cloud = clouds(1)
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(127)])  # the first point stays the first
    shuffled = cloud[:, order]
    torch.testing.assert_close(
        encoder(cloud, sample_cloud(cloud, config)), encoder(shuffled, sample_cloud(shuffled, config)),
        rtol=1e-3, atol=1e-5,
    )  # fmt: skip


def test_states_of_a_denoiser_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(9, 16, DenoiserConfig(width=64, blocks=2, heads=2, head_width=8)).eval()
    condition = denoiser.condition(torch.randn(2, 5, 16))
    state = torch.randn(6, 9)
    rows = torch.tensor([0, 1, 0, 0, 1, 1])
    together = denoiser(state, torch.full((6,), 7), condition[rows])
    for i in range(6):
        alone = denoiser(state[i : i + 1], torch.tensor([7]), condition[rows[i : i + 1]])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)
    shared = denoiser(state[rows == 0], torch.tensor([7]), condition[torch.tensor([0])])
    torch.testing.assert_close(shared, together[rows == 0], rtol=1e-4, atol=1e-5)


def test_the_order_of_tokens_is_nothing_to_a_denoiser() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(9, 16, DenoiserConfig(width=64, blocks=1, heads=2, head_width=8)).eval()
    tokens, state = torch.randn(1, 5, 16), torch.randn(3, 9)
    found = [denoiser(state, torch.tensor([3]), denoiser.condition(one)) for one in (tokens, tokens.flip(1))]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    other = denoiser(state, torch.tensor([3]), denoiser.condition(2.0 * tokens))
    assert not torch.allclose(found[0], other, atol=1e-3)


def test_schedules_end_where_they_say() -> None:
    paper, zero = (torch.cos(NoiseSchedule(name).angles.double()) ** 2 for name in SCHEDULES)
    assert len(paper) == len(zero) == STEPS
    assert paper[-1].item() == pytest.approx(0.602, abs=1e-3)
    assert paper[0].item() == pytest.approx(1.0 - 1e-4, abs=1e-6)
    assert zero[-1].item() == pytest.approx(0.0, abs=1e-12)
    assert (zero.diff() < 0.0).all()
    assert zero[49].item() == pytest.approx(math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2, abs=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_right_prediction_gives_the_clean_state_back(name: str) -> None:
    schedule = NoiseSchedule(name)
    x0, noise = torch.randn(2, STEPS, 5, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    step = torch.arange(STEPS)
    x = schedule.noised(x0, noise, step)
    torch.testing.assert_close(schedule.estimate(x, schedule.target(x0, noise, step), step), x0, rtol=1e-4, atol=1e-4)
    if name == "zero_terminal":
        torch.testing.assert_close(x[-1], noise[-1], rtol=0.0, atol=1e-6)


def test_physics_counts_as_much_as_there_is_signal() -> None:
    step = torch.tensor([0, 50, 99])
    assert NoiseSchedule("paper").physics_weight(step).tolist() == [1.0, 1.0, 1.0]
    weight = NoiseSchedule("zero_terminal").physics_weight(step)
    assert weight[0] > 0.99
    assert weight[-1] < 1e-12


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("hand_name", ["leap_right", "shadow_right"])
def test_layouts_give_grasps_back(name: str, hand_name: str) -> None:
    hand = load_hand(hand_name)
    generator = torch.Generator().manual_seed(0)
    palm = torch.eye(4, dtype=torch.float64).repeat(50, 1, 1)
    palm[:, :3, :3] = rotation_of(torch.randn(50, 4, generator=generator, dtype=torch.float64))
    palm[:, :3, 3] = 0.1 * torch.randn(50, 3, generator=generator, dtype=torch.float64)
    lower, upper = (torch.tensor(limit) for limit in (hand.lower, hand.upper))
    q = lower + (upper - lower) * torch.rand(50, len(lower), generator=generator, dtype=torch.float64)
    layout = STATE_LAYOUTS[name](StateBounds.of(hand, name, palm.numpy())).double()
    state = layout.encode(palm, q)
    assert state.shape == (50, layout.size)
    assert layout.size == len(lower) + (3 if layout.turned else 9)
    assert state.abs().max() <= 1.0 + 1e-6
    back = layout.decode(state, palm[:, :3, :3] if layout.turned else None)
    torch.testing.assert_close(back[0], palm, rtol=0.0, atol=1e-7)
    torch.testing.assert_close(back[1], q, rtol=0.0, atol=1e-7)


def test_a_turned_object_leaves_the_state_as_it_was() -> None:
    layout = network("object_rotated_27d").layout
    palm, q = grasps(10)
    turn = torch.eye(4)
    turn[:3, :3] = rotation_of(torch.tensor([0.3, -0.5, 0.2, 0.8]))
    torch.testing.assert_close(layout.encode(turn @ palm, q), layout.encode(palm, q), rtol=0.0, atol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_losses_are_finite_and_reach_every_parameter(layout: str) -> None:
    made = network(layout, text_width=7).train()
    palm, q = grasps(6)
    terms = made.loss(
        clouds(2), torch.tensor([0, 1, 0, 1, 1, 0]), palm, q, torch.Generator().manual_seed(0),
        HandPhysics(HAND, PhysicsConfig(samples=64)), text=torch.ones(2, 7),
    )  # fmt: skip
    assert set(terms) == {"diffusion", "pulling", "penetration", "self_penetration", "object_penetration"}
    assert all(torch.isfinite(term) and term >= 0.0 for term in terms.values())
    sum(terms.values()).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradient_of_the_loss_is_that_of_its_differences(layout: str, schedule: str) -> None:
    made = network(layout, schedule).double()
    palm, q = (array.double() for array in grasps(4))
    cloud = clouds(2).double()
    sampling = sample_cloud(cloud, ENCODER)
    physics = HandPhysics(HAND, PhysicsConfig(samples=64), dtype=torch.float64)
    weight = made.denoiser.enter.weight

    def loss() -> Tensor:
        generator = torch.Generator().manual_seed(0)
        terms = made.loss(cloud, torch.tensor([0, 1, 1, 0]), palm, q, generator, physics, samplings=sampling)
        return torch.stack(list(terms.values())).sum()

    (gradient,) = torch.autograd.grad(loss(), weight)
    way = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = 1e-6
    with torch.no_grad():
        weight += step * way
        upper = loss()
        weight -= 2.0 * step * way
        lower = loss()
        weight += step * way
    assert (gradient * way).sum().item() == pytest.approx((upper - lower).item() / (2.0 * step), rel=1e-4)


def test_weights_of_physics_scale_its_terms() -> None:
    made, (palm, q) = network(), grasps(6)

    def terms(config: PhysicsConfig | None) -> dict[str, Tensor]:
        physics = None if config is None else HandPhysics(HAND, config)
        return made.loss(
            clouds(1), torch.zeros(6, dtype=torch.long), palm, q, torch.Generator().manual_seed(2), physics
        )

    none, once, twice = terms(None), terms(PhysicsConfig(samples=64)), terms(PhysicsConfig(2.0, 2.0, 2.0, samples=64))
    assert list(none) == ["diffusion"]
    assert once["diffusion"] == none["diffusion"]
    for name in ("pulling", "penetration", "self_penetration", "object_penetration"):
        torch.testing.assert_close(twice[name], 2.0 * once[name])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_learns_the_grasps_of_one_object(layout: str) -> None:
    made = network(layout).train()
    palm, q = (array.repeat(4, *[1] * (array.ndim - 1)) for array in grasps(4))
    cloud, sampling = clouds(1), sample_cloud(clouds(1), ENCODER)
    generator = torch.Generator().manual_seed(0)
    descent = torch.optim.Adam(made.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        terms = made.loss(cloud, torch.zeros(16, dtype=torch.long), palm, q, generator, samplings=sampling)
        descent.zero_grad()
        terms["diffusion"].backward()
        descent.step()
        losses.append(terms["diffusion"].item())
    assert np.mean(losses[-20:]) < 0.75 * np.mean(losses[:5])
