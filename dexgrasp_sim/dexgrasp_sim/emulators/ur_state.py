"""What a UR controller knows about its robot, and the modes it can be in."""

from __future__ import annotations

import math
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
        return self._flange(q, self.qd)[:6]

    def tool_speed(self, q: Array, qd: Array) -> list[float]:
        """Flange velocity in the base: linear [m/s] and angular [rad/s]."""
        return self._flange(q, qd)[6:]

    def _flange(self, q: Array, qd: Array) -> list[float]:
        """Pose and velocity of the flange, in plain floats: numpy would cost ten times as much in every period."""
        rotation = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        x = y = z = 0.0
        origins: list[tuple[float, float, float]] = []
        axes: list[tuple[float, float, float]] = []
        for (a, d, alpha), theta in zip(self.dh.tolist(), q.tolist(), strict=True):
            (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = rotation
            origins.append((x, y, z))
            axes.append((r02, r12, r22))
            ct, st, ca, sa = math.cos(theta), math.sin(theta), math.cos(alpha), math.sin(alpha)
            x += (r00 * ct + r01 * st) * a + r02 * d
            y += (r10 * ct + r11 * st) * a + r12 * d
            z += (r20 * ct + r21 * st) * a + r22 * d
            rotation = (
                (r00 * ct + r01 * st, (r01 * ct - r00 * st) * ca + r02 * sa, (r00 * st - r01 * ct) * sa + r02 * ca),
                (r10 * ct + r11 * st, (r11 * ct - r10 * st) * ca + r12 * sa, (r10 * st - r11 * ct) * sa + r12 * ca),
                (r20 * ct + r21 * st, (r21 * ct - r20 * st) * ca + r22 * sa, (r20 * st - r21 * ct) * sa + r22 * ca),
            )
        vx = vy = vz = wx = wy = wz = 0.0
        for (ox, oy, oz), (ax, ay, az), speed in zip(origins, axes, qd.tolist(), strict=True):
            vx += speed * (ay * (z - oz) - az * (y - oy))
            vy += speed * (az * (x - ox) - ax * (z - oz))
            vz += speed * (ax * (y - oy) - ay * (x - ox))
            wx, wy, wz = wx + speed * ax, wy + speed * ay, wz + speed * az
        return [x, y, z, *_rotation_vector(rotation), vx, vy, vz, wx, wy, wz]


_Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


def _rotation_vector(rotation: _Matrix) -> list[float]:
    (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = rotation
    x, y, z = 0.5 * (r21 - r12), 0.5 * (r02 - r20), 0.5 * (r10 - r01)
    sine = math.sqrt(x * x + y * y + z * z)
    if sine < 1e-6:
        return Rotation.from_matrix(rotation).as_rotvec().tolist()
    scale = math.atan2(sine, 0.5 * (r00 + r11 + r22 - 1.0)) / sine
    return [x * scale, y * scale, z * scale]


Getter = Callable[[ControllerState], list]

_ZERO6 = [0.0] * 6


def _double(get: Callable[[ControllerState], float]) -> tuple[str, Getter]:
    return "DOUBLE", lambda state: [get(state)]


def _vector(get: Callable[[ControllerState], Array]) -> tuple[str, Getter]:
    return "VECTOR6D", lambda state: get(state).tolist()


def _register(bank: str, index: int) -> Getter:
    return lambda state: [getattr(state.registers, bank)[index]]


def _registers() -> Iterator[tuple[str, tuple[str, Getter]]]:
    for i in range(REGISTERS):
        yield f"output_int_register_{i}", ("INT32", _register("int_out", i))
        yield f"output_double_register_{i}", ("DOUBLE", _register("double_out", i))
        yield f"input_int_register_{i}", ("INT32", _register("int_in", i))
        yield f"input_double_register_{i}", ("DOUBLE", _register("double_in", i))


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
