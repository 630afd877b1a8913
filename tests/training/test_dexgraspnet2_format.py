"""The release of DexGraspNet 2.0: read into a dataset, written back, and compared with what was written by hand.

Tolerances: stored grasps are rounded to 0.01 mm, less than 0.1 mrad about any axis, and 0.2 mrad at a joint; scores to
11 bits, which is 0.4 % of a sum of votes.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from dexgrasp_training.clutter.view_files import SceneViews
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats.dexgraspnet2.conventions import crop
from dexgrasp_training.formats.dexgraspnet2.exporting import export_dexgraspnet2
from dexgrasp_training.formats.dexgraspnet2.importing import import_dexgraspnet2
from dexgrasp_training.formats.dexgraspnet2.numbering import number_objects, number_scenes, scene_kind
from dexgrasp_training.scene_record import SceneRecord, load_clear_grasps, save_clear_grasps
from dexgrasp_training.storage import read_arrays
from dexgrasp_training.work import Outcome, Task, Workers, spread
from rich.console import Console
from scipy.spatial.transform import Rotation

from dexgrasp_description import load_hand

from . import official_release as official

LEAP = load_hand("leap_right")
LENGTH, ANGLE, JOINT = 1.0e-5, 1.0e-4, 2.0e-4  # of a stored grasp: unit [m], errors at most [rad]
FLOAT32 = 2.0e-7  # of a number of the release below 1 m
TAGS = ["obj_id", "obj_name", "obj_path", "pos_in_world", "ori_in_world"]
NAMES = {3: "dense_train_graspnet0003", 1230: "random_train_graspnet1230", 105: "dense_test_graspnet0105"}


def run(tasks: Sequence[Task], title: str) -> list[Outcome]:
    """Tasks in this process, without a word."""
    return spread(tasks, Workers(jobs=1), title, Console(file=io.StringIO()))


@dataclass
class Official:
    """A release on disk, and what was written."""

    root: Path
    scenes: dict[int, official.WrittenScene]
    seeds: dict[int, np.ndarray]


def pose(x: float, y: float, z: float, yaw: float, tilt: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xz", [tilt, yaw]).as_matrix()
    matrix[:3, 3] = x, y, z
    return matrix


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Official:
    """Dense scene 3 of two objects; random scene 1230 with one of them; test scene 105 without grasps."""
    root = tmp_path_factory.mktemp("official") / "data"
    points = {object_id: official.write_meshes(root, object_id) for object_id in (7, 41)}
    box, can = pose(0.06, 0.02, -0.024, 0.4), pose(-0.07, -0.03, 0.016, -1.1)
    scenes = {
        3: official.write_scene(root, 3, {7: box, 41: can}, [0, 7, 200], [0, 200], seed=1),
        1230: official.write_scene(root, 1230, {41: can}, [4, 5], [5], seed=2),
        105: official.write_scene(root, 105, {41: pose(0.02, 0.01, 0.03, 0.3, 1.5), 7: box}, [0], [], seed=3),
    }
    on_box = official.grasps_on(7, points[7], 40, seed=4)
    on_can = official.grasps_on(41, points[41], 28, seed=5)
    official.write_grasps(root, 3, 7, scenes[3], on_box)
    official.write_grasps(root, 3, 41, scenes[3], official.subset(on_can, list(range(25))))
    # Of the dense scene's grasps some are clear here, too, in another order; three are new.
    official.write_grasps(root, 1230, 41, scenes[1230], official.subset(on_can, [9, 25, 2, 4, 26, 17, 27]))
    return Official(root, scenes, points)


@pytest.fixture(scope="module")
def imported(release: Official, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    dataset = Dataset.open(tmp_path_factory.mktemp("ours") / "dataset", create=True)
    summary = import_dexgraspnet2(release.root.parent, dataset, LEAP, run)
    assert summary == {
        "objects": 2,
        "scenes": 3,
        "views": 6,
        "views_without_graspness": 3,
        "grasps": 40 + 28,
        "references": 40 + 25 + 7,
        "failed": {},
    }
    return dataset


@pytest.fixture(scope="module")
def exported(imported: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("back") / "data"
    summary = export_dexgraspnet2(imported, target, LEAP, run)
    assert summary["failed"] == {}
    assert summary["numbers"] == {name: number for number, name in NAMES.items()}
    assert (summary["scenes"], summary["views"], summary["grasps"], summary["without_seed"]) == (3, 6, 72, 0)
    return target


@pytest.fixture
def copied(release: Official, tmp_path: Path) -> Path:
    """A release to do damage to."""
    return Path(shutil.copytree(release.root, tmp_path / "data"))


def angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles [rad] between rotations (N, 3, 3)."""
    return (Rotation.from_matrix(first).inv() * Rotation.from_matrix(second)).magnitude()


