"""Grasp files of DexGrasp Anything: read into a dataset, written back, and compared with what was written by hand.

Tolerances: stored grasps are rounded to 0.01 mm, less than 0.1 mrad about any axis, and 0.2 mrad at a joint.
"""

from __future__ import annotations

import fractions
import io
import json
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats import dexgrasp_anything
from dexgrasp_training.formats.dexgrasp_anything import (
    HandFile,
    export_dexgrasp_anything,
    import_dexgrasp_anything,
    read_clouds,
    read_grasp_file,
)
from dexgrasp_training.formats.pickles import read_pickle, read_pickled_array, read_torch
from dexgrasp_training.work import Outcome, Task, Workers, spread
from rich.console import Console
from scipy.spatial.transform import Rotation

from dexgrasp_description import HandModel, load_hand

LEAP = load_hand("leap_right")
LENGTH, ANGLE, JOINT = 1.0e-5, 1.0e-4, 2.0e-4  # of a stored grasp: unit [m], errors at most [rad]
SIZE = 12.5  # the meshes below are this much larger than the objects
CENTRE = np.array([0.3, -0.1, 0.2])  # of the box's mesh, in its file's frame


def run(tasks: Sequence[Task], title: str) -> list[Outcome]:
    """Tasks in this process, without a word."""
    return spread(tasks, Workers(jobs=1), title, Console(file=io.StringIO()))


@dataclass
class Source:
    """A data set on disk.

    Attributes:
        path: Of the grasp file.
        meshes: Folder of the meshes.
        entries: What the grasp file lists.
    """

    path: Path
    meshes: Path
    entries: list[Any]


def box() -> trimesh.Trimesh:
    mesh = trimesh.creation.box(extents=(0.75, 1.0, 0.6))
    mesh.apply_translation(CENTRE)
    return mesh


def write_source(
    folder: Path, file: str, scales: Sequence[float], hand: HandModel = LEAP, layout: str = "dict", count: int = 9
) -> Source:
    """As their README and loaders describe it: `y = R (x + t)`, float32 tensors, clouds of 10240 points and normals."""
    rng = np.random.default_rng(0)
    meshes = folder / "meshdata"
    (meshes / "shapes").mkdir(parents=True)
    box().export(meshes / "shapes" / "brick.obj")
    points, faces = trimesh.sample.sample_surface(box(), 10240, seed=1)
    cloud = np.hstack([points, box().face_normals[faces]])
    with (folder / "object_pcds_nors.pkl").open("wb") as stream:
        pickle.dump({"shapes+brick": cloud}, stream)
    (folder / "grasp.json").write_text(
        json.dumps({"_train_split": [], "_test_split": ["shapes+brick"], "_all_split": ["shapes+brick"]})
    )
    rotations = Rotation.random(count, rng=rng).as_matrix()
    # Palms some 12 cm around the object at its true size.
    around = CENTRE / SIZE + 0.12 * rng.normal(size=(count, 3)) / np.sqrt(3)
    translations = np.einsum("nji,nj->ni", rotations, around)
    q = rng.uniform(hand.lower, hand.upper, size=(count, len(hand.joint_names)))
    entries: list[Any] = []
    for i in range(count):
        rotation, t, joints = (torch.tensor(x[i], dtype=torch.float32) for x in (rotations, translations, q))
        if layout == "dict":
            entries.append(
                {
                    "rotations": rotation,
                    "joint_positions": joints,
                    "translations": t,
                    "object_name": "shapes+brick",
                    "scale": scales[i % len(scales)],
                }
            )
        else:
            vector = torch.cat([t, torch.tensor([1.0, 0, 0, 0, 1, 0]), joints])
            entries.append((vector, rotation.T.contiguous(), "shapes+brick"))
    torch.save({"info": {"num_per_object": {"shapes+brick": count}}, "metadata": entries}, folder / file)
    return Source(folder / file, meshes, entries)


