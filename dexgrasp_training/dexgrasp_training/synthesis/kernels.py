"""Compiled kernels of grasp synthesis: forward kinematics, distance look-up, self-collision and penetration.

Distance grids come as their three parts, `values` (X, Y, Z), `origin` (3,) [m] and `spacing` [m], as `DistanceGrid`
has them. A place `p` is any three numbers that can be indexed: a tuple costs nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dexgrasp_training.synthesis.hand_arrays import PRISMATIC, REVOLUTE, HandArrays


@njit(cache=True)
def link_poses(hand: HandArrays, q: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write `palm_T_link` of every link to `out` (L, 3, 4) for joint positions `q` (D,) [rad or m]."""
    for link in range(len(hand.parent)):
        o = hand.origin[link]
        kind = hand.kind[link]
        x, y, z = hand.axis[link, 0], hand.axis[link, 1], hand.axis[link, 2]
        r00, r01, r02, r10, r11, r12, r20, r21, r22 = 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0
        tx, ty, tz = 0.0, 0.0, 0.0
        if kind == REVOLUTE:
            angle = q[hand.column[link]]
            s, c = math.sin(angle), math.cos(angle)
            v = 1.0 - c
            r00, r01, r02 = c + x * x * v, x * y * v - z * s, x * z * v + y * s
            r10, r11, r12 = x * y * v + z * s, c + y * y * v, y * z * v - x * s
            r20, r21, r22 = x * z * v - y * s, y * z * v + x * s, c + z * z * v
        elif kind == PRISMATIC:
            d = q[hand.column[link]]
            tx, ty, tz = x * d, y * d, z * d
        parent = hand.parent[link]
        for i in range(3):
            if parent < 0:
                a0, a1, a2, a3 = o[i, 0], o[i, 1], o[i, 2], o[i, 3]
            else:
                p = out[parent]
                a0 = p[i, 0] * o[0, 0] + p[i, 1] * o[1, 0] + p[i, 2] * o[2, 0]
                a1 = p[i, 0] * o[0, 1] + p[i, 1] * o[1, 1] + p[i, 2] * o[2, 1]
                a2 = p[i, 0] * o[0, 2] + p[i, 1] * o[1, 2] + p[i, 2] * o[2, 2]
                a3 = p[i, 0] * o[0, 3] + p[i, 1] * o[1, 3] + p[i, 2] * o[2, 3] + p[i, 3]
            out[link, i, 0] = a0 * r00 + a1 * r10 + a2 * r20
            out[link, i, 1] = a0 * r01 + a1 * r11 + a2 * r21
            out[link, i, 2] = a0 * r02 + a1 * r12 + a2 * r22
            out[link, i, 3] = a0 * tx + a1 * ty + a2 * tz + a3


