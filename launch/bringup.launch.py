"""ros2 launch dexgrasp bringup.launch.py [argument:=value ...]: the nodes of dexgrasp.nodes, with its arguments."""

from dataclasses import fields

from dexgrasp.nodes import Arguments, own_parameters, parse, rviz_command, selected, shipped_parameters
from dexgrasp_description.urdf import robot_urdf
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from dexgrasp_description import load_cell
from launch import LaunchContext, LaunchDescription


def start_nodes(context: LaunchContext) -> list:
    arguments = parse({item.name: LaunchConfiguration(item.name).perform(context) for item in fields(Arguments)})
    actions = [
        Node(
            package=node.package,
            executable=node.executable,
            prefix=f"nice -n {node.niceness}" if node.niceness else None,
            parameters=[
                str(shipped_parameters()),
                as_they_are(node.parameters(arguments)),
                *map(str, own_parameters(arguments)),
            ],
            arguments=["--ros-args", "--log-level", arguments.log_level],
            output="screen",
            emulate_tty=True,
            on_exit=Shutdown(reason=f"{node.executable} ended"),
        )
        for node in selected(arguments)
    ]
    if arguments.use_rviz:
        actions += [
            Node(
                package="robot_state_publisher",
                executable="robot_state_publisher",
                parameters=[as_they_are({"robot_description": robot_urdf(load_cell(arguments.cell))})],
                # arm_driver publishes this topic, with and without RViz.
                remappings=[("robot_description", "robot_state_publisher/robot_description")],
                output="log",
            ),
            ExecuteProcess(cmd=rviz_command(), output="log"),
        ]
    return actions


def as_they_are(parameters: dict) -> dict:
    """Texts marked as such: launch would read them as YAML, and an address such as `1` as a number."""
    return {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in parameters.items()
    }


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(
            item.name,
            default_value=str(item.default).lower() if isinstance(item.default, bool) else item.default,
            description=item.metadata["help"],
        )
        for item in fields(Arguments)
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start_nodes)])
