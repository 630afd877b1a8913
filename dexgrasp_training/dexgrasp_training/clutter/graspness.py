"""Graspness: how many grasps reach for each place of an object's surface (DexGraspNet 2.0, Eqs. 1-4).

Each grasp has a cone, from the palm between thumb and fingers. The surface point that lies best in it is the grasp's
seed, and the seed votes for the points around. A seed does not depend on the scene; which grasps vote does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from dexgrasp_common.parameters import param
from dexgrasp_description.kinematics import ForwardKinematics
from numba import njit
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dexgrasp_description import Fingertip, HandModel
from dexgrasp_training.errors import SynthesisError
from dexgrasp_training.object_grasps import ObjectGrasps

FLOOR = 0.001  # Eq. 4: the score where nobody votes is ln 0.001
NO_SEED = -1

_HALF_ANGLE, _HALF_DEPTH = 10.0, 0.015  # Eq. 1: f halves at 10 degrees, and at 1.5 cm
_VOTE_DECAY = 150.0 * np.log(10.0)  # Eq. 3: 10^(-150 d) [1/m]
_VOTE_REACH = 0.05  # a vote from farther away is less than 10^-7.5: below what float16 tells from none [m]


@dataclass(frozen=True)
class GraspnessConfig:
    """Sizes of the cones and votes. The defaults are the paper's equations."""

    surface_points: int = param(2048, "Points of an object's surface that are voted for")
    aperture: float = param(60.0, "Opening angle of a grasp's cone [deg]", range=(1.0, 179.0))
    depth_window: float = param(np.inf, "A seed lies at most this much deeper than the first point in its cone [m]")
    pixel_reach: float = param(np.inf, "A pixel farther than this from every surface point gets no votes [m]")


VARIANTS = {
    "paper": GraspnessConfig(),
    # The authors' code also bounds the depth of seeds, and the squared distance of pixels by 0.015.
    "code": GraspnessConfig(surface_points=1000, depth_window=0.02, pixel_reach=float(np.sqrt(0.015))),
}


def cone_axes(
    hand: HandModel, object_T_palm: NDArray[np.float64], grasp: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Apex (N, 3) [m] and unit axis (N, 3) of each grasp's cone, object frame.

    The apex is the middle of the palm's bounding box, and the axis leads to the midpoint of the thumb's tip and the
    tip that opposes it: of the other fingertips the middle one in the hand's order (a gripper's first and second).

    Args:
        object_T_palm: array (N, 4, 4).
        grasp: array (N, D), joints [rad or m].

    Raises:
        SynthesisError: The hand has fewer than two fingertips, or no palm geometry.
    """
    apex_palm = _palm_centre(hand)
    poses = ForwardKinematics(hand).link_poses(torch.from_numpy(np.ascontiguousarray(grasp)))
    tips = []
    for tip in _opposed_tips(hand):
        palm_T_link = poses[tip.link].numpy()
        tips.append(palm_T_link[:, :3, :3] @ tip.centre + palm_T_link[:, :3, 3])
    axis_palm = 0.5 * (tips[0] + tips[1]) - apex_palm
    axis_palm /= np.linalg.norm(axis_palm, axis=1, keepdims=True)
    object_R_palm = object_T_palm[:, :3, :3]
    apex = object_R_palm @ apex_palm + object_T_palm[:, :3, 3]
    return apex, np.einsum("nij,nj->ni", object_R_palm, axis_palm)


def seed_points(
    hand: HandModel, grasps: ObjectGrasps, points: NDArray[np.float32], config: GraspnessConfig | None = None
) -> NDArray[np.int32]:
    """Index of the surface point that each grasp reaches for (Eqs. 1, 2): array (N,), `NO_SEED` for an empty cone.

    Args:
        points: array (P, 3) on the object's surface, object frame [m].

    Raises:
        SynthesisError: Cones cannot be told for this hand.
    """
    config = config or GraspnessConfig()
    apex, axis = cone_axes(hand, grasps.object_T_palm, grasps.grasp)
    return _seeds(apex, axis, points.astype(np.float64), np.cos(np.radians(config.aperture / 2.0)), config.depth_window)


def graspness(seeds: NDArray[np.int32], points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Score of every surface point (P,): `ln(0.001 + sum of 10^(-150 d))`, d from each seed (Eqs. 3, 4).

    Args:
        seeds: array (N,), indices of the points that grasps reach for; those that are `NO_SEED` do not vote.
        points: array (P, 3) on the object's surface [m].
    """
    sources, counts = np.unique(seeds[seeds != NO_SEED], return_counts=True)
    if not len(sources):
        return np.full(len(points), np.log(FLOOR))
    near = cKDTree(points).sparse_distance_matrix(cKDTree(points[sources]), _VOTE_REACH, output_type="ndarray")
    votes = np.exp(-_VOTE_DECAY * near["v"]) * counts[near["j"]]
    return np.log(FLOOR + np.bincount(near["i"], weights=votes, minlength=len(points)))


