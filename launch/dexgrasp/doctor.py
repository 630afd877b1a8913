"""`dexgrasp doctor`: every swappable part, whether it is available here, how to get it; and checks of the machine."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dexgrasp_common.registry import Registry
from dexgrasp_common.report import versions, write_report
from rich.console import Console
from rich.table import Table

REGISTRIES = (
    ("dexgrasp_planner.network.backends", "SPARSE_CONVOLUTIONS"),
    ("dexgrasp_planner.generators", "GRASP_GENERATORS"),
    ("dexgrasp_sim.tester", "GRASP_TESTERS"),
    ("dexgrasp_perception.sources", "DEPTH_SOURCES"),
    ("dexgrasp_perception.restoration", "DEPTH_RESTORATIONS"),
    ("dexgrasp_planner.motion_planners", "MOTION_PLANNERS"),
    ("dexgrasp_control.arm", "ARMS"),
    ("dexgrasp_control.hand", "HANDS"),
    ("dexgrasp_training.synthesis.method", "GRASP_METHODS"),
    ("dexgrasp_training.work", "WORK_BACKENDS"),
)

AVAILABLE, MISSING, PLANNED = "available", "missing", "not in this version"

# Parts of the plan that this version does not contain yet: listed, so that nobody looks for them in vain.
_PLANNED = (
    ("depth source", "realsense", "pyrealsense2"),
    ("depth restoration", "learned", "a checkpoint"),
    ("depth restoration", "onnx", "onnxruntime and a network of yours"),
    ("motion planner", "moveit", "moveit_py, from an installed ROS 2"),
    ("work backend", "torchrun", "torch"),
)
_IN_A_LATER_VERSION = "comes with a later version"


@dataclass(frozen=True)
class Part:
    """One row: a role, one way to fill it, and its state here."""

    role: str
    name: str
    default: bool
    state: str
    needs: str
    how_to_get: str
    summary: str = ""


@dataclass(frozen=True)
class Check:
    """One property of this machine; `advice` says what to do where it is not `ok`."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def run(parsed: argparse.Namespace) -> int:
    """Print both tables; the exit status is 1 where a check of the machine fails, missing optional parts are fine."""
    parts, checks = list(swappable_parts()), list(machine_checks())
    console = Console()
    console.print(_parts_table(parts))
    console.print(_checks_table(checks))
    if parsed.report:
        write_report(
            parsed.report,
            {
                "parts": [asdict(part) for part in parts],
                "checks": [asdict(check) for check in checks],
                "versions": versions(),
            },
        )
    return 0 if all(check.ok for check in checks) else 1


def swappable_parts() -> Iterator[Part]:
    """Every row of the table of swappable parts, role by role."""
    rows = [*_registry_parts(), *_fixed_parts()]
    present = {(row.role, row.name) for row in rows}
    rows += [
        Part(role, name, False, PLANNED, needs, _IN_A_LATER_VERSION)
        for role, name, needs in _PLANNED
        if (role, name) not in present
    ]
    order = list(dict.fromkeys(row.role for row in rows))
    yield from sorted(rows, key=lambda row: order.index(row.role))


def _registry_parts() -> Iterator[Part]:
    for module, constant in REGISTRIES:
        registry: Registry = getattr(importlib.import_module(module), constant)
        for name, backend in registry:
            absent = backend.missing()
            yield Part(
                registry.role,
                name,
                name == registry.default,
                MISSING if absent else AVAILABLE,
                ", ".join(backend.requires) or "-",
                backend.install if absent else "-",
                backend.summary,
            )


def _fixed_parts() -> Iterator[Part]:
    """Parts that choose themselves by what is installed, without a parameter."""
    yield _module_part("cloud operations", "open3d", True, "open3d", "make build", "normals, planes, outliers, files")
    yield Part("image messages", "numpy views", True, AVAILABLE, "-", "-", "used where cv_bridge is absent")
    yield _module_part(
        "image messages",
        "cv_bridge",
        False,
        "cv_bridge.boost",
        "apt install ros-$ROS_DISTRO-cv-bridge",
        "used if found",
    )
    yield _module_part("process start", "dexgrasp bringup", True, "honcho", "make build", "supervised by honcho")
    launch = shutil.which("ros2") is not None and _importable("launch_ros")
    yield Part(
        "process start",
        "ros2 launch",
        False,
        AVAILABLE if launch else MISSING,
        "ros2, launch_ros",
        "-" if launch else "apt install ros-$ROS_DISTRO-ros2launch (no wheels on PyPI)",
        "ros2 launch dexgrasp bringup.launch.py",
    )


