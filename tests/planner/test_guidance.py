"""Guided sampling goes down what it says it goes down, stops in time, and without energy goes where sampling goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from dexgrasp_common.transforms import apply, invert, look_at
from dexgrasp_planner.generators import SceneCloud
from dexgrasp_planner.guidance import Guide, GuideConfig, displaced, palms
from dexgrasp_planner.learned import LearnedConfig, LearnedGenerator, Sampled
from dexgrasp_planner.network.diffusion_head import DiffusionConfig, DiffusionHead, Told
from dexgrasp_planner.network.flow_sampling import FLOW_PRESETS, sample_flow
from dexgrasp_planner.network.grasp_heads import TRANSLATION_UNIT, Grasps
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from dexgrasp_planner.network.rotations import ROTATION_CODES
from dexgrasp_planner.physics.scene_energy import EnergyConfig, SceneEnergy
from dexgrasp_planner.scene_field import FieldConfig, SceneField
from torch import Tensor

from dexgrasp_description import GraspSet, load_hand

from .cylinder_scene import CylinderScene
from .test_flow_sampling import normal_flow

HAND = load_hand("leap_right")
WORLD_T_CAMERA = look_at([0.1, 0.0, 0.6], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0])
LATE = 0.3  # an angle at which grasps are guided [rad]


def as_sampled(grasps: GraspSet, dtype: torch.dtype) -> tuple[Grasps, Tensor]:
    """The grasps as a head gives them, and their seeds [m], camera frame."""
    camera_T_palm = invert(WORLD_T_CAMERA) @ grasps.world_T_palm
    seed = torch.tensor(apply(invert(WORLD_T_CAMERA), grasps.seed_point), dtype=dtype)
    pose = torch.tensor(camera_T_palm, dtype=dtype)
    joints = torch.tensor(grasps.grasp, dtype=dtype)
    translation = (pose[:, :3, 3] - seed) / TRANSLATION_UNIT
    return Grasps(pose[:, :3, :3], translation, joints, torch.zeros(len(grasps), dtype=torch.long)), seed


def deep(scene: CylinderScene) -> GraspSet:
    """Grasps that are a centimetre off, fingers in the cylinder or away from it."""
    rng = np.random.default_rng(1)
    palm = scene.grasps.world_T_palm.copy()
    palm[:, :3, 3] += rng.uniform(-0.01, 0.01, (len(palm), 3))
    return replace(scene.grasps, world_T_palm=palm)


def told_by(grasps: Grasps) -> Told:
    """Joints that follow the pose in some smooth way, as those of a head do."""
    generator = torch.Generator().manual_seed(0)
    dtype, count = grasps.joints.dtype, grasps.joints.shape[1]
    turning = 0.1 * torch.randn(9, count, generator=generator, dtype=torch.float64).to(dtype)
    moving = 0.1 * torch.randn(3, count, generator=generator, dtype=torch.float64).to(dtype)
    start = grasps.rotation.flatten(1) @ turning + grasps.translation @ moving

    def told(rotation: Tensor, translation: Tensor) -> Tensor:
        return grasps.joints + rotation.flatten(1) @ turning + translation @ moving - start

    return told


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("free", [True, False])
def test_the_gradient_is_that_of_finite_differences(cylinder_scene: CylinderScene, *, hidden: bool, free: bool) -> None:
    space = cylinder_scene.space
    grasps, seed = as_sampled(deep(cylinder_scene), torch.float64)
    grasps = grasps._replace(joints=grasps.joints + 0.3)  # some beyond their limits
    energy = SceneEnergy(HAND, EnergyConfig(hidden=hidden), torch.float64)
    told = None if free else told_by(grasps)
    target = space.owner(cylinder_scene.grasps.seed_point)

    def at(change: Tensor) -> Tensor:
        moved = displaced(grasps, told, change)
        return energy(space, torch.tensor(WORLD_T_CAMERA) @ palms(moved, seed), moved.joints, target)

    change = torch.zeros(len(seed), 22 if free else 6, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(at(change).sum(), change)
    assert gradient.abs().amax(dim=0).min() > 1e-6, "everything counts"
    h = 1e-7
    with torch.no_grad():
        for column in range(change.shape[1]):
            step = torch.zeros_like(change)
            step[:, column] = h
            slope = (at(step) - at(-step)) / (2.0 * h)
            torch.testing.assert_close(slope, gradient[:, column], atol=1e-6, rtol=1e-4)


def test_every_part_of_the_energy_counts_what_it_says(cylinder_scene: CylinderScene) -> None:
    space, grasps = cylinder_scene.space, cylinder_scene.grasps
    palm, q = torch.tensor(grasps.world_T_palm), torch.tensor(grasps.grasp)
    nothing = EnergyConfig(pulling=0.0, penetration=0.0, self_penetration=0.0, limits=0.0)

    def only(palm: Tensor, q: Tensor, target: np.ndarray | None = None, **changes: float) -> Tensor:
        return SceneEnergy(HAND, replace(nothing, **changes), torch.float64)(space, palm, q, target)  # type: ignore[arg-type]

    assert (only(palm, q) == 0.0).all()
    assert (only(palm, q, limits=1.0) == 0.0).all()
    torch.testing.assert_close(
        only(palm, torch.tensor(HAND.upper).expand_as(q) + 0.1, limits=1.0), torch.full((len(q),), 1.6, dtype=q.dtype)
    )
    assert (only(palm, q, pulling=1.0) > 0.0).all()
    assert (only(palm, q, np.full(len(q), 7), pulling=1.0) == 0.0).all(), "another object does not pull"
    low = palm.clone()
    low[:, 2, 3] -= 0.04
    filled, seen = only(low, q, penetration=1.0), only(low, q, penetration=1.0, hidden=False)
    assert (filled >= seen).all()
    assert (filled > seen).any(), "less is in the way where only what was seen is"
    assert (seen > 0.0).all()


def steered(cylinder_scene: CylinderScene, guide: Guide, grasps: Grasps, seed: Tensor, times: int) -> Grasps:
    target = cylinder_scene.space.owner(cylinder_scene.grasps.seed_point)
    steer = guide.steering(cylinder_scene.space, WORLD_T_CAMERA, seed, target)
    for _ in range(times):
        grasps = steer(grasps, None, LATE)
    return grasps


def test_the_time_is_kept(cylinder_scene: CylinderScene) -> None:
    grasps, seed = as_sampled(deep(cylinder_scene), torch.float32)
    now = iter(0.01 * np.arange(100))  # every look at the clock takes 10 ms
    steps = []
    guide = Guide(HAND, GuideConfig(budget=55.0), clock=lambda: next(now))
    steer = guide.steering(cylinder_scene.space, WORLD_T_CAMERA, seed, np.zeros(len(seed), dtype=np.intp))
    for _ in range(10):
        moved = steer(grasps, None, LATE)
        steps.append(moved is not grasps)
        grasps = moved
    assert steps == 5 * [True] + 5 * [False]
    early = Guide(HAND).steering(cylinder_scene.space, WORLD_T_CAMERA, seed, np.zeros(len(seed), dtype=np.intp))
    assert early(grasps, None, 1.0) is grasps, "in much noise nothing is known of the grasp"


def test_what_is_no_number_stays_so_and_leaves_the_others_alone(cylinder_scene: CylinderScene) -> None:
    grasps, seed = as_sampled(deep(cylinder_scene), torch.float32)
    broken = Grasps(*(part.clone() for part in grasps))
    broken.rotation[3], broken.translation[4], broken.joints[5] = torch.nan, torch.inf, torch.nan
    fine = [0, 1, 2, 6, 7, 8, 9]
    alone, together = (steered(cylinder_scene, Guide(HAND), some, seed, 1) for some in (grasps, broken))
    for part, other in zip(alone, together, strict=True):
        torch.testing.assert_close(part[fine], other[fine])
    assert together.rotation[3].isnan().all()
    assert not together.translation[4].isfinite().any()
    assert together.joints[5].isnan().all()


def test_a_flow_that_is_steered_by_nothing_is_the_flow_and_one_that_is_steered_ends_there() -> None:
    noise = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wanted = torch.tensor([0.6, -1.1, 0.4], dtype=torch.float64)
    for preset in FLOW_PRESETS.values():
        plain = sample_flow(normal_flow, noise, preset)
        still = sample_flow(normal_flow, noise, preset, lambda clean, angle: torch.zeros_like(clean))
        torch.testing.assert_close(still.samples, plain.samples, atol=0.0, rtol=0.0)
        torch.testing.assert_close(still.log_likelihood, plain.log_likelihood, atol=0.0, rtol=0.0)
        there = sample_flow(normal_flow, noise, preset, lambda clean, angle: wanted - clean)
        torch.testing.assert_close(there.samples, wanted.expand_as(noise), atol=0.02, rtol=0.0)


@pytest.mark.parametrize("model", ["decomposed", "typed", "joint"])
@pytest.mark.parametrize("rotation", sorted(ROTATION_CODES))
def test_every_head_can_be_steered(model: str, rotation: str) -> None:
    torch.manual_seed(0)
    head = DiffusionHead(512, 16, DiffusionConfig(model, rotation, kinds=2))  # type: ignore[arg-type]
    feature = torch.randn(5, 512)
    generator = torch.Generator().manual_seed(0)
    first = head.propose(feature, generator, "fast")
    assert first.noise is not None
    kind = first.grasps.kind
    same = head.steered(feature, kind, first.noise, "fast", lambda grasps, told, angle: grasps)
    for part, other in zip(first.grasps, same, strict=True):
        torch.testing.assert_close(part, other, atol=0.0, rtol=0.0)

    def higher(grasps: Grasps, told: Told | None, angle: float) -> Grasps:
        assert (told is None) == (model == "joint")
        change = torch.zeros(5, 22 if told is None else 6)
        change[:, 2] = 0.05 * (angle < LATE)
        return displaced(grasps, told, change)

    moved = head.steered(feature, kind, first.noise, "fast", higher)
    assert (moved.translation[:, 2] > first.grasps.translation[:, 2] + 0.04).all()


@pytest.fixture(scope="module")
def sampled(cylinder_scene: CylinderScene) -> tuple[LearnedGenerator, Sampled]:
    """What an untrained network samples about the cylinder."""
    torch.manual_seed(0)
    network = GraspNetwork(16, NetworkConfig(backbone="small")).eval()
    torch.nn.init.zeros_(network.graspable.weight)
    network.graspable.bias.data = torch.tensor([0.0, 1.0, 0.5])
    generator = LearnedGenerator(HAND, network, LearnedConfig(points=5000, seeds=64, guide=GuideConfig(start=0.6)))
    cloud = apply(invert(WORLD_T_CAMERA), cylinder_scene.cloud).astype(np.float32)
    return generator, generator.sample(SceneCloud(cloud, WORLD_T_CAMERA), 3)


def inside(space: SceneField, grasps: GraspSet) -> np.ndarray:
    """Mean depth (N,) of the hand's points in the scene [m]."""
    config = EnergyConfig(pulling=0.0, penetration=1.0, self_penetration=0.0, limits=0.0)
    energy = SceneEnergy(HAND, config, torch.float64)
    return energy(space, torch.tensor(grasps.world_T_palm), torch.tensor(grasps.grasp)).numpy()


