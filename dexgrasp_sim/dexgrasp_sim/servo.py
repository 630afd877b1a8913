"""MuJoCo joints as a `JointPlant`: position servos whose torque is limited, as motors have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dexgrasp_description import ArmModel, HandModel
from dexgrasp_sim.plant import JointSample, checked_command


@dataclass(frozen=True)
class ServoGains:
    """One joint group's servos: `torque = clip(stiffness * (target - q) + damping * (v - qd), +-limit)`.

    Attributes:
        stiffness, damping: arrays (D,) [N m/rad], [N m s/rad].
        armature: Rotor inertia seen through the gear, array (D,) [kg m^2].
        passive_damping: Of the joint without power, array (D,) [N m s/rad].
        track: Whether v follows the target's own velocity (an industrial arm) or is zero (a hobby servo).
    """

    stiffness: NDArray[np.float64]
    damping: NDArray[np.float64]
    armature: NDArray[np.float64]
    passive_damping: NDArray[np.float64]
    track: bool


def arm_gains(arm: ArmModel) -> ServoGains:
    """Stiff enough to follow a streamed trajectory within a few milliradians."""
    effort = np.asarray(arm.effort_limit, dtype=np.float64)
    stiffness = 130.0 * effort
    return ServoGains(stiffness, 0.02 * stiffness, 0.004 * effort, np.zeros_like(effort), track=True)


def hand_gains(hand: HandModel) -> ServoGains:
    """A Dynamixel XL330's position loop at the LEAP hand's gain of 600.

    Full torque at 0.29 rad of error gives about 3 N m/rad, the value of public LEAP models.
    """
    ones = np.ones(len(hand.joint_names))
    return ServoGains(3.0 * ones, 0.15 * ones, 5e-3 * ones, 0.02 * ones, track=False)


def add_servos(spec: mujoco.MjSpec, joint_names: Sequence[str], limit: NDArray[np.float64], gains: ServoGains) -> None:
    """Add a position actuator `<joint>/servo` to each joint of the scene."""
    for i, name in enumerate(joint_names):
        joint = spec.joint(name)
        joint.armature = gains.armature[i]
        joint.damping = [gains.passive_damping[i], 0.0, 0.0]
        servo = spec.add_actuator(name=f"{name}/servo", target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_position(kp=gains.stiffness[i], kv=gains.damping[i])
        servo.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
        servo.forcerange = [-limit[i], limit[i]]


@dataclass(frozen=True)
class _Command:
    target: NDArray[np.float64]
    limit: NDArray[np.float64]
    powered: bool
    jump: bool  # the target did not move there: it was set


# Gains of the alpha-beta filter that estimates a streamed target's velocity from its samples.
_ALPHA = 0.5
_BETA = _ALPHA**2 / (2.0 - _ALPHA)


class ServoPlant:
    """Servos of a running simulation.

    Commands and samples are passed as whole objects, so neither side ever waits for the other. The simulation calls
    `bind` when its model is new, then `before_step` and `after_step` around each step.

    Args:
        joint_names: The D joints.
        limit: Their torque limits, array (D,) [N m].
        gains: As given to `add_servos`.
        initial: Position at the start, array (D,) [rad].
    """

    def __init__(
        self, joint_names: Sequence[str], limit: NDArray[np.float64], gains: ServoGains, initial: NDArray[np.float64]
    ) -> None:
        self.joint_names = tuple(joint_names)
        self._own_limit = np.array(limit, dtype=np.float64)
        self._gains = gains
        start = np.array(initial, dtype=np.float64)
        self._command = self._applied = _Command(start, self._own_limit, powered=True, jump=True)
        self._tracked, self._rate = start.copy(), np.zeros_like(start)
        self._sample = JointSample(start, np.zeros_like(start), np.zeros_like(start), start, True, 0.0)

    def read(self) -> JointSample:
        return self._sample

    def command(self, position: ArrayLike, effort_limit: ArrayLike | None = None) -> None:
        target, limit = checked_command(position, effort_limit, self._own_limit)
        self._command = _Command(target, limit, powered=True, jump=False)

    def hold(self) -> None:
        self._command = _Command(self._sample.position, self._own_limit, powered=True, jump=True)

    def release(self) -> None:
        self._command = _Command(self._sample.position, np.zeros_like(self._own_limit), powered=False, jump=True)

    def bind(self, model: mujoco.MjModel) -> None:
        """Look up the joints in a new model."""
        self._qpos = np.array([model.joint(name).qposadr[0] for name in self.joint_names])
        self._dof = np.array([model.joint(name).dofadr[0] for name in self.joint_names])
        self._servo = np.array([model.actuator(f"{name}/servo").id for name in self.joint_names])

    def place(self, data: mujoco.MjData, position: NDArray[np.float64]) -> None:
        """Put the joints somewhere, at rest and held there."""
        there, rest = np.array(position, dtype=np.float64), np.zeros_like(self._own_limit)
        data.qpos[self._qpos], data.qvel[self._dof] = there, rest
        self._command = _Command(there, self._own_limit, powered=True, jump=True)
        self._sample = JointSample(there, rest, rest, there, True, data.time)

    def copy_state(self, source: mujoco.MjData, goal: mujoco.MjData, model: mujoco.MjModel) -> None:
        """Take position and velocity over from the state of the model bound so far, and bind `model`."""
        position, velocity = source.qpos[self._qpos], source.qvel[self._dof]
        self.bind(model)
        goal.qpos[self._qpos], goal.qvel[self._dof] = position, velocity

    def before_step(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Write the command into the servos."""
        command = self._command
        model.actuator_forcerange[self._servo, 0] = -command.limit
        model.actuator_forcerange[self._servo, 1] = command.limit
        if not self._gains.track:
            data.ctrl[self._servo] = command.target
        else:
            if command.jump and command is not self._applied:
                self._tracked, self._rate = command.target.copy(), np.zeros_like(command.target)
            dt = model.opt.timestep
            predicted = self._tracked + dt * self._rate
            error = command.target - predicted
            self._tracked = predicted + _ALPHA * error
            self._rate = self._rate + (_BETA / dt) * error
            # The actuator damps against zero velocity; this much further ahead it damps against the target's.
            data.ctrl[self._servo] = self._tracked + self._gains.damping / self._gains.stiffness * self._rate
        self._applied = command

    def after_step(self, data: mujoco.MjData) -> None:
        """Publish what the joints did."""
        effort = data.actuator_force[self._servo] + data.qfrc_gravcomp[self._dof]
        command = self._applied
        self._sample = JointSample(
            data.qpos[self._qpos], data.qvel[self._dof], effort, command.target, command.powered, data.time
        )