def check_grasps(dataset: Dataset, name: str, expected: list[tuple[Any, Any, Any]]) -> None:
    """Grasps as rotation, translation and joints of the file: the hand's points must come to lie where they say."""
    grasps = dataset.grasps("leap_right", name)
    assert len(grasps) == len(expected)
    hand_p = np.random.default_rng(5).uniform(-0.1, 0.1, size=(20, 3))
    for object_T_palm, q, (rotation, translation, joints) in zip(
        grasps.object_T_palm, grasps.grasp, expected, strict=True
    ):
        mesh_p = (hand_p + np.asarray(translation, float)) @ np.asarray(rotation, float).T
        object_p = hand_p @ object_T_palm[:3, :3].T + object_T_palm[:3, 3]
        # The object's origin is the middle of the box, at its true size.
        np.testing.assert_allclose(object_p, mesh_p - CENTRE / SIZE, atol=LENGTH + 0.18 * ANGLE)
        np.testing.assert_allclose(q, np.asarray(joints, float), atol=JOINT)


@pytest.mark.parametrize(
    ("file", "scale"),
    [("dexgraspnet_leap_right_downsample.pt", 1 / SIZE), ("unidexgrasp_leap_right_downsample.pt", SIZE)],
)
def test_scales_multiply_or_divide_as_in_the_data_set(tmp_path: Path, file: str, scale: float) -> None:
    source = write_source(tmp_path, file, [scale])
    dataset = Dataset.open(tmp_path / "ours", create=True)
    summary = import_dexgrasp_anything(source.path, dataset, source.meshes, run)
    assert summary == {"objects": 1, "grasps": 9, "failed": {}}
    (name,) = dataset.objects()
    assert name == "shapes+brick_x0.08"
    asset = dataset.asset(name)
    np.testing.assert_allclose(asset.model.mesh.extents, np.array([0.75, 1.0, 0.6]) / SIZE, atol=1e-6)
    assert asset.split == "test"
    check_grasps(dataset, name, [(e["rotations"], e["translations"], e["joint_positions"]) for e in source.entries])


def test_an_object_grasped_at_two_sizes_is_two_objects(tmp_path: Path) -> None:
    source = write_source(tmp_path, "dexgraspnet_leap_right_downsample.pt", [0.08, 0.06])
    dataset = Dataset.open(tmp_path / "ours", create=True)
    assert import_dexgrasp_anything(source.path, dataset, source.meshes, run)["objects"] == 2
    assert dataset.objects() == ["shapes+brick_x0.06", "shapes+brick_x0.08"]
    entries = source.entries[::2]
    check_grasps(
        dataset, "shapes+brick_x0.08", [(e["rotations"], e["translations"], e["joint_positions"]) for e in entries]
    )
    before = {path: path.stat().st_mtime_ns for path in dataset.root.rglob("*")}
    assert import_dexgrasp_anything(source.path, dataset, source.meshes, run)["grasps"] == 9
    assert {path: path.stat().st_mtime_ns for path in dataset.root.rglob("*")} == before


def test_tuples_turn_the_object_not_the_hand(tmp_path: Path) -> None:
    source = write_source(tmp_path, "leap_right_downsample.pt", [1.0], layout="tuple")
    file = read_grasp_file(source.path)
    assert file.hand.name == "leap_right"
    assert set(file.objects) == {"shapes+brick"}
    np.testing.assert_array_equal(file.scale, 1.0)
    for mesh_T_palm, (vector, object_rotation, _) in zip(file.mesh_T_palm, source.entries, strict=True):
        hand_p = np.array([[0.01, 0.02, 0.03]])
        mesh_p = hand_p @ mesh_T_palm[:3, :3].T + mesh_T_palm[:3, 3]
        # In the frame of the turned object the hand is not turned.
        np.testing.assert_allclose(mesh_p @ object_rotation.numpy().T, hand_p + vector[:3].numpy(), atol=1e-6)
    np.testing.assert_allclose(file.joints, [entry[0][9:].numpy() for entry in source.entries], atol=1e-6)


