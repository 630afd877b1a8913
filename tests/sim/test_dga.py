"""`dga` in MuJoCo: damping as PhysX has it, a squeeze towards what is near, and verdicts that follow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from dexgrasp_common.transforms import apply
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_sim.dga import HAND_POINTS, squeezed
from dexgrasp_sim.mujoco_tester import MujocoTester
from dexgrasp_sim.tester import DgaConfig
from scipy.spatial import cKDTree

from dexgrasp_description import load_hand

from .grasps import cube, cylinder, enveloping, pads_about_a_cube, shifted

LEAP, PANDA = load_hand("leap_right"), load_hand("panda_gripper")
CYLINDER = trimesh.sample.sample_surface(cylinder().mesh, 2048, seed=0)[0]


@pytest.mark.parametrize("damping", [0.0, 10.0])
def test_a_free_object_drifts_as_its_damping_says(damping: float) -> None:
    config = DgaConfig(linear_damping=damping)
    pose, grasp, _ = shifted(enveloping(), (0.0, 0.0, 0.5))
    result = MujocoTester(LEAP, dga=config).dga(cylinder(), pose, grasp)
    step, speed, way = config.timestep, 0.0, 0.0
    for direction, expected in zip((1.0, -1.0), result.displacement[0, :2], strict=True):
        way = 0.0
        for _ in range(round(50 / 60 / step)):
            speed = speed * (1.0 - damping * step) + direction * 0.5 * step  # 500 N/m^3 over 1000 kg/m^3
            way += speed * step
        np.testing.assert_allclose(expected, abs(way), rtol=1e-6)
    if damping:
        time = 50 / 60
        smooth = 0.05 * (time - (1.0 - np.exp(-10.0 * time)) / 10.0)
        np.testing.assert_allclose(result.displacement[0, 0], smooth, rtol=0.01)
        assert result.displacement[0, 0] > 0.02
        assert not result.any_direction.any()
        assert not result.success.any()


def test_a_good_grasp_is_held_and_the_same_one_aside_is_not() -> None:
    good = enveloping()
    poses, grasps = (np.concatenate([good[i], shifted(good, (0.0, 0.0, 0.06))[i]]) for i in (0, 1))
    result = MujocoTester(LEAP).dga(cylinder(), poses, grasps)
    assert result.success.tolist() == [True, False]
    assert (result.displacement[0] < 0.005).all()


def test_a_palm_alone_holds_nothing() -> None:
    open_hand = np.zeros((1, 16))
    palm_T_cube = np.eye(4)
    palm_T_cube[:3, 3] = [-0.03, 0.0, -0.055]  # under the palm, not touched by the fingers
    result = MujocoTester(LEAP).dga(cube(), np.linalg.inv(palm_T_cube)[None], open_hand)
    assert not result.success.any()


def test_a_cube_between_pads_does_not_move() -> None:
    pose, grasp, _ = pads_about_a_cube(0.0)
    result = MujocoTester(PANDA).dga(cube(), pose, grasp)
    assert result.success.all()
    assert (result.displacement < 1e-3).all()
    assert (result.squeeze == PANDA.lower).all()  # half a metre further, within the limits


def test_joints_turn_so_that_what_is_near_moves_outward() -> None:
    pose, grasp, _ = enveloping()
    squeeze = squeezed(LEAP, CYLINDER, pose, grasp, DgaConfig())
    kinematics = ForwardKinematics(LEAP)

    def advance(q: np.ndarray) -> float:
        """How far the near points have moved along their normals at the grasp."""
        return float((normals[near] * (at(q)[0][near])).sum())

    def at(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moved = kinematics.surface_points(torch.as_tensor(q[None]), HAND_POINTS).values()
        return tuple(torch.cat(part, dim=1)[0].numpy() for part in zip(*moved, strict=True))  # type: ignore[return-value]

    points, normals = at(grasp[0])
    near = cKDTree(CYLINDER).query(apply(pose[0], points))[0] < 0.005
    assert near.any()
    pressing = 0
    for joint, turned in enumerate(squeeze[0] - grasp[0]):
        nudge = np.zeros(16)
        nudge[joint] = 1e-5
        slope = (advance(grasp[0] + nudge) - advance(grasp[0] - nudge)) / 2e-5
        if abs(slope) < 1e-6:
            assert turned == 0.0
        else:
            expected = np.clip(grasp[0, joint] + 0.5 * np.sign(slope), LEAP.lower[joint], LEAP.upper[joint])
            np.testing.assert_allclose(squeeze[0, joint], expected)
            pressing += 1
    assert pressing >= 8


def test_a_hand_that_is_near_nothing_does_not_squeeze() -> None:
    pose, grasp, _ = shifted(enveloping(), (0.0, 0.0, 0.3))
    np.testing.assert_array_equal(squeezed(LEAP, CYLINDER, pose, grasp, DgaConfig()), grasp)


def test_a_wrist_does_not_squeeze() -> None:
    shadow = load_hand("shadow_right")
    everywhere = np.random.default_rng(0).uniform(-0.25, 0.25, (200_000, 3))  # near every point of the hand
    squeeze = squeezed(shadow, everywhere, np.eye(4)[None], shadow.home[None], DgaConfig(reach=0.02))
    moved = squeeze[0] != shadow.home
    assert not moved[:2].any()
    assert moved[2:].sum() > 10


def test_the_same_grasp_gives_the_same_numbers_alone_or_among_others() -> None:
    good = enveloping()
    tester = MujocoTester(LEAP)
    many = tester.dga(cylinder(), *(np.repeat(array, 2, axis=0) for array in good[:2]))
    one = tester.dga(cylinder(), *good[:2])
    np.testing.assert_array_equal(many.displacement, np.repeat(one.displacement, 2, axis=0))
