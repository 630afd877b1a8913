"""URDF documents: the geometry of a robot from its data file, and the whole robot of a workcell.

`python -m dexgrasp_description.urdf NAME` rewrites the geometry in NAME.urdf from NAME.yaml.
"""

from __future__ import annotations

import argparse
import copy
import warnings
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import models
from dexgrasp_description.cell import Cell
from dexgrasp_description.models import RobotModel, load_arm, load_hand
from dexgrasp_description.primitives import Primitive


def geometry(primitive: Primitive) -> list[Element]:
    """The `<visual>` and `<collision>` elements of one primitive.

    A capsule, which URDF lacks, becomes a cylinder and two spheres.
    """
    solids: list[tuple[NDArray[np.float64], str, dict[str, str]]]
    link_T_geom, size = primitive.link_T_geom, primitive.size
    if primitive.kind == "box":
        solids = [(link_T_geom, "box", {"size": _text(2.0 * size)})]
    elif primitive.kind == "sphere":
        solids = [(link_T_geom, "sphere", {"radius": _text(size)})]
    else:
        solids = [(link_T_geom, "cylinder", {"radius": _text(size[:1]), "length": _text(2.0 * size[1:])})]
    if primitive.kind == "capsule":
        for end in (-size[1], size[1]):
            link_T_end = link_T_geom.copy()
            link_T_end[:3, 3] += end * link_T_geom[:3, 2]
            solids.append((link_T_end, "sphere", {"radius": _text(size[:1])}))
    elements = []
    for tag in ("visual", "collision"):
        for link_T_solid, shape, attributes in solids:
            element = Element(tag)
            element.append(_origin(link_T_solid))
            SubElement(SubElement(element, "geometry"), shape, attributes)
            elements.append(element)
    return elements


def robot_urdf(cell: Cell) -> str:
    """One URDF of the cell's arm on a `world` link, with the bracket and the hand at its flange.

    Link and joint names are those of the arm and of the hand; the mounting joints are `world_to_base` and
    `flange_to_palm`. The bracket's geometry and mass lie on the flange link.
    """
    arm, hand = load_arm(cell.arm), load_hand(cell.hand)
    robot = Element("robot", {"name": cell.name})
    SubElement(robot, "link", {"name": "world"})
    robot.append(_fixed_joint("world_to_base", "world", arm.base_link, cell.world_T_base))
    for model in (arm, hand):
        for element in ElementTree.parse(model.urdf_path).getroot():
            robot.append(copy.deepcopy(element))
    flange = robot.find(f"link[@name='{arm.flange_link}']")
    assert flange is not None, "the models' links were read from these files"
    if cell.bracket:
        flange.append(_bracket_inertial(cell))
    for primitive in cell.bracket:
        flange.extend(geometry(primitive))
    robot.append(_fixed_joint("flange_to_palm", arm.flange_link, hand.base_link, cell.flange_T_palm))
    return _to_string(robot)


def write_geometry(model: RobotModel) -> None:
    """Replace every `<visual>` and `<collision>` in the model's URDF file by the primitives of its data file."""
    tree = ElementTree.parse(
        model.urdf_path, ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    )
    for link in tree.getroot().findall("link"):
        for element in link.findall("visual") + link.findall("collision"):
            link.remove(element)
        for primitive in model.primitives_of(link.attrib["name"]):
            link.extend(geometry(primitive))
    Path(model.urdf_path).write_text(_to_string(tree.getroot()))


def _bracket_inertial(cell: Cell) -> Element:
    """The bracket's mass as one box around its solids."""
    low = np.min([p.link_T_geom[:3, 3] - _extent(p) for p in cell.bracket], axis=0)
    high = np.max([p.link_T_geom[:3, 3] + _extent(p) for p in cell.bracket], axis=0)
    x, y, z = high - low
    centre = np.eye(4)
    centre[:3, 3] = (low + high) / 2.0
    moments = cell.bracket_mass / 12.0 * np.array([y * y + z * z, x * x + z * z, x * x + y * y])
    inertial = Element("inertial")
    inertial.append(_origin(centre))
    SubElement(inertial, "mass", {"value": _text([cell.bracket_mass])})
    products = {"ixy": "0", "ixz": "0", "iyz": "0"}
    SubElement(inertial, "inertia", dict(zip(("ixx", "iyy", "izz"), map(_number, moments), strict=True)) | products)
    return inertial


def _extent(primitive: Primitive) -> NDArray[np.float64]:
    radius_and_half = primitive.size
    if primitive.kind == "box":
        local = radius_and_half
    elif primitive.kind == "sphere":
        local = np.full(3, radius_and_half[0])
    else:
        end = radius_and_half[0] if primitive.kind == "capsule" else 0.0
        local = np.array([radius_and_half[0], radius_and_half[0], radius_and_half[1] + end])
    return np.abs(primitive.link_T_geom[:3, :3]) @ local


def _fixed_joint(name: str, parent: str, child: str, parent_T_child: NDArray[np.float64]) -> Element:
    joint = Element("joint", {"name": name, "type": "fixed"})
    SubElement(joint, "parent", {"link": parent})
    SubElement(joint, "child", {"link": child})
    joint.append(_origin(parent_T_child))
    return joint


def _origin(A_T_B: NDArray[np.float64]) -> Element:
    with warnings.catch_warnings():
        # At a pitch of 90 degrees scipy warns that roll and yaw are not unique; any such pair is right.
        warnings.simplefilter("ignore", UserWarning)
        rpy = Rotation.from_matrix(A_T_B[:3, :3]).as_euler("xyz")
    return Element("origin", {"xyz": _text(A_T_B[:3, 3]), "rpy": _text(rpy)})


def _text(values: NDArray[np.float64] | list[float]) -> str:
    return " ".join(_number(value) for value in values)


def _number(value: float) -> str:
    return f"{round(float(value), 15) + 0.0:.12g}"


def _to_string(robot: Element) -> str:
    ElementTree.indent(robot)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(robot, encoding="unicode") + "\n"


def main() -> None:
    """Rewrite the geometry of one robot's URDF file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=(*models.names("hand"), *models.names("arm")))
    name = parser.parse_args().name
    write_geometry(load_hand(name) if name in models.names("hand") else load_arm(name))


if __name__ == "__main__":
    main()
