"""Where the optimisers start: antipodal pairs retargeted to the hand, and an inflated convex hull around the object.

DexGraspNet 2.0 (D.1) retargets the gripper labels of GraspNet-1Billion: a pair of opposite surface points, 256 approach
directions, 12 in-plane angles, 4 depths, the palm a fixed distance back, predefined joints. Here the pairs are found
on the object itself, and the predefined joints are the hand's grips, postures in which the thumb faces the other
fingers; which of them is taken depends on the width of the pair. DexGraspNet 1 places the palm on an inflated convex
hull, facing inward with a jitter, joints about the resting posture; a share of the poses is made so, as antipodal pairs
do not lead to every grasp. Like the gripper labels, the poses are clear of the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from dexgrasp_common.parameters import param
from numba import njit
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.stats import truncnorm

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.synthesis.fingers import find_fingers, find_grips
from dexgrasp_training.synthesis.hand_arrays import HandArrays, hand_arrays
from dexgrasp_training.synthesis.kernels import clearance, link_poses
from dexgrasp_training.synthesis.resting import DRAWS, Resting

Array = NDArray[np.float64]

DEPTHS = (-0.01, 0.0, 0.01, 0.02)  # how much farther than the fingers' middle the pair lies [m]
_RAY_POINTS, _RAY_STEP, _RAY_LENGTH = 1024, 0.0015, 0.15  # [m]
_ROOM = (0.004, 0.05)  # between the object and the open fingertips, both sides together [m]


@dataclass(frozen=True)
class PoseConfig:
    """How initial poses are drawn."""

    hull_share: float = param(0.1, "share of poses from the inflated convex hull", range=(0.0, 1.0))
    draws: int = param(4, "poses drawn for each that is kept; the clearest of the object are", range=(1, 100))
    antipodal_angle: float = param(0.35, "normals of a pair against their line, at most [rad]", range=(0.0, 1.5))
    jitter_angle: float = param(0.15, "random rotation of antipodal poses, standard deviation [rad]", range=(0.0, 1.0))
    jitter_place: float = param(0.005, "random shift of antipodal poses, standard deviation [m]", range=(0.0, 0.1))
    inflation: float = param(0.01, "distance of the hull from the object [m]", range=(0.0, 0.3))
    distance: float = param(0.05, "of the palm from that hull, at most [m]", range=(0.0, 0.3))
    cone: float = param(0.52, "approach directions about the hull's inward normal, at most [rad]", range=(0.0, 1.5))
    spread: float = param(0.1, "standard deviation of joints about home, as a share of their range", range=(0.0, 1.0))


@dataclass(frozen=True, eq=False)
class InitialPoses:
    """N poses, not yet touching.

    Attributes:
        object_T_palm: array (N, 4, 4).
        q: array (N, D) [rad or m].
        speed: array (N, D), direction in which the joints close; the fastest move by up to 1.
    """

    object_T_palm: Array
    q: Array
    speed: Array


def initial_poses(
    hand: HandModel,
    asset: ObjectAsset,
    count: int,
    rng: np.random.Generator,
    config: PoseConfig,
    resting: Resting | None = None,
) -> InitialPoses:
    """Poses from antipodal pairs, and from the hull for the configured share and where there are no pairs.

    See `GraspMethod.generate` for `resting`.

    Raises:
        SynthesisError: The hand has no fingers that face each other.
    """
    drawn = config.draws * count * (DRAWS if resting else 1)
    widest = float(find_grips(hand).width[-1]) - _thickness(hand) - _ROOM[0]
    pairs = antipodal_pairs(asset, widest, config.antipodal_angle, rng)
    wanted = drawn - int(round(config.hull_share * drawn)) if len(pairs[0]) else 0
    first = retargeted(hand, *pairs, wanted, rng, config)
    second = around_hull(hand, asset, drawn - wanted, rng, config)
    order = rng.permutation(drawn)
    object_T_palm, q = (np.concatenate(parts)[order] for parts in zip(first, second, strict=True))
    if resting:
        rows = resting.preferred(object_T_palm, config.draws * count, rng)
        object_T_palm, q = object_T_palm[rows], q[rows]
    field = asset.field
    room = _clearances(hand_arrays(hand), object_T_palm, q, field.values, field.origin, field.spacing)
    kept = np.sort(np.argsort(-room, kind="stable")[:count])
    ratios = rng.uniform(0.2, 1.0, (count, q.shape[1]))
    return InitialPoses(object_T_palm[kept], q[kept], ratios * find_fingers(hand).flexion)


def antipodal_pairs(asset: ObjectAsset, widest: float, angle: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Pairs of surface points that face away from each other, (N, 3) and (N, 3) [m].

    From each of a sample of surface points a ray goes inward; of the places where it leaves the object one is taken
    at random (a hollow object has several).

    Args:
        widest: Between the points [m].
        angle: Between either normal and the line, at most [rad].
    """
    rows = rng.permutation(len(asset.points))[:_RAY_POINTS]
    start, normal = asset.points[rows].astype(np.float64), asset.normals[rows].astype(np.float64)
    reach = np.arange(_RAY_STEP, max(min(widest, _RAY_LENGTH), _RAY_STEP) + _RAY_STEP, _RAY_STEP)
    direction = _tilted(-normal, 0.5 * angle, rng)
    distance = asset.field.distance(start[:, None] + reach[:, None] * direction[:, None])
    leaves = (distance[:, :-1] < 0.0) & (distance[:, 1:] >= 0.0)
    pick = np.where(leaves, rng.uniform(size=leaves.shape), -1.0).argmax(axis=1)
    every = np.arange(len(rows))
    before, after = distance[every, pick], distance[every, pick + 1]
    part = before / np.where(before == after, 1.0, before - after)
    end = start + (reach[pick] + part * _RAY_STEP)[:, None] * direction
    opposite = asset.field.distance_and_normal(end)[1]
    good = leaves.any(axis=1) & ((opposite * direction).sum(1) > np.cos(angle))
    return start[good], end[good]


