"""What a UR controller knows about its robot, and the modes it can be in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_sim.emulators.ur_motion import Setpoint
from dexgrasp_sim.emulators.ur_script import REGISTERS, Registers

Array = NDArray[np.float64]


class RobotMode(IntEnum):
    """RTDE's robot_mode."""

    POWER_OFF = 3
    IDLE = 5
    RUNNING = 7


class SafetyMode(IntEnum):
    """RTDE's safety_mode."""

    NORMAL = 1
    PROTECTIVE_STOP = 3
    ROBOT_EMERGENCY_STOP = 7


class RuntimeState(IntEnum):
    """RTDE's runtime_state of the program."""

    STOPPED = 1
    PLAYING = 2


SAFETY_STATUS_BITS = {
    SafetyMode.NORMAL: 1 << 0,
    SafetyMode.PROTECTIVE_STOP: 1 << 2 | 1 << 10,
    SafetyMode.ROBOT_EMERGENCY_STOP: 1 << 6 | 1 << 7 | 1 << 10,
}
"""RTDE's safety_status_bits: 0 normal, 2 protective, 6 robot emergency, 7 emergency stopped, 10 stopped for safety."""

TORQUE_PER_CURRENT = np.array([12.0, 12.0, 12.0, 9.0, 9.0, 9.0])
"""Joint torque per motor current [N m/A], gearbox included; approximate, since Universal Robots publishes none."""

DH_TABLES = {
    "cb3": np.array(
        [
            (0.0, 0.089159, np.pi / 2),
            (-0.425, 0.0, 0.0),
            (-0.39225, 0.0, 0.0),
            (0.0, 0.10915, np.pi / 2),
            (0.0, 0.09465, -np.pi / 2),
            (0.0, 0.0823, 0.0),
        ]
    ),
    "e": np.array(
        [
            (0.0, 0.1625, np.pi / 2),
            (-0.425, 0.0, 0.0),
            (-0.3922, 0.0, 0.0),
            (0.0, 0.1333, np.pi / 2),
            (0.0, 0.0997, -np.pi / 2),
            (0.0, 0.0996, 0.0),
        ]
    ),
}
"""Denavit-Hartenberg (a [m], d [m], alpha [rad]) of a UR5 (CB3) and a UR5e, as a controller holds its own."""


@dataclass
class ControllerState:
    """Everything that the controller's servers report.

    Attributes:
        setpoint: Joint targets.
        registers: General-purpose registers.
        dh: Denavit-Hartenberg table (6, 3) of the arm.
        q: Measured joint positions [rad].
        qd: Measured joint velocities [rad/s].
        torque: Measured joint torques [N m].
        timestamp: Time since the controller started [s].
        execution_time: Duration of the last control period's work [s].
        speed_fraction: The speed slider, 0 to 1.
        temperature: Joint temperatures [Celsius].
    """

    setpoint: Setpoint
    registers: Registers
    dh: Array
    q: Array
    qd: Array
    torque: Array
    timestamp: float = 0.0
    execution_time: float = 0.0
    speed_fraction: float = 1.0
    robot_mode: RobotMode = RobotMode.RUNNING
    safety_mode: SafetyMode = SafetyMode.NORMAL
    runtime_state: RuntimeState = RuntimeState.STOPPED
    temperature: Array = field(default_factory=lambda: np.full(6, 30.0))

    @property
    def status_bits(self) -> int:
        """RTDE's robot_status_bits: 0 power on, 1 program running."""
        powered = self.robot_mode is not RobotMode.POWER_OFF
        return int(powered) | int(self.runtime_state is RuntimeState.PLAYING) << 1

    @property
    def speed_scaling(self) -> float:
        """How much slower than programmed the arm moves: the slider, or zero while it may not move."""
        return self.speed_fraction if self.safety_mode is SafetyMode.NORMAL else 0.0

    def tool_pose(self, q: Array) -> list[float]:
        """Flange pose in the base: position [m] and rotation vector [rad]."""
        base_T_flange = _forward(self.dh, q)
        return [*base_T_flange[:3, 3].tolist(), *_rotation_vector(base_T_flange[:3, :3]).tolist()]

    def tool_speed(self, q: Array, qd: Array) -> list[float]:
        """Flange velocity in the base: linear [m/s] and angular [rad/s]."""
        base_T_joint = np.eye(4)
        flange = _forward(self.dh, q)[:3, 3]
        twist = np.zeros(6)
        for (a, d, alpha), angle, speed in zip(self.dh, q, qd, strict=True):
            axis = base_T_joint[:3, 2]
            twist[:3] += speed * np.cross(axis, flange - base_T_joint[:3, 3])
            twist[3:] += speed * axis
            base_T_joint = base_T_joint @ _link(a, d, alpha, angle)
        return twist.tolist()


