"""The kinematic tree of a URDF file: what is needed for kinematics, and no more.

Read here with the standard library: the parsers at hand come with torch or a full dynamics library, seconds of
import for nodes that only want joint names and limits. The tests hold the result against pinocchio and MuJoCo.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
from dexgrasp_common.transforms import from_xyz_rpy
from numpy.typing import NDArray

from dexgrasp_description.errors import MalformedDescriptionError


@dataclass(frozen=True, eq=False)
class Joint:
    """One joint of the tree.

    Attributes:
        name: Joint name.
        kind: `revolute`, `prismatic` or `fixed`.
        parent: Parent link.
        child: Child link; its frame is the joint frame.
        parent_T_joint: array (4, 4), pose of the child link in the parent link at position zero.
        axis: array (3,), unit vector in the joint frame; zero for a fixed joint.
        lower: Lower position limit [rad or m].
        upper: Upper position limit [rad or m].
        velocity: Velocity limit [rad/s or m/s].
        effort: Effort limit [N m or N].
    """

    name: str
    kind: Literal["revolute", "prismatic", "fixed"]
    parent: str
    child: str
    parent_T_joint: NDArray[np.float64]
    axis: NDArray[np.float64]
    lower: float = 0.0
    upper: float = 0.0
    velocity: float = 0.0
    effort: float = 0.0


@dataclass(frozen=True, eq=False)
class Inertia:
    """Mass and inertia of one link.

    Attributes:
        mass: Mass [kg].
        centre: array (3,), centre of mass [m], link frame.
        matrix: array (3, 3), inertia about the centre of mass in axes parallel to the link frame [kg m^2].
    """

    mass: float
    centre: NDArray[np.float64]
    matrix: NDArray[np.float64]


def read_inertias(urdf_path: Path) -> dict[str, Inertia]:
    """The inertia of every link that has one."""
    found: dict[str, Inertia] = {}
    for link in ElementTree.parse(urdf_path).getroot().findall("link"):
        mass, moments = link.find("inertial/mass"), link.find("inertial/inertia")
        if mass is None or moments is None:
            continue
        link_T_com = _read_origin(link.find("inertial/origin"))
        m = {key: float(value) for key, value in moments.attrib.items()}
        matrix = np.array(
            [[m["ixx"], m["ixy"], m["ixz"]], [m["ixy"], m["iyy"], m["iyz"]], [m["ixz"], m["iyz"], m["izz"]]]
        )
        link_R_com = link_T_com[:3, :3]
        found[link.attrib["name"]] = Inertia(
            float(mass.attrib["value"]), link_T_com[:3, 3], link_R_com @ matrix @ link_R_com.T
        )
    return found


def read_joints(urdf_path: Path) -> tuple[Joint, ...]:
    """The joints of a URDF file, every parent before its children.

    Raises:
        MalformedDescriptionError: A joint of a kind other than revolute, prismatic and fixed, or more than one root.
    """
    joints = [_read_joint(element, urdf_path) for element in ElementTree.parse(urdf_path).getroot().findall("joint")]
    children = {joint.child for joint in joints}
    reached = {joint.parent for joint in joints} - children
    if len(reached) != 1:
        raise MalformedDescriptionError(f"{urdf_path.name} must have one root link; it has {sorted(reached)}.")
    ordered: list[Joint] = []
    while len(ordered) < len(joints):
        ready = [joint for joint in joints if joint.parent in reached and joint.child not in reached]
        if not ready:
            raise MalformedDescriptionError(f"{urdf_path.name} is not a tree: a link has two parents or a cycle.")
        ordered += ready
        reached |= {joint.child for joint in ready}
    return tuple(ordered)


def _read_joint(element: ElementTree.Element, urdf_path: Path) -> Joint:
    name, kind = element.attrib["name"], element.attrib["type"]
    if kind not in ("revolute", "prismatic", "fixed"):
        raise MalformedDescriptionError(
            f"Joint {name!r} of {urdf_path.name} is {kind!r}; supported: revolute, prismatic, fixed."
        )
    parent, child = element.find("parent"), element.find("child")
    if parent is None or child is None:
        raise MalformedDescriptionError(f"Joint {name!r} of {urdf_path.name} lacks a parent or a child.")
    parent_T_joint = _read_origin(element.find("origin"))
    axis = np.zeros(3)
    limit: dict[str, float] = {}
    if kind != "fixed":
        element_axis, element_limit = element.find("axis"), element.find("limit")
        if element_axis is None or element_limit is None:
            raise MalformedDescriptionError(f"Joint {name!r} of {urdf_path.name} lacks its axis or limit.")
        axis = _numbers(element_axis.attrib["xyz"])
        axis /= np.linalg.norm(axis)
        limit = {key: float(element_limit.attrib[key]) for key in ("lower", "upper", "velocity", "effort")}
    return Joint(name, kind, parent.attrib["link"], child.attrib["link"], parent_T_joint, axis, **limit)  # type: ignore[arg-type]


def _read_origin(origin: ElementTree.Element | None) -> NDArray[np.float64]:
    attributes = origin.attrib if origin is not None else {}
    return from_xyz_rpy(_numbers(attributes.get("xyz")), _numbers(attributes.get("rpy")))


def _numbers(text: str | None) -> NDArray[np.float64]:
    return np.array((text or "0 0 0").split(), dtype=np.float64)
