"""Where the optimisers start."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.stages.objects import procedural_asset
from dexgrasp_training.synthesis.fingers import find_fingers, find_grips
from dexgrasp_training.synthesis.hand_arrays import hand_arrays
from dexgrasp_training.synthesis.initial_poses import (
    InitialPoses,
    PoseConfig,
    antipodal_pairs,
    around_hull,
    initial_poses,
    retargeted,
)
from dexgrasp_training.synthesis.kernels import clearance, link_poses

from dexgrasp_description import load_hand

from .boxes import box_asset

HANDS = ("leap_right", "panda_gripper")
EDGES = np.array([0.05, 0.04, 0.09])


@pytest.fixture(scope="module")
def box() -> ObjectAsset:
    return box_asset("box", EDGES)


def clearances(hand_name: str, asset: ObjectAsset, poses: InitialPoses) -> np.ndarray:
    """Of the whole hand from the object [m]; at most 0."""
    hand, field = hand_arrays(load_hand(hand_name)), asset.field
    links = np.empty((len(hand.parent), 3, 4))
    found = []
    for palm, q in zip(poses.object_T_palm, poses.q, strict=True):
        link_poses(hand, q, links)
        found.append(clearance(hand, links, palm, field.values, field.origin, field.spacing, 0.0))
    return np.array(found)


def test_pairs_are_on_opposite_faces(box: ObjectAsset) -> None:
    first, second = antipodal_pairs(box, 0.2, 0.3, np.random.default_rng(0))
    assert len(first) > 500
    for points in (first, second):
        assert np.abs(box.field.distance(points)).max() < 1e-3
    on_face = np.abs(np.abs(first) - EDGES / 2) < 1e-3
    opposite = np.abs(first + second - (first + second) * ~on_face) < 2e-3
    assert (on_face & opposite).any(axis=1).all()
    lines = (second - first) / np.linalg.norm(second - first, axis=1, keepdims=True)
    assert np.abs(lines).max(axis=1).min() > np.cos(0.3)


def test_pairs_wider_than_the_hand_are_left_out(box: ObjectAsset) -> None:
    first, second = antipodal_pairs(box, 0.045, 0.1, np.random.default_rng(0))
    assert len(first)
    width = np.linalg.norm(second - first, axis=1)
    assert width.max() < 0.047


def test_a_hollow_object_has_pairs_across_its_wall_and_across_the_whole() -> None:
    cup = procedural_asset("cup", 1, "cup", "train")
    first, second = antipodal_pairs(cup, 0.12, 0.35, np.random.default_rng(0))
    width = np.linalg.norm(second - first, axis=1)
    assert (width < 0.008).sum() > 20
    assert (width > 0.04).sum() > 20


@pytest.mark.parametrize("hand_name", HANDS)
def test_retargeted_grips_straddle_their_pairs(hand_name: str) -> None:
    hand, rng = load_hand(hand_name), np.random.default_rng(0)
    first, second = np.array([[0.0, -0.01, 0.02]]), np.array([[0.0, 0.015, 0.02]])
    config = PoseConfig(jitter_angle=0.0, jitter_place=0.0)
    palms, joints = retargeted(hand, first, second, 60, rng, config)
    arrays, links, fingers = hand_arrays(hand), np.empty((len(hand.links), 3, 4)), find_fingers(hand)
    along = []
    for palm, q in zip(palms, joints, strict=True):
        link_poses(arrays, q, links)
        poses = links[fingers.tips]
        tips = poses[:, :, 3] + np.array([p[:, :3] @ tip.centre for p, tip in zip(poses, hand.fingertips, strict=True)])
        tips = tips @ palm[:3, :3].T + palm[:3, 3]
        others = np.delete(tips, fingers.opposing, axis=0).mean(axis=0)
        line = others - tips[fingers.opposing]
        along.append(abs(line[1]) / np.linalg.norm(line))
    # The grip's line lies on the pair's but for fingers of the grip that look elsewhere.
    assert np.median(along) > 0.95
    assert set(np.sign(palms[:, 1, 3]).tolist()) <= {-1.0, 1.0}
    approach = palms[:, :3, :3] @ hand.approach_axis
    assert np.abs(approach.mean(axis=0)).max() < 0.5  # from all around


@pytest.mark.parametrize("hand_name", HANDS)
def test_palms_off_the_hull_face_the_object(hand_name: str, box: ObjectAsset) -> None:
    hand = load_hand(hand_name)
    config = PoseConfig()
    palms, joints = around_hull(hand, box, 100, np.random.default_rng(0), config)
    approach = palms[:, :3, :3] @ hand.approach_axis
    towards = -palms[:, :3, 3]
    assert ((approach * towards).sum(axis=1) > 0.0).mean() > 0.9
    assert (joints >= hand.lower).all()
    assert (joints <= hand.upper).all()
    assert joints.std(axis=0).max() > 0.0


@pytest.mark.parametrize("hand_name", HANDS)
def test_poses_are_within_limits_and_mostly_clear(hand_name: str, box: ObjectAsset) -> None:
    hand = load_hand(hand_name)
    poses = initial_poses(hand, box, 80, np.random.default_rng(0), PoseConfig())
    assert len(poses.q) == 80
    assert (poses.q >= hand.lower).all()
    assert (poses.q <= hand.upper).all()
    assert np.allclose(np.linalg.det(poses.object_T_palm[:, :3, :3]), 1.0)
    assert (clearances(hand_name, box, poses) > -0.002).mean() > 0.8
    assert (np.sign(poses.speed) == find_fingers(hand).flexion).all()


def test_more_draws_give_clearer_poses(box: ObjectAsset) -> None:
    hand = load_hand("leap_right")
    few, many = (
        clearances("leap_right", box, initial_poses(hand, box, 60, np.random.default_rng(0), PoseConfig(draws=draws)))
        for draws in (1, 8)
    )
    assert (many == 0.0).mean() > (few == 0.0).mean()


def test_without_pairs_every_pose_comes_from_the_hull() -> None:
    wide = box_asset("wide", (0.3, 0.32, 0.34), spacing=0.005)
    hand = load_hand("leap_right")
    assert find_grips(hand).width[-1] < 0.3
    poses = initial_poses(hand, wide, 20, np.random.default_rng(0), PoseConfig(hull_share=0.0))
    assert len(poses.q) == 20


def test_the_same_seed_gives_the_same_poses(box: ObjectAsset) -> None:
    hand = load_hand("leap_right")
    one, two = (initial_poses(hand, box, 30, np.random.default_rng(5), PoseConfig()) for _ in range(2))
    assert np.array_equal(one.object_T_palm, two.object_T_palm)
    assert np.array_equal(one.q, two.q)
    assert np.array_equal(one.speed, two.speed)
