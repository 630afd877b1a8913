"""Contacts whose pushes cancel: two scores of a set of contacts, and the search for sets that score well."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

TORQUE_WEIGHT = 10.0  # a torque counts as this many times the force that makes it at one metre [1/m]
MOST = 4  # contacts of one grasp
_LEVER = 0.03  # `shortfall`: a torque counts as the force that makes it at this distance [m]
_EFFORT = 0.03  # `shortfall`: weight of the contact forces, in units of the pull
_ITERATIONS = 120


@njit(cache=True)
def contact_wrenches(points: NDArray[np.float64], inward: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wrenches (N, 6) of unit pushes at points (N, 3) [m] along inward normals (N, 3), about the frame's origin.

    The torque is multiplied by `TORQUE_WEIGHT`, so that its unit is that of a force.
    """
    wrenches = np.empty((len(points), 6))
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        a, b, c = inward[i, 0], inward[i, 1], inward[i, 2]
        wrenches[i, 0], wrenches[i, 1], wrenches[i, 2] = a, b, c
        wrenches[i, 3] = TORQUE_WEIGHT * (y * c - z * b)
        wrenches[i, 4] = TORQUE_WEIGHT * (z * a - x * c)
        wrenches[i, 5] = TORQUE_WEIGHT * (x * b - y * a)
    return wrenches


@njit(cache=True)
def imbalance(wrenches: NDArray[np.float64], rows: NDArray[np.int64], forces: NDArray[np.float64]) -> float:
    """How far pushes are from cancelling each other, without friction: 0 they cancel, 1 and more nothing opposes.

    With contact j as the pivot, pushing with force 1, the others may push with any forces f >= 0:
    `min over j, f of | w_j + sum_(i != j) f_i w_i |`. The least squares have at most three unknowns: every subset of
    them is solved in closed form, and the best one whose forces are all positive is the constrained minimum.

    Args:
        wrenches: (N, 6), see `contact_wrenches`.
        rows: (K,), which of them are the contacts, K <= 4.
        forces: Result (K,), the pushes of the minimum.
    """
    count = len(rows)
    gram = np.empty((MOST, MOST))
    for i in range(count):
        for j in range(i + 1):
            value = 0.0
            for k in range(6):
                value += wrenches[rows[i], k] * wrenches[rows[j], k]
            gram[i, j] = gram[j, i] = value
    best = np.inf
    for pivot in range(count):
        best = _balance_pivot(gram, count, pivot, best, forces)
    return np.sqrt(max(best, 0.0))


@njit(cache=True)
def _balance_pivot(
    gram: NDArray[np.float64], count: int, pivot: int, best: float, forces: NDArray[np.float64]
) -> float:
    """Squared length of what remains of the pivot's wrench, from the wrenches' products (4, 4), where below `best`."""
    others = np.empty(MOST - 1, dtype=np.int64)
    number = 0
    for i in range(count):
        if i != pivot:
            others[number] = i
            number += 1
    own = gram[pivot, pivot]
    if own < best:
        best = own
        forces[:] = 0.0
        forces[pivot] = 1.0
    for subset in range(1, 1 << number):
        size = a = b = c = 0
        for bit in range(number):
            if subset >> bit & 1:
                a, b, c = b, c, others[bit]
                size += 1
        # The chosen contacts are the last `size` of a, b and c; x, y and z are their pushes.
        x = y = z = 0.0
        pull_c, cc = -gram[c, pivot], gram[c, c]
        if size == 1:
            z = pull_c / cc
            rest = own - z * pull_c
        elif size == 2:
            pull_b, bb, bc = -gram[b, pivot], gram[b, b], gram[b, c]
            determinant = bb * cc - bc * bc
            if determinant < 1e-9 * bb * cc:
                continue
            y = (pull_b * cc - pull_c * bc) / determinant
            z = (pull_c * bb - pull_b * bc) / determinant
            rest = own - y * pull_b - z * pull_c
        else:
            pull_a, pull_b, aa, bb = -gram[a, pivot], -gram[b, pivot], gram[a, a], gram[b, b]
            ab, ac, bc = gram[a, b], gram[a, c], gram[b, c]
            minor_a, minor_b, minor_c = bb * cc - bc * bc, ac * bc - ab * cc, ab * bc - ac * bb
            determinant = aa * minor_a + ab * minor_b + ac * minor_c
            if determinant < 1e-9 * aa * bb * cc:
                continue
            x = (pull_a * minor_a + pull_b * minor_b + pull_c * minor_c) / determinant
            y = (pull_a * minor_b + pull_b * (aa * cc - ac * ac) + pull_c * (ab * ac - aa * bc)) / determinant
            z = (pull_a * minor_c + pull_b * (ab * ac - aa * bc) + pull_c * (aa * bb - ab * ab)) / determinant
            rest = own - x * pull_a - y * pull_b - z * pull_c
        if rest < best and z > 0.0 and (size < 2 or y > 0.0) and (size < 3 or x > 0.0):
            best = rest
            forces[:] = 0.0
            forces[pivot], forces[c] = 1.0, z
            if size > 1:
                forces[b] = y
            if size > 2:
                forces[a] = x
    return best


