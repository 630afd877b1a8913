"""The bench writes what it measured as a list of figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dexgrasp.bench import main


def test_the_report_is_a_list_of_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "bench.json"
    options = ["--report", str(report), "--only", "hand_bus_cycle", "--only", "inverse_kinematics"]
    assert main(options) == 0, capsys.readouterr().err
    bus, kinematics = json.loads(report.read_text())
    assert set(bus) == {"name", "value", "unit", "target", "better", "machine", "commit"}
    assert (bus["name"], bus["unit"], bus["target"], bus["better"]) == ("hand_bus_cycle", "ms", 3.0, "lower")
    assert 0.0 < bus["value"] < 100.0
    assert kinematics["name"] == "inverse_kinematics"
    assert kinematics["target"] is None
    assert "hand bus cycle" in capsys.readouterr().out


def test_an_unknown_figure_is_refused_with_the_names_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "speed"])
    assert "real_time_factor" in capsys.readouterr().err
