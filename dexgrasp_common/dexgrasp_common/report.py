"""Files that are written whole or not at all, and what stands in every JSON report: versions and machine."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

PART = ".part"  # ends the names of temporary files
_PACKAGES = ("dexgrasp", "mujoco", "torch", "numpy", "open3d", "ur_rtde", "dynamixel-sdk", "ompl", "coal", "ros-rclpy")


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it; missing folders are made.

    Raises:
        OSError: The place cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=PART, delete=False) as stream:
        try:
            write(stream)
            stream.close()
            os.chmod(stream.name, 0o644)
            os.replace(stream.name, path)
        except BaseException:
            Path(stream.name).unlink(missing_ok=True)
            raise


def write_report(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all.

    Raises:
        OSError: The place cannot be written.
    """
    text = json.dumps(content, indent=2) + "\n"
    write_whole(path.expanduser(), lambda stream: stream.write(text.encode()))


def versions() -> dict[str, str]:
    """Version of Python, of the suite's commit and of the packages that results depend on; absent ones are left out."""
    found = {"python": platform.python_version(), "commit": commit()}
    if "ROS_DISTRO" in os.environ:
        found["ros"] = os.environ["ROS_DISTRO"]
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Abbreviated commit of the sources, with `+` where files have changed since; `unknown` outside a repository."""
    try:
        text = subprocess.run(
            ["git", "-C", str(Path(__file__).resolve().parent), "describe", "--always", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return text or "unknown"


def machine() -> str:
    """Processor and number of usable cores, for figures that depend on them."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {len(os.sched_getaffinity(0))} cores"
