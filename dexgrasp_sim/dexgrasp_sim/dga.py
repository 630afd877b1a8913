"""The `dga` protocol in MuJoCo: DexGrasp Anything's test of a grasp on one object (Sec. 5.1, and its evaluator).

Where PhysX and MuJoCo differ, the protocol is kept and not the solver: the object's velocity is damped by PhysX's own
formula before every step, friction is one coefficient for all, contacts are as stiff as everywhere in this suite.
Drives as strongly damped as these, whose force is limited, chatter where PhysX solves them implicitly; heavier motors
keep them quiet, and move no more slowly than the damping lets them.
"""

from __future__ import annotations

import mujoco
import numpy as np
import torch
import trimesh
from dexgrasp_common.transforms import apply
from dexgrasp_description.kinematics import ForwardKinematics
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dexgrasp_description import HandModel
from dexgrasp_sim.driven_hand import add_driven_hand
from dexgrasp_sim.held_object import HeldObject, floating_spec, travel
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.scene import add_object
from dexgrasp_sim.tester import DIRECTIONS, DgaConfig, DgaResult

HAND_POINTS, OBJECT_POINTS = 1536, 2048  # on the surfaces, of which those near each other press
_FLAT = 1e-9  # a joint that moves the pressing points by less does not press [m/rad]


class DgaBench:
    """One object in one hand, compiled once for all grasps."""

    def __init__(self, hand: HandModel, config: DgaConfig, model: ObjectModel) -> None:
        self._hand, self._config = hand, config
        self._volume = float(model.mesh.volume)
        self._surface, _ = trimesh.sample.sample_surface(model.mesh, OBJECT_POINTS, seed=0)
        spec = floating_spec(config.timestep)
        heavy = model.weighing(config.density * self._volume)
        add_object(spec, heavy, config.friction).joints[0].damping = np.zeros(3)
        add_driven_hand(
            spec,
            spec.worldbody,
            hand,
            friction=config.friction,
            stiffness=config.stiffness,
            damping=config.damping,
            effort_limit=hand.effort_limit,
            touches_itself=True,
            inertia=config.inertia,
        )
        self._held = HeldObject(spec, hand, model.name)
        # PhysX: what is left of a velocity after one step.
        damping = np.repeat([config.linear_damping, config.angular_damping], 3)
        self._left = np.maximum(0.0, 1.0 - damping * config.timestep)

    def run(self, object_T_palm: NDArray[np.float64], grasp: NDArray[np.float64]) -> DgaResult:
        """See `GraspTester.dga`; the arguments have been checked."""
        config, held = self._config, self._held
        squeeze = squeezed(self._hand, self._surface, object_T_palm, grasp, config)
        displacement = np.zeros((len(grasp), 6))
        for row in range(len(grasp)):
            held.place(object_T_palm[row], grasp[row])
            held.data.ctrl[held.drives] = squeeze[row]
            self._simulate(config.settle_time)
            for number, direction in enumerate(DIRECTIONS):
                force = config.pull * self._volume * direction
                held.data.xfrc_applied[held.body, :3] = force @ object_T_palm[row, :3, :3]
                start = held.data.qpos[held.pose].copy()
                self._simulate(config.pull_time)
                displacement[row, number], _ = travel(start, held.data.qpos[held.pose])
        near: NDArray[np.bool_] = displacement < config.displacement_limit
        return DgaResult(np.all(near, axis=1), np.any(near, axis=1), displacement, squeeze)

    def _simulate(self, duration: float) -> None:
        held = self._held
        for _ in range(round(duration / self._config.timestep)):
            held.data.qvel[held.speed] *= self._left
            mujoco.mj_step(held.model, held.data)


def squeezed(
    hand: HandModel,
    surface: NDArray[np.float64],
    object_T_palm: NDArray[np.float64],
    grasp: NDArray[np.float64],
    config: DgaConfig,
) -> NDArray[np.float64]:
    """Joint targets (N, D) that press: the protocol's one step of Adam, which is a step of the gradient's sign.

    Points of the hand that are near the object are to move along their outward normals; every joint that moves them
    turns that way by `config.squeeze`, within its limits. Joints that move no fingertip, a wrist's, stay.

    Args:
        hand: The hand.
        surface: Points on the object (M, 3), object frame [m].
        object_T_palm: array (N, 4, 4).
        grasp: array (N, D).
        config: How near, and how far.
    """
    q = torch.tensor(grasp, requires_grad=True)
    moved = ForwardKinematics(hand).surface_points(q, HAND_POINTS)
    points = torch.cat([points for points, _ in moved.values()], dim=1)
    normals = torch.cat([normals for _, normals in moved.values()], dim=1).detach()
    object_p = np.array([apply(pose, own) for pose, own in zip(object_T_palm, points.detach().numpy(), strict=True)])
    near = cKDTree(surface).query(object_p.reshape(-1, 3))[0] < config.reach
    pressing = torch.as_tensor(near.reshape(points.shape[:2]))
    (way,) = torch.autograd.grad((pressing[..., None] * normals * points).sum(), q)
    step = np.sign(way.numpy()) * (np.abs(way.numpy()) > _FLAT) * _finger_joints(hand)
    return np.clip(grasp + config.squeeze * step, hand.lower, hand.upper)


def _finger_joints(hand: HandModel) -> NDArray[np.bool_]:
    """Whether each joint (D,) moves a fingertip."""
    above = {joint.child: joint for joint in hand.joints}
    moving: set[str] = set()
    for tip in hand.fingertips:
        link = tip.link
        while link in above:
            moving.add(above[link].name)
            link = above[link].parent
    return np.array([name in moving for name in hand.joint_names])
