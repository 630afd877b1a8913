"""The grasp files of DexGrasp Anything (Zhong et al., CVPR 2025): single objects, one list of grasps a file.

A grasp's palm is `y = R (x + t)`: the stored translation is in the hand's own axes, so that the rotation can be handed
to the object. Each entry has an object's name and, in some of the data sets, a scale by which its point cloud is
multiplied or divided. All clouds are in the frame of the object's mesh.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from dexgrasp_common.transforms import invert
from dexgrasp_description.errors import UnknownNameError
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_description.models import names as described
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import HandModel, load_hand
from dexgrasp_training.assets import Split
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats.grasps import completed, store
from dexgrasp_training.formats.objects import add_mesh_object, file_name, find_mesh, mesh_T_object
from dexgrasp_training.formats.pickles import read_pickle, read_torch
from dexgrasp_training.storage import write_file, write_json
from dexgrasp_training.work import Outcome, Task

Scaling = Literal["multiply", "divide", "none"]
Layout = Literal["dict", "tuple"]

CLOUDS = "object_pcds_nors.pkl"
SPLITS = "grasp.json"
SCALES = "scales.pkl"
CLOUD_POINTS = 10240

_IDENTITY_6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # the first two columns of the unit rotation
_OFF_MESH = 0.003  # a cloud with a tenth of its points farther from the mesh is of another frame or size [m]


@dataclass(frozen=True)
class HandFile:
    """How a hand is called in file names, the order of its joints there, and whose pose is stored.

    Attributes:
        token: Part of the file name.
        hand: Our name of the hand.
        joints: Our names of its joints, in the files' order.
        frame: Name of the hand's frame whose pose is stored; empty: the palm's.
    """

    token: str
    hand: str
    joints: tuple[str, ...]
    frame: str = ""

    def palm_T_frame(self, hand: HandModel, joints: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where that frame is: (N, 4, 4), for joints (N, D) in the hand's order."""
        if not self.frame:
            return np.tile(np.eye(4), (len(joints), 1, 1))
        return ForwardKinematics(hand).frame_poses(torch.as_tensor(joints), self.frame).numpy()


# The stored pose is that of the root link of their URDF: of the Shadow hand, the forearm before the two wrist joints.
# Another hand is called in files as it is called here, and has the joint order of its description.
_HANDS = (
    HandFile(
        "shadowhand",
        "shadow_right",
        ("rh_WRJ2", "rh_WRJ1")
        + tuple(f"rh_{finger}J{joint}" for finger in ("FF", "MF", "RF") for joint in (4, 3, 2, 1))
        + tuple(f"rh_{finger}J{joint}" for finger in ("LF", "TH") for joint in (5, 4, 3, 2, 1)),
        "dexgrasp_anything",
    ),
)

# What stands before the hand in a file's name, and what its data set's scale does to the object.
_SCALINGS: Mapping[str, Scaling] = {
    "": "none",  # MultiDex
    "dexgraspnet": "multiply",
    "unidexgrasp": "divide",
    "realdex": "divide",
    "DexGRAB": "none",
    "Grasp_anyting": "divide",  # sic
}


# What is held out of the data sets whose lists stand in the authors' loaders and not in a `grasp.json`.
_HELD_OUT: Mapping[str, frozenset[str]] = {
    "": frozenset(
        {
            "contactdb+apple",
            "contactdb+camera",
            "contactdb+cylinder_medium",
            "contactdb+door_knob",
            "contactdb+rubber_duck",
            "contactdb+water_bottle",
            "ycb+baseball",
            "ycb+pear",
            "ycb+potted_meat_can",
            "ycb+tomato_soup_can",
        }
    ),
    "DexGRAB": frozenset(
        {
            "camera",
            "coffeemug",
            "cubemiddle",
            "cylinderlarge",
            "cylindermedium",
            "duck",
            "eyeglasses",
            "gamecontroller",
            "pyramidmedium",
            "pyramidsmall",
            "rubberduck",
            "table",
            "torusmedium",
            "torussmall",
            "wristwatch",
        }
    ),
}


