"""URDF documents: readable by others, equal to the data files, and whole robots put together right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np
import pinocchio
import pytest
import torch
from dexgrasp_common.transforms import from_xyz_rpy
from dexgrasp_description.cell import cell_names
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_description.tree import read_inertias
from dexgrasp_description.urdf import robot_urdf, write_geometry

from dexgrasp_description import load_arm, load_cell, load_hand

from .robots import ROBOTS, load, pinocchio_positions, random_positions

SOLID = {"box": 1, "sphere": 1, "cylinder": 1, "capsule": 3}


@pytest.mark.parametrize("robot", ROBOTS)
def test_every_urdf_loads_in_pinocchio_and_mujoco(robot: tuple[str, str]) -> None:
    model = load(robot)
    pin_model = pinocchio.buildModelFromUrdf(str(model.urdf_path))
    assert {name for name in pin_model.names if name != "universe"} == set(model.joint_names)
    shapes = pinocchio.buildGeomFromUrdf(pin_model, str(model.urdf_path), pinocchio.GeometryType.COLLISION)
    assert shapes.ngeoms == sum(SOLID[primitive.kind] for primitive in model.collision)
    assert mujoco.MjModel.from_xml_path(str(model.urdf_path)).nq == len(model.joint_names)


@pytest.mark.parametrize("robot", ROBOTS)
def test_solids_of_the_urdf_are_those_of_the_data_file(robot: tuple[str, str]) -> None:
    """Points on the surface of the data file's primitives lie on the surface of the URDF's solids of that link."""
    model = load(robot)
    root = ElementTree.parse(model.urdf_path).getroot()
    for tag in ("visual", "collision"):
        for link in model.links:
            own = model.primitives_of(link)
            elements = root.findall(f"link[@name='{link}']/{tag}")
            assert len(elements) == sum(SOLID[primitive.kind] for primitive in own)
            for primitive in own:
                points, _ = primitive.sample_surface(50, np.random.default_rng(0))
                nearest = np.min([np.abs(_distance(element, points)) for element in elements], axis=0)
                np.testing.assert_allclose(nearest, 0.0, atol=1e-9, err_msg=link)


def _distance(element: ElementTree.Element, points: np.ndarray) -> np.ndarray:
    """Signed distance of points to a URDF solid, from the URDF's own words."""
    origin, geometry = element.find("origin"), element.find("geometry")
    assert origin is not None
    assert geometry is not None
    shape = geometry[0]
    link_T_solid = from_xyz_rpy(*(np.array(origin.attrib[key].split(), dtype=float) for key in ("xyz", "rpy")))
    local = (points - link_T_solid[:3, 3]) @ link_T_solid[:3, :3]
    if shape.tag == "sphere":
        return np.linalg.norm(local, axis=1) - float(shape.attrib["radius"])
    if shape.tag == "box":
        excess = np.abs(local) - np.array(shape.attrib["size"].split(), dtype=float) / 2.0
    else:
        radial = np.linalg.norm(local[:, :2], axis=1) - float(shape.attrib["radius"])
        excess = np.column_stack([radial, np.abs(local[:, 2]) - float(shape.attrib["length"]) / 2.0])
    return np.linalg.norm(np.maximum(excess, 0.0), axis=1) + np.minimum(excess.max(axis=1), 0.0)


@pytest.mark.parametrize("robot", ROBOTS)
def test_writing_the_geometry_again_changes_nothing(robot: tuple[str, str], tmp_path: Path) -> None:
    model = load(robot)
    copy = tmp_path / "copy.urdf"
    copy.write_text(model.urdf_path.read_text())
    write_geometry(replace(model, urdf_path=copy))
    assert copy.read_text() == model.urdf_path.read_text()


@pytest.mark.parametrize("name", cell_names())
def test_whole_robot_is_arm_then_bracket_then_hand(name: str) -> None:
    cell = load_cell(name)
    arm, hand = load_arm(cell.arm), load_hand(cell.hand)
    pin_model = pinocchio.buildModelFromXML(robot_urdf(cell))
    pin_data = pin_model.createData()
    arm_poses, hand_poses = ForwardKinematics(arm), ForwardKinematics(hand)
    for q_arm, q_hand in zip(random_positions(arm, 5), random_positions(hand, 5), strict=True):
        q = pinocchio_positions(pin_model, (*arm.joint_names, *hand.joint_names), np.concatenate([q_arm, q_hand]))
        pinocchio.framesForwardKinematics(pin_model, pin_data, q)
        base_T_flange = arm_poses.link_poses(torch.as_tensor(q_arm)[None])[arm.flange_link][0].numpy()
        world_T_palm = cell.world_T_base @ base_T_flange @ cell.flange_T_palm
        for tip in hand.fingertips:
            palm_T_tip = hand_poses.link_poses(torch.as_tensor(q_hand)[None])[tip.link][0].numpy()
            found = pin_data.oMf[pin_model.getFrameId(tip.link)].homogeneous
            np.testing.assert_allclose(found, world_T_palm @ palm_T_tip, atol=1e-9)
    # pinocchio leaves out what is fixed to the world: the arm's base.
    arm_masses, hand_masses = read_inertias(arm.urdf_path), read_inertias(hand.urdf_path)
    moving = [inertia.mass for link, inertia in arm_masses.items() if link != arm.base_link]
    expected = sum(moving) + sum(inertia.mass for inertia in hand_masses.values()) + cell.bracket_mass
    assert pinocchio.computeTotalMass(pin_model) == pytest.approx(expected)
