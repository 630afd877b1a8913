"""A small release in DexGraspNet 2.0's layout, written from its description alone: nothing of the exporter is used."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import open3d as o3d
import scipy.io
import torch
import trimesh
from dexgrasp_common.transforms import look_at
from dexgrasp_description.kinematics import ForwardKinematics
from scipy.spatial.transform import Rotation

from dexgrasp_description import load_hand

WIDTH, HEIGHT = 160, 90
K = np.array([[115.9, 0.0, 81.4], [0.0, 115.92, 43.7], [0.0, 0.0, 1.0]])
FILE_JOINTS = ["j1", "j0", "j2", "j3", "j5", "j4", "j6", "j7", "j9", "j8", "j10", "j11", "j12", "j13", "j14", "j15"]
PALM_CENTRE = np.array([-0.048595, -0.037107, -0.011722])  # of the palm's collision box
# Meshes whose origin is not their centre of mass.
OFFSETS = {7: np.array([0.02, -0.03, 0.05]), 41: np.array([-0.01, 0.0, 0.03])}


@dataclass
class WrittenScene:
    """What was written of a scene.

    Attributes:
        camera_poses: (256, 4, 4), camera v in camera 0.
        cam0_wrt_table: (4, 4).
        camera0_T_mesh: Object number to the pose in its annotation of view 0.
        grasps: Object number to the arrays of its file.
        depth: View to image [mm].
        label: View to image.
        votes: View to the numbers of its file.
        crop: View to the mask that these belong to.
    """

    camera_poses: np.ndarray
    cam0_wrt_table: np.ndarray
    camera0_T_mesh: dict[int, np.ndarray]
    grasps: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)
    depth: dict[int, np.ndarray] = field(default_factory=dict)
    label: dict[int, np.ndarray] = field(default_factory=dict)
    votes: dict[int, np.ndarray] = field(default_factory=dict)
    crop: dict[int, np.ndarray] = field(default_factory=dict)


def mesh_of(object_id: int) -> trimesh.Trimesh:
    """The object in its file's frame [m]."""
    if object_id == 7:
        mesh = trimesh.creation.box(extents=(0.06, 0.08, 0.05))
    else:
        mesh = trimesh.creation.cylinder(radius=0.03, height=0.09, sections=40)
    mesh.apply_translation(OFFSETS[object_id])
    return mesh


def write_meshes(root: Path, object_id: int, seed: int = 0) -> np.ndarray:
    """`meshdata/OOO`; returns its surface points (1000, 3)."""
    folder = root / "meshdata" / f"{object_id:03d}"
    folder.mkdir(parents=True)
    mesh = mesh_of(object_id)
    mesh.export(folder / "nontextured.ply")
    points = trimesh.sample.sample_surface(mesh, 1000, seed=seed)[0]
    np.save(folder / "surface_points_1000.npy", points)
    return points