@pytest.mark.parametrize("layout", ["dict", "tuple"])
def test_what_was_imported_is_exported_again(tmp_path: Path, layout: Any) -> None:
    name = "dexgraspnet" if layout == "dict" else ""
    source = write_source(tmp_path, "dexgraspnet_leap_right_downsample.pt", [1 / SIZE])
    dataset = Dataset.open(tmp_path / "ours", create=True)
    import_dexgrasp_anything(source.path, dataset, source.meshes, run)
    seen: list[str] = []
    summary = export_dexgrasp_anything(dataset, tmp_path / "back", LEAP, name, layout, seen.append)
    assert seen == dataset.objects()
    assert (summary["objects"], summary["grasps"]) == (1, 9)
    path = tmp_path / "back" / (source.path.name if layout == "dict" else "leap_right_downsample.pt")
    assert summary["file"] == str(path)
    content = torch.load(path, weights_only=True)
    assert content["info"] == {"num_per_object": {"shapes+brick_x0.08": 9}}
    for theirs, ours in zip(source.entries, content["metadata"], strict=True):
        if layout == "dict":
            assert list(ours) == list(theirs)
            assert (ours["object_name"], ours["scale"]) == ("shapes+brick_x0.08", 1.0)
            rotation, translation, joints = ours["rotations"], ours["translations"], ours["joint_positions"]
        else:
            vector, turned, object_name = ours
            assert (vector.shape, turned.shape, object_name) == ((25,), (3, 3), "shapes+brick_x0.08")
            assert vector[3:9].tolist() == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
            rotation, translation, joints = turned.T, vector[:3], vector[9:]
        assert rotation.dtype == translation.dtype == joints.dtype == torch.float32
        between = Rotation.from_matrix(rotation.numpy()).inv() * Rotation.from_matrix(theirs["rotations"].numpy())
        assert between.magnitude() < ANGLE
        np.testing.assert_allclose(translation, theirs["translations"], atol=LENGTH + 0.2 * ANGLE)
        np.testing.assert_allclose(joints, theirs["joint_positions"], atol=JOINT)
    clouds = read_clouds(tmp_path / "back" / "object_pcds_nors.pkl")
    cloud = pickle.loads((tmp_path / "back" / "object_pcds_nors.pkl").read_bytes())["shapes+brick_x0.08"]
    assert (cloud.shape, cloud.dtype) == ((10240, 6), np.float64)
    np.testing.assert_array_equal(clouds["shapes+brick_x0.08"], cloud)
    depth = np.abs(cloud[:, :3] - CENTRE / SIZE) - np.array([0.75, 1.0, 0.6]) / (2 * SIZE)
    assert np.abs(depth.max(axis=1)).max() < 1e-6  # on the box's surface, in its file's frame, at its true size
    np.testing.assert_allclose(np.linalg.norm(cloud[:, 3:], axis=1), 1.0, atol=1e-6)
    assert json.loads((tmp_path / "back" / "grasp.json").read_text())["_test_split"] == ["shapes+brick_x0.08"]
    assert pickle.loads((tmp_path / "back" / "scales.pkl").read_bytes()) == {"shapes+brick_x0.08": 1.0}


def test_an_export_is_read_as_it_was_written(tmp_path: Path) -> None:
    source = write_source(tmp_path, "dexgraspnet_leap_right_downsample.pt", [1 / SIZE])
    dataset = Dataset.open(tmp_path / "ours", create=True)
    import_dexgrasp_anything(source.path, dataset, source.meshes, run)
    exports = [export_dexgrasp_anything(dataset, tmp_path / each, LEAP, "mine", "tuple") for each in ("a", "b")]
    assert Path(exports[0]["file"]).read_bytes() == Path(exports[1]["file"]).read_bytes()
    first, second = read_grasp_file(source.path), read_grasp_file(Path(exports[0]["file"]))
    np.testing.assert_allclose(first.mesh_T_palm, second.mesh_T_palm, atol=ANGLE)
    np.testing.assert_allclose(first.joints, second.joints, atol=JOINT)