def retargeted(
    hand: HandModel, first: Array, second: Array, count: int, rng: np.random.Generator, config: PoseConfig
) -> tuple[Array, Array]:
    """Palms (N, 4, 4) and joints (N, D) that take antipodal pairs between their fingers (DexGraspNet 2.0, D.1).

    The grip is one that is wider than the pair; the line across it is laid on the pair's, either way round; the
    approach direction about that line is uniform; the depth is one of `DEPTHS`.

    Args:
        first, second: arrays (M, 3), the pairs [m]; M may be 0 only if `count` is.
    """
    if not count:
        return np.zeros((0, 4, 4)), np.zeros((0, len(hand.joint_names)))
    grips = find_grips(hand)
    rows = rng.integers(len(first), size=count)
    flipped = rng.uniform(size=(count, 1)) < 0.5
    start, end = (np.where(flipped, a[rows], b[rows]) for a, b in ((second, first), (first, second)))
    width = np.linalg.norm(end - start, axis=1)
    needed = width + _thickness(hand)
    low = np.searchsorted(grips.width, needed + _ROOM[0]).clip(max=len(grips.width) - 1)
    high = np.maximum(np.searchsorted(grips.width, needed + _ROOM[1]), low + 1)
    grip = rng.integers(low, high)
    approach = np.broadcast_to(hand.approach_axis, (count, 3))
    object_R_pair = _frames((end - start) / np.maximum(width, 1e-9)[:, None], rng.normal(size=(count, 3)))
    palm_R_pair = _frames(grips.across[grip], approach)
    wobble = Rotation.from_rotvec(rng.normal(0.0, config.jitter_angle, (count, 3))).as_matrix()
    object_T_palm = np.tile(np.eye(4), (count, 1, 1))
    object_T_palm[:, :3, :3] = wobble @ object_R_pair @ palm_R_pair.transpose(0, 2, 1)
    depth = rng.choice(DEPTHS, size=(count, 1))
    place = 0.5 * (start + end) + rng.normal(0.0, config.jitter_place, (count, 3))
    between = grips.middle[grip] - depth * approach
    object_T_palm[:, :3, 3] = place - (object_T_palm[:, :3, :3] @ between[..., None])[..., 0]
    return object_T_palm, grips.posture[grip]


