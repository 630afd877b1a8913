"""Every robot, as test parameters, and other libraries' opinion of one."""

from __future__ import annotations

import mujoco
import numpy as np
import pinocchio
from dexgrasp_description.mjcf import arm_spec, hand_spec
from dexgrasp_description.models import RobotModel, names
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_arm, load_hand

ROBOTS = [("hand", name) for name in names("hand")] + [("arm", name) for name in names("arm")]


def load(robot: tuple[str, str]) -> RobotModel:
    """The robot of a (kind, name) pair."""
    kind, name = robot
    return load_hand(name) if kind == "hand" else load_arm(name)


def compiled(model: RobotModel) -> mujoco.MjModel:
    """Its MuJoCo model."""
    return (hand_spec(model) if isinstance(model, HandModel) else arm_spec(model)).compile()  # type: ignore[arg-type]


def random_positions(model: RobotModel, count: int, seed: int = 0) -> NDArray[np.float64]:
    """Joint positions (count, D), uniform between the limits."""
    return np.random.default_rng(seed).uniform(model.lower, model.upper, (count, len(model.joint_names)))


def mujoco_positions(mj_model: mujoco.MjModel, names: tuple[str, ...], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """MuJoCo's qpos for joint positions by name."""
    qpos = np.zeros(mj_model.nq)
    for name, value in zip(names, q, strict=True):
        qpos[mj_model.joint(name).qposadr[0]] = value
    return qpos


def pinocchio_positions(
    pin_model: pinocchio.Model, names: tuple[str, ...], q: NDArray[np.float64]
) -> NDArray[np.float64]:
    """pinocchio's configuration for joint positions by name."""
    configuration = pinocchio.neutral(pin_model)
    for name, value in zip(names, q, strict=True):
        configuration[pin_model.joints[pin_model.getJointId(name)].idx_q] = value
    return configuration


def penetrations(
    mj_model: mujoco.MjModel, names: tuple[str, ...], q: NDArray[np.float64]
) -> list[tuple[str, str, float]]:
    """Pairs of geoms that touch, and their distance [m]."""
    data = mujoco.MjData(mj_model)
    data.qpos[:] = mujoco_positions(mj_model, names, q)
    mujoco.mj_forward(mj_model, data)
    return [
        (mj_model.geom(contact.geom[0]).name, mj_model.geom(contact.geom[1]).name, contact.dist)
        for contact in data.contact
    ]
