"""A standing cylinder on a table: its cloud, the field of it, and grasps whose fingers are closed on it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from dexgrasp_planner.generators import SceneCloud
from dexgrasp_planner.heuristic import HeuristicGenerator
from dexgrasp_planner.scene_field import FieldConfig, SceneField
from numpy.typing import NDArray

from dexgrasp_description import GraspSet, load_hand


class CylinderScene(NamedTuple):
    """One object.

    Attributes:
        cloud: (N, 3) [m], world.
        space: Its field.
        grasps: Ten of the LEAP hand.
    """

    cloud: NDArray[np.float64]
    space: SceneField
    grasps: GraspSet


def cylinder(x: float, y: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Side and top of a standing cylinder of 6 x 12 cm."""
    angle = rng.uniform(0, 2 * np.pi, 4000)
    radius = 0.03 * np.sqrt(rng.uniform(0, 1, 2000))
    side = np.stack([0.03 * np.cos(angle), 0.03 * np.sin(angle), rng.uniform(0, 0.12, 4000)], axis=1)
    top = np.stack([radius * np.cos(angle[:2000]), radius * np.sin(angle[:2000]), np.full(2000, 0.12)], axis=1)
    return np.concatenate([side, top]) + [x, y, 0.0]


def on_a_table(*axes: tuple[float, float]) -> NDArray[np.float64]:
    """A table (N, 3) [m] with cylinders at (x, y)."""
    rng = np.random.default_rng(0)
    table = rng.uniform(-0.2, 0.2, (4000, 3)) * [1.0, 1.0, 0.0]
    return np.concatenate([*(cylinder(x, y, rng) for x, y in axes), table])


def make_cylinder_scene() -> CylinderScene:
    """The scene with one cylinder in the middle."""
    cloud = on_a_table((0.0, 0.0))
    space = SceneField.seen_from(cloud.astype(np.float32), FieldConfig(), None)
    grasps = HeuristicGenerator(load_hand("leap_right")).generate(SceneCloud(cloud, np.eye(4)), 10, 0).grasps
    return CylinderScene(cloud, space, grasps)
