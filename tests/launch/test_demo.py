"""The demo from start to shutdown, as a newcomer types it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

KEYS = {
    "seed",
    "objects",
    "attempts",
    "successes",
    "cleared",
    "consecutive_failures",
    "error_counts",
    "generate_ms",
    "plan_ms",
    "cycle_s",
    "real_time_factor",
    "versions",
    "removed",
}


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_the_demo_clears_objects_and_leaves_no_process(ros_domain: int, loopback_ip: str, tmp_path: Path) -> None:
    report, picture = tmp_path / "report.json", tmp_path / "picture.png"
    command = ["dexgrasp", "demo", "--objects", "2", "--seed", "0", "--robot-ip", loopback_ip]
    command += ["--hand-port", str(tmp_path / "leap"), "--report", str(report), "--picture", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(report.read_text())
    assert set(figures) >= KEYS
    assert figures["attempts"] >= 1
    assert len(figures["generate_ms"]) >= figures["attempts"]
    assert figures["removed"] >= 1
    assert picture.stat().st_size > 50_000
    left = subprocess.run(["pgrep", "-f", loopback_ip + "'"], capture_output=True, text=True).stdout
    assert not left
