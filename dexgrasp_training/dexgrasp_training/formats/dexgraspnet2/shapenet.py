"""The release's test scenes of ShapeNet objects: poses in pickled dicts, images at a quarter of the size.

They are seen by the cameras of scene 0000 and have no grasps. Which object a label stands for is not told by the
release; it is found by whose surface the labelled pixels lie on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from dexgrasp_common.transforms import from_xyz_quat, invert
from dexgrasp_perception.cloud import deproject
from numpy.typing import NDArray

from dexgrasp_description import CameraIntrinsics
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.clutter.view_files import SceneViews
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import FormatError
from dexgrasp_training.formats.dexgraspnet2 import files
from dexgrasp_training.formats.dexgraspnet2.conventions import CAMERA, FACTOR_DEPTH, VIEWS, Release
from dexgrasp_training.formats.dexgraspnet2.planning import cameras
from dexgrasp_training.formats.objects import add_mesh_object, file_name, mesh_T_object
from dexgrasp_training.formats.pickles import read_pickled_array
from dexgrasp_training.scene_record import KINDS, Kind, SceneRecord
from dexgrasp_training.work import Outcome, Task

SHAPENET = "acronym_test_scenes"  # their folder

_SCALE = 0.25  # of the images
_TABLE = 0.05  # height of the table in these files [m]
_OFF_SURFACE = 0.01  # a label whose median pixel is farther from every object stands for none of them [m]
_LOOKED_AT = 400  # pixels of a label


def import_shapenet_scenes(
    source: Path,
    dataset: Dataset,
    run: Callable[[Sequence[Task], str], list[Outcome]],
    scenes: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Bring the test scenes of `acronym_test_scenes` into a dataset: objects, poses, views.

    Args:
        source: The folder that the archives were unpacked in, with `scenes/scene_0000` among them.
        dataset: Where to.
        run: Spreads tasks over workers under a title (`work.spread`).
        scenes: As in the file names, `scene_dense_0`; None: all that are there.

    Returns:
        `objects`, `scenes`, `views`, `failed` (what could not be read, and why).

    Raises:
        FormatError: A scene that was asked for is not there.
        DatasetError: The dataset cannot be written.
    """
    release = Release.open(source)
    there = {path.stem: path for kind in KINDS for path in _folder(release, kind).glob(f"scene_{kind}_*.npz")}
    wanted = sorted(there if scenes is None else set(scenes))
    missing = [name for name in wanted if name not in there]
    if missing or not wanted:
        raise FormatError(
            f"{release.root / 'acronym_test_scenes'} has no {', '.join(missing[:8]) or 'scenes'}: unpack "
            "acronym_test_scenes.tar.gz there."
        )
    failed: dict[str, str] = {}
    poses: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name in wanted:
        try:
            poses[name] = read_poses(there[name])
        except FormatError as error:
            failed[name] = str(error)
    root = str(dataset.root)
    models = release.root / "acronym" / "meshes" / "models"
    codes = sorted({code for standing in poses.values() for code in standing})
    tasks = [
        Task(_name(code), add_mesh_object, (root, _name(code), str(models / code / "scaled.obj"), 1.0, "test"))
        for code in codes
        if not dataset.object_path(_name(code)).is_file()
    ]
    outcomes = run(tasks, "objects")
    failed |= {outcome.task: outcome.error for outcome in outcomes if outcome.error}
    tasks = []
    for name, standing in poses.items():
        lost = [_name(code) for code in standing if _name(code) in failed]
        if lost:
            failed[name] = f"It needs {', '.join(lost)}, which could not be imported."
        else:
            tasks.append(Task(name, import_shapenet_scene, (str(release.root), root, name, standing)))
    outcomes = run(tasks, "scenes")
    failed |= {outcome.task: outcome.error for outcome in outcomes if outcome.error}
    totals: Counter[str] = Counter()
    for outcome in outcomes:
        totals.update(outcome.summary)
    made = sum(dataset.object_path(_name(code)).is_file() for code in codes)
    return {"objects": made, "scenes": totals["scenes"], "views": totals["views"], "failed": failed}


def read_poses(path: Path) -> dict[str, NDArray[np.float64]]:
    """`world_T_mesh` (4, 4) of each object of a scene, by its code; the table top is at z = 0.

    Raises:
        FormatError: The file is damaged, would run code, or holds something else.
    """
    content = read_pickled_array(path)
    try:
        poses = {}
        for code, pose in content.items():
            position = np.asarray(pose["rest_pose_trans"], dtype=np.float64).reshape(3) - [0.0, 0.0, _TABLE]
            xyzw = np.asarray(pose["rest_pose_quat"], dtype=np.float64).reshape(4)
            poses[str(code)] = from_xyz_quat(np.concatenate([position, xyzw]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path} must hold a dict of objects with rest_pose_trans (3) and rest_pose_quat (xyzw) each ({error})."
        ) from error
    return poses


