"""The lift test lifts what is held, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from dexgrasp_common.transforms import from_xyz_quat
from dexgrasp_planner.postures import PostureRules
from dexgrasp_sim.mujoco_tester import MujocoTester
from dexgrasp_sim.objects import Part, solid
from dexgrasp_sim.tester import GRASP_TESTERS, LiftConfig, LiftOutcome, LiftResult, LiftScene, LiftTestError
from numpy.typing import NDArray

from dexgrasp_description import GraspSet, load_hand

# Three fingers and the thumb round a standing cylinder of 6 x 12 cm, fingertips on opposite sides.
PALM = [-0.0507, 0.0518, 0.1437, -0.1781, -0.0031, 0.5037, 0.8453]
JOINTS = [
    0.1425,
    0.6564,
    0.8133,
    0.64,
    0.0132,
    0.6796,
    0.6501,
    0.3685,
    -0.1511,
    0.8509,
    0.7698,
    0.6163,
    1.8672,
    -0.0342,
]
JOINTS += [0.0712, 0.732]


def cylinder(name: str = "can") -> tuple[object, NDArray[np.float64]]:
    model = solid(
        "can",
        {},
        trimesh.creation.cylinder(0.03, 0.12, sections=48),
        [Part("cylinder", (0.03, 0.06), np.eye(4))],
        (0.5, 0.5, 0.5),
    )
    pose = np.eye(4)
    pose[2, 3] = 0.06
    return model.named(name), pose


@pytest.fixture(scope="module")
def scene() -> LiftScene:
    model, pose = cylinder()
    far, beside = cylinder("other")
    beside[:2, 3] = [0.3, 0.3]
    return LiftScene([model, far], np.stack([pose, beside]))


def grasp(offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> GraspSet:
    rules = PostureRules(load_hand("leap_right"))
    palm = from_xyz_quat(PALM)
    palm[:3, 3] += offset
    q, nothing = np.array([JOINTS]), np.full(1, np.nan)
    return GraspSet(
        "leap_right", palm[None], rules.opened(q), q, rules.squeezed(q), nothing, nothing, nothing, np.zeros((1, 3))
    )


def lift(scene: LiftScene, grasps: GraspSet, **physics: object) -> LiftResult:
    return MujocoTester(load_hand("leap_right"), LiftConfig(**physics)).lift(scene, grasps)


@pytest.mark.parametrize("physics", [{}, {"friction": 0.6, "effort_limit": 0.25, "held_still": False}])
def test_a_good_grasp_lifts_the_cylinder_and_only_it(scene: LiftScene, physics: dict[str, object]) -> None:
    result = lift(scene, grasp(), **physics)
    assert result.pregrasp_clear.tolist() == [True]
    assert result.success.tolist() == [True]
    assert result.lifted.tolist() == [0]
    assert result.outcome.tolist() == [LiftOutcome.LIFTED]
    assert result.held.tolist() == [0]
    assert 0.10 < result.rise[0] < 0.25


def test_without_friction_the_same_grasp_fails(scene: LiftScene) -> None:
    result = lift(scene, grasp(), friction=0.0)
    assert result.success.tolist() == [False]
    assert result.outcome.tolist() == [LiftOutcome.DROPPED]


def test_fingers_that_never_close_miss_and_those_that_open_again_lose(scene: LiftScene) -> None:
    closed = grasp((0.0, 0.0, 0.02))  # the palm does not touch
    opened = closed.pregrasp
    result = lift(scene, replace(closed, grasp=opened, squeeze=opened))
    assert result.outcome.tolist() == [LiftOutcome.MISSED]
    assert result.held.tolist() == [-1]
    result = lift(scene, replace(closed, grasp=closed.squeeze, squeeze=opened))
    assert result.outcome.tolist() == [LiftOutcome.LOST]
    assert result.held.tolist() == [-1]


def test_what_is_held_is_told_in_a_scene_of_several(scene: LiftScene) -> None:
    other = scene.world_T_object[1, :3, 3] - scene.world_T_object[0, :3, 3]
    result = lift(scene, GraspSet.concatenate([grasp(), grasp(tuple(other))]))
    assert result.held.tolist() == [0, 1]
    assert result.lifted.tolist() == [0, 1]


def test_a_hand_in_the_air_lifts_nothing(scene: LiftScene) -> None:
    result = lift(scene, grasp((0.0, 0.0, 0.2)), friction=0.6)
    assert result.pregrasp_clear.tolist() == [True]
    assert result.success.tolist() == [False]
    assert result.outcome.tolist() == [LiftOutcome.MISSED]
    assert abs(result.rise[0]) < 0.002


def test_a_pregrasp_that_touches_anything_is_a_failure(scene: LiftScene) -> None:
    result = lift(scene, grasp((0.0, 0.0, -0.12)), friction=0.6)
    assert result.pregrasp_clear.tolist() == [False]
    assert result.outcome.tolist() == [LiftOutcome.COLLIDES]
    assert result.success.tolist() == [False]


def test_grasps_are_judged_one_by_one_and_reproducibly(scene: LiftScene) -> None:
    both = GraspSet.concatenate([grasp((0.0, 0.0, 0.2)), grasp()])
    first, second = lift(scene, both), lift(scene, both)
    assert first.success.tolist() == [False, True]
    np.testing.assert_array_equal(first.rise, second.rise)
    np.testing.assert_array_equal(first.rise[1], lift(scene, grasp()).rise[0])


def test_no_grasps_give_an_empty_result(scene: LiftScene) -> None:
    result = lift(scene, GraspSet.empty("leap_right", 16))
    assert len(result.success) == len(result.rise) == 0


def test_grasps_of_another_hand_and_scenes_without_objects_are_refused(scene: LiftScene) -> None:
    with pytest.raises(LiftTestError, match="leap_right"):
        lift(scene, replace(grasp(), hand="shadow"))
    with pytest.raises(LiftTestError, match="at least one object"):
        lift(LiftScene([], np.zeros((0, 4, 4))), grasp())


def test_the_registry_makes_the_tester() -> None:
    tester = GRASP_TESTERS.create("mujoco", load_hand("leap_right"))
    assert isinstance(tester, MujocoTester)
