"""Balance of contacts: closed forms, least squares and cone programmes solved by others, and the search."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_training.synthesis.balance import (
    TORQUE_WEIGHT,
    balanced_set,
    contact_wrenches,
    imbalance,
    shortfall,
)
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

EFFORT, LEVER = 0.03, 0.03  # what `shortfall` says of itself: weight of forces, and the torque's lever [m]


def score(points: ArrayLike, inward: ArrayLike) -> tuple[float, NDArray[np.float64]]:
    """Imbalance of all of these contacts, and the pushes that it found."""
    wrenches = contact_wrenches(np.array(points, dtype=np.float64), np.array(inward, dtype=np.float64))
    forces = np.empty(len(wrenches))
    return imbalance(wrenches, np.arange(len(wrenches)), forces), forces


def ring(count: int, radius: float, turn: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contacts around a disc, all pushing to its middle."""
    angles = turn + 2.0 * np.pi * np.arange(count) / count
    inward = -np.column_stack([np.cos(angles), np.sin(angles), np.zeros(count)])
    return -radius * inward, inward


def sphere(count: int, radius: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and inward normals all over a sphere."""
    outward = np.random.default_rng(0).normal(size=(count, 3))
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    return radius * outward, -outward


def random_contacts(count: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    inward = rng.normal(size=(count, 3))
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    return -0.03 * inward + rng.normal(0.0, 0.01, (count, 3)), inward


def test_a_wrench_is_the_push_and_its_weighted_torque() -> None:
    rng = np.random.default_rng(0)
    points, inward = random_contacts(50, rng)
    wrenches = contact_wrenches(points, inward)
    np.testing.assert_allclose(wrenches[:, :3], inward)
    np.testing.assert_allclose(wrenches[:, 3:], TORQUE_WEIGHT * np.cross(points, inward), atol=1e-15)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_pushes_spread_evenly_round_a_disc_cancel(count: int) -> None:
    found, forces = score(*ring(count, 0.03, 0.4))
    assert found == pytest.approx(0.0, abs=1e-7)
    if count < 4:  # of four, two opposite ones are enough
        np.testing.assert_allclose(forces, 1.0, atol=1e-7)


def test_parallel_pushes_do_not_cancel_at_all() -> None:
    # Through the origin: no torque.
    found, forces = score([[0.0, 0.0, 0.01], [0.0, 0.0, 0.02], [0.0, 0.0, 0.03]], [[0.0, 0.0, 1.0]] * 3)
    assert found == pytest.approx(1.0)
    assert sorted(forces) == [0.0, 0.0, 1.0]


def test_opposed_pushes_on_parallel_lines_leave_their_torque() -> None:
    apart = 0.005
    found, _ = score([[-0.02, apart / 2, 0.0], [0.02, -apart / 2, 0.0]], [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    # Each has torque t; to push back with f leaves |(1 - f, t + f t)|, least at f = (1 - t^2) / (1 + t^2).
    t = TORQUE_WEIGHT * apart / 2
    assert found == pytest.approx(2.0 * t / np.sqrt(1.0 + t * t))


def test_a_push_at_an_angle_leaves_its_sine() -> None:
    angle = 0.3
    found, _ = score(np.zeros((2, 3)), [[1.0, 0.0, 0.0], [-np.cos(angle), np.sin(angle), 0.0]])
    assert found == pytest.approx(np.sin(angle))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_imbalance_is_the_least_of_non_negative_least_squares(count: int) -> None:
    rng = np.random.default_rng(count)
    small = 0
    for _ in range(200):
        points, inward = random_contacts(count, rng)
        wrenches = contact_wrenches(points, inward)
        expected = min(nnls(np.delete(wrenches, j, axis=0).T, -wrenches[j])[1] for j in range(count))
        found, forces = score(points, inward)
        assert found == pytest.approx(expected, abs=1e-6)
        # The forces are those of that minimum: one is 1, none pulls, and what they leave is the score.
        assert (forces >= 0.0).all()
        assert (forces == 1.0).any()
        assert np.linalg.norm(forces @ wrenches) == pytest.approx(found, abs=1e-6)
        small += expected < 0.5
    assert small > 5


def test_two_contacts_at_one_place_do_not_disturb_the_others() -> None:
    points, inward = ring(3, 0.03)
    doubled, _ = score(np.vstack([points, points[:1]]), np.vstack([inward, inward[:1]]))
    assert doubled == pytest.approx(0.0, abs=1e-7)


def test_imbalance_is_of_the_chosen_rows() -> None:
    points, inward = ring(6, 0.03)
    wrenches, forces = contact_wrenches(points, inward), np.empty(2)
    assert imbalance(wrenches, np.array([1, 4]), forces) == pytest.approx(0.0, abs=1e-7)
    assert imbalance(wrenches, np.array([1, 2]), forces) == pytest.approx(1.0)
    assert imbalance(wrenches, np.array([1, 3]), forces) == pytest.approx(np.sin(np.pi / 3))


def lacking(points: NDArray[np.float64], inward: NDArray[np.float64], friction: float) -> float:
    """`shortfall` by non-negative least squares, the friction cones having 64 edges."""
    angles = 2.0 * np.pi * np.arange(64) / 64
    columns, edges = [], []
    for point, normal in zip(points, inward, strict=True):
        across = np.linalg.svd(normal[None])[2][1:]
        forces = normal + friction * (np.cos(angles)[:, None] * across[0] + np.sin(angles)[:, None] * across[1])
        columns.append(np.hstack([forces, np.cross(point / LEVER, forces)]).T)
        edges.append(forces.T)
    wrenches = np.hstack(columns)
    effort = np.zeros((3 * len(points), wrenches.shape[1]))
    for i, own in enumerate(edges):
        effort[3 * i : 3 * i + 3, 64 * i : 64 * i + 64] = EFFORT * own
    worst = 0.0
    for pull in np.vstack([np.eye(6)[:3], -np.eye(6)[:3]]):
        right = np.concatenate([pull, np.zeros(len(effort))])
        weights, _ = nnls(np.vstack([wrenches, effort]), right, maxiter=10_000)
        worst = max(worst, float(np.linalg.norm(wrenches @ weights - pull)))
    return worst


@pytest.mark.parametrize("friction", [0.1, 0.5])
def test_shortfall_is_that_of_a_cone_programme(friction: float) -> None:
    rng = np.random.default_rng(5)
    errors, middling = [], 0
    for count in (2, 3, 4) * 12:
        points, inward = ring(count, 0.03, rng.uniform(0.0, 3.0))
        points += rng.normal(0.0, 0.004, points.shape)
        inward += rng.normal(0.0, 0.1, inward.shape)
        inward /= np.linalg.norm(inward, axis=1, keepdims=True)
        expected = lacking(points, inward, friction)
        errors.append(abs(shortfall(points, inward, friction) - expected))
        middling += 0.05 < expected < 0.95
    assert middling > 5
    # The descent is cut short: a few scores are not those of the minimum yet.
    assert np.median(errors) < 0.005
    assert np.quantile(errors, 0.8) < 0.02
    assert np.max(errors) < 0.1


@pytest.mark.parametrize("friction", [0.1, 0.3, 0.5])
def test_shortfall_of_two_opposed_contacts_is_a_closed_form(friction: float) -> None:
    points, inward = ring(2, 0.03)
    # Pulled across with both forces at the cones' edge, n along and m n across: |2 m n - 1|^2 + 2 e^2 n^2 (1 + m^2).
    cost = EFFORT**2 * (1.0 + friction**2)
    assert shortfall(points, inward, friction) == pytest.approx(cost / (2.0 * friction**2 + cost), abs=0.01)


def test_contacts_without_friction_withstand_no_pull_out_of_their_plane() -> None:
    points, inward = ring(3, 0.03)
    assert shortfall(points, inward, 0.0) == pytest.approx(1.0)


def test_contacts_far_from_the_centre_of_mass_withstand_less() -> None:
    points, inward = ring(2, 0.03)
    beside = [shortfall(points + [0.0, 0.0, shift], inward, 0.5) for shift in (0.0, 0.02, 0.05)]
    assert beside[0] + 0.05 < beside[1]
    assert beside[1] + 0.05 < beside[2]


class Search:
    """`balanced_set` of some fingers, each with its own part of a sphere."""

    def __init__(self, count: int = 600, radius: float = 0.03) -> None:
        self.points, self.inward = sphere(count, radius)
        self.wrenches = contact_wrenches(self.points, self.inward)
        # Finger 0 has the upper half, the others the lower.
        upper, lower = np.flatnonzero(self.points[:, 2] > 0), np.flatnonzero(self.points[:, 2] <= 0)
        self.sizes = np.array([len(upper), len(lower), len(lower)])
        self.domains = np.full((3, count), -1)
        for finger, own in enumerate((upper, lower, lower)):
            self.domains[finger, : len(own)] = own

    def __call__(
        self, fingers: list[int], sweeps: int, seed: int, enough: float = 0.0, step: float = 0.01
    ) -> tuple[float, NDArray[np.int64]]:
        rows, rng = np.empty(len(fingers), dtype=np.int64), np.random.default_rng(seed)
        found = balanced_set(
            self.points,
            self.inward,
            self.wrenches,
            self.domains,
            self.sizes,
            np.array(fingers),
            step,
            sweeps,
            6,
            enough,
            rng,
            rows,
        )
        return found, rows


@pytest.mark.parametrize("fingers", [[0, 1], [2, 0, 1]])
def test_the_search_finds_balanced_contacts_that_the_fingers_reach(fingers: list[int]) -> None:
    search = Search()
    starts, ends = [], []
    for seed in range(40):
        found, rows = search(fingers, 40, seed)
        for finger, row in zip(fingers, rows, strict=True):
            assert row in search.domains[finger, : search.sizes[finger]]
        assert found == pytest.approx(score(search.points[rows], search.inward[rows])[0], abs=1e-12)
        starts.append(search(fingers, 0, seed)[0])
        ends.append(found)
    assert (np.array(ends) <= np.array(starts)).all()
    assert np.mean(starts) > 0.4
    assert np.mean(ends) < 0.1


def test_the_search_stops_where_it_is_good_enough() -> None:
    search = Search()
    for seed in range(20):
        start, end = (search([0, 1], sweeps, seed, enough=1.1)[1] for sweeps in (0, 40))
        assert (start == end).all()
    stopped = [search([0, 1], 40, seed, enough=0.3)[0] for seed in range(20)]
    assert np.mean(np.array(stopped) < 0.3) > 0.8  # the others lie side by side, where every step leaves them at 1
    assert np.median(stopped) > 2.0 * np.median([search([0, 1], 40, seed)[0] for seed in range(20)])


def test_steps_are_as_long_as_they_are_said_to_be() -> None:
    search = Search()
    for seed in range(20):
        start, end = (search([0, 1], sweeps, seed, step=1e-6)[1] for sweeps in (0, 10))
        assert (start == end).all()  # no other point is as near as that
    moved = [
        np.linalg.norm(search.points[search([0, 1], 1, seed)[1]] - search.points[search([0, 1], 0, seed)[1]], axis=1)
        for seed in range(20)
    ]
    assert np.max(moved) > 0.01
