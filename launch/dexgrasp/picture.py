"""Draws grasps into a camera image: the hand's collision shapes, cast with the image's own camera."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
import trimesh
from dexgrasp_common.transforms import apply, invert, look_at
from dexgrasp_description.kinematics import ForwardKinematics
from numpy.typing import NDArray

from dexgrasp_description import HandModel

_COLOURS = np.array(  # distinguishable, also for most colour-blind readers (Okabe and Ito), BGR
    [[0, 159, 230], [233, 180, 86], [115, 158, 0], [66, 228, 240], [178, 114, 0], [0, 94, 213], [167, 121, 204]],
    dtype=np.float64,
)
_SIZE = (480, 480)  # of the close-up, height and width [px]
_NEAR = 0.16  # what the close-up shows around the grasp [m]


def picture(
    color: NDArray[np.uint8] | None,
    depth: NDArray[np.floating],
    matrix: NDArray[np.float64],
    world_T_camera: NDArray[np.float64],
    world_T_palm: NDArray[np.float64],
    joints: NDArray[np.float64],
    hand: HandModel,
) -> NDArray[np.uint8]:
    """The camera image with the best grasps drawn in, and close-ups of the best two from the side.

    Args:
        color: array (H, W, 3), uint8, BGR; None draws the depth in grey.
        depth: array (H, W) [m]; 0 or NaN is invalid.
        matrix: array (3, 3), pinhole intrinsics [px].
        world_T_palm: array (N, 4, 4), palm poses, best first.
        joints: array (N, D), hand postures [rad].

    Returns:
        array (H', W', 3), uint8, BGR.
    """
    image = _grey(depth) if color is None else color
    chosen = spread(world_T_palm, 5)
    panels = [overlay(image, depth, matrix, world_T_camera, world_T_palm[chosen], joints[chosen], hand)]
    points, colors = _world_points(image, depth, matrix, world_T_camera)
    for rank, index in enumerate(chosen[:2]):
        panels.append(close_up(points, colors, world_T_palm[index], joints[index], hand, rank))
    height = panels[0].shape[0]
    scaled = [cv2.resize(panel, (round(panel.shape[1] * height / panel.shape[0]), height)) for panel in panels]
    return np.concatenate(scaled, axis=1)


def overlay(
    image: NDArray[np.uint8],
    depth: NDArray[np.floating],
    matrix: NDArray[np.float64],
    world_T_camera: NDArray[np.float64],
    world_T_palm: NDArray[np.float64],
    joints: NDArray[np.float64],
    hand: HandModel,
) -> NDArray[np.uint8]:
    """Hands drawn into the camera's image, half transparent, and fainter where the scene hides them."""
    meshes = hand_meshes(hand, invert(world_T_camera) @ world_T_palm, joints)
    distance, owner, shade = _cast(meshes, matrix, depth.shape)
    hit = owner >= 0
    surface = np.where(np.isfinite(depth) & (depth > 0), depth, np.inf)
    opacity = np.where(distance <= surface + 0.005, 0.65, 0.2)[hit, None]
    mixed = image.astype(np.float64)
    mixed[hit] = (1 - opacity) * mixed[hit] + opacity * _COLOURS[owner[hit] % len(_COLOURS)] * shade[hit, None]
    return np.clip(mixed, 0, 255).astype(np.uint8)


def close_up(
    points: NDArray[np.floating],
    colors: NDArray[np.uint8],
    world_T_palm: NDArray[np.float64],
    joints: NDArray[np.float64],
    hand: HandModel,
    rank: int,
) -> NDArray[np.uint8]:
    """One grasp and the points (N, 3) around it, seen from the side of the hand and from slightly above."""
    grip = world_T_palm[:3, 3] + 0.07 * world_T_palm[:3, :3] @ hand.approach_axis
    side = world_T_palm[:3, 1] * np.array([1.0, 1.0, 0.0])
    length = np.linalg.norm(side)
    side = side / length if length > 0.1 else np.array([1.0, 0.0, 0.0])
    world_T_eye = look_at(grip + 0.42 * side + np.array([0.0, 0.0, 0.16]), grip)
    eye_T_world = invert(world_T_eye)
    height, width = _SIZE
    matrix = np.array([[600.0, 0.0, width / 2], [0.0, 600.0, height / 2], [0.0, 0.0, 1.0]])

    image = np.full((height, width, 3), 250, np.uint8)
    depth = np.full((height, width), np.inf)
    near = np.linalg.norm(points - grip, axis=1) < _NEAR
    seen = apply(eye_T_world, points[near].astype(np.float64))
    farthest_first = np.argsort(-seen[:, 2])
    seen, tint = seen[farthest_first], colors[near][farthest_first]
    pixels = np.rint(seen[:, :2] / seen[:, 2:] * 600.0 + [width / 2, height / 2]).astype(int)
    for du, dv in np.ndindex(4, 4):  # a point is a square of pixels; later assignments are nearer points
        u, v = pixels[:, 0] + du - 1, pixels[:, 1] + dv - 1
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        u, v, z = u[inside], v[inside], seen[inside, 2]
        nearer = z <= depth[v, u]
        image[v[nearer], u[nearer]] = tint[inside][nearer]
        depth[v[nearer], u[nearer]] = z[nearer]

    distance, owner, shade = _cast(hand_meshes(hand, eye_T_world @ world_T_palm[None], joints[None]), matrix, _SIZE)
    hit = owner >= 0
    opacity = np.where(distance <= depth, 0.92, 0.25)[hit, None]
    mixed = image.astype(np.float64)
    mixed[hit] = (1 - opacity) * mixed[hit] + opacity * _COLOURS[rank] * shade[hit, None]
    return np.clip(mixed, 0, 255).astype(np.uint8)


def spread(world_T_palm: NDArray[np.float64], count: int, distance: float = 0.08) -> list[int]:
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


def _world_points(
    image: NDArray[np.uint8],
    depth: NDArray[np.floating],
    matrix: NDArray[np.float64],
    world_T_camera: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    v, u = np.nonzero(np.isfinite(depth) & (depth > 0))
    z = depth[v, u].astype(np.float64)
    x, y = (u - matrix[0, 2]) / matrix[0, 0] * z, (v - matrix[1, 2]) / matrix[1, 1] * z
    return apply(world_T_camera, np.stack([x, y, z], axis=-1)), image[v, u]


def _grey(depth: NDArray[np.floating]) -> NDArray[np.uint8]:
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
