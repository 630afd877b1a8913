"""Graspness against the paper's equations written out, and the cones of known hands."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_training.clutter.graspness import (
    FLOOR,
    NO_SEED,
    VARIANTS,
    GraspnessConfig,
    cone_axes,
    graspness,
    pixel_graspness,
    seed_points,
)
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dexgrasp_description import load_hand

from .boxes import grasps_at

NOBODY = np.log(FLOOR)


def random_palms(count: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, rng=rng).as_matrix()
    poses[:, :3, 3] = rng.uniform(-0.15, 0.15, (count, 3))
    return poses


def paper_scores(
    apex: NDArray[np.float64], middle: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Eqs. 1-4 as they are printed, one grasp and one point at a time."""
    votes = np.zeros(len(points))
    for c, m in zip(apex, middle, strict=True):
        f = np.zeros(len(points))
        for j, p in enumerate(points):
            axis = (m - c) / np.linalg.norm(m - c)
            d = (p - c) @ axis
            theta = np.arccos((p - c) @ axis / np.linalg.norm(p - c))
            if theta < np.radians(30.0):
                f[j] = np.exp(-np.log(2) / 10 * 180 / np.pi * theta - np.log(2) / 0.015 * d)
        if f.max() > 0.0:
            seed = points[f.argmax()]
            votes += [10.0 ** (-150.0 * np.linalg.norm(seed - p)) for p in points]
    return np.log(0.001 + votes)


def test_scores_are_those_of_the_equations() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.05, 0.05, (300, 3)).astype(np.float32)
    hand = load_hand("leap_right")
    grasps = grasps_at(hand.name, random_palms(60, 1), rng.uniform(hand.lower, hand.upper, (60, 16)))
    apex, axis = cone_axes(hand, grasps.object_T_palm, grasps.grasp)
    seeds = seed_points(hand, grasps, points, VARIANTS["paper"])
    assert (seeds == NO_SEED).any()
    assert (seeds != NO_SEED).sum() > 10
    wanted = paper_scores(apex, apex + axis, points.astype(np.float64))
    assert np.allclose(graspness(seeds, points), wanted, atol=1e-4)


def test_a_seed_at_ten_degrees_is_worth_one_that_is_one_and_a_half_centimetres_deeper() -> None:
    hand = load_hand("leap_right")
    grasps = grasps_at(hand.name, random_palms(1, 2))
    apex, axis = (values[0] for values in cone_axes(hand, grasps.object_T_palm, grasps.grasp))
    sideways = np.cross(axis, [1.0, 0.0, 0.0])
    sideways /= np.linalg.norm(sideways)

    def place(depth: float, degrees: float) -> NDArray[np.float64]:
        return apex + depth * (axis + np.tan(np.radians(degrees)) * sideways)

    for degrees, deeper, wanted in ((9.8, 0.015, 0), (10.2, 0.015, 1), (10.0, 0.0153, 0), (10.0, 0.0147, 1)):
        points = np.stack([place(0.08, degrees), place(0.08 + deeper, 0.0)]).astype(np.float32)
        assert seed_points(hand, grasps, points).tolist() == [wanted], (degrees, deeper)
    assert seed_points(hand, grasps, place(0.08, 29.5).astype(np.float32)[None]).tolist() == [0]
    assert seed_points(hand, grasps, place(0.08, 30.5).astype(np.float32)[None]).tolist() == [NO_SEED]
    assert seed_points(hand, grasps, place(-0.08, 0.0).astype(np.float32)[None]).tolist() == [NO_SEED]
    # Two centimetres below the first point in the cone the authors' code looks no further, whatever lies there.
    points = np.stack([place(0.08, 29.0), place(0.105, 0.0)]).astype(np.float32)
    assert seed_points(hand, grasps, points, VARIANTS["paper"]).tolist() == [1]
    assert seed_points(hand, grasps, points, VARIANTS["code"]).tolist() == [0]


def test_votes_fall_to_a_tenth_in_a_hundred_and_fiftieth_of_a_metre() -> None:
    points = np.array([[0.0, 0.0, 0.0], [1 / 150, 0.0, 0.0], [2 / 150, 0.0, 0.0], [0.2, 0.0, 0.0]], np.float32)
    seeds = np.array([0, 0, 0, NO_SEED], np.int32)
    assert np.exp(graspness(seeds, points)) - FLOOR == pytest.approx([3.0, 0.3, 0.03, 0.0], abs=1e-5)
    assert np.allclose(graspness(np.full(4, NO_SEED, np.int32), points), NOBODY)
    assert np.allclose(graspness(np.zeros(0, np.int32), points), NOBODY)


