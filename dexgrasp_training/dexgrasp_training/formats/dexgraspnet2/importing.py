"""DexGraspNet 2.0's release into a dataset: objects with their grasps first, then scene after scene.

The release stores a grasp in every scene where it is clear; here it is stored once with its object, and scenes refer to
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_common.transforms import invert
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dexgrasp_description import CameraIntrinsics, HandModel, load_hand
from dexgrasp_training.clutter.graspness import FLOOR, NO_SEED
from dexgrasp_training.clutter.view_files import SceneViews
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats.dexgraspnet2 import files
from dexgrasp_training.formats.dexgraspnet2.conventions import SURFACE_POINTS, VIEWS, Release, crop, hand_layout
from dexgrasp_training.formats.dexgraspnet2.gathered import Gathered, Origins
from dexgrasp_training.formats.dexgraspnet2.planning import (
    ObjectEntry,
    SceneEntry,
    cameras,
    check_hand,
    plan_import,
    scene_entry,
)
from dexgrasp_training.formats.dexgraspnet2.shapenet import SHAPENET, import_shapenet_scenes
from dexgrasp_training.formats.grasps import completed, store
from dexgrasp_training.formats.objects import add_mesh_object, mesh_T_object
from dexgrasp_training.scene_record import SceneRecord, load_clear_grasps, save_clear_grasps
from dexgrasp_training.storage import write_arrays
from dexgrasp_training.work import Outcome, Task

_ON_POINT = 2e-4  # a seed is one of the surface points, but for rounding [m]
_MESHES = ("nontextured.ply", "nontextured_simplified.ply", "simplified.obj")  # the first that is there


def import_dexgraspnet2(
    source: Path,
    dataset: Dataset,
    hand: HandModel,
    run: Callable[[Sequence[Task], str], list[Outcome]],
    scenes: Iterable[int] | None = None,
) -> dict[str, Any]:
    """Bring scenes, views, grasps and graspness of a release into a dataset.

    What is already there is not made again, so an import that was stopped goes on, and one of more scenes adds to it.

    Args:
        source: The folder that the archives were unpacked in.
        dataset: Where to.
        hand: Whose grasps.
        run: Spreads tasks over workers under a title (`work.spread`).
        scenes: Their numbers; None: all that are there, and the test scenes of ShapeNet objects, if these are.

    Returns:
        `objects`, `scenes`, `views`, `views_without_graspness`, `grasps` (after those of several scenes were made
        one), `references` (from scenes to them), `failed` (what could not be read, and why).

    Raises:
        FormatError: This is no release.
        DatasetError: The dataset cannot be written.
    """
    plan = plan_import(Release.open(source), scenes)
    check_hand(plan, hand)
    place, root = str(plan.release.root), str(dataset.root)
    objects = [Task(item.name, import_object, (place, root, hand.name, item)) for item in plan.objects.values()]
    outcomes = run(objects, "objects and their grasps")
    failed = plan.failed | {outcome.task: outcome.error for outcome in outcomes if outcome.error}
    names = {item.id: item.name for item in plan.objects.values()}
    tasks = []
    for entry in plan.scenes.values():
        lost = [names[number] for number in entry.objects if names[number] in failed]
        if lost:
            failed[entry.name] = f"It needs {', '.join(lost)}, which could not be imported."
        else:
            tasks.append(Task(entry.name, import_scene, (place, root, hand.name, entry, names)))
    outcomes += run(tasks, "scenes")
    failed |= {outcome.task: outcome.error for outcome in outcomes if outcome.error}
    totals: Counter[str] = Counter()
    for outcome in outcomes:
        totals.update(outcome.summary)
    if scenes is None and (plan.release.root / SHAPENET).is_dir():
        more = import_shapenet_scenes(source, dataset, run)
        failed |= more.pop("failed")
        totals.update(more)
    keys = ("objects", "scenes", "views", "views_without_graspness", "grasps", "references")
    return {**{key: totals[key] for key in keys}, "failed": failed}


def import_object(release_root: str, root: str, hand_name: str, entry: ObjectEntry) -> dict[str, int]:
    """Make an object from its mesh, and gather its grasps from all its scenes.

    Raises:
        FormatError: A file of it is missing or damaged.
        MeshError: Its mesh is no solid.
    """
    release, dataset, hand = Release(Path(release_root)), Dataset(Path(root)), load_hand(hand_name)
    if not dataset.object_path(entry.name).is_file():
        folder = release.mesh(entry.id)
        mesh = next((folder / name for name in _MESHES if (folder / name).is_file()), None)
        if mesh is None:
            raise FormatError(f"{folder} has none of {', '.join(_MESHES)}: unpack meshdata.tar.gz beside `scenes`.")
        surface = folder / f"surface_points_{SURFACE_POINTS}.npy"
        points = files.read_array(surface, (SURFACE_POINTS, 3)) if surface.is_file() else None
        add_mesh_object(root, entry.name, str(mesh), 1.0, entry.split, points)
    origins = Origins.load(dataset, hand, entry.name)
    order = [*origins.rows, *(number for number in entry.scenes if number not in origins.rows)]
    if len(order) == len(origins.rows) and dataset.grasps_path(hand.name, entry.name).is_file():
        return {"objects": 1, "grasps": len(origins.seeds)}
    asset = dataset.asset(entry.name)
    surface = cKDTree(asset.points[:SURFACE_POINTS])
    object_T_mesh = invert(mesh_T_object(asset))
    gathered = Gathered(len(hand.joint_names))
    rows = {}
    # Scenes that were imported before come first: what refers to their rows stays right.
    for number in order:
        object_T_palm, joints, points = _scene_grasps(release, hand, number, entry.id, object_T_mesh)
        off, seeds = surface.query(points)
        told = np.where(off < _ON_POINT, seeds, NO_SEED).astype(np.int32)
        rows[number] = gathered.add(object_T_palm, joints, told)
    object_T_palm, joints, seeds = gathered.all()
    store(dataset, completed(hand, entry.name, object_T_palm, joints))
    Origins(seeds, rows).save(dataset, hand, entry.name)
    return {"objects": 1, "grasps": len(joints)}


def import_scene(
    release_root: str, root: str, hand_name: str, entry: SceneEntry, names: dict[int, str]
) -> dict[str, int]:
    """Write one scene's record, its clear grasps, its views and their graspness.

    Raises:
        FormatError: A file of it is damaged, or its graspness is of other images.
    """
    release, dataset, hand = Release(Path(release_root)), Dataset(Path(root)), load_hand(hand_name)
    objects = tuple(names[number] for number in entry.objects)
    clear = dataset.clear_grasps_path(entry.name, hand.name)
    if not (dataset.scene_path(entry.name).is_file() and clear.is_file()):
        views = _import_views(release, dataset, hand, entry)
        rows = [Origins.load(dataset, hand, name).rows[entry.number] for name in objects]
        table_T_camera0, _ = cameras(release, entry.number)
        poses = [mesh_T_object(dataset.asset(name)) for name in objects]
        world_T_object = table_T_camera0 @ entry.camera0_T_mesh @ np.array(poses).reshape(-1, 4, 4)
        save_clear_grasps(clear, rows)
        # Last: a scene that is there is whole.
        SceneRecord(entry.name, entry.kind, entry.split, objects, world_T_object, entry.parent).save(
            dataset.scene_path(entry.name)
        )
        return {"scenes": 1, "references": sum(map(len, rows)), **views}
    return {"scenes": 1, "references": sum(map(len, load_clear_grasps(clear)))}


def _scene_grasps(
    release: Release, hand: HandModel, number: int, object_id: int, object_T_mesh: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float64]]:
    """`object_T_palm` (N, 4, 4), joints (N, D) in the hand's order, and seeds (N, 3) of an object in a scene."""
    path = release.grasps(number, hand_layout(hand).folder) / f"{object_id:03d}.npz"
    if not path.is_file():
        return np.zeros((0, 4, 4)), np.zeros((0, len(hand.joint_names)), np.float32), np.zeros((0, 3))
    camera0_T_palm, joints, camera0_p = files.read_grasps(path, hand.joint_names)
    entry = scene_entry(release, number, {})
    object_T_camera0 = object_T_mesh @ invert(entry.camera0_T_mesh[entry.objects.index(object_id)])
    object_p = camera0_p @ object_T_camera0[:3, :3].T + object_T_camera0[:3, 3]
    return object_T_camera0 @ camera0_T_palm, joints, object_p


