"""Collision primitives: boxes, capsules, cylinders and spheres on links, and points on their surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from dexgrasp_common.transforms import from_xyz_rpy
from numpy.typing import NDArray

from dexgrasp_description.errors import MalformedDescriptionError

Kind = Literal["box", "capsule", "cylinder", "sphere"]
SIZES: dict[str, int] = {"box": 3, "capsule": 2, "cylinder": 2, "sphere": 1}
_AXIS_RPY = {"x": (0.0, np.pi / 2, 0.0), "y": (-np.pi / 2, 0.0, 0.0), "z": (0.0, 0.0, 0.0)}
_FACES = {f"{sign}{axis}": (i, 1.0 if sign == "+" else -1.0) for sign in "+-" for i, axis in enumerate("xyz")}


@dataclass(frozen=True, eq=False)
class Primitive:
    """One convex solid, fixed to a link.

    Attributes:
        link: Name of the link.
        kind: `box`, `capsule`, `cylinder` or `sphere`. Capsules and cylinders lie along z of their own frame.
        link_T_geom: array (4, 4), pose of the solid in the link frame.
        size: Box: half sizes (3,) [m]. Capsule and cylinder: radius and half length of the straight part (2,) [m].
            Sphere: radius (1,) [m].
    """

    link: str
    kind: Kind
    link_T_geom: NDArray[np.float64]
    size: NDArray[np.float64]

    def area(self) -> float:
        """Surface area [m^2]."""
        return float(self._patch_areas().sum())

    def contains(self, points: NDArray[np.float64], margin: float = 0.0) -> NDArray[np.bool_]:
        """Which points (N, 3) of the link frame lie deeper than `margin` [m] inside: array (N,)."""
        return self.signed_distance(points) < -margin

    def signed_distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance (N,) [m] from points (N, 3) of the link frame to the surface, negative inside."""
        local = (points - self.link_T_geom[:3, 3]) @ self.link_T_geom[:3, :3]
        if self.kind == "box":
            return _outside_and_inside(np.abs(local) - self.size)
        if self.kind == "sphere":
            return np.linalg.norm(local, axis=-1) - self.size[0]
        if self.kind == "capsule":
            local = local.copy()
            local[:, 2] -= np.clip(local[:, 2], -self.size[1], self.size[1])
            return np.linalg.norm(local, axis=-1) - self.size[0]
        radial = np.linalg.norm(local[:, :2], axis=-1) - self.size[0]
        return _outside_and_inside(np.column_stack([radial, np.abs(local[:, 2]) - self.size[1]]))

    def rounded_box(self) -> tuple[NDArray[np.float64], float]:
        """Half sizes (3,) and radius [m] of a box that is grown to be the solid; of a cylinder, the box about it."""
        if self.kind == "box":
            return self.size, 0.0
        if self.kind == "sphere":
            return np.zeros(3), float(self.size[0])
        radius, half_length = self.size
        if self.kind == "capsule":
            return np.array([0.0, 0.0, half_length]), float(radius)
        return np.array([radius, radius, half_length]), 0.0

    def sample_surface(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points (count, 3) and outward normals (count, 3) in the link frame, uniform by area."""
        areas = self._patch_areas()
        patch = rng.choice(len(areas), size=count, p=areas / areas.sum())
        if self.kind == "box":
            points = rng.uniform(-1.0, 1.0, (count, 3)) * self.size
            axis, sign = patch // 2, np.where(patch % 2, 1.0, -1.0)
            rows = np.arange(count)
            points[rows, axis] = sign * self.size[axis]
            normals = np.zeros((count, 3))
            normals[rows, axis] = sign
        else:
            points, normals = self._sample_round(patch, rng)
        return self._to_link(points, normals)

    def face_grid(
        self, face: str, shape: tuple[int, int], margin: float, spread: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points on one side of the solid, in rows and columns.

        Args:
            face: Direction of the side in the LINK frame: `+x`, `-x`, `+y`, ... It must be an axis of the solid, too.
            shape: Box: counts along the two other link axes, in the order x, y, z. Capsule and cylinder: counts along
                the solid's axis and around it.
            margin: Box: left free along each edge [m]. Capsule, cylinder: left free at both ends of the straight part.
            spread: Capsule and cylinder: the columns cover -spread..spread [rad] about the face direction.

        Returns:
            Points (K, 3) and outward normals (K, 3), link frame, K = shape[0] * shape[1].

        Raises:
            MalformedDescriptionError: The face is not one of this solid's.
        """
        local, along = self._side(face)
        if self.kind == "box":
            return self._box_face(along, np.sign(local[along]), shape, margin, _FACES[face][0])
        middle = np.arctan2(local[1], local[0])
        heights = _spaced(self.size[1] - margin, shape[0])
        angles = middle + _spaced(spread, shape[1])
        z, angle = (a.ravel() for a in np.meshgrid(heights, angles, indexing="ij"))
        normals = np.column_stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)])
        points = normals * self.size[0]
        points[:, 2] = z
        return self._to_link(points, normals)

    def grid_shape(self, face: str, spacing: float, margin: float, spread: float) -> tuple[int, int]:
        """The counts with which `face_grid` lays its points as near to `spacing` [m] apart as can be.

        Raises:
            MalformedDescriptionError: The face is not one of this solid's.
        """
        self._side(face)
        if self.kind == "box":
            geom_of_link = np.argmax(np.abs(self.link_T_geom[:3, :3]), axis=1)
            first, second = (self.size[geom_of_link[i]] - margin for i in range(3) if i != _FACES[face][0])
        else:
            first, second = self.size[1] - margin, spread * self.size[0]
        return 1 + max(0, round(2.0 * first / spacing)), 1 + max(0, round(2.0 * second / spacing))

    def inner_spheres(self, spacing: float | None = None) -> NDArray[np.float64]:
        """Spheres (K, 4), centre and radius [m], link frame: the largest inside the solid, in rows that fill it.

        Args:
            spacing: Neighbours are at most so far apart [m]; None: as far as they touch.
        """
        if self.kind == "box":
            radius = float(self.size.min())
            room = self.size - radius
        else:
            radius = float(self.size[0])
            room = np.array([0.0, 0.0, 0.0 if self.kind == "sphere" else self.size[1]])
            if self.kind == "cylinder":
                radius = float(self.size.min())
                room = np.array([self.size[0], self.size[0], self.size[1]]) - radius
        step = spacing or 2.0 * radius
        rows = [_spaced(half, 1 + int(np.ceil(2.0 * half / step - 1e-9))) for half in room]
        centres = np.stack(np.meshgrid(*rows, indexing="ij"), axis=-1).reshape(-1, 3)
        if self.kind == "cylinder":
            centres = centres[np.linalg.norm(centres[:, :2], axis=1) <= self.size[0] - radius + 1e-9]
        moved, _ = self._to_link(centres, centres)
        return np.column_stack([moved, np.full(len(moved), radius)])

    def _side(self, face: str) -> tuple[NDArray[np.float64], int]:
        """Direction of a face in the solid's own frame, and the axis of the solid along which it points."""
        if face not in _FACES:
            raise MalformedDescriptionError(f"Unknown face {face!r} of link {self.link!r}. Valid: {', '.join(_FACES)}.")
        index, sign = _FACES[face]
        local = self.link_T_geom[:3, :3].T @ (sign * np.eye(3)[index])
        along = int(np.argmax(np.abs(local)))
        if abs(local[along]) < 1.0 - 1e-6:
            raise MalformedDescriptionError(f"Face {face!r} of link {self.link!r} is not a face of its {self.kind}.")
        if self.kind == "sphere" or (self.kind != "box" and along == 2):
            raise MalformedDescriptionError(
                f"Contact points lie on boxes and the sides of capsules and cylinders, "
                f"not on face {face!r} of the {self.kind} on {self.link!r}."
            )
        return local, along

    def _box_face(
        self, along: int, sign: float, shape: tuple[int, int], margin: float, link_axis: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        geom_of_link = np.argmax(np.abs(self.link_T_geom[:3, :3]), axis=1)
        first, second = (int(geom_of_link[i]) for i in range(3) if i != link_axis)
        u = _spaced(self.size[first] - margin, shape[0])
        v = _spaced(self.size[second] - margin, shape[1])
        points = np.zeros((shape[0] * shape[1], 3))
        grid = np.meshgrid(u, v, indexing="ij")
        points[:, first], points[:, second] = grid[0].ravel(), grid[1].ravel()
        points[:, along] = sign * self.size[along]
        normals = np.zeros_like(points)
        normals[:, along] = sign
        return self._to_link(points, normals)

    def _patch_areas(self) -> NDArray[np.float64]:
        if self.kind == "box":
            x, y, z = 2.0 * self.size
            return np.repeat([y * z, x * z, x * y], 2)
        radius = self.size[0]
        if self.kind == "sphere":
            return np.array([0.0, 4.0 * np.pi * radius**2, 0.0])
        side = 4.0 * np.pi * radius * self.size[1]
        end = np.pi * radius**2 * (2.0 if self.kind == "capsule" else 1.0)
        return np.array([side, end, end]) if self.kind == "cylinder" else np.array([side, 2.0 * end, 0.0])

    def _sample_round(
        self, patch: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Patch 0 is the straight side; 1 is both round ends of a capsule, a whole sphere, or a cylinder's top."""
        count = len(patch)
        radius, half = self.size[0], self.size[1] if self.kind != "sphere" else 0.0
        angle = rng.uniform(0.0, 2.0 * np.pi, count)
        ring = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(count)])
        points = ring * radius
        points[:, 2] = rng.uniform(-half, half, count)
        normals = ring.copy()
        ends = patch > 0
        if self.kind == "cylinder":
            top = np.where(patch == 1, 1.0, -1.0)[ends]
            points[ends] = ring[ends] * (radius * np.sqrt(rng.uniform(0.0, 1.0, ends.sum())))[:, None]
            points[ends, 2] = top * half
            normals[ends] = np.column_stack([np.zeros((ends.sum(), 2)), top])
        else:
            height = rng.uniform(-1.0, 1.0, ends.sum())
            around = np.sqrt(1.0 - height**2)
            normals[ends] = np.column_stack([ring[ends, 0] * around, ring[ends, 1] * around, height])
            points[ends] = normals[ends] * radius
            points[ends, 2] += np.sign(height) * half
        return points, normals

    def _to_link(
        self, points: NDArray[np.float64], normals: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        link_R_geom = self.link_T_geom[:3, :3]
        return points @ link_R_geom.T + self.link_T_geom[:3, 3], normals @ link_R_geom.T


def parse(link: str, entry: dict[str, Any]) -> Primitive:
    """A primitive from its line in a data file: `{box: [hx, hy, hz], at: [x, y, z], rpy: [r, p, y]}`.

    `capsule` and `cylinder` take `[radius, half length]` and may say `axis: x` (a link axis) in place of `rpy`;
    `sphere` takes `[radius]`.

    Raises:
        MalformedDescriptionError: A missing or unknown key, or the wrong count of numbers.
    """
    kinds = [kind for kind in SIZES if kind in entry]
    unknown = set(entry) - set(SIZES) - {"at", "rpy", "axis"}
    if len(kinds) != 1 or unknown:
        raise MalformedDescriptionError(
            f"A primitive of {link!r} needs one of {', '.join(SIZES)}, and may have at, rpy or axis; got {entry}."
        )
    kind = kinds[0]
    size = np.array(entry[kind], dtype=np.float64).reshape(-1)
    if size.shape != (SIZES[kind],) or not (size > 0.0).all():
        raise MalformedDescriptionError(
            f"A {kind} of {link!r} needs {SIZES[kind]} positive numbers; got {entry[kind]}."
        )
    if "axis" in entry and (kind not in ("capsule", "cylinder") or entry["axis"] not in _AXIS_RPY or "rpy" in entry):
        raise MalformedDescriptionError(
            f"axis is x, y or z, for a capsule or cylinder, in place of rpy; {link!r} has {entry}."
        )
    rpy = _AXIS_RPY[entry["axis"]] if "axis" in entry else entry.get("rpy", (0.0, 0.0, 0.0))
    return Primitive(link, kind, from_xyz_rpy(entry.get("at", (0.0, 0.0, 0.0)), rpy), size)  # type: ignore[arg-type]


def _outside_and_inside(excess: NDArray[np.float64]) -> NDArray[np.float64]:
    outside = np.linalg.norm(np.maximum(excess, 0.0), axis=-1)
    return outside + np.minimum(excess.max(axis=-1), 0.0)


def _spaced(half_width: float, count: int) -> NDArray[np.float64]:
    return np.linspace(-half_width, half_width, count) if count > 1 else np.zeros(1)
