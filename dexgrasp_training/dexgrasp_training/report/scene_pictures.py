"""A scene in six pictures: in colour, with its grasps (the paper's Fig. 2), where they touch, and one of its views."""

from __future__ import annotations

from typing import Any

import cv2
import mujoco
import numpy as np
from dexgrasp_common.transforms import apply, invert
from dexgrasp_sim.picture import Image, render_scene
from dexgrasp_sim.scene import VISUAL_GROUP, add_mesh, wxyz
from dexgrasp_sim.world import add_lights
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dexgrasp_description import load_hand
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.clutter.rendering import SceneRenderer
from dexgrasp_training.clutter.view_files import UNIT, SceneViews, cameras_path
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.report.charts import new_figure, plain
from dexgrasp_training.report.framing import FIELD_OF_VIEW, framing, picture_camera
from dexgrasp_training.scene_record import SceneRecord, load_clear_grasps, load_totals
from dexgrasp_training.storage import read_array

PALMS = 300  # drawn in one scene at most
NEAR = 0.01  # contacts this close to a point of the surface count for it [m]

# Paul Tol's muted colours and four of Okabe and Ito's: one for each object of a scene.
_PALETTE = (
    *("#332288", "#88CCEE", "#DDCC77", "#117733", "#CC6677", "#44AA99"),
    *("#882255", "#999933", "#AA4499", "#E69F00", "#0072B2", "#D55E00"),
)
_TABLE_COLOUR = (0.90, 0.90, 0.88, 1.0)
_BAR = 10  # height of a colour scale [px]
_UNTOUCHED = (0.72, 0.72, 0.72)
_WIDTH, _HEIGHT = 500, 312  # of a drawn picture [px]
_TOWARDS = np.array([0.62, -0.42, 0.66])  # from the middle of the scene to the camera
_MARGIN = 0.02  # about objects and palms [m]
_ARROW = 0.03  # length of the line from a palm along its approach [m]
_SCALE = "viridis"


