"""A Universal Robots arm through ur_rtde."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from dexgrasp_common.parameters import param

from dexgrasp_control.driver import Health, Reading
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.linked_arm import LinkedArm
from dexgrasp_control.ur_link import ROBOT_MODES, SAFETY_MODES, LinkSettings, LinkState
from dexgrasp_description import ArmModel


@dataclass(frozen=True)
class UrConfig:
    """How a UR arm is streamed to and watched."""

    speed_limit: float = param(1.0, "Fraction of the velocity limits that a trajectory may use", range=(0.01, 1.0))
    start_tolerance: float = param(
        0.05, "Largest distance of a trajectory's point at time zero from the joints [rad]", range=(0.001, 1.0)
    )
    servo_lookahead: float = param(0.05, "servoJ's lookahead_time: smooths and delays [s]", range=(0.03, 0.2))
    servo_gain: float = param(500.0, "servoJ's gain", range=(100.0, 2000.0))
    stop_deceleration: float = param(10.0, "How hard a stop brakes the joints [rad/s^2]", range=(0.5, 40.0))
    silence_timeout: float = param(0.1, "A controller that sends nothing for this long is lost [s]", range=(0.02, 5.0))
    reconnect_after: float = param(0.2, "First pause before connecting again [s]; doubles up to 2 s", range=(0.05, 2.0))


class UrArm(LinkedArm):
    """A UR arm behind a controller's RTDE, dashboard and script ports.

    Trajectories are streamed by servoJ at the controller's rate from a process of their own (`ur_link`). After a
    protective stop has been unlocked, or the controller has come back, the arm is ready again by itself.

    Args:
        model: The arm.
        ip: The controller's address.
        config: See there.
    """

    Config = UrConfig
    controller = "UR controller"
    port = 30004
    link = "dexgrasp_control.ur_link"

    def __init__(self, model: ArmModel, ip: str = "127.0.0.1", config: UrConfig | None = None) -> None:
        config = config or UrConfig()
        settings = LinkSettings(
            ip, config.servo_lookahead, config.servo_gain, config.stop_deceleration, config.silence_timeout
        )
        super().__init__(model, ip, config, settings)

    def _measured(self, state: LinkState) -> Reading:
        return Reading(np.array(state.q), np.array(state.qd), None, time.monotonic())

    def _judged(self, state: LinkState) -> Health:
        safety = SAFETY_MODES.get(state.safety_mode, str(state.safety_mode))
        mode = ROBOT_MODES.get(state.robot_mode, str(state.robot_mode))
        values = {
            "ip": self._ip,
            "safety_mode": safety,
            "robot_mode": mode,
            "speed_scaling": f"{state.speed_scaling:.2f}",
            "current": " ".join(f"{value:.2f}" for value in state.current),
            "temperature": " ".join(f"{value:.0f}" for value in state.temperature),
        }
        if state.ready:
            return Health(None, "ready", values)
        return Health(DriverFault.PROTECTIVE_STOP, self._not_ready(state), values)

    @staticmethod
    def _not_ready(state: LinkState) -> str:
        safety = SAFETY_MODES.get(state.safety_mode, str(state.safety_mode))
        mode = ROBOT_MODES.get(state.robot_mode, str(state.robot_mode))
        if safety == "PROTECTIVE_STOP":
            return "The arm is in a protective stop: see what stopped it, then unlock it on the pendant."
        if safety not in ("NORMAL", "REDUCED"):
            return f"The arm's safety mode is {safety}: clear it on the pendant."
        if mode != "RUNNING":
            return f"The arm's robot mode is {mode}: switch it on and release the brakes on the pendant."
        return "The control program is being started on the controller."