def test_scenes_have_the_kind_split_and_parent_that_their_number_tells(imported: Dataset) -> None:
    assert set(imported.scenes()) == set(NAMES.values())
    records = {number: imported.scene(name) for number, name in NAMES.items()}
    assert [(records[n].kind, records[n].split) for n in (3, 1230, 105)] == [
        ("dense", "train"),
        ("random", "train"),
        ("dense", "test"),
    ]
    assert records[1230].parent == records[3].name  # 1230 = 1000 + 75 * 3 + 5
    assert records[3].parent == records[105].parent == ""


def test_objects_stand_where_the_annotation_of_view_0_says(release: Official, imported: Dataset) -> None:
    for number, name in NAMES.items():
        record, written = imported.scene(name), release.scenes[number]
        for standing, world_T_object in zip(record.objects, record.world_T_object, strict=True):
            object_id = int(standing.removeprefix("graspnet_"))
            # The mesh's centre of mass is the origin of our object; its axes are the mesh's.
            world_T_mesh = written.cam0_wrt_table @ written.camera0_T_mesh[object_id]
            centre = world_T_mesh[:3, :3] @ official.OFFSETS[object_id] + world_T_mesh[:3, 3]
            np.testing.assert_allclose(world_T_object[:3, 3], centre, atol=1e-6)
            np.testing.assert_allclose(world_T_object[:3, :3], world_T_mesh[:3, :3], atol=1e-9)


def test_a_grasp_in_camera_0_is_a_grasp_in_the_object_frame(release: Official, imported: Dataset) -> None:
    for number, name in NAMES.items():
        record, written = imported.scene(name), release.scenes[number]
        for standing, rows in zip(
            record.objects, load_clear_grasps(imported.clear_grasps_path(name, LEAP.name)), strict=True
        ):
            object_id = int(standing.removeprefix("graspnet_"))
            if object_id not in written.grasps:
                assert len(rows) == 0
                continue
            grasps, theirs = imported.grasps(LEAP.name, standing)[rows], written.grasps[object_id]
            mesh_R, mesh_t = written.camera0_T_mesh[object_id][:3, :3], written.camera0_T_mesh[object_id][:3, 3]
            palm = (theirs["translation"] - mesh_t) @ mesh_R - official.OFFSETS[object_id]
            assert np.abs(grasps.object_T_palm[:, :3, 3] - palm).max() < LENGTH / 2 + 10 * FLOAT32
            assert angles(mesh_R.T @ theirs["rotation"], grasps.object_T_palm[:, :3, :3]).max() < ANGLE
            for column, joint in enumerate(f"j{i}" for i in range(16)):
                assert np.abs(grasps.grasp[:, column] - theirs[joint]).max() < JOINT


def test_scenes_share_the_grasps_of_an_object(imported: Dataset) -> None:
    dense = load_clear_grasps(imported.clear_grasps_path(NAMES[3], LEAP.name))
    random = load_clear_grasps(imported.clear_grasps_path(NAMES[1230], LEAP.name))
    assert dense[1].tolist() == list(range(25))
    assert random[0].tolist() == [9, 25, 2, 4, 26, 17, 27]
    assert len(imported.grasps(LEAP.name, "graspnet_041")) == 28