@njit(cache=True)
def shortfall(points: NDArray[np.float64], inward: NDArray[np.float64], friction: float) -> float:
    """How much of a pull contacts with friction cannot balance by reasonable forces: 0 to 1, the worst of six pulls.

    For each unit force w at the origin, along and against the axes, `min |A f - w|^2 + e^2 |f|^2` over contact forces f
    in their friction cones, by accelerated projected gradient (Beck and Teboulle, FISTA, 2009); then `|A f - w|`. It
    tells which grasps will hold better than `imbalance` does, most of all where they are far from the centre of mass.

    Args:
        points: (K, 3), contacts, the origin being the centre of mass [m].
        inward: (K, 3), inward normals.
        friction: Coefficient of friction.
    """
    count = len(points)
    force, ahead, moved = np.empty((count, 3)), np.empty((count, 3)), np.empty(3)
    rest = np.empty(6)
    # The largest eigenvalue of A A^T is at most the sum over the contacts.
    bound = _EFFORT * _EFFORT
    for i in range(count):
        bound += 1.0 + (points[i, 0] ** 2 + points[i, 1] ** 2 + points[i, 2] ** 2) / _LEVER**2
    worst = 0.0
    for pull in range(6):
        force[:] = ahead[:] = 0.0
        pace = 1.0
        for _ in range(_ITERATIONS):
            _unbalanced(points, ahead, pull, rest)
            next_pace = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * pace * pace))
            momentum = (pace - 1.0) / next_pace
            pace = next_pace
            for i in range(count):
                x, y, z = points[i, 0] / _LEVER, points[i, 1] / _LEVER, points[i, 2] / _LEVER
                moved[0] = rest[0] + rest[4] * z - rest[5] * y
                moved[1] = rest[1] + rest[5] * x - rest[3] * z
                moved[2] = rest[2] + rest[3] * y - rest[4] * x
                for k in range(3):
                    moved[k] = ahead[i, k] - (moved[k] + _EFFORT * _EFFORT * ahead[i, k]) / bound
                _into_cone(inward[i], friction, moved)
                for k in range(3):
                    ahead[i, k] = moved[k] + momentum * (moved[k] - force[i, k])
                    force[i, k] = moved[k]
        _unbalanced(points, force, pull, rest)
        worst = max(worst, np.sqrt((rest * rest).sum()))
    return worst


@njit(cache=True)
def _unbalanced(points: NDArray[np.float64], force: NDArray[np.float64], pull: int, rest: NDArray[np.float64]) -> None:
    """Write `A f - w` to `rest` (6,) for forces (K, 3) and the pull of that number."""
    rest[:] = 0.0
    rest[pull % 3] = -1.0 if pull < 3 else 1.0
    for i in range(len(points)):
        x, y, z = points[i, 0] / _LEVER, points[i, 1] / _LEVER, points[i, 2] / _LEVER
        a, b, c = force[i, 0], force[i, 1], force[i, 2]
        rest[0] += a
        rest[1] += b
        rest[2] += c
        rest[3] += y * c - z * b
        rest[4] += z * a - x * c
        rest[5] += x * b - y * a


