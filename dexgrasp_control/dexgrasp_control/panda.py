"""A Franka Panda through panda-python."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from dexgrasp_common.parameters import param

from dexgrasp_control.driver import Health, Reading
from dexgrasp_control.errors import DriverFault
from dexgrasp_control.linked_arm import LinkedArm
from dexgrasp_control.panda_link import PandaSettings, PandaState
from dexgrasp_description import ArmModel


@dataclass(frozen=True)
class PandaConfig:
    """How a Panda is streamed to and watched. Stiffness and damping are panda-python's own."""

    speed_limit: float = param(1.0, "Fraction of the velocity limits that a trajectory may use", range=(0.01, 1.0))
    start_tolerance: float = param(
        0.05, "Largest distance of a trajectory's point at time zero from the joints [rad]", range=(0.001, 1.0)
    )
    stiffness: tuple[float, ...] = param(
        (600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0), "Stiffness of each joint [N m/rad]"
    )
    damping: tuple[float, ...] = param((50.0, 50.0, 50.0, 20.0, 20.0, 20.0, 10.0), "Damping of each joint [N m s/rad]")
    smoothing: float = param(
        0.2,
        "Share of a new target that the 1 kHz controller takes over each millisecond; 1: no filter",
        range=(0.01, 1.0),
    )
    stop_deceleration: float = param(5.0, "How hard a stop brakes the joints [rad/s^2]", range=(0.5, 10.0))
    recover_after: float = param(
        1.0, "Pause after a reflex (a collision) before errors are cleared [s]; nothing moves by it", range=(0.5, 60.0)
    )
    silence_timeout: float = param(
        0.1, "A moving robot that sends nothing for this long is lost [s]", range=(0.02, 5.0)
    )
    reconnect_after: float = param(0.2, "First pause before connecting again [s]; doubles up to 2 s", range=(0.05, 2.0))


class PandaArm(LinkedArm):
    """A Franka Panda (FER) behind its controller's FCI.

    Trajectories are streamed at 1 kHz to panda-python's joint impedance controller from a process of their own
    (`panda_link`). Brakes and FCI are switched on in Desk. After a reflex the robot's errors are cleared by themselves;
    after a user stop once a person has released it.

    Args:
        model: The arm.
        ip: The controller's address.
        config: See there.
    """

    Config = PandaConfig
    controller = "Franka controller"
    port = 1337
    link = "dexgrasp_control.panda_link"

    def __init__(self, model: ArmModel, ip: str = "172.16.0.2", config: PandaConfig | None = None) -> None:
        config = config or PandaConfig()
        settings = PandaSettings(
            ip,
            model.joint_names,
            config.stiffness,
            config.damping,
            config.smoothing,
            config.stop_deceleration,
            config.recover_after,
            config.silence_timeout,
        )
        super().__init__(model, ip, config, settings)

    def _measured(self, state: PandaState) -> Reading:
        return Reading(np.array(state.q), np.array(state.qd), np.array(state.torque), time.monotonic())

    def _judged(self, state: PandaState) -> Health:
        values = {"ip": self._ip, "robot_mode": state.mode, "errors": state.errors}
        if state.ready:
            return Health(None, "ready", values)
        return Health(DriverFault.PROTECTIVE_STOP, f"The arm cannot move: {state.problem}", values)
