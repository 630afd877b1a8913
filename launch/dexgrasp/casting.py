"""Draws hands on the surface that a depth image shows, by casting rays; needs no OpenGL."""

from __future__ import annotations

import cv2
import numpy as np
import open3d as o3d
import torch
import trimesh
from dexgrasp_common.transforms import apply
from dexgrasp_description.kinematics import ForwardKinematics
from numpy.typing import NDArray

from dexgrasp_description import HandModel

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

_SUBPIXELS = 2  # rays along each side of a pixel
_LIGHT = np.array([0.35, -0.25, 1.0]) / np.linalg.norm([0.35, -0.25, 1.0])  # towards it, world frame
_ACROSS_LIGHT = np.linalg.svd(_LIGHT[None])[2][1:]  # two directions across that
_LIGHT_BREADTH = 0.12  # of the light's disc, seen from the scene [rad]
_LIGHT_SAMPLES = 4
_GOLDEN = 2.399963  # samples that turn by this angle fill a disc evenly [rad]
_SHADOW = 0.5  # brightness of what gets no light
_STEEPEST = 10.0  # a surface that leaves the camera more steeply than this between two pixels is two surfaces
_PAPER = 250  # grey of what the camera did not see


class Surface:
    """What a camera sees, as triangles with its colours, over a white sheet where it sees nothing.

    Args:
        image: array (H, W, 3), BGR.
        depth: array (H, W) [m]; 0 or NaN is invalid.
        matrix: array (3, 3), pinhole intrinsics [px].
        world_T_camera: array (4, 4); the support is at z = 0 of `world`.
    """

    def __init__(self, image: Image, depth: NDArray[np.floating], matrix: Array, world_T_camera: Array) -> None:
        height, width = depth.shape
        z = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float64)
        v, u = np.mgrid[:height, :width]
        camera = np.stack([(u - matrix[0, 2]) / matrix[0, 0] * z, (v - matrix[1, 2]) / matrix[1, 1] * z, z], axis=-1)
        corners = np.stack([z[:-1, :-1], z[:-1, 1:], z[1:, 1:], z[1:, :-1]])
        spread = corners.max(axis=0) - corners.min(axis=0)  # NaN where a corner is
        whole = spread < _STEEPEST / matrix[0, 0] * corners.min(axis=0)
        index = (v[:-1, :-1] * width + u[:-1, :-1])[whole]
        a, b, c, d = index, index + 1, index + width + 1, index + width
        self.world_T_camera = world_T_camera
        points = np.nan_to_num(apply(world_T_camera, camera.reshape(-1, 3)))
        faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
        sheet = trimesh.creation.box(extents=(20.0, 20.0, 0.01))
        sheet.apply_translation((0.0, 0.0, -0.01))
        points, faces = trimesh.util.append_faces([points, sheet.vertices], [faces, sheet.faces])
        seen = np.tile(image.reshape(-1, 3)[index], (2, 1))
        self._colours = np.concatenate([seen, np.full((len(sheet.faces), 3), _PAPER)]).astype(np.float64)
        self._scene = _scene(points, faces)

    def hit(self, rays: NDArray[np.float32]) -> tuple[Array, Array]:
        """Distance (N,) along rays (N, 6), infinite where there is nothing, and colour (N, 3)."""
        hits = self._scene.cast_rays(o3d.core.Tensor(rays))
        distance = hits["t_hit"].numpy().astype(np.float64)
        colour = np.full((len(rays), 3), float(_PAPER))
        found = np.isfinite(distance)
        colour[found] = self._colours[hits["primitive_ids"].numpy()[found]]
        return distance, colour


