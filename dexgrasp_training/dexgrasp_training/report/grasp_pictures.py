"""Contact sheets: grasps of every method on one object, each seen from the two sides that show most of it."""

from __future__ import annotations

import cv2
import mujoco
import numpy as np
from dexgrasp_common.transforms import apply, invert
from dexgrasp_description.mjcf import hand_spec
from dexgrasp_sim.picture import render_scene
from dexgrasp_sim.scene import VISUAL_GROUP, add_mesh, wxyz
from dexgrasp_sim.world import add_lights
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import HandModel, load_hand
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.report.charts import new_figure, plain
from dexgrasp_training.report.framing import FIELD_OF_VIEW, framing, geom_corners, picture_camera
from dexgrasp_training.report.yields import in_order

GRASPS = 3  # of each method on a sheet
_CELL = 250  # a picture's width and height [px]
_TURN = 0.1  # a turn of one radian counts as much as this way [m]
_MARGIN = 0.004  # about hand and object [m]
_RING_COLOUR = (240, 228, 66)
_SKY = [0.97, 0.97, 0.95]
_HAND_COLOUR = (0.46, 0.48, 0.52, 1.0)
_OBJECT_COLOUR = (0.22, 0.58, 0.84, 1.0)
_SIDES = 2  # from which each grasp is seen
_DIRECTIONS = 32  # among which these are sought
_APART = 60.0  # between two sides at least [deg]
_SAMPLES = 48  # points of the object that are looked for


def farthest(points: NDArray[np.float64], count: int, first: int = 0) -> list[int]:
    """Rows of `points` (N, D) that lie far apart: `first`, then always the farthest from those chosen."""
    chosen: list[int] = []
    apart = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        row = int(apart.argmax()) if chosen else first
        chosen.append(row)
        apart = np.minimum(apart, np.linalg.norm(points - points[row], axis=1))
    return chosen


def spread_grasps(object_T_palm: NDArray[np.float64], count: int) -> list[int]:
    """Rows of grasps (N, 4, 4) whose wrist poses lie far apart, as in `farthest`."""
    chosen: list[int] = []
    apart = np.full(len(object_T_palm), np.inf)
    turn = Rotation.from_matrix(object_T_palm[:, :3, :3]) if len(object_T_palm) else None
    while turn is not None and len(chosen) < min(count, len(object_T_palm)):
        row = int(apart.argmax()) if chosen else 0
        chosen.append(row)
        way = np.linalg.norm(object_T_palm[:, :3, 3] - object_T_palm[row, :3, 3], axis=1)
        apart = np.minimum(apart, way + _TURN * (turn * turn[row].inv()).magnitude())
    return chosen


def draw_sheet(asset: ObjectAsset, grasps: ObjectGrasps, title: str) -> Figure:
    """A row for each method with `GRASPS` grasps, each from two sides; rings mark the contacts.

    Raises:
        RenderError: OpenGL cannot be used here.
    """
    stage = _Stage(load_hand(grasps.hand), asset)
    methods = in_order({grasps.methods[index] for index in np.unique(grasps.method)})
    columns = GRASPS * _SIDES
    figure = new_figure(0.5 + _CELL / 100 * columns, 0.5 + _CELL / 100 * len(methods))
    grid = figure.subplots(len(methods), columns, squeeze=False)
    for row, method in zip(grid, methods, strict=True):
        mine = grasps[grasps.method == grasps.methods.index(method)]
        chosen = mine[spread_grasps(mine.object_T_palm, GRASPS)]
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(plain(method), fontsize=12)
        for number in range(len(chosen)):
            for column, picture in enumerate(stage.draw(chosen, number), start=number * _SIDES):
                row[column].imshow(picture, interpolation="none")
            row[number * _SIDES].set_title(f"grasp {number + 1} of {len(mine)}", fontsize=9, loc="left")
    figure.suptitle(plain(title), fontsize=13)
    return figure


