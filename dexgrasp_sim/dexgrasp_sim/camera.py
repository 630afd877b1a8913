"""The simulated depth camera: any pinhole intrinsics; depth, colour and segmentation by MuJoCo's renderer on EGL."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexgrasp_description import CameraIntrinsics
from dexgrasp_sim.plant import SimError
from dexgrasp_sim.scene import COLLISION_GROUP, wxyz

CAMERA = "camera"
NEAR, FAR = 0.05, 10.0  # what is nearer or farther has no depth [m]

_PIXEL = 1e-5  # width of a pixel on the model's sensor; it cancels out [m]
_GL_R_OPTICAL = np.diag([1.0, -1.0, -1.0])  # MuJoCo's cameras look along -z with y up


class RenderError(SimError):
    """No picture can be drawn here."""


def add_camera(
    spec: mujoco.MjSpec, world_T_camera: NDArray[np.float64], intrinsics: CameraIntrinsics, name: str = CAMERA
) -> None:
    """Add a fixed pinhole camera, and an off-screen buffer that holds its image.

    Args:
        world_T_camera: Pose of the optical frame (z forward, x right, y down).
        intrinsics: Pixel centres are at integer coordinates, as in the deprojection `x = (u - cx) z / fx`.
    """
    camera = spec.worldbody.add_camera(name=name, pos=world_T_camera[:3, 3])
    camera.quat = wxyz(world_T_camera[:3, :3] @ _GL_R_OPTICAL)
    width, height = intrinsics.width, intrinsics.height
    camera.resolution = [width, height]
    camera.sensor_size = [width * _PIXEL, height * _PIXEL]
    camera.focal_pixel = [intrinsics.fx, intrinsics.fy]
    # OpenGL puts the first pixel's centre at 0.5 and the principal point's offset on the other side.
    camera.principal_pixel = [width / 2 - (intrinsics.cx + 0.5), height / 2 - (intrinsics.cy + 0.5)]
    buffer = spec.visual.global_
    buffer.offwidth, buffer.offheight = max(buffer.offwidth, width), max(buffer.offheight, height)


def set_depth_range(spec: mujoco.MjSpec) -> None:
    """Clip planes of every camera of the scene at `NEAR` and `FAR`, and one sample a pixel, as a depth image has."""
    spec.visual.quality.offsamples = 0
    spec.stat.extent = 1.0
    spec.visual.map.znear, spec.visual.map.zfar = NEAR, FAR


class CameraRenderer:
    """Draws what one camera of a compiled scene sees. An EGL context belongs to a thread: use it where it was made.

    Args:
        model: Compiled scene with the camera.
        name: Name of the camera; its resolution is the size of the images.

    Raises:
        RenderError: OpenGL cannot be used here.
    """

    def __init__(self, model: mujoco.MjModel, name: str = CAMERA) -> None:
        self._model, self._name = model, name
        width, height = model.cam_resolution[model.cam(name).id]
        try:
            self._renderer = mujoco.Renderer(model, int(height), int(width))
        except Exception as error:  # the bindings raise whatever their GL library raises
            raise RenderError(
                f"No off-screen OpenGL context: {error}. Install libegl1, libegl-mesa0 and libgl1-mesa-dri, "
                "and set MUJOCO_GL=egl before Python starts."
            ) from error
        self._options = mujoco.MjvOption()
        self._options.geomgroup[COLLISION_GROUP] = 0
        self._options.sitegroup[:] = 0

    def depth(self, data: mujoco.MjData) -> NDArray[np.float32]:
        """Distance along the optical axis (H, W) [m]; 0 where nothing is between `NEAR` and `FAR`."""
        self._renderer.enable_depth_rendering()
        try:
            depth = self._draw(data)
        finally:
            self._renderer.disable_depth_rendering()
        depth[depth >= 0.999 * FAR] = 0.0
        return depth

    def colour(self, data: mujoco.MjData, *, shadows: bool = False) -> NDArray[np.uint8]:
        """Image (H, W, 3), red, green, blue. Shadows take five times as long."""
        return self._draw(data, shadows=shadows)

    def segmentation(self, data: mujoco.MjData) -> NDArray[np.int32]:
        """Body of each pixel (H, W) as the scene numbers them; 0 for what is fixed in the world, -1 for nothing."""
        # The renderer's own segmentation mode decodes its colours twenty times slower than the table below.
        colours = self._draw(data, identities=True)
        identity = colours @ np.array([1, 2**8, 2**16])
        bodies = np.full(identity.max() + 1, -1, np.int32)
        for geom in self._renderer.scene.geoms[: self._renderer.scene.ngeom]:
            if geom.objtype == mujoco.mjtObj.mjOBJ_GEOM and geom.segid + 1 < len(bodies):
                bodies[geom.segid + 1] = self._model.geom_bodyid[geom.objid]
        return bodies[identity]

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()

    def _draw(self, data: mujoco.MjData, *, shadows: bool = False, identities: bool = False) -> NDArray:
        self._renderer.update_scene(data, self._name, self._options)
        flags = self._renderer.scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = identities
        return self._renderer.render()