class Hands:
    """Hands made of their collision shapes, each in a colour, with bright fingertips.

    Args:
        world_T_palm: array (N, 4, 4).
        joints: array (N, D) [rad].
        colours: array (N, 3), BGR.
    """

    def __init__(self, hand: HandModel, world_T_palm: Array, joints: Array, colours: Array) -> None:
        link_poses = ForwardKinematics(hand).link_poses(torch.as_tensor(joints, dtype=torch.float64))
        tips = {tip.link for tip in hand.fingertips}
        meshes, face_colours, owners, on_tip = [], [], [], []
        for row, primitive in np.ndindex(len(joints), len(hand.collision)):
            shape = hand.collision[primitive]
            mesh = primitive_mesh(shape.kind, shape.size)
            mesh.apply_transform(world_T_palm[row] @ link_poses[shape.link][row].numpy() @ shape.link_T_geom)
            meshes.append(mesh)
            tip = shape.link in tips
            colour = 0.45 * colours[row] + 0.55 * 255.0 if tip else colours[row]
            face_colours.append(np.tile(colour, (len(mesh.faces), 1)))
            owners.append(np.full(len(mesh.faces), row))
            on_tip.append(np.full(len(mesh.faces), tip))
        self._colours = np.concatenate(face_colours)
        self._owner = np.concatenate(owners)
        self._on_tip = np.concatenate(on_tip)
        whole = trimesh.util.concatenate(meshes)
        self._scene = _scene(whole.vertices, whole.faces)
        self._shadow = whole.vertices @ _ACROSS_LIGHT.T

    def hit(self, rays: NDArray[np.float32]) -> tuple[Array, NDArray[np.intp], Array, Array, NDArray[np.bool_]]:
        """Of rays (N, 6): distance (N,), hand (N,) or -1, colour (N, 3), outward normal (N, 3), whether on a tip."""
        hits = self._scene.cast_rays(o3d.core.Tensor(rays))
        distance = hits["t_hit"].numpy().astype(np.float64)
        face = np.where(np.isfinite(distance), hits["primitive_ids"].numpy(), 0).astype(np.intp)
        owner = np.where(np.isfinite(distance), self._owner[face], -1)
        normal = hits["primitive_normals"].numpy().astype(np.float64)
        normal *= -np.sign((normal * rays[:, 3:]).sum(axis=1, keepdims=True))
        return distance, owner, self._colours[face], normal, self._on_tip[face]

    def lit(self, points: Array, normals: Array | None = None) -> Array:
        """Share (N,) of the light that reaches points (N, 3) past the hands; normals (N, 3) of points on them."""
        start = (points + 1e-3 * (_LIGHT if normals is None else normals)).astype(np.float32)
        # Only what lies behind the hands, seen from the light, can be in their shadow.
        reach = self._shadow.min(axis=0) - 0.05, self._shadow.max(axis=0) + 0.05
        flat = start @ _ACROSS_LIGHT.astype(np.float32).T
        near = np.flatnonzero(((flat > reach[0]) & (flat < reach[1])).all(axis=1))
        free = np.zeros(len(near))
        turn = _GOLDEN * np.random.default_rng(0).integers(0, 64, len(near))  # each point's samples lie elsewhere
        for sample in range(_LIGHT_SAMPLES):
            radius = _LIGHT_BREADTH * np.sqrt((sample + 0.5) / _LIGHT_SAMPLES)
            angle = turn + _GOLDEN * sample
            rays = np.empty((len(near), 6), np.float32)
            rays[:, :3] = start[near]
            rays[:, 3:] = _LIGHT + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1) @ _ACROSS_LIGHT
            free += ~self._scene.test_occlusions(o3d.core.Tensor(rays)).numpy()
        share = np.ones(len(points))
        share[near] = free / _LIGHT_SAMPLES
        return share


