"""The doctor lists every swappable part of the design, and says how to get what is absent."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from dexgrasp.doctor import AVAILABLE, MISSING, PLANNED, machine_checks, swappable_parts

DESIGN = {
    "sparse convolution": {"torch", "minkowski"},
    "grasp generator": {"diffusion", "heuristic"},
    "grasp tester": {"mujoco", "isaacgym"},
    "depth source": {"files", "bag", "realsense"},
    "depth restoration": {"learned", "none", "classical", "onnx"},
    "motion planner": {"ompl", "moveit"},
    "arm": {"ur", "panda", "trajectory"},
    "hand": {"leap", "leap_hand_utils", "panda_gripper"},
    "cloud operations": {"open3d"},
    "image messages": {"numpy views", "cv_bridge"},
    "process start": {"dexgrasp bringup", "ros2 launch"},
    "grasp method": {"closing", "contact_field", "force_closure", "wrench_space"},
    "work backend": {"loky", "ray", "torchrun"},
}


def test_every_part_of_the_design_has_a_row() -> None:
    found: dict[str, set[str]] = {}
    for part in swappable_parts():
        found.setdefault(part.role, set()).add(part.name)
    for role, names in DESIGN.items():
        assert names <= found.get(role, set()), role


def test_what_is_absent_says_how_to_get_it() -> None:
    for part in swappable_parts():
        assert part.state in (AVAILABLE, MISSING, PLANNED)
        if part.state != AVAILABLE:
            assert part.how_to_get not in ("", "-"), part


def test_every_default_that_exists_is_available() -> None:
    defaults = [part for part in swappable_parts() if part.default]
    assert {"diffusion", "mujoco", "ompl", "ur", "leap"} <= {part.name for part in defaults}
    assert all(part.state == AVAILABLE for part in defaults)


def test_failed_checks_carry_advice() -> None:
    checks = list(machine_checks())
    assert {"Python", "ROS 2", "Fast DDS shared memory", "rendering"} <= {check.name for check in checks}
    assert all(check.advice for check in checks if not check.ok)


def test_the_command_prints_and_reports(tmp_path: Path) -> None:
    report = tmp_path / "doctor.json"
    done = subprocess.run(["dexgrasp", "doctor", "--report", str(report)], capture_output=True, text=True, timeout=120)
    content = json.loads(report.read_text())
    assert done.returncode == (0 if all(check["ok"] for check in content["checks"]) else 1)
    assert {"parts", "checks", "versions"} == set(content)
    assert "heuristic" in done.stdout
