"""The house keeps its plan: which package may import which, and where ROS may be imported."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROS = {"rclpy", "launch", "launch_ros", "rcl_interfaces", "builtin_interfaces", "ament_index_python"}
PIP_ONLY = None
# What a module that is not a ROS package is called in rosdep. PIP_ONLY: `pip install -r setup/requirements.txt`.
ROSDEP = {
    "numpy": "python3-numpy",
    "scipy": "python3-scipy",
    "yaml": "python3-yaml",
    "rich": "python3-rich",
    "cv2": "python3-opencv",
    "serial": "python3-serial",
    "torch": "python3-torch",
    "open3d": "python3-open3d-pip",
    "mujoco": "python3-mujoco-pip",
    "trimesh": "python3-trimesh-pip",
    "rosbags": "python3-rosbags-pip",
    "joblib": "python3-joblib",
    "jinja2": "python3-jinja2",
    "matplotlib": "python3-matplotlib",
    "numba": "python3-numba",
    "coacd": PIP_ONLY,
    "manifold3d": PIP_ONLY,
    "ray": PIP_ONLY,
    "safetensors": PIP_ONLY,
    "toppra": "python3-toppra-pip",
    "ompl": PIP_ONLY,  # the ROS package of that name has no Python module
    "rtde_control": PIP_ONLY,
    "rtde_receive": PIP_ONLY,
    "honcho": PIP_ONLY,
    "transformers": PIP_ONLY,  # and only who trains with text needs it
}
# Used where they are found; so are the modules of optional backends, which `optional` finds.
OPTIONAL = {"cv_bridge", "isaacgym", "onnx"}
# What a module is called on PyPI, where that differs.
PYPI = {
    "cv2": "opencv-python-headless",
    "jinja2": "Jinja2",
    "dashboard_client": "ur_rtde",
    "dynamixel_sdk": "dynamixel-sdk",
    "pinocchio": "pin",
    "rtde_control": "ur_rtde",
    "rtde_io": "ur_rtde",
    "rtde_receive": "ur_rtde",
    "serial": "pyserial",
    "yaml": "PyYAML",
}
NOT_IMPORTED = {
    "mypy": "a command",
    "pytest-rerunfailures": "a plugin of pytest",
    "pytest-timeout": "a plugin of pytest",
    "ruff": "a command",
    "tensorboard": "torch.utils.tensorboard imports it",
    "types-PyYAML": "for mypy",
}
# Package -> packages of the suite that its library half may import.
ALLOWED = {
    "dexgrasp_common": set(),
    "dexgrasp_description": {"dexgrasp_common"},
    "dexgrasp_perception": {"dexgrasp_common", "dexgrasp_description"},
    "dexgrasp_planner": {"dexgrasp_common", "dexgrasp_description", "dexgrasp_perception"},
    "dexgrasp_control": {"dexgrasp_common", "dexgrasp_description", "dexgrasp_perception"},
    "dexgrasp_sim": {"dexgrasp_common", "dexgrasp_description"},
    "dexgrasp_training": {
        "dexgrasp_common",
        "dexgrasp_description",
        "dexgrasp_perception",
        "dexgrasp_planner",
        "dexgrasp_sim",
    },
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def pinned() -> set[str]:
    """Names of the pinned requirements but for those of ROS itself."""
    names = set()
    for file in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / "setup" / file).read_text().splitlines():
            if line and not line.startswith("#"):
                match = re.match(r"([\w-]+)==\S+", line)
                assert match, f"setup/{file}: {line!r} pins no version"
                names.add(match[1])
    return names


def optional() -> set[str]:
    """Modules that the user adds: those a registry entry requires (it says how to get them) and setup/ does not pin."""
    required: set[str] = set()
    for package in ALLOWED:
        for path in (ROOT / package / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "Backend":
                    for keyword in node.keywords:
                        if keyword.arg == "requires":
                            required |= {name.split(".")[0] for name in ast.literal_eval(keyword.value)}
    return OPTIONAL | {name for name in required if PYPI.get(name, name) not in pinned()}


def is_ros(name: str) -> bool:
    return name in ROS or name.endswith(("_msgs", "_srvs"))


def sources(package: str, nodes: bool) -> list[Path]:
    files = (ROOT / package / package).rglob("*.py")
    return [path for path in files if ("nodes" in path.relative_to(ROOT / package).parts) == nodes]


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_library_code_imports_no_ros(package: str) -> None:
    for path in sources(package, nodes=False):
        found = {name for name in imported(path) if is_ros(name)}
        assert not found, f"{path.relative_to(ROOT)} imports {found}; ROS belongs in nodes/"


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_the_design_allows(package: str) -> None:
    for path in sources(package, nodes=False) + sources(package, nodes=True):
        found = {name for name in imported(path) if name.startswith("dexgrasp")}
        extra = found - ALLOWED[package] - {package} - ({"dexgrasp_msgs"} if "nodes" in path.parts else set())
        assert not extra, f"{path.relative_to(ROOT)} imports {extra}"


def test_every_package_of_the_workspace_is_held_by_this_test() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/setup.py")}
    assert packages == set(ALLOWED) | {"launch"}


@pytest.mark.parametrize("folder", [*sorted(ALLOWED), "launch"])
def test_package_xml_declares_what_is_imported(folder: str) -> None:
    manifest = (ROOT / folder / "package.xml").read_text()
    name = {"launch": "dexgrasp"}.get(folder, folder)
    files = [*(ROOT / folder / name).rglob("*.py"), *(ROOT / folder).glob("*.launch.py")]
    used = set().union(*map(imported, files)) - {name} - set(sys.stdlib_module_names) - optional()
    for module in sorted(used):
        key = ROSDEP.get(module, module)  # a ROS package is its own key
        if key is not PIP_ONLY:
            assert f"depend>{key}</" in manifest, f"{folder}/package.xml lacks {key}, for `import {module}`"


def test_every_import_has_its_pinned_requirement_and_every_requirement_its_import() -> None:
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "launch").rglob("*.py")]
    files += [path for package in ALLOWED for path in (ROOT / package / package).rglob("*.py")]
    used = set().union(*map(imported, files)) - set(sys.stdlib_module_names) - optional()
    modules = {name for name in used if not (is_ros(name) or name.startswith("dexgrasp") or name == "setuptools")}
    wanted = {PYPI.get(module, module) for module in modules}
    assert wanted - pinned() == set(), "imported, but not pinned in setup/"
    assert pinned() - wanted == set(NOT_IMPORTED), "pinned in setup/, but never imported"
