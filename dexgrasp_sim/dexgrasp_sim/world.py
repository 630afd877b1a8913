"""The workcell as a MuJoCo scene: robot with servos, table, bin, camera and objects."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from dexgrasp_description.mjcf import robot_spec
from numpy.typing import NDArray

from dexgrasp_description import Cell, load_arm, load_hand
from dexgrasp_sim.camera import add_camera, set_depth_range
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.scene import OBJECT, ROBOT, STATIC, add_object, add_static_box, set_physics, surface
from dexgrasp_sim.servo import add_servos, arm_gains, hand_gains


def build_world(
    cell: Cell, models: Sequence[ObjectModel], poses: Sequence[NDArray[np.float64]], friction: float
) -> mujoco.MjSpec:
    """Scene of the cell with objects at the given poses (4, 4), world frame.

    Args:
        friction: Sliding coefficient of hand, objects and table alike.
    """
    spec = robot_spec(cell)
    set_physics(spec)
    # Objects that lie still cost nothing until something touches them: a seventh of the time with five objects.
    spec.option.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    set_depth_range(spec)
    _arm_the_robot(spec, cell, friction)
    _furnish(spec, cell, friction)
    add_camera(spec, cell.world_T_camera, cell.intrinsics)
    for model, pose in zip(models, poses, strict=True):
        add_object(spec, model, friction, pose)
    return spec


def _arm_the_robot(spec: mujoco.MjSpec, cell: Cell, friction: float) -> None:
    arm, hand = load_arm(cell.arm), load_hand(cell.hand)
    for geom in spec.geoms:
        for name, value in surface(friction).items():
            setattr(geom, name, value)
        geom.contype, geom.conaffinity = ROBOT, ROBOT | OBJECT | STATIC
    # The arm's controller knows its links' weight, as a real one does; the hand is carried by the servos' stiffness.
    for link in arm.links:
        spec.body(link).gravcomp = 1.0
    add_servos(spec, arm.joint_names, arm.effort_limit, arm_gains(arm))
    add_servos(spec, hand.joint_names, hand.effort_limit, hand_gains(hand))


def _furnish(spec: mujoco.MjSpec, cell: Cell, friction: float) -> None:
    table, floor = cell.table, cell.table.center[2] - 0.75
    add_static_box(spec, "table", table.center, table.size, friction, material=_material(spec, "table"))
    for box in cell.bin.walls():
        add_static_box(spec, box.name, box.center, box.size, friction, rgba=[0.16, 0.30, 0.46, 1.0])
    for box in cell.obstacles:
        add_static_box(spec, box.name, box.center, box.size, friction, rgba=[0.20, 0.21, 0.23, 1.0])
    spec.worldbody.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        pos=[0.0, 0.0, floor],
        size=[0.0, 0.0, 1.0],
        material=_material(spec, "floor"),
        contype=STATIC,
        conaffinity=OBJECT,
        **surface(friction),
    )
    _draw_only(spec, cell, floor)
    add_lights(spec)


def _draw_only(spec: mujoco.MjSpec, cell: Cell, floor: float) -> None:
    """What is seen and never touched: legs of the table, outline of the object area, floor of the bin."""
    table = cell.table
    steel, line = [0.35, 0.36, 0.38, 1.0], [0.98, 0.98, 0.96, 1.0]

    def draw(centre: Sequence[float], size: Sequence[float], colour: list[float]) -> None:
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=centre,
            size=[edge / 2 for edge in size],
            rgba=colour,
            contype=0,
            conaffinity=0,
        )

    bottom = table.center[2] - table.size[2] / 2
    for signs in np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)]):
        corner = table.center[:2] + 0.5 * signs * (table.size[:2] - 0.08)
        draw((*corner, (bottom + floor) / 2), (0.05, 0.05, bottom - floor), steel)
    x0, x1, y0, y1 = cell.area
    for x in (x0, x1):
        draw((x, (y0 + y1) / 2, 0.0), (0.004, y1 - y0, 0.0004), line)
    for y in (y0, y1):
        draw(((x0 + x1) / 2, y, 0.0), (x1 - x0, 0.004, 0.0004), line)
    draw((*cell.bin.center, 0.0), (*cell.bin.inner_size[:2], 0.001), [0.24, 0.40, 0.58, 1.0])


def add_lights(spec: mujoco.MjSpec) -> None:
    """Two lamps, one of which casts shadows, and a bright sky."""
    directional = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    spec.worldbody.add_light(
        type=directional, pos=[0.6, -0.6, 2.0], dir=[-0.35, 0.4, -1.0], diffuse=[0.55] * 3, castshadow=True
    )
    spec.worldbody.add_light(
        type=directional,
        pos=[-1, 1, 2],
        dir=[0.6, -0.5, -0.8],
        diffuse=[0.25] * 3,
        specular=[0.0] * 3,
        castshadow=False,
    )
    spec.visual.headlight.ambient = [0.33] * 3
    spec.visual.headlight.diffuse = [0.08] * 3
    spec.visual.headlight.specular = [0.0] * 3
    spec.visual.quality.shadowsize = 4096
    spec.visual.map.shadowclip = 2.0
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.86, 0.90, 0.94],
        rgb2=[0.62, 0.68, 0.75],
        width=256,
        height=256,
    )


def _material(spec: mujoco.MjSpec, name: str) -> str:
    colours = {"table": ([0.80, 0.72, 0.60], [0.77, 0.69, 0.57]), "floor": ([0.62, 0.64, 0.66], [0.58, 0.60, 0.62])}
    first, second = colours[name]
    spec.add_texture(
        name=name,
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=first,
        rgb2=second,
        width=128,
        height=128,
    )
    material = spec.add_material(name=name, texrepeat=[4.0, 4.0], texuniform=True, specular=0.1, shininess=0.1)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return name
