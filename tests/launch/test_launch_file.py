"""bringup.launch.py: read where ROS's launch is absent, and really started where it is there."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
import rclpy
from dexgrasp.nodes import Arguments, selected
from sensor_msgs.msg import JointState

from dexgrasp_description import load_arm, load_cell, load_hand

FILE = Path(__file__).resolve().parents[2] / "launch" / "bringup.launch.py"
START = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
path, *arguments = sys.argv[1:]
include = IncludeLaunchDescription(
    PythonLaunchDescriptionSource(path), launch_arguments=[argument.split(":=") for argument in arguments]
)
service = LaunchService()
service.include_launch_description(LaunchDescription([include]))
sys.exit(service.run())
"""


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def keywords(call: ast.Call) -> dict[str, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg}


def loops(tree: ast.AST, inside: ast.Call) -> list[str]:
    """What the comprehension around a call runs over, if there is one."""
    return [
        ast.unparse(node.generators[0].iter)
        for node in ast.walk(tree)
        if isinstance(node, ast.ListComp) and node.elt is inside
    ]


def test_the_launch_file_starts_the_list_of_nodes_and_nothing_of_its_own_but_rviz() -> None:
    tree = ast.parse(FILE.read_text())
    (listed,) = [call for call in calls(tree, "Node") if loops(tree, call)]
    assert loops(tree, listed) == ["selected(arguments)"]
    words = keywords(listed)
    assert (words["package"], words["executable"]) == ("node.package", "node.executable")
    assert "node.parameters(arguments)" in words["parameters"]
    assert "node.niceness" in words["prefix"]

    others = [call for name in ("Node", "ExecuteProcess") for call in calls(tree, name) if call is not listed]
    (with_rviz,) = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
    assert ast.unparse(with_rviz.test) == "arguments.use_rviz"
    assert {ast.unparse(call) for call in others} == {
        ast.unparse(call) for name in ("Node", "ExecuteProcess") for call in calls(with_rviz, name)
    }
    assert {words.get("executable", words.get("cmd")) for words in map(keywords, others)} == {
        "'robot_state_publisher'",
        "rviz_command()",
    }


def test_the_launch_file_declares_every_documented_argument() -> None:
    tree = ast.parse(FILE.read_text())
    (declared,) = calls(tree, "DeclareLaunchArgument")
    assert loops(tree, declared) == ["fields(Arguments)"]
    table = [line.split("|")[1] for line in FILE.with_name("README.md").read_text().splitlines() if "| `" in line]
    documented = {name.strip(" `") for names in table for name in names.split(",")}
    assert {item.name for item in fields(Arguments)} <= documented


@pytest.mark.slow
def test_the_real_launch_file_brings_up_every_node_headless(
    tmp_path: Path, ros_context: None, loopback_ip: str
) -> None:
    pytest.importorskip("launch_ros", reason="ROS 2's launch_ros is not installed (it has no wheels)")
    log = tmp_path / "launch.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(FILE), f"robot_ip:={loopback_ip}", f"hand_port:={tmp_path}/leap"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "ROS_LOG_DIR": str(tmp_path)},
            start_new_session=True,
        )
    node = rclpy.create_node("test_launch_file")
    try:
        wanted = {spec.executable for spec in selected(Arguments())}
        until(lambda: wanted <= set(node.get_node_names()), process, "all nodes")
        cell = load_cell(Arguments().cell)
        joints = {*load_arm(cell.arm).joint_names, *load_hand(cell.hand).joint_names}
        moving: set[str] = set()
        node.create_subscription(JointState, "joint_states", lambda message: moving.update(message.name), 10)
        until(lambda: rclpy.spin_once(node, timeout_sec=0.1) or joints <= moving, process, "joint states")
    finally:
        node.destroy_node()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, log.read_text()[-2000:]


def until(condition, process: subprocess.Popen, what: str, deadline: float = 90.0) -> None:
    end = time.monotonic() + deadline
    while not condition():
        assert process.poll() is None, f"launch ended with {process.returncode} before there were {what}"
        assert time.monotonic() < end, f"no {what} within {deadline} s"
        time.sleep(0.05)