@dataclass(frozen=True, eq=False)
class GraspFile:
    """The grasps of a file, N in all.

    Attributes:
        hand: The hand.
        objects: Names of the objects, one for each grasp.
        scale: array (N,), by which an object's mesh is multiplied to be as large as when it was grasped.
        mesh_T_palm: array (N, 4, 4), in the frame of that scaled mesh [m].
        joints: array (N, D), in the hand's joint order [rad or m].
    """

    hand: HandModel
    objects: tuple[str, ...]
    scale: NDArray[np.float64]
    mesh_T_palm: NDArray[np.float64]
    joints: NDArray[np.float64]


def read_grasp_file(path: Path, scaling: Scaling | None = None) -> GraspFile:
    """Grasps of a `<data set>_<hand>[_downsample].pt`.

    Args:
        path: Its name tells the hand and the data set.
        scaling: What an entry's scale does to the object's cloud; None: as the data set has it.

    Raises:
        FormatError: The file is damaged, would run code, is of a hand that is not described, or is laid out otherwise.
    """
    prefix, layout = _parse_name(path)
    try:
        hand = load_hand(layout.hand)
    except UnknownNameError as error:
        raise FormatError(
            f"{path.name} holds grasps of the hand {layout.hand!r}, which is not described here. Hands: "
            f"{', '.join(described('hand'))}. A hand is described by a URDF and a data file in dexgrasp_description."
        ) from error
    order = _order(layout, hand, path)
    content = read_torch(path)
    entries = content.get("metadata") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise FormatError(f"{path} is no grasp file: it must hold a dict with `info` and a list `metadata`.")
    scaling = scaling or _SCALINGS.get(prefix)
    count, width = len(entries), len(layout.joints)
    rotation, translation = np.zeros((count, 3, 3)), np.zeros((count, 3))
    joints, scale, objects = np.zeros((count, width)), np.ones(count), []
    for row, entry in enumerate(entries):
        try:
            name, factor, rotation[row], translation[row], joints[row] = _entry(entry)
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            raise FormatError(
                f"{path}: grasp {row} is not as documented ({type(error).__name__}: {error}). Needed are rotations "
                f"(3, 3), translations (3,), joint_positions ({width},) and object_name, or a tuple of "
                f"({9 + width},) numbers, a matrix (3, 3) and the name."
            ) from error
        objects.append(name)
        scale[row] = _factor(factor, scaling, path, row)
    _check_rotations(rotation, path)
    mesh_T_frame = np.tile(np.eye(4), (count, 1, 1))
    mesh_T_frame[:, :3, :3] = rotation
    mesh_T_frame[:, :3, 3] = np.einsum("nij,nj->ni", rotation, translation)
    joints = joints[:, order]
    mesh_T_palm = mesh_T_frame @ invert(layout.palm_T_frame(hand, joints))
    return GraspFile(hand, tuple(objects), scale, mesh_T_palm, joints)