def test_pregrasp_opens_and_squeeze_closes_as_in_the_benchmark(imported: Dataset) -> None:
    """Fingertip origins 25 mm out along the inner normal; squeezed by 30 mm the other way, across the approach."""
    from dexgrasp_planner.postures import PostureRules

    grasps, rules = imported.grasps(LEAP.name, "graspnet_007"), PostureRules(LEAP)
    span = (LEAP.upper - LEAP.lower).max()
    # From the stored joints: twenty gradient steps make more of a rounding error than its size.
    assert np.abs(grasps.pregrasp - rules.opened(grasps.grasp)).max() < span / 255
    assert np.abs(grasps.squeeze - rules.squeezed(grasps.grasp)).max() < span / 2000 + 2e-3
    assert np.isnan(grasps.contacts).all()
    assert {grasps.methods[i] for i in grasps.method} == {"imported"}


def test_images_and_cameras_are_the_same_in_our_units(release: Official, imported: Dataset) -> None:
    for number, name in NAMES.items():
        written, views = release.scenes[number], SceneViews.load(imported.views_path(name))
        assert views.numbers.tolist() == sorted(written.depth)
        objects = imported.scene(name).objects
        for row, view in enumerate(views.numbers.tolist()):
            depth, ids = views.read(view)
            np.testing.assert_array_equal(depth, written.depth[view] * 10)
            label = np.array([0, *(int(each.removeprefix("graspnet_")) + 1 for each in objects)])[ids]
            np.testing.assert_array_equal(label, written.label[view])
            np.testing.assert_allclose(
                views.world_T_camera[row], written.cam0_wrt_table @ written.camera_poses[view], atol=1e-12
            )


def test_votes_are_read_through_the_crop(release: Official, imported: Dataset) -> None:
    for number, views in {3: [0, 200], 1230: [5]}.items():
        scores = read_arrays(imported.labels_path(NAMES[number], LEAP.name))
        assert sorted(scores) == sorted(map(str, views))  # view 7 and view 4 have none: masked
        for view in views:
            written = release.scenes[number]
            image = np.zeros(written.label[view].shape)
            image[written.crop[view]] = written.votes[view][:, 0]
            expected = np.log(1e-3 + image[written.label[view] > 0])
            np.testing.assert_allclose(scores[str(view)].astype(float), expected, atol=2.0**-9 * 8)
    assert not imported.labels_path(NAMES[105], LEAP.name).is_file()


def test_the_crop_is_the_box_of_labelled_points_and_two_centimetres() -> None:
    """A camera that looks straight down from 1 m at 8 mm a pixel: two pixels fit into the margin, three do not."""
    depth, labels = np.full((40, 40), 1000, np.uint16), np.zeros((40, 40), np.uint8)
    labels[15:20, 10:18] = 3
    depth[15:20, 10:18] = 960
    depth[14, 12] = 0  # no depth
    depth[13, 9] = 985  # higher than the table, lower than the objects: within 2 cm above nothing, 25 mm below
    depth[21, 10:18] = 979  # a step 19 mm down from the objects
    matrix = np.array([[125.0, 0.0, 20.0], [0.0, 125.0, 20.0], [0.0, 0.0, 1.0]])
    table_T_camera = np.diag([1.0, -1.0, -1.0, 1.0])
    table_T_camera[2, 3] = 1.0
    mask = crop(depth, labels, matrix, 1000.0, table_T_camera)
    expected = np.zeros((40, 40), bool)
    expected[15:20, 10:18] = True  # the objects; the table 40 mm below them is out
    expected[21, 10:18] = True
    np.testing.assert_array_equal(mask, expected)
    depth[labels == 0] = 960
    depth[14, 12] = 0
    expected[13:22, 8:20] = True
    expected[14, 12] = False
    np.testing.assert_array_equal(crop(depth, labels, matrix, 1000.0, table_T_camera), expected)
    assert not crop(depth, np.zeros_like(labels), matrix, 1000.0, table_T_camera).any()


