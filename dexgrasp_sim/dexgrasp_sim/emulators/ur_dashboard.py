"""The dashboard server's answers, word for word as PolyScope gives them where clients compare words."""

from __future__ import annotations

from typing import Protocol

from dexgrasp_sim.emulators.ur_state import ControllerState, RobotMode, RuntimeState, SafetyMode

GREETING = "Connected: Universal Robots Dashboard Server"


class Controller(Protocol):
    """What the dashboard asks of a controller, and tells it."""

    state: ControllerState
    version: tuple[int, int, int, int]

    def end_program(self) -> None: ...

    def unlock(self) -> str: ...

    def release_emergency_stop(self) -> None: ...

    def power(self, mode: RobotMode) -> None: ...


def answer(controller: Controller, line: str) -> str:
    """The reply to one command line."""
    state = controller.state
    command = line.strip().lower()
    match command:
        case "polyscopeversion":
            major, minor, bugfix, build = controller.version
            return f"URSoftware {major}.{minor}.{bugfix}.{build} (Jun 01 2023)"
        case "get serial number":
            return "20215500001"
        case "get robot model":
            return "UR5"
        case "is in remote control":
            return "true"
        case "robotmode":
            return f"Robotmode: {state.robot_mode.name}"
        case "safetymode":
            return f"Safetymode: {state.safety_mode.name}"
        case "safetystatus":
            return f"Safetystatus: {state.safety_mode.name}"
        case "running":
            return f"Program running: {str(state.runtime_state is RuntimeState.PLAYING).lower()}"
        case "programstate":
            return "PLAYING rtde_control" if state.runtime_state is RuntimeState.PLAYING else "STOPPED rtde_control"
        case "get loaded program":
            return "No program loaded"
        case "isprogramsaved":
            return "false"
        case "play":
            return "Failed to execute: play"
        case "stop":
            controller.end_program()
            return "Stopped"
        case "unlock protective stop":
            return controller.unlock()
        case "close safety popup":
            return "closing safety popup"
        case "close popup":
            return "closing popup"
        case "restart safety":
            controller.release_emergency_stop()
            return "Restarting safety"
        case "power on":
            if state.robot_mode is RobotMode.POWER_OFF and state.safety_mode is SafetyMode.NORMAL:
                controller.power(RobotMode.IDLE)
            return "Powering on"
        case "power off":
            controller.power(RobotMode.POWER_OFF)
            return "Powering off"
        case "brake release":
            if state.safety_mode is SafetyMode.NORMAL:
                controller.power(RobotMode.RUNNING)
            return "Brake releasing"
        case "quit":
            return "Disconnected"
    if command.startswith("popup"):
        return "showing popup"
    if command.startswith("addtolog"):
        return "Added log message"
    return f"could not understand: '{line.strip()}'"
