"""A dataset in the layout of DexGraspNet 2.0's release, so that the authors' code trains on it.

Written are `scenes`, `dex_grasps_new`, `dex_graspness_new` and `meshdata`, and beside them `names.json`, which their
code does not read: what our objects and scenes are called.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from dexgrasp_common.transforms import invert
from dexgrasp_sim.objects import part_mesh
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_hand
from dexgrasp_training.assets import Split
from dexgrasp_training.clutter.graspness import FLOOR, NO_SEED, VARIANTS, seed_points
from dexgrasp_training.clutter.view_files import SceneViews, cameras_path
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats.dexgraspnet2 import files
from dexgrasp_training.formats.dexgraspnet2.conventions import (
    FACTOR_DEPTH,
    NAMES,
    SURFACE_POINTS,
    VIEWS,
    Release,
    crop,
    hand_layout,
)
from dexgrasp_training.formats.dexgraspnet2.gathered import Origins
from dexgrasp_training.formats.dexgraspnet2.numbering import number_objects, number_scenes
from dexgrasp_training.formats.objects import mesh_T_object
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.scene_record import Kind, SceneRecord, load_clear_grasps
from dexgrasp_training.storage import read_arrays, write_file, write_json
from dexgrasp_training.work import Outcome, Task

_URDF = """<?xml version="1.0"?>
<robot name="object">
  <link name="object">
    <visual><geometry><mesh filename="simplified.obj"/></geometry></visual>
    <collision><geometry><mesh filename="simplified.obj"/></geometry></collision>
  </link>
</robot>
"""


@dataclass(frozen=True)
class ExportedObject:
    """An object in an export. One that stands in a scene twice is two: labels tell objects by their numbers.

    Attributes:
        asset: Our object.
        name: Its name; for a second copy with `_copy1` behind it.
        split: Ours.
    """

    asset: str
    name: str
    split: Split


@dataclass(frozen=True)
class ExportedScene:
    """A scene in an export.

    Attributes:
        name: Ours.
        kind: Ours.
        split: Ours.
        parent: Ours.
        objects: Numbers of its objects in the order of our record.
    """

    name: str
    kind: Kind
    split: Split
    parent: str
    objects: tuple[int, ...]


def export_dexgraspnet2(
    dataset: Dataset,
    target: Path,
    hand: HandModel,
    run: Callable[[Sequence[Task], str], list[Outcome]],
    scenes: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Write scenes with views in the release's layout.

    What is already there is not written again, so an export that was stopped goes on.

    Args:
        dataset: Where from.
        target: The folder to write, which will stand for their `data`.
        hand: Whose grasps and graspness.
        run: Spreads tasks over workers under a title (`work.spread`).
        scenes: Their names; None: all that have views.

    Returns:
        `objects`, `scenes`, `views`; of what this call wrote `grasps` and `without_seed` (grasps left out: nothing of
        the object lies in their cone, and the release has a seed for each); `numbers` (scene to number), `failed` (task
        to reason).

    Raises:
        FormatError: There are more objects than labels can tell apart, no views, or the target holds another export.
        DatasetError: The target cannot be written.
    """
    objects, numbered = _plan(dataset, scenes)
    target = target.expanduser().absolute()
    content = {
        "objects": {f"{number:03d}": asdict(item) for number, item in objects.items()},
        "scenes": {
            f"{number:04d}": {**asdict(item), "objects": list(item.objects)} for number, item in numbered.items()
        },
    }
    path = target / NAMES
    if path.is_file() and json.loads(path.read_text()) != content:
        raise FormatError(f"{target} holds an export of other scenes or objects; give an empty folder.")
    write_json(path, content)
    place, root = str(target), str(dataset.root)
    tasks = [Task(item.name, export_object, (root, place, number, item.asset)) for number, item in objects.items()]
    outcomes = run(tasks, "objects")
    tasks = [Task(item.name, export_scene, (root, place, hand.name, n, item)) for n, item in numbered.items()]
    outcomes += run(tasks, "scenes")
    totals: Counter[str] = Counter()
    for outcome in outcomes:
        totals.update(outcome.summary)
    return {
        **{key: totals[key] for key in ("objects", "scenes", "views", "grasps", "without_seed")},
        "numbers": {item.name: number for number, item in numbered.items()},
        "failed": {outcome.task: outcome.error for outcome in outcomes if outcome.error},
    }