def _link(a: float, d: float, alpha: float, theta: float) -> Array:
    ct, st, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
    return np.array(
        [
            [ct, -st * ca, st * sa, a * ct],
            [st, ct * ca, -ct * sa, a * st],
            [0.0, sa, ca, d],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def _forward(dh: Array, q: Array) -> Array:
    base_T_flange = np.eye(4)
    for (a, d, alpha), angle in zip(dh, q, strict=True):
        base_T_flange = base_T_flange @ _link(a, d, alpha, angle)
    return base_T_flange


def _rotation_vector(A_R_B: Array) -> Array:
    return Rotation.from_matrix(A_R_B).as_rotvec()


Getter = Callable[[ControllerState], list]

_ZERO6 = [0.0] * 6


def _double(get: Callable[[ControllerState], float]) -> tuple[str, Getter]:
    return "DOUBLE", lambda state: [get(state)]


def _vector(get: Callable[[ControllerState], Array]) -> tuple[str, Getter]:
    return "VECTOR6D", lambda state: get(state).tolist()


def _registers() -> Iterator[tuple[str, tuple[str, Getter]]]:
    for i in range(REGISTERS):
        yield f"output_int_register_{i}", ("INT32", lambda s, i=i: [s.registers.int_out[i]])
        yield f"output_double_register_{i}", ("DOUBLE", lambda s, i=i: [s.registers.double_out[i]])
        yield f"input_int_register_{i}", ("INT32", lambda s, i=i: [s.registers.int_in[i]])
        yield f"input_double_register_{i}", ("DOUBLE", lambda s, i=i: [s.registers.double_in[i]])


OUTPUTS: dict[str, tuple[str, Getter]] = {
    "timestamp": _double(lambda s: s.timestamp),
    "target_q": _vector(lambda s: s.setpoint.q),
    "target_qd": _vector(lambda s: s.setpoint.qd),
    "target_qdd": _vector(lambda s: s.setpoint.qdd),
    "target_current": _vector(lambda s: s.torque / TORQUE_PER_CURRENT),
    "target_moment": _vector(lambda s: s.torque),
    "actual_q": _vector(lambda s: s.q),
    "actual_qd": _vector(lambda s: s.qd),
    "actual_current": _vector(lambda s: s.torque / TORQUE_PER_CURRENT),
    "actual_current_window": ("VECTOR6D", lambda s: [1.0] * 6),
    "joint_control_output": _vector(lambda s: s.torque / TORQUE_PER_CURRENT),
    "actual_TCP_pose": ("VECTOR6D", lambda s: s.tool_pose(s.q)),
    "actual_TCP_speed": ("VECTOR6D", lambda s: s.tool_speed(s.q, s.qd)),
    "actual_TCP_force": ("VECTOR6D", lambda s: _ZERO6),
    "target_TCP_pose": ("VECTOR6D", lambda s: s.tool_pose(s.setpoint.q)),
    "target_TCP_speed": ("VECTOR6D", lambda s: s.tool_speed(s.setpoint.q, s.setpoint.qd)),
    "actual_digital_input_bits": ("UINT64", lambda s: [0]),
    "actual_digital_output_bits": ("UINT64", lambda s: [0]),
    "joint_temperatures": _vector(lambda s: s.temperature),
    "actual_execution_time": _double(lambda s: s.execution_time * 1e3),
    "robot_mode": ("INT32", lambda s: [int(s.robot_mode)]),
    "joint_mode": ("VECTOR6INT32", lambda s: [253 if s.robot_mode is RobotMode.RUNNING else 239] * 6),
    "safety_mode": ("INT32", lambda s: [int(s.safety_mode)]),
    "actual_tool_accelerometer": ("VECTOR3D", lambda s: [0.0, 0.0, -9.81]),
    "speed_scaling": _double(lambda s: s.speed_scaling),
    "target_speed_fraction": _double(lambda s: s.speed_fraction),
    "actual_momentum": _double(lambda s: 0.0),
    "actual_main_voltage": _double(lambda s: 48.0),
    "actual_robot_voltage": _double(lambda s: 48.0 if s.status_bits & 1 else 0.0),
    "actual_robot_current": _double(lambda s: float(np.abs(s.torque / TORQUE_PER_CURRENT).sum())),
    "actual_joint_voltage": ("VECTOR6D", lambda s: [48.0 if s.status_bits & 1 else 0.0] * 6),
    "runtime_state": ("UINT32", lambda s: [int(s.runtime_state)]),
    "robot_status_bits": ("UINT32", lambda s: [s.status_bits]),
    "safety_status_bits": ("UINT32", lambda s: [SAFETY_STATUS_BITS[s.safety_mode]]),
    "standard_analog_input0": _double(lambda s: 0.0),
    "standard_analog_input1": _double(lambda s: 0.0),
    "standard_analog_output0": _double(lambda s: 0.0),
    "standard_analog_output1": _double(lambda s: 0.0),
    "ft_raw_wrench": ("VECTOR6D", lambda s: _ZERO6),
    "payload": _double(lambda s: 0.0),
    "payload_cog": ("VECTOR3D", lambda s: [0.0] * 3),
    "payload_inertia": ("VECTOR6D", lambda s: _ZERO6),
    "output_bit_registers0_to_31": ("UINT32", lambda s: [0]),
    "output_bit_registers32_to_63": ("UINT32", lambda s: [0]),
    **dict(_registers()),
}
"""RTDE output variables: name to type and value. Digital and analog inputs, payload and forces are constant."""

INPUTS: dict[str, str] = {
    "speed_slider_mask": "UINT32",
    "speed_slider_fraction": "DOUBLE",
    "standard_digital_output_mask": "UINT8",
    "standard_digital_output": "UINT8",
    "configurable_digital_output_mask": "UINT8",
    "configurable_digital_output": "UINT8",
    "tool_digital_output_mask": "UINT8",
    "tool_digital_output": "UINT8",
    "standard_analog_output_mask": "UINT8",
    "standard_analog_output_type": "UINT8",
    "standard_analog_output_0": "DOUBLE",
    "standard_analog_output_1": "DOUBLE",
    "external_force_torque": "VECTOR6D",
    **{f"input_int_register_{i}": "INT32" for i in range(REGISTERS)},
    **{f"input_double_register_{i}": "DOUBLE" for i in range(REGISTERS)},
}
"""RTDE input variables: name to type. Only the registers and the speed slider have an effect."""