def import_shapenet_scene(
    release_root: str, root: str, name: str, world_T_mesh: dict[str, NDArray[np.float64]]
) -> dict[str, int]:
    """Write one scene's views and record.

    Raises:
        FormatError: A file is missing or damaged, or an image shows none of the scene's objects.
    """
    release, dataset = Release(Path(release_root)), Dataset(Path(root))
    kind, number = _parsed(name)
    ours = f"{kind}_test_shapenet{number:04d}"
    if dataset.scene_path(ours).is_file():
        return {"scenes": 1, "views": len(SceneViews.load(dataset.views_path(ours)).numbers)}
    assets = [dataset.asset(_name(code)) for code in world_T_mesh]
    world_T_object = np.array(
        [pose @ mesh_T_object(asset) for pose, asset in zip(world_T_mesh.values(), assets, strict=True)]
    ).reshape(-1, 4, 4)
    views, intrinsics = _views(release, kind, name)
    table_T_camera0, camera0_T_camera = cameras(release, 0)
    written = SceneViews(
        dataset.views_path(ours), np.array(views), table_T_camera0 @ camera0_T_camera[views], intrinsics
    )
    for row, view in enumerate(views):
        depth_path, label_path = _images(release, kind, name, view)
        depth, labels = files.read_image(depth_path, np.uint16), files.read_image(label_path, np.uint8)
        if not depth.shape == labels.shape == (intrinsics.height, intrinsics.width):
            raise FormatError(f"{depth_path} or {label_path} has another size than the scene's first view.")
        metres = depth / FACTOR_DEPTH
        world_p = _deprojected(metres, intrinsics, written.world_T_camera[row])
        written.write(view, metres.astype(np.float32), _owners(labels, world_p, world_T_object, assets, label_path))
    written.save()
    SceneRecord(ours, kind, "test", tuple(asset.name for asset in assets), world_T_object).save(
        dataset.scene_path(ours)
    )
    return {"scenes": 1, "views": len(views)}


def _folder(release: Release, kind: Kind) -> Path:
    return release.root / SHAPENET / f"test_acronym_{kind}"


def _images(release: Release, kind: Kind, name: str, view: int) -> tuple[Path, Path]:
    above = release.root / SHAPENET
    depth, label = (above / f"test_acronym_{kind}_{image}_gt" / CAMERA / name for image in ("depth", "label"))
    return depth / f"{view:04d}.png", label / f"{view:04d}.png"


def _parsed(name: str) -> tuple[Kind, int]:
    found = re.fullmatch(r"scene_(dense|random|loose)_(\d+)", name)
    if not found:
        raise FormatError(f"{name!r} is no name of a test scene, as scene_dense_0 is.")
    return cast(Kind, found[1]), int(found[2])


def _name(code: str) -> str:
    return file_name(f"shapenet_{code}")


def _views(release: Release, kind: Kind, name: str) -> tuple[list[int], CameraIntrinsics]:
    """Views that have both images, and the intrinsics of scene 0000 at their size."""
    views = [view for view in range(VIEWS) if all(path.is_file() for path in _images(release, kind, name, view))]
    if not views:
        raise FormatError(
            f"{_images(release, kind, name, 0)[0].parent} has no images: unpack acronym_test_scenes.tar.gz again."
        )
    metas = release.meta(0, 0).parent
    first = min(metas.glob("*.mat"), default=release.meta(0, 0))
    matrix = files.read_meta(first).matrix * _SCALE
    height, width = files.read_image(_images(release, kind, name, views[0])[0], np.uint16).shape
    return views, CameraIntrinsics(width, height, matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])


def _deprojected(
    metres: NDArray[np.float64], intrinsics: CameraIntrinsics, world_T_camera: NDArray[np.float64]
) -> NDArray[np.float64]:
    camera_p = deproject(metres, intrinsics, np.float64)
    world_p: NDArray[np.float64] = camera_p @ world_T_camera[:3, :3].T + world_T_camera[:3, 3]
    return world_p


def _owners(
    labels: NDArray[np.uint8],
    world_p: NDArray[np.float64],
    world_T_object: NDArray[np.float64],
    assets: list[ObjectAsset],
    path: Path,
) -> NDArray[np.uint8]:
    """Ids (H, W), one plus the object's index: each label is the object on whose surface its pixels lie."""
    index = np.zeros(256, np.uint8)
    for label in np.unique(labels[labels > 0]):
        seen = world_p[labels == label]
        seen = seen[np.isfinite(seen).all(axis=1)]
        if not len(seen):
            continue
        seen = seen[:: max(1, len(seen) // _LOOKED_AT)]
        off = []
        for world_T_object_i, asset in zip(world_T_object, assets, strict=True):
            object_T_world = invert(world_T_object_i)
            object_p = seen @ object_T_world[:3, :3].T + object_T_world[:3, 3]
            off.append(float(np.median(np.abs(asset.field.distance(object_p)))))
        nearest = int(np.argmin(off))
        if off[nearest] > _OFF_SURFACE:
            raise FormatError(
                f"{path}: the pixels with label {label} lie {100 * off[nearest]:.1f} cm off every object of the scene; "
                "are images, poses and scene_0000 of one release?"
            )
        index[label] = nearest + 1
    return index[labels]