def test_the_cone_of_the_leap_hand_starts_in_its_palm_and_ends_between_thumb_and_middle_finger() -> None:
    hand = load_hand("leap_right")
    grasp = np.zeros((1, 16))
    grasp[0, [1, 5, 9, 12]] = np.pi / 2
    object_T_palm = random_palms(1, 3)
    apex, axis = cone_axes(hand, object_T_palm, grasp)
    palm_p_apex = (apex - object_T_palm[:, :3, 3]) @ object_T_palm[0, :3, :3]
    # The palm's box, and the tips' centres at this posture, as DexGraspNet 2.0's data has them.
    assert palm_p_apex[0] == pytest.approx([-0.048595, -0.037107, -0.011722], abs=2e-3)
    middle = 0.5 * (np.array([-0.0816, -0.0007, -0.1456]) + [-0.0086, 0.0082 - 0.04545, -0.1427])
    wanted = middle - palm_p_apex[0]
    cosine = (axis[0] @ object_T_palm[0, :3, :3]) @ wanted / np.linalg.norm(wanted)
    assert np.degrees(np.arccos(cosine)) < 2.0


def test_the_cone_of_a_gripper_points_out_between_its_fingers() -> None:
    hand = load_hand("panda_gripper")
    apex, axis = cone_axes(hand, np.eye(4)[None], np.array([[0.03, 0.03]]))
    assert axis[0] == pytest.approx([0.0, 0.0, 1.0], abs=1e-9)
    assert np.abs(apex[0, :2]).max() < 1e-9


def test_a_pixel_has_the_score_of_the_nearest_surface_point() -> None:
    rng = np.random.default_rng(5)
    matrix = np.array([[50.0, 0.0, 15.5], [0.0, 50.0, 11.5], [0.0, 0.0, 1.0]])
    height, width = 24, 32
    depth = rng.uniform(0.3, 0.35, (height, width)).astype(np.float32)
    ids = rng.integers(0, 3, (height, width)).astype(np.uint8)
    depth[5, 5:20] = 0.0
    depth[7, 5:20] = 0.6  # noise far off the surface
    world_T_camera, world_T_object = random_palms(1, 6)[0], random_palms(2, 7)
    v, u = np.indices((height, width))
    camera_p = np.stack([(u - 15.5) / 50.0 * depth, (v - 11.5) / 50.0 * depth, depth], axis=-1).astype(np.float64)
    world_p = camera_p @ world_T_camera[:3, :3].T + world_T_camera[:3, 3]
    points, scores = [], []
    for pose in world_T_object:
        own = world_p[depth > 0].reshape(-1, 3)[::7] + rng.normal(0.0, 0.002, (len(world_p[depth > 0][::7]), 3))
        points.append((own - pose[:3, 3]) @ pose[:3, :3])
        scores.append(rng.uniform(-6.0, 4.0, len(own)))
    reach = 0.05
    found = pixel_graspness(
        scores, [cKDTree(p) for p in points], world_T_object, depth, ids, matrix, world_T_camera, reach
    )
    assert found.dtype == np.float16
    wanted = []
    for row, column in zip(*np.nonzero(ids), strict=True):
        index = ids[row, column] - 1
        pose = world_T_object[index]
        away = np.linalg.norm(points[index] - (world_p[row, column] - pose[:3, 3]) @ pose[:3, :3], axis=1)
        inside = depth[row, column] > 0.0 and away.min() <= reach
        wanted.append(scores[index][away.argmin()] if inside else NOBODY)
    assert found == pytest.approx(np.array(wanted), abs=4e-3)
    assert np.isclose(found, NOBODY, atol=4e-3).sum() > 5


def test_the_code_looks_at_a_thousand_points() -> None:
    assert VARIANTS["paper"] == GraspnessConfig()
    assert VARIANTS["code"].surface_points == 1000
    assert VARIANTS["code"].pixel_reach ** 2 == pytest.approx(0.015)
