"""An emulated UR controller: dashboard, RTDE and script servers around one arm, in one thread.

The real `ur_rtde` and any other client of these three ports works against it. What it reports and how it moves is in
`ur_state`, `ur_script` and `ur_motion`; here are the sockets, the control period and the safety states.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dexgrasp_sim.emulators import ur_dashboard
from dexgrasp_sim.emulators.ur_motion import Deceleration, Setpoint
from dexgrasp_sim.emulators.ur_rtde_server import ProtocolError, RtdeSession
from dexgrasp_sim.emulators.ur_script import PROGRAM_END_DECELERATION, ControlScript, Registers
from dexgrasp_sim.emulators.ur_state import DH_TABLES, ControllerState, RobotMode, RuntimeState, SafetyMode
from dexgrasp_sim.plant import JointPlant

log = logging.getLogger(__name__)

DASHBOARD_PORT, SCRIPT_PORT, RTDE_PORT = 29999, 30003, 30004
SERIES = {"cb3": ((3, 15, 8, 106339), 125.0), "e": ((5, 11, 1, 108318), 500.0)}
"""Series to controller version and control frequency [Hz]."""
PROTECTIVE_DECELERATION = 20.0
"""How hard a protective stop brakes [rad/s^2]."""
UNLOCK_REFUSED = (
    "Cannot unlock protective stop until 5s after occurrence. Always inspect cause of protective stop before unlocking"
)


class UrController:
    """A UR controller that moves a plant.

    The arm is powered and its brakes are released after `start`. A program ends with a protective stop and has to be
    uploaded again after unlocking, as on a real controller.

    Args:
        plant: The six joints, base to wrist.
        ip: Address of the servers; each controller on one machine needs its own, 127.0.0.1, 127.0.0.2 and so on.
        series: "cb3" (RTDE at 125 Hz) or "e" (500 Hz).
        unlock_delay: Time after a protective stop during which unlocking is refused [s].
    """

    def __init__(
        self, plant: JointPlant, ip: str = "127.0.0.1", series: str = "cb3", unlock_delay: float = 5.0
    ) -> None:
        if series not in SERIES:
            raise ValueError(f"Unknown UR series {series!r}. Valid series: {', '.join(SERIES)}.")
        self.version, self.frequency = SERIES[series]
        self.ip = ip
        self._plant = plant
        self._period = 1.0 / self.frequency
        self._unlock_delay = unlock_delay
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._wake: socket.socket | None = None
        self._script: ControlScript | None = None
        self._brake: Deceleration | None = None
        self._stopped_at = 0.0
        self._dh = DH_TABLES[series]
        self.state = self._boot()

    def _boot(self) -> ControllerState:
        sample = self._plant.read()
        if len(sample.position) != 6:
            raise ValueError(f"A UR arm has six joints; the plant has {len(sample.position)}.")
        setpoint = Setpoint.at_rest(sample.position)
        return ControllerState(setpoint, Registers(), self._dh, sample.position, sample.velocity, sample.effort)

    def start(self) -> None:
        """Boot: the servers listen and the arm holds where it is.

        Raises:
            OSError: A port is in use on this address.
        """
        if self._thread is not None:
            return
        with self._lock:
            self._script = self._brake = None
            self.state = self._boot()
        loop = _Loop(self)
        self._wake = loop.wake
        self._thread = threading.Thread(target=loop.run, name=f"ur_controller {self.ip}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Lose power: every socket closes at once and the brakes engage."""
        if self._thread is None:
            return
        assert self._wake is not None
        self._wake.send(b"\0")
        self._thread.join()
        self._thread = None
        self._plant.hold()

    def __enter__(self) -> UrController:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def protective_stop(self) -> None:
        """Brake and end the program, as after a collision."""
        with self._lock:
            self._halt(SafetyMode.PROTECTIVE_STOP)

    def unlock(self) -> str:
        """Leave the protective stop; the dashboard's answer, which is a refusal soon after the stop."""
        with self._lock:
            if self.state.safety_mode is not SafetyMode.PROTECTIVE_STOP:
                return "No protective stop to unlock"
            if time.monotonic() - self._stopped_at < self._unlock_delay:
                return UNLOCK_REFUSED
            self.state.safety_mode = SafetyMode.NORMAL
            return "Protective stop releasing"

    def emergency_stop(self) -> None:
        """Press the emergency stop: brake, end the program, power off."""
        with self._lock:
            self._halt(SafetyMode.ROBOT_EMERGENCY_STOP)
            self.power(RobotMode.POWER_OFF)

    def release_emergency_stop(self) -> None:
        """Twist the emergency stop out; the arm still has to be powered on and its brakes released."""
        with self._lock:
            if self.state.safety_mode is SafetyMode.ROBOT_EMERGENCY_STOP:
                self.state.safety_mode = SafetyMode.NORMAL

    def power(self, mode: RobotMode) -> None:
        """Switch between powered off, idle behind brakes, and running."""
        with self._lock:
            if mode is not RobotMode.RUNNING:
                self.end_program()
                self._plant.hold()
            self._brake = None
            self.state.setpoint = Setpoint.at_rest(self._plant.read().position)
            self.state.robot_mode = mode

    def end_program(self) -> None:
        """End the running program; a moving arm slows down."""
        with self._lock:
            self._end_program(PROGRAM_END_DECELERATION)

    def set_speed_slider(self, fraction: float) -> None:
        """Turn the pendant's speed slider, 0 to 1."""
        self.state.speed_fraction = min(max(fraction, 0.0), 1.0)

    def _halt(self, mode: SafetyMode) -> None:
        self._end_program(PROTECTIVE_DECELERATION)
        self.state.safety_mode = mode
        self._stopped_at = time.monotonic()

    def _end_program(self, deceleration: float) -> None:
        self._script = None
        self.state.runtime_state = RuntimeState.STOPPED
        self._brake = Deceleration(deceleration)

    def _upload(self, text: str) -> None:
        with self._lock:
            if self.state.safety_mode is not SafetyMode.NORMAL or self.state.robot_mode is not RobotMode.RUNNING:
                log.warning(
                    "A program is ignored: robot mode %s, safety mode %s.",
                    self.state.robot_mode.name,
                    self.state.safety_mode.name,
                )
                return
            if not ControlScript.recognises(text):
                log.error("A program is ignored: only ur_rtde's control script is emulated. It begins: %.80r", text)
                return
            self._script = ControlScript(text, self.state.registers, self.state.setpoint, self._period)
            self.state.runtime_state = RuntimeState.PLAYING

    def _on_input(self) -> None:
        if self._script is not None:
            self._script.input_received()

    def _control_period(self) -> None:
        """Measure, move one period, command."""
        began = time.perf_counter()
        with self._lock:
            state = self.state
            sample = self._plant.read()
            state.q, state.qd, state.torque = sample.position, sample.velocity, sample.effort
            state.timestamp += self._period
            if self._brake is not None and self._brake.step(state.setpoint, self._period):
                self._brake = None
            if self._script is not None:
                self._step_program(self._script)
            if state.robot_mode is RobotMode.RUNNING:
                self._plant.command(state.setpoint.q)
            state.execution_time = time.perf_counter() - began

    def _step_program(self, script: ControlScript) -> None:
        script.step(self._period * self.state.speed_fraction, self.state.torque)
        if script.moving:
            self._brake = None
        if script.protective_stop_requested:
            self._halt(SafetyMode.PROTECTIVE_STOP)
        elif not script.running:
            self._end_program(PROGRAM_END_DECELERATION)


