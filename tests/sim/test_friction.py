"""Friction is what it says: a block on an incline holds just below the limit and slides just above it."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import trimesh
from dexgrasp_common.transforms import from_xyz_rpy
from dexgrasp_sim.objects import Part, solid
from dexgrasp_sim.scene import TIMESTEP, add_object, add_static_box, set_physics


def slide(slope: float, friction: float, seconds: float = 1.0) -> float:
    """How far a 4 cm cube slides down an incline of that slope (tangent) [m]."""
    spec = mujoco.MjSpec()
    set_physics(spec)
    angle = np.arctan(slope)
    # Level plane, tilted gravity: the same as an incline.
    spec.option.gravity = 9.81 * np.array([np.sin(angle), 0.0, -np.cos(angle)])
    add_static_box(spec, "table", (0.0, 0.0, -0.05), (6.0, 1.0, 0.1), friction)
    cube = solid(
        "cube", {}, trimesh.creation.box(extents=(0.04,) * 3), [Part("box", (0.02,) * 3, np.eye(4))], (1.0, 1.0, 1.0)
    )
    add_object(spec, cube, friction, from_xyz_rpy((0.0, 0.0, 0.02), (0.0, 0.0, 0.0)))
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, round(seconds / TIMESTEP))
    return float(data.qpos[0])


@pytest.mark.parametrize("friction", [0.2, 0.6])
def test_block_holds_below_the_friction_limit(friction: float) -> None:
    assert abs(slide(0.9 * friction, friction)) < 1e-3


@pytest.mark.parametrize("friction", [0.2, 0.6])
def test_block_slides_above_it_with_the_acceleration_of_coulomb(friction: float) -> None:
    slope = 1.3 * friction
    angle = np.arctan(slope)
    acceleration = 9.81 * (np.sin(angle) - friction * np.cos(angle))
    assert slide(slope, friction) == pytest.approx(0.5 * acceleration, rel=0.1)
