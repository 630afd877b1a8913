"""A hand as plain arrays, for the compiled kernels: tree, collision solids, surface points and joint ancestry."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from dexgrasp_description.primitives import Primitive
from numpy.typing import NDArray

from dexgrasp_description import HandModel

FIXED, REVOLUTE, PRISMATIC = 0, 1, 2
_KINDS = {"fixed": FIXED, "revolute": REVOLUTE, "prismatic": PRISMATIC}

_SPACING = 0.004  # between surface points [m]
_PATCH = 16  # surface points of one patch, at most
_INNER = 0.006  # a surface point this near a contact point of the data file belongs to the inner side [m]


class HandArrays(NamedTuple):
    """What the kernels know about a hand with L links and D joints. Link 0 is the palm; parents come before children.

    Lists per link are stored end to end: link `l` owns rows `start[l]` to `start[l + 1]`.

    Attributes:
        parent: array (L,), link to which each link is attached; -1 for the palm.
        kind: array (L,), `FIXED`, `REVOLUTE` or `PRISMATIC`: the joint that carries the link.
        column: array (L,), index of that joint in the joint positions; -1 where it is fixed.
        origin: array (L, 3, 4), pose of the link in its parent at position zero.
        axis: array (L, 3), joint axis, link frame.
        lower, upper: arrays (D,), joint limits [rad or m].
        carries: array (L, D) bool, which joints move each link.
        ball: array (L, 4), centre and radius of a sphere about the link's solids, link frame [m]; radius -1: none.
        solid_start: array (L + 1,), into the arrays of the P solids, each a box grown by a radius.
        solid_pose: array (P, 3, 4), link frame.
        solid_half: array (P, 3), half sizes of the box [m].
        solid_round: array (P,), radius by which it is grown [m].
        solid_ball: array (P,), radius of the sphere about it, centred in it [m].
        pairs: array (M, 2), links of which neither may touch the other.
        sphere_start: array (L + 1,), into the spheres.
        spheres: array (S, 4), centres and radii of spheres inside the solids, which they fill but for edges and
            corners, link frame [m].
        patch_start: array (L + 1,), into the patches: groups of neighbouring surface points.
        patch_ball: array (Q, 4), centre and radius of the sphere about each patch, link frame [m].
        point_start: array (Q + 1,), into the surface points, by patch.
        node_start: array (L + 1,), into the nodes: for each link a tree of groups of patches, before their halves.
        node_ball: array (N, 4), centre and radius of the sphere about each group, link frame [m].
        node_end: array (N,), the node after the last descendant of each.
        node_patch: array (N,), the patch that a node is; -1: a group of several.
        points: array (K, 3), on the outside of the links, 4 mm apart, edges and corners included, link frame [m].
        normals: array (K, 3), outward.
        inner: array (K,) bool, points on the side with which the hand is meant to touch.
    """

    parent: NDArray[np.int64]
    kind: NDArray[np.int64]
    column: NDArray[np.int64]
    origin: NDArray[np.float64]
    axis: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    carries: NDArray[np.bool_]
    ball: NDArray[np.float64]
    solid_start: NDArray[np.int64]
    solid_pose: NDArray[np.float64]
    solid_half: NDArray[np.float64]
    solid_round: NDArray[np.float64]
    solid_ball: NDArray[np.float64]
    pairs: NDArray[np.int64]
    sphere_start: NDArray[np.int64]
    spheres: NDArray[np.float64]
    patch_start: NDArray[np.int64]
    patch_ball: NDArray[np.float64]
    point_start: NDArray[np.int64]
    node_start: NDArray[np.int64]
    node_ball: NDArray[np.float64]
    node_end: NDArray[np.int64]
    node_patch: NDArray[np.int64]
    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    inner: NDArray[np.bool_]


@cache
def hand_arrays(hand: HandModel) -> HandArrays:
    """The arrays of a hand; the same object for the same hand."""
    links = hand.links
    count = len(links)
    parent, kind, column = np.full(count, -1), np.zeros(count, dtype=np.int64), np.full(count, -1)
    origin, axis = np.tile(np.eye(4)[:3], (count, 1, 1)), np.zeros((count, 3))
    carries = np.zeros((count, len(hand.joint_names)), dtype=bool)
    for joint in hand.joints:
        link = links.index(joint.child)
        parent[link], kind[link] = links.index(joint.parent), _KINDS[joint.kind]
        origin[link], axis[link] = joint.parent_T_joint[:3], joint.axis
        carries[link] = carries[parent[link]]
        if joint.kind != "fixed":
            column[link] = hand.joint_names.index(joint.name)
            carries[link, column[link]] = True
    solids = [hand.primitives_of(link) for link in links]
    flat = [solid for own in solids for solid in own]
    shapes = [solid.rounded_box() for solid in flat]
    half = np.array([shape[0] for shape in shapes]).reshape(-1, 3)
    radius = np.array([shape[1] for shape in shapes])
    pairs = [
        (i, j)
        for i in range(count)
        for j in range(i + 1, count)
        if solids[i] and solids[j] and frozenset((links[i], links[j])) not in hand.ignored_pairs
    ]
    spheres = [np.concatenate([np.zeros((0, 4)), *map(_inscribed_spheres, own)]) for own in solids]
    surfaces = [_surface(hand, link, own) for link, own in zip(links, solids, strict=True)]
    trees = [_tree(surface[0]) for surface in surfaces]
    first, patch_start, node_start = (
        _starts(lists)
        for lists in (
            [surface[0] for surface in surfaces], [tree.patches for tree in trees], [tree.balls for tree in trees]
        )
    )  # fmt: skip
    rows = [row + first[i] for i, tree in enumerate(trees) for row in tree.patches]
    ends = [np.array(tree.ends, dtype=np.int64) + node_start[i] for i, tree in enumerate(trees)]
    leaves = [np.array(tree.leaves, dtype=np.int64) for tree in trees]
    leaves = [np.where(own < 0, -1, own + patch_start[i]) for i, own in enumerate(leaves)]
    points, normals, inner = (np.concatenate(arrays) for arrays in zip(*surfaces, strict=True))
    order = np.concatenate(rows)
    return HandArrays(
        parent=parent,
        kind=kind,
        column=column,
        origin=origin,
        axis=axis,
        lower=np.array(hand.lower),
        upper=np.array(hand.upper),
        carries=carries,
        ball=np.array([_ball(points) for points, _, _ in surfaces]),
        solid_start=_starts(solids),
        solid_pose=np.array([solid.link_T_geom[:3] for solid in flat]).reshape(-1, 3, 4),
        solid_half=half,
        solid_round=radius,
        solid_ball=np.linalg.norm(half, axis=1) + radius,
        pairs=np.array(pairs, dtype=np.int64).reshape(-1, 2),
        sphere_start=_starts(spheres),
        spheres=np.concatenate(spheres),
        patch_start=patch_start,
        patch_ball=np.array([_ball(points[row]) for row in rows]),
        point_start=_starts(rows),
        node_start=node_start,
        node_ball=np.array([ball for tree in trees for ball in tree.balls]).reshape(-1, 4),
        node_end=np.concatenate(ends),
        node_patch=np.concatenate(leaves),
        points=points[order],
        normals=normals[order],
        inner=inner[order],
    )


def _starts(lists: list) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(entries) for entries in lists], dtype=np.int64)])


def _ball(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sphere about points (N, 3), centred in their bounding box."""
    if not len(points):
        return np.array([0.0, 0.0, 0.0, -1.0])
    centre = 0.5 * (points.min(axis=0) + points.max(axis=0))
    return np.append(centre, np.linalg.norm(points - centre, axis=1).max())


