"""The bench writes what it measured as a list of figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_report_is_a_list_of_figures(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    options = ["--report", report, "--only", "hand_bus_cycle", "--only", "inverse_kinematics"]
    done = subprocess.run(
        [sys.executable, "-m", "dexgrasp.bench", *map(str, options)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    bus, kinematics = json.loads(report.read_text())
    assert set(bus) == {"name", "value", "unit", "target", "better", "machine", "commit"}
    assert (bus["name"], bus["unit"], bus["target"], bus["better"]) == ("hand_bus_cycle", "ms", 3.0, "lower")
    assert 0.0 < bus["value"] < 100.0
    assert kinematics["name"] == "inverse_kinematics"
    assert kinematics["target"] is None
    assert "hand bus cycle" in done.stdout


def test_an_unknown_figure_is_refused_with_the_names_of_all() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dexgrasp.bench", "--only", "speed"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "real_time_factor" in done.stderr
