"""An object of the cell: one closed surface to look at, convex parts to touch, and the mass properties of the solid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import trimesh
from numpy.typing import NDArray

from dexgrasp_sim.plant import SimError

MASS = 0.1  # of every object [kg]; DexGraspNet 2.0 evaluates with this mass


class ObjectError(SimError):
    """A mesh or a part that cannot be a solid object."""


@dataclass(frozen=True)
class Part:
    """One convex piece of an object.

    Attributes:
        kind: "box" | "cylinder" | "sphere" | "ellipsoid" | "mesh".
        size: box and ellipsoid: half sizes; cylinder: radius, half length; sphere: radius; mesh: () [m].
        object_T_part: 4x4, pose of the piece in the object's frame.
        vertices: array (N, 3), the corners whose convex hull is the piece, part frame [m]; meshes only.
    """

    kind: str
    size: tuple[float, ...]
    object_T_part: NDArray[np.float64]
    vertices: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class ObjectModel:
    """A rigid object. Its frame has its origin in the centre of mass and z up as the object is used.

    Attributes:
        name: Unique within a scene.
        family: Name of the procedural family, or of the source of the mesh.
        parameters: What the family drew, by name [m, rad or none].
        mesh: Closed surface, object frame [m].
        parts: Convex pieces that together fill the mesh.
        mass: [kg].
        inertia: (3, 3) about the centre of mass [kg m^2].
        colour: red, green, blue in 0..1.
    """

    name: str
    family: str
    parameters: dict[str, float]
    mesh: trimesh.Trimesh
    parts: tuple[Part, ...]
    mass: float
    inertia: NDArray[np.float64]
    colour: tuple[float, float, float]

    @property
    def radius(self) -> float:
        """Of the sphere about the centre of mass that holds the object [m]."""
        return float(np.linalg.norm(self.mesh.vertices, axis=1).max())

    def named(self, name: str) -> ObjectModel:
        """The same object under another name."""
        return replace(self, name=name)

    def weighing(self, mass: float) -> ObjectModel:
        """The same object with another mass [kg], spread as before."""
        return replace(self, mass=mass, inertia=self.inertia * (mass / self.mass))


def solid(
    family: str,
    parameters: dict[str, float],
    mesh: trimesh.Trimesh,
    parts: list[Part],
    colour: tuple[float, float, float],
    mass: float = MASS,
) -> ObjectModel:
    """Object of uniform density from a closed surface and convex parts given in one common frame.

    Mesh and parts are moved so that the origin is the centre of mass.

    Raises:
        ObjectError: The surface is not closed, or encloses no volume.
    """
    if not mesh.is_watertight or mesh.volume <= 0.0:
        raise ObjectError(
            f"The {family} mesh is not a solid: it must be closed and its faces must point outward "
            f"(watertight: {mesh.is_watertight}, volume: {mesh.volume:.3g} m^3)."
        )
    centre = mesh.center_mass
    centred = mesh.copy()
    centred.apply_translation(-centre)
    inertia = centred.moment_inertia * (mass / mesh.volume)
    moved = []
    for part in parts:
        object_T_part = part.object_T_part.copy()
        object_T_part[:3, 3] -= centre
        moved.append(replace(part, object_T_part=object_T_part))
    return ObjectModel(family, family, parameters, centred, tuple(moved), mass, inertia, colour)


def part_mesh(part: Part) -> trimesh.Trimesh:
    """Surface of a part in the object's frame."""
    if part.vertices is not None:
        surface = trimesh.convex.convex_hull(part.vertices)
    elif part.kind == "box":
        surface = trimesh.creation.box(extents=2.0 * np.array(part.size))
    elif part.kind == "cylinder":
        surface = trimesh.creation.cylinder(radius=part.size[0], height=2.0 * part.size[1], sections=48)
    else:
        surface = trimesh.creation.icosphere(subdivisions=3, radius=1.0)
        surface.apply_scale(part.size if part.kind == "ellipsoid" else part.size[0])
    surface.apply_transform(part.object_T_part)
    return surface
