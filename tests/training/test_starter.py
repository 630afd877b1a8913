"""The grasps that ship: packed and unpacked, they are the dataset's own; for other objects they are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dexgrasp_training.cli import main
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.settings import GraspSettings, Settings
from dexgrasp_training.stages.grasps import plan
from dexgrasp_training.stages.objects import procedural_asset
from dexgrasp_training.starter import pack, shipped_path, unpack
from dexgrasp_training.synthesis.method import METHODS

from .test_object_grasps import some_grasps

MOST_BYTES = 15_000_000  # of the file in the repository


def _dataset(folder: Path, seed: int = 0) -> Dataset:
    dataset = Dataset.open(folder, create=True)
    for family in ("can", "box"):
        procedural_asset(family, seed, f"{family}_0", "train").save(dataset.object_path(f"{family}_0"))
    return dataset


def test_what_is_unpacked_is_what_was_packed(tmp_path: Path) -> None:
    source, target = _dataset(tmp_path / "source"), _dataset(tmp_path / "target")
    for name, count in (("can_0", 50), ("box_0", 20)):
        replace(some_grasps(count), object=name).save(source.grasps_path("leap_right", name))
    assert pack(source, "leap_right", tmp_path / "packed.npz", most=30) == {"objects": 2, "grasps": 50}
    assert unpack(target, tmp_path / "packed.npz") == {"objects": 2, "grasps": 50}
    for name, count in (("can_0", 30), ("box_0", 20)):
        packed, unpacked = source.grasps("leap_right", name), target.grasps("leap_right", name)
        assert len(unpacked) == count
        rows = [np.flatnonzero((packed.object_T_palm == pose).all(axis=(1, 2))) for pose in unpacked.object_T_palm]
        assert all(len(row) == 1 for row in rows)
        assert np.array_equal(packed.grasp[np.concatenate(rows)], unpacked.grasp)
        assert np.array_equal(packed.contacts[np.concatenate(rows)], unpacked.contacts, equal_nan=True)


def test_only_what_was_not_unpacked_is_made(tmp_path: Path) -> None:
    source, target = _dataset(tmp_path / "source"), _dataset(tmp_path / "target")
    for name, count in (("can_0", 50), ("box_0", 20)):
        made_by = np.full(count, METHODS.index("closing"), dtype=np.uint8)
        replace(some_grasps(count), object=name, methods=METHODS, method=made_by).save(
            source.grasps_path("leap_right", name)
        )
    pack(source, "leap_right", tmp_path / "packed.npz", most=100)
    unpack(target, tmp_path / "packed.npz")
    settings = Settings(grasps=GraspSettings(valid=60, shares={"closing": 0.5, "contact_field": 0.5}))
    missing = {(chunk.object, chunk.method) for chunk in plan(target, settings)}
    assert missing == {("box_0", "closing"), ("box_0", "contact_field"), ("can_0", "contact_field")}


def test_grasps_are_not_given_to_objects_of_other_shapes(tmp_path: Path) -> None:
    source, target = _dataset(tmp_path / "source"), _dataset(tmp_path / "target", seed=1)
    replace(some_grasps(5), object="can_0").save(source.grasps_path("leap_right", "can_0"))
    pack(source, "leap_right", tmp_path / "packed.npz", most=30)
    with pytest.raises(DatasetError, match="another can_0.*--settings starter"):
        unpack(target, tmp_path / "packed.npz")
    assert not target.grasps_path("leap_right", "can_0").exists()


def test_meshes_have_a_file_of_their_own_and_namesakes_are_left_out(tmp_path: Path) -> None:
    source, target = _dataset(tmp_path / "source"), _dataset(tmp_path / "target", seed=1)
    for dataset in (source, target):
        mesh = replace(dataset.asset("can_0"), source="mesh:can_0.stl")
        mesh.save(dataset.object_path("can_0"))
    replace(some_grasps(5), object="can_0").save(source.grasps_path("leap_right", "can_0"))
    replace(some_grasps(7), object="box_0").save(source.grasps_path("leap_right", "box_0"))
    assert pack(source, "leap_right", tmp_path / "packed.npz", 30, "mesh") == {"objects": 1, "grasps": 5}
    assert unpack(target, tmp_path / "packed.npz") == {"objects": 0, "grasps": 0}
    again = _dataset(tmp_path / "again")
    assert unpack(again, tmp_path / "packed.npz") == {"objects": 1, "grasps": 5}


@pytest.mark.parametrize("hand", ["leap_right", "shadow_right", "allegro_right"])
def test_the_shipped_grasps_fit_the_objects_that_this_version_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hand: str
) -> None:
    """For a few families; all sixty take a minute."""
    assert shipped_path(hand).stat().st_size <= MOST_BYTES
    assert shipped_path(hand, "mesh").stat().st_size <= MOST_BYTES
    changes = ["--set", "objects.families=[can, mug, box]", "--set", "objects.procedural=3"]
    changes += ["--set", f"grasps.hand={hand}"]
    assert main(["starter", str(tmp_path / "data"), "--settings", "starter", *changes, "--jobs", "1"]) == 0
    dataset = Dataset.open(tmp_path / "data")
    assert len(dataset.grasps(hand, "can_0")) > 100
    assert "'objects': 3" in capsys.readouterr().out


def test_a_hand_without_shipped_grasps_is_named_before_objects_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["starter", str(tmp_path / "data"), "--set", "grasps.hand=panda_gripper"]) == 1
    assert "only of allegro_right, leap_right, shadow_right" in " ".join(capsys.readouterr().err.split())
    assert not list((tmp_path / "data").glob("objects/*"))