def test_images_written_back_are_the_same(release: Official, exported: Path) -> None:
    for number, written in release.scenes.items():
        folder = exported / "scenes" / f"scene_{number:04d}" / "realsense"
        assert sorted(path.name for path in (folder / "depth_gt").iterdir()) == [f"{v:04d}.png" for v in written.depth]
        for view, depth in written.depth.items():
            for kind, image, bits in (("depth_gt", depth, 16), ("label_gt", written.label[view], 8)):
                path = folder / kind / f"{view:04d}.png"
                assert tuple(path.read_bytes()[24:26]) == (bits, 0)  # of the PNG header: bits, and 0 for grey
                np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), image)


def test_cameras_and_poses_written_back_are_the_same(release: Official, exported: Path) -> None:
    import xml.etree.ElementTree as ElementTree

    for number, written in release.scenes.items():
        folder = exported / "scenes" / f"scene_{number:04d}" / "realsense"
        poses, table = np.load(folder / "camera_poses.npy"), np.load(folder / "cam0_wrt_table.npy")
        assert (poses.shape, poses.dtype, table.shape, table.dtype) == ((256, 4, 4), np.float64, (4, 4), np.float64)
        views = sorted(written.depth)
        first = views[0]  # view 0, or what stands for it
        frame = np.linalg.inv(written.camera_poses[first])
        np.testing.assert_array_equal(poses[first], np.eye(4))
        np.testing.assert_allclose(poses[views], frame @ written.camera_poses[views], atol=1e-12)
        np.testing.assert_allclose(table, written.cam0_wrt_table @ written.camera_poses[first], atol=1e-12)
        assert np.isnan(np.delete(poses, views, axis=0)).all()
        np.testing.assert_array_equal(np.load(folder / "camK.npy"), official.K)
        for view in views:
            camera_T_camera0 = np.linalg.inv(written.camera_poses[view])
            told = [camera_T_camera0 @ each for each in written.camera0_T_mesh.values()]
            meta = scipy.io.loadmat(folder / "meta" / f"{view:04d}.mat")
            assert (meta["poses"].shape, meta["poses"].dtype) == ((3, 4, len(told)), np.float32)
            assert (meta["cls_indexes"].shape, meta["cls_indexes"].dtype) == ((1, len(told)), np.int32)
            assert meta["cls_indexes"][0].tolist() == [object_id + 1 for object_id in written.camera0_T_mesh]
            assert (meta["factor_depth"].shape, meta["factor_depth"].item()) == ((1, 1), 1000)
            np.testing.assert_array_equal(meta["intrinsic_matrix"], official.K)
            assert meta["intrinsic_matrix"].dtype == np.float64
            np.testing.assert_allclose(np.moveaxis(meta["poses"], 2, 0), np.array(told)[:, :3], atol=1e-6)
            tree = ElementTree.parse(folder / "annotations" / f"{view:04d}.xml").getroot()
            assert tree.tag == "scene"
            for entry, expected, object_id in zip(tree, told, written.camera0_T_mesh, strict=True):
                # Their reader goes by position.
                assert [child.tag for child in entry] == [
                    "obj_id",
                    "obj_name",
                    "obj_path",
                    "pos_in_world",
                    "ori_in_world",
                ]
                assert int(entry[0].text or "") == object_id
                np.testing.assert_allclose(
                    [float(x) for x in (entry[3].text or "").split()], expected[:3, 3], atol=1e-6
                )
                w, x, y, z = (float(number_) for number_ in (entry[4].text or "").split())
                assert angles(Rotation.from_quat([[x, y, z, w]]).as_matrix(), expected[None, :3, :3])[0] < 1e-6