@pytest.mark.parametrize(
    ("file", "names", "lists", "held_out"),
    [
        ("leap_right_downsample.pt", ("contactdb+apple", "contactdb+banana"), None, ["contactdb+apple"]),
        ("DexGRAB_leap_right_downsample.pt", ("apple", "duck"), None, ["duck"]),
        ("Grasp_anyting_leap_right.pt", ("apple", "duck"), (["apple", "duck"], ["apple", "duck"]), []),
        ("realdex_leap_right_downsample.pt", ("apple", "duck"), (["duck"], ["apple"]), ["apple"]),
    ],
)
def test_what_a_data_set_holds_out_is_held_out(
    tmp_path: Path, file: str, names: tuple[str, ...], lists: tuple[list[str], list[str]] | None, held_out: list[str]
) -> None:
    """MultiDex has its grasps a folder below the clouds, and no scales; it and DexGRAB have no file of splits."""
    entries: list[Any] = []
    for name in names:
        mesh = tmp_path / "object" / f"{name.replace('+', '/')}.obj"
        mesh.parent.mkdir(parents=True, exist_ok=True)
        trimesh.creation.box(extents=(0.05, 0.06, 0.07)).export(mesh)
        vector = torch.cat([torch.tensor([0.1, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]), torch.zeros(16)])
        as_dict = grasp(object_name=name, translations=vector[:3])
        entries.append((vector, torch.eye(3), name) if file.startswith("leap") else as_dict)
    path = tmp_path / "shadowhand" / file
    path.parent.mkdir()
    torch.save({"info": {}, "metadata": entries}, path)
    if lists:
        (path.parent / "grasp.json").write_text(json.dumps({"_train_split": lists[0], "_test_split": lists[1]}))
    points, faces = trimesh.sample.sample_surface(trimesh.creation.box(extents=(0.05, 0.06, 0.07)), 1000, seed=1)
    wrong = np.hstack([points + [0.1, 0.0, 0.0], trimesh.creation.box().face_normals[faces]])
    clouds = {names[0]: np.hstack([points, wrong[:, 3:]]), names[1]: wrong}
    (tmp_path / "object_pcds_nors.pkl").write_bytes(pickle.dumps(clouds))
    dataset = Dataset.open(tmp_path / "ours", create=True)
    failed = import_dexgrasp_anything(path, dataset, tmp_path / "object", run)["failed"]
    assert list(failed) == [names[1]]  # its cloud, which lies in the folder above, is off
    assert dataset.objects("test") == held_out


def test_joints_are_put_in_our_order_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = HandFile("robohand", "leap_right", tuple(reversed(LEAP.joint_names)))
    monkeypatch.setattr(dexgrasp_anything, "_HANDS", (theirs,))
    source = write_source(tmp_path, "dexgraspnet_robohand.pt", [1 / SIZE])
    joints = read_grasp_file(source.path).joints
    expected = np.array([entry["joint_positions"].numpy()[::-1] for entry in source.entries])
    np.testing.assert_allclose(joints, expected, atol=1e-6)
    dataset = Dataset.open(tmp_path / "ours", create=True)
    import_dexgrasp_anything(source.path, dataset, source.meshes, run)
    written = export_dexgrasp_anything(dataset, tmp_path / "back", LEAP, "mine")["file"]
    assert Path(written).name == "mine_robohand_downsample.pt"
    for theirs_, ours in zip(source.entries, read_torch(Path(written))["metadata"], strict=True):
        clipped = np.clip(theirs_["joint_positions"].numpy(), LEAP.lower[::-1], LEAP.upper[::-1])
        np.testing.assert_allclose(ours["joint_positions"], clipped, atol=JOINT)


