"""The bench writes what it measured as a list of figures; at a size that says nothing of speed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from dexgrasp import generator_bench, object_generator_bench
from dexgrasp.bench import main, sample_cloud
from dexgrasp.generator_bench import STAGES, Size
from dexgrasp_planner.network.velocity_field import VelocityField


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


@pytest.mark.slow
def test_the_generators_row_has_every_stage_and_its_baseline_is_the_same_divergence() -> None:
    size = Size(3000, 16, 1, 1, backbones=("small",), samplers=("fast",), precisions=("fp32",), devices=("cpu",))
    measured, left_out = generator_bench.rows(sample_cloud(), size)
    own, reference = measured[:2]
    assert tuple(own.wall_ms) == tuple(own.cpu_ms) == STAGES
    assert min(own.wall_ms.values()) > 0.0
    assert reference.wall_ms["sampling"] > own.wall_ms["sampling"]
    assert "extrapolated from 1 of 200 steps" in reference.note
    assert len(measured) + len(left_out) == 3  # MinkowskiEngine's row, or why there is none
    milliseconds, peak = own.figures()
    assert (milliseconds["name"], milliseconds["unit"], milliseconds["target"]) == (
        "generator_small_fast_fp32",
        "ms",
        400.0,
    )
    assert milliseconds["value"] == pytest.approx(sum(own.wall_ms.values()), abs=0.1)
    assert 0.0 < peak["value"] < 1500.0
    assert "small fast fp32" in str(list(generator_bench.table(measured, "").columns[0].cells))

    torch.manual_seed(0)
    field = VelocityField(12)
    feature, sample = torch.randn(8, field.features), torch.randn(8, 12)
    traced = generator_bench.traced_flow(field, sample, feature, 300)
    for ours, theirs in zip(field.conditioned(feature)(sample, 300), traced, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_object_generators_rows_have_median_range_and_target(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEXGRASP_CHECKPOINT", str(tmp_path / "none"))  # random weights, whatever ships
    size = object_generator_bench.Size(3, 2, networks=("usual",), samplers=("fast",))
    measured = object_generator_bench.rows(size)
    assert [row.name for row in measured] == [
        ("small", "fast", "unguided"),
        ("small", "fast", "guided"),
        ("small", "fast", "guided by the estimate"),
        ("small", "fast", "offered"),
    ]
    (figure,) = measured[1].figures()
    assert (figure["name"], figure["unit"], figure["target"]) == ("object_generator_small_fast_guided", "s", 0.5)
    least, most = figure["range"]
    assert 0.0 < least <= figure["value"] <= most
    cells = [list(column.cells) for column in object_generator_bench.table(measured).columns]
    assert "small fast guided by the estimate" in cells[0]
    assert cells[-1] == ["random"] * 4
