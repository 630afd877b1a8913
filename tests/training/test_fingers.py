"""Fingers, flexing joints and grips are found by rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_training.errors import SynthesisError
from dexgrasp_training.synthesis.fingers import find_fingers, find_grips
from dexgrasp_training.synthesis.hand_arrays import hand_arrays
from dexgrasp_training.synthesis.kernels import link_poses, self_collides

from dexgrasp_description import HandModel, load_hand

HANDS = ("leap_right", "panda_gripper")


def _tips(hand: HandModel, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres and inner normals (N, F, 3) of the fingertips."""
    poses = ForwardKinematics(hand).link_poses(torch.as_tensor(q))
    frames = [poses[tip.link].numpy() for tip in hand.fingertips]
    centres = [f[:, :3, :3] @ tip.centre + f[:, :3, 3] for f, tip in zip(frames, hand.fingertips, strict=True)]
    normals = [f[:, :3, :3] @ tip.inner_normal for f, tip in zip(frames, hand.fingertips, strict=True)]
    return np.stack(centres, axis=1), np.stack(normals, axis=1)


def test_the_leap_hand_has_three_fingers_and_a_thumb() -> None:
    hand = load_hand("leap_right")
    fingers = find_fingers(hand)
    assert hand.fingertips[fingers.opposing].name == "thumb"
    # Per finger: forward, PIP and DIP flex, side does not; of the thumb, its last two.
    flexing = [name for name, sign in zip(hand.joint_names, fingers.flexion, strict=True) if sign]
    assert flexing == ["j1", "j2", "j3", "j5", "j6", "j7", "j9", "j10", "j11", "j14", "j15"]
    assert fingers.of_link[0] == -1
    assert (np.bincount(fingers.of_link[1:]) == 4).all()


def test_both_fingers_of_a_gripper_close_by_their_joints() -> None:
    fingers = find_fingers(load_hand("panda_gripper"))
    assert fingers.flexion.tolist() == [-1.0, -1.0]
    assert fingers.opened.tolist() == [0.04, 0.04]


@pytest.mark.parametrize("name", HANDS)
def test_flexing_moves_fingertips_along_their_inner_normals(name: str) -> None:
    hand = load_hand(name)
    fingers = find_fingers(hand)
    step = 1e-4
    for joint in np.flatnonzero(fingers.flexion):
        moved = np.array([hand.home, hand.home])
        moved[1, joint] += step * fingers.flexion[joint]
        centres, normals = _tips(hand, moved)
        motion = centres[1] - centres[0]
        tip = int(np.linalg.norm(motion, axis=1).argmax())
        assert motion[tip] @ normals[0, tip] > 0.5 * np.linalg.norm(motion[tip])


@pytest.mark.parametrize("name", HANDS)
def test_grips_are_free_postures_whose_fingers_face_each_other(name: str) -> None:
    hand = load_hand(name)
    fingers, grips, arrays = find_fingers(hand), find_grips(hand), hand_arrays(hand)
    assert len(grips.posture) > 100
    assert (np.diff(grips.width) >= 0.0).all()
    assert (grips.posture >= hand.lower).all()
    assert (grips.posture <= hand.upper).all()
    np.testing.assert_allclose(np.linalg.norm(grips.across, axis=1), 1.0)
    _, normals = _tips(hand, grips.posture)
    others = np.delete(normals, fingers.opposing, axis=1)
    assert ((others * grips.across[:, None]).sum(-1).min(axis=1) < -0.3).all()
    assert ((normals[:, fingers.opposing] * grips.across).sum(-1) > 0.2).mean() > 0.95
    poses = np.empty((len(hand.links), 3, 4))
    for posture in grips.posture[::20]:
        link_poses(arrays, posture, poses)
        assert not self_collides(arrays, poses, 1e-3)


def test_a_hand_with_one_fingertip_is_refused() -> None:
    hand = load_hand("leap_right")
    with pytest.raises(SynthesisError, match="two fingertips"):
        find_fingers(replace(hand, fingertips=hand.fingertips[:1]))


def test_a_finger_that_nothing_flexes_is_named() -> None:
    hand = load_hand("panda_gripper")
    sideways = replace(hand.fingertips[0], inner_normal=np.array([1.0, 0.0, 0.0]))
    with pytest.raises(SynthesisError, match="left"):
        find_fingers(replace(hand, fingertips=(sideways, hand.fingertips[1])))


def test_a_wrist_behind_the_palm_moves_no_finger_and_rests() -> None:
    hand = load_hand("shadow_right")
    idle = find_fingers(hand).idle
    assert [name for name, rests in zip(hand.joint_names, idle, strict=True) if rests] == ["rh_WRJ2", "rh_WRJ1"]
    assert (find_grips(hand).posture[:, idle] == hand.home[idle]).all()
    assert not find_fingers(load_hand("leap_right")).idle.any()
