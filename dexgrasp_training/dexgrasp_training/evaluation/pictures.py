"""A grasp in its scene: the hand on the object that it aims at, seen from where most of both shows."""

from __future__ import annotations

import mujoco
import numpy as np
from dexgrasp_common.transforms import apply
from dexgrasp_description.mjcf import hand_spec
from dexgrasp_sim.picture import Image, render_scene
from dexgrasp_sim.scene import VISUAL_GROUP, add_mesh, wxyz
from dexgrasp_sim.world import add_lights
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_training.evaluation.scenes import TestScene
from dexgrasp_training.report.framing import FIELD_OF_VIEW, framing, geom_corners

SIZE = (420, 320)  # width and height [px]
_MARGIN = 0.02  # about hand and object [m]
_HEIGHT = 0.75  # of the camera over its distance along the table
_AZIMUTHS = 12  # sides from which a grasp may be seen
_SAMPLES = 48  # points of the object that are looked for
_TABLE_COLOUR = (0.90, 0.90, 0.88, 1.0)
_HAND_COLOUR = (0.46, 0.48, 0.52, 1.0)
_AIMED_COLOUR = (0.22, 0.58, 0.84, 1.0)
_OTHER_COLOUR = (0.80, 0.74, 0.64, 1.0)


class GraspPicture:
    """A scene with a hand that is put where a grasp has it."""

    def __init__(self, hand: HandModel, test: TestScene) -> None:
        self._test = test
        spec = mujoco.MjSpec()
        add_lights(spec)
        spec.visual.quality.shadowsize = 2048
        for light in spec.lights:
            light.specular = np.zeros(3)
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1.5, 1.5, 0.1], rgba=_TABLE_COLOUR)
        for model, pose in zip(test.lift_scene.objects, test.lift_scene.world_T_object, strict=True):
            add_mesh(spec, model.name, model.mesh)
            body = spec.worldbody.add_body(name=model.name, pos=pose[:3, 3], quat=wxyz(pose[:3, :3]))
            body.add_geom(
                name=model.name,
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=model.name,
                group=VISUAL_GROUP,
                contype=0,
                conaffinity=0,
            )
        wrist = spec.worldbody.add_body(name="wrist", mocap=True)
        spec.attach(hand_spec(hand), prefix="hand/", frame=wrist.add_frame())
        self._model = compiled = spec.compile()
        self._data = mujoco.MjData(compiled)
        self._joints = [compiled.joint(f"hand/{name}").qposadr[0] for name in hand.joint_names]
        self._wrist = compiled.body("wrist").mocapid[0]
        self._objects = [compiled.geom(model.name).id for model in test.lift_scene.objects]
        first = compiled.body("wrist").id
        self._hand_geoms = np.flatnonzero(compiled.geom_bodyid >= first)
        dark = [geom for geom in self._hand_geoms if compiled.geom_rgba[geom, 0] < 0.5]
        compiled.geom_rgba[dark] = _HAND_COLOUR  # the fingertips keep theirs
        self._tips = [(compiled.body(f"hand/{tip.link}").id, tip.centre) for tip in hand.fingertips]

    def draw(self, world_T_palm: NDArray[np.float64], grasp: NDArray[np.float64], aimed: int) -> Image:
        """The hand with closed fingers, the object number `aimed` in blue: array (H, W, 3), red, green, blue.

        Raises:
            RenderError: OpenGL cannot be used here.
        """
        model, data = self._model, self._data
        model.geom_rgba[self._objects] = _OTHER_COLOUR
        model.geom_rgba[self._objects[aimed]] = _AIMED_COLOUR
        data.mocap_pos[self._wrist] = world_T_palm[:3, 3]
        data.mocap_quat[self._wrist] = wxyz(world_T_palm[:3, :3])
        data.qpos[self._joints] = grasp
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        mesh = self._test.lift_scene.objects[aimed].mesh
        pose = self._test.lift_scene.world_T_object[aimed]
        vertices = np.asarray(mesh.vertices)
        points = apply(pose, vertices[:: max(1, len(vertices) // _SAMPLES)]).astype(np.float64)
        angles = 2.0 * np.pi * np.arange(_AZIMUTHS) / _AZIMUTHS
        sides = [np.array([np.cos(angle), np.sin(angle), _HEIGHT], dtype=np.float64) for angle in angles]
        best = max(sides, key=lambda towards: self._shown(towards, points, aimed))
        seen = np.concatenate([apply(pose, vertices), geom_corners(model, data, self._hand_geoms)])
        world_T_camera = framing(seen, best, _MARGIN, SIZE[0] / SIZE[1])
        eye = world_T_camera[:3, 3]
        return render_scene(model, data, eye, eye + world_T_camera[:3, 2], size=SIZE, field_of_view=FIELD_OF_VIEW)

    def _shown(self, towards: NDArray[np.float64], points: NDArray[np.float64], aimed: int) -> float:
        """Share of the object that nothing hides, plus share of the fingertips."""
        data = self._data
        own = int(self._model.geom_bodyid[self._objects[aimed]])
        object_ = [self._free(point, towards, own) for point in points]
        tips = [
            self._free(data.xpos[body] + data.xmat[body].reshape(3, 3) @ centre, towards, body)
            for body, centre in self._tips
        ]
        return float(np.mean(object_) + np.mean(tips))

    def _free(self, point: NDArray[np.float64], towards: NDArray[np.float64], own: int) -> bool:
        """Whether nothing but the body `own` lies on the way from a point to the camera."""
        return mujoco.mj_ray(self._model, self._data, point, towards, None, True, own, None) < 0.0
