"""A dataset is the same however it came about: at one go, killed and resumed, by one process or by a Ray cluster."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from dexgrasp_training.cli import main
from dexgrasp_training.dataset import Dataset

STAGES = ("objects", "grasps", "filter", "scenes", "views", "labels")
FOLDERS = {
    "objects": "objects",
    "grasps": "candidates",
    "filter": "tested",
    "scenes": "scenes",
    "views": "views",
    "labels": "labels",
}
KILLS = 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As small as a dataset can be with every stage in it."""
    path = tmp_path_factory.mktemp("settings") / "small.yaml"
    path.write_text(
        "objects: {procedural: 5, families: [can, box, ball, prism, torus], test_share: 0.0}\n"
        "grasps:\n"
        "  valid: 4\n"
        "  shares: {closing: 0.5, contact_field: 0.5}\n"
        "  attempts: {closing: 300, contact_field: 10}\n"
        "  most_chunks: 1\n"
        "scenes: {dense: 1, random: 2, loose: 3, test_share: 0.0}\n"
        "views: {count: 3, noise: 1.0}\n"
    )
    return path


@pytest.fixture(scope="module")
def whole(settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as one process makes it at one go, stage by stage."""
    folder = tmp_path_factory.mktemp("whole") / "dataset"
    for stage in STAGES:
        assert main([stage, str(folder), "--settings", str(settings), "--jobs", "1"]) == 0
    return folder


def test_every_stage_left_something(whole: Path) -> None:
    for stage, folder in FOLDERS.items():
        assert any((whole / folder).rglob("*.*")), stage
    manifest = json.loads((whole / "manifest.json").read_text())
    assert set(manifest["stages"]) == set(STAGES)
    assert all(not entry["failures"] for entry in manifest["stages"].values())
    assert manifest["stages"]["filter"]["valid"] > 0


def test_killed_three_times_in_each_stage_it_ends_up_the_same(whole: Path, settings: Path, tmp_path: Path) -> None:
    chance = random.Random(0)
    folder, killed = tmp_path / "dataset", dict.fromkeys(STAGES, 0)
    for stage in STAGES:
        command = [sys.executable, "-m", "dexgrasp_training.cli", stage, str(folder), "--settings", str(settings)]
        for _ in range(KILLS):
            with _started([*command, "--jobs", "2"]) as process:
                files = len(list(folder.rglob("*")))
                # From when it first writes, at a random moment.
                while process.poll() is None and len(list(folder.rglob("*"))) == files:
                    time.sleep(0.002)
                time.sleep(chance.uniform(0.0, 0.3))
                killed[stage] += process.poll() is None
        assert main([stage, str(folder), "--jobs", "2"]) == 0
    assert sum(killed.values()) >= KILLS * len(STAGES) // 2, f"too few runs were killed in time: {killed}"
    assert contents(folder) == contents(whole)


def test_two_ray_workers_make_what_one_process_makes(whole: Path, settings: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    for stage in STAGES:
        arguments = [stage, str(folder), "--settings", str(settings), "--backend", "ray", "--jobs", "2"]
        assert main(arguments) == 0
    assert contents(folder) == contents(whole)


def test_other_settings_do_not_mix_with_what_is_there(
    whole: Path, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, kept = contents(whole), Dataset.open(whole).manifest()["settings"]
    assert main(["views", str(whole), "--settings", str(settings), "--set", "views.noise=0.5"]) == 1
    assert "were made with {'noise': 1.0}" in " ".join(capsys.readouterr().err.split())
    assert contents(whole) == before
    assert Dataset.open(whole).manifest()["settings"] == kept


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file but the manifest, whose times differ, and the lock; the manifest's counts."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("manifest.json", ".lock")]
    found = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    stages = json.loads((folder / "manifest.json").read_text())["stages"]
    return found | {f"manifest/{stage}": str(entry.get("valid")) for stage, entry in stages.items()}


@contextmanager
def _started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own; the whole group is killed at the end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
