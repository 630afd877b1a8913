"""Fingertips from their own chains alone are those of the whole hand's kinematics; descents follow the gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_planner.finger_chains import descend, finger_chains, fingertip_poses
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_hand

HANDS = ("leap_right", "panda_gripper", "shadow_right", "allegro_right")


def postures(hand: HandModel, count: int) -> NDArray[np.float64]:
    middle, half = 0.5 * (hand.lower + hand.upper), 0.5 * (hand.upper - hand.lower)
    return middle + 0.8 * half * np.random.default_rng(0).uniform(-1.0, 1.0, (count, len(middle)))


@pytest.mark.parametrize("name", HANDS)
def test_fingertips_are_where_the_whole_hand_has_them(name: str) -> None:
    hand = load_hand(name)
    q = postures(hand, 20)
    found = fingertip_poses(finger_chains(hand), q)
    expected = ForwardKinematics(hand).link_poses(torch.as_tensor(q))
    for finger, tip in enumerate(hand.fingertips):
        np.testing.assert_allclose(found[:, finger], expected[tip.link][:, :3].numpy(), atol=1e-12)


@pytest.mark.parametrize("name", ["leap_right", "shadow_right", "allegro_right"])
def test_one_step_of_turning_joints_is_the_gradient(name: str) -> None:
    hand, rate = load_hand(name), 1e-3
    fk, q = ForwardKinematics(hand), postures(hand, 10)
    tips = [tip.link for tip in hand.fingertips]
    targets = np.random.default_rng(1).normal(scale=0.02, size=(10, len(tips), 3))
    targets += fingertip_poses(finger_chains(hand), q)[..., 3]
    variable = torch.tensor(q, requires_grad=True)
    poses = fk.link_poses(variable)
    origins = torch.stack([poses[link][:, :3, 3] for link in tips], dim=1)
    (gradient,) = torch.autograd.grad((origins - torch.as_tensor(targets)).square().sum(), variable)
    moved = descend(finger_chains(hand), q, targets, np.array(hand.lower), np.array(hand.upper), 1, rate)
    np.testing.assert_allclose(moved - q, -rate * gradient.numpy(), atol=1e-12)
    assert np.abs(moved - q).max() > 1e-6


def test_a_sliding_joint_takes_the_whole_way() -> None:
    hand = load_hand("panda_gripper")
    chains, q = finger_chains(hand), np.array([[0.02, 0.02]])
    axes = [joint.axis for joint in hand.joints if joint.kind == "prismatic"]
    start = fingertip_poses(chains, q)
    targets = start[..., 3].copy()
    for finger, tip in enumerate(hand.fingertips):
        palm_R_finger = start[0, finger, :, :3]
        joint = next(i for i, one in enumerate(hand.joints) if one.child == tip.link)
        targets[0, finger] += 0.01 * palm_R_finger @ hand.joints[joint].axis
    moved = descend(chains, q, targets, np.array(hand.lower), np.array(hand.upper), 1, 20.0)
    assert len(axes) == 2
    np.testing.assert_allclose(moved, 0.03, atol=1e-12)
