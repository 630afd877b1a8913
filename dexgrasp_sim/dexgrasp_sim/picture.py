"""Pictures of the cell and of what its camera sees.

`python -m dexgrasp_sim.picture FOLDER` writes `cell.png` and `camera.png` of a freshly settled scene.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dexgrasp_description import load_cell
from dexgrasp_sim.camera import CameraRenderer, RenderError
from dexgrasp_sim.cell import CellConfig, SimCell
from dexgrasp_sim.scene import COLLISION_GROUP

Image = NDArray[np.uint8]


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


def write(path: str | Path, picture: Image) -> None:
    """Write a picture to a PNG file, making its folder.

    Raises:
        RenderError: The file cannot be written.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture[..., ::-1]):
        raise RenderError(f"{path} cannot be written. Give a path that ends in .png, in a folder that can be written.")


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