class _Stage:
    """An object and a hand that is moved about it."""

    def __init__(self, hand: HandModel, asset: ObjectAsset) -> None:
        spec = mujoco.MjSpec()
        add_lights(spec)
        spec.visual.headlight.diffuse = [0.35] * 3  # hands are seen from below, too
        for light in spec.lights:
            light.specular = np.zeros(3)
        spec.visual.quality.shadowsize = 1024  # enough for small pictures
        sky = spec.texture("sky")
        sky.rgb1, sky.rgb2 = _SKY, _SKY
        add_mesh(spec, "object", asset.model.mesh)
        spec.worldbody.add_geom(
            name="object",
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname="object",
            rgba=_OBJECT_COLOUR,
            group=VISUAL_GROUP,
            contype=0,
            conaffinity=0,
        )
        wrist = spec.worldbody.add_body(name="wrist", mocap=True)
        spec.attach(hand_spec(hand), prefix="hand/", frame=wrist.add_frame())
        self._model = compiled = spec.compile()
        self._data = mujoco.MjData(compiled)
        self._corners = np.asarray(asset.model.mesh.convex_hull.vertices)
        self._joints = [compiled.joint(f"hand/{name}").qposadr[0] for name in hand.joint_names]
        self._wrist = compiled.body("wrist").mocapid[0]
        self._hand_geoms = np.flatnonzero(compiled.geom_bodyid > 0)
        dark = [geom for geom in self._hand_geoms if compiled.geom_rgba[geom, 0] < 0.5]
        compiled.geom_rgba[dark] = _HAND_COLOUR  # the fingertips keep theirs
        self._tips = [(compiled.body(f"hand/{tip.link}").id, tip.centre) for tip in hand.fingertips]
        self._points = asset.points[:_SAMPLES].astype(np.float64)

    def draw(self, grasps: ObjectGrasps, row: int) -> list[NDArray[np.uint8]]:
        """One grasp from its two sides, with rings about its contacts."""
        data, object_T_palm = self._data, grasps.object_T_palm[row]
        data.mocap_pos[self._wrist] = object_T_palm[:3, 3]
        data.mocap_quat[self._wrist] = wxyz(object_T_palm[:3, :3])
        data.qpos[self._joints] = grasps.grasp[row]
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_camlight(self._model, data)
        contacts = grasps.contacts[row][np.isfinite(grasps.contacts[row, :, 0])]
        return [self._picture(towards, contacts) for towards in self._sides()]

    def _sides(self) -> list[NDArray[np.float64]]:
        """Directions to the camera: the one that shows most, and of those well apart from it the next best."""
        directions = _even_directions(_DIRECTIONS)
        shown = np.array([self._shown(towards) for towards in directions])
        best = int(shown.argmax())
        apart = directions @ directions[best] < np.cos(np.radians(_APART))
        return [directions[best], directions[int(np.where(apart, shown, -1.0).argmax())]]

    def _shown(self, towards: NDArray[np.float64]) -> float:
        """Share of the object that the hand does not hide, plus share of the fingertips that nothing hides."""
        data = self._data
        clear = [self._free(point, towards, 0) for point in self._points]
        tips = [
            self._free(data.xpos[body] + data.xmat[body].reshape(3, 3) @ centre, towards, body)
            for body, centre in self._tips
        ]
        return float(np.mean(clear) + np.mean(tips))

    def _free(self, point: NDArray[np.float64], towards: NDArray[np.float64], own: int) -> bool:
        """Whether nothing but the body `own` (0: the object) lies on the way from a point to the camera."""
        return mujoco.mj_ray(self._model, self._data, point, towards, None, True, own, None) < 0.0

    def _picture(self, towards: NDArray[np.float64], contacts: NDArray[np.float64]) -> NDArray[np.uint8]:
        data = self._data
        seen = np.concatenate([self._corners, geom_corners(self._model, data, self._hand_geoms)])
        object_T_camera = framing(seen, towards, _MARGIN)
        eye = object_T_camera[:3, 3]
        picture = render_scene(
            self._model,
            data,
            eye,
            eye + object_T_camera[:3, 2],
            size=(_CELL, _CELL),
            field_of_view=FIELD_OF_VIEW,
        )
        camera_p = apply(invert(object_T_camera), contacts)
        k = picture_camera(_CELL, _CELL)
        for u, v in np.rint(k.fx * camera_p[:, :2] / camera_p[:, 2:] + [k.cx, k.cy]).astype(int).tolist():
            for colour, width in (((0, 0, 0), 3), (_RING_COLOUR, 1)):
                cv2.circle(picture, (u, v), 6, colour, width, cv2.LINE_AA)
        return picture


def _even_directions(count: int) -> NDArray[np.float64]:
    """Unit vectors (count, 3) spread evenly over the sphere: a Fibonacci lattice."""
    number = np.arange(count) + 0.5
    height, turn = 1.0 - 2.0 * number / count, np.pi * (1.0 + np.sqrt(5.0)) * number
    across = np.sqrt(1.0 - height**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)
