"""Closed-form inverse kinematics of the UR arms, against the forward kinematics of their URDFs."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_planner.errors import MotionPlannerUnavailableError
from dexgrasp_planner.ik import inverse_kinematics, nearest_equivalent

from dexgrasp_description import ArmModel, load_arm


def flange_poses(arm: ArmModel, q: np.ndarray) -> np.ndarray:
    return ForwardKinematics(arm).link_poses(torch.as_tensor(q))[arm.flange_link].numpy()


def random_configurations(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, (count, 6))


@pytest.mark.parametrize("name", ["ur5", "ur5e"])
def test_every_solution_reaches_the_pose_and_the_original_is_among_them(name: str) -> None:
    arm = load_arm(name)
    ik = inverse_kinematics(arm)
    q = random_configurations(1000)
    counts = []
    for original, pose in zip(q, flange_poses(arm, q), strict=True):
        found = ik.solutions(pose, np.zeros(6))
        assert np.abs(flange_poses(arm, found) - pose).max() < 1e-9
        turned = (found - original + np.pi) % (2.0 * np.pi) - np.pi
        assert np.abs(turned).max(axis=1).min() < 1e-7
        counts.append(len(found))
    assert max(counts) == 8
    assert np.mean(counts) > 7.0


def test_solutions_are_distinct_within_limits_and_nearest_first() -> None:
    arm = load_arm("ur5")
    ik = inverse_kinematics(arm)
    q = random_configurations(200, seed=1)
    for reference, pose in zip(random_configurations(200, seed=2), flange_poses(arm, q), strict=True):
        found = ik.solutions(pose, reference)
        assert ((found >= arm.lower) & (found <= arm.upper)).all()
        distance = np.linalg.norm(found - reference, axis=1)
        assert (np.diff(distance) >= 0.0).all()
        gaps = np.linalg.norm(found[:, None] - found, axis=2) + np.eye(len(found))
        assert gaps.min() > 1e-6


def test_the_reference_itself_comes_back_first() -> None:
    arm = load_arm("ur5")
    ik = inverse_kinematics(arm)
    q = random_configurations(200, seed=3)
    for original, pose in zip(q, flange_poses(arm, q), strict=True):
        assert np.abs(ik.solutions(pose, original)[0] - original).max() < 1e-7


def test_at_a_singular_wrist_the_third_wrist_joint_stays_where_it_is() -> None:
    arm = load_arm("ur5")
    q = np.array([0.3, -1.2, 1.4, -0.5, 0.0, 0.7])
    pose = flange_poses(arm, q[None])[0]
    reference = q + 0.02
    found = inverse_kinematics(arm).solutions(pose, reference)
    assert np.abs(flange_poses(arm, found) - pose).max() < 1e-9
    assert found[0, 5] == pytest.approx(reference[5], abs=1e-9)


def test_beyond_reach_there_is_no_solution() -> None:
    arm = load_arm("ur5")
    reach = np.abs(arm.dh[:, :2]).sum()
    far, inside = np.eye(4), np.eye(4)
    far[0, 3] = reach + 0.01
    inside[2, 3] = 0.1  # on the pan axis, closer than the arm's sideways offset allows
    for pose in (far, inside):
        found = inverse_kinematics(arm).solutions(pose, np.zeros(6))
        assert found.shape == (0, 6)


def test_full_turns_bring_a_joint_near_the_reference_but_never_beyond_its_limits() -> None:
    lower, upper = np.full(3, -2.0 * np.pi), np.array([2.0 * np.pi, np.pi, 2.0 * np.pi])
    q = np.array([[-3.0, -3.0, 0.5]])
    reference = np.array([3.2, 3.2, 0.4])
    near = nearest_equivalent(q, reference, lower, upper)
    assert near == pytest.approx(np.array([[2.0 * np.pi - 3.0, -3.0, 0.5]]))


def test_all_solutions_of_a_pose_take_well_under_a_millisecond() -> None:
    arm = load_arm("ur5")
    ik = inverse_kinematics(arm)
    poses = flange_poses(arm, random_configurations(300, seed=4))
    times = []
    for pose in poses:
        start = time.perf_counter()
        ik.solutions(pose, np.zeros(6))
        times.append(time.perf_counter() - start)
    assert np.median(times) < 1e-3


def test_an_arm_without_the_closed_form_is_named() -> None:
    with pytest.raises(MotionPlannerUnavailableError, match="panda"):
        inverse_kinematics(load_arm("panda"))