def test_grasps_written_back_are_the_same(release: Official, exported: Path) -> None:
    for number, written in release.scenes.items():
        folder = exported / "dex_grasps_new" / f"scene_{number:04d}" / "leap_hand"
        assert {path.stem for path in folder.glob("*")} == {f"{object_id:03d}" for object_id in written.grasps}
        # Scene 1230 has no view 0: its frame is that of camera 4.
        camera_T_camera0 = np.linalg.inv(written.camera_poses[min(written.depth)])
        turn, shift = camera_T_camera0[:3, :3], camera_T_camera0[:3, 3]
        for object_id, theirs in written.grasps.items():
            with np.load(folder / f"{object_id:03d}.npz") as data:
                ours = dict(data)
            assert list(ours) == list(theirs) == ["translation", "rotation", *official.FILE_JOINTS, "point"]
            for name, array in theirs.items():
                assert (ours[name].shape, ours[name].dtype) == (array.shape, np.float32)
            expected = theirs["translation"] @ turn.T + shift
            assert np.abs(ours["translation"] - expected).max() < np.sqrt(3) * LENGTH / 2 + 10 * FLOAT32
            assert angles(ours["rotation"], turn @ theirs["rotation"]).max() < ANGLE
            for joint in official.FILE_JOINTS:
                assert np.abs(ours[joint] - theirs[joint]).max() < JOINT
            np.testing.assert_allclose(ours["point"], theirs["point"] @ turn.T + shift, atol=10 * FLOAT32)
        for path in folder.glob("*.npz"):
            assert path.stat().st_size > 124 * len(ours["point"])  # not compressed


def test_seeds_are_chosen_by_the_cone_where_they_are_not_known(
    release: Official, imported: Dataset, tmp_path: Path
) -> None:
    """As by hand from section 2.6; our palm's middle is 1.6 mm beside theirs, so near ties may go the other way."""
    dataset = Dataset.open(shutil.copytree(imported.root, tmp_path / "ours"))
    shutil.rmtree(dataset.root / "imported")
    export_dexgraspnet2(dataset, tmp_path / "target", LEAP, run, scenes=[NAMES[3]])
    for object_id, theirs in release.scenes[3].grasps.items():
        path = tmp_path / "target/dex_grasps_new/scene_0003/leap_hand" / f"{object_id:03d}.npz"
        off = np.linalg.norm(np.load(path)["point"] - theirs["point"], axis=1)
        assert (off < 1e-5).mean() > 0.5
        assert off.max() < 0.02


def test_votes_written_back_are_the_same(release: Official, exported: Path) -> None:
    for number, written in release.scenes.items():
        folder = exported / "dex_graspness_new" / f"scene_{number:04d}" / "realsense"
        assert {path.stem for path in folder.glob("*")} == {f"{view:04d}" for view in written.votes}
        for view, theirs in written.votes.items():
            ours = np.load(folder / f"{view:04d}.npy")
            assert (ours.shape, ours.dtype) == (theirs.shape, np.float32)
            np.testing.assert_allclose(ours, theirs, rtol=4e-3, atol=5e-6)
            assert (ours[theirs == 0.0] == 0.0).all()


def test_meshes_are_written_in_the_frame_of_the_file_they_came_from(release: Official, exported: Path) -> None:
    import trimesh

    for object_id, points in release.seeds.items():
        folder = exported / "meshdata" / f"{object_id:03d}"
        np.testing.assert_allclose(np.load(folder / "surface_points_1000.npy"), points, atol=1e-7)
        for file in ("nontextured.ply", "nontextured_simplified.ply", "simplified.obj", "coacd/decomposed.obj"):
            mesh, theirs = trimesh.load_mesh(folder / file), official.mesh_of(object_id)
            np.testing.assert_allclose(mesh.bounds, theirs.bounds, atol=1e-6)
            assert mesh.volume == pytest.approx(theirs.volume, rel=1e-3)
        assert "simplified.obj" in (folder / "nontextured_simplified.urdf").read_text()


