"""Where a hand's fingertips can touch, and in which directions: sampled once per hand, looked up per wrist pose.

The idea is Lightning Grasp's (Yin and Abbeel, arXiv 2511.07418): joints are sampled, the fingertip contacts that they
make are stored in voxels, and a surface point of an object is within a finger's reach if its voxel holds a contact
whose normal opposes the surface's.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from dexgrasp_description.models import Fingertip
from dexgrasp_planner.finger_chains import FingerChains, finger_chains, tip_pose
from numba import njit
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.errors import SynthesisError
from dexgrasp_training.synthesis.hand_arrays import HandArrays, hand_arrays
from dexgrasp_training.synthesis.kernels import link_poses, place

VOXEL = 0.01  # [m]
SAMPLES = 200_000  # joint samples of each finger
NORMAL_TOLERANCE = 0.2  # between a contact's normal and the direction it is stored for [rad]
WIDEST_PINCH = 0.12  # [m]
_PAD_ANGLE = 0.9  # the pad of a tip is the surface whose normal is this near to the inner normal [rad]
_PAD_POINTS = 192
_CELLS = 16  # directions are told apart by a square of this many cells a side, wrapped around the sphere
_PINCHES = 8192


class FingerFields(NamedTuple):
    """Contacts that each of F fingers can make, palm frame; the M of all fingers are ordered by finger and voxel.

    Attributes:
        corner: array (F, 3), lowest corner of each finger's first voxel [m].
        shape: array (F, 3), each finger's voxels along x, y, z.
        first: array (F,), number of each finger's first voxel among the V of all.
        start: array (V + 1,), where each voxel's contacts start.
        reach: array (V, 4) uint64, one bit for each direction cell that holds a contact's normal.
        point: array (M, 3), float32 [m].
        normal: array (M, 3), float32, out of the finger.
        joints: array (M, m), float32, positions of the finger's joints [rad].
        pad: array (M,), which point of the finger's pad touches.
        probe: array (M, B, 3), float32, centres of balls inside the finger's other links [m].
        probe_radius: array (F, B) [m]; negative where a finger has fewer.
        pad_point: array (F, P, 3) [m], tip frame.
        pad_normal: array (F, P, 3), tip frame.
    """

    corner: NDArray[np.float64]
    shape: NDArray[np.int64]
    first: NDArray[np.int64]
    start: NDArray[np.int64]
    reach: NDArray[np.uint64]
    point: NDArray[np.float32]
    normal: NDArray[np.float32]
    joints: NDArray[np.float32]
    pad: NDArray[np.int64]
    probe: NDArray[np.float32]
    probe_radius: NDArray[np.float64]
    pad_point: NDArray[np.float64]
    pad_normal: NDArray[np.float64]


class Pinches(NamedTuple):
    """Opposed contacts of two fingers, in the order of their widths.

    Attributes:
        point: array (P, 3), contact of the first finger [m], palm frame.
        normal: array (P, 3), its normal; the second finger's is the opposite one.
        width: array (P,), distance between the contacts along the normal [m].
    """

    point: NDArray[np.float64]
    normal: NDArray[np.float64]
    width: NDArray[np.float64]


class ContactDomains(NamedTuple):
    """The fields of a hand.

    Attributes:
        chains: Joints of the fingers.
        fields: Contacts of the fingers.
        pinches: What two fingers can hold between them.
        box: array (2, 3), lower and upper corner of where pinched things are [m], palm frame.
    """

    chains: FingerChains
    fields: FingerFields
    pinches: Pinches
    box: NDArray[np.float64]


@cache
def contact_domains(hand: HandModel, samples: int = SAMPLES) -> ContactDomains:
    """The fields of a hand; the same for the same arguments.

    Args:
        hand: The hand.
        samples: Joint samples of each finger.

    Raises:
        SynthesisError: Fewer than two fingertips can be placed freely, or none opposes another.
    """
    chains = finger_chains(hand)
    if len(chains.length) < 2 or chains.length.min() < 3:
        counts = {tip.name: int(count) for tip, count in zip(hand.fingertips, chains.length, strict=True)}
        raise SynthesisError(
            f"Contact fields need a hand whose two or more fingertips move in space, by three joints each at least; "
            f"{hand.name} has {counts}. Use the method 'closing' for it."
        )
    rng = np.random.default_rng(0)
    fields = _fields(hand, chains, samples, rng)
    found = _pinches(fields, _PINCHES, 200 * _PINCHES, rng)
    if len(found) < 100:
        raise SynthesisError(f"No two fingertips of {hand.name} oppose each other; precision grasps need that.")
    found = found[np.argsort(found[:, 6], kind="stable")]
    pinches = Pinches(*(np.ascontiguousarray(part) for part in (found[:, :3], found[:, 3:6], found[:, 6])))
    middles = pinches.point + 0.5 * pinches.width[:, None] * pinches.normal
    return ContactDomains(chains, fields, pinches, np.quantile(middles, [0.05, 0.95], axis=0))


def _fields(hand: HandModel, chains: FingerChains, samples: int, rng: np.random.Generator) -> FingerFields:
    fingers, most = chains.lower.shape
    corner, shape, first = np.empty((fingers, 3)), np.empty((fingers, 3), dtype=np.int64), [0]
    counts, reaches, contacts = [], [], []
    pads = [_pad(hand, tip, rng) for tip in hand.fingertips]
    arrays = hand_arrays(hand)
    balls = [
        _inner_balls(hand, chains.columns[finger, : chains.length[finger]], tip.link)
        for finger, tip in enumerate(hand.fingertips)
    ]
    most_balls = max(len(links) for links, _ in balls)
    probe_radius = np.full((fingers, most_balls), -1.0)
    for finger, (pad_point, pad_normal) in enumerate(pads):
        point, normal = np.empty((samples, 3)), np.empty((samples, 3))
        joints, pad = np.zeros((samples, most)), np.empty(samples, dtype=np.int64)
        links, spheres = balls[finger]
        probe_radius[finger, : len(links)] = spheres[:, 3]
        probe = np.zeros((samples, most_balls, 3))
        _sample_contacts(
            chains,
            finger,
            pad_point,
            pad_normal,
            rng,
            arrays,
            hand.home,
            links,
            spheres,
            point,
            normal,
            joints,
            pad,
            probe,
        )
        corner[finger] = point.min(axis=0) - 0.5 * VOXEL
        cell = np.floor((point - corner[finger]) / VOXEL).astype(np.int64)
        shape[finger] = cell.max(axis=0) + 1
        voxel = (cell[:, 0] * shape[finger, 1] + cell[:, 1]) * shape[finger, 2] + cell[:, 2]
        voxels = int(shape[finger].prod())
        reach = np.zeros((voxels, _CELLS * _CELLS // 64), dtype=np.uint64)
        _mark_directions(voxel, normal, _cell_directions(), np.cos(NORMAL_TOLERANCE), reach)
        order = np.argsort(voxel, kind="stable")
        contacts.append([array[order] for array in (point, normal, joints, pad, probe)])
        counts.append(np.bincount(voxel, minlength=voxels))
        reaches.append(reach)
        first.append(first[-1] + voxels)
    point, normal, joints, pad, probe = (np.concatenate(arrays) for arrays in zip(*contacts, strict=True))
    return FingerFields(
        corner,
        shape,
        np.array(first[:-1], dtype=np.int64),
        np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64),
        np.concatenate(reaches),
        point.astype(np.float32),
        normal.astype(np.float32),
        joints.astype(np.float32),
        pad,
        probe.astype(np.float32),
        probe_radius,
        np.stack([points for points, _ in pads]),
        np.stack([normals for _, normals in pads]),
    )


def _pad(hand: HandModel, tip: Fingertip, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (P, 3) [m] and normals (P, 3) of a tip's gripping surface, tip frame.

    It is the outside of the primitive that bulges furthest to the gripping side at the tip's centre, without
    what lies inside the link's other primitives.
    """
    own = hand.primitives_of(tip.link)
    distances = [float(primitive.signed_distance(tip.centre[None])[0]) for primitive in own]
    main = own[int(np.argmin(distances))]
    points, normals = main.sample_surface(64 * _PAD_POINTS, rng)
    keep = normals @ tip.inner_normal > np.cos(_PAD_ANGLE)
    for other in own:
        if other is not main:
            keep &= other.signed_distance(points + 1e-6 * normals) > 0.0
    points, normals = points[keep], normals[keep]
    if len(points) < _PAD_POINTS:
        raise SynthesisError(f"The tip {tip.name} of {hand.name} has no surface that faces its inner normal.")
    # Farthest points: a smooth tip lies within hundredths of a millimetre of some of them.
    chosen, nearest = [0], np.full(len(points), np.inf)
    while len(chosen) < _PAD_POINTS:
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(nearest.argmax()))
    return points[chosen], normals[chosen]