def _import_views(release: Release, dataset: Dataset, hand: HandModel, entry: SceneEntry) -> dict[str, int]:
    number = entry.number
    views = [view for view in range(VIEWS) if release.depth(number, view).is_file()]
    views = [view for view in views if release.label(number, view).is_file() and release.meta(number, view).is_file()]
    if not views:
        raise FormatError(
            f"{release.scene(number)} has no view with depth_gt, label_gt and meta: unpack scenes_*.tar.gz again."
        )
    table_T_camera0, camera0_T_camera = cameras(release, number)
    index = np.zeros(256, np.uint8)
    index[np.array(entry.objects, dtype=int) + 1] = np.arange(1, len(entry.objects) + 1)
    first = files.read_meta(release.meta(number, views[0]))
    height, width = files.read_image(release.depth(number, views[0]), np.uint16).shape
    k = first.matrix
    intrinsics = CameraIntrinsics(width, height, k[0, 0], k[1, 1], k[0, 2], k[1, 2])
    world_T_camera = table_T_camera0 @ camera0_T_camera[views]
    ours = SceneViews(dataset.views_path(entry.name), np.array(views), world_T_camera, intrinsics)
    scores: dict[str, NDArray[np.float16]] = {}
    for view in views:
        depth = files.read_image(release.depth(number, view), np.uint16)
        labels = files.read_image(release.label(number, view), np.uint8)
        meta = files.read_meta(release.meta(number, view))
        if not depth.shape == labels.shape == (height, width) or not np.array_equal(meta.matrix, k):
            raise FormatError(
                f"View {view:04d} of {release.scene(number)} has another size or other intrinsics than view "
                f"{views[0]:04d}; all views of a scene are of one camera."
            )
        unknown = set(np.unique(labels)) - {0, *(object_id + 1 for object_id in entry.objects)}
        if unknown:
            raise FormatError(
                f"{release.label(number, view)} shows object {min(unknown) - 1:03d}, which the annotation lacks."
            )
        ids = index[labels]
        votes = release.graspness(number, view)
        if votes.is_file():
            table_T_camera = np.dot(table_T_camera0, camera0_T_camera[view])
            mask = crop(depth, labels, meta.matrix, meta.factor, table_T_camera)
            scores[str(view)] = _pixel_scores(votes, mask, ids)
        ours.write(view, (depth / meta.factor).astype(np.float32), ids)
    if scores:  # views that the release has no votes for have none here, and count for nothing in training
        write_arrays(dataset.labels_path(entry.name, hand.name), scores)
    ours.save()
    return {"views": len(views), "views_without_graspness": len(views) - len(scores)}


def _pixel_scores(path: Path, mask: NDArray[np.bool_], ids: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Score of each pixel of an object, in raster order, from the votes of the cropped pixels."""
    votes = files.read_array(path, (None, 1))[:, 0]
    if len(votes) != mask.sum():
        raise FormatError(
            f"{path} has votes for {len(votes)} pixels, and the crop of its view has {mask.sum()}: these are not the "
            "depth and label images that it was made from (depth_gt and label_gt of the same release)."
        )
    if not (np.isfinite(votes).all() and (votes >= 0).all()):
        raise FormatError(f"{path} holds votes that are negative or not finite. Unpack dex_graspness_new.tar.gz again.")
    image = np.zeros(mask.shape)
    image[mask] = votes
    return np.log(FLOOR + image[ids > 0]).astype(np.float16)