def around_hull(
    hand: HandModel, asset: ObjectAsset, count: int, rng: np.random.Generator, config: PoseConfig
) -> tuple[Array, Array]:
    """Palms (N, 4, 4) off the inflated convex hull facing inward, and joints (N, D) about home (DexGraspNet 1)."""
    joints = len(hand.joint_names)
    if not count:
        return np.zeros((0, 4, 4)), np.zeros((0, joints))
    hull = trimesh.convex.convex_hull(asset.model.mesh.vertices)
    face = rng.choice(len(hull.faces), size=count, p=hull.area_faces / hull.area)
    weights = rng.dirichlet(np.ones(3), size=count)
    normal = hull.face_normals[face]
    point = (weights[..., None] * hull.triangles[face]).sum(axis=1) + config.inflation * normal
    inward = _tilted(-normal, config.cone, rng)
    object_R_view = _frames(inward, rng.normal(size=(count, 3)))
    palm_R_view = _frames(hand.approach_axis[None], np.roll(hand.approach_axis, 1)[None])
    object_T_palm = np.tile(np.eye(4), (count, 1, 1))
    object_T_palm[:, :3, :3] = object_R_view @ palm_R_view.transpose(0, 2, 1)
    # What faces the hull's point lies in front of the palm, on the line through the middle of the grips.
    middle = np.median(find_grips(hand).middle, axis=0)
    facing = middle - (middle @ hand.approach_axis) * hand.approach_axis
    back = rng.uniform(0.0, config.distance, (count, 1)) + _palm_depth(hand)
    object_T_palm[:, :3, 3] = point - back * inward - object_T_palm[:, :3, :3] @ facing
    q = truncnorm.rvs(-2.0, 2.0, size=(count, joints), random_state=rng) * ~find_fingers(hand).idle
    return object_T_palm, (hand.home + config.spread * (hand.upper - hand.lower) * q).clip(hand.lower, hand.upper)


def _thickness(hand: HandModel) -> float:
    """Of two fingertips, from middle to pad [m]."""
    depth = [((hand.contact_points[tip.link][0] - tip.centre) @ tip.inner_normal).max() for tip in hand.fingertips]
    return float(2.0 * np.mean(depth))


def _palm_depth(hand: HandModel) -> float:
    """How far the base link's surface lies from its origin along the approach [m]."""
    arrays = hand_arrays(hand)
    palm = arrays.points[: arrays.point_start[arrays.patch_start[1]]]
    return float((palm @ hand.approach_axis).max(initial=0.0))


def _tilted(direction: Array, most: float, rng: np.random.Generator) -> Array:
    """Unit directions (N, 3) turned by up to `most` [rad]."""
    across = np.cross(direction, rng.normal(size=direction.shape))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    angle = most * rng.uniform(size=(len(direction), 1))
    return np.cos(angle) * direction + np.sin(angle) * across


def _frames(first: Array, about: Array) -> Array:
    """Rotations (N, 3, 3) whose first column is `first` (N, 3), the second as near to `about` (N, 3) as can be."""
    across = about - (about * first).sum(1, keepdims=True) * first
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    return np.stack([first, across, np.cross(first, across)], axis=2)


@njit(cache=True)
def _clearances(
    hand: HandArrays, object_T_palm: Array, q: Array, values: NDArray[np.float32], origin: Array, spacing: float
) -> Array:
    """Distance (N,) of the hand from the object, at most 0 and negative inside [m]."""
    result = np.empty(len(q))
    poses = np.empty((len(hand.parent), 3, 4))
    for row in range(len(q)):
        link_poses(hand, q[row], poses)
        result[row] = clearance(hand, poses, object_T_palm[row], values, origin, spacing, 0.0)
    return result