def view_rays(matrix: Array, world_T_eye: Array, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Rays (2H, 2W, 6) of an image (H, W): start and direction, world frame, as long as one metre of depth."""
    n = _SUBPIXELS
    v, u = np.mgrid[: shape[0] * n, : shape[1] * n]
    u, v = (u + 0.5) / n - 0.5, (v + 0.5) / n - 0.5
    along = np.stack([(u - matrix[0, 2]) / matrix[0, 0], (v - matrix[1, 2]) / matrix[1, 1], np.ones_like(u)], axis=-1)
    along = along @ world_T_eye[:3, :3].T
    return np.concatenate([np.broadcast_to(world_T_eye[:3, 3], along.shape), along], axis=-1).astype(np.float32)


def cast(
    rays: NDArray[np.float32], surface: Surface, hands: Hands, opacity: float, background: Image | None = None
) -> Image:
    """The picture (H, W, 3), BGR, that rays (2H, 2W, 6) of `view_rays` make.

    Args:
        opacity: Of the hands where they are in front.
        background: The camera's image, (H', W', 3), where the rays are the camera's; None: the surface's own colours.
    """
    height, width = rays.shape[:2]
    flat = rays.reshape(-1, 6)
    behind, base = surface.hit(flat)
    if background is not None:
        base = cv2.resize(background, (width, height), interpolation=cv2.INTER_CUBIC).reshape(-1, 3).astype(np.float64)
    seen = np.isfinite(behind)
    points = flat[seen, :3] + behind[seen, None] * flat[seen, 3:]
    base[seen] *= (_SHADOW + (1.0 - _SHADOW) * hands.lit(points))[:, None]

    distance, owner, colour, normal, _ = hands.hit(flat)
    on = owner >= 0
    points = flat[on, :3] + distance[on, None] * flat[on, 3:]
    facing = np.clip(normal[on] @ _LIGHT, 0.0, 1.0)
    side = np.abs((normal[on] * flat[on, 3:]).sum(axis=1)) / np.linalg.norm(flat[on, 3:], axis=1)
    brightness = 0.46 + 0.24 * side + 0.42 * facing * hands.lit(points, normal[on])
    brightness *= np.where(_edges(owner, distance, normal, (height, width))[on], 0.55, 1.0)
    visible = distance[on] <= behind[on] + 0.004
    share = np.where(visible, opacity, 0.22 * opacity)[:, None]
    base[on] = (1.0 - share) * base[on] + share * np.clip(colour[on] * brightness[:, None], 0.0, 255.0)
    size = width // _SUBPIXELS, height // _SUBPIXELS
    small = cv2.resize(base.reshape(height, width, 3), size, interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def primitive_mesh(kind: str, size: Array) -> trimesh.Trimesh:
    """Mesh of a collision primitive, centred, along z; sizes as in the hand's data file [m]."""
    if kind == "box":
        return trimesh.creation.box(extents=2 * np.asarray(size))
    if kind == "sphere":
        return trimesh.creation.icosphere(subdivisions=3, radius=float(size[0]))
    make = {"capsule": trimesh.creation.capsule, "cylinder": trimesh.creation.cylinder}[kind]
    mesh = make(radius=float(size[0]), height=2 * float(size[1]))
    mesh.apply_translation(-mesh.bounds.mean(axis=0))
    return mesh


def _edges(owner: NDArray[np.intp], distance: Array, normal: Array, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Where neighbouring rays hit different hands, other faces or something farther away: array (N,)."""
    owner, distance, normal = owner.reshape(shape), distance.reshape(shape), normal.reshape(*shape, 3)
    edge = np.zeros(shape, bool)
    for axis in (0, 1):
        here, there = (slice(None), slice(None, -1)), (slice(None), slice(1, None))
        if axis == 0:
            here, there = here[::-1], there[::-1]
        differs = owner[here] != owner[there]
        with np.errstate(invalid="ignore"):
            differs |= np.abs(distance[here] - distance[there]) > 0.008
        differs |= (normal[here] * normal[there]).sum(axis=-1) < 0.8
        edge[here] |= differs
        edge[there] |= differs
    return edge.ravel()


def _scene(points: Array, faces: NDArray[np.intp]) -> o3d.t.geometry.RaycastingScene:
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(np.ascontiguousarray(points, dtype=np.float32), np.ascontiguousarray(faces, dtype=np.uint32))
    return scene