@njit(cache=True)
def _into_cone(normal: NDArray[np.float64], friction: float, force: NDArray[np.float64]) -> None:
    """Replace a force (3,) by the nearest one within the friction cone about a normal (3,)."""
    along = normal[0] * force[0] + normal[1] * force[1] + normal[2] * force[2]
    square = 0.0
    for k in range(3):
        square += (force[k] - along * normal[k]) ** 2
    across = np.sqrt(square)
    if across <= friction * along:
        return
    if friction * across <= -along:
        force[:] = 0.0
        return
    kept = (along + friction * across) / (1.0 + friction * friction)
    share = friction * kept / max(across, 1e-12)
    for k in range(3):
        force[k] = kept * normal[k] + share * (force[k] - along * normal[k])


@njit(cache=True)
def balanced_set(
    points: NDArray[np.float64],
    inward: NDArray[np.float64],
    wrenches: NDArray[np.float64],
    domains: NDArray[np.int64],
    sizes: NDArray[np.int64],
    fingers: NDArray[np.int64],
    step: float,
    sweeps: int,
    variants: int,
    enough: float,
    rng: np.random.Generator,
    rows: NDArray[np.int64],
) -> float:
    """From a random start, move contacts over the surface until they balance.

    In each sweep, each variant moves one contact or all of them by a Gaussian step in the surface's tangent plane, to
    the nearest point that the contact's finger reaches, and is kept if the score falls.

    Args:
        points: (N, 3), surface points [m].
        inward: (N, 3), inward normals.
        wrenches: (N, 6), see `contact_wrenches`.
        domains: (F, N), the first `sizes[f]` of each row are the points that finger f reaches.
        sizes: (F,).
        fingers: (K,), which finger each contact belongs to.
        step: Standard deviation of a step [m].
        sweeps, variants: The number of trials is their product.
        enough: Stop at this score.
        rng: Source of starts and steps.
        rows: Result (K,), the contacts' points.

    Returns:
        The score, see `imbalance`.
    """
    count = len(fingers)
    for i in range(count):
        rows[i] = domains[fingers[i], rng.integers(0, sizes[fingers[i]])]
    forces = np.empty(count)
    score = imbalance(wrenches, rows, forces)
    trial = np.empty(count, dtype=np.int64)
    for _ in range(sweeps):
        for _ in range(variants):
            if score < enough:
                return score
            moved = rng.integers(0, count + 1)  # the last number: all
            for i in range(count):
                trial[i] = rows[i]
                if moved in (i, count):
                    finger = fingers[i]
                    trial[i] = _stepped(points, inward, domains[finger, : sizes[finger]], rows[i], step, rng)
            value = imbalance(wrenches, trial, forces)
            if value < score:
                score = value
                rows[:] = trial
    return score


@njit(cache=True)
def _stepped(
    points: NDArray[np.float64],
    inward: NDArray[np.float64],
    domain: NDArray[np.int64],
    row: int,
    step: float,
    rng: np.random.Generator,
) -> int:
    """The domain's point nearest to a point after a random step in its tangent plane."""
    x, y, z = rng.normal(0.0, step), rng.normal(0.0, step), rng.normal(0.0, step)
    out = x * inward[row, 0] + y * inward[row, 1] + z * inward[row, 2]
    x += points[row, 0] - out * inward[row, 0]
    y += points[row, 1] - out * inward[row, 1]
    z += points[row, 2] - out * inward[row, 2]
    nearest, best = row, np.inf
    for other in domain:
        square = (points[other, 0] - x) ** 2 + (points[other, 1] - y) ** 2 + (points[other, 2] - z) ** 2
        if square < best:
            nearest, best = other, square
    return nearest