def test_what_was_exported_is_imported_under_its_own_names(exported: Path, imported: Dataset, tmp_path: Path) -> None:
    again = Dataset.open(tmp_path / "again", create=True)
    assert import_dexgraspnet2(exported, again, LEAP, run)["failed"] == {}
    assert again.scenes() == imported.scenes()
    for name in imported.scenes():
        ours, theirs = imported.scene(name), again.scene(name)
        assert (ours.objects, ours.kind, ours.split, ours.parent) == (
            theirs.objects,
            theirs.kind,
            theirs.split,
            theirs.parent,
        )
        np.testing.assert_allclose(ours.world_T_object, theirs.world_T_object, atol=1e-6)
    assert [again.asset(name).split for name in again.objects()] == ["train", "train"]


def test_an_import_that_was_stopped_goes_on_to_the_same_files(
    release: Official, imported: Dataset, tmp_path: Path
) -> None:
    dataset = Dataset.open(tmp_path / "stopped", create=True)
    done = 0

    def stop(tasks: Sequence[Task], title: str) -> list[Outcome]:
        nonlocal done
        done += len(tasks)
        if title == "scenes":
            spread(tasks[:1], Workers(jobs=1), title, Console(file=io.StringIO()))
            raise KeyboardInterrupt
        return run(tasks, title)

    with pytest.raises(KeyboardInterrupt):
        import_dexgraspnet2(release.root, dataset, LEAP, stop)
    # Killed in the middle of the next scene: some of its views are there.
    (dataset.root / "views" / NAMES[3]).mkdir(parents=True, exist_ok=True)
    assert import_dexgraspnet2(release.root, dataset, LEAP, run)["failed"] == {}
    for path in sorted(imported.root.rglob("*.*")):
        if path.is_file() and path.name not in ("manifest.json", ".lock"):
            assert (dataset.root / path.relative_to(imported.root)).read_bytes() == path.read_bytes(), path
    before = {path: path.stat().st_mtime_ns for path in dataset.root.rglob("*")}
    assert import_dexgraspnet2(release.root, dataset, LEAP, run)["scenes"] == 3
    assert {path: path.stat().st_mtime_ns for path in dataset.root.rglob("*")} == before


def test_more_scenes_add_grasps_and_leave_the_rows_of_earlier_ones(release: Official, tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "growing", create=True)
    import_dexgraspnet2(release.root, dataset, LEAP, run, scenes=[1230])
    assert len(dataset.grasps(LEAP.name, "graspnet_041")) == 7
    first = dataset.grasps(LEAP.name, "graspnet_041").grasp
    import_dexgraspnet2(release.root, dataset, LEAP, run, scenes=[3])
    assert len(dataset.grasps(LEAP.name, "graspnet_041")) == 28
    np.testing.assert_array_equal(dataset.grasps(LEAP.name, "graspnet_041").grasp[:7], first)
    assert load_clear_grasps(dataset.clear_grasps_path(NAMES[1230], LEAP.name))[0].tolist() == list(range(7))
    assert len(load_clear_grasps(dataset.clear_grasps_path(NAMES[3], LEAP.name))[1]) == 25


def failures(source: Path, tmp_path: Path) -> dict[str, str]:
    summary = import_dexgraspnet2(source, Dataset.open(tmp_path / "ours", create=True), LEAP, run)
    return summary["failed"]


