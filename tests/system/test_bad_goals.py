"""Bad input over real DDS: each kind has its own error code and message, nothing moves, and the next goal works."""

from __future__ import annotations

import re

import numpy as np
import pytest
from dexgrasp_common.nodes.messages import points_to_cloud
from geometry_msgs.msg import Pose
from std_msgs.msg import Header

from dexgrasp_description import load_hand
from dexgrasp_msgs.action import ClearTable, ExecuteGrasp, GenerateGrasp
from dexgrasp_msgs.msg import Grasp, GraspTrajectory
from dexgrasp_msgs.srv import PlanGrasp

from .suite import Suite

CODES = GenerateGrasp.Result


@pytest.fixture(autouse=True)
def scene(suite: Suite):
    """Nothing moves while bad goals are refused, and a good goal works afterwards."""
    suite.go_home()
    before = dict(suite.joints)
    yield
    moved = max(abs(suite.joints[name] - before[name]) for name in before)
    assert moved < 0.01, f"a joint moved by {moved:.3f} rad"
    after = suite.generate(GenerateGrasp.Goal(cloud=box_cloud(), max_grasps=1))
    assert after.error_code == CODES.SUCCESS, after.error_msg


def box_cloud() -> object:
    """A 5 x 5 x 6 cm box in the middle of the table, seen from above, in world."""
    steps = np.linspace(-0.025, 0.025, 21)
    x, y = (axis.ravel() for axis in np.meshgrid(steps, steps))
    top = np.stack([x, y, np.full_like(x, 0.06)], axis=1)
    return points_to_cloud(top.astype(np.float32), Header(frame_id="world"))


def cloud(points: np.ndarray, frame: str = "camera") -> object:
    return points_to_cloud(points.astype(np.float32), Header(frame_id=frame))


@pytest.mark.parametrize(
    ("goal", "code", "message"),
    [
        (GenerateGrasp.Goal(cloud=cloud(np.empty((0, 3)))), CODES.EMPTY_CLOUD, "no points"),
        (GenerateGrasp.Goal(cloud=cloud(np.full((480, 640, 3), np.nan))), CODES.INVALID_CLOUD, "finite"),
        (GenerateGrasp.Goal(cloud=cloud(np.zeros((100, 3)), "map")), CODES.WRONG_FRAME, "'map'"),
        (GenerateGrasp.Goal(generator="magic"), CODES.UNKNOWN_GENERATOR, "'magic'. Valid names: .*heuristic"),
        (GenerateGrasp.Goal(max_grasps=10**6), CODES.INVALID_GOAL, "max_grasps"),
    ],
    ids=["empty cloud", "all NaN", "wrong frame", "unknown generator", "too many grasps"],
)
def test_bad_generate_goals(suite: Suite, goal: GenerateGrasp.Goal, code: int, message: str) -> None:
    result = suite.generate(goal)
    assert result.error_code == code, result.error_msg
    assert re.search(message, result.error_msg), result.error_msg
    assert not result.grasps.grasps


def grasp_at(x: float, y: float, z: float) -> Grasp:
    """A LEAP grasp with an open hand pointing down."""
    hand = load_hand("leap_right")
    posture = hand.home.tolist()
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = x, y, z
    return Grasp(
        header=Header(frame_id="world"),
        hand=hand.name,
        palm_pose=pose,
        joint_names=list(hand.joint_names),
        pregrasp_positions=posture,
        grasp_positions=posture,
        squeeze_positions=posture,
        score=1.0,
        log_likelihood=float("nan"),
        graspness=float("nan"),
    )


def test_an_unreachable_grasp_is_named_so(suite: Suite) -> None:
    response = suite.plan(grasp_at(3.0, 0.0, 0.2))
    assert response.error_code == PlanGrasp.Response.UNREACHABLE, response.error_msg
    assert response.error_msg


def test_a_grasp_in_another_frame_is_refused(suite: Suite) -> None:
    grasp = grasp_at(0.0, 0.0, 0.2)
    grasp.header.frame_id = "camera"
    response = suite.plan(grasp)
    assert response.error_code == PlanGrasp.Response.WRONG_FRAME
    assert "world" in response.error_msg


def test_executing_an_unreachable_grasp_reports_why_planning_failed(suite: Suite) -> None:
    result = suite.execute(ExecuteGrasp.Goal(trajectory=GraspTrajectory(grasp=grasp_at(3.0, 0.0, 0.2))))
    assert result.error_code == ExecuteGrasp.Result.PLANNING_FAILED
    assert str(PlanGrasp.Response.UNREACHABLE) in result.error_msg


def test_executing_nothing_is_refused(suite: Suite) -> None:
    result = suite.execute(ExecuteGrasp.Goal())
    assert result.error_code == ExecuteGrasp.Result.INVALID_GOAL
    assert result.error_msg


def test_clearing_with_an_unknown_generator_says_so(suite: Suite) -> None:
    result = suite.clear(ClearTable.Goal(generator="magic"))
    assert result.error_code == ClearTable.Result.GENERATOR_UNAVAILABLE, result.error_msg
    assert "magic" in result.error_msg