def pixel_graspness(
    scores: list[NDArray[np.float64]],
    surfaces: list[cKDTree],
    world_T_object: NDArray[np.float64],
    depth: NDArray[np.float32],
    ids: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    world_T_camera: NDArray[np.float64],
    reach: float,
) -> NDArray[np.float16]:
    """Score of each pixel of an object, in raster order: that of the nearest point of the object's surface.

    Pixels without depth, or farther than `reach` from the surface, have the score of no votes.

    Args:
        scores: Of each object's surface points (P,).
        surfaces: Of each object, the points that the scores belong to.
        world_T_object: array (M, 4, 4).
        depth: array (H, W) [m].
        ids: array (H, W), 0 for no object, else 1 + its index.
        matrix: array (3, 3), intrinsics [px].
        world_T_camera: array (4, 4), optical frame.
        reach: [m].

    Returns:
        array (number of pixels with ids > 0,).
    """
    v, u = np.nonzero(ids)
    z = depth[v, u].astype(np.float64)
    camera_p = np.stack([(u - matrix[0, 2]) * z / matrix[0, 0], (v - matrix[1, 2]) * z / matrix[1, 1], z], axis=1)
    owner = ids[v, u] - 1
    found = np.full(len(z), np.log(FLOOR), dtype=np.float16)
    for index in np.unique(owner):
        mine = np.flatnonzero((owner == index) & (z > 0.0))
        object_T_camera = np.linalg.inv(world_T_object[index]) @ world_T_camera
        object_p = camera_p[mine] @ object_T_camera[:3, :3].T + object_T_camera[:3, 3]
        distance, nearest = surfaces[index].query(object_p, distance_upper_bound=reach)
        near = np.isfinite(distance)
        found[mine[near]] = scores[index][nearest[near]]
    return found


def _palm_centre(hand: HandModel) -> NDArray[np.float64]:
    """Middle of the box about the palm's geometry (3,), palm frame [m]."""
    corners = []
    for primitive in hand.primitives_of(hand.base_link):
        size = primitive.size
        if primitive.kind == "box":
            half = size
        elif primitive.kind == "sphere":
            half = np.full(3, size[0])
        else:
            half = np.array([size[0], size[0], size[1] + (size[0] if primitive.kind == "capsule" else 0.0)])
        extent = np.abs(primitive.link_T_geom[:3, :3]) @ half
        centre = primitive.link_T_geom[:3, 3]
        corners += [centre - extent, centre + extent]
    if not corners:
        raise SynthesisError(f"The base link of {hand.name!r} has no geometry; graspness is measured from the palm.")
    return 0.5 * (np.min(corners, axis=0) + np.max(corners, axis=0))


def _opposed_tips(hand: HandModel) -> tuple[Fingertip, Fingertip]:
    """The thumb's tip and the one that opposes it."""
    if len(hand.fingertips) < 2:
        raise SynthesisError(f"{hand.name!r} has {len(hand.fingertips)} fingertips; graspness needs two that oppose.")
    thumb = next((tip for tip in hand.fingertips if tip.name == "thumb"), hand.fingertips[0])
    others = [tip for tip in hand.fingertips if tip is not thumb]
    return thumb, others[len(others) // 2]


@njit(cache=True)
def _seeds(
    apex: NDArray[np.float64],
    axis: NDArray[np.float64],
    points: NDArray[np.float64],
    cone_cosine: float,
    depth_window: float,
) -> NDArray[np.int32]:
    count, size = len(apex), len(points)
    seeds = np.full(count, NO_SEED, np.int32)
    inside, depth, cosine = np.empty(size, np.int64), np.empty(size), np.empty(size)
    for n in range(count):
        found, first = 0, np.inf
        for i in range(size):
            x, y, z = points[i, 0] - apex[n, 0], points[i, 1] - apex[n, 1], points[i, 2] - apex[n, 2]
            d = x * axis[n, 0] + y * axis[n, 1] + z * axis[n, 2]
            if d <= 0.0:
                continue
            length2 = x * x + y * y + z * z
            if d * d < cone_cosine * cone_cosine * length2:
                continue
            inside[found], depth[found], cosine[found] = i, d, d / np.sqrt(length2)
            found += 1
            first = min(first, d)
        # The largest f is the least of its negated exponent over ln 2: degrees / 10 + d / 1.5 cm.
        best = np.inf
        for k in range(found):
            along = (depth[k] - first) / _HALF_DEPTH
            if depth[k] - first >= depth_window or along >= best:
                continue
            cost = np.degrees(np.arccos(min(cosine[k], 1.0))) / _HALF_ANGLE + along
            if cost < best:
                best, seeds[n] = cost, inside[k]
    return seeds
