"""`dexgraspbench` in MuJoCo: closing, force and thresholds, and what is measured of a grasp before."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_sim.mujoco_tester import MujocoTester
from dexgrasp_sim.tester import DexGraspBenchConfig, DexGraspBenchOutcome, DexGraspBenchResult

from dexgrasp_description import load_hand

from .grasps import cube, cylinder, enveloping, pads_about_a_cube, shifted

LEAP, PANDA = load_hand("leap_right"), load_hand("panda_gripper")


def closed_on_the_cylinder(press: float) -> DexGraspBenchResult:
    """The enveloping grasp from 0.1 rad before to `press` times its own squeeze behind it."""
    pose, grasp, squeeze = enveloping()
    return MujocoTester(LEAP).dexgraspbench(cylinder(), pose, grasp - 0.1, grasp, grasp + press * (squeeze - grasp))


def pinched(gap: float, aside: float = 0.0) -> DexGraspBenchResult:
    """The cube between the Panda gripper's pads at rest, each a gap away, the cube moved aside towards one of them."""
    pose, grasp, _ = pads_about_a_cube(gap, aside)
    return MujocoTester(PANDA).dexgraspbench(cube(), pose, grasp, grasp, grasp)


def test_fingers_that_press_hold_and_those_that_do_not_lose() -> None:
    assert closed_on_the_cylinder(10.0).success.all()
    assert closed_on_the_cylinder(10.0).outcome.tolist() == [DexGraspBenchOutcome.HELD]
    loose = closed_on_the_cylinder(-10.0)
    assert not loose.success.any()
    assert loose.outcome[0] in (DexGraspBenchOutcome.DROPPED, DexGraspBenchOutcome.TURNED)


def test_a_free_object_falls_with_the_force() -> None:
    pose, grasp, squeeze = shifted(enveloping(), (0.0, 0.0, 0.5))
    result = MujocoTester(LEAP).dexgraspbench(cylinder(), pose, grasp, grasp, squeeze)
    assert result.outcome.tolist() == [DexGraspBenchOutcome.DROPPED]
    steps, step = 50, 0.004  # until it is looked at first
    np.testing.assert_allclose(result.displacement[0, 0], 10.0 * step**2 * steps * (steps + 1) / 2, rtol=1e-6)
    assert np.isnan(result.displacement[0, 1:]).all()
    assert result.contact_links.tolist() == [0]
    assert np.isnan(result.contact_distance).all()


def test_the_force_pulls_along_the_objects_axes() -> None:
    """The pads give way by what their drives' stiffness says, along the axis that they close on alone."""
    force, stiffness = 1.0, 100.0
    config = DexGraspBenchConfig(stiffness=stiffness, damping=20.0, effort_limit=20.0)
    pose, grasp, _ = pads_about_a_cube(0.0)
    result = MujocoTester(PANDA, dexgraspbench=config).dexgraspbench(cube(), pose, grasp, grasp, grasp - 0.02)
    assert result.success.all()
    object_R_palm = pose[0, :3, :3]
    along = np.abs(object_R_palm @ [0.0, 1.0, 0.0]).argmax()
    given = result.displacement[0].reshape(3, 2)
    np.testing.assert_allclose(given[along], force / (2.0 * stiffness), rtol=0.15)
    assert (np.delete(given, along, axis=0) < 2e-3).all()


def test_overlaps_are_refused_before_anything_moves() -> None:
    pose, grasp, squeeze = shifted(enveloping(), (0.0, 0.0, -0.03))
    result = MujocoTester(LEAP).dexgraspbench(cylinder(), pose, grasp, grasp, squeeze)
    assert result.outcome.tolist() == [DexGraspBenchOutcome.PENETRATES]
    assert result.penetration[0] > 0.01
    assert np.isnan(result.displacement).all()


def test_fingers_in_each_other_are_refused() -> None:
    pose, grasp, _ = shifted(enveloping(), (0.0, 0.0, 0.5))
    postures = np.zeros((2, *grasp.shape))
    postures[1, 0, [0, 4]] = 0.5, -0.5  # index and middle finger spread into each other
    tester = MujocoTester(LEAP)
    apart, crossed = (tester.dexgraspbench(cylinder(), pose, q, q, q) for q in postures)
    assert apart.self_penetration.tolist() == [0.0]
    assert crossed.self_penetration[0] > 0.01
    assert crossed.outcome.tolist() == [DexGraspBenchOutcome.SELF_PENETRATES]


@pytest.mark.parametrize(
    ("gap", "aside", "links"), [(0.001, 0.0, 2), (0.001, 0.0005, 2), (0.0015, 0.001, 1), (0.008, 0.001, 0)]
)
def test_contacts_of_two_pads_are_what_geometry_says(gap: float, aside: float, links: int) -> None:
    result = pinched(gap, aside)
    np.testing.assert_allclose(result.contact_distance, gap, atol=1e-5)
    np.testing.assert_allclose(result.contact_consistency, 2.0 * aside, atol=1e-5)
    assert result.contact_links.tolist() == [links]
    assert result.penetration.tolist() == [0.0]


def test_a_pad_in_the_cube_is_as_deep_as_it_was_put() -> None:
    result = pinched(-0.003, 0.001)
    np.testing.assert_allclose(result.penetration, 0.004, atol=1e-5)
    np.testing.assert_allclose(result.contact_distance, 0.003, atol=1e-5)


def test_what_is_near_is_measured_and_not_felt() -> None:
    """Distances are told within a centimetre; forces begin at contact."""
    pose, grasp, _ = pads_about_a_cube(0.004)
    result = MujocoTester(PANDA).dexgraspbench(cube(), pose, grasp, grasp, grasp)
    assert result.contact_distance[0] == pytest.approx(0.004, abs=1e-5)
    assert result.outcome.tolist() == [DexGraspBenchOutcome.DROPPED]
    np.testing.assert_allclose(result.displacement[0, 0], 10.0 * 0.004**2 * 50 * 51 / 2, rtol=0.5)