@dataclass
class _Connection:
    """One accepted socket: how its bytes are answered, and what has not been sent yet."""

    socket: socket.socket
    receive: Callable[[bytes], bytes]
    rtde: RtdeSession | None = None
    unsent: bytes = b""
    greeting: bytes = field(default=b"", repr=False)


class _Loop:
    """The controller's thread: a selector over all sockets, woken in time for every control period."""

    def __init__(self, controller: UrController) -> None:
        self._controller = controller
        self._selector = selectors.DefaultSelector()
        self._connections: dict[socket.socket, _Connection] = {}
        self._listeners: list[socket.socket] = []
        self._reader, self.wake = socket.socketpair()
        self._selector.register(self._reader, selectors.EVENT_READ)
        try:
            self._listen(DASHBOARD_PORT, self._dashboard)
            self._listen(SCRIPT_PORT, self._script)
            self._listen(RTDE_PORT, self._rtde)
        except OSError:
            self._close()
            raise

    def run(self) -> None:
        period = self._controller._period
        due = time.monotonic()
        cycle = 0
        try:
            while True:
                for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                    if key.fileobj is self._reader:
                        return
                    if key.data is not None:
                        self._accept(key.fileobj, key.data)  # type: ignore[arg-type]
                    else:
                        self._read(self._connections[key.fileobj])  # type: ignore[index]
                now = time.monotonic()
                if now < due:
                    continue
                self._controller._control_period()
                cycle += 1
                self._send_data(cycle)
                due = due + period if now - due < 0.1 else now + period
        finally:
            self._close()

    def _listen(self, port: int, connect: Callable[[socket.socket], _Connection]) -> None:
        listener = socket.socket()
        self._listeners.append(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._controller.ip, port))
        listener.listen()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, connect)

    def _accept(self, listener: socket.socket, connect: Callable[[socket.socket], _Connection]) -> None:
        accepted, _ = listener.accept()
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = connect(accepted)
        self._connections[accepted] = connection
        self._selector.register(accepted, selectors.EVENT_READ)
        self._send(connection, connection.greeting)

    def _dashboard(self, accepted: socket.socket) -> _Connection:
        lines = bytearray()

        def receive(data: bytes) -> bytes:
            lines.extend(data)
            *complete, rest = bytes(lines).split(b"\n")
            lines[:] = rest
            answers = [ur_dashboard.answer(self._controller, line.decode(errors="replace")) for line in complete]
            return "".join(f"{text}\n" for text in answers).encode()

        return _Connection(accepted, receive, greeting=f"{ur_dashboard.GREETING}\n".encode())

    def _script(self, accepted: socket.socket) -> _Connection:
        text = bytearray()

        def receive(data: bytes) -> bytes:
            text.extend(data)
            if text.endswith(b"\nend\n"):
                self._controller._upload(text.decode(errors="replace"))
                text.clear()
            return b""

        return _Connection(accepted, receive)

    def _rtde(self, accepted: socket.socket) -> _Connection:
        controller = self._controller
        session = RtdeSession(controller.state, controller.version, controller.frequency, controller._on_input)
        return _Connection(accepted, session.receive, rtde=session)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(65536)
            if not data:
                self._drop(connection)
                return
            with self._controller._lock:
                answer = connection.receive(data)
            self._send(connection, answer)
        except BlockingIOError:
            return
        except (OSError, ProtocolError) as error:
            log.info("A client is dropped: %s", error)
            self._drop(connection)

    def _send_data(self, cycle: int) -> None:
        for connection in list(self._connections.values()):
            if connection.rtde is None:
                continue
            if connection.unsent:
                self._send(connection, b"")
            if not connection.unsent:
                self._send(connection, connection.rtde.data(cycle))

    def _send(self, connection: _Connection, data: bytes) -> None:
        """Send what fits; a client that does not read loses later data packages, never part of one."""
        data = connection.unsent + data
        if not data:
            return
        try:
            connection.unsent = data[connection.socket.send(data) :]
        except BlockingIOError:
            connection.unsent = data
        except OSError:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        if self._connections.pop(connection.socket, None) is not None:
            self._selector.unregister(connection.socket)
            connection.socket.close()

    def _close(self) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection)
        for listener in self._listeners:
            listener.close()
        self._selector.close()
        self._reader.close()
