"""The nodes of the node list come up, show themselves on the graph and answer one real request."""

from __future__ import annotations

import pytest
from dexgrasp.nodes import Arguments, selected
from dexgrasp_common.nodes.clients import call_service
from rcl_interfaces.srv import ListParameters

from dexgrasp_msgs.action import GenerateGrasp

from .suite import Suite, wait_for

TOPICS = {
    "/camera/depth/image_rect_raw": "sensor_msgs/msg/Image",
    "/camera/depth/camera_info": "sensor_msgs/msg/CameraInfo",
    "/camera/color/image_raw": "sensor_msgs/msg/Image",
    "/perception/depth": "sensor_msgs/msg/Image",
    "/perception/points": "sensor_msgs/msg/PointCloud2",
    "/joint_states": "sensor_msgs/msg/JointState",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
    "/grasps/markers": "visualization_msgs/msg/MarkerArray",
    "/sim/ground_truth": "dexgrasp_msgs/msg/GroundTruth",
    "/tf_static": "tf2_msgs/msg/TFMessage",
    "/robot_description": "std_msgs/msg/String",
}
SERVICES = {
    "/plan_grasp": "dexgrasp_msgs/srv/PlanGrasp",
    "/arm/stop": "std_srvs/srv/Trigger",
    "/hand/stop": "std_srvs/srv/Trigger",
    "/sim/reset": "dexgrasp_msgs/srv/ResetScene",
    "/generate_grasp/_action/send_goal": "dexgrasp_msgs/action/GenerateGrasp_SendGoal",
    "/execute_grasp/_action/send_goal": "dexgrasp_msgs/action/ExecuteGrasp_SendGoal",
    "/clear_table/_action/send_goal": "dexgrasp_msgs/action/ClearTable_SendGoal",
    "/arm/follow_joint_trajectory/_action/send_goal": "control_msgs/action/FollowJointTrajectory_SendGoal",
    "/hand/follow_joint_trajectory/_action/send_goal": "control_msgs/action/FollowJointTrajectory_SendGoal",
}


def test_every_node_topic_and_service_is_there(suite: Suite) -> None:
    node = suite.session.node

    def seen() -> bool:
        return (
            {spec.executable for spec in selected(Arguments())} <= set(node.get_node_names())
            and {name: [kind] for name, kind in TOPICS.items()}.items()
            <= dict(node.get_topic_names_and_types()).items()
            and {name: [kind] for name, kind in SERVICES.items()}.items()
            <= dict(node.get_service_names_and_types()).items()
        )

    wait_for(seen, 20.0, "the whole graph")


@pytest.mark.parametrize("spec", selected(Arguments()), ids=lambda spec: spec.executable)
def test_every_parameter_of_the_node_list_is_declared(suite: Suite, spec) -> None:
    client = suite.session.service(ListParameters, f"{spec.executable}/list_parameters")
    names = call_service(client, ListParameters.Request(), 10.0).result.names
    assert set(spec.parameters(Arguments())) <= set(names)


def test_a_goal_brings_ranked_grasps_in_world(suite: Suite) -> None:
    suite.reset(seed=0, objects=3)
    result = suite.generate(GenerateGrasp.Goal(max_grasps=30, seed=4))
    assert result.error_code == GenerateGrasp.Result.SUCCESS, result.error_msg
    grasps = result.grasps.grasps
    assert 1 <= len(grasps) <= 30
    assert result.candidates >= len(grasps)
    assert {grasp.header.frame_id for grasp in grasps} == {"world"}
    scores = [grasp.score for grasp in grasps]
    assert scores == sorted(scores, reverse=True)
    assert all(len(grasp.grasp_positions) == len(grasp.joint_names) == 16 for grasp in grasps)
    assert {stage.stage for stage in result.stage_times} >= {"prepare", "generate", "filter", "rank"}