def read_clouds(path: Path) -> dict[str, NDArray[np.float64]]:
    """Clouds of an `object_pcds_nors.pkl`: name to array (P, 6), positions and normals, frame of the object's mesh.

    Raises:
        FormatError: The file is damaged, would run code, or holds something else.
    """
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise FormatError(f"{path} must hold a dict of clouds by object name; it holds a {type(content).__name__}.")
    clouds = {}
    for name, cloud in content.items():
        array = np.asarray(cloud, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != 6 or not np.isfinite(array).all():
            raise FormatError(f"{path}: the cloud of {name!r} must be finite numbers (P, 6); it is {array.shape}.")
        clouds[str(name)] = array
    return clouds


def import_dexgrasp_anything(
    path: Path,
    dataset: Dataset,
    meshes: Path,
    run: Callable[[Sequence[Task], str], list[Outcome]],
    scaling: Scaling | None = None,
) -> dict[str, Any]:
    """Bring a grasp file into a dataset: its objects, made from their meshes, and their grasps.

    An object that was grasped at several sizes becomes several objects. The open hand and the squeeze, which the files
    lack, are derived (`formats.grasps`). What is already there is not made again.

    Args:
        path: The `.pt` file. `object_pcds_nors.pkl` and `grasp.json` beside it, or in the folder above, are used where
            they are there: the clouds to check the meshes' frames, the other for the split. MultiDex and DexGRAB have
            no such file; of them is held out what the authors' loaders hold out.
        dataset: Where to.
        meshes: Folder with the objects' meshes, named as the objects are.
        run: Spreads tasks over workers under a title (`work.spread`).
        scaling: What an entry's scale does to the object's cloud; None: as the data set has it.

    Returns:
        `objects`, `grasps`, `failed` (object to reason).

    Raises:
        FormatError: The file, or one beside it, cannot be read.
        DatasetError: The dataset cannot be written.
    """
    file = read_grasp_file(path, scaling)
    clouds = _beside(path, CLOUDS)
    splits = _read_splits(path)
    groups = _groups(file)
    failed: dict[str, str] = {}
    tasks = []
    for name, rows in groups.items():
        source, scale = file.objects[rows[0]], float(file.scale[rows[0]])
        mesh = find_mesh(meshes, source)
        if mesh is None:
            failed[name] = f"{meshes} has no mesh named {source}."
        elif not dataset.object_path(name).is_file():
            tasks.append(Task(name, add_mesh_object, (str(dataset.root), name, str(mesh), scale, splits(source))))
    failed |= {outcome.task: outcome.error for outcome in run(tasks, "objects") if outcome.error}
    known = read_clouds(clouds) if clouds else {}
    total = 0
    for name, rows in groups.items():
        if name in failed:
            continue
        source, scale = file.objects[rows[0]], float(file.scale[rows[0]])
        reason = _misfit(dataset, name, known.get(source), scale)
        if reason:
            failed[name] = reason
            continue
        object_T_mesh = np.linalg.inv(mesh_T_object(dataset.asset(name)))
        object_T_palm = object_T_mesh @ file.mesh_T_palm[rows]
        if not dataset.grasps_path(file.hand.name, name).is_file():
            store(dataset, completed(file.hand, name, object_T_palm, file.joints[rows]))
        total += len(rows)
    return {"objects": len(groups) - len(failed), "grasps": total, "failed": failed}


def export_dexgrasp_anything(
    dataset: Dataset,
    target: Path,
    hand: HandModel,
    name: str = "dexgrasp",
    layout: Layout = "dict",
    progress: Callable[[str], object] = lambda name: None,
) -> dict[str, Any]:
    """Write a dataset's grasps as `<name>_<hand>_downsample.pt`, with the clouds, splits and scales that go with it.

    Objects are at their true size, so every scale is 1, and the frame is that of the mesh where an object was imported
    from one, else the object's own.

    Args:
        dataset: Where from.
        target: Folder to write to.
        hand: Whose grasps.
        name: Of the data set; empty for the bare file name that MultiDex has.
        layout: Of an entry: `tuple` is MultiDex's.
        progress: Called with each object's name.

    Returns:
        `file`, `objects`, `grasps`.

    Raises:
        FormatError: There are no grasps of that hand.
        DatasetError: A file cannot be written.
    """
    described_as = next((file for file in _HANDS if file.hand == hand.name), None)
    form = described_as or HandFile(hand.name, hand.name, hand.joint_names)
    order = [hand.joint_names.index(joint) for joint in form.joints]
    entries: list[Any] = []
    counts: dict[str, int] = {}
    clouds: dict[str, NDArray[np.float64]] = {}
    splits: dict[str, Split] = {}
    for object_name in dataset.objects():
        if not dataset.grasps_path(hand.name, object_name).is_file():
            continue
        progress(object_name)
        asset, grasps = dataset.asset(object_name), dataset.grasps(hand.name, object_name)
        mesh_T_palm = mesh_T_object(asset) @ grasps.object_T_palm
        mesh_T_frame = mesh_T_palm @ form.palm_T_frame(hand, grasps.grasp)
        entries += _entries(object_name, mesh_T_frame, grasps.grasp[:, order], layout)
        counts[object_name], splits[object_name] = len(grasps), asset.split
        shift = mesh_T_object(asset)[:3, 3]
        # Their sampler multiplies clouds with 64-bit rotations.
        clouds[object_name] = np.concatenate([asset.points + shift, asset.normals], axis=1, dtype=np.float64)
    if not entries:
        raise FormatError(f"{dataset.root} holds no grasps of {hand.name!r}; make some with: dexgrasp-train make ...")
    file = target / "_".join(part for part in (name, form.token, "downsample.pt") if part)
    content = {"info": {"num_per_object": counts}, "metadata": entries}
    memory = io.BytesIO()
    torch.save(content, memory)
    write_file(file, lambda stream: stream.write(memory.getbuffer()))
    write_file(target / CLOUDS, lambda stream: pickle.dump(clouds, stream, protocol=4))
    write_file(target / SCALES, lambda stream: pickle.dump(dict.fromkeys(clouds, 1.0), stream, protocol=4))
    of = {split: [key for key, value in splits.items() if value == split] for split in ("train", "test")}
    write_json(target / SPLITS, {"_train_split": of["train"], "_test_split": of["test"], "_all_split": list(splits)})
    return {"file": str(file), "objects": len(counts), "grasps": len(entries)}


def _parse_name(path: Path) -> tuple[str, HandFile]:
    """Data set and hand of a file's name."""
    stem = path.stem.removesuffix("_downsample")
    known = [*_HANDS]
    for hand in described("hand"):
        if hand not in {file.hand for file in _HANDS}:
            known.append(HandFile(hand, hand, load_hand(hand).joint_names))
    for file in known:
        if stem == file.token or stem.endswith(f"_{file.token}"):
            return stem[: -len(file.token)].rstrip("_"), file
    raise FormatError(
        f"{path.name} does not tell its hand: a file is named <data set>_<hand>_downsample.pt, with one of the hands "
        f"{', '.join(file.token for file in known)}."
    )


def _order(layout: HandFile, hand: HandModel, path: Path) -> list[int]:
    """Columns of the file in the order of the hand's joints."""
    if set(layout.joints) != set(hand.joint_names):
        raise FormatError(
            f"{path.name} has the joints {', '.join(layout.joints)}; {hand.name!r} has {', '.join(hand.joint_names)}."
        )
    return [layout.joints.index(joint) for joint in hand.joint_names]


def _entry(entry: Any) -> tuple[str, float | None, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Object, scale, rotation of the hand, translation in the hand's axes, and joints."""
    if isinstance(entry, dict):
        scale = entry.get("scale")
        return (
            str(entry["object_name"]),
            None if scale is None else float(scale),
            np.asarray(entry["rotations"], dtype=np.float64),
            np.asarray(entry["translations"], dtype=np.float64),
            np.asarray(entry["joint_positions"], dtype=np.float64),
        )
    q, object_rotation, name = entry
    q = np.asarray(q, dtype=np.float64)
    # Their loader turns the object by this matrix about a hand that is not turned, whatever q[3:9] says.
    return str(name), None, np.asarray(object_rotation, dtype=np.float64).T, q[:3], q[9:]


def _factor(scale: float | None, scaling: Scaling | None, path: Path, row: int) -> float:
    if scale is None or scaling == "none" or scale == 1.0:
        return 1.0
    if scaling is None:
        raise FormatError(
            f"{path.name} is not one of the known data sets ({', '.join(name or 'MultiDex' for name in _SCALINGS)}), "
            f"and grasp {row} has the scale {scale:g}. Say what it does to the object: multiply, divide or none."
        )
    if not (np.isfinite(scale) and scale > 0.0):
        raise FormatError(f"{path}: grasp {row} has the scale {scale}; it must be a positive number.")
    return scale if scaling == "multiply" else 1.0 / scale


def _check_rotations(rotation: NDArray[np.float64], path: Path) -> None:
    off = np.abs(rotation @ np.swapaxes(rotation, 1, 2) - np.eye(3)).max(axis=(1, 2), initial=0.0)
    wrong = np.flatnonzero(~(off < 1e-3) | ~(np.linalg.det(rotation) > 0.0))
    if len(wrong):
        raise FormatError(f"{path}: the rotation of grasp {wrong[0]} is none ({rotation[wrong[0]].tolist()}).")
    if len(rotation):
        rotation[:] = Rotation.from_matrix(rotation).as_matrix()


def _groups(file: GraspFile) -> dict[str, NDArray[np.intp]]:
    """Rows of each object at each of its sizes, by the name that it gets here."""
    keys: dict[tuple[str, float], list[int]] = {}
    for row, key in enumerate(zip(file.objects, np.round(file.scale, 6).tolist(), strict=True)):
        keys.setdefault(key, []).append(row)
    groups: dict[str, NDArray[np.intp]] = {}
    for (name, scale), rows in keys.items():
        ours = file_name(name if scale == 1.0 else f"{name}_x{scale:g}")
        if ours in groups:
            raise FormatError(
                f"Two objects would be called {ours!r} here, one of them {name!r}; rename one in the file."
            )
        groups[ours] = np.array(rows)
    return groups


def _beside(path: Path, name: str) -> Path | None:
    """A file that goes with a grasp file: beside it, or in the folder above, as in MultiDex."""
    return next((place for place in (path.parent / name, path.parent.parent / name) if place.is_file()), None)


def _read_splits(path: Path) -> Callable[[str], Split]:
    """Which split each object of a grasp file is of."""
    test = set(_HELD_OUT.get(_parse_name(path)[0], ()))
    lists = _beside(path, SPLITS)
    if lists:
        try:
            content = json.loads(lists.read_text())
            # Where an object stands in both lists, as in the authors' own data set, nothing was held out.
            test = set(content["_test_split"]) - set(content["_train_split"])
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{lists} must hold the lists _train_split and _test_split ({error}).") from error
    return lambda name: "test" if name in test else "train"


def _misfit(dataset: Dataset, name: str, cloud: NDArray[np.float64] | None, scale: float) -> str:
    """Why the cloud of an object cannot lie on its mesh; empty where it does."""
    if cloud is None:
        return ""
    asset = dataset.asset(name)
    object_p = cloud[:512, :3] * scale - mesh_T_object(asset)[:3, 3]
    off = float(np.quantile(np.abs(asset.field.distance(object_p)), 0.9))
    if off <= _OFF_MESH:
        return ""
    return f"its cloud in {CLOUDS} lies {1000 * off:.1f} mm off its mesh: is the mesh of another frame or unit?"


def _entries(name: str, mesh_T_frame: NDArray[np.float64], joints: NDArray[np.float64], layout: Layout) -> list[Any]:
    rotation = mesh_T_frame[:, :3, :3]
    translation = np.einsum("nji,nj->ni", rotation, mesh_T_frame[:, :3, 3])
    # Rows of one tensor each: torch.save keeps its numbers once, not in a file of its own for each grasp.
    if layout == "tuple":
        identity = np.tile(_IDENTITY_6D, (len(joints), 1))
        q = _single(np.concatenate([translation, identity, joints], axis=1))
        return [(row, turned, name) for row, turned in zip(q, _single(np.swapaxes(rotation, 1, 2)), strict=True)]
    columns = zip(_single(rotation), _single(joints), _single(translation), strict=True)
    return [
        {"rotations": r, "joint_positions": j, "translations": t, "object_name": name, "scale": 1.0}
        for r, j, t in columns
    ]


def _single(array: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
