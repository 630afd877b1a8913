"""The house keeps its plan: which package may import which, and where ROS may be imported."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROS = {"rclpy", "launch", "launch_ros", "rcl_interfaces", "builtin_interfaces", "action_msgs"}
# Package -> packages of the suite that its library half may import.
ALLOWED = {
    "dexgrasp_common": set(),
    "dexgrasp_description": {"dexgrasp_common"},
    "dexgrasp_perception": {"dexgrasp_common", "dexgrasp_description"},
    "dexgrasp_planner": {"dexgrasp_common", "dexgrasp_description", "dexgrasp_perception"},
    "dexgrasp_control": {"dexgrasp_common", "dexgrasp_description", "dexgrasp_perception"},
    "dexgrasp_sim": {"dexgrasp_common", "dexgrasp_description"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def sources(package: str, nodes: bool) -> list[Path]:
    files = (ROOT / package / package).rglob("*.py")
    return [path for path in files if ("nodes" in path.relative_to(ROOT / package).parts) == nodes]


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_library_code_imports_no_ros(package: str) -> None:
    for path in sources(package, nodes=False):
        found = {name for name in imported(path) if name in ROS or name.endswith("_msgs") or name.endswith("_srvs")}
        assert not found, f"{path.relative_to(ROOT)} imports {found}; ROS belongs in nodes/"


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_the_design_allows(package: str) -> None:
    for path in sources(package, nodes=False) + sources(package, nodes=True):
        found = {name for name in imported(path) if name.startswith("dexgrasp")}
        extra = found - ALLOWED[package] - {package} - ({"dexgrasp_msgs"} if "nodes" in path.parts else set())
        assert not extra, f"{path.relative_to(ROOT)} imports {extra}"


def test_every_package_of_the_workspace_is_held_by_this_test() -> None:
    packages = {path.parent.name for path in ROOT.glob("dexgrasp_*/setup.py")}
    assert packages == set(ALLOWED)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_package_xml_declares_the_suite_packages_that_are_imported(package: str) -> None:
    manifest = (ROOT / package / "package.xml").read_text()
    used = set().union(*(imported(path) for path in (ROOT / package / package).rglob("*.py")))
    for name in sorted(used):
        if (name.startswith("dexgrasp") and name != package) or name.endswith(("_msgs", "_srvs")) or name == "rclpy":
            assert f"depend>{name}</" in manifest, f"{package}/package.xml lacks {name}"
