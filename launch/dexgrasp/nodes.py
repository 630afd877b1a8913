"""The one list of nodes, read by `bringup.launch.py` and by `dexgrasp bringup`, so that neither can drift."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

PACKAGE_FOLDER = Path(__file__).resolve().parent.parent  # of the sources; installed files are found by share_folder()


def argument(default: Any, help: str) -> Any:
    """A field of `Arguments`."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Arguments:
    """What can be chosen at bringup, the same for `ros2 launch dexgrasp bringup.launch.py` and `dexgrasp bringup`."""

    cell: str = argument("ur5_leap", "workcell: name or file (arm, hand, camera, table, bin)")
    sim: bool = argument(True, "simulated cell with emulated controllers; false: a real camera, arm and hand")
    source: str = argument("realsense", "depth source where sim is false")
    generator: str = argument(
        "", "generator used where a goal names none; empty: `diffusion`, if there is a checkpoint"
    )
    restoration: str = argument("classical", "depth restoration")
    planner: str = argument("ompl", "motion planner")
    arm: str = argument("ur", "arm driver")
    hand: str = argument("leap", "hand driver")
    robot_ip: str = argument("127.0.0.1", "address of the arm's controller, real or emulated")
    hand_port: str = argument("/tmp/dexgrasp/leap", "serial port of the hand, or the emulated bus's pseudo-terminal")
    params_file: str = argument("", "parameter file; it overrides everything else")
    use_rviz: bool = argument(False, "start RViz with the shipped layout (needs an installed ROS 2)")
    log_level: str = argument("info", "debug, info, warn, error or fatal")


@dataclass(frozen=True)
class NodeSpec:
    """One node.

    Attributes:
        package: ROS package.
        executable: Its entry point, which is also the node's name and its module in `<package>.nodes`.
        parameters: Parameters that follow from the arguments; all others come from the parameter files.
        when: Whether the node is started with these arguments.
        niceness: Of the process. Those that compute give way to those that must keep time with the hardware.
    """

    package: str
    executable: str
    parameters: Callable[[Arguments], dict[str, Any]] = lambda a: {"cell": a.cell}
    when: Callable[[Arguments], bool] = lambda a: True
    niceness: int = 0


def _patience(arguments: Arguments) -> dict[str, Any]:
    """An emulated controller shares this machine's cores with everything else and may keep a driver waiting."""
    return {"silence_timeout": 0.5} if arguments.sim else {}


NODES: tuple[NodeSpec, ...] = (
    NodeSpec(
        "dexgrasp_sim",
        "sim_cell",
        lambda a: {"cell": a.cell, "controller_ip": a.robot_ip, "hand_port": a.hand_port},
        lambda a: a.sim,
    ),
    NodeSpec(
        "dexgrasp_perception",
        "depth_capture",
        lambda a: {"cell": a.cell, "source": a.source},
        lambda a: not a.sim,
    ),
    NodeSpec(
        "dexgrasp_perception",
        "depth_restoration",
        lambda a: {"cell": a.cell, "restoration": a.restoration},
        niceness=5,
    ),
    NodeSpec(
        "dexgrasp_planner",
        "grasp_generator",
        lambda a: {"cell": a.cell, "generator": a.generator},
        niceness=10,
    ),
    NodeSpec("dexgrasp_planner", "motion_planner", lambda a: {"cell": a.cell, "planner": a.planner}, niceness=10),
    NodeSpec(
        "dexgrasp_control",
        "arm_driver",
        lambda a: {"cell": a.cell, "arm": a.arm, "ip": a.robot_ip, **_patience(a)},
    ),
    NodeSpec(
        "dexgrasp_control",
        "hand_driver",
        lambda a: {"cell": a.cell, "hand": a.hand, "port": a.hand_port, **_patience(a)},
    ),
    NodeSpec("dexgrasp_control", "grasp_executor"),
    NodeSpec("dexgrasp_control", "table_clearer"),
)


def selected(arguments: Arguments) -> list[NodeSpec]:
    """The nodes that these arguments start, in the order of the list."""
    return [node for node in NODES if node.when(arguments)]


def parse(texts: dict[str, str]) -> Arguments:
    """Arguments from their text form (`sim:=false`).

    Raises:
        ValueError: An unknown argument, or a boolean that is neither true nor false.
    """
    known = {item.name: item for item in fields(Arguments)}
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in known:
            raise ValueError(f"Unknown argument {name!r}. Arguments: {', '.join(known)}.")
        if isinstance(known[name].default, bool):
            if text.lower() not in ("true", "false"):
                raise ValueError(f"{name} is true or false, not {text!r}.")
            values[name] = text.lower() == "true"
        else:
            values[name] = text
    return Arguments(**values)


def shipped_parameters() -> Path:
    """The parameter file that comes with the suite; it is read first."""
    return share_folder() / "params" / "dexgrasp.yaml"


def own_parameters(arguments: Arguments) -> list[Path]:
    """The user's parameter file, if there is one; it is read last, so that it has the last word.

    Raises:
        FileNotFoundError: The file is not there.
    """
    if not arguments.params_file:
        return []
    path = Path(arguments.params_file).expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"params_file {path} does not exist.")
    return [path]


def share_folder() -> Path:
    """Where parameter files, RViz layout and samples lie: the sources, or the installed package's share folder."""
    if (PACKAGE_FOLDER / "params").is_dir():
        return PACKAGE_FOLDER
    from ament_index_python import get_package_share_path

    return get_package_share_path("dexgrasp")


def command(node: NodeSpec, arguments: Arguments) -> str:
    """Shell command that starts the node without `ros2 launch`."""
    nice = ["nice", "-n", str(node.niceness)] if node.niceness else []
    words = [*nice, *_program(node), "--ros-args", "--log-level", arguments.log_level]
    words += ["--params-file", str(shipped_parameters())]
    for name, value in node.parameters(arguments).items():
        words += ["-p", f"{name}:={_yaml(value)}"]
    for path in own_parameters(arguments):
        words += ["--params-file", str(path)]
    return "exec " + shlex.join(words)


def rviz_command() -> list[str]:
    """Command of RViz with the shipped layout."""
    return ["rviz2", "-d", str(share_folder() / "rviz" / "dexgrasp.rviz")]


def _program(node: NodeSpec) -> list[str]:
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix) / "lib" / node.package / node.executable
        if prefix and os.access(path, os.X_OK):
            return [str(path)]
    return [sys.executable, "-m", f"{node.package}.nodes.{node.executable}"]


def _yaml(value: Any) -> str:
    """One value as YAML, with strings quoted so that `5` or `none` stay what they are."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
