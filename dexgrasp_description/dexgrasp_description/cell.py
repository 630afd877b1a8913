"""The workcell: which robot stands where, what the camera sees, and where objects come from and go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from dexgrasp_common.transforms import from_xyz_quat
from numpy.typing import NDArray

from dexgrasp_description import primitives
from dexgrasp_description.errors import MalformedDescriptionError, UnknownNameError
from dexgrasp_description.models import load_arm, load_hand
from dexgrasp_description.primitives import Primitive

CELLS = Path(__file__).parent / "cells"


@dataclass(frozen=True, eq=False)
class CameraIntrinsics:
    """A pinhole camera. Pixel centres are at integer coordinates.

    Attributes:
        width: Image width [px].
        height: Image height [px].
        fx: Focal length along x [px].
        fy: Focal length along y [px].
        cx: Principal point, x [px].
        cy: Principal point, y [px].
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The 3x3 camera matrix."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, eq=False)
class Box:
    """An axis-aligned box of the world.

    Attributes:
        name: What it is.
        center: array (3,) [m], world frame.
        size: array (3,), full edge lengths [m].
    """

    name: str
    center: NDArray[np.float64]
    size: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bin:
    """Where objects are dropped: four walls on the table, open above; the table is its floor.

    Attributes:
        center: array (2,), x and y of its middle [m], world frame.
        inner_size: array (3,), inner length along x, along y, and height of the walls [m].
        wall: Thickness of the walls [m].
    """

    center: NDArray[np.float64]
    inner_size: NDArray[np.float64]
    wall: float

    def walls(self) -> tuple[Box, ...]:
        """The four walls as boxes of the world."""
        x, y, height = self.inner_size
        middle = np.array([self.center[0], self.center[1], height / 2.0])
        along_x, along_y = (x + self.wall) / 2.0, (y + self.wall) / 2.0
        long_x = np.array([x + 2.0 * self.wall, self.wall, height])
        long_y = np.array([self.wall, y, height])
        return (
            Box("bin_wall_left", middle + [0.0, along_y, 0.0], long_x),
            Box("bin_wall_right", middle - [0.0, along_y, 0.0], long_x),
            Box("bin_wall_far", middle + [along_x, 0.0, 0.0], long_y),
            Box("bin_wall_near", middle - [along_x, 0.0, 0.0], long_y),
        )


PUSHED = 0.06
"""How far out of the object area things still belong to the table that is cleared [m]."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One workcell. The world frame lies on the table top under the middle of the object area, z up.

    Attributes:
        name: Name in `load_cell`.
        arm: Name of the arm, as in `load_arm`.
        hand: Name of the hand, as in `load_hand`.
        world_T_base: array (4, 4), pose of the arm's base link.
        flange_T_palm: array (4, 4), pose of the hand's base link on the arm's flange link.
        world_T_camera: array (4, 4), pose of the camera's optical frame (z forward, x right, y down).
        intrinsics: The depth camera.
        table: The table; its top is z = 0.
        area: Object area (x0, x1, y0, y1) [m], world frame.
        bin: Where objects are dropped.
        obstacles: Further static boxes.
        bracket: Solids between flange and hand, in the flange frame; none where the hand sits on the flange.
        bracket_mass: Mass of the bracket [kg]; 0 without one.
        home: array (D,), arm posture [rad] that hides nothing of the object area from the camera.
    """

    name: str
    arm: str
    hand: str
    world_T_base: NDArray[np.float64]
    flange_T_palm: NDArray[np.float64]
    world_T_camera: NDArray[np.float64]
    intrinsics: CameraIntrinsics
    table: Box
    area: tuple[float, float, float, float]
    bin: Bin
    obstacles: tuple[Box, ...]
    bracket: tuple[Primitive, ...]
    bracket_mass: float
    home: NDArray[np.float64]

    @property
    def reach_area(self) -> tuple[float, float, float, float]:
        """The object area and a hand's breadth around it, where a missed grasp pushes things [m]."""
        x0, x1, y0, y1 = self.area
        return x0 - PUSHED, x1 + PUSHED, y0 - PUSHED, y1 + PUSHED

    def static_boxes(self) -> tuple[Box, ...]:
        """Everything that stands still: table, bin walls, obstacles."""
        return (self.table, *self.bin.walls(), *self.obstacles)


_KEYS = {
    "arm", "hand", "world_T_base", "flange_T_palm", "world_T_camera", "intrinsics", "table", "area", "bin",
    "obstacles", "bracket", "bracket_mass", "home",
}  # fmt: skip


def cell_names() -> tuple[str, ...]:
    """Names of the cells that come with the package."""
    return tuple(sorted(path.stem for path in CELLS.glob("*.yaml")))


@cache
def load_cell(name_or_path: str | Path = "ur5_leap") -> Cell:
    """The cell of that name, or of that YAML file.

    Raises:
        UnknownNameError: There is no such cell, or no such file.
        MalformedDescriptionError: The file has missing or unknown keys, wrong shapes, or numbers that cannot be.
    """
    given = Path(name_or_path)
    path = given if given.suffix in (".yaml", ".yml") else CELLS / f"{name_or_path}.yaml"
    if not path.is_file():
        raise UnknownNameError(
            f"Unknown cell {str(name_or_path)!r}. Valid names: {', '.join(cell_names())}; or the path of a .yaml file."
        )
    data = yaml.safe_load(path.read_text())
    try:
        return _parse(path.stem, data)
    except MalformedDescriptionError as error:
        raise MalformedDescriptionError(f"Cell {path}: {error}") from None