@njit(cache=True)
def compose(a: NDArray[np.float64], b: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write `A_T_C` to `out` (3, 4) from `A_T_B` and `B_T_C`, each (3, 4) or (4, 4)."""
    for i in range(3):
        for j in range(4):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]
        out[i, 3] += a[i, 3]


@njit(cache=True)
def place(pose: NDArray[np.float64], x: float, y: float, z: float) -> tuple[float, float, float]:
    """A point moved by a pose (3, 4) or (4, 4)."""
    return (
        pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z + pose[0, 3],
        pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z + pose[1, 3],
        pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z + pose[2, 3],
    )


@njit(cache=True)
def _cell(scaled: float, count: int) -> tuple[int, float, float]:
    """Cell of a grid axis, place in it (0..1), and how far beyond the grid the coordinate lies [cells]."""
    inside = min(max(scaled, 0.0), count - 1.0)
    cell = min(int(inside), count - 2)
    return cell, inside - cell, scaled - inside


@njit(cache=True)
def _look_up(
    values: NDArray[np.float32], origin: NDArray[np.float64], spacing: float, p: tuple[float, float, float]
) -> tuple[float, float]:
    """Signed distance at the grid's nearest place to `p`, and how far that is from `p` [m]."""
    i, fx, ox = _cell((p[0] - origin[0]) / spacing, values.shape[0])
    j, fy, oy = _cell((p[1] - origin[1]) / spacing, values.shape[1])
    k, fz, oz = _cell((p[2] - origin[2]) / spacing, values.shape[2])
    gz = 1.0 - fz
    c00 = values[i, j, k] * gz + values[i, j, k + 1] * fz
    c01 = values[i, j + 1, k] * gz + values[i, j + 1, k + 1] * fz
    c10 = values[i + 1, j, k] * gz + values[i + 1, j, k + 1] * fz
    c11 = values[i + 1, j + 1, k] * gz + values[i + 1, j + 1, k + 1] * fz
    distance = (c00 * (1.0 - fy) + c01 * fy) * (1.0 - fx) + (c10 * (1.0 - fy) + c11 * fy) * fx
    return distance, math.sqrt(ox * ox + oy * oy + oz * oz) * spacing


@njit(cache=True)
def sdf(
    values: NDArray[np.float32], origin: NDArray[np.float64], spacing: float, p: tuple[float, float, float]
) -> float:
    """Signed distance [m] at `p`, trilinear; outside the grid, that of its nearest place plus the distance to it."""
    distance, beyond = _look_up(values, origin, spacing, p)
    return distance + beyond


@njit(cache=True)
def sdf_bound(
    values: NDArray[np.float32], origin: NDArray[np.float64], spacing: float, p: tuple[float, float, float]
) -> float:
    """As `sdf`, but outside the grid no more than the true distance: the object and `p` see the grid's nearest place
    at a right angle or wider."""
    distance, beyond = _look_up(values, origin, spacing, p)
    return math.sqrt(distance * distance + beyond * beyond) if beyond > 0.0 else distance


@njit(cache=True)
def sdf_gradient(
    values: NDArray[np.float32], origin: NDArray[np.float64], spacing: float, p: tuple[float, float, float]
) -> tuple[float, float, float, float]:
    """Signed distance [m] at `p` and its derivative, of about unit length: (d, gx, gy, gz)."""
    i, fx, ox = _cell((p[0] - origin[0]) / spacing, values.shape[0])
    j, fy, oy = _cell((p[1] - origin[1]) / spacing, values.shape[1])
    k, fz, oz = _cell((p[2] - origin[2]) / spacing, values.shape[2])
    hx, hy, hz = 1.0 - fx, 1.0 - fy, 1.0 - fz
    v000, v001 = values[i, j, k], values[i, j, k + 1]
    v010, v011 = values[i, j + 1, k], values[i, j + 1, k + 1]
    v100, v101 = values[i + 1, j, k], values[i + 1, j, k + 1]
    v110, v111 = values[i + 1, j + 1, k], values[i + 1, j + 1, k + 1]
    c00, c01 = v000 * hz + v001 * fz, v010 * hz + v011 * fz
    c10, c11 = v100 * hz + v101 * fz, v110 * hz + v111 * fz
    x0, x1 = c00 * hy + c01 * fy, c10 * hy + c11 * fy
    distance = x0 * hx + x1 * fx
    gx = gy = gz = 0.0
    if ox == 0.0:
        gx = (x1 - x0) / spacing
    if oy == 0.0:
        gy = ((c01 - c00) * hx + (c11 - c10) * fx) / spacing
    if oz == 0.0:
        low = (v001 - v000) * hy + (v011 - v010) * fy
        high = (v101 - v100) * hy + (v111 - v110) * fy
        gz = (low * hx + high * fx) / spacing
    beyond = math.sqrt(ox * ox + oy * oy + oz * oz)
    if beyond > 0.0:
        distance += beyond * spacing
        gx, gy, gz = gx + ox / beyond, gy + oy / beyond, gz + oz / beyond
    return distance, gx, gy, gz


@njit(cache=True)
def link_distance(
    hand: HandArrays,
    link: int,
    object_T_link: NDArray[np.float64],
    values: NDArray[np.float32],
    origin: NDArray[np.float64],
    spacing: float,
    cap: float,
) -> tuple[float, int]:
    """Signed distance [m] of one link to the object, no more than `cap`, and the surface point nearest to it.

    Outside the grid it is a lower bound, see `sdf_bound`: who moves a link by its distance does not hit the object.

    Of the tree of surface points only those branches are looked at that can be nearer than what was found before.
    Spheres see walls thinner than the space between surface points.

    Args:
        object_T_link: array (3, 4) or (4, 4).

    Returns:
        Distance, and the row of the point in `hand.points`, or -1: it is farther than `cap`, or a sphere is nearer.
    """
    nearest, which = cap, -1
    ball = hand.ball[link]
    if ball[3] < 0.0:
        return nearest, which
    if sdf_bound(values, origin, spacing, place(object_T_link, ball[0], ball[1], ball[2])) - ball[3] >= cap:
        return nearest, which
    node = hand.node_start[link]
    while node < hand.node_start[link + 1]:
        ball = hand.node_ball[node]
        if sdf_bound(values, origin, spacing, place(object_T_link, ball[0], ball[1], ball[2])) - ball[3] >= nearest:
            node = hand.node_end[node]
            continue
        patch = hand.node_patch[node]
        node += 1
        if patch < 0:
            continue
        for row in range(hand.point_start[patch], hand.point_start[patch + 1]):
            point = hand.points[row]
            d = sdf_bound(values, origin, spacing, place(object_T_link, point[0], point[1], point[2]))
            if d < nearest:
                nearest, which = d, row
    for row in range(hand.sphere_start[link], hand.sphere_start[link + 1]):
        ball = hand.spheres[row]
        # Beyond the grid not the bound, which may be short by more than the surface points leave unseen.
        d = sdf(values, origin, spacing, place(object_T_link, ball[0], ball[1], ball[2])) - ball[3]
        # The grid rounds off edges: a sphere counts where it is nearer by more than that.
        if d < nearest - 0.5 * spacing:
            nearest, which = d, -1
    return nearest, which


@njit(cache=True)
def clearance(
    hand: HandArrays,
    poses: NDArray[np.float64],
    object_T_palm: NDArray[np.float64],
    values: NDArray[np.float32],
    origin: NDArray[np.float64],
    spacing: float,
    cap: float,
) -> float:
    """Signed distance [m] of the whole hand to the object, no more than `cap`; negative where it penetrates.

    Args:
        poses: array (L, 3, 4), from `link_poses`.
        object_T_palm: array (3, 4) or (4, 4).
    """
    object_T_link = np.empty((3, 4))
    nearest = cap
    for link in range(len(hand.parent)):
        compose(object_T_palm, poses[link], object_T_link)
        nearest = link_distance(hand, link, object_T_link, values, origin, spacing, nearest)[0]
    return nearest


@njit(cache=True)
def penetration(
    hand: HandArrays,
    poses: NDArray[np.float64],
    object_T_palm: NDArray[np.float64],
    values: NDArray[np.float32],
    origin: NDArray[np.float64],
    spacing: float,
) -> float:
    """How deep the hand reaches into the object [m]; 0 where it is clear. Arguments as of `clearance`."""
    return -min(clearance(hand, poses, object_T_palm, values, origin, spacing, 0.0), 0.0)


@njit(cache=True)
def self_collides(hand: HandArrays, poses: NDArray[np.float64], margin: float) -> bool:
    """Whether two links that must not touch are less than `margin` [m] apart. `poses` (L, 3, 4): from `link_poses`."""
    return first_self_collision(hand, poses, margin) >= 0


@njit(cache=True)
def first_self_collision(hand: HandArrays, poses: NDArray[np.float64], margin: float) -> int:
    """The first row of `hand.pairs` whose links are less than `margin` [m] apart; -1 where there is none."""
    balls = np.empty((len(hand.parent), 3))
    for link in range(len(hand.parent)):
        ball = hand.ball[link]
        balls[link] = place(poses[link], ball[0], ball[1], ball[2])
    scratch = np.empty((3, 3, 4))
    for pair in range(len(hand.pairs)):
        a, b = hand.pairs[pair]
        reach = hand.ball[a, 3] + hand.ball[b, 3] + margin
        dx, dy, dz = balls[a, 0] - balls[b, 0], balls[a, 1] - balls[b, 1], balls[a, 2] - balls[b, 2]
        if dx * dx + dy * dy + dz * dz < reach * reach and link_gap(hand, poses, a, b, margin, scratch) < margin:
            return pair
    return -1


@njit(cache=True)
def link_gap(
    hand: HandArrays, poses: NDArray[np.float64], a: int, b: int, margin: float, scratch: NDArray[np.float64]
) -> float:
    """No more than the distance of two links [m], and less than `margin` exactly if the distance is.

    Args:
        poses: array (L, 3, 4), from `link_poses`.
        scratch: array (3, 3, 4), overwritten.
    """
    palm_T_first, palm_T_second, first_T_second = scratch[0], scratch[1], scratch[2]
    nearest = math.inf
    for first in range(hand.solid_start[a], hand.solid_start[a + 1]):
        compose(poses[a], hand.solid_pose[first], palm_T_first)
        for second in range(hand.solid_start[b], hand.solid_start[b + 1]):
            compose(poses[b], hand.solid_pose[second], palm_T_second)
            dx = palm_T_second[0, 3] - palm_T_first[0, 3]
            dy = palm_T_second[1, 3] - palm_T_first[1, 3]
            dz = palm_T_second[2, 3] - palm_T_first[2, 3]
            apart = math.sqrt(dx * dx + dy * dy + dz * dz) - hand.solid_ball[first] - hand.solid_ball[second]
            if apart >= max(margin, 0.01):
                nearest = min(nearest, apart)
                continue
            for i in range(3):
                for j in range(3):
                    first_T_second[i, j] = (
                        palm_T_first[0, i] * palm_T_second[0, j]
                        + palm_T_first[1, i] * palm_T_second[1, j]
                        + palm_T_first[2, i] * palm_T_second[2, j]
                    )
                first_T_second[i, 3] = palm_T_first[0, i] * dx + palm_T_first[1, i] * dy + palm_T_first[2, i] * dz
            grown = hand.solid_round[first] + hand.solid_round[second]
            gap = _box_gap(hand.solid_half[first], hand.solid_half[second], first_T_second, grown + margin) - grown
            nearest = min(nearest, gap)
            if nearest < margin:
                return nearest
    return nearest


@njit(cache=True)
def _box_gap(a: NDArray[np.float64], b: NDArray[np.float64], A_T_B: NDArray[np.float64], limit: float) -> float:
    """No more than the distance of two boxes of half sizes a and b, and less than `limit` exactly if the distance is.

    Separating axes (Gottschalk et al., OBBTree, 1996) decide most cases.
    """
    gap = -1.0
    for i in range(3):
        along = A_T_B[i, 3]
        spread = a[i] + b[0] * abs(A_T_B[i, 0]) + b[1] * abs(A_T_B[i, 1]) + b[2] * abs(A_T_B[i, 2])
        gap = max(gap, abs(along) - spread)
        along = A_T_B[0, 3] * A_T_B[0, i] + A_T_B[1, 3] * A_T_B[1, i] + A_T_B[2, 3] * A_T_B[2, i]
        spread = b[i] + a[0] * abs(A_T_B[0, i]) + a[1] * abs(A_T_B[1, i]) + a[2] * abs(A_T_B[2, i])
        gap = max(gap, abs(along) - spread)
    if gap >= limit:
        return gap
    for i in range(3):
        i1, i2 = (i + 1) % 3, (i + 2) % 3
        for j in range(3):
            length = 1.0 - A_T_B[i, j] * A_T_B[i, j]
            if length < 1e-6:
                continue
            j1, j2 = (j + 1) % 3, (j + 2) % 3
            along = A_T_B[i2, 3] * A_T_B[i1, j] - A_T_B[i1, 3] * A_T_B[i2, j]
            spread = (
                a[i1] * abs(A_T_B[i2, j])
                + a[i2] * abs(A_T_B[i1, j])
                + b[j1] * abs(A_T_B[i, j2])
                + b[j2] * abs(A_T_B[i, j1])
            )
            gap = max(gap, (abs(along) - spread) / math.sqrt(length))
            if gap >= limit:
                return gap
    if gap <= 0.0:
        return gap
    return _box_distance(a, b, A_T_B)


@njit(cache=True)
def _box_distance(a: NDArray[np.float64], b: NDArray[np.float64], A_T_B: NDArray[np.float64]) -> float:
    """Distance of two boxes that do not overlap: the least between corners and boxes, and between edges."""
    least = math.inf
    for corner in range(8):
        x, y, z = 2.0 * (corner & 1) - 1.0, float(corner & 2) - 1.0, 0.5 * (corner & 4) - 1.0
        px, py, pz = place(A_T_B, x * b[0], y * b[1], z * b[2])
        least = min(least, _outside(a, px, py, pz))
        dx, dy, dz = x * a[0] - A_T_B[0, 3], y * a[1] - A_T_B[1, 3], z * a[2] - A_T_B[2, 3]
        px = A_T_B[0, 0] * dx + A_T_B[1, 0] * dy + A_T_B[2, 0] * dz
        py = A_T_B[0, 1] * dx + A_T_B[1, 1] * dy + A_T_B[2, 1] * dz
        pz = A_T_B[0, 2] * dx + A_T_B[1, 2] * dy + A_T_B[2, 2] * dz
        least = min(least, _outside(b, px, py, pz))
    for i in range(3):
        for j in range(3):
            cosine = A_T_B[i, j]
            bend = 1.0 - cosine * cosine
            if bend < 1e-9:
                continue  # parallel edges are as near as a corner and an edge
            for corner in range(16):
                # From the middle of an edge of A along its axis i to the middle of an edge of B along its axis j.
                u, v = 2.0 * (corner & 1) - 1.0, float(corner & 2) - 1.0
                r, s = 0.5 * (corner & 4) - 1.0, 0.25 * (corner & 8) - 1.0
                j1, j2 = (j + 1) % 3, (j + 2) % 3
                i1, i2 = (i + 1) % 3, (i + 2) % 3
                along = A_T_B[i, 3] + r * b[j1] * A_T_B[i, j1] + s * b[j2] * A_T_B[i, j2]
                first = A_T_B[i1, 3] + r * b[j1] * A_T_B[i1, j1] + s * b[j2] * A_T_B[i1, j2] - u * a[i1]
                second = A_T_B[i2, 3] + r * b[j1] * A_T_B[i2, j1] + s * b[j2] * A_T_B[i2, j2] - v * a[i2]
                slope = along * cosine + first * A_T_B[i1, j] + second * A_T_B[i2, j]
                on_b = min(max((along * cosine - slope) / bend, -b[j]), b[j])
                on_a = min(max(along + on_b * cosine, -a[i]), a[i])
                on_b = min(max(on_a * cosine - slope, -b[j]), b[j])
                dx = along + on_b * cosine - on_a
                dy, dz = first + on_b * A_T_B[i1, j], second + on_b * A_T_B[i2, j]
                least = min(least, dx * dx + dy * dy + dz * dz)
    return math.sqrt(least)


@njit(cache=True)
def _outside(half: NDArray[np.float64], x: float, y: float, z: float) -> float:
    """Squared distance of a point to a box about the origin."""
    dx, dy, dz = max(abs(x) - half[0], 0.0), max(abs(y) - half[1], 0.0), max(abs(z) - half[2], 0.0)
    return dx * dx + dy * dy + dz * dz
