"""Pictures of the cell, of what its camera sees, and of grasps on a point cloud.

`python -m dexgrasp_sim.picture FOLDER` writes `cell.png` and `camera.png` of a freshly settled scene.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import mujoco
import numpy as np
from dexgrasp_common.transforms import apply
from dexgrasp_description.mjcf import hand_spec
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import GraspSet, HandModel, load_cell
from dexgrasp_sim.camera import CameraRenderer, RenderError, set_depth_range
from dexgrasp_sim.cell import CellConfig, SimCell
from dexgrasp_sim.scene import COLLISION_GROUP, wxyz
from dexgrasp_sim.world import add_lights

Image = NDArray[np.uint8]

HAND_COLOURS = (
    (0.90, 0.36, 0.25),
    (0.20, 0.52, 0.80),
    (0.30, 0.66, 0.40),
    (0.93, 0.69, 0.20),
    (0.56, 0.40, 0.73),
    (0.20, 0.68, 0.68),
    (0.86, 0.47, 0.65),
    (0.55, 0.45, 0.38),
)
TABLE_POINTS, OBJECT_POINTS = 6_000, 18_000  # of a cloud that are drawn, at most


def render_scene(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    eye: ArrayLike,
    target: ArrayLike,
    *,
    size: tuple[int, int] = (1280, 960),
    field_of_view: float = 40.0,
) -> Image:
    """The scene from `eye` towards `target`, with shadows: array (H, W, 3), red, green, blue.

    Args:
        eye, target: Positions, world frame [m].
        size: Width and height [px].
        field_of_view: From the picture's upper to its lower edge [deg].

    Raises:
        RenderError: OpenGL cannot be used here.
    """
    # Drawn at twice the size and averaged: smooth edges without relying on the driver's multisampling.
    width, height = 2 * size[0], 2 * size[1]
    view = model.vis.global_
    before = view.fovy, view.offwidth, view.offheight
    view.fovy, view.offwidth, view.offheight = field_of_view, max(width, view.offwidth), max(height, view.offheight)
    options = mujoco.MjvOption()
    options.geomgroup[COLLISION_GROUP] = 0
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as error:  # the bindings raise whatever their GL library raises
        raise RenderError(f"No off-screen OpenGL context: {error}. Set MUJOCO_GL=egl before Python starts.") from error
    try:
        renderer.update_scene(data, _free_camera(eye, target), options)
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        picture = renderer.render()
    finally:
        renderer.close()
        view.fovy, view.offwidth, view.offheight = before
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def add_cloud(
    spec: mujoco.MjSpec, points: NDArray[np.floating], colours: NDArray[np.floating], size: float = 0.004
) -> None:
    """Draw a cloud in a scene, each point an octahedron.

    It is one mesh, whose texture has one pixel for each point: thousands of times faster than a geom for each.

    Args:
        points: array (N, 3), world frame [m].
        colours: Red, green, blue in 0..1, array (N, 3).
        size: Breadth of a point [m].
    """
    count = len(points)
    corners = 0.5 * size * np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    faces = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4], [1, 0, 5], [2, 1, 5], [3, 2, 5], [0, 3, 5]])
    index = np.arange(count)
    side = int(np.ceil(np.sqrt(count)))
    pixels = np.zeros((side * side, 3), np.uint8)
    pixels[:count] = np.rint(255 * np.clip(colours, 0.0, 1.0))
    texture = spec.add_texture(name="cloud", type=mujoco.mjtTexture.mjTEXTURE_2D, width=side, height=side, nchannel=3)
    texture.data = pixels.tobytes()
    material = spec.add_material(name="cloud", specular=0.0, shininess=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "cloud"
    mesh = spec.add_mesh(name="cloud", inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    mesh.uservert = (points[:, None] + corners).astype(np.float32).ravel()
    mesh.userface = (6 * index[:, None, None] + faces).astype(np.int32).ravel()
    centres = (np.stack([index % side, index // side], axis=1) + 0.5) / side
    mesh.usertexcoord = np.repeat(centres, 6, axis=0).astype(np.float32).ravel()
    mesh.userfacetexcoord = mesh.userface
    spec.worldbody.add_geom(
        name="cloud",
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname="cloud",
        material="cloud",
        contype=0,
        conaffinity=0,
        mass=0.0,
    )


def draw_cell(sim: SimCell, size: tuple[int, int] = (1280, 960)) -> Image:
    """The whole cell: robot, table, objects, bin and camera."""
    state = sim.snapshot()
    return render_scene(state.model, state.data(), (0.55, 1.10, 0.72), (-0.13, -0.06, 0.13), size=size)


def draw_camera(sim: SimCell) -> Image:
    """What the cell's camera sees, side by side: colour, and depth from near (yellow) to far (violet)."""
    state = sim.snapshot()
    data, camera = state.data(), CameraRenderer(state.model)
    try:
        colour, depth = camera.colour(data, shadows=True), camera.depth(data)
    finally:
        camera.close()
    return np.concatenate([colour, colour_of_depth(depth)], axis=1)


