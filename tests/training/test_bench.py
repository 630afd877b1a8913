"""The bench measures every method and stage, and shows what it measured; at a size that says nothing of speed."""

from __future__ import annotations

import io

import pytest
from dexgrasp_training.synthesis.method import GRASP_METHODS
from rich.console import Console

from dexgrasp_training import bench


@pytest.mark.slow
def test_every_method_and_stage_has_a_figure() -> None:
    content = {
        "objects": {"procedural": 2, "families": ["can", "box"], "test_share": 0.0},
        "grasps": {"attempts": {"closing": 400, "contact_field": 10, "force_closure": 16, "wrench_space": 16}},
        "scenes": {"dense": 0, "random": 0, "loose": 2, "test_share": 0.0},
        "views": {"count": 2},
    }
    screen = Console(file=io.StringIO(), width=200)
    figures = bench.run(None, 1, screen, content)
    methods = figures["methods"]["primitives"]
    assert list(methods) == [name for name, _ in GRASP_METHODS]
    for row in methods.values():
        assert row["attempts"] > 0
        assert row["valid"] <= row["candidates"]
        assert row["valid_per_second"] >= 0.0
    assert methods["closing"]["valid"] > 0
    assert figures["filter"]["one_process"] > 0.0
    assert min(figures[f"{stage}_per_second"] for stage in ("objects", "views", "labels")) > 0.0
    bench.show(figures, screen)
    assert "contact_field" in screen.file.getvalue()  # type: ignore[attr-defined]
