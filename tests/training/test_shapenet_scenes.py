"""Test scenes of ShapeNet objects, read from files written from the release's description."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dexgrasp_training.clutter.view_files import SceneViews
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats.dexgraspnet2.importing import import_dexgraspnet2
from dexgrasp_training.formats.dexgraspnet2.shapenet import import_shapenet_scenes
from dexgrasp_training.work import Outcome, Task, Workers, spread
from rich.console import Console
from scipy.spatial.transform import Rotation

from dexgrasp_description import load_hand

from . import official_release as official

CODES = {7: "Book_1a2b", 41: "Can.3c"}
LABELS = {7: 201, 41: 12}  # of an order of all objects that the release does not tell
MATRIX, SIZE = official.K * 0.25, (24, 40)


def run(tasks: Sequence[Task], title: str) -> list[Outcome]:
    """Tasks in this process, without a word."""
    return spread(tasks, Workers(jobs=1), title, Console(file=io.StringIO()))


def written(root: Path) -> dict[int, np.ndarray]:
    """A loose scene of two objects and two views; returns the poses of their meshes on the table."""
    folder = root / "acronym_test_scenes"
    poses = {}
    for object_id, (x, y, z, yaw) in {7: (0.05, 0.02, -0.024, 0.4), 41: (-0.07, -0.02, 0.016, -1.1)}.items():
        poses[object_id] = np.eye(4)
        poses[object_id][:3, :3] = Rotation.from_euler("z", yaw).as_matrix()
        poses[object_id][:3, 3] = x, y, z
    scene = official.write_scene(root, 0, poses, [0], [], seed=1)
    told: dict[str, Any] = {
        CODES[object_id]: {
            "rest_pose_trans": pose[:3, 3] + [0.0, 0.0, 0.05],
            "rest_pose_quat": Rotation.from_matrix(pose[:3, :3]).as_quat(),
        }
        for object_id, pose in poses.items()
    }
    (folder / "test_acronym_loose").mkdir(parents=True)
    np.savez(folder / "test_acronym_loose" / "scene_loose_3.npz", told)  # type: ignore[arg-type]
    for object_id, code in CODES.items():
        model = root / "acronym" / "meshes" / "models" / code
        model.mkdir(parents=True)
        official.mesh_of(object_id).export(model / "scaled.obj")
    label_of = np.zeros(256, np.uint8)
    label_of[[object_id + 1 for object_id in LABELS]] = list(LABELS.values())
    for view in (0, 9):
        camera_T_table = np.linalg.inv(scene.cam0_wrt_table @ scene.camera_poses[view])
        camera_T_mesh = {object_id: camera_T_table @ pose for object_id, pose in poses.items()}
        depth, label = official.rendered(camera_T_mesh, camera_T_table, MATRIX, SIZE)
        for kind, image in (("depth", depth.astype(np.uint16)), ("label", label_of[label])):
            place = folder / f"test_acronym_loose_{kind}_gt" / "realsense" / "scene_loose_3"
            place.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place / f"{view:04d}.png"), image)
    return poses


def test_poses_views_and_owners_of_labels_are_read(tmp_path: Path) -> None:
    poses = written(tmp_path / "data")
    dataset = Dataset.open(tmp_path / "ours", create=True)
    summary = import_shapenet_scenes(tmp_path / "data", dataset, run)
    assert summary == {"objects": 2, "scenes": 1, "views": 2, "failed": {}}
    record = dataset.scene("loose_test_shapenet0003")
    assert (record.kind, record.split) == ("loose", "test")
    assert record.objects == ("shapenet_Book_1a2b", "shapenet_Can.3c")
    for object_id, world_T_object in zip(CODES, record.world_T_object, strict=True):
        pose = poses[object_id]
        centre = pose[:3, :3] @ official.OFFSETS[object_id] + pose[:3, 3]
        np.testing.assert_allclose(world_T_object[:3, 3], centre, atol=1e-6)
        np.testing.assert_allclose(world_T_object[:3, :3], pose[:3, :3], atol=1e-9)
    views = SceneViews.load(dataset.views_path(record.name))
    assert views.numbers.tolist() == [0, 9]
    np.testing.assert_allclose(views.intrinsics.matrix[:2], MATRIX[:2])
    for view, world_T_camera in zip(views.numbers.tolist(), views.world_T_camera, strict=True):
        camera_T_table = np.linalg.inv(world_T_camera)
        camera_T_mesh = {object_id: camera_T_table @ pose for object_id, pose in poses.items()}
        depth, label = official.rendered(camera_T_mesh, camera_T_table, MATRIX, SIZE)
        found, ids = views.read(view)
        assert np.abs(found.astype(int) - 10 * depth).max() <= 10  # a pixel on the edge of a millimetre
        np.testing.assert_array_equal(ids, np.select([label == 8, label == 42], [1, 2]))
    assert import_shapenet_scenes(tmp_path / "data", dataset, run) == summary


def test_they_come_with_the_rest_of_the_release(tmp_path: Path) -> None:
    written(tmp_path / "data")
    for object_id in (7, 41):
        official.write_meshes(tmp_path / "data", object_id)
    dataset = Dataset.open(tmp_path / "ours", create=True)
    summary = import_dexgraspnet2(tmp_path / "data", dataset, load_hand("leap_right"), run)
    assert (summary["objects"], summary["scenes"], summary["views"], summary["failed"]) == (4, 2, 3, {})
    assert dataset.scenes() == ["dense_train_graspnet0000", "loose_test_shapenet0003"]


class Harmful:
    """What a harmful pickle does when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("/tmp/dexgrasp-was-here-too",))


def test_what_is_missing_or_wrong_is_explained(tmp_path: Path) -> None:
    written(tmp_path / "data")
    folder = tmp_path / "data" / "acronym_test_scenes"
    np.savez(folder / "test_acronym_loose" / "scene_loose_4.npz", np.array({"x": Harmful()}, dtype=object))
    np.savez(folder / "test_acronym_loose" / "scene_loose_5.npz", {"Book_1a2b": {"rest_pose_trans": np.zeros(3)}})  # type: ignore[arg-type]
    np.savez(folder / "test_acronym_loose" / "scene_loose_6.npz", np.zeros(3))
    path = folder / "test_acronym_loose_label_gt" / "realsense" / "scene_loose_3" / "0009.png"
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[:3, :3] = 77  # the table
    cv2.imwrite(str(path), labels)
    dataset = Dataset.open(tmp_path / "ours", create=True)
    failed = import_shapenet_scenes(tmp_path / "data", dataset, run)["failed"]
    assert "label 77 lie" in failed["scene_loose_3"]
    assert "mkdir" in failed["scene_loose_4"]
    assert not Path("/tmp/dexgrasp-was-here-too").exists()
    assert "rest_pose_quat" in failed["scene_loose_5"]
    assert "pickled dict" in failed["scene_loose_6"]
    with pytest.raises(FormatError, match="no scene_random_42"):
        import_shapenet_scenes(tmp_path / "data", dataset, run, ["scene_random_42"])