def colour_of_depth(depth: NDArray[np.floating]) -> Image:
    """Depth (H, W) [m] as a picture: near yellow, far violet, black where there is none."""
    valid = np.isfinite(depth) & (depth > 0)
    if not valid.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    near, far = np.percentile(depth[valid], [1, 99])
    level = np.clip((far - np.where(valid, depth, far)) / max(far - near, 1e-6), 0.0, 1.0)
    picture = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
    picture[~valid] = 0
    return picture


def draw_grasps(
    cloud: NDArray[np.floating],
    grasps: GraspSet,
    hand: HandModel,
    path: str | Path,
    *,
    colours: NDArray[np.floating] | None = None,
    up: ArrayLike = (0.0, 0.0, 1.0),
    most: int = 5,
) -> None:
    """Write a picture of grasps on a cloud: all hands from two sides, and each of the first four on its own.

    The best grasps that are apart from each other are drawn, each in a colour of its own.

    Args:
        cloud: array (N, 3), world frame [m]; rows that are not finite are left out.
        grasps: Grasps in the same frame, best first or not.
        hand: The hand they are for.
        path: PNG file.
        colours: Red, green, blue of each point in 0..1, array (N, 3); `None`: by height.
        up: Direction away from the table, cloud's frame.
        most: Largest number of hands to draw.

    Raises:
        RenderError: OpenGL cannot be used here, or there is no finite point.
    """
    points = np.asarray(cloud, dtype=np.float64).reshape(-1, 3)
    finite = np.isfinite(points).all(axis=1)
    if not finite.any():
        raise RenderError("A picture of grasps needs a cloud with at least one finite point.")
    # Everything is turned so that `up` is z, which is where the lights hang.
    level = np.eye(4)
    level[:3, :3] = Rotation.align_vectors([[0.0, 0.0, 1.0]], [np.asarray(up, dtype=np.float64)])[0].as_matrix()
    points = np.asarray(apply(level, points[finite]))
    table = float(np.percentile(points[:, 2], 5))
    shades = _by_height(points, table)
    if colours is not None:
        shades = np.asarray(colours, dtype=np.float64).reshape(-1, 3)[finite]
    keep = _thinned(points[:, 2] < table + 0.012)
    chosen = _apart(grasps, most)
    poses = level @ chosen.world_T_palm
    seeds = apply(level, chosen.seed_point) if len(chosen) else points
    model, data = _hands(poses, chosen.grasp, hand, points[keep], shades[keep], table)

    places = np.concatenate([poses[:, :3, 3], seeds])
    low, high = places.min(axis=0), places.max(axis=0)
    distance = 0.6 + 0.7 * float(np.linalg.norm(high - low))
    views = [_orbit(model, data, (low + high) / 2, distance, azimuth, 42.0, (880, 700)) for azimuth in (-55.0, 125.0)]
    rows = [np.concatenate(views, axis=1)]
    owner = _hand_of_geoms(model)
    close = []
    for i, world_T_palm in enumerate(poses[:4]):
        # Across the fingers, from where thumb and fingers are seen to oppose each other.
        across = world_T_palm[:3, 1]
        azimuth = float(np.degrees(np.arctan2(across[1], across[0])))
        model.geom_rgba[owner >= 0, 3] = owner[owner >= 0] == i
        close.append(_orbit(model, data, (world_T_palm[:3, 3] + seeds[i]) / 2, 0.5, azimuth, 20.0, (440, 400)))
    if close:
        close += [np.full_like(close[0], 255)] * (4 - len(close))
        rows.append(np.concatenate(close, axis=1))
    write(path, np.concatenate(rows, axis=0))


