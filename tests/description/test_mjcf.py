"""MuJoCo models: geometry of the data file, inertia of the URDF, and the whole robot in its cell."""

from __future__ import annotations

import mujoco
import numpy as np
import pinocchio
import pytest
import torch
from dexgrasp_description.cell import cell_names
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_description.mjcf import robot_spec
from dexgrasp_description.urdf import robot_urdf

from dexgrasp_description import load_arm, load_cell, load_hand

from .robots import ROBOTS, compiled, load, mujoco_positions, penetrations, pinocchio_positions, random_positions


@pytest.mark.parametrize("robot", ROBOTS)
def test_geoms_are_the_collision_primitives(robot: tuple[str, str]) -> None:
    model = load(robot)
    mj_model = compiled(model)
    assert mj_model.ngeom == len(model.collision)
    assert mj_model.nu == 0
    for link in model.links:
        for i, primitive in enumerate(model.primitives_of(link)):
            geom = mj_model.geom(f"{link}_{i}")
            assert mj_model.body(geom.bodyid[0]).name == link
            rotation = np.zeros(9)
            mujoco.mju_quat2Mat(rotation, geom.quat)
            np.testing.assert_allclose(geom.pos, primitive.link_T_geom[:3, 3], atol=1e-12)
            np.testing.assert_allclose(rotation.reshape(3, 3), primitive.link_T_geom[:3, :3], atol=1e-9)
            np.testing.assert_allclose(geom.size[: len(primitive.size)], primitive.size)


@pytest.mark.parametrize("robot", ROBOTS)
def test_joint_limits_are_those_of_the_data_file(robot: tuple[str, str]) -> None:
    model = load(robot)
    mj_model = compiled(model)
    for i, name in enumerate(model.joint_names):
        np.testing.assert_allclose(mj_model.joint(name).range, [model.lower[i], model.upper[i]])


@pytest.mark.parametrize("name", cell_names())
def test_mass_matrix_of_the_whole_robot_agrees_with_pinocchio(name: str) -> None:
    """Every mass, centre and inertia at once, arm, bracket and hand."""
    cell = load_cell(name)
    joint_names = (*load_arm(cell.arm).joint_names, *load_hand(cell.hand).joint_names)
    q = np.concatenate([random_positions(load_arm(cell.arm), 1)[0], random_positions(load_hand(cell.hand), 1)[0]])
    mj_model = robot_spec(cell).compile()
    mj_data = mujoco.MjData(mj_model)
    mj_data.qpos[:] = mujoco_positions(mj_model, joint_names, q)
    mujoco.mj_forward(mj_model, mj_data)
    full = np.zeros((mj_model.nv, mj_model.nv))
    mujoco.mj_fullM(mj_model, mj_data, full)
    pin_model = pinocchio.buildModelFromXML(robot_urdf(cell))
    mass = pinocchio.crba(pin_model, pin_model.createData(), pinocchio_positions(pin_model, joint_names, q))
    mass = np.triu(mass) + np.triu(mass, 1).T
    mj_order = [mj_model.joint(joint).dofadr[0] for joint in joint_names]
    pin_order = [pin_model.joints[pin_model.getJointId(joint)].idx_v for joint in joint_names]
    np.testing.assert_allclose(
        full[np.ix_(mj_order, mj_order)], mass[np.ix_(pin_order, pin_order)], rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("name", cell_names())
def test_palm_of_the_whole_robot_is_where_the_cell_puts_it(name: str) -> None:
    cell = load_cell(name)
    arm, hand = load_arm(cell.arm), load_hand(cell.hand)
    mj_model = robot_spec(cell).compile()
    mj_data = mujoco.MjData(mj_model)
    for q in random_positions(arm, 5):
        mj_data.qpos[:] = mujoco_positions(mj_model, arm.joint_names, q)
        mujoco.mj_kinematics(mj_model, mj_data)
        base_T_flange = ForwardKinematics(arm).link_poses(torch.as_tensor(q)[None])[arm.flange_link][0].numpy()
        world_T_palm = cell.world_T_base @ base_T_flange @ cell.flange_T_palm
        np.testing.assert_allclose(mj_data.body(hand.base_link).xpos, world_T_palm[:3, 3], atol=1e-9)
        np.testing.assert_allclose(mj_data.body(hand.base_link).xmat.reshape(3, 3), world_T_palm[:3, :3], atol=1e-9)


@pytest.mark.parametrize("name", cell_names())
def test_home_of_the_whole_robot_is_free_of_collision(name: str) -> None:
    cell = load_cell(name)
    arm, hand = load_arm(cell.arm), load_hand(cell.hand)
    spec = robot_spec(cell)
    for box in cell.static_boxes():
        spec.worldbody.add_geom(
            name=box.name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=box.center, size=box.size / 2.0, margin=0.01
        )
    home = np.concatenate([cell.home, hand.home])
    assert penetrations(spec.compile(), (*arm.joint_names, *hand.joint_names), home) == []