def test_a_gripper_is_a_hand_too(tmp_path: Path) -> None:
    hand = load_hand("panda_gripper")
    source = write_source(tmp_path, "mine_panda_gripper.pt", [1.0 / SIZE], hand)
    dataset = Dataset.open(tmp_path / "ours", create=True)
    summary = import_dexgrasp_anything(source.path, dataset, source.meshes, run, scaling="multiply")
    assert (summary["grasps"], summary["failed"]) == (9, {})
    grasps = dataset.grasps("panda_gripper", "shapes+brick_x0.08")
    assert (grasps.pregrasp.sum(axis=1) >= grasps.grasp.sum(axis=1) - 1e-3).all()
    assert export_dexgrasp_anything(dataset, tmp_path / "back", hand)["grasps"] == 9
    with pytest.raises(FormatError, match="no grasps of 'leap_right'"):
        export_dexgrasp_anything(dataset, tmp_path / "back", LEAP)


def test_shadow_hand_files_hold_poses_of_the_forearm(tmp_path: Path) -> None:
    shadow = load_hand("shadow_right")
    source = write_source(tmp_path, "dexgraspnet_shadowhand_downsample.pt", [1 / SIZE], shadow)
    file = read_grasp_file(source.path)
    for entry, mesh_T_palm, joints in zip(source.entries, file.mesh_T_palm, file.joints, strict=True):
        np.testing.assert_allclose(joints, entry["joint_positions"], atol=1e-6)
        # From the forearm to the palm: the two joints of the wrist, about y and x.
        about_y, about_x = joints[0], joints[1]
        turn_y = Rotation.from_euler("y", about_y)
        frame_p_palm = np.array([0.0, -0.010, 0.21301]) + turn_y.apply([0.0, 0.0, 0.034])
        rotation = entry["rotations"].numpy()
        turned = Rotation.from_matrix(rotation) * turn_y * Rotation.from_euler("x", about_x)
        np.testing.assert_allclose(mesh_T_palm[:3, :3], turned.as_matrix(), atol=1e-6)
        expected = rotation @ (entry["translations"].numpy() + frame_p_palm)
        np.testing.assert_allclose(mesh_T_palm[:3, 3], expected, atol=1e-6)
    dataset = Dataset.open(tmp_path / "ours", create=True)
    import_dexgrasp_anything(source.path, dataset, source.meshes, run)
    written = export_dexgrasp_anything(dataset, tmp_path / "back", shadow, "mine")["file"]
    assert Path(written).name == "mine_shadowhand_downsample.pt"
    again = read_grasp_file(Path(written))
    np.testing.assert_allclose(again.mesh_T_palm, file.mesh_T_palm, atol=5 * ANGLE)


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def grasp(**changes: Any) -> dict[str, Any]:
    """An entry, with changes."""
    entry = {
        "rotations": torch.eye(3),
        "joint_positions": torch.zeros(16),
        "translations": torch.zeros(3),
        "object_name": "brick",
        "scale": 1.0,
    }
    return {**entry, **changes}


def test_files_that_are_laid_out_otherwise_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "mine_leap_right.pt"
    with pytest.raises(FormatError, match="does not exist"):
        read_grasp_file(path)
    with pytest.raises(FormatError, match="does not tell its hand.*shadowhand.*leap_right"):
        read_grasp_file(save(tmp_path / "grasps.pt", {}))
    with pytest.raises(FormatError, match="metadata"):
        read_grasp_file(save(path, [1, 2]))
    with pytest.raises(FormatError, match="grasp 1 is not as documented"):
        read_grasp_file(save(path, {"metadata": [grasp(), grasp(joint_positions=torch.zeros(24))]}))
    with pytest.raises(FormatError, match="grasp 0 is not as documented.*translations"):
        read_grasp_file(save(path, {"metadata": [{"rotations": torch.eye(3), "object_name": "brick"}]}))
    with pytest.raises(FormatError, match="rotation of grasp 1"):
        read_grasp_file(save(path, {"metadata": [grasp(), grasp(rotations=-torch.eye(3))]}))
    with pytest.raises(FormatError, match="multiply, divide or none"):
        read_grasp_file(save(path, {"metadata": [grasp(), grasp(scale=0.1)]}))
    with pytest.raises(FormatError, match="positive"):
        read_grasp_file(save(path, {"metadata": [grasp(scale=-0.1)]}), scaling="divide")
    assert read_grasp_file(save(path, {"metadata": [grasp(scale=0.1)]}), scaling="divide").scale.tolist() == [10.0]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FormatError, match="damaged"):
        read_grasp_file(path)


