"""Hands and objects as URDF files, as Isaac Gym reads them."""

from __future__ import annotations

import copy
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import HandModel
from dexgrasp_sim.objects import ObjectModel, Part, part_mesh

SLIDES = ("slide_x", "slide_y", "slide_z")
SLIDE_RANGE = 1.0  # how far the slides of a flying hand reach either way [m]


def write_hand(hand: HandModel, folder: Path) -> Path:
    """The hand as its description has it; its geometry is primitives, so the file needs no others."""
    path = folder / "hand.urdf"
    path.write_bytes(hand.urdf_path.read_bytes())
    return path


def write_flying_hand(hand: HandModel, folder: Path) -> Path:
    """The hand behind three slides `SLIDES` along the axes of its palm, zero where the root link is."""
    robot = Element("robot", {"name": f"flying_{hand.name}"})
    carriers = ("root", "carrier_x", "carrier_y", hand.base_link)
    for carrier in carriers[:-1]:
        link = SubElement(robot, "link", {"name": carrier})
        link.append(_inertial(0.2, 1e-3 * np.eye(3)))
    for i, name in enumerate(SLIDES):
        joint = SubElement(robot, "joint", {"name": name, "type": "prismatic"})
        SubElement(joint, "parent", {"link": carriers[i]})
        SubElement(joint, "child", {"link": carriers[i + 1]})
        SubElement(joint, "axis", {"xyz": _text(np.eye(3)[i])})
        limit = {"lower": -SLIDE_RANGE, "upper": SLIDE_RANGE, "effort": 1000.0, "velocity": 10.0}
        SubElement(joint, "limit", {key: f"{value:g}" for key, value in limit.items()})
    for element in ElementTree.parse(hand.urdf_path).getroot():
        robot.append(copy.deepcopy(element))
    return _write(robot, folder / "hand.urdf")


def write_object(model: ObjectModel, folder: Path, name: str) -> Path:
    """One free link with the object's mass and inertia and its convex parts, as `<name>.urdf` and OBJ files beside it.

    Only the parts' convex hulls are touched; nothing is drawn.
    """
    robot = Element("robot", {"name": name})
    link = SubElement(robot, "link", {"name": "object"})
    link.append(_inertial(model.mass, model.inertia))
    for number, part in enumerate(model.parts):
        collision = SubElement(link, "collision")
        geometry = Element("geometry")
        if part.kind in ("box", "sphere"):
            collision.append(_origin(part.object_T_part))
            SubElement(geometry, part.kind, _size(part))
        else:
            # Cylinders and ellipsoids, too: PhysX has neither. The mesh is told in the object's frame.
            file = f"{name}_{number}.obj"
            part_mesh(part).export(folder / file, include_normals=False, write_texture=False)
            SubElement(geometry, "mesh", {"filename": file})
        collision.append(geometry)
    return _write(robot, folder / f"{name}.urdf")


def _size(part: Part) -> dict[str, str]:
    if part.kind == "sphere":
        return {"radius": _text(np.array(part.size))}
    return {"size": _text(2.0 * np.array(part.size))}


def _inertial(mass: float, inertia: NDArray[np.float64]) -> Element:
    inertial = Element("inertial")
    inertial.append(_origin(np.eye(4)))
    SubElement(inertial, "mass", {"value": f"{mass:.12g}"})
    i = inertia
    moments = {"ixx": i[0, 0], "ixy": i[0, 1], "ixz": i[0, 2], "iyy": i[1, 1], "iyz": i[1, 2], "izz": i[2, 2]}
    SubElement(inertial, "inertia", {key: f"{value:.12g}" for key, value in moments.items()})
    return inertial


def _origin(A_T_B: NDArray[np.float64]) -> Element:
    rpy = Rotation.from_matrix(A_T_B[:3, :3]).as_euler("xyz")
    return Element("origin", {"xyz": _text(A_T_B[:3, 3]), "rpy": _text(rpy)})


def _text(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.12g}" for value in values)


def _write(robot: Element, path: Path) -> Path:
    ElementTree.indent(robot)
    path.write_text(ElementTree.tostring(robot, encoding="unicode"))
    return path
