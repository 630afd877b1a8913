"""What the fingers feel: apart because of an object, on one another, or on nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dexgrasp_control.touch import Touch, link_poses
from dexgrasp_description.kinematics import ForwardKinematics
from scipy.optimize import minimize

from dexgrasp_description import load_hand

HAND = load_hand("leap_right")
MCP = [HAND.joint_names.index(name) for name in ("j1", "j5", "j9", "j12")]


@pytest.fixture(scope="module")
def touch() -> Touch:
    return Touch(HAND)


def pinch(flexion: float) -> np.ndarray:
    """Fingers and thumb bent towards each other; at 1.57 they stand 73 mm apart."""
    joints = np.zeros(16)
    joints[MCP] = [flexion, flexion, flexion, 1.57]
    joints[HAND.joint_names.index("j15")] = flexion - 1.57
    return joints


@pytest.mark.parametrize("name", ["leap_right", "panda_gripper"])
def test_poses_are_those_of_the_description(name):
    hand = load_hand(name)
    joints = np.random.default_rng(0).uniform(hand.lower, hand.upper)
    expected = ForwardKinematics(hand).link_poses(torch.tensor(joints)[None])
    for link, pose in link_poses(hand, joints).items():
        np.testing.assert_allclose(pose, expected[link][0].numpy(), atol=1e-9)


def test_fingers_kept_apart_hold_something(touch):
    assert touch.holds(commanded=pinch(1.9), measured=pinch(1.57))


def test_fingers_that_reach_their_targets_hold_nothing(touch):
    assert not touch.holds(commanded=pinch(1.9), measured=pinch(1.88))


def test_a_thumb_alone_holds_nothing(touch):
    measured = pinch(1.57)
    commanded = measured.copy()
    commanded[HAND.joint_names.index("j12")] += 0.4
    assert not touch.holds(commanded, measured)


def test_one_finger_against_the_thumb_is_enough(touch):
    measured = pinch(1.57)
    commanded = measured.copy()
    commanded[[HAND.joint_names.index(name) for name in ("j1", "j15")]] += 0.35
    assert touch.holds(commanded, measured)


def test_fingertips_that_press_on_each_other_hold_nothing(touch):
    # Swing the thumb until its tip meets the index finger's: both are stopped there, far from their targets.
    kinematics = ForwardKinematics(HAND)
    index, thumb = HAND.fingertips[0], HAND.fingertips[3]

    def gap(joints):
        poses = kinematics.link_poses(torch.tensor(joints)[None])
        points = []
        for tip in (index, thumb):
            pose = poses[tip.link][0].numpy()
            points.append(HAND.contact_points[tip.link][0] @ pose[:3, :3].T + pose[:3, 3])
        return np.linalg.norm(points[0][:, None] - points[1][None], axis=-1).min()

    moving = [HAND.joint_names.index(name) for name in ("j1", "j2", "j12", "j14", "j15")]

    def at(values):
        joints = pinch(1.57)
        joints[moving] = np.clip(values, HAND.lower[moving], HAND.upper[moving])
        return joints

    closed = at(minimize(lambda v: gap(at(v)), pinch(1.57)[moving], method="Nelder-Mead", options={"maxiter": 400}).x)
    assert gap(closed) < 0.004
    commanded = closed.copy()
    commanded[[HAND.joint_names.index(name) for name in ("j1", "j2", "j14", "j15")]] += 0.4
    assert not touch.holds(commanded, closed)
