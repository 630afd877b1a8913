"""The command line: fast help, one clear line for each error, and grasps on images without ROS."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from dexgrasp.cli import main
from dexgrasp.nodes import share_folder

SAMPLE = share_folder() / "samples"


def typed(*arguments: object) -> subprocess.CompletedProcess:
    """The command as it is typed."""
    return subprocess.run(["dexgrasp", *map(str, arguments)], capture_output=True, text=True, timeout=200.0)


@pytest.fixture
def dexgrasp(capsys: pytest.CaptureFixture[str]) -> Callable[..., subprocess.CompletedProcess]:
    """The command in this process, where its imports have been paid for."""

    def call(*arguments: object) -> subprocess.CompletedProcess:
        words = [str(argument) for argument in arguments]
        status = main(words)
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(words, status, printed.out, printed.err)

    return call


def sample_options() -> list[object]:
    return ["--depth", SAMPLE / "table.depth.png", "--intrinsics", SAMPLE / "table.intrinsics.json"]


def assert_one_clear_line(done: subprocess.CompletedProcess, words: str) -> None:
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_help_needs_none_of_the_heavy_imports() -> None:
    script = "import sys, dexgrasp.cli as c; c.build_parser(); print([m for m in ('torch', 'rclpy', 'open3d', 'numpy') "
    script += "if m in sys.modules])"
    done = subprocess.run(["python", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "--depth", "nowhere.png"], "--depth needs --intrinsics"),
        (["generate", "--depth", "nowhere.png", "--intrinsics", "k.txt"], "nowhere.png"),
        (["generate", *sample_options(), "--generator", "magic"], "Valid names: diffusion, heuristic"),
        (["generate", *sample_options(), "--restoration", "magic"], "Valid names: classical"),
        (["generate", *sample_options(), "--hand", "glove"], "glove"),
        (["bringup", "--params-file", "nowhere.yaml"], "nowhere.yaml does not exist"),
    ],
    ids=["no intrinsics", "no image", "unknown generator", "unknown restoration", "unknown hand", "no parameter file"],
)
def test_an_error_is_one_line_on_stderr(dexgrasp: Callable, arguments: list[object], words: str) -> None:
    assert_one_clear_line(dexgrasp(*arguments), words)


def test_intrinsics_of_another_image_are_refused(dexgrasp: Callable, tmp_path: Path) -> None:
    wrong = tmp_path / "k.json"
    wrong.write_text(json.dumps({"width": 320, "height": 240, "fx": 300, "fy": 300, "cx": 160, "cy": 120}))
    done = dexgrasp("generate", "--depth", SAMPLE / "table.depth.png", "--intrinsics", wrong)
    assert_one_clear_line(done, "320x240")


def test_clients_without_a_bringup_say_so(ros_domain: int) -> None:
    start = time.monotonic()
    assert_one_clear_line(typed("generate"), "Is bringup running?")
    assert time.monotonic() - start < 30.0


def test_grasps_on_the_shipped_sample(tmp_path: Path) -> None:
    report, picture = tmp_path / "report.json", tmp_path / "picture.png"
    options = ["--color", SAMPLE / "table.color.png", "--report", report, "--picture", picture]
    done = typed("generate", *sample_options(), *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(report.read_text())
    assert content["grasps"] >= 20
    assert content["candidates"] >= content["grasps"]
    assert len(content["world_T_palm"]) == len(content["joints"]) == len(content["scores"]) == content["grasps"]
    assert cv2.imread(str(picture)).shape[0] == 600


# In the second view most of what can be seen stands at the tray's wall, where nothing is grasped.
@pytest.mark.parametrize(("view", "least"), [("0", 20), ("1", 3)])
def test_grasps_on_a_real_capture(dexgrasp: Callable, shared: Path, tmp_path: Path, view: str, least: int) -> None:
    folder, report = shared / "real_rgbd", tmp_path / "report.json"
    done = dexgrasp(
        *("generate", "--depth", folder / f"input-{view}.depth.png", "--depth-unit", 0.0001),
        *("--intrinsics", folder / f"camera-{view}.intrinsics.txt", "--report", report),
        *("--picture", tmp_path / "picture.png"),
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(report.read_text())
    assert content["missing_share"] > 0.2
    assert content["grasps"] >= least
    assert os.path.getsize(tmp_path / "picture.png") > 50_000
