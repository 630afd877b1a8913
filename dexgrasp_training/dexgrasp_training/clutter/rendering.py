"""Depth and object ids of a scene from many cameras: one compiled model, one draw for each view.

Drawing goes through EGL (`MUJOCO_GL=egl`, set before Python starts). Where there are GPUs, `MUJOCO_EGL_DEVICE_ID` says
which one draws; without any, Mesa draws on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import mujoco
import numpy as np
from dexgrasp_sim.camera import CAMERA, FAR, NEAR, RenderError, add_camera, set_depth_range
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.scene import add_mesh, wxyz
from numpy.typing import NDArray

from dexgrasp_description import CameraIntrinsics

# GraspNet-1Billion's RealSense at half its size; pixel centres are at integer coordinates.
INTRINSICS = CameraIntrinsics(
    width=640,
    height=360,
    fx=463.58486989,
    fy=463.68344116,
    cx=(651.31506348 + 0.5) / 2 - 0.5,
    cy=(349.62133789 + 0.5) / 2 - 0.5,
)

_TABLE = 2.5  # half the edge of the drawn table [m]
_GL_R_OPTICAL = np.diag([1.0, -1.0, -1.0])  # MuJoCo's cameras look along -z with y up


class SceneRenderer:
    """Draws objects on the table z = 0. An EGL context belongs to a thread: use it where it was made, and close it.

    Args:
        models: The M objects.
        world_T_object: array (M, 4, 4).
        intrinsics: Of every view.

    Raises:
        RenderError: OpenGL cannot be used here.
    """

    def __init__(
        self,
        models: Sequence[ObjectModel],
        world_T_object: NDArray[np.float64],
        intrinsics: CameraIntrinsics = INTRINSICS,
    ) -> None:
        spec = mujoco.MjSpec()
        spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[_TABLE, _TABLE, 0.1])
        for index, (model, world_T_model) in enumerate(zip(models, world_T_object, strict=True)):
            add_mesh(spec, str(index), model.mesh)
            spec.worldbody.add_geom(
                name=str(index),
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=str(index),
                pos=world_T_model[:3, 3],
                quat=wxyz(world_T_model[:3, :3]),
                contype=0,
                conaffinity=0,
            )
        add_camera(spec, np.eye(4), intrinsics)
        set_depth_range(spec)
        model_ = spec.compile()
        self._data = mujoco.MjData(model_)
        mujoco.mj_forward(model_, self._data)
        self._model = model_
        self._number = np.zeros(model_.ngeom, np.uint8)  # of each geom: what its pixels have in the image of ids
        for index in range(len(models)):
            self._number[model_.geom(str(index)).id] = 1 + index
        self._scene = mujoco.MjvScene(model_, maxgeom=model_.ngeom + 1)
        self._scene.flags[:] = 0
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            self._scene.flags[flag] = 1
        self._view = mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._view.fixedcamid = model_.cam(CAMERA).id
        self._rectangle = mujoco.MjrRect(0, 0, intrinsics.width, intrinsics.height)
        try:
            self._gl = mujoco.GLContext(intrinsics.width, intrinsics.height)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model_, mujoco.mjtFontScale.mjFONTSCALE_50)
        except Exception as error:  # the bindings raise whatever their GL library raises
            raise RenderError(
                f"No off-screen OpenGL context: {error}. Install libegl1, libegl-mesa0 and libgl1-mesa-dri, "
                "and set MUJOCO_GL=egl before Python starts."
            ) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR

    def draw(self, world_T_camera: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Depth along the optical axis (H, W) [m], 0 beyond the table, and object ids (H, W).

        Args:
            world_T_camera: array (4, 4), optical frame.

        Returns:
            The id of an object is 1 + its index; 0 is the table, and what is beyond it.
        """
        camera = self._view.fixedcamid
        self._data.cam_xpos[camera] = world_T_camera[:3, 3]
        self._data.cam_xmat[camera] = (world_T_camera[:3, :3] @ _GL_R_OPTICAL).ravel()
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            mujoco.MjvOption(),
            mujoco.MjvPerturb(),
            self._view,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        shape = self._rectangle.height, self._rectangle.width
        colour, raw = np.empty((*shape, 3), np.uint8), np.empty(shape, np.float32)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(colour, raw, self._rectangle, self._context)
        # Colours count the scene's geoms from 1; there are fewer than 256, so red alone tells them.
        number = np.zeros(256, np.uint8)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            number[geom.segid + 1] = self._number[geom.objid]
        # The depth buffer holds 1 at the near plane and 0 at the far one, linear in 1/z.
        slope = np.float32(NEAR / (FAR - NEAR))
        depth = np.float32(FAR) * slope / (raw + slope)
        depth[raw == 0.0] = 0.0
        return np.ascontiguousarray(depth[::-1]), number[colour[::-1, :, 0]]

    def close(self) -> None:
        """Free the OpenGL context."""
        self._context.free()
        self._gl.free()

    def __enter__(self) -> SceneRenderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