class ScenePicture:
    """A scene, its objects, and the grasps that are clear there.

    Args:
        dataset: Where they are read from.
        hand: Name of the hand.
        scene: The scene.

    Raises:
        DatasetError: A file is missing or damaged.
    """

    def __init__(self, dataset: Dataset, hand: str, scene: SceneRecord) -> None:
        self._dataset, self._hand, self._scene = dataset, hand, scene
        assets = {name: dataset.asset(name) for name in sorted(set(scene.objects))}
        self._assets: list[ObjectAsset] = [assets[name] for name in scene.objects]
        self._total: list[int] = []
        self._clear: list[ObjectGrasps] | None = None
        path = dataset.clear_grasps_path(scene.name, hand)
        if path.is_file() and all(dataset.grasps_path(hand, name).is_file() for name in assets):
            every = [dataset.grasps(hand, name) for name in scene.objects]
            self._total = [len(grasps) for grasps in every]
            if load_totals(path) in (None, self._total):  # else its rows are those of other grasps
                rows = load_clear_grasps(path)
                self._clear = [grasps[clear] for grasps, clear in zip(every, rows, strict=True)]
        corners = [
            apply(pose, np.asarray(asset.model.mesh.vertices))
            for asset, pose in zip(self._assets, scene.world_T_object, strict=True)
        ]
        seen = corners
        if self._clear is not None:
            self._palm_owner = np.concatenate([np.full(len(own), i) for i, own in enumerate(self._clear)])
            poses = [pose @ own.object_T_palm for pose, own in zip(scene.world_T_object, self._clear, strict=True)]
            kept = np.linspace(0, len(self._palm_owner) - 1, min(PALMS, len(self._palm_owner))).astype(int)
            self._palm_owner, self._world_T_palm = self._palm_owner[kept], np.concatenate(poses)[kept]
            seen = [*corners, self._world_T_palm[:, :3, 3]]
        self._world_T_camera = framing(np.concatenate(seen), _TOWARDS, _MARGIN, _WIDTH / _HEIGHT)
        self._colours = [to_rgb(_PALETTE[i % len(_PALETTE)]) for i in range(len(scene.objects))]

    def draw(self) -> Figure:
        """The six pictures.

        Raises:
            DatasetError: A file is damaged.
            RenderError: OpenGL cannot be used here.
        """
        figure = new_figure(15.0, 8.2)
        ratios = [_HEIGHT, _BAR, _HEIGHT, _BAR]
        rows = figure.subplots(4, 3, gridspec_kw={"height_ratios": ratios})
        for axes in rows[1::2].ravel():
            axes.set_axis_off()
        colour, palms, touched = rows[0]
        self._show(colour, "in colour", self._coloured([asset.model.colour for asset in self._assets]))
        if self._clear is None:
            for axes in (palms, touched):
                _absent(axes, "clear grasps are not known")
        else:
            drawn = self._palms(self._coloured([_faded(colour) for colour in self._colours]))
            self._show(palms, f"palms of clear grasps (at most {PALMS}) and where they reach", drawn)
            picture, scale = self._touched()
            self._show(touched, f"contacts of clear grasps within {100 * NEAR:.0f} cm", picture)
            _bar(figure, scale, rows[1, 2], MaxNLocator(integer=True))
        self._draw_view(figure, rows[2:])
        handles = []
        for index, name in enumerate(self._scene.objects):
            count = "" if self._clear is None else f": {len(self._clear[index]):,} of {self._total[index]:,} clear"
            handles.append(Patch(facecolor=self._colours[index], label=f"{index + 1} {plain(name)}{count}"))
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=10)
        figure.suptitle(plain(self._scene.name), fontsize=13)
        return figure

    def _draw_view(self, figure: Figure, rows: NDArray[Any]) -> None:
        """A row of pictures, and below it a row for their scales."""
        depth, ids, labels = rows[0]
        folder = self._dataset.views_path(self._scene.name)
        if not cameras_path(folder).is_file():
            for axes in (depth, ids, labels):
                _absent(axes, "no views yet")
            return
        views = SceneViews.load(folder)
        number = int(views.numbers[0])
        depth_image, id_image = views.read(number)
        metres = np.where(depth_image > 0, depth_image * UNIT, np.nan)
        shown = depth.imshow(metres, cmap=f"{_SCALE}_r")
        _bar(figure, shown, rows[1, 0])
        self._show(depth, f"view {number}: depth [m]", None)
        colours = ListedColormap([_TABLE_COLOUR[:3], *self._colours])
        ids.imshow(id_image, cmap=colours, vmin=-0.5, vmax=len(self._colours) + 0.5, interpolation="none")
        self._show(ids, f"view {number}: object ids", None)
        path = self._dataset.labels_path(self._scene.name, self._hand)
        if not path.is_file():
            _absent(labels, "no graspness yet")
            return
        values = np.full(id_image.shape, np.nan)
        values[id_image > 0] = read_array(path, str(number))
        labels.set_facecolor(_TABLE_COLOUR)
        shown = labels.imshow(values, cmap=_SCALE, interpolation="none")
        _bar(figure, shown, rows[1, 2])
        self._show(labels, f"view {number}: graspness (ln)", None)

    @staticmethod
    def _show(axes: Axes, title: str, picture: Image | None) -> None:
        if picture is not None:
            axes.imshow(picture, interpolation="none")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_title(title, fontsize=11)

    def _coloured(self, colours: list[tuple[float, float, float]]) -> Image:
        """The scene with these colours."""
        spec = mujoco.MjSpec()
        add_lights(spec)
        spec.visual.quality.shadowsize = 2048
        for light in spec.lights:
            light.specular = np.zeros(3)
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1.5, 1.5, 0.1], rgba=_TABLE_COLOUR)
        for index, (asset, pose) in enumerate(zip(self._assets, self._scene.world_T_object, strict=True)):
            add_mesh(spec, str(index), asset.model.mesh)
            spec.worldbody.add_geom(
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=str(index),
                pos=pose[:3, 3],
                quat=wxyz(pose[:3, :3]),
                rgba=[*colours[index], 1.0],
                group=VISUAL_GROUP,
                contype=0,
                conaffinity=0,
            )
        model = spec.compile()
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        eye = self._world_T_camera[:3, 3]
        return render_scene(
            model, data, eye, eye + self._world_T_camera[:3, 2], size=(_WIDTH, _HEIGHT), field_of_view=FIELD_OF_VIEW
        )

    def _seen(self, scale: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Depth [m] and object ids of the picture, `scale` times as large."""
        models = [asset.model for asset in self._assets]
        with SceneRenderer(
            models, self._scene.world_T_object, picture_camera(scale * _WIDTH, scale * _HEIGHT)
        ) as renderer:
            return renderer.draw(self._world_T_camera)

    def _palms(self, picture: Image) -> Image:
        """Dots at the palms, with lines along which they approach, in the colour of their object."""
        assert self._clear is not None
        depth, _ = self._seen(1)
        k, approach = picture_camera(_WIDTH, _HEIGHT), load_hand(self._hand).approach_axis
        camera_T_world = invert(self._world_T_camera)
        for owner, world_T_palm in zip(self._palm_owner, self._world_T_palm, strict=True):
            ends = np.stack([np.zeros(3), _ARROW * approach])
            camera_p = apply(camera_T_world @ world_T_palm, ends)
            pixel = np.rint(camera_p[:, :2] / camera_p[:, 2:] * k.fx + [k.cx, k.cy]).astype(int)
            u, v = pixel[0]
            inside = 0 <= u < k.width and 0 <= v < k.height
            if not inside or 0.0 < depth[v, u] < camera_p[0, 2]:
                continue  # outside the picture, or behind an object
            colour = tuple(int(255 * part) for part in self._colours[owner])
            cv2.line(picture, pixel[0].tolist(), pixel[1].tolist(), colour, 1, cv2.LINE_AA)
            cv2.circle(picture, pixel[0].tolist(), 4, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(picture, pixel[0].tolist(), 3, colour, -1, cv2.LINE_AA)
        return picture

    def _touched(self) -> tuple[Image, ScalarMappable]:
        """Surfaces coloured by the number of contacts nearby, shaded; and what the colours mean."""
        assert self._clear is not None
        shading = self._coloured([(1.0, 1.0, 1.0)] * len(self._assets)).astype(np.float64)
        depth, ids = self._seen(2)
        counts = np.zeros(ids.shape)
        k = picture_camera(2 * _WIDTH, 2 * _HEIGHT)
        for index, (asset, grasps) in enumerate(zip(self._assets, self._clear, strict=True)):
            v, u = np.nonzero((ids == index + 1) & (depth > 0.0))
            contacts = grasps.contacts[np.isfinite(grasps.contacts[..., 0])]
            if not len(v) or not len(contacts):
                continue
            z = depth[v, u].astype(np.float64)
            camera_p = np.stack([(u - k.cx) * z / k.fx, (v - k.cy) * z / k.fy, z], axis=1)
            object_p = apply(invert(self._scene.world_T_object[index]) @ self._world_T_camera, camera_p)
            near = cKDTree(contacts).query_ball_point(asset.points, NEAR, return_length=True)
            counts[v, u] = near[cKDTree(asset.points).query(object_p)[1]]
        scale = ScalarMappable(Normalize(1.0, max(float(counts.max()), 2.0)), colormaps[_SCALE])
        colours = np.where((counts > 0.0)[..., None], scale.to_rgba(counts)[..., :3], _UNTOUCHED)
        brightest = max(float(shading[ids[::2, ::2] > 0].max(initial=0.0)), 1.0)
        tint = np.where((ids > 0)[..., None], colours * (255.0 / brightest), 1.0)  # of the table: none
        tint = cv2.resize(tint, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
        return np.rint(np.clip(shading * tint, 0.0, 255.0)).astype(np.uint8), scale


def _bar(figure: Figure, shown: ScalarMappable, axes: Axes, ticks: MaxNLocator | None = None) -> None:
    axes.set_axis_on()
    figure.colorbar(shown, cax=axes, orientation="horizontal", ticks=ticks)


def _faded(colour: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = (0.45 * part + 0.55 for part in colour)
    return red, green, blue


def _absent(axes: Axes, words: str) -> None:
    text: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes, "color": "#777777"}
    axes.text(0.5, 0.5, words, **text)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#dddddd")