def test_guided_samples_are_less_deep_in_the_scene(sampled: tuple[LearnedGenerator, Sampled]) -> None:
    generator, first = sampled
    rows = np.arange(len(first.grasps))
    kept, guided = generator.sampled_again(first, rows)
    np.testing.assert_array_equal(kept, rows)
    before, after = inside(first.space, first.grasps), inside(first.space, guided)
    assert before.mean() > 5e-4
    assert after.mean() < 0.6 * before.mean()
    np.testing.assert_array_equal(guided.log_likelihood, first.grasps.log_likelihood)
    np.testing.assert_allclose(guided.seed_point, first.grasps.seed_point, atol=1e-12)
    assert (guided.grasp >= HAND.lower).all()
    assert (guided.grasp <= HAND.upper).all()
    kept, some = generator.sampled_again(first, np.array([5, 9]))
    np.testing.assert_array_equal(kept, [0, 1])
    np.testing.assert_allclose(some.world_T_palm, guided.world_T_palm[[5, 9]], atol=1e-4)


def test_without_energy_samples_are_what_they_were(sampled: tuple[LearnedGenerator, Sampled]) -> None:
    generator, first = sampled
    still = LearnedGenerator(HAND, generator._network, replace(generator._config, guide=GuideConfig(most=0.0)))
    _, again = still.sampled_again(first, np.arange(len(first.grasps)))
    np.testing.assert_allclose(again.world_T_palm, first.grasps.world_T_palm, atol=1e-6)
    np.testing.assert_allclose(again.grasp, first.grasps.grasp, atol=1e-5)


def test_a_sample_that_is_lost_on_the_way_is_left_out(sampled: tuple[LearnedGenerator, Sampled]) -> None:
    generator, first = sampled
    assert first.origin is not None
    assert first.origin.proposed.noise is not None
    noise = first.origin.proposed.noise.clone()
    noise[7] = torch.nan
    proposed = first.origin.proposed._replace(noise=noise)
    broken = Sampled(first.grasps, 64, first.space, np.zeros(64), first.origin._replace(proposed=proposed))
    kept, guided = generator.sampled_again(broken, np.array([6, 7, 8]))
    np.testing.assert_array_equal(kept, [0, 2])
    assert np.isfinite(guided.world_T_palm).all()


def test_a_field_knows_what_was_seen(cylinder_scene: CylinderScene) -> None:
    top = cylinder_scene.cloud[cylinder_scene.cloud[:, 2] > 0.115].astype(np.float32)
    space = SceneField.seen_from(top, FieldConfig(), None)
    places = torch.tensor([[0.0, 0.0, 0.12], [0.0, 0.0, 0.06], [0.0, 0.0, 0.2]]).T[None]
    assert space.seen(places).tolist() == [[True, False, False]]
    assert space.distance(places)[0, 1] < 0.0, "but it takes what is below for filled"