def test_a_damaged_file_is_named_and_the_rest_goes_on(copied: Path, tmp_path: Path) -> None:
    depth = copied / "scenes/scene_0003/realsense/depth_gt/0007.png"
    depth.write_bytes(depth.read_bytes()[:-100])
    votes = copied / "dex_graspness_new/scene_1230/realsense/0005.npy"
    votes.write_bytes(votes.read_bytes()[:-40])
    failed = failures(copied, tmp_path)
    assert set(failed) == {NAMES[3], NAMES[1230]}
    assert str(depth) in failed[NAMES[3]]
    assert "Unpack" in failed[NAMES[3]]
    assert str(votes) in failed[NAMES[1230]]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "damaged"),
        (lambda path: np.savez(path, translation=np.zeros((2, 3)), rotation=np.zeros((2, 3, 3))), "lacks point, j0"),
        (lambda path: np.savez(path, **{k: 2 * v for k, v in np.load(path).items()}), "no rotations"),
        (
            lambda path: np.savez(path, **{k: v[: 3 if k == "j7" else 4] for k, v in np.load(path).items()}),
            "j7 must be",
        ),
    ],
)
def test_damaged_grasps_are_named(copied: Path, tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    path = copied / "dex_grasps_new/scene_0003/leap_hand/007.npz"
    damage(path)
    failed = failures(copied, tmp_path)
    assert str(path) in failed["graspnet_007"]
    assert said in failed["graspnet_007"]
    # Scenes with that object are left out, and it is said why; the other scene comes in.
    assert "graspnet_007" in failed[NAMES[3]]
    assert set(failed) == {"graspnet_007", NAMES[3], NAMES[105]}


def test_votes_of_other_images_are_refused(copied: Path, tmp_path: Path) -> None:
    path = copied / "dex_graspness_new/scene_0003/realsense/0000.npy"
    np.save(path, np.load(path)[:-1])
    assert "its view has" in failures(copied, tmp_path)[NAMES[3]]


def test_views_with_a_missing_image_are_left_out(copied: Path, tmp_path: Path) -> None:
    (copied / "scenes/scene_0003/realsense/label_gt/0007.png").unlink()
    dataset = Dataset.open(tmp_path / "ours", create=True)
    assert import_dexgraspnet2(copied, dataset, LEAP, run, scenes=[3])["views"] == 2
    assert SceneViews.load(dataset.views_path(NAMES[3])).numbers.tolist() == [0, 200]


def test_missing_meshes_and_strange_labels_are_explained(copied: Path, tmp_path: Path) -> None:
    shutil.rmtree(copied / "meshdata/041")
    path = copied / "scenes/scene_0105/realsense/label_gt/0000.png"
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    labels[0, 0] = 100
    cv2.imwrite(str(path), labels)
    failed = failures(copied, tmp_path)
    assert "meshdata.tar.gz" in failed["graspnet_041"]
    shutil.copytree(copied / "meshdata/007", copied / "meshdata/041")
    assert "object 099" in failures(copied, tmp_path / "second")[NAMES[105]]


def test_what_is_no_release_and_what_is_not_there_are_refused(release: Official, tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "ours", create=True)
    with pytest.raises(FormatError, match="no folder `scenes`"):
        import_dexgraspnet2(tmp_path, dataset, LEAP, run)
    with pytest.raises(FormatError, match="no scene 0042"):
        import_dexgraspnet2(release.root, dataset, LEAP, run, scenes=[3, 42])
    with pytest.raises(FormatError, match="leap_hand"):
        import_dexgraspnet2(release.root, dataset, load_hand("panda_gripper"), run)
    with pytest.raises(FormatError, match="no views"):
        export_dexgraspnet2(dataset, tmp_path / "target", LEAP, run)


def test_a_stopped_export_goes_on_to_the_same_files(imported: Dataset, exported: Path, tmp_path: Path) -> None:
    target = Path(shutil.copytree(exported, tmp_path / "data"))
    (target / "scenes/scene_0003/realsense/camera_poses.npy").unlink()
    (target / "scenes/scene_0003/realsense/meta/0007.mat").unlink()
    shutil.rmtree(target / "meshdata/041")
    summary = export_dexgraspnet2(imported, target, LEAP, run)
    assert (summary["scenes"], summary["views"], summary["grasps"], summary["failed"]) == (3, 6, 65, {})
    for path in sorted(exported.rglob("*.*")):
        if path.is_file():
            assert (target / path.relative_to(exported)).read_bytes() == path.read_bytes(), path


def test_an_export_is_not_mixed_with_another(imported: Dataset, exported: Path) -> None:
    with pytest.raises(FormatError, match="other scenes"):
        export_dexgraspnet2(imported, exported, LEAP, run, scenes=[NAMES[3]])
    names = json.loads((exported / "names.json").read_text())
    assert names["objects"]["007"]["name"] == "graspnet_007"


def test_two_of_one_object_are_told_apart(imported: Dataset, tmp_path: Path) -> None:
    """In the release a label is an object's number, so the second copy is an object of its own."""
    dataset = Dataset.open(shutil.copytree(imported.root, tmp_path / "ours"))
    before = dataset.scene(NAMES[3])
    twice = SceneRecord("dense_train_0000", "dense", "train", ("graspnet_041",) * 2, before.world_T_object)
    twice.save(dataset.scene_path(twice.name))
    shutil.copytree(dataset.views_path(NAMES[3]), dataset.views_path(twice.name))
    rows = [np.array([3, 1], np.uint32), np.array([0, 7, 9], np.uint32)]
    save_clear_grasps(dataset.clear_grasps_path(twice.name, LEAP.name), rows)
    summary = export_dexgraspnet2(dataset, tmp_path / "target", LEAP, run, scenes=[twice.name])
    assert (summary["objects"], summary["grasps"], summary["numbers"]) == (2, 5, {twice.name: 0})
    again = Dataset.open(tmp_path / "again", create=True)
    assert import_dexgraspnet2(tmp_path / "target", again, LEAP, run)["failed"] == {}
    assert again.scene(twice.name).objects == ("graspnet_041", "graspnet_041_copy1")
    for view in (0, 7, 200):
        ids = [SceneViews.load(each.views_path(twice.name)).read(view)[1] for each in (dataset, again)]
        np.testing.assert_array_equal(*ids)
    original = dataset.grasps(LEAP.name, "graspnet_041")
    for name, chosen in zip(again.scene(twice.name).objects, rows, strict=True):
        found = again.grasps(LEAP.name, name)
        np.testing.assert_allclose(found.grasp, original.grasp[chosen], atol=1e-6)
        np.testing.assert_allclose(found.object_T_palm, original.object_T_palm[chosen], atol=2 * ANGLE)


def record(name: str, kind: str, split: str, parent: str = "") -> SceneRecord:
    return SceneRecord(name, kind, split, (), np.zeros((0, 4, 4)), parent)  # type: ignore[arg-type]


def test_scenes_are_numbered_within_the_ranges_of_the_release() -> None:
    dense = [record(f"dense_train_{i:04d}", "dense", "train") for i in range(102)]
    random = [record(f"random_train_{i:04d}", "random", "train", f"dense_train_{i % 2:04d}") for i in range(4)]
    lone = record("random_train_9999", "random", "train", "dense_train_0101")
    test = [record("dense_test_0000", "dense", "test"), record("loose_test_0000", "loose", "test")]
    test += [record(f"random_test_{i:04d}", "random", "test") for i in range(2)]
    loose = record("loose_train_0000", "loose", "train")
    numbers = number_scenes([lone, *random, *test, loose, *dense, record(NAMES[105], "dense", "test")])
    assert [numbers[f"dense_train_{i:04d}"] for i in (0, 99)] == [0, 99]
    assert [numbers[f"random_train_{i:04d}"] for i in range(4)] == [1000, 1075, 1001, 1076]
    assert [numbers[each.name] for each in test] == [100, 200, 9000, 9005]
    assert numbers[NAMES[105]] == 105
    beyond = [numbers["dense_train_0100"], numbers["dense_train_0101"], numbers[loose.name], numbers[lone.name]]
    assert sorted(beyond) == [10000, 10001, 10002, 10003]
    assert len(set(numbers.values())) == len(numbers)
    for each in (*dense[:100], *random, *test):
        assert scene_kind(numbers[each.name], 5) == (each.kind, each.split)


def test_more_objects_than_labels_can_tell_apart_are_refused() -> None:
    assert number_objects([("can", 0), ("can", 1), ("graspnet_000", 0)]) == {
        ("can", 0): 1,
        ("can", 1): 2,
        ("graspnet_000", 0): 0,
    }
    with pytest.raises(FormatError, match="255"):
        number_objects([(f"object_{i}", 0) for i in range(256)])
