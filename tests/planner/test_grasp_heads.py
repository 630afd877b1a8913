"""Heads propose what they know, and know no more than they can represent."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from dexgrasp_planner.network.cvae_head import CvaeHead
from dexgrasp_planner.network.diffusion_head import DiffusionConfig, DiffusionHead
from dexgrasp_planner.network.grasp_heads import GRASP_HEADS, Grasps, ResidualMLP
from dexgrasp_planner.network.regression_head import RegressionHead
from dexgrasp_planner.network.rotations import ROTATION_CODES, rotation_of
from dexgrasp_planner.network.schedule import angles
from dexgrasp_planner.network.velocity_field import Flow
from torch import Tensor

FEATURES, JOINTS = 8, 4
HEADS: dict[str, Any] = {
    "decomposed": lambda: DiffusionHead(FEATURES, JOINTS),
    "typed": lambda: DiffusionHead(FEATURES, JOINTS, DiffusionConfig(model="typed", kinds=2)),
    "joint": lambda: DiffusionHead(FEATURES, JOINTS, DiffusionConfig(model="joint", rotation="sixd")),
    "regression": lambda: RegressionHead(FEATURES, JOINTS),
    "cvae": lambda: CvaeHead(FEATURES, JOINTS),
}


def about_z(angle: Tensor) -> Tensor:
    return rotation_of(torch.stack([torch.cos(angle / 2), 0 * angle, 0 * angle, torch.sin(angle / 2)], dim=-1))


def scene(count: int, generator: torch.Generator, *, wrists: int = 1, postures: int = 1) -> tuple[Tensor, Grasps]:
    """Features, and grasps that follow from them but for which wrist and which posture: these are drawn."""
    feature = torch.nn.functional.pad(torch.randn(count, 3, generator=generator), (0, FEATURES - 3))
    wrist = torch.randint(wrists, (count,), generator=generator)
    posture = torch.randint(postures, (count,), generator=generator)
    side = 1.0 - 2.0 * wrist
    rotation = about_z(side * (0.8 + 0.2 * torch.tanh(feature[:, 0])))
    translation = torch.stack([side, torch.tanh(feature[:, 1]), torch.zeros(count)], dim=-1)
    joints = torch.full((count, JOINTS), 0.5) + 0.8 * posture[:, None] + 0.1 * torch.tanh(feature[:, 2:3])
    return feature, Grasps(rotation, translation, joints, posture)


class KnownField:
    """The velocity field of data that is one sample, `x0` (B, C): as head and as conditioned field."""

    def __init__(self, x0: Tensor) -> None:
        self.x0, self.channels = x0, x0.shape[-1]

    def conditioned(self, feature: Tensor) -> KnownField:
        return self

    def __call__(self, x: Tensor, *condition: Any) -> Any:
        at_once = isinstance(condition[-1], int)
        angle = angles()[condition[-1]].to(x)
        angle = angle if at_once else angle[:, None]
        moving = (torch.cos(angle) * x - self.x0) / torch.sin(angle)
        return Flow(moving, x.new_zeros(len(x))) if at_once else moving


def written(grasps: Grasps, config: DiffusionConfig) -> Tensor:
    parts = [ROTATION_CODES[config.rotation].encode(grasps.rotation), grasps.translation]
    return torch.cat([*parts, grasps.joints] if config.model == "joint" else parts, dim=-1)


@pytest.mark.parametrize("model", ["decomposed", "typed", "joint"])
@pytest.mark.parametrize("rotation", ROTATION_CODES)
def test_what_the_diffusion_knows_is_what_it_proposes(model: Any, rotation: str) -> None:
    config = DiffusionConfig(model=model, rotation=rotation, kinds=2)
    feature, grasps = scene(6, torch.Generator().manual_seed(0))
    head = DiffusionHead(FEATURES, JOINTS, config)
    del head.policy
    head.policy = KnownField(written(grasps, config))  # type: ignore[assignment]
    assert head.losses(feature, grasps, [torch.Generator().manual_seed(1)])["diffusion"] < 1e-8
    other = grasps._replace(translation=grasps.translation + 0.1)
    assert head.losses(feature, other, [torch.Generator().manual_seed(1)])["diffusion"] > 1e-4
    told = head.propose(feature, torch.Generator().manual_seed(2), "fast").grasps
    torch.testing.assert_close(told.rotation, grasps.rotation, atol=1e-3, rtol=0.0)
    torch.testing.assert_close(told.translation, grasps.translation, atol=1e-3, rtol=0.0)
    if model == "joint":
        torch.testing.assert_close(told.joints, grasps.joints, atol=1e-3, rtol=0.0)


def trained(head: Any, terms: set[str], rounds: int = 250, **kinds: int) -> Any:
    """After so many steps on the named terms."""
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(head.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, rounds)
    for _ in range(rounds):
        losses = head.losses(*scene(64, generator, **kinds), [generator])
        optimiser.zero_grad()
        sum(losses[term] for term in terms).backward()
        optimiser.step()
        schedule.step()
    return head


def proposed_by(head: Any) -> tuple[Grasps, Grasps]:
    """What a head proposes for new features, and the first of the grasps that they may have."""
    feature, grasps = scene(300, torch.Generator().manual_seed(2))
    return head.propose(feature, torch.Generator().manual_seed(3), "fast").grasps, grasps


@pytest.mark.parametrize(("name", "error"), [("regression", 0.1), ("cvae", 0.3)])
def test_one_grasp_is_learnt(name: str, error: float) -> None:
    torch.manual_seed(0)
    told, grasps = proposed_by(trained(HEADS[name](), {"regression"} | ({"divergence"} if name == "cvae" else set())))
    turned = torch.einsum("bij,bij->b", told.rotation, grasps.rotation)
    assert torch.arccos(((turned - 1.0) / 2.0).clamp(-1.0, 1.0)).median() < error
    assert (told.translation - grasps.translation).norm(dim=-1).median() < 3.0 * error
    assert (told.joints - grasps.joints).abs().median() < error


def test_of_two_wrists_a_regression_proposes_neither() -> None:
    torch.manual_seed(0)
    told, _ = proposed_by(trained(HEADS["regression"](), {"regression"}, wrists=2))
    assert told.translation[:, 0].abs().median() < 0.5


@pytest.mark.parametrize(("name", "knows"), [("decomposed", False), ("typed", True)])
def test_two_postures_of_one_wrist_need_a_kind_each(name: str, knows: bool) -> None:
    torch.manual_seed(0)
    head = HEADS[name]()
    trained(head, {"joints", "kind"} if knows else {"joints"}, postures=2)
    feature, grasps = scene(300, torch.Generator().manual_seed(2))
    del head.policy
    head.policy = KnownField(written(grasps, head.config))  # the wrist is not in question
    told = head.propose(feature, torch.Generator().manual_seed(3), "fast").grasps
    joint = told.joints.mean(dim=-1)
    near = (torch.minimum((joint - 0.5).abs(), (joint - 1.3).abs()) < 0.2).float().mean()
    assert near > 0.8 if knows else near < 0.3
    if knows:
        assert ((joint > 0.9).long() == told.kind).float().mean() > 0.9
        assert 0.3 < told.kind.float().mean() < 0.7


@pytest.mark.parametrize("name", HEADS)
def test_the_same_seed_gives_the_same_grasps_and_no_seeds_give_none(name: str) -> None:
    torch.manual_seed(0)
    head = HEADS[name]()
    feature = torch.randn(5, FEATURES)
    first, again, other = (
        head.propose(feature, torch.Generator().manual_seed(seed), "fast").grasps.translation for seed in (1, 1, 2)
    )
    torch.testing.assert_close(first, again, rtol=0.0, atol=0.0)
    assert name == "regression" or not torch.equal(first, other)
    nothing = head.propose(feature[:0], torch.Generator(), "fast")
    assert nothing.grasps.joints.shape == (0, JOINTS)


@pytest.mark.parametrize("rotation", ROTATION_CODES)
def test_any_way_of_writing_rotations_trains(rotation: str) -> None:
    head = DiffusionHead(FEATURES, JOINTS, DiffusionConfig(rotation=rotation))
    generator = torch.Generator().manual_seed(0)
    terms = head.losses(*scene(16, generator), [generator])
    assert set(terms) == {"diffusion", "joints"}
    sum(terms.values()).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in head.parameters())
    assert head.propose(torch.randn(3, FEATURES), generator, "fast").grasps.rotation.shape == (3, 3, 3)


def test_the_joint_mlp_has_the_authors_entries() -> None:
    shapes = {name: tuple(value.shape) for name, value in ResidualMLP(524, 16).state_dict().items()}
    assert shapes["net.initial_layer.weight"] == (64, 524)
    assert shapes["net.blocks.1.linear_layers.1.weight"] == (64, 64)
    assert shapes["net.final_layer.bias"] == (16,)
    assert len(shapes) == 12
    assert sum(math.prod(shape) for shape in shapes.values()) == 51_280


def test_every_head_can_be_made_by_name() -> None:
    for name, _ in GRASP_HEADS:
        assert isinstance(GRASP_HEADS.create(name, FEATURES, JOINTS), torch.nn.Module)
