"""Energies: closed forms, and every derivative against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_training.distance_grid import DistanceGrid
from dexgrasp_training.synthesis import energies
from dexgrasp_training.synthesis.descent import Descent, DescentConfig, Draws, Objects, State
from dexgrasp_training.synthesis.field_batch import FieldBatch
from dexgrasp_training.synthesis.force_closure import ForceClosure
from dexgrasp_training.synthesis.initial_poses import PoseConfig, initial_poses
from dexgrasp_training.synthesis.moving_hand import MovingHand, cross, moved
from dexgrasp_training.synthesis.wrench_space import WrenchEnergy, WrenchSpaceConfig
from scipy.optimize import minimize, nnls
from torch import Tensor

from dexgrasp_description import load_hand

from .boxes import box_asset

STEP = 1e-6


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True)


def assert_derivative(
    energy: Callable[[Tensor], Tensor], at: Tensor, derivative: Tensor, tolerance: float = 1e-5
) -> None:
    """`energy` (..., B) -> (B,) changes as `derivative` (..., B) says, along every coordinate."""
    flat = at.reshape(-1, at.shape[-1])
    expected = torch.empty_like(flat)
    for i in range(len(flat)):
        step = torch.zeros_like(flat)
        step[i] = STEP
        ahead, behind = (energy((flat + sign * step).reshape(at.shape)) for sign in (1, -1))
        expected[i] = (ahead - behind) / (2 * STEP)
    torch.testing.assert_close(derivative.reshape(flat.shape), expected, atol=tolerance, rtol=tolerance)


def test_contact_distance_is_the_sum_of_distances_far_away_and_flat_at_the_surface() -> None:
    far = torch.tensor([[0.02, 0.0], [-0.03, 0.0]], dtype=torch.float64)
    energy, slope = energies.contact_distance(far, 0.001)
    assert energy[0] == pytest.approx(0.05 - 2 * 0.0005)
    assert energy[1] == 0.0
    assert slope[:, 0].tolist() == [1.0, -1.0]
    assert slope[:, 1].tolist() == [0.0, 0.0]


def test_contact_distance_derivative() -> None:
    distance = 0.002 * draw(4, 5)
    assert_derivative(
        lambda d: energies.contact_distance(d, 0.001)[0], distance, energies.contact_distance(distance, 0.001)[1]
    )


def test_misalignment_is_zero_face_to_face_and_has_the_right_derivatives() -> None:
    normals, others = unit(draw(3, 3, 4)), unit(draw(3, 3, 4, seed=1))
    assert energies.misalignment(-normals, normals)[0].abs().max() < 1e-12
    _, to_hand, to_object = energies.misalignment(others, normals)
    assert_derivative(lambda n: energies.misalignment(n, normals)[0], others, to_hand)
    assert_derivative(lambda n: energies.misalignment(others, n)[0], normals, to_object)


def test_penetration_counts_depth_below_the_surface_of_each_sphere() -> None:
    radius, weight = torch.tensor([0.01, 0.0, 0.01]).double(), torch.tensor([1.0, 2.0, 0.0]).double()
    distance = torch.tensor([[0.004, 0.02], [-0.003, 0.001], [-1.0, 0.0]]).double()
    energy, slope = energies.penetration(distance, radius, weight)
    assert energy.tolist() == pytest.approx([0.006 + 2 * 0.003, 0.0])
    assert_derivative(lambda d: energies.penetration(d, radius, weight)[0], distance, slope)


def test_self_penetration_derivative() -> None:
    centres = 0.02 * draw(6, 3, 8)
    pairs = torch.tensor(list(combinations(range(6), 2)))
    least = torch.full((len(pairs),), 0.03, dtype=torch.float64)
    energy, slope = energies.self_penetration(centres, pairs, least)
    assert (energy > 0).all()
    assert_derivative(lambda c: energies.self_penetration(c, pairs, least)[0], centres, slope)


def test_joint_limits_count_what_lies_beyond() -> None:
    lower, upper = torch.tensor([[-1.0], [0.0]]).double(), torch.tensor([[1.0], [2.0]]).double()
    q = torch.tensor([[0.5, 1.5], [-0.25, 1.0]]).double()
    energy, slope = energies.joint_limits(q, lower, upper)
    assert energy.tolist() == [0.25, 0.5]
    assert_derivative(lambda p: energies.joint_limits(p, lower, upper)[0], q, slope)


def test_contact_wrench_derivatives() -> None:
    places, forces, arm = 0.05 * draw(4, 3, 6), draw(4, 3, 6, seed=1), torch.full((6,), 0.04, dtype=torch.float64)
    slope = draw(4, 6, 6, seed=2)
    to_place, to_force = energies.wrench_derivative(places, forces, arm, slope)

    def value(p: Tensor, f: Tensor) -> Tensor:
        return (energies.contact_wrenches(p, f, arm) * slope).sum((0, 1))

    assert_derivative(lambda p: value(p, forces), places, to_place)
    assert_derivative(lambda f: value(places, f), forces, to_force)


class TestBalancingForces:
    """`min |sum s w|`, `max s = 1`, `s >= 0`."""

    @staticmethod
    def generic(wrenches: np.ndarray) -> float:
        """The optimum for wrenches (C, 6): over the contact whose force is 1, by a bounded quadratic programme."""
        count = len(wrenches)
        values = []
        for fixed in range(count):
            others = [i for i in range(count) if i != fixed]
            columns, target = wrenches[others].T, -wrenches[fixed]
            start, _ = nnls(columns, target)
            result = minimize(
                lambda s, a=columns, b=target: 0.5 * ((a @ s - b) ** 2).sum(),
                np.clip(start, 0, 1),
                jac=lambda s, a=columns, b=target: a.T @ (a @ s - b),
                bounds=[(0, 1)] * len(others),
                method="L-BFGS-B",
                options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 1000},
            )
            values.append(np.sqrt(2.0 * result.fun))
        return float(min(values))

    @staticmethod
    def some_wrenches(count: int) -> Tensor:
        """Contacts of unit force at random, and with deliberate degeneracies in the first columns."""
        places, normals = 0.04 * draw(count, 3, 40), unit(draw(count, 3, 40, seed=1))
        normals[1, :, 0] = normals[0, :, 0]  # the same contact twice
        places[1, :, 0] = places[0, :, 0]
        normals[:, :, 1] = normals[:1, :, 1]  # all forces parallel
        normals[:, :, 2] = normals[:1, :, 2]  # all contacts the same
        places[:, :, 2] = places[:1, :, 2]
        normals[1, :, 3], places[1, :, 3] = -normals[0, :, 3], -places[0, :, 3]  # two that balance, and others
        normals[0, :, 3] = unit(places[:1, :, 3:4])[0, :, 0]
        normals[1, :, 3] = -normals[0, :, 3]
        return energies.contact_wrenches(places, normals, torch.full((40,), 0.05, dtype=torch.float64))

    @pytest.mark.parametrize("count", [2, 3, 4, 5])
    def test_equal_those_of_a_generic_solver(self, count: int) -> None:
        wrenches = self.some_wrenches(count)
        forces, residual = energies.balancing_forces(wrenches)
        expected = [self.generic(wrenches[..., b].numpy()) for b in range(wrenches.shape[-1])]
        assert residual.numpy() == pytest.approx(np.array(expected), abs=1e-6)
        assert (forces >= 0).all()
        assert forces.amax(0).numpy() == pytest.approx(1.0)

    def test_no_finer_grid_of_forces_does_better(self) -> None:
        wrenches = self.some_wrenches(3)
        _, residual = energies.balancing_forces(wrenches)
        levels = torch.linspace(0, 1, 21, dtype=torch.float64)
        grid = torch.cartesian_prod(levels, levels, levels)
        grid = grid[grid.amax(1) == 1.0]
        tried = torch.einsum("gc,cwb->gwb", grid, wrenches).norm(dim=1).amin(0)
        assert (residual <= tried + 1e-9).all()
        assert (residual > tried - 0.2).all()

    def test_single_precision_is_enough(self) -> None:
        wrenches = self.some_wrenches(4)
        _, residual = energies.balancing_forces(wrenches)
        _, rough = energies.balancing_forces(wrenches.float())
        assert (rough.double() - residual).abs().max() < 2e-3

    def test_contacts_that_are_not_there_have_no_force(self) -> None:
        wrenches = self.some_wrenches(4)
        present = torch.ones(4, 40, dtype=torch.bool)
        present[2] = False
        forces, residual = energies.balancing_forces(wrenches, present)
        _, without = energies.balancing_forces(wrenches[[0, 1, 3]])
        assert (forces[2] == 0).all()
        torch.testing.assert_close(residual, without)


def sphere_contacts(*directions: tuple[float, float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Places, normals and torque arm of contacts on a ball of 4 cm."""
    normals = unit(torch.tensor(directions, dtype=torch.float64).unsqueeze(-1))
    return 0.04 * normals, normals, torch.tensor([0.04], dtype=torch.float64)