def write(path: str | Path, picture: Image) -> None:
    """Write a picture to a PNG file, making its folder.

    Raises:
        RenderError: The file cannot be written.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture[..., ::-1]):
        raise RenderError(f"{path} cannot be written. Give a path that ends in .png, in a folder that can be written.")


def _apart(grasps: GraspSet, most: int) -> GraspSet:
    """Best grasps whose palms are farther apart than a hand is wide, closer ones only where there are no others."""
    order = np.argsort(-grasps.score, kind="stable")
    chosen: list[int] = []
    for distance in (0.12, 0.08, 0.04):
        for index in order:
            position = grasps.world_T_palm[index, :3, 3]
            others = grasps.world_T_palm[chosen, :3, 3]
            if len(chosen) < most and (np.linalg.norm(others - position, axis=1) > distance).all():
                chosen.append(int(index))
    return grasps[chosen]


def _hands(
    poses: NDArray[np.float64],
    joints: NDArray[np.float64],
    hand: HandModel,
    points: NDArray[np.float64],
    colours: NDArray[np.float64],
    table: float,
) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Scene of a cloud and of hands at palm poses (N, 4, 4) with joints (N, D), above a table at that height."""
    spec = mujoco.MjSpec()
    set_depth_range(spec)
    add_lights(spec)
    spec.visual.quality.shadowsize = 2048
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        pos=[0.0, 0.0, table - 0.006],
        size=[0.0, 0.0, 1.0],
        rgba=[0.93, 0.92, 0.90, 1.0],
    )
    add_cloud(spec, points, colours)
    tips = {tip.link for tip in hand.fingertips}
    for i, world_T_palm in enumerate(poses):
        one = hand_spec(hand)
        colour = np.array(HAND_COLOURS[i % len(HAND_COLOURS)])
        for geom in one.geoms:
            geom.rgba = [*(0.5 * colour + 0.5 if geom.parent.name in tips else colour), 1.0]
        frame = spec.worldbody.add_frame(pos=world_T_palm[:3, 3], quat=wxyz(world_T_palm[:3, :3]))
        spec.attach(one, frame=frame, prefix=f"{i}/", suffix="")
    model = spec.compile()
    data = mujoco.MjData(model)
    for i, posture in enumerate(joints):
        for name, position in zip(hand.joint_names, posture, strict=True):
            data.joint(f"{i}/{name}").qpos = position
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    return model, data


def _hand_of_geoms(model: mujoco.MjModel) -> NDArray[np.intp]:
    """Which hand each geom belongs to; -1 for none."""
    names = [model.geom(i).name for i in range(model.ngeom)]
    return np.array([int(name.split("/")[0]) if "/" in name else -1 for name in names])


def _orbit(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    target: NDArray[np.float64],
    distance: float,
    azimuth: float,
    elevation: float,
    size: tuple[int, int],
) -> Image:
    """View of the target from a direction [deg]."""
    around, slope = np.radians([azimuth, elevation])
    away = np.array([np.cos(slope) * np.cos(around), np.cos(slope) * np.sin(around), np.sin(slope)])
    return render_scene(model, data, target + distance * away, target, size=size)


def _thinned(on_table: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices of the points to draw: fewer of the table than of what stands on it."""
    rng = np.random.default_rng(0)
    return np.concatenate(
        [
            rng.permutation(np.flatnonzero(on_table))[:TABLE_POINTS],
            rng.permutation(np.flatnonzero(~on_table))[:OBJECT_POINTS],
        ]
    )


def _by_height(points: NDArray[np.float64], table: float) -> NDArray[np.float64]:
    """Grey for the table, and from orange to blue with height for what stands on it."""
    height = np.clip((points[:, 2] - table - 0.012) / 0.12, 0.0, 1.0)[:, None]
    shade = (1 - height) * np.array([0.90, 0.55, 0.20]) + height * np.array([0.10, 0.25, 0.60])
    shade[points[:, 2] < table + 0.012] = (0.72, 0.71, 0.69)
    return shade


def _free_camera(eye: ArrayLike, target: ArrayLike) -> mujoco.MjvCamera:
    forward = np.asarray(target, dtype=np.float64) - np.asarray(eye, dtype=np.float64)
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat = np.asarray(target, dtype=np.float64)
    camera.distance = float(np.linalg.norm(forward))
    camera.azimuth = float(np.degrees(np.arctan2(forward[1], forward[0])))
    camera.elevation = float(np.degrees(np.arcsin(forward[2] / camera.distance)))
    return camera


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `python -m dexgrasp_sim.picture`."""
    parser = argparse.ArgumentParser(prog="python -m dexgrasp_sim.picture", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where cell.png and camera.png are written")
    parser.add_argument("--cell", default="ur5_leap", help="workcell: name or path of a cell file")
    parser.add_argument("--seed", type=int, default=0, help="seed of the objects")
    parser.add_argument("--objects", type=int, default=8, help="number of objects")
    options = parser.parse_args(arguments)
    sim = SimCell(load_cell(options.cell), CellConfig(seed=options.seed, objects=options.objects))
    write(options.folder / "cell.png", draw_cell(sim))
    write(options.folder / "camera.png", draw_camera(sim))


if __name__ == "__main__":
    main()
