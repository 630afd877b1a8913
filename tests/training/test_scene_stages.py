"""One task of each stage from scenes to labels: what it writes, when it is done, and when it must be done anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dexgrasp_training.clutter.graspness import FLOOR
from dexgrasp_training.clutter.view_files import SceneViews
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.scene_record import load_clear_grasps
from dexgrasp_training.settings import LabelSettings, ObjectSettings, SceneSettings, Settings, ViewSettings
from dexgrasp_training.stages import labels, scenes, views
from dexgrasp_training.work import Task
from scipy.spatial.transform import Rotation

from dexgrasp_description import load_hand

from .boxes import box_asset, grasps_at

HAND = "leap_right"
SETTINGS = Settings(
    objects=ObjectSettings(),
    scenes=SceneSettings(dense=1, random=2, loose=2, test_share=0.5),
    views=ViewSettings(count=2),
)


def from_all_sides(count: int, name: str, seed: int = 0) -> ObjectGrasps:
    """An open hand that faces the object, whichever way it lies."""
    hand, rng = load_hand(HAND), np.random.default_rng(seed)
    object_T_palm = np.tile(np.eye(4), (count, 1, 1))
    object_T_palm[:, :3, :3] = Rotation.random(count, rng=rng).as_matrix()
    object_T_palm[:, :3, 3] = object_T_palm[:, :3, :3] @ [0.0, 0.03, 0.16]
    assert hand.approach_axis.tolist() == [0.0, 0.0, -1.0]
    return grasps_at(HAND, object_T_palm, object_name=name)


def do(tasks: list[Task]) -> list[dict]:
    return [task.function(*task.arguments) for task in tasks]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Four boxes of each split with grasps."""
    dataset = Dataset.open(tmp_path / "dataset", create=True)
    for split in ("train", "test"):
        for number in range(4):
            name = f"{split}_box_{number}"
            box_asset(name, (0.04 + 0.005 * number, 0.06, 0.05), split).save(dataset.object_path(name))
            from_all_sides(150, name, number).save(dataset.grasps_path(HAND, name))
    return dataset


def test_scenes_views_and_labels_of_a_small_dataset(dataset: Dataset) -> None:
    for tasks in scenes.rounds(dataset, SETTINGS):
        do(tasks)
    names = dataset.scenes()
    assert names == [
        "dense_train_0000",
        "loose_test_0000",
        "loose_train_0000",
        "random_test_0000",
        "random_train_0000",
    ]
    for name in names:
        record = dataset.scene(name)
        assert name.startswith(f"{record.kind}_{record.split}_")
        assert all(object_.startswith(record.split) for object_ in record.objects), "no test object in a train scene"
        clear = load_clear_grasps(dataset.clear_grasps_path(name, HAND))
        assert len(clear) == len(record.objects)
    assert sum(map(len, load_clear_grasps(dataset.clear_grasps_path("loose_train_0000", HAND)))) > 5
    parent = dataset.scene("dense_train_0000")
    assert set(dataset.scene("random_train_0000").objects) <= set(parent.objects)

    assert [summary["views"] for summary in do(views.tasks(dataset, SETTINGS))] == [2] * 5
    assert len(do(labels.tasks(dataset, SETTINGS))) == 5
    seen = set()
    for name in names:
        looked = SceneViews.load(dataset.views_path(name))
        with np.load(dataset.labels_path(name, HAND)) as graspness:
            assert sorted(graspness) == ["0", "1"]
            for number in (0, 1):
                values, ids = graspness[str(number)], looked.read(number)[1]
                assert values.dtype == np.float16
                assert len(values) == (ids > 0).sum()
                assert values.min() >= np.float16(np.log(FLOOR))
                seen.add(bool(values.max() > 0.0))
    assert True in seen, "somewhere more than one grasp votes"
    # Nothing is left to do.
    assert [len(tasks) for tasks in scenes.rounds(dataset, SETTINGS)] == [0, 0, 0]
    assert views.tasks(dataset, SETTINGS) == []
    assert labels.tasks(dataset, SETTINGS) == []


def test_new_grasps_of_an_object_are_told_anew_in_its_scenes_only(dataset: Dataset) -> None:
    for tasks in scenes.rounds(dataset, SETTINGS):
        do(tasks)
    do(views.tasks(dataset, SETTINGS))
    do(labels.tasks(dataset, SETTINGS))
    name = dataset.scene("loose_test_0000").objects[0]
    from_all_sides(200, name).save(dataset.grasps_path(HAND, name))
    concerned = [scene for scene in dataset.scenes() if name in dataset.scene(scene).objects]
    tasks = list(scenes.rounds(dataset, SETTINGS))
    assert [len(tasks[0]), len(tasks[1]), len(tasks[2])] == [0, 0, len(concerned)]
    do(tasks[2])
    assert {task.arguments[1] for task in labels.tasks(dataset, SETTINGS)} == set(concerned)


def test_scenes_without_grasps_are_arranged_and_drawn(dataset: Dataset) -> None:
    for path in (dataset.root / "grasps").rglob("*.npz"):
        path.unlink()
    rounds = [len(do(tasks)) for tasks in scenes.rounds(dataset, SETTINGS)]
    assert rounds == [3, 2, 0]
    assert len(views.tasks(dataset, SETTINGS)) == 5
    assert labels.tasks(dataset, SETTINGS) == []


def test_every_stage_writes_the_same_bytes_again(dataset: Dataset) -> None:
    settings = Settings(scenes=SceneSettings(dense=0, random=0, loose=1, test_share=0.0), views=ViewSettings(2, 1.0))

    def contents() -> dict[str, bytes]:
        for tasks in scenes.rounds(dataset, settings):
            do(tasks)
        do(views.tasks(dataset, settings))
        do(labels.tasks(dataset, settings))
        kinds = ("scenes", "views", "labels")
        files = [path for kind in kinds for path in (dataset.root / kind).rglob("*.*")]
        found = {str(path): path.read_bytes() for path in files}
        for path in files:
            path.unlink()
        return found

    first = contents()
    assert len(first) == 1 + 1 + 5 + 1
    assert contents() == first


def test_noise_changes_the_depth_and_leaves_the_ids(dataset: Dataset) -> None:
    settings = Settings(scenes=SceneSettings(dense=0, random=0, loose=1, test_share=0.0), views=ViewSettings(2))
    for tasks in scenes.rounds(dataset, settings):
        do(tasks)
    images = {}
    for noise in (0.0, 1.0):
        views.render(str(dataset.root), "loose_train_0000", 2, noise, 0)
        images[noise] = SceneViews.load(dataset.views_path("loose_train_0000")).read(1)
    assert np.array_equal(images[0.0][1], images[1.0][1])
    clean, noisy = images[0.0][0].astype(float), images[1.0][0].astype(float)
    assert (clean > 0).all()
    measured = noisy > 0
    assert 0.9 < measured.mean() < 1.0
    error = np.median(np.abs(noisy - clean)[measured]) * 1e-4
    assert 2e-4 < error < 4e-3


def test_what_cannot_be_is_said_before_any_work(dataset: Dataset) -> None:
    for path in (dataset.root / "objects").glob("test_*.npz"):
        path.unlink()
    with pytest.raises(SettingsError, match="scenes of test objects are wanted and there are none"):
        next(scenes.rounds(dataset, SETTINGS))
    with pytest.raises(SettingsError, match="Variants: paper, code"):
        labels.tasks(dataset, Settings(labels=LabelSettings("mine")))