def test_meshes_that_are_missing_or_of_another_frame_are_reported(tmp_path: Path) -> None:
    source = write_source(tmp_path, "dexgraspnet_leap_right_downsample.pt", [1 / SIZE])
    dataset = Dataset.open(tmp_path / "ours", create=True)
    (tmp_path / "none").mkdir()
    failed = import_dexgrasp_anything(source.path, dataset, tmp_path / "none", run)["failed"]
    assert "no mesh named shapes+brick" in failed["shapes+brick_x0.08"]
    moved = box()
    moved.apply_translation([0.2, 0.0, 0.0])
    moved.export(source.meshes / "shapes" / "brick.obj")
    summary = import_dexgrasp_anything(source.path, dataset, source.meshes, run)
    assert "off its mesh" in summary["failed"]["shapes+brick_x0.08"]
    assert summary["grasps"] == 0


class Harmful:
    """What a harmful pickle does when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch /tmp/dexgrasp-was-here",))


@dataclass
class Hiding:
    """A pickle that looks like a tensor's."""

    content: bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return (torch.storage._load_from_bytes, (self.content,))


def test_files_that_would_run_code_are_refused_before_they_do(tmp_path: Path) -> None:
    harmful = {"x": Harmful()}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(harmful))
    np.savez(tmp_path / "a.npz", np.array(harmful, dtype=object))
    torch.save(harmful, tmp_path / "a.pt")
    for read, file in ((read_pickle, "a.pkl"), (read_pickled_array, "a.npz"), (read_torch, "a.pt")):
        with pytest.raises(FormatError, match="refused: it asks for posix.system"):
            read(tmp_path / file)
    assert not Path("/tmp/dexgrasp-was-here").exists()
    # Nor is a harmless class built, or code hidden in a tensor's bytes.
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(fractions.Fraction(1, 3)))
    with pytest.raises(FormatError, match=r"fractions\.Fraction"):
        read_pickle(tmp_path / "b.pkl")
    hidden = io.BytesIO()
    torch.save(harmful, hidden)
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(Hiding(hidden.getvalue())))
    with pytest.raises(FormatError, match="refused: it asks for posix.system"):
        read_pickle(tmp_path / "c.pkl")
    assert not Path("/tmp/dexgrasp-was-here").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_is_read_from_pickles_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    content = {
        "array": np.arange(6.0).reshape(2, 3),
        "turned": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "number": np.float32(0.5),
        "tensor": torch.arange(4),
        "objects": np.array([{"a": 1}, None], dtype=object),
        "text": ("b", b"bytes", True, None, {1, 2}),
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    found = read_pickle(path)
    for key in ("array", "turned", "tensor"):
        np.testing.assert_array_equal(found[key], content[key])
    assert found["number"] == 0.5
    assert found["objects"].tolist() == [{"a": 1}, None]
    assert found["text"] == content["text"]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FormatError, match="damaged"):
        read_pickle(path)


def test_numpy_scalars_in_torch_files_are_read(tmp_path: Path) -> None:
    path = save(
        tmp_path / "mine_leap_right.pt", {"metadata": [grasp(scale=np.float64(2.0)), grasp(scale=np.float32(2.0))]}
    )
    assert read_grasp_file(path, scaling="multiply").scale.tolist() == [2.0, 2.0]
