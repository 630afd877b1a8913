"""The grasp files of DexGraspBench (Chen et al. 2025), BODex and Dexonomy: one pickled dict for each grasp, in `.npy`.

`pregrasp_qpos`, `grasp_qpos` and `squeeze_qpos` hold the pose of the hand's root (position, wxyz quaternion) and its
joints in the order of MuJoCo Menagerie's model, a Shadow hand without its wrist; `obj_path` is a folder with the
object's mesh, which is as large as `obj_scale` says and stands at `obj_pose`. What is written here is laid out as their
evaluator takes it, grasps in `graspdata/OBJECT/NUMBER.npy`, and objects in `objects/OBJECT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import trimesh
from dexgrasp_common.transforms import from_xyz_quat, invert, to_xyz_quat
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_sim.objects import part_mesh
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats.grasps import completed, store
from dexgrasp_training.formats.objects import add_mesh_object, file_name, mesh_T_object
from dexgrasp_training.formats.pickles import read_pickled_dict
from dexgrasp_training.storage import write_file, write_json
from dexgrasp_training.work import Outcome, Task

FRAME = "dexgraspbench"  # of `HandModel.frames`, whose pose is stored
GRASPS, OBJECTS = "graspdata", "objects"
_POSTURES = ("pregrasp_qpos", "grasp_qpos", "squeeze_qpos")

# Our names of the joints, in the files' order.
_ORDERS: Mapping[str, tuple[str, ...]] = {
    "shadow_right": tuple(f"rh_{finger}J{joint}" for finger in ("FF", "MF", "RF") for joint in (4, 3, 2, 1))
    + tuple(f"rh_{finger}J{joint}" for finger in ("LF", "TH") for joint in (5, 4, 3, 2, 1)),
    "allegro_right": tuple(f"{finger}j{joint}" for finger in ("ff", "mf", "rf", "th") for joint in range(4)),
    # Of each finger the joint that bends it comes before the one that spreads it.
    "leap_right": tuple(f"j{4 * finger + joint}" for finger in range(3) for joint in (1, 0, 2, 3))
    + ("j12", "j13", "j14", "j15"),
}


@dataclass(frozen=True, eq=False)
class BenchGrasps:
    """N grasps of one object at one size.

    Attributes:
        folder: Of the object, as the files say.
        scale: By which its mesh is multiplied.
        mesh_T_palm: array (N, 4, 4), at the grasp, in the frame of the scaled mesh [m].
        pregrasp: array (N, D), in the hand's joint order [rad or m].
        grasp: array (N, D) [rad or m].
        squeeze: array (N, D) [rad or m].
    """

    folder: str
    scale: float
    mesh_T_palm: NDArray[np.float64]
    pregrasp: NDArray[np.float64]
    grasp: NDArray[np.float64]
    squeeze: NDArray[np.float64]


def read_dexgraspbench(source: Path, hand: HandModel) -> list[BenchGrasps]:
    """All grasps of the `.npy` files below a folder, by object and size.

    Where the palm moves between the three postures, its pose at the grasp stands for all: ours has one.

    Args:
        hand: Whose grasps they are: the files do not say.

    Raises:
        FormatError: There are none, one is damaged, would run code or is of another hand, or the hand has no place in
            the format.
    """
    order = _columns(hand)
    paths = sorted(source.rglob("*.npy"))
    if not paths:
        raise FormatError(f"{source} holds no .npy files of grasps.")
    groups: dict[tuple[str, float], list[tuple[NDArray[np.float64], list[NDArray[np.float64]]]]] = {}
    for path in paths:
        content = read_pickled_dict(path)
        try:
            folder, scale = str(content["obj_path"]), float(content["obj_scale"])
            world_T_mesh = _pose(content["obj_pose"])
            qpos = [np.atleast_2d(np.asarray(content[name], dtype=np.float64)) for name in _POSTURES]
        except (KeyError, ValueError, TypeError) as error:
            raise FormatError(
                f"{path} is not as documented ({type(error).__name__}: {error}). Needed are obj_path, obj_scale, "
                f"obj_pose (7,) and {', '.join(_POSTURES)}."
            ) from error
        wrong = [array.shape for array in qpos if array.shape != (len(qpos[1]), 7 + len(order))]
        if wrong:
            raise FormatError(
                f"{path}: postures of {hand.name} have 7 + {len(order)} numbers; there is one of shape {wrong[0]}. Is "
                "it of another hand? Choose: --set grasps.hand=NAME."
            )
        if not (np.isfinite(qpos).all() and np.isfinite(scale) and scale > 0.0):
            raise FormatError(f"{path}: the postures must be finite, and obj_scale positive.")
        for row in range(len(qpos[1])):
            mesh_T_root = invert(world_T_mesh) @ _pose(qpos[1][row, :7])
            groups.setdefault((folder, scale), []).append((mesh_T_root, [array[row, 7:] for array in qpos]))
    found = []
    for (folder, scale), rows in groups.items():
        joints = np.zeros((3, len(rows), len(hand.joint_names)))
        joints[:, :, order] = np.array([postures for _, postures in rows]).transpose(1, 0, 2)
        mesh_T_root = np.array([pose for pose, _ in rows])
        mesh_T_palm = mesh_T_root @ invert(_palm_T_root(hand, joints[1]))
        found.append(BenchGrasps(folder, scale, mesh_T_palm, *joints))
    return found


def import_dexgraspbench(
    source: Path, dataset: Dataset, hand: HandModel, run: Callable[[Sequence[Task], str], list[Outcome]]
) -> dict[str, Any]:
    """Bring grasps of DexGraspBench's kind into a dataset: their objects, made from the meshes, and the grasps.

    Args:
        source: Folder of the files. Objects are looked for where the files say, and in `objects` of this folder.
        dataset: Where to. What is already there is not made again.
        hand: Whose grasps they are.
        run: Spreads tasks over workers under a title (`work.spread`).

    Returns:
        `objects`, `grasps`, `failed` (object to reason).

    Raises:
        FormatError: See `read_dexgraspbench`; or two objects are called alike.
        DatasetError: The dataset cannot be written.
    """
    groups: dict[str, BenchGrasps] = {}
    for group in read_dexgraspbench(source, hand):
        name = Path(group.folder).name
        ours = file_name(name if group.scale == 1.0 else f"{name}_x{group.scale:g}")
        if ours in groups:
            raise FormatError(f"Two objects would be called {ours!r} here: {groups[ours].folder} and {group.folder}.")
        groups[ours] = group
    failed: dict[str, str] = {}
    tasks = []
    for name, group in groups.items():
        mesh = _mesh_of(source, group.folder)
        if mesh is None:
            failed[name] = f"{group.folder} holds no mesh/*.obj, and there is no such folder in {source / OBJECTS}."
        elif not dataset.object_path(name).is_file():
            tasks.append(Task(name, add_mesh_object, (str(dataset.root), name, str(mesh), group.scale, "train")))
    failed |= {outcome.task: outcome.error for outcome in run(tasks, "objects") if outcome.error}
    total = 0
    for name, group in groups.items():
        if name in failed:
            continue
        object_T_palm = invert(mesh_T_object(dataset.asset(name))) @ group.mesh_T_palm
        if not dataset.grasps_path(hand.name, name).is_file():
            store(dataset, completed(hand, name, object_T_palm, group.grasp, group.pregrasp, group.squeeze))
        total += len(object_T_palm)
    return {"objects": len(groups) - len(failed), "grasps": total, "failed": failed}


def export_dexgraspbench(
    dataset: Dataset, target: Path, hand: HandModel, progress: Callable[[str], object] = lambda name: None
) -> dict[str, Any]:
    """Write a dataset's grasps and their objects as DexGraspBench takes them.

    Objects are at their true size, in the frame of the mesh that they were imported from, else in their own, and stand
    at the origin. Joints of a wrist are left out: they move nothing but what is behind the palm.

    Args:
        dataset: Where from.
        target: Folder to write to, `output/NAME_HAND` of their repository.
        hand: Whose grasps.
        progress: Called with each object's name.

    Returns:
        `folder`, `objects`, `grasps`.

    Raises:
        FormatError: There are no grasps of that hand, or it has no place in the format.
        DatasetError: A file cannot be written.
    """
    order = _columns(hand)
    objects = total = 0
    for name in dataset.objects():
        if not dataset.grasps_path(hand.name, name).is_file():
            continue
        progress(name)
        asset, grasps = dataset.asset(name), dataset.grasps(hand.name, name)
        folder = target.absolute() / OBJECTS / name
        _write_object(folder, asset)
        mesh_T_root = mesh_T_object(asset) @ grasps.object_T_palm @ _palm_T_root(hand, grasps.grasp)
        roots = np.array([_xyz_wxyz(pose) for pose in mesh_T_root]).reshape(-1, 7)
        joints = grasps.pregrasp, grasps.grasp, grasps.squeeze
        qpos = [np.concatenate([roots, q[:, order]], axis=1) for q in joints]
        place = {"obj_path": str(folder), "obj_scale": 1.0, "obj_pose": _xyz_wxyz(np.eye(4))}
        for row in range(len(grasps)):
            content = {**place, **{key: array[row] for key, array in zip(_POSTURES, qpos, strict=True)}}
            write_file(target / GRASPS / name / f"{row:05d}.npy", partial(_save, content))
        objects, total = objects + 1, total + len(grasps)
    if not total:
        raise FormatError(f"{dataset.root} holds no grasps of {hand.name!r}; make some with: dexgrasp-train make ...")
    return {"folder": str(target), "objects": objects, "grasps": total}


def _save(content: dict[str, Any], stream: IO[bytes]) -> None:
    np.save(stream, np.array(content, dtype=object))


def _columns(hand: HandModel) -> list[int]:
    """Of each joint of the files, its place among ours."""
    if hand.name not in _ORDERS:
        raise FormatError(f"DexGraspBench has no hand {hand.name!r}. Hands: {', '.join(_ORDERS)}.")
    return [hand.joint_names.index(joint) for joint in _ORDERS[hand.name]]


def _palm_T_root(hand: HandModel, joints: NDArray[np.float64]) -> NDArray[np.float64]:
    return ForwardKinematics(hand).frame_poses(torch.as_tensor(joints), FRAME).numpy()


def _pose(numbers: Any) -> NDArray[np.float64]:
    """4x4 pose of position and wxyz quaternion."""
    values = np.asarray(numbers, dtype=np.float64).ravel()
    return from_xyz_quat(values[[0, 1, 2, 4, 5, 6, 3]] if len(values) == 7 else values)


def _xyz_wxyz(A_T_B: NDArray[np.float64]) -> NDArray[np.float64]:
    return to_xyz_quat(A_T_B)[[0, 1, 2, 6, 3, 4, 5]]


def _mesh_of(source: Path, folder: str) -> Path | None:
    """The mesh of an object, where its folder is now."""
    for place in (Path(folder), source / folder, source / OBJECTS / Path(folder).name):
        found = sorted((place / "mesh").glob("*.obj"))
        if found:
            return next((path for path in found if path.stem == "simplified"), found[0])
    return None


def _write_object(folder: Path, asset: ObjectAsset) -> None:
    model, shift = asset.model, mesh_T_object(asset)
    _write_mesh(folder / "mesh" / "simplified.obj", model.mesh, shift)
    for number, part in enumerate(model.parts):
        _write_mesh(folder / "urdf" / "meshes" / f"convex_piece_{number:03d}.obj", part_mesh(part), shift)
    write_json(
        folder / "info" / "simplified.json",
        {
            "gravity_center": shift[:3, 3].tolist(),
            "obb": model.mesh.extents.tolist(),
            "scale": 1.0,
            "density": float(model.mass / model.mesh.volume),
            "mass": model.mass,
        },
    )


def _write_mesh(path: Path, mesh: trimesh.Trimesh, frame_T_mesh: NDArray[np.float64]) -> None:
    moved = mesh.copy()
    moved.apply_transform(frame_T_mesh)
    text = str(trimesh.exchange.obj.export_obj(moved, include_normals=False, digits=9))
    write_file(path, lambda stream: stream.write(text.encode()))