def _module_part(role: str, name: str, default: bool, module: str, install: str, summary: str) -> Part:
    found = _importable(module)
    return Part(role, name, default, AVAILABLE if found else MISSING, module, "-" if found else install, summary)


def machine_checks() -> Iterator[Check]:
    """Python, ROS, transport, rendering and cores."""
    yield Check(
        "Python",
        sys.version_info[:2] in ((3, 11), (3, 12)),
        platform.python_version(),
        "The suite is built for Python 3.11 (wheels) or 3.12 (installed ROS 2).",
    )
    yield _check_ros()
    yield _check_interfaces()
    yield _check_transport()
    yield _check_rendering()
    cores = len(os.sched_getaffinity(0))
    yield Check("processor", cores >= 2, f"{cores} cores", "The simulated cell runs in real time on two cores or more.")


def _check_ros() -> Check:
    try:
        import rclpy
    except ImportError as error:
        return Check("ROS 2", False, str(error), "Run `make build`, then `. ./env.sh`; or source an installed ROS 2.")
    where = Path(rclpy.__file__)
    source = "wheels" if Path(sys.prefix) in where.parents else f"installed, {where.parents[4]}"
    return Check("ROS 2", True, f"{source} ({os.environ.get('ROS_DISTRO', 'kilted' if source == 'wheels' else '?')})")


def _check_interfaces() -> Check:
    try:
        for module in ("control_msgs.action", "dexgrasp_msgs.action"):
            importlib.import_module(module)
    except ImportError as error:
        return Check("interfaces", False, str(error), "Run `make build`, then `. ./env.sh`.")
    return Check("interfaces", True, "dexgrasp_msgs, control_msgs")


def _check_transport() -> Check:
    name = "Fast DDS shared memory"
    middleware = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if "fastrtps" not in middleware:
        return Check(name, True, f"not used: {middleware}")
    path = os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE", "")
    advice = "Images are lost without setup/fastdds.xml: `. ./env.sh`, or set FASTDDS_DEFAULT_PROFILES_FILE to it."
    if not path:
        return Check(name, False, "no profile in force", advice)
    try:
        sizes = [int(size) for size in re.findall(r"<segment_size>(\d+)</segment_size>", Path(path).read_text())]
    except OSError as error:
        return Check(name, False, str(error), advice)
    largest = max(sizes, default=0)
    return Check(name, largest >= 8 << 20, f"{largest / (1 << 20):.0f} MiB, {path}", advice)


def _check_rendering() -> Check:
    os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco

        model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='.1'/></worldbody></mujoco>")
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        with mujoco.Renderer(model, 32, 32) as renderer:
            renderer.update_scene(data)
            renderer.render()
    except Exception as error:  # whatever the GL stack raises, the advice is the same
        return Check(
            "rendering",
            False,
            f"{type(error).__name__}: {error}",
            "apt install libegl1 libegl-mesa0 libgl1-mesa-dri, and MUJOCO_GL=egl.",
        )
    return Check("rendering", True, f"MuJoCo {mujoco.__version__}, {os.environ['MUJOCO_GL']}")


def _parts_table(parts: list[Part]) -> Table:
    table = Table(title="Swappable parts", title_justify="left", caption="* default", caption_justify="left")
    for column in ("role", "name", "state", "needs", "how to get it"):
        table.add_column(column, overflow="fold")
    colours = {AVAILABLE: "green", MISSING: "yellow", PLANNED: "dim"}
    previous = ""
    for part in parts:
        if previous and part.role != previous:
            table.add_section()
        table.add_row(
            part.role if part.role != previous else "",
            part.name + (" *" if part.default else ""),
            f"[{colours[part.state]}]{part.state}[/]",
            part.needs,
            part.how_to_get,
        )
        previous = part.role
    return table


def _checks_table(checks: list[Check]) -> Table:
    table = Table(title="This machine", title_justify="left")
    for column in ("check", "", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for check in checks:
        mark = "[green]ok[/]" if check.ok else "[red]no[/]"
        table.add_row(check.name, mark, check.found, "" if check.ok else check.advice)
    return table


def _importable(name: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
