"""Files of DexGraspBench: what is written is as documented, and what is read is what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.cli import main
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats.dexgraspbench import export_dexgraspbench, import_dexgraspbench, read_dexgraspbench
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.work import Outcome
from scipy.spatial.transform import Rotation

from dexgrasp_description import load_hand

from .boxes import box_asset

HANDS = ("shadow_right", "allegro_right", "leap_right")
WIDTHS = {"shadow_right": 22, "allegro_right": 16, "leap_right": 16}


def run(tasks: Any, title: str) -> list[Outcome]:
    return [Outcome(task.name, task.function(*task.arguments), "", 0.0) for task in tasks]


def made(root: Path, hand_name: str) -> Dataset:
    """A box with five random grasps, which were stored and read."""
    dataset, hand = Dataset.open(root, create=True), load_hand(hand_name)
    box_asset("brick", (0.05, 0.07, 0.04)).save(dataset.object_path("brick"))
    rng, count = np.random.default_rng(0), 5
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, rng=rng).as_matrix()
    poses[:, :3, 3] = rng.uniform(-0.1, 0.1, (count, 3))
    grasp = rng.uniform(hand.lower, hand.upper, (count, len(hand.joint_names)))
    middle = 0.5 * (hand.lower + hand.upper)
    ObjectGrasps(
        hand_name,
        "brick",
        ("closing",),
        poses,
        0.9 * grasp + 0.1 * middle,
        grasp,
        0.98 * grasp + 0.02 * middle,
        np.full((count, 6, 3), np.nan),
        np.zeros(count, np.uint8),
        np.zeros(count),
    ).save(dataset.grasps_path(hand_name, "brick"))
    return dataset


@pytest.mark.parametrize("hand_name", HANDS)
def test_a_file_holds_one_grasp_as_documented(tmp_path: Path, hand_name: str) -> None:
    dataset, hand = made(tmp_path / "ours", hand_name), load_hand(hand_name)
    summary = export_dexgraspbench(dataset, tmp_path / "out", hand)
    assert (summary["objects"], summary["grasps"]) == (1, 5)
    grasps = dataset.grasps(hand_name, "brick")
    paths = sorted((tmp_path / "out" / "graspdata" / "brick").glob("*.npy"))
    assert len(paths) == 5
    content = np.load(paths[2], allow_pickle=True).item()
    assert set(content) == {"obj_path", "obj_scale", "obj_pose", "pregrasp_qpos", "grasp_qpos", "squeeze_qpos"}
    assert content["obj_pose"].tolist() == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    assert content["grasp_qpos"].shape == (7 + WIDTHS[hand_name],)
    folder = Path(content["obj_path"])
    about = json.loads((folder / "info" / "simplified.json").read_text())
    assert about["mass"] == pytest.approx(0.1)
    np.testing.assert_allclose(about["obb"], [0.05, 0.07, 0.04])
    pieces = sorted((folder / "urdf" / "meshes").glob("convex_piece_*.obj"))
    assert len(pieces) == 1
    for path in (*pieces, folder / "mesh" / "simplified.obj"):
        np.testing.assert_allclose(trimesh.load_mesh(path).extents, [0.05, 0.07, 0.04], atol=1e-8)
    position, quaternion, joints = np.split(content["grasp_qpos"], [3, 7])
    by_name = dict(zip(hand.joint_names, grasps.grasp[2], strict=True))
    rotation = Rotation.from_quat(quaternion, scalar_first=True)
    palm = grasps.object_T_palm[2]
    match hand_name:
        case "shadow_right":
            order = ["rh_FFJ4", "rh_FFJ3", "rh_FFJ2", "rh_FFJ1", "rh_MFJ4"]
            last = [f"rh_THJ{joint}" for joint in (5, 4, 3, 2, 1)]
            palm_p_root, turn = np.array([0.0, 0.0, -0.034]), Rotation.identity()
        case "allegro_right":
            order, last = ["ffj0", "ffj1", "ffj2", "ffj3", "mfj0"], ["thj0", "thj1", "thj2", "thj3"]
            palm_p_root, turn = np.zeros(3), Rotation.from_quat([0.0, 1.0, 0.0, 1.0], scalar_first=True).inv()
        case _:
            order, last = ["j1", "j0", "j2", "j3", "j5"], ["j12", "j13", "j14", "j15"]
            palm_p_root, turn = np.array([0.0, 0.0, 0.1]), Rotation.from_quat([0.0, 1.0, 0.0, 0.0], scalar_first=True)
    np.testing.assert_allclose(joints[: len(order)], [by_name[joint] for joint in order])
    np.testing.assert_allclose(joints[-len(last) :], [by_name[joint] for joint in last])
    np.testing.assert_allclose(position, palm[:3, 3] + palm[:3, :3] @ palm_p_root, atol=1e-9)
    assert (rotation.inv() * Rotation.from_matrix(palm[:3, :3]) * turn).magnitude() < 1e-9


@pytest.mark.parametrize("hand_name", HANDS)
def test_what_was_exported_is_imported_again(tmp_path: Path, hand_name: str) -> None:
    first, hand = made(tmp_path / "ours", hand_name), load_hand(hand_name)
    export_dexgraspbench(first, tmp_path / "out", hand)
    (tmp_path / "out").rename(tmp_path / "moved")  # to another machine, say
    second = Dataset.open(tmp_path / "again", create=True)
    assert import_dexgraspbench(tmp_path / "moved", second, hand, run) == {"objects": 1, "grasps": 5, "failed": {}}
    before, after = first.grasps(hand_name, "brick"), second.grasps(hand_name, "brick")
    np.testing.assert_allclose(after.object_T_palm, before.object_T_palm, atol=3e-4)
    stored = [not joint.startswith("rh_WR") for joint in hand.joint_names]
    for name, tolerance in (("grasp", 4e-4), ("pregrasp", 1.4e-2), ("squeeze", 2e-3)):
        ours, theirs = getattr(before, name), getattr(after, name)
        np.testing.assert_allclose(theirs[:, stored], ours[:, stored], atol=tolerance, err_msg=name)
    assert np.abs(after.grasp[:, np.logical_not(stored)]).max(initial=0.0) < 1e-3
    np.testing.assert_allclose(second.asset("brick").model.mesh.extents, [0.05, 0.07, 0.04], atol=1e-6)
    assert import_dexgraspbench(tmp_path / "moved", second, hand, run)["grasps"] == 5


def write(path: Path, folder: Path, **changes: Any) -> None:
    """A grasp of the LEAP hand whose palm lies in the root of a moved and scaled object."""
    qpos = np.concatenate([[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], np.zeros(16)])
    content = {
        "obj_path": str(folder),
        "obj_scale": 0.05,
        "obj_pose": np.array([0.3, 0.0, 0.0, np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]),
        "pregrasp_qpos": qpos,
        "grasp_qpos": qpos,
        "squeeze_qpos": qpos,
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array({key: value for key, value in content.items() if value is not None}, dtype=object))


def test_objects_may_stand_anywhere_and_have_any_size(tmp_path: Path) -> None:
    folder = tmp_path / "assets" / "brick"
    (folder / "mesh").mkdir(parents=True)
    mesh = trimesh.creation.box(extents=(1.0, 1.4, 0.8))
    mesh.apply_translation([0.2, 0.0, 0.0])
    mesh.export(folder / "mesh" / "simplified.obj")
    write(tmp_path / "in" / "a.npy", folder)
    write(tmp_path / "in" / "deeper" / "b.npy", folder, obj_scale=0.06)
    several = np.tile(np.eye(1, 23, 3), (3, 1))
    write(tmp_path / "in" / "c.npy", folder, pregrasp_qpos=several, grasp_qpos=several, squeeze_qpos=several)
    hand = load_hand("leap_right")
    first = next(group for group in read_dexgraspbench(tmp_path / "in", hand) if group.scale == 0.05)
    assert len(first.mesh_T_palm) == 4
    world_T_mesh = np.eye(4)
    world_T_mesh[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    world_T_mesh[0, 3] = 0.3
    world_T_palm = world_T_mesh @ first.mesh_T_palm[0]
    np.testing.assert_allclose(world_T_palm[:3, 3], [0.0, 0.0, 0.1], atol=1e-9)
    np.testing.assert_allclose(world_T_palm[:3, :3], np.diag([1.0, -1.0, -1.0]), atol=1e-9)
    dataset = Dataset.open(tmp_path / "ours", create=True)
    assert import_dexgraspbench(tmp_path / "in", dataset, hand, run) == {"objects": 2, "grasps": 5, "failed": {}}
    assert dataset.objects() == ["brick_x0.05", "brick_x0.06"]
    asset: ObjectAsset = dataset.asset("brick_x0.05")
    np.testing.assert_allclose(asset.model.mesh.extents, [0.05, 0.07, 0.04], atol=1e-6)
    palm = dataset.grasps("leap_right", "brick_x0.05").object_T_palm[0]
    world_p_centre = np.array([0.3, 0.2 * 0.05, 0.0])  # the mesh's own x axis is the world's y
    np.testing.assert_allclose(np.linalg.norm(palm[:3, 3]), np.linalg.norm(world_p_centre - [0, 0, 0.1]), atol=1e-4)


def test_files_that_are_otherwise_are_explained(tmp_path: Path) -> None:
    leap, folder = load_hand("leap_right"), tmp_path / "nowhere"
    with pytest.raises(FormatError, match=r"no \.npy files"):
        read_dexgraspbench(tmp_path, leap)
    with pytest.raises(FormatError, match="no hand 'panda_gripper'.*leap_right"):
        read_dexgraspbench(tmp_path, load_hand("panda_gripper"))
    path = tmp_path / "in" / "a.npy"
    for changes, message in (
        ({"grasp_qpos": None}, "KeyError.*grasp_qpos"),
        ({"obj_pose": np.zeros(6)}, "ValueError"),
        ({"squeeze_qpos": np.zeros(29)}, r"7 \+ 16 numbers.*\(1, 29\).*grasps.hand"),
        ({"obj_scale": -1.0}, "obj_scale positive"),
        ({"pregrasp_qpos": np.full(23, np.nan)}, "finite"),
    ):
        write(path, folder, **changes)
        with pytest.raises(FormatError, match=message):
            read_dexgraspbench(path.parent, leap)
    np.save(path, np.zeros(3))
    with pytest.raises(FormatError, match="holds float64"):
        read_dexgraspbench(path.parent, leap)
    np.save(path, np.array([1, "a"], dtype=object))
    with pytest.raises(FormatError, match="must hold a dict"):
        read_dexgraspbench(path.parent, leap)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FormatError, match="damaged"):
        read_dexgraspbench(path.parent, leap)
    write(path, folder)
    summary = import_dexgraspbench(path.parent, Dataset.open(tmp_path / "ours", create=True), leap, run)
    assert summary["grasps"] == 0
    assert "holds no mesh" in summary["failed"]["nowhere_x0.05"]


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path, ("never",))

    np.save(tmp_path / "a.npy", np.array({"obj_path": Harmful()}, dtype=object))
    with pytest.raises(FormatError, match="refused: it asks for"):
        read_dexgraspbench(tmp_path, load_hand("leap_right"))


def test_the_commands_export_and_import(tmp_path: Path) -> None:
    made(tmp_path / "ours", "leap_right")
    assert main(["export", "dexgraspbench", str(tmp_path / "ours"), str(tmp_path / "out")]) == 0
    arguments = [str(tmp_path / "again"), str(tmp_path / "out"), "--jobs", "1"]
    assert main(["import", "dexgraspbench", *arguments]) == 0
    assert len(Dataset.open(tmp_path / "again").grasps("leap_right", "brick")) == 5