def _parse(name: str, data: Any) -> Cell:
    if not isinstance(data, dict) or set(data) != _KEYS:
        found = set(data) if isinstance(data, dict) else set()
        raise MalformedDescriptionError(
            f"missing keys: {sorted(_KEYS - found)}; unknown keys: {sorted(found - _KEYS)}."
        )
    try:
        arm = load_arm(data["arm"])
        load_hand(data["hand"])
    except UnknownNameError as error:
        raise MalformedDescriptionError(str(error)) from None
    home = _numbers("home", data["home"], len(arm.joint_names))
    if (home < arm.lower).any() or (home > arm.upper).any():
        raise MalformedDescriptionError(f"home must lie within the limits of {arm.name}; got {home.tolist()}.")
    area = _numbers("area", data["area"], 4)
    if area[0] >= area[1] or area[2] >= area[3]:
        raise MalformedDescriptionError(f"area is [x0, x1, y0, y1] with x0 < x1 and y0 < y1; got {area.tolist()}.")
    table = _box("table", data["table"])
    if abs(table.center[2] + table.size[2] / 2.0) > 1e-9:
        raise MalformedDescriptionError("the table top must be z = 0: center z = -size z / 2.")
    bin_ = _mapping("bin", data["bin"], {"center", "inner_size", "wall"})
    return Cell(
        name=name,
        arm=data["arm"],
        hand=data["hand"],
        world_T_base=_pose("world_T_base", data["world_T_base"]),
        flange_T_palm=_pose("flange_T_palm", data["flange_T_palm"]),
        world_T_camera=_pose("world_T_camera", data["world_T_camera"]),
        intrinsics=_intrinsics(data["intrinsics"]),
        table=table,
        area=(float(area[0]), float(area[1]), float(area[2]), float(area[3])),
        bin=Bin(
            _numbers("bin.center", bin_["center"], 2),
            _positive("bin.inner_size", bin_["inner_size"], 3),
            float(_positive("bin.wall", [bin_["wall"]], 1)[0]),
        ),
        obstacles=tuple(_box(str(key), entry) for key, entry in (data["obstacles"] or {}).items()),
        bracket=tuple(primitives.parse(arm.flange_link, entry) for entry in data["bracket"]),
        bracket_mass=_bracket_mass(data["bracket_mass"], bool(data["bracket"])),
        home=home,
    )


def _bracket_mass(value: Any, has_bracket: bool) -> float:
    mass = float(_numbers("bracket_mass", [value], 1)[0])
    if (mass > 0.0) != has_bracket or mass < 0.0:
        raise MalformedDescriptionError(f"bracket_mass is positive where there is a bracket, else 0; got {value}.")
    return mass


def _intrinsics(entry: Any) -> CameraIntrinsics:
    entry = _mapping("intrinsics", entry, {"width", "height", "fx", "fy", "cx", "cy"})
    values = _numbers("intrinsics", [entry[key] for key in ("width", "height", "fx", "fy", "cx", "cy")], 6)
    width, height = int(values[0]), int(values[1])
    if width < 1 or height < 1 or (values[2:4] <= 0.0).any():
        raise MalformedDescriptionError(f"intrinsics need a positive width, height, fx and fy; got {entry}.")
    if not (0.0 <= values[4] < width and 0.0 <= values[5] < height):
        raise MalformedDescriptionError(f"intrinsics: cx, cy must lie in the {width}x{height} image; got {entry}.")
    return CameraIntrinsics(width, height, *(float(value) for value in values[2:]))


def _pose(key: str, value: Any) -> NDArray[np.float64]:
    try:
        return _read_only(from_xyz_quat(value))
    except (ValueError, TypeError) as error:
        raise MalformedDescriptionError(f"{key}: {error}") from None


def _box(key: str, entry: Any) -> Box:
    entry = _mapping(key, entry, {"center", "size"})
    return Box(key, _numbers(f"{key}.center", entry["center"], 3), _positive(f"{key}.size", entry["size"], 3))


def _mapping(key: str, entry: Any, keys: set[str]) -> dict[str, Any]:
    if not isinstance(entry, dict) or set(entry) != keys:
        raise MalformedDescriptionError(f"{key} needs exactly the keys {', '.join(sorted(keys))}; got {entry}.")
    return entry


def _positive(key: str, value: Any, count: int) -> NDArray[np.float64]:
    values = _numbers(key, value, count)
    if (values <= 0.0).any():
        raise MalformedDescriptionError(f"{key} must be positive; got {value}.")
    return values


def _numbers(key: str, value: Any, count: int) -> NDArray[np.float64]:
    try:
        values = np.array(value, dtype=np.float64)
    except (ValueError, TypeError):
        values = np.empty(0)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise MalformedDescriptionError(f"{key} needs {count} finite numbers; got {value}.")
    return _read_only(values)


def _read_only(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values.setflags(write=False)
    return values
