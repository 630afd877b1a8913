"""Draws grasps into a camera image: the hand's collision shapes, cast with the image's own camera."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
import trimesh
from dexgrasp_common.transforms import invert
from dexgrasp_description.kinematics import ForwardKinematics
from numpy.typing import NDArray

from dexgrasp_description import HandModel

_COLOURS = np.array(  # distinguishable, also for most colour-blind readers (Okabe and Ito), BGR
    [[0, 159, 230], [233, 180, 86], [115, 158, 0], [66, 228, 240], [178, 114, 0], [0, 94, 213], [167, 121, 204]],
    dtype=np.float64,
)
_HIDDEN = 0.35  # opacity of what lies behind the scene's surface


def draw_grasps(
    color: NDArray[np.uint8] | None,
    depth: NDArray[np.float32],
    matrix: NDArray[np.float64],
    world_T_camera: NDArray[np.float64],
    world_T_palm: NDArray[np.float64],
    joints: NDArray[np.float64],
    hand: HandModel,
    count: int = 6,
) -> NDArray[np.uint8]:
    """The image with some grasps drawn in.

    Args:
        color: array (H, W, 3), uint8, BGR; None draws the depth in grey.
        depth: array (H, W), float32 [m]; 0 or NaN is invalid.
        matrix: array (3, 3), pinhole intrinsics [px].
        world_T_palm: array (N, 4, 4), palm poses, best first.
        joints: array (N, D), hand postures [rad].
        count: How many to draw; they are chosen apart from each other, best first.

    Returns:
        array (H, W, 3), uint8, BGR.
    """
    image = (_grey(depth) if color is None else color).astype(np.float64)
    chosen = spread(world_T_palm, count)
    if not chosen:
        return image.astype(np.uint8)
    meshes = hand_meshes(hand, invert(world_T_camera) @ world_T_palm[chosen], joints[chosen])
    distance, owner, shade = _cast(meshes, matrix, depth.shape)
    hit = owner >= 0
    surface = np.where(np.isfinite(depth) & (depth > 0), depth, np.inf)
    opacity = np.where(distance <= surface + 0.005, 0.9, _HIDDEN)[hit, None]
    paint = _COLOURS[owner[hit] % len(_COLOURS)] * shade[hit, None]
    image[hit] = (1 - opacity) * image[hit] + opacity * paint
    return np.clip(image, 0, 255).astype(np.uint8)


def spread(world_T_palm: NDArray[np.float64], count: int, distance: float = 0.07) -> list[int]:
    """Indices of the best grasps whose palms are at least `distance` [m] apart."""
    chosen: list[int] = []
    positions = world_T_palm[:, :3, 3]
    for index in range(len(positions)):
        if len(chosen) == count:
            break
        if all(np.linalg.norm(positions[index] - positions[other]) >= distance for other in chosen):
            chosen.append(index)
    return chosen


def hand_meshes(
    hand: HandModel, camera_T_palm: NDArray[np.float64], joints: NDArray[np.float64]
) -> list[trimesh.Trimesh]:
    """One mesh for each palm pose (N, 4, 4) and posture (N, D): the hand's collision shapes, camera frame."""
    link_poses = ForwardKinematics(hand).link_poses(torch.as_tensor(joints, dtype=torch.float64))
    meshes = []
    for row in range(len(joints)):
        parts = []
        for primitive in hand.collision:
            palm_T_link = link_poses[primitive.link][row].numpy()
            mesh = primitive_mesh(primitive.kind, primitive.size)
            mesh.apply_transform(camera_T_palm[row] @ palm_T_link @ primitive.link_T_geom)
            parts.append(mesh)
        meshes.append(trimesh.util.concatenate(parts))
    return meshes


def primitive_mesh(kind: str, size: NDArray[np.float64]) -> trimesh.Trimesh:
    """Mesh of a collision primitive, centred, along z; sizes as in the hand's data file [m]."""
    if kind == "box":
        return trimesh.creation.box(extents=2 * np.asarray(size))
    if kind == "sphere":
        return trimesh.creation.icosphere(subdivisions=2, radius=float(size[0]))
    make = {"capsule": trimesh.creation.capsule, "cylinder": trimesh.creation.cylinder}[kind]
    mesh = make(radius=float(size[0]), height=2 * float(size[1]))
    mesh.apply_translation(-mesh.bounds.mean(axis=0))
    return mesh


def _cast(
    meshes: list[trimesh.Trimesh], matrix: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Depth [m], mesh index (-1: none) and brightness of what each pixel sees of the meshes."""
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    for mesh in meshes:
        scene.add_triangles(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    height, width = shape
    rays = scene.create_rays_pinhole(matrix, np.eye(4), width, height)
    hits = scene.cast_rays(rays)
    distance = hits["t_hit"].numpy().astype(np.float64)  # rays have unit z, so this is depth
    owner = hits["geometry_ids"].numpy().astype(np.int64)
    owner[~np.isfinite(distance)] = -1
    directions = rays.numpy()[..., 3:]
    facing = -(hits["primitive_normals"].numpy() * directions).sum(-1) / np.linalg.norm(directions, axis=-1)
    return distance, owner, 0.35 + 0.65 * np.abs(facing)


def _grey(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    valid = np.isfinite(depth) & (depth > 0)
    if not valid.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    near, far = np.percentile(depth[valid], [1, 99])
    level = np.where(valid, 230 - 180 * np.clip((depth - near) / max(far - near, 1e-6), 0, 1), 0)
    return np.repeat(level[..., None], 3, axis=-1).astype(np.uint8)


def save(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a PNG.

    Raises:
        OSError: The place cannot be written.
    """
    path = path.expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise OSError(f"Could not write the picture {path}.")