def export_object(root: str, target: str, number: int, name: str) -> dict[str, int]:
    """Write an object's meshes and surface points, in the frame of the mesh that it was imported from, if it was.

    Raises:
        DatasetError: The object cannot be read, or a file cannot be written.
    """
    folder = Release(Path(target)).mesh(number)
    surface = folder / f"surface_points_{SURFACE_POINTS}.npy"
    if not surface.is_file():
        asset = Dataset(Path(root)).asset(name)
        frame = mesh_T_object(asset)
        mesh = asset.model.mesh.copy()
        mesh.apply_transform(frame)
        parts = [part_mesh(part) for part in asset.model.parts]
        pieces = trimesh.util.concatenate(parts)
        pieces.apply_transform(frame)
        for file, body in (
            ("nontextured.ply", mesh),
            ("nontextured_simplified.ply", mesh),
            ("simplified.obj", mesh),
            ("coacd/decomposed.obj", pieces),
        ):
            exported = body.export(None, file_type=file.rsplit(".", 1)[1])
            content = exported.encode() if isinstance(exported, str) else exported
            write_file(folder / file, lambda stream, content=content: stream.write(content))  # type: ignore[misc]
        write_file(folder / "nontextured_simplified.urdf", lambda stream: stream.write(_URDF.encode()))
        points = asset.points[:SURFACE_POINTS].astype(np.float64) + frame[:3, 3]
        files.write_array(surface, points)  # last: an object that has it is whole
    return {"objects": 1}


def export_scene(root: str, target: str, hand_name: str, number: int, scene: ExportedScene) -> dict[str, int]:
    """Write one scene: views, poses, grasps and graspness.

    Raises:
        DatasetError: Something of it cannot be read, or a file cannot be written.
    """
    release, dataset, hand = Release(Path(target)), Dataset(Path(root)), load_hand(hand_name)
    record, views = dataset.scene(scene.name), SceneViews.load(dataset.views_path(scene.name))
    done = release.scene(number) / "camera_poses.npy"
    if done.is_file():
        return {"scenes": 1, "views": len(views.numbers)}
    # Camera 0 is the frame of the grasps; where it was not rendered, the first that was stands for it.
    table_T_camera0 = views.world_T_camera[0]
    camera0_T_table = invert(table_T_camera0)
    camera0_T_camera = np.full((VIEWS, 4, 4), np.nan)
    camera0_T_camera[views.numbers] = camera0_T_table @ views.world_T_camera
    camera0_T_camera[views.numbers[0]] = np.eye(4)
    count, lost = _write_grasps(release, dataset, hand, number, scene, record, camera0_T_table)
    object_T_mesh = [invert(mesh_T_object(dataset.asset(name))) for name in record.objects]
    world_T_mesh = record.world_T_object @ np.array(object_T_mesh).reshape(-1, 4, 4)
    labels = dataset.labels_path(scene.name, hand.name)
    scores = read_arrays(labels) if labels.is_file() else {}
    for row, view in enumerate(views.numbers.tolist()):
        camera_T_mesh = invert(views.world_T_camera[row]) @ world_T_mesh
        # As their code puts it together: the crop depends on every bit.
        table_T_camera = np.dot(table_T_camera0, camera0_T_camera[view])
        _write_view(release, number, scene, views, view, camera_T_mesh, table_T_camera, scores.get(str(view)))
    files.write_array(release.scene(number) / "cam0_wrt_table.npy", table_T_camera0)
    files.write_array(release.scene(number) / "camK.npy", views.intrinsics.matrix)
    files.write_array(done, camera0_T_camera)  # last: a scene that has it is whole
    return {"scenes": 1, "views": len(views.numbers), "grasps": count, "without_seed": lost}


def _plan(dataset: Dataset, scenes: Iterable[str] | None) -> tuple[dict[int, ExportedObject], dict[int, ExportedScene]]:
    """Objects and scenes by the numbers that they get; those of an import keep theirs."""
    seen = {path.name for path in (dataset.root / "views").glob("*") if cameras_path(path).is_file()}
    wanted = sorted(seen if scenes is None else set(scenes))
    without = [name for name in wanted if name not in seen]
    if without or not wanted:
        raise FormatError(
            f"{dataset.root} has no views of {', '.join(without[:8]) or 'any scene'}; make them with: "
            "dexgrasp-train views ..."
        )
    records = [dataset.scene(name) for name in wanted]
    most: Counter[str] = Counter()
    for record in records:
        most |= Counter(record.objects)
    copies = [(name, copy) for name in sorted(most) for copy in range(most[name])]
    ids = number_objects(copies)
    splits = {name: dataset.asset(name).split for name in most}
    objects = {
        number: ExportedObject(name, f"{name}_copy{copy}" if copy else name, splits[name])
        for (name, copy), number in ids.items()
    }
    numbers = number_scenes(records)
    numbered = {}
    for record in records:
        met: Counter[str] = Counter()
        standing = []
        for name in record.objects:
            standing.append(ids[name, met[name]])
            met[name] += 1
        numbered[numbers[record.name]] = ExportedScene(
            record.name, record.kind, record.split, record.parent, tuple(standing)
        )
    return dict(sorted(objects.items())), dict(sorted(numbered.items()))


