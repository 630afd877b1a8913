"""Objects dropped on the table and left alone until they lie still: the same seed gives the same clutter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from dexgrasp_common.parameters import param
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.plant import SimError
from dexgrasp_sim.scene import OBJECT, STATIC, TIMESTEP, add_object, add_static_box, pose_of, set_physics, surface

Area = tuple[float, float, float, float]  # x0, x1, y0, y1 [m]


class UnsettledError(SimError):
    """The objects did not come to rest inside the area."""

    code = 501  # ResetScene.Response.UNSETTLED


@dataclass(frozen=True)
class SettleConfig:
    """How objects are dropped."""

    upright: float = param(0.6, "Share of objects that are dropped upright, the others in any orientation")
    clearance: float = param(0.01, "Height of the lowest point above what lies below when released [m]")
    gap: float = param(0.01, "Least distance between objects released at the same height [m]")
    fall_time: float = param(1.5, "Time inside the walls of the area [s]")
    rest_time: float = param(1.0, "Time after the walls were taken away, at the end of which all must be still [s]")
    patience: float = param(0.0, "Further time for what still rolls inside the area [s]")
    attempts: int = param(12, "Drops before giving up")


# An object that moves less than this over the last fifth of a second lies still.
_STILL_DISTANCE, _STILL_ANGLE, _STILL_TIME = 5e-4, 0.01, 0.2  # [m], [rad], [s]


def settle(
    models: Sequence[ObjectModel],
    area: Area,
    rng: np.random.Generator,
    *,
    friction: float,
    config: SettleConfig | None = None,
) -> list[NDArray[np.float64]]:
    """Poses (4, 4) at which the objects rest on the plane z = 0, all centres of mass inside the area, world frame.

    During the fall walls stand around the area; the objects must then rest without them.

    Raises:
        UnsettledError: No drop out of `config.attempts` came to rest inside the area.
    """
    config = config or SettleConfig()
    if not models:
        return []
    for _ in range(config.attempts):
        start = _release_poses(models, area, rng, config)
        poses = _fall(models, start, area, friction, config.fall_time, config.rest_time, config.patience)
        if poses is not None:
            return poses
    raise UnsettledError(
        f"{len(models)} objects did not come to rest inside the {area[1] - area[0]:.2f} x {area[3] - area[2]:.2f} m "
        f"area in {config.attempts} drops. Ask for fewer objects, or take another seed."
    )


def rest(
    models: Sequence[ObjectModel],
    world_T_object: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    area: Area,
    *,
    friction: float,
    time: float = 1.0,
    patience: float = 0.0,
) -> list[NDArray[np.float64]] | None:
    """Poses (4, 4) at which objects lie some time [s] after they were put at `world_T_object` (M, 4, 4).

    None where one of them still moves after further `patience` [s], or has left the area.
    """
    return _fall(models, world_T_object, area, friction, 0.0, time, patience) if len(models) else []


def _release_poses(
    models: Sequence[ObjectModel], area: Area, rng: np.random.Generator, config: SettleConfig
) -> list[NDArray[np.float64]]:
    """Poses just above the table; an object for which there is no free spot is released above the others."""
    poses: list[NDArray[np.float64]] = []
    taken: list[tuple[NDArray[np.float64], float, float]] = []  # centre (2,), radius, highest point
    for model in models:
        rotation = Rotation.from_euler("z", rng.uniform(0, 2 * np.pi))
        if rng.uniform() > config.upright:
            rotation = Rotation.random(rng=rng)
        points = rotation.apply(model.mesh.vertices)
        radius = float(np.linalg.norm(points[:, :2], axis=1).max())
        low, high = float(points[:, 2].min()), float(points[:, 2].max())
        best = (np.inf, np.zeros(2))
        for _ in range(60):
            inset = min(radius, 0.5 * (area[1] - area[0]) - 1e-3, 0.5 * (area[3] - area[2]) - 1e-3)
            centre = rng.uniform([area[0] + inset, area[2] + inset], [area[1] - inset, area[3] - inset])
            below = [top for other, r, top in taken if np.linalg.norm(centre - other) < r + radius + config.gap]
            floor = max(below, default=0.0)
            if floor < best[0]:
                best = (floor, centre)
            if floor == 0.0:
                break
        floor, centre = best
        pose = np.eye(4)
        pose[:3, :3] = rotation.as_matrix()
        pose[:3, 3] = *centre, floor + config.clearance - low
        poses.append(pose)
        taken.append((centre, radius, float(pose[2, 3] + high)))
    return poses


def _fall(
    models: Sequence[ObjectModel],
    start: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    area: Area,
    friction: float,
    fall_time: float,
    rest_time: float,
    patience: float,
) -> list[NDArray[np.float64]] | None:
    """Poses after some time inside walls and some without them; None where not all lie still inside the area."""
    spec = mujoco.MjSpec()
    set_physics(spec)
    add_static_box(spec, "table", (0.0, 0.0, -0.05), (4.0, 4.0, 0.1), friction)
    for name, normal, offset in (
        ("x0", (1, 0, 0), area[0]),
        ("x1", (-1, 0, 0), area[1]),
        ("y0", (0, 1, 0), area[2]),
        ("y1", (0, -1, 0), area[3]),
    ):
        axis = np.array(normal, dtype=np.float64)
        spec.worldbody.add_geom(
            name=f"wall_{name}",
            type=mujoco.mjtGeom.mjGEOM_PLANE,
            size=[0.0, 0.0, 1.0],
            pos=np.abs(axis) * offset,
            quat=Rotation.align_vectors([axis], [[0, 0, 1]])[0].as_quat(scalar_first=True),
            contype=STATIC,
            conaffinity=OBJECT,
            **surface(0.0),
        )
    for model, pose in zip(models, start, strict=True):
        add_object(spec, model, friction, pose)
    model_ = spec.compile()
    data = mujoco.MjData(model_)
    mujoco.mj_step(model_, data, round(fall_time / TIMESTEP))
    walls = [model_.geom(f"wall_{name}").id for name in ("x0", "x1", "y0", "y1")]
    model_.geom_contype[walls], model_.geom_conaffinity[walls] = 0, 0
    mujoco.mj_step(model_, data, round((rest_time - _STILL_TIME) / TIMESTEP))
    for _ in range(1 + int(patience / _STILL_TIME)):
        before = data.qpos.reshape(-1, 7).copy()
        mujoco.mj_step(model_, data, round(_STILL_TIME / TIMESTEP))
        after = data.qpos.reshape(-1, 7)
        x, y, z = after[:, :3].T
        if not ((area[0] < x) & (x < area[1]) & (area[2] < y) & (y < area[3]) & (z > 0)).all():
            return None
        if _still(before, after):
            return [pose_of(row) for row in after]
    return None


def _still(before: NDArray[np.float64], after: NDArray[np.float64]) -> bool:
    turned = Rotation.from_quat(before[:, 3:], scalar_first=True).inv() * Rotation.from_quat(
        after[:, 3:], scalar_first=True
    )
    moved = np.linalg.norm(after[:, :3] - before[:, :3], axis=1)
    return bool((moved < _STILL_DISTANCE).all() and (turned.magnitude() < _STILL_ANGLE).all())