def write_scene(
    root: Path,
    number: int,
    standing: dict[int, np.ndarray],
    views: list[int],
    voted: list[int],
    seed: int,
) -> WrittenScene:
    """`scenes` and `dex_graspness_new` of a scene; `standing` has the pose of each object's mesh on the table."""
    rng = np.random.default_rng(seed)
    folder = root / "scenes" / f"scene_{number:04d}" / "realsense"
    for kind in ("depth_gt", "label_gt", "meta", "annotations"):
        (folder / kind).mkdir(parents=True)
    table_T_camera = []
    for _ in range(256):
        angle, tilt, distance = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(12, 50)), rng.uniform(0.46, 0.52)
        back = np.array([np.sin(tilt) * np.cos(angle), np.sin(tilt) * np.sin(angle), np.cos(tilt)])
        table_T_camera.append(look_at(distance * back, np.zeros(3)))
    cam0_wrt_table = table_T_camera[0]
    camera_poses = np.array([np.linalg.inv(cam0_wrt_table) @ pose for pose in table_T_camera])
    camera_poses[0] = np.eye(4)
    np.save(folder / "camera_poses.npy", camera_poses)
    np.save(folder / "cam0_wrt_table.npy", cam0_wrt_table)
    np.save(folder / "camK.npy", K)
    written = WrittenScene(camera_poses, cam0_wrt_table, {})
    for view in sorted({0, *views}):
        camera_T_table = np.linalg.inv(cam0_wrt_table @ camera_poses[view])
        poses = {number_: _write_rounded(camera_T_table @ pose) for number_, pose in standing.items()}
        lines = ["<scene>"]
        for object_id, (text, _) in poses.items():
            position, orientation = text
            lines += [
                f"    <obj>\n        <obj_id>{object_id}</obj_id>\n        <obj_name>{object_id:03d}.ply</obj_name>",
                f"        <obj_path>models/{object_id:03d}.ply</obj_path>",
                f"        <pos_in_world>{position}</pos_in_world>\n        <ori_in_world>{orientation}</ori_in_world>",
                "    </obj>",
            ]
        (folder / "annotations" / f"{view:04d}.xml").write_text("\n".join([*lines, "</scene>"]))
        camera_T_mesh = {object_id: pose for object_id, (_, pose) in poses.items()}
        if view == 0:
            written.camera0_T_mesh = camera_T_mesh
        if view not in views:
            continue
        meta = {
            "poses": np.stack([pose[:3] for pose in camera_T_mesh.values()], axis=2).astype(np.float32),
            "cls_indexes": np.array([list(camera_T_mesh)], dtype=np.int32) + 1,
            "intrinsic_matrix": K,
            "factor_depth": np.array([[1000]]),
        }
        scipy.io.savemat(folder / "meta" / f"{view:04d}.mat", meta)
        depth, label = rendered(camera_T_mesh, camera_T_table)
        cv2.imwrite(str(folder / "depth_gt" / f"{view:04d}.png"), depth.astype(np.uint16))
        cv2.imwrite(str(folder / "label_gt" / f"{view:04d}.png"), label.astype(np.uint8))
        written.depth[view], written.label[view] = depth, label
        if view in voted:
            crop = crop_by_hand(depth, label, cam0_wrt_table @ camera_poses[view])
            votes = np.where(label > 0, rng.gamma(0.5, 20.0, label.shape), 0.0)
            votes[rng.random(label.shape) < 0.2] = 0.0
            raw = votes[crop].astype(np.float32)[:, None]
            place = root / "dex_graspness_new" / f"scene_{number:04d}" / "realsense"
            place.mkdir(parents=True, exist_ok=True)
            np.save(place / f"{view:04d}.npy", raw)
            written.votes[view], written.crop[view] = raw, crop
    return written