class TestRelaxedForceClosure:
    """DexGraspNet 2.0, D.2.2."""

    always = torch.ones(1, dtype=torch.bool)

    def wrenches(self, *directions: tuple[float, float, float]) -> Tensor:
        places, normals, arm = sphere_contacts(*directions)
        return energies.contact_wrenches(places, -normals, arm)

    def test_an_antipodal_pair_on_a_ball_has_no_energy(self) -> None:
        energy, _, forces, residual = energies.relaxed_force_closure(
            self.wrenches((1, 0, 0), (-1, 0, 0)), self.always, 0.5, 0.1
        )
        assert energy.item() < 1e-5
        assert residual.item() < 1e-9
        assert forces[:, 0].tolist() == [1.0, 1.0]

    def test_one_finger_against_three_balances_with_a_third_of_the_force_each(self) -> None:
        wrenches = self.wrenches((1, 0, 0), (-1, 0.3, 0), (-1, -0.15, 0.26), (-1, -0.15, -0.26))
        relaxed, _, forces, _ = energies.relaxed_force_closure(wrenches, self.always, 0.5, 0.1)
        unit_forces, _, _, _ = energies.relaxed_force_closure(wrenches, ~self.always, 0.5, 0.1)
        assert relaxed.item() < 1e-2
        assert unit_forces.item() > 1.5
        assert forces[1:, 0].numpy() == pytest.approx(np.full(3, 0.348), abs=0.01)

    def test_unit_forces_count_where_the_best_forces_leave_too_much(self) -> None:
        wrenches = self.wrenches((1, 0, 0), (0, 1, 0), (0, 0.2, 1))
        energy, _, _, residual = energies.relaxed_force_closure(wrenches, self.always, 0.5, 0.1)
        assert residual.item() > 0.5
        assert energy.item() == pytest.approx(wrenches.sum(0).norm().item())

    def test_unit_forces_count_where_a_contact_has_nothing_to_do(self) -> None:
        wrenches = self.wrenches((1, 0, 0), (-1, 0, 0), (0, 1, 0))
        energy, _, forces, residual = energies.relaxed_force_closure(wrenches, self.always, 0.5, 0.1)
        assert residual.item() < 1e-9
        assert forces[2].item() < 1e-9
        assert energy.item() == pytest.approx(1.0)

    @pytest.mark.parametrize("balanced", [0.5, 10.0])
    def test_derivative(self, balanced: float) -> None:
        wrenches, keep = draw(4, 6, 30), torch.ones(30, dtype=torch.bool)
        energy, slope, _, _ = energies.relaxed_force_closure(wrenches, keep, balanced, 0.0)
        assert (energy > 0).all()
        assert_derivative(lambda w: energies.relaxed_force_closure(w, keep, balanced, 0.0)[0], wrenches, slope, 1e-4)