def _write_view(
    release: Release,
    number: int,
    scene: ExportedScene,
    views: SceneViews,
    view: int,
    camera_T_mesh: NDArray[np.float64],
    table_T_camera: NDArray[np.float64],
    scores: NDArray[np.float16] | None,
) -> None:
    matrix = views.intrinsics.matrix
    depth, ids = views.read(view)
    number_of = np.array([0, *(object_id + 1 for object_id in scene.objects)], dtype=np.uint8)
    millimetres = (depth // 10).astype(np.uint16)
    labels = np.where(millimetres > 0, number_of[ids], 0).astype(np.uint8)
    names = [f"{object_id:03d}.ply" for object_id in scene.objects]
    files.write_image(release.depth(number, view), millimetres)
    files.write_image(release.label(number, view), labels)
    files.write_meta(release.meta(number, view), scene.objects, camera_T_mesh, matrix)
    files.write_annotation(release.annotation(number, view), scene.objects, names, camera_T_mesh)
    if scores is not None:
        votes = np.zeros(depth.shape)
        votes[ids > 0] = _votes(scores)
        mask = crop(millimetres, labels, matrix, FACTOR_DEPTH, table_T_camera)
        files.write_array(release.graspness(number, view), votes[mask].astype(np.float32)[:, None])


def _write_grasps(
    release: Release,
    dataset: Dataset,
    hand: HandModel,
    number: int,
    scene: ExportedScene,
    record: SceneRecord,
    camera0_T_table: NDArray[np.float64],
) -> tuple[int, int]:
    """Grasps written, and grasps left out because no seed can be told."""
    clear = dataset.clear_grasps_path(scene.name, hand.name)
    if not clear.is_file():
        return 0, 0
    layout = hand_layout(hand)
    count, lost = 0, 0
    for object_id, name, world_T_object, rows in zip(
        scene.objects, record.objects, record.world_T_object, load_clear_grasps(clear), strict=True
    ):
        if not len(rows):
            continue
        grasps, points = dataset.grasps(hand.name, name)[rows], dataset.asset(name).points[:SURFACE_POINTS]
        seeds = _seeds(dataset, hand, name, grasps, rows, points)
        seeded = seeds != NO_SEED
        count, lost = count + int(seeded.sum()), lost + int((~seeded).sum())
        if not seeded.any():
            continue
        camera0_T_object = camera0_T_table @ world_T_object
        object_p = points[seeds[seeded]].astype(np.float64)
        files.write_grasps(
            release.grasps(number, layout.folder) / f"{object_id:03d}.npz",
            camera0_T_object @ grasps.object_T_palm[seeded],
            {joint: grasps.grasp[seeded, hand.joint_names.index(joint)] for joint in layout.joints},
            object_p @ camera0_T_object[:3, :3].T + camera0_T_object[:3, 3],
        )
    return count, lost


def _seeds(
    dataset: Dataset,
    hand: HandModel,
    name: str,
    grasps: ObjectGrasps,
    rows: NDArray[np.uint32],
    points: NDArray[np.float32],
) -> NDArray[np.int32]:
    """Indices (N,) of the surface points that grasps reach for: as they were imported, else by the votes' rule."""
    seeds = np.full(len(rows), NO_SEED, np.int32)
    known = Origins.load(dataset, hand, name).seeds
    if len(known):
        seeds = known[rows]
    unknown = np.flatnonzero(seeds == NO_SEED)
    seeds[unknown] = seed_points(hand, grasps[unknown], points, VARIANTS["code"])
    return seeds


def _votes(scores: NDArray[np.float16]) -> NDArray[np.float64]:
    """Sums of votes of stored scores: none where a score is that of no votes."""
    none = np.float16(np.log(FLOOR))
    return np.where(scores <= none, 0.0, np.exp(scores.astype(np.float64)) - FLOOR)
