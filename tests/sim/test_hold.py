"""`hold6` in MuJoCo is honest about friction and gravity, and its short cut changes no verdict."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_sim.mujoco_tester import MujocoTester
from dexgrasp_sim.tester import DIRECTIONS, HoldConfig, HoldOutcome, HoldResult

from dexgrasp_description import load_hand

from .grasps import Grasps, cube, cylinder, enveloping, pads_about_a_cube, shifted

STIFFNESS, WEIGHT = 800.0, 0.1 * 9.81  # [N/m], [N]


def pinch(load: float, friction: float) -> Grasps:
    """The cube between parallel jaws, pressed so that its weight is the share `load` of what friction can bear."""
    force = WEIGHT / (2.0 * friction * load)
    pose, grasp, _ = pads_about_a_cube()
    return pose, grasp, grasp - force / STIFFNESS


def pinched(load: float, friction: float = 0.2, seconds: float = 1.0) -> HoldResult:
    config = HoldConfig(friction=friction, hold_time=seconds, rest_speed=0.0)
    return MujocoTester(load_hand("panda_gripper"), hold=config).hold6(cube(), *pinch(load, friction))


@pytest.mark.parametrize("friction", [0.2, 0.6])
@pytest.mark.parametrize("load", [0.5, 0.95])
def test_two_plates_hold_what_friction_can_bear(load: float, friction: float) -> None:
    first, second = pinched(load, friction), pinched(load, friction, seconds=2.0)
    assert first.strict.all()
    assert (second.displacement - first.displacement < 2.5e-4).all()  # creep of one second
    assert (second.rotation < np.radians(0.5)).all()


@pytest.mark.parametrize("friction", [0.2, 0.6])
def test_two_plates_drop_what_friction_cannot_bear(friction: float) -> None:
    result = pinched(1.1, friction)
    assert result.outcome[0] == HoldOutcome.DROPPED


def test_a_drive_gives_way_by_what_its_stiffness_says() -> None:
    """Against the pads only the drives hold: two springs of 800 N/m side by side."""
    against = np.abs(DIRECTIONS[:, 1]) > 0.5
    np.testing.assert_allclose(pinched(0.5).displacement[0, against], WEIGHT / (2.0 * STIFFNESS), rtol=0.1)


def test_the_enveloped_cylinder_hardly_moves() -> None:
    result = MujocoTester(load_hand("leap_right"), hold=HoldConfig(rest_speed=0.0)).hold6(cylinder(), *enveloping())
    assert result.strict.all()
    assert (result.displacement < 1e-3).all()


def test_the_enveloped_cylinder_holds_in_finer_physics() -> None:
    config = HoldConfig(timestep=1.0 / 960.0, impratio=100.0, rest_speed=0.0)
    assert MujocoTester(load_hand("leap_right"), hold=config).hold6(cylinder(), *enveloping()).strict.all()


@pytest.mark.parametrize("offset", [(0.0, 0.0, 0.03), (0.03, 0.0, 0.0), (0.0, 0.03, 0.0)])
def test_the_same_grasp_three_centimetres_off_fails(offset: tuple[float, float, float]) -> None:
    result = MujocoTester(load_hand("leap_right")).hold6(cylinder(), *shifted(enveloping(), offset))
    assert not result.success.any()


def test_without_friction_it_slips_out_along_its_axis() -> None:
    config = HoldConfig(friction=0.0)
    assert not MujocoTester(load_hand("leap_right"), hold=config).hold6(cylinder(), *enveloping()).success.any()


def test_fingers_that_do_not_press_do_not_hold() -> None:
    pose, grasp, _ = enveloping()
    assert not MujocoTester(load_hand("leap_right")).hold6(cylinder(), pose, grasp - 0.1, grasp - 0.1).success.any()


def test_stopping_at_rest_is_the_same_verdict_in_fewer_steps() -> None:
    hand = load_hand("leap_right")
    whole = MujocoTester(hand, hold=HoldConfig(rest_speed=0.0)).hold6(cylinder(), *enveloping())
    short = MujocoTester(hand).hold6(cylinder(), *enveloping())
    np.testing.assert_array_equal(whole.outcome, short.outcome)
    np.testing.assert_array_equal(whole.contacts, short.contacts)
    np.testing.assert_allclose(whole.displacement, short.displacement, atol=3e-4)


def test_a_slow_slip_is_no_rest() -> None:
    """Just above the friction limit the cube starts slowly; it must not be taken for held."""
    hand = load_hand("panda_gripper")
    result = MujocoTester(hand).hold6(cube(), *pinch(1.02, 0.2))
    assert result.outcome[0] == HoldOutcome.DROPPED


def test_the_same_grasp_gives_the_same_numbers() -> None:
    tester = MujocoTester(load_hand("leap_right"))
    first, second = (tester.hold6(cylinder(), *enveloping()) for _ in range(2))
    np.testing.assert_array_equal(first.displacement, second.displacement)
    np.testing.assert_array_equal(first.object_T_palm, second.object_T_palm)