def write_grasps(
    root: Path, number: int, object_id: int, scene: WrittenScene, grasps: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """`dex_grasps_new` of an object in a scene, from grasps in the frame of its mesh."""
    pose = scene.camera0_T_mesh[object_id]
    arrays = {
        "translation": grasps["translation"] @ pose[:3, :3].T + pose[:3, 3],
        "rotation": pose[:3, :3] @ grasps["rotation"],
        **{name: grasps[name] for name in FILE_JOINTS},
        "point": grasps["point"] @ pose[:3, :3].T + pose[:3, 3],
    }
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    folder = root / "dex_grasps_new" / f"scene_{number:04d}" / "leap_hand"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{object_id:03d}.npz", **arrays)
    scene.grasps[object_id] = arrays
    return arrays


def grasps_on(object_id: int, points: np.ndarray, count: int, seed: int) -> dict[str, np.ndarray]:
    """Grasps in the frame of the mesh that point at it from all sides, each with its seed among `points`."""
    rng = np.random.default_rng(seed)
    hand = load_hand("leap_right")
    joints = np.clip(hand.home + rng.normal(scale=0.15, size=(count, 16)), hand.lower, hand.upper).astype(np.float32)
    links = ForwardKinematics(hand).link_poses(torch.from_numpy(joints.astype(np.float64)))
    # Centres of the tip boxes of thumb and middle finger in their links, from the hand's table.
    tips = [
        links[link].numpy()[:, :3, :3] @ np.array(centre) + links[link].numpy()[:, :3, 3]
        for link, centre in (
            ("thumb_fingertip", (-0.000799, -0.0461, -0.0143)),
            ("fingertip_2", (-0.000799, -0.034816, 0.0145)),
        )
    ]
    axis = (tips[0] + tips[1]) / 2 - PALM_CENTRE
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    rotation = Rotation.random(count, rng=rng).as_matrix()
    towards = np.einsum("nij,nj->ni", rotation, axis)
    # The cone's apex 12 cm before the object's middle.
    apex = OFFSETS[object_id] + rng.normal(scale=0.008, size=(count, 3)) - 0.12 * towards
    translation = apex - rotation @ PALM_CENTRE
    columns = {name: joints[:, int(name[1:])] for name in FILE_JOINTS}
    seeds = np.array([_seed(points, apex[n], towards[n]) for n in range(count)])
    return {"translation": translation, "rotation": rotation, **columns, "point": points[seeds]}


def subset(grasps: dict[str, np.ndarray], rows: list[int]) -> dict[str, np.ndarray]:
    """Some of the grasps."""
    return {name: array[rows] for name, array in grasps.items()}


def crop_by_hand(depth: np.ndarray, label: np.ndarray, table_T_camera: np.ndarray) -> np.ndarray:
    """The crop as it is described: the labelled points' box in the table frame, 2 cm wider, strictly inside."""
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    z = depth / 1000.0
    camera_p = np.stack([(u - K[0, 2]) * z / K[0, 0], (v - K[1, 2]) * z / K[1, 1], z, np.ones_like(z)], axis=-1)
    table_p = np.einsum("ab,hwb->hwa", table_T_camera, camera_p)[..., :3]
    low, high = table_p[label > 0].min(axis=0), table_p[label > 0].max(axis=0)
    return ((table_p > low - 0.02) & (table_p < high + 0.02)).all(axis=-1) & (depth > 0)


def _seed(points: np.ndarray, apex: np.ndarray, axis: np.ndarray) -> int:
    """Section 2.6 of the description: in a cone of 30 degrees, at most 2 cm deep, the largest weight."""
    arm = points - apex
    height = arm @ axis
    angle = np.degrees(np.arccos(np.clip(height / np.linalg.norm(arm, axis=1), -1.0, 1.0)))
    inside = (height > 0) & (angle < 30.0)
    first = height[inside].min()
    inside &= height - first < 0.02
    weight = np.exp(-np.log(2) / 10 * angle - np.log(2) / 0.015 * (height - first))
    return int(np.where(inside, weight, -1.0).argmax())


def _write_rounded(pose: np.ndarray) -> tuple[tuple[str, str], np.ndarray]:
    """Position and orientation (w x y z) as annotations have them, to four decimals, and the pose that they tell."""
    wxyz = Rotation.from_matrix(pose[:3, :3]).as_quat()[[3, 0, 1, 2]]
    texts = " ".join(f"{x:.4f}" for x in pose[:3, 3]), " ".join(f"{x:.4f}" for x in wxyz)
    told = np.eye(4)
    told[:3, 3] = [float(x) for x in texts[0].split()]
    told[:3, :3] = Rotation.from_quat(np.array([float(x) for x in texts[1].split()])[[1, 2, 3, 0]]).as_matrix()
    return texts, told


def rendered(
    camera_T_mesh: dict[int, np.ndarray],
    camera_T_table: np.ndarray,
    matrix: np.ndarray = K,
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> tuple[np.ndarray, np.ndarray]:
    """Depth [mm, truncated] and labels (number plus one) of objects on a table."""
    scene = o3d.t.geometry.RaycastingScene(nthreads=1)
    numbers = []
    table = trimesh.creation.box(
        extents=(5.0, 5.0, 0.002), transform=trimesh.transformations.translation_matrix([0, 0, -0.001])
    )
    bodies = [(object_id + 1, pose, mesh_of(object_id)) for object_id, pose in camera_T_mesh.items()]
    for label, pose, mesh in [(0, camera_T_table, table), *bodies]:
        mesh.apply_transform(pose)
        scene.add_triangles(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
        numbers.append(label)
    v, u = np.mgrid[: size[0], : size[1]].astype(np.float32)
    rays = np.zeros((*size, 6), np.float32)
    rays[..., 3], rays[..., 4] = (u - matrix[0, 2]) / matrix[0, 0], (v - matrix[1, 2]) / matrix[1, 1]
    rays[..., 5] = 1.0
    hits = scene.cast_rays(o3d.core.Tensor(rays), nthreads=1)
    geometry, distance = hits["geometry_ids"].numpy(), hits["t_hit"].numpy()
    seen = np.isfinite(distance)
    depth = np.where(seen, np.where(seen, distance, 0.0) * 1000.0, 0.0).astype(np.int32)
    label = np.where(seen, np.array([*numbers, 0])[np.where(seen, geometry, len(numbers))], 0)
    return depth, label