def converged(wrenches: Tensor, regular: float = 0.02) -> tuple[Tensor, Tensor, Tensor]:
    start = torch.zeros(wrenches.shape[-1], len(wrenches), 12, dtype=wrenches.dtype)
    return energies.wrench_space(wrenches, start, regular, 3000)


def primitive_wrenches(places: Tensor, normals: Tensor, arm: Tensor, friction: float) -> Tensor:
    edges = energies.cone_edges(normals, friction)[0]
    return energies.contact_wrenches(places.repeat_interleave(4, 0), edges.reshape(-1, 3, edges.shape[-1]), arm)


class TestWrenchSpace:
    """DexGraspNet 2.0, D.2.1."""

    corners = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))

    def test_equals_least_squares_with_nonnegative_forces(self) -> None:
        wrenches, regular = draw(16, 6, 5), 0.02
        energy, _, _ = converged(wrenches, regular)
        tasks = np.concatenate([np.eye(6), -np.eye(6)])
        for b in range(5):
            columns = np.vstack([wrenches[..., b].numpy().T, np.sqrt(regular) * np.eye(16)])
            residuals = [nnls(columns, np.append(task, np.zeros(16)))[1] for task in tasks]
            assert energy[b].item() == pytest.approx(np.mean(np.square(residuals)), abs=1e-6)

    def test_force_closure_costs_next_to_nothing_without_regularisation(self) -> None:
        held, _, _ = converged(primitive_wrenches(*sphere_contacts(*self.corners), 0.5), 1e-4)
        slipping, _, _ = converged(primitive_wrenches(*sphere_contacts(*self.corners), 1e-6), 1e-4)
        open_side, _, _ = converged(
            primitive_wrenches(*sphere_contacts((1, 1, 1), (1, -1, 0.5), (1, 0, -1), (1, 0.2, 0)), 0.2), 1e-4
        )
        assert held.item() < 0.02
        # On a ball frictionless contacts resist no torque: half of the twelve tasks.
        assert slipping.item() == pytest.approx(0.5, abs=0.01)
        assert open_side.item() > held.item() + 0.05

    def test_more_friction_never_costs_more(self) -> None:
        costs = [converged(primitive_wrenches(*sphere_contacts(*self.corners), mu))[0].item() for mu in (0.1, 0.2, 0.4)]
        assert costs == sorted(costs, reverse=True)

    def test_derivative(self) -> None:
        wrenches = draw(16, 6, 3)
        _, slope, _ = converged(wrenches)
        assert_derivative(lambda w: converged(w)[0], wrenches, slope, 1e-4)

    def test_edges_lie_on_the_friction_cone(self) -> None:
        normals = unit(draw(4, 3, 7))
        edges, _, _ = energies.cone_edges(normals, 0.3)
        along = -(edges * normals.unsqueeze(1)).sum(2)
        across = (edges + normals.unsqueeze(1)).norm(dim=2)
        torch.testing.assert_close(along, torch.ones_like(along))
        torch.testing.assert_close(across, torch.full_like(across, 0.3))

    def test_derivative_of_the_edges(self) -> None:
        normals, slope = unit(draw(4, 3, 7)), draw(4, 4, 3, 7, seed=1)
        _, tangents, axis = energies.cone_edges(normals, 0.3)
        to_normal = energies.cone_derivative(normals, tangents, axis, 0.3, slope)
        # Finite differences leave the unit sphere; what counts is the change along it.
        _, first, second = normals, *tangents

        def value(n: Tensor) -> Tensor:
            return (energies.cone_edges(unit(n), 0.3)[0] * slope).sum((0, 1, 2))

        for side in (first, second):
            expected = (value(normals + STEP * side) - value(normals - STEP * side)) / (2 * STEP)
            torch.testing.assert_close((to_normal * side).sum((0, 1)), expected, atol=1e-6, rtol=1e-6)

    def test_whole_energy_derivative_with_respect_to_places_and_normals(self) -> None:
        places, normals = 0.04 * draw(4, 3, 6), unit(draw(4, 3, 6, seed=1))
        arm, chance = torch.full((6,), 0.05, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
        config = WrenchSpaceConfig(regular=0.2, solver_steps=1000)

        def value(p: Tensor, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return WrenchEnergy(config)(p, unit(n), arm, chance)

        _, to_place, to_normal = value(places, normals)
        assert_derivative(lambda p: value(p, normals)[0], places, to_place, 1e-4)
        _, tangents, _ = energies.cone_edges(normals, 0.2)
        for side in tangents:
            ahead, behind = (value(places, normals + sign * STEP * side)[0] for sign in (1, -1))
            torch.testing.assert_close(
                (to_normal * side).sum((0, 1)), (ahead - behind) / (2 * STEP), atol=1e-4, rtol=1e-4
            )


def ball_grid(radius: float = 0.04, spacing: float = 0.002) -> DistanceGrid:
    steps = -0.08 + spacing * np.arange(81)
    places = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    return DistanceGrid(np.full(3, -0.08), spacing, (np.linalg.norm(places, axis=-1) - radius).astype(np.float32))


def between_samples(points: Tensor, low: float, high: float) -> Tensor:
    """Points moved to `low` to `high` of the way from one sample of `ball_grid` to the next: off its kinks."""
    scaled = (points + 0.08) / 0.002
    return (scaled.floor() + low + (high - low) * (scaled - scaled.floor())) * 0.002 - 0.08


class TestFieldBatch:
    """Distance grids looked up by many poses."""

    def test_interpolates_as_the_grids_do(self) -> None:
        grids = [ball_grid(), box_asset("box", (0.05, 0.04, 0.03)).field]
        which = torch.tensor([0, 1, 1, 0])
        points = 0.06 * draw(50, 3, 4)
        surface = FieldBatch(grids, which, torch.float64).surface(points)
        near, _ = FieldBatch(grids, which, torch.float64).near(points)
        for b, number in enumerate(which.tolist()):
            expected = grids[number].distance(points[..., b].numpy())
            assert surface.distance[:, b].numpy() == pytest.approx(expected, abs=1e-7)
            assert near[:, b].numpy() == pytest.approx(expected, abs=1.5e-3)

    def test_normals_bend_as_on_a_ball(self) -> None:
        points = unit(draw(50, 3, 1)) * 0.05
        surface = FieldBatch([ball_grid()], torch.zeros(1, dtype=torch.int64), torch.float64).surface(points)
        torch.testing.assert_close(surface.normal, unit(points), atol=5e-3, rtol=0.0)
        outward = unit(points)
        across = torch.eye(3, dtype=torch.float64)[..., None] - outward.unsqueeze(2) * outward.unsqueeze(1)
        assert (surface.bend - across / 0.05).abs().mean() < 1.0  # of 20 per metre

    def test_derivatives_of_distance_and_normal(self) -> None:
        points = between_samples(0.06 * draw(60, 3, 2), 0.05, 0.95)
        field = FieldBatch([ball_grid()], torch.zeros(2, dtype=torch.int64), torch.float64)
        weights = draw(60, 3, 2, seed=1)
        surface = field.surface(points)
        assert_derivative(lambda p: field.surface(p).distance.sum(0), points, surface.gradient)
        to_point = surface.bent(weights)
        assert_derivative(lambda p: (field.surface(p).normal * weights).sum((0, 1)), points, to_point, 1e-4)

    def test_a_look_up_at_the_nearest_sample_has_its_own_derivative(self) -> None:
        points = between_samples(0.05 * draw(60, 3, 2), -0.45, 0.45)
        field = FieldBatch([ball_grid()], torch.zeros(2, dtype=torch.int64), torch.float64)
        assert_derivative(lambda p: field.near(p)[0].sum(0), points, field.near(points)[1])


class TestMovingHand:
    """Kinematics with the batch innermost."""

    @staticmethod
    def some_state(hand_name: str, batch: int = 5) -> tuple[MovingHand, Tensor, Tensor]:
        hand = load_hand(hand_name)
        moving = MovingHand(hand, torch.float64)
        share = torch.rand(
            len(hand.joint_names), batch, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        q = moving.lower + share * (moving.upper - moving.lower)
        still = torch.eye(4, dtype=torch.float64)[:3, :, None].expand(3, 4, batch)
        return moving, moved(still, 0.5 * draw(6, batch)), q

    @pytest.mark.parametrize("hand_name", ["leap_right", "panda_gripper"])
    def test_forces_pulled_back_are_derivatives(self, hand_name: str) -> None:
        moving, palm, q = self.some_state(hand_name)
        points = moving.points([(link, *rows, 0.0) for link, rows in moving.hand.contact_points.items()])
        weights = draw(len(points.link), 3, 5) * points.weight[:, None, None]

        def value(p: Tensor, joints: Tensor) -> Tensor:
            return (moving.place(moving.links(p, joints), points) * weights).sum((0, 1))

        links = moving.links(palm, q)
        force, moment = moving.per_link(points, weights, moving.place(links, points))
        twist, joints = moving.pull_back(palm, links, force, moment)
        assert_derivative(lambda t: value(moved(palm, t), q), torch.zeros(6, 5, dtype=torch.float64), twist)
        assert_derivative(lambda p: value(palm, p), q, joints)

    @pytest.mark.parametrize("hand_name", ["leap_right", "panda_gripper"])
    def test_motion_of_a_place_is_its_derivative(self, hand_name: str) -> None:
        moving, palm, q = self.some_state(hand_name)
        links = moving.links(palm, q)
        local, direction = 0.02 * draw(len(links), 3, 5), unit(draw(len(links), 3, 5, seed=1))

        def places(p: Tensor, joints: Tensor) -> Tensor:
            poses = moving.links(p, joints)
            return poses[:, 3] + sum(local[:, i, None] * poses[:, i] for i in range(3))

        rows = moving.motion(palm, links, places(palm, q), direction)
        for link in range(len(links)):

            def along(p: Tensor, joints: Tensor, link: int = link) -> Tensor:
                return (places(p, joints)[link] * direction[link]).sum(0)

            still = torch.zeros(6, 5, dtype=torch.float64)
            assert_derivative(lambda t, f=along: f(moved(palm, t), q), still, rows[:, link, :6].T)
            assert_derivative(lambda p, f=along: f(palm, p), q, rows[:, link, 6:].T)

    def test_places_agree_with_the_description(self) -> None:
        moving, palm, q = self.some_state("leap_right")
        links = moving.links(palm, q)
        points = moving.points([(link, *rows, 0.0) for link, rows in moving.hand.contact_points.items()])
        poses = ForwardKinematics(moving.hand).link_poses(q.T)
        placed = moving.place(links, points)
        for link, rows in points.by_link:
            palm_p = (
                poses[moving.hand.links[link]][:, :3, :3] @ points.place[rows].T
                + poses[moving.hand.links[link]][:, :3, 3:]
            )
            expected = torch.einsum("ijb,bjk->kib", palm[:, :3], palm_p) + palm[:, 3]
            torch.testing.assert_close(placed[rows], expected)


def test_moved_palms_stay_rigid() -> None:
    still = torch.eye(4, dtype=torch.float64)[:3, :, None].expand(3, 4, 9)
    rotation = moved(still, draw(6, 9))[:, :3].permute(2, 0, 1)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), torch.eye(3).double().expand(9, 3, 3))
    torch.testing.assert_close(
        cross(draw(3, 4), draw(3, 4, seed=1)), torch.linalg.cross(draw(3, 4), draw(3, 4, seed=1), dim=0)
    )


@pytest.mark.parametrize("kind", ["force_closure", "wrench_space"])
def test_the_whole_energy_changes_as_its_derivative_says(kind: str) -> None:
    hand, asset, batch = load_hand("leap_right"), box_asset("box", (0.06, 0.05, 0.08)), 12
    descent = Descent(hand, DescentConfig(), torch.float64)
    objects: Objects = descent.objects([asset], np.zeros(batch, dtype=int))
    poses = initial_poses(hand, asset, batch, np.random.default_rng(0), PoseConfig())
    start = descent.start([poses])
    state = descent.closed(start, objects, descent.moving.tensor(poses.speed.T))
    exact = WrenchEnergy(WrenchSpaceConfig(regular=0.2, solver_steps=1000))
    holding = ForceClosure(hand).energy if kind == "force_closure" else exact
    draws = Draws([0], [batch], torch.float64, torch.device("cpu"))
    state = descent.with_contacts(state, objects, holding, draws)
    # Beyond the limits too, and away from the grid's planes, where the derivative jumps.
    state = State(moved(state.object_T_palm, 0.003 * draw(6, batch)), state.q + 0.02 * draw(16, batch), state.contact)
    chance = torch.full((batch,), 0.5, dtype=torch.float64)
    energy, slope = descent.evaluate(state, objects, holding, chance)

    def value(change: Tensor) -> Tensor:
        changed = State(moved(state.object_T_palm, change[:6]), state.q + change[6:], state.contact)
        return descent.evaluate(changed, objects, holding, chance)[0]

    step = 1e-7
    ahead, behind = (
        torch.stack([value(sign * step * torch.eye(22).double()[i][:, None].expand(22, batch)) for i in range(22)])
        for sign in (1, -1)
    )
    expected = (ahead - behind) / (2 * step)
    wrong = (slope - expected).abs() > 1e-3 * (1.0 + expected.abs())
    assert (energy > 0).all()
    assert wrong.double().mean() < 0.01
