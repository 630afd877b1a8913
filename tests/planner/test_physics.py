"""Pulling, penetration and self-penetration against closed forms, and their gradients against finite differences."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_planner.physics import terms
from dexgrasp_planner.physics.constraints import (
    PHYSICS_PRESETS,
    HandPhysics,
    PhysicsConfig,
    UnknownPhysicsError,
    physics_preset,
)
from dexgrasp_planner.physics.hand_solids import HandSolids
from dexgrasp_planner.physics.terms import (
    Surface,
    deepest,
    external_penetration,
    nearest,
    object_penetration,
    self_penetration,
    surface_pulling,
)
from torch import Tensor

from dexgrasp_description import load_hand

RADIUS = 0.04
HANDS = ("leap_right", "panda_gripper", "shadow_right", "allegro_right")


def plane() -> Surface:
    """z = 0, a point every millimetre, facing up."""
    steps = torch.linspace(-0.05, 0.05, 101, dtype=torch.float64)
    x, y = torch.meshgrid(steps, steps, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten(), torch.zeros(101 * 101)])[None]
    normals = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)[None, :, None].expand_as(points)
    return Surface(points, normals)


def ball(count: int = 2000, middle: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Surface:
    directions = torch.nn.functional.normalize(
        torch.randn(3, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=0
    )
    return Surface((torch.tensor(middle)[:, None] + RADIUS * directions)[None], directions[None])


def above(heights: list[float]) -> Tensor:
    """Points over nodes of the plane: (1, 3, P)."""
    x = torch.arange(len(heights), dtype=torch.float64) * 0.003
    return torch.stack([x, 0.01 * torch.ones(len(heights)), torch.tensor(heights, dtype=torch.float64)])[None]


def test_pulling_is_the_mean_distance_of_what_is_near() -> None:
    hands = torch.cat([above([0.010, 0.004, 0.030]), above([0.019, -0.005, 0.001]), above([0.05, 0.04, 0.03])])
    expected = [0.007, (0.019 + 0.005 + 0.001) / 3, 0.0]
    assert surface_pulling(hands, plane(), 0.02).tolist() == pytest.approx(expected, abs=1e-12)


def test_pulling_at_a_ball_is_the_distance_from_its_surface() -> None:
    surface = ball()
    direction = surface.normals[0, :, :50]
    for distance in (-0.008, 0.0, 0.013):
        points = (RADIUS + distance) * direction
        assert surface_pulling(points[None], surface, 0.02).item() == pytest.approx(abs(distance), abs=1e-6)


def test_penetration_is_the_depth_below_a_plane() -> None:
    hands = torch.cat([above([0.01, -0.004, -0.006]), above([0.01, 0.02, 0.03])])
    assert external_penetration(hands, plane(), "deepest").tolist() == pytest.approx([0.006, 0.0], abs=1e-12)
    assert external_penetration(hands, plane(), "mean").tolist() == pytest.approx([0.010 / 3, 0.0], abs=1e-12)


def test_penetration_of_a_ball_is_the_depth_in_it() -> None:
    surface = ball()
    direction = surface.normals[0, :, :40]
    depths = torch.linspace(-0.02, 0.02, 40, dtype=torch.float64)  # those below zero are outside
    points = ((RADIUS - depths) * direction)[None]
    assert external_penetration(points, surface).item() == pytest.approx(0.02, abs=1e-9)
    inside = depths.clamp_min(0.0).mean().item()
    assert external_penetration(points, surface, "mean").item() == pytest.approx(inside, abs=1e-9)


def test_each_hand_may_have_a_surface_of_its_own() -> None:
    near, far = ball(), ball(middle=(0.0, 0.0, 0.3))
    both = Surface(torch.cat([near.points, far.points]), torch.cat([near.normals, far.normals]))
    hands = torch.randn(2, 3, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.02
    together = external_penetration(hands, both)
    assert together[0] == external_penetration(hands[:1], near)[0] > 0.0
    assert together[1] == external_penetration(hands[1:], far)[0] == 0.0


def test_self_penetration_counts_what_is_missing_in_both_orders() -> None:
    centres = torch.tensor([[[0.0, 0.015, 0.1], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    pairs, least = torch.tensor([[0, 1], [0, 2], [1, 2]]), torch.tensor([0.02, 0.02, 0.09], dtype=torch.float64)
    assert self_penetration(centres, pairs, least).item() == pytest.approx(2.0 * (0.005 + 0.005), abs=1e-12)


def test_nearest_points_are_nearest_also_far_from_the_origin_and_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    points = torch.randn(7, 3, 40, generator=generator) * 0.1
    surface = torch.randn(7, 3, 60, generator=generator) * 0.1
    distance = torch.cdist(points.transpose(1, 2), surface.transpose(1, 2))
    expected = distance.argmin(dim=2)
    shared = torch.cdist(points.transpose(1, 2), surface[:1].transpose(1, 2)).argmin(dim=2)
    near = distance.amin(dim=2) < 0.03
    assert 20 < near.sum() < 260
    assert torch.equal(nearest(points, surface, 0.03)[near], expected[near])
    for found in (nearest, terms._nearest_by_products):  # on the CPU, and as accelerators have it
        assert torch.equal(found(points, surface), expected)
        assert torch.equal(found(points, surface[:1]), shared)
        far = torch.tensor([1.0, -2.0, 0.5])[:, None]
        assert (found(points + far, surface + far) == expected).float().mean() > 0.99  # of float32's last digits
    monkeypatch.setattr(terms, "_MOST", 2 * 40 * 60)
    assert torch.equal(terms._nearest_by_products(points, surface), expected)


def test_the_deepest_point_is_the_deepest_of_all() -> None:
    outer = 0.05 * torch.randn(20, 3, 200, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for surface in (ball(400), plane()):
        depths = torch.stack([external_penetration(outer[:, :, i : i + 1], surface) for i in range(outer.shape[2])], 1)
        assert torch.equal(external_penetration(outer, surface), depths.amax(dim=1))
        assert torch.equal(deepest(outer, surface), depths.argmax(dim=1))


def test_some_points_of_a_hand_are_those_of_all() -> None:
    hand = load_hand("shadow_right")
    points = HandPhysics(hand, dtype=torch.float64).outer
    q = torch.as_tensor(hand.home + 0.1)[None].repeat(3, 1)
    palm = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    palm[:, :3, 3] = torch.randn(3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    row, point = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 700, 3, 3, 1500, 20])
    expected = points.in_world(palm, q)[row, :, point]
    torch.testing.assert_close(points.some_placed(points.poses(palm, q), row, point), expected)


@pytest.mark.parametrize("name", HANDS)
def test_the_object_is_as_deep_in_a_link_as_its_solids_tell(name: str) -> None:
    """Points strewn over the hand: the deepest in each link, where it is, and the place on its solids nearest to it."""
    hand = load_hand(name)
    kinematics = ForwardKinematics(hand, dtype=torch.float64)
    solids = HandSolids(hand, kinematics.link_names, torch.float64)
    rng = np.random.default_rng(5)
    q = torch.as_tensor(rng.uniform(hand.lower, hand.upper, (3, len(hand.joint_names))))
    poses = kinematics.stacked_poses(q)
    poses[:, :, :3, 3] += torch.as_tensor(rng.normal(size=(3, 1, 3)))
    points = poses[:, :, :3, 3].mT.repeat(1, 1, 40)
    points += torch.as_tensor(rng.normal(scale=0.02, size=points.shape))
    found = solids.deepest(poses, points)
    for row, link in np.ndindex(*found.depth.shape):
        own = [solid for solid in hand.primitives_of(kinematics.link_names[link]) if solid.kind != "cylinder"]
        if len(own) < len(hand.primitives_of(kinematics.link_names[link])) or not own:
            continue
        turn, at = poses[row, link, :3, :3].numpy(), poses[row, link, :3, 3].numpy()
        local = (points[row].numpy().T - at) @ turn
        inside = -np.array([solid.signed_distance(local) for solid in own])
        assert found.depth[row, link].item() == pytest.approx(max(0.0, inside.max()), abs=1e-9)
        if found.depth[row, link] > 0.0:
            which, place = found.which[row, link], found.place[row, link].numpy()
            assert which == inside.max(axis=0).argmax()
            assert np.linalg.norm(place - local[which]) == pytest.approx(inside.max(), abs=1e-9)
            assert min(abs(solid.signed_distance(place[None])[0]) for solid in own) < 1e-9
    for mine, others in zip(found, solids._deepest_of_all(poses, points), strict=True):  # as accelerators have it
        torch.testing.assert_close(mine, others)
    assert (found.depth > 0.0).sum() >= 6


def test_a_point_below_a_finger_s_pad_is_as_deep_in_the_hand() -> None:
    hand = load_hand("panda_gripper")
    link = hand.fingertips[0].link
    kinematics = ForwardKinematics(hand, dtype=torch.float64)
    number = list(kinematics.link_names).index(link)
    pose = kinematics.stacked_poses(torch.zeros(1, len(hand.joint_names), dtype=torch.float64))
    points, normals = (values[0] for values in hand.contact_points[link])
    below = torch.as_tensor(points - 0.001 * normals)
    world = pose[0, number, :3, :3] @ below + pose[0, number, :3, 3]
    surface = Surface(world[None, :, None], torch.zeros(1, 3, 1, dtype=torch.float64))
    found = object_penetration(pose, surface, HandSolids(hand, kinematics.link_names, torch.float64))
    assert found.item() == pytest.approx(0.001, abs=1e-6)


@pytest.mark.parametrize("config", [PHYSICS_PRESETS["paper"], PHYSICS_PRESETS["tuned"]], ids=["paper", "tuned"])
@pytest.mark.parametrize("name", HANDS)
def test_gradients_are_those_of_finite_differences(name: str, config: PhysicsConfig) -> None:
    """In pose and joints of hands around a ball, of every term: central differences along random directions."""
    hand = load_hand(name)
    wanted = replace(config, samples=200, object_penetration=1.0)
    physics, surface = HandPhysics(hand, wanted, torch.float64), ball(400)
    rng = np.random.default_rng(3)
    count, joints = 6, len(hand.joint_names)
    q = torch.as_tensor(hand.lower + (hand.upper - hand.lower) * rng.uniform(0.2, 0.8, (count, joints)))
    approach = torch.as_tensor(np.array(hand.approach_axis))
    start = -(RADIUS + torch.as_tensor(rng.uniform(0.0, 0.06, (count, 1)))) * approach

    def values(position: Tensor, turn: Tensor, q: Tensor) -> Tensor:
        unit = torch.eye(4, dtype=torch.float64).expand(count, 4, 4)
        skew = torch.linalg.cross(turn[:, None].expand(-1, 3, -1), unit[:, :3, :3]).transpose(1, 2)
        top = torch.cat([torch.matrix_exp(skew), position[..., None]], dim=2)
        poses = torch.cat([top, unit[:, 3:]], dim=1)
        found = physics(poses, q, surface)
        return torch.stack([getattr(found, term.name) for term in fields(found)])

    turn = torch.as_tensor(rng.normal(scale=0.3, size=(count, 3)))
    variables = [value.clone().requires_grad_() for value in (start, turn, q)]
    here = values(*variables)
    met = here[[0, 1, 3]].detach().amax(dim=1) > 1e-4
    assert met.all(), "some hand is pulled, some is in the object, and the object is in some"
    for term in range(4):
        gradients = torch.autograd.grad(here[term].sum(), variables, retain_graph=True, allow_unused=True)
        for _ in range(3):
            ways = [torch.as_tensor(rng.normal(size=tuple(value.shape))) for value in variables]
            slope = sum((g * w).sum() for g, w in zip(gradients, ways, strict=True) if g is not None)
            step = 1e-7
            with torch.no_grad():
                ahead, behind = (
                    values(*[value + sign * step * way for value, way in zip(variables, ways, strict=True)])[term].sum()
                    for sign in (1.0, -1.0)
                )
            assert float((ahead - behind) / (2 * step)) == pytest.approx(float(slope), rel=1e-4, abs=1e-6)


def test_a_point_on_the_surface_has_a_gradient_that_is_a_number() -> None:
    points = ball().points[..., :5].clone().requires_grad_()
    (surface_pulling(points, ball(), 0.02) + external_penetration(points, ball())).sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()


def test_weights_are_those_of_the_preset() -> None:
    hand, surface = load_hand("leap_right"), ball()
    poses, q = torch.eye(4, dtype=torch.float64)[None], torch.zeros(1, 16, dtype=torch.float64)
    poses[0, :3, 3] = -0.05 * torch.as_tensor(np.array(hand.approach_axis))
    config = physics_preset("paper_sampling")
    found = HandPhysics(hand, config, torch.float64)(poses, q, surface)
    expected = found.pulling + 0.3 * found.penetration + found.self_penetration
    torch.testing.assert_close(found.weighted(config), expected)
    assert found.weighted(physics_preset("none")).item() == 0.0
    some = physics_preset("paper_sampling/srf/erf")
    torch.testing.assert_close(found.weighted(some), 0.3 * found.penetration + found.self_penetration)
    for unknown in ("magic", "paper/magic"):
        with pytest.raises(UnknownPhysicsError, match="magic.*paper"):
            physics_preset(unknown)