def _inner_balls(
    hand: HandModel, columns: NDArray[np.int64], tip: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The largest ball inside each of a finger's links but the tip: links (B,) and spheres (B, 4), link frame [m]."""
    arrays = hand_arrays(hand)
    links, spheres = [], []
    for link, name in enumerate(hand.links):
        own = arrays.spheres[arrays.sphere_start[link] : arrays.sphere_start[link + 1]]
        if len(own) and name != tip and arrays.carries[link, columns].any():
            links.append(link)
            spheres.append(own[own[:, 3].argmax()])
    return np.array(links, dtype=np.int64), np.array(spheres).reshape(-1, 4)


@njit(cache=True)
def _sample_contacts(
    chains: FingerChains,
    finger: int,
    pad_point: NDArray[np.float64],
    pad_normal: NDArray[np.float64],
    rng: np.random.Generator,
    arrays: HandArrays,
    home: NDArray[np.float64],
    links: NDArray[np.int64],
    spheres: NDArray[np.float64],
    point: NDArray[np.float64],
    normal: NDArray[np.float64],
    joints: NDArray[np.float64],
    pad: NDArray[np.int64],
    probe: NDArray[np.float64],
) -> None:
    """Random joints within the limits, a random point of the pad, the contact that they make, and the links' balls."""
    q, poses = home.copy(), np.empty((len(arrays.parent), 3, 4))
    count = chains.length[finger]
    palm_T_tip, axes, centres = np.empty((3, 4)), np.empty((count, 3)), np.empty((count, 3))
    for i in range(len(point)):
        for k in range(count):
            joints[i, k] = rng.uniform(chains.lower[finger, k], chains.upper[finger, k])
            q[chains.columns[finger, k]] = joints[i, k]
        link_poses(arrays, q, poses)
        for b in range(len(links)):
            probe[i, b, 0], probe[i, b, 1], probe[i, b, 2] = place(
                poses[links[b]], spheres[b, 0], spheres[b, 1], spheres[b, 2]
            )
        tip_pose(chains, finger, joints[i, :count], palm_T_tip, axes, centres)
        chosen = rng.integers(0, len(pad_point))
        pad[i] = chosen
        for r in range(3):
            point[i, r] = palm_T_tip[r, 3]
            normal[i, r] = 0.0
            for c in range(3):
                point[i, r] += palm_T_tip[r, c] * pad_point[chosen, c]
                normal[i, r] += palm_T_tip[r, c] * pad_normal[chosen, c]


@njit(cache=True)
def direction_cell(x: float, y: float, z: float) -> int:
    """The cell of a unit vector: the octahedron |x| + |y| + |z| = 1, unfolded to a square."""
    size = abs(x) + abs(y) + abs(z)
    u, v = x / size, y / size
    if z < 0.0:
        u, v = (1.0 - abs(v)) * (1.0 if u >= 0.0 else -1.0), (1.0 - abs(u)) * (1.0 if v >= 0.0 else -1.0)
    column = min(int(0.5 * (u + 1.0) * _CELLS), _CELLS - 1)
    row = min(int(0.5 * (v + 1.0) * _CELLS), _CELLS - 1)
    return column * _CELLS + row


def _cell_directions() -> NDArray[np.float64]:
    """Unit vectors (256, 3) to the middles of the cells."""
    middles = (np.arange(_CELLS) + 0.5) * 2.0 / _CELLS - 1.0
    u, v = (a.ravel() for a in np.meshgrid(middles, middles, indexing="ij"))
    z = 1.0 - np.abs(u) - np.abs(v)
    folded = np.maximum(-z, 0.0)
    directions = np.column_stack([u - np.sign(u) * folded, v - np.sign(v) * folded, z])
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


@njit(cache=True)
def _mark_directions(
    voxel: NDArray[np.int64],
    normal: NDArray[np.float64],
    directions: NDArray[np.float64],
    least: float,
    reach: NDArray[np.uint64],
) -> None:
    one = np.uint64(1)
    for i in range(len(voxel)):
        for cell in range(len(directions)):
            if (
                normal[i, 0] * directions[cell, 0]
                + normal[i, 1] * directions[cell, 1]
                + normal[i, 2] * directions[cell, 2]
                > least
            ):
                reach[voxel[i], cell >> 6] |= one << np.uint64(cell & 63)


@njit(cache=True)
def _voxel_of(fields: FingerFields, finger: int, point: NDArray[np.float64]) -> int:
    """Number of a finger's voxel that holds a point [m], palm frame; -1 outside."""
    voxel = 0
    for k in range(3):
        cell = int(np.floor((point[k] - fields.corner[finger, k]) / VOXEL))
        if cell < 0 or cell >= fields.shape[finger, k]:
            return -1
        voxel = voxel * fields.shape[finger, k] + cell
    return fields.first[finger] + voxel


@njit(cache=True)
def reaches(fields: FingerFields, finger: int, point: NDArray[np.float64], direction: NDArray[np.float64]) -> bool:
    """Whether a finger can touch at a point (3,) [m] with its normal in a direction (3,), palm frame."""
    voxel = _voxel_of(fields, finger, point)
    if voxel < 0:
        return False
    cell = direction_cell(direction[0], direction[1], direction[2])
    return (fields.reach[voxel, cell >> 6] >> np.uint64(cell & 63)) & np.uint64(1) != 0


@njit(cache=True)
def nearest_contacts(
    fields: FingerFields,
    finger: int,
    point: NDArray[np.float64],
    direction: NDArray[np.float64],
    found: NDArray[np.int64],
) -> int:
    """The stored contacts of a point's voxel that are nearest in place and normal, nearest first.

    A radian counts as 3 cm: positions are easily corrected, normals less so.

    Args:
        fields: The fingers.
        finger: Which of them.
        point: (3,) [m], palm frame.
        direction: (3,), wanted normal, palm frame.
        found: Result (K,), rows of the fields' contacts.

    Returns:
        How many there are, at most K.
    """
    voxel = _voxel_of(fields, finger, point)
    if voxel < 0:
        return 0
    costs = np.full(len(found), np.inf)
    count = 0
    for row in range(fields.start[voxel], fields.start[voxel + 1]):
        cost = 0.0
        for k in range(3):
            cost += (fields.point[row, k] - point[k]) ** 2 + (0.03 * (fields.normal[row, k] - direction[k])) ** 2
        if cost >= costs[-1]:
            continue
        at = min(count, len(found) - 1)
        while at > 0 and costs[at - 1] > cost:
            costs[at], found[at] = costs[at - 1], found[at - 1]
            at -= 1
        costs[at], found[at] = cost, row
        count = min(count + 1, len(found))
    return count


@njit(cache=True)
def _pinches(fields: FingerFields, count: int, trials: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Rows (P, 7) of point, normal and width, P <= count."""
    found = np.empty((count, 7))
    number, fingers = 0, len(fields.first)
    point, direction = np.empty(3), np.empty(3)
    for _ in range(trials):
        i = rng.integers(0, len(fields.point))
        first = i * fingers // len(fields.point)
        second = int((first + rng.integers(1, fingers)) % fingers)
        width = rng.uniform(0.0, WIDEST_PINCH)
        for k in range(3):
            point[k] = fields.point[i, k] + width * fields.normal[i, k]
            direction[k] = -fields.normal[i, k]
        if reaches(fields, second, point, direction):
            for k in range(3):
                found[number, k] = fields.point[i, k]
                found[number, 3 + k] = fields.normal[i, k]
            found[number, 6] = width
            number += 1
            if number == count:
                break
    return found[:number]