def _inscribed_spheres(solid: Primitive) -> NDArray[np.float64]:
    """Spheres (S, 4) as thick as the solid, at most a radius apart, in the link frame."""
    if solid.kind == "box":
        half, radius = solid.size, float(solid.size.min())
    else:
        radius = float(solid.size[0])
        half = np.array([radius, radius, radius if solid.kind == "sphere" else solid.size[1] + radius])
        if solid.kind == "cylinder":
            radius = float(solid.size.min())
            half = np.array([solid.size[0], solid.size[0], solid.size[1]])
    if radius < _SPACING:
        return np.zeros((0, 4))  # of what is so thin the surface points miss nothing
    inset = half - radius
    counts = [int(np.ceil(2.0 * room / radius)) + 1 if room > 1e-6 else 1 for room in inset]
    steps = [np.linspace(-room, room, count) if count > 1 else [0.0] for room, count in zip(inset, counts, strict=True)]
    centres = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    if solid.kind == "cylinder":
        centres = centres[np.linalg.norm(centres[:, :2], axis=1) < solid.size[0] - radius + 1e-9]
    centres = centres @ solid.link_T_geom[:3, :3].T + solid.link_T_geom[:3, 3]
    return np.column_stack([centres, np.full(len(centres), radius)])


def _surface(
    hand: HandModel, link: str, own: tuple[Primitive, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Points (K, 3) and normals (K, 3) on the outside of a link's solids, and which lie on the inner side (K,)."""
    kept: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = [(np.zeros((0, 3)), np.zeros((0, 3)))]
    for number, solid in enumerate(own):
        points, normals = _lattice(solid)
        outside = np.ones(len(points), dtype=bool)
        for other_number, other in enumerate(own):
            if other_number != number:
                outside &= other.signed_distance(points + 1e-6 * normals) > 0.0
        kept.append((points[outside], normals[outside]))
    points, normals = (np.concatenate(arrays) for arrays in zip(*kept, strict=True))
    inner = np.zeros(len(points), dtype=bool)
    if link in hand.contact_points:
        targets, directions = hand.contact_points[link]
        apart = np.linalg.norm(points[:, None] - targets, axis=2)
        inner = ((apart < _INNER) & (normals @ directions.T > 0.6)).any(axis=1)
    return points, normals, inner


def _lattice(solid: Primitive) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (K, 3) and normals (K, 3) about `_SPACING` apart on the whole surface, link frame."""
    if solid.kind == "box":
        steps = [np.linspace(-1.0, 1.0, int(np.ceil(2.0 * half / _SPACING)) + 1) for half in solid.size]
        unit = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
        normals = np.where(np.abs(unit) == 1.0, unit, 0.0)
        on_surface = normals.any(axis=1)
        points, normals = unit[on_surface] * solid.size, normals[on_surface]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    else:
        points, normals = _round_lattice(solid)
    link_R_geom = solid.link_T_geom[:3, :3]
    return points @ link_R_geom.T + solid.link_T_geom[:3, 3], normals @ link_R_geom.T


def _round_lattice(solid: Primitive) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rings about z, in the solid's own frame."""
    radius = float(solid.size[0])
    half = 0.0 if solid.kind == "sphere" else float(solid.size[1])
    rings: list[tuple[float, float, float, float]] = []  # radius and height of the ring; radial and axial normal
    for z in np.linspace(-half, half, int(np.ceil(2.0 * half / _SPACING)) + 1):
        rings.append((radius, z, 1.0, 0.0))
    for sign in (-1.0, 1.0):
        if solid.kind == "cylinder":
            rings += [(r, sign * half, 0.0, sign) for r in np.arange(0.0, radius, _SPACING)]
        else:
            count = int(np.ceil(0.5 * np.pi * radius / _SPACING))
            for angle in np.linspace(0.0, 0.5 * np.pi, count + 1)[1:]:
                c, s = np.cos(angle), np.sin(angle)
                rings.append((radius * c, sign * (half + radius * s), c, sign * s))
    points, normals = [], []
    for r, z, radial, axial in rings:
        count = max(1, int(np.ceil(2.0 * np.pi * r / _SPACING - 1e-9)))
        angles = 2.0 * np.pi / count * np.arange(count)
        ring = np.column_stack([np.cos(angles), np.sin(angles), np.ones(len(angles))])
        points.append(ring * [r, r, z])
        normals.append(ring * [radial, radial, axial])
    return np.concatenate(points), np.concatenate(normals)


class _Tree(NamedTuple):
    """Patches of one link's surface points and the balls about patches and groups of them, each before its halves."""

    patches: list[NDArray[np.int64]]
    balls: list[NDArray[np.float64]]
    ends: list[int]  # the node that follows each node's last descendant
    leaves: list[int]  # the patch that each node is; -1: a group


def _tree(points: NDArray[np.float64]) -> _Tree:
    """Rows of points (N, 3) in compact groups: halved across the longest side until they are small."""
    tree = _Tree([], [], [], [])

    def add(rows: NDArray[np.int64]) -> None:
        node = len(tree.balls)
        tree.balls.append(_ball(points[rows]))
        tree.ends.append(0)
        tree.leaves.append(-1)
        if len(rows) <= _PATCH:
            tree.leaves[node] = len(tree.patches)
            tree.patches.append(rows)
        else:
            side = int(np.ptp(points[rows], axis=0).argmax())
            rows = rows[np.argsort(points[rows, side], kind="stable")]
            add(rows[: len(rows) // 2])
            add(rows[len(rows) // 2 :])
        tree.ends[node] = len(tree.balls)

    if len(points):
        add(np.arange(len(points)))
    return tree
