"""Stage `objects`: which objects, in which split, with which mass properties, and what a bad mesh does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import trimesh
from dexgrasp_sim.families import FAMILIES
from dexgrasp_sim.objects import MASS
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import MeshError, SettingsError
from dexgrasp_training.meshes.importing import ImportConfig
from dexgrasp_training.settings import ObjectSettings, Settings
from dexgrasp_training.stages.objects import (
    MeshFolder,
    imported_asset,
    mesh_files,
    procedural_asset,
    same_content,
    split_of,
    tasks,
)
from dexgrasp_training.work import Workers, spread
from rich.console import Console


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset.open(tmp_path / "data", create=True)


@pytest.fixture
def meshes(tmp_path: Path) -> Path:
    folder = tmp_path / "meshes"
    folder.mkdir()
    trimesh.creation.box(extents=(0.03, 0.05, 0.08)).export(folder / "Tea Box.stl")
    trimesh.creation.icosphere(radius=0.03).export(folder / "ball.ply")
    trimesh.creation.box(extents=(30, 50, 80)).export(folder / "millimetres.obj")
    (folder / "notes.txt").write_text("not a mesh")
    return folder


def test_every_family_comes_as_often_as_the_others(dataset: Dataset) -> None:
    planned = tasks(dataset, Settings(objects=ObjectSettings(procedural=2 * len(FAMILIES))))
    assert Counter(task.arguments[1] for task in planned) == dict.fromkeys(FAMILIES, 2)
    assert len({task.name for task in planned}) == len(planned)
    split = Counter(task.arguments[4] for task in planned)
    assert split["test"] == round(0.2 * len(planned))


def test_unknown_family_names_the_known_ones(dataset: Dataset) -> None:
    with pytest.raises(SettingsError, match="teapot.*torus"):
        tasks(dataset, Settings(objects=ObjectSettings(families=("teapot",))))


def test_split_is_drawn_by_seed_and_keeps_equal_meshes_together() -> None:
    names = {f"thing_{i}": f"thing_{i}" for i in range(50)}
    first, again, other = split_of(names, 0.2, 0), split_of(names, 0.2, 0), split_of(names, 0.2, 1)
    assert first == again != other
    assert Counter(first.values()) == {"train": 40, "test": 10}
    pairs = {f"thing_{i}": f"thing_{i - i % 2}" for i in range(50)}
    for seed in range(20):
        split = split_of(pairs, 0.3, seed)
        assert all(split[f"thing_{i}"] == split[f"thing_{i + 1}"] for i in range(0, 50, 2))
        assert 14 <= sum(side == "test" for side in split.values()) <= 15


def test_one_mesh_under_two_names_is_one_group(meshes: Path) -> None:
    (meshes / "other.stl").write_bytes((meshes / "Tea Box.stl").read_bytes())
    groups = same_content(mesh_files(meshes))
    assert groups["other"] == groups["tea_box"]
    assert len({groups[name] for name in ("ball", "millimetres", "tea_box")}) == 3


def test_a_bad_mesh_is_reported_and_the_rest_go_on(dataset: Dataset, meshes: Path) -> None:
    settings = Settings(objects=ObjectSettings(procedural=1, families=("can",)))
    planned = tasks(dataset, settings, (MeshFolder(meshes),))
    outcomes = {outcome.task: outcome for outcome in spread(planned, Workers(jobs=1), "objects", Console(quiet=True))}
    assert "give --unit mm" in outcomes["millimetres.obj"].error
    assert [outcome.error for outcome in outcomes.values()].count("") == 3
    assert dataset.objects() == ["ball", "can_0", "tea_box"]
    assert outcomes["Tea Box.stl"].summary["extents"] == [0.03, 0.05, 0.08]
    left = tasks(dataset, settings, (MeshFolder(meshes),))
    assert [task.name for task in left] == ["millimetres.obj"], "what is there is not made again"


def test_folders_without_meshes_and_equal_names_are_refused(meshes: Path, tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="not a folder"):
        mesh_files(tmp_path / "nowhere")
    (tmp_path / "none").mkdir()
    with pytest.raises(MeshError, match="holds no meshes"):
        mesh_files(tmp_path / "none")
    trimesh.creation.box().export(meshes / "tea_box.obj")
    with pytest.raises(MeshError, match="both be named 'tea_box'"):
        mesh_files(meshes)


def test_imported_box_has_the_inertia_of_the_solid_about_its_centre(tmp_path: Path) -> None:
    box = trimesh.creation.box(extents=(30, 50, 80)).apply_translation((100, -20, 7))
    box.export(tmp_path / "box.stl")
    asset = imported_asset(tmp_path / "box.stl", ImportConfig(unit="mm"), "crate", "test")
    model = asset.model
    assert (asset.name, asset.split, asset.source, model.family) == ("crate", "test", "mesh:box.stl", "mesh")
    assert model.mass == MASS
    assert np.allclose(model.mesh.bounds, [[-0.015, -0.025, -0.04], [0.015, 0.025, 0.04]], atol=1e-8)
    x, y, z = 0.03, 0.05, 0.08
    expected = MASS / 12 * np.diag([y**2 + z**2, x**2 + z**2, x**2 + y**2])
    assert np.allclose(model.inertia, expected, atol=1e-9)
    assert len(model.parts) == 1


@pytest.mark.parametrize("family", ["bottle", "mug", "wrench"])
def test_samples_grid_and_parts_describe_one_surface(family: str) -> None:
    asset = procedural_asset(family, 5, "thing", "train")
    assert asset.source == f"family:{family}"
    distance, normal = asset.field.distance_and_normal(asset.points)
    assert np.percentile(np.abs(distance), 90) < 4e-4
    assert np.median((normal * asset.normals).sum(axis=1)) > 0.95


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "again"):
        procedural_asset("blocks", 3, "thing", "train").save(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "again").read_bytes()
