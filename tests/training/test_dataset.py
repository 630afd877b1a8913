"""The dataset folder: what it refuses, and that nothing in it is ever half-written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dexgrasp_training.dataset import VERSION, Dataset
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.pipeline import sole_writer
from dexgrasp_training.storage import read_arrays, write_arrays

from .boxes import box_asset


def test_a_new_folder_becomes_a_dataset_and_opens_again(tmp_path: Path) -> None:
    made = Dataset.open(tmp_path / "new", create=True)
    assert Dataset.open(tmp_path / "new") == made
    assert made.objects() == made.scenes() == []


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DatasetError, match="empty or a new folder"):
        Dataset.open(tmp_path, create=True)
    with pytest.raises(DatasetError, match="no manifest.json"):
        Dataset.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_newer_version_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "data", create=True)
    dataset.manifest_path.write_text(json.dumps({**dataset.manifest(), "version": VERSION + 1}))
    before = dataset.manifest_path.read_bytes()
    with pytest.raises(DatasetError, match=f"version {VERSION + 1}.*Update dexgrasp"):
        Dataset.open(tmp_path / "data")
    assert dataset.manifest_path.read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "something else", "version": 1}'])
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DatasetError, match="manifest.json"):
        Dataset.open(tmp_path)


def test_two_runs_do_not_write_to_one_dataset(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "data", create=True)
    with sole_writer(dataset), pytest.raises(DatasetError, match="Another run"), sole_writer(dataset):
        pass


def test_what_a_killed_run_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "data", create=True)
    left = dataset.root / "objects" / ".abc.part"
    left.parent.mkdir()
    left.write_bytes(b"half")
    with sole_writer(dataset):
        assert not left.exists()


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_arrays(tmp_path / name, {"x": np.arange(1000), "y": "text"})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_damaged_and_missing_files_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(DatasetError, match="run the stage"):
        read_arrays(path)
    write_arrays(path, {"x": np.zeros(1000)})
    with pytest.raises(DatasetError, match="lacks y"):
        read_arrays(path, ("x", "y"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match="delete it"):
        read_arrays(path)


_FILL = """
import sys
from pathlib import Path
import numpy as np
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.storage import write_arrays
folder = Path(sys.argv[1])
write_arrays(folder / "small.npz", {"x": np.zeros(10)})
try:
    write_arrays(folder / "large.npz", {"x": np.random.default_rng(0).normal(size=100000)})
except DatasetError as error:
    print(error)
print(sorted(path.name for path in folder.iterdir()))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare: a small disk cannot be made here")
def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path: Path) -> None:
    script = f"mount -t tmpfs -o size=64k tmpfs {tmp_path} && exec {sys.executable} -c '{_FILL}' {tmp_path}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if ran.returncode and "unshare" in ran.stderr + ran.stdout or "mount:" in ran.stderr:
        pytest.skip(f"a small disk cannot be made here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    assert "No space left on device. Free some space and run the same command again" in ran.stdout
    assert "['small.npz']" in ran.stdout


def test_objects_are_taken_from_another_dataset(tmp_path: Path) -> None:
    source, target = (Dataset.open(tmp_path / name, create=True) for name in ("source", "target"))
    for name, size in (("box_0", (0.05, 0.06, 0.07)), ("box_1", (0.04, 0.04, 0.04))):
        box_asset(name, size).save(source.object_path(name))
    source.record("objects", {"fixed": {"seed": 3}})
    source.keep_settings({"seed": 3})
    box_asset("box_1", (0.09, 0.04, 0.04)).save(target.object_path("box_1"))
    assert target.take_objects(source) == 1
    assert target.object_path("box_0").read_bytes() == source.object_path("box_0").read_bytes()
    assert target.object_path("box_1").read_bytes() != source.object_path("box_1").read_bytes()
    assert target.manifest()["stages"] == {"objects": {"fixed": {"seed": 3}}}
    assert target.manifest()["settings"] == {"seed": 3}
