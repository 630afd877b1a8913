"""The controller's side of RTDE protocol version 2 for one client."""

from __future__ import annotations

import struct
from collections.abc import Callable

from dexgrasp_sim.emulators.ur_state import INPUTS, OUTPUTS, ControllerState, Getter

REQUEST_PROTOCOL_VERSION = ord("V")
GET_CONTROLLER_VERSION = ord("v")
SETUP_OUTPUTS = ord("O")
SETUP_INPUTS = ord("I")
START = ord("S")
PAUSE = ord("P")
DATA = ord("U")

FORMATS = {
    "DOUBLE": "d",
    "INT32": "i",
    "UINT32": "I",
    "UINT64": "Q",
    "UINT8": "B",
    "VECTOR3D": "3d",
    "VECTOR6D": "6d",
    "VECTOR6INT32": "6i",
}


class ProtocolError(Exception):
    """The client sent what is no RTDE package; a controller closes the connection."""


class RtdeSession:
    """Recipes and packages of one RTDE client.

    Args:
        state: What to report, and the registers to write.
        version: Controller version: major, minor, bugfix, build.
        frequency: The controller's frequency [Hz].
        on_input: Called after registers were written.
    """

    def __init__(
        self,
        state: ControllerState,
        version: tuple[int, int, int, int],
        frequency: float,
        on_input: Callable[[], None],
    ) -> None:
        self._state = state
        self._version = version
        self._frequency = frequency
        self._on_input = on_input
        self._buffer = b""
        self._getters: list[Getter] = []
        self._packer = struct.Struct(">")
        self._inputs: dict[int, tuple[struct.Struct, list[str]]] = {}
        self._divider = 1
        self._started = False

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the client and return the answers.

        Raises:
            ProtocolError: These bytes are no package.
        """
        self._buffer += data
        answers = b""
        while len(self._buffer) >= 3:
            size, kind = struct.unpack_from(">HB", self._buffer)
            if size < 3:
                raise ProtocolError(f"A package of size {size}.")
            if len(self._buffer) < size:
                break
            payload, self._buffer = self._buffer[3:size], self._buffer[size:]
            try:
                answer = self._handle(kind, payload)
            except (struct.error, UnicodeDecodeError, IndexError) as error:
                raise ProtocolError(f"Package {chr(kind)!r}: {error}") from error
            if answer is not None:
                answers += _package(kind, answer)
        return answers

    def data(self, cycle: int) -> bytes:
        """The data package of this control cycle; empty when none is due."""
        if not self._started or cycle % self._divider:
            return b""
        values: list = []
        for get in self._getters:
            values += get(self._state)
        return _package(DATA, b"\x01" + self._packer.pack(*values))

    def _handle(self, kind: int, payload: bytes) -> bytes | None:
        if kind == REQUEST_PROTOCOL_VERSION:
            return bytes([struct.unpack(">H", payload)[0] == 2])
        if kind == GET_CONTROLLER_VERSION:
            return struct.pack(">4I", *self._version)
        if kind == SETUP_OUTPUTS:
            return self._setup_outputs(payload)
        if kind == SETUP_INPUTS:
            return self._setup_inputs(payload)
        if kind == START:
            self._started = bool(self._getters)
            return bytes([self._started])
        if kind == PAUSE:
            self._started = False
            return b"\x01"
        if kind == DATA:
            self._write_inputs(payload)
        return None

    def _setup_outputs(self, payload: bytes) -> bytes:
        frequency = struct.unpack_from(">d", payload)[0]
        names = _names(payload[8:])
        types = [OUTPUTS[name][0] if name in OUTPUTS else "NOT_FOUND" for name in names]
        if "NOT_FOUND" not in types:
            self._getters = [OUTPUTS[name][1] for name in names]
            self._packer = struct.Struct(">" + "".join(FORMATS[kind] for kind in types))
            self._divider = max(1, round(self._frequency / frequency)) if frequency > 0 else 1
        return b"\x01" + ",".join(types).encode()

    def _setup_inputs(self, payload: bytes) -> bytes:
        names = _names(payload)
        types = [INPUTS.get(name, "NOT_FOUND") for name in names]
        if "NOT_FOUND" in types:
            return b"\x00" + ",".join(types).encode()
        recipe = len(self._inputs) + 1
        self._inputs[recipe] = (struct.Struct(">" + "".join(FORMATS[kind] for kind in types)), names)
        return bytes([recipe]) + ",".join(types).encode()

    def _write_inputs(self, payload: bytes) -> None:
        recipe = self._inputs.get(payload[0])
        if recipe is None:
            return
        packer, names = recipe
        values = iter(packer.unpack(payload[1:]))
        registers = self._state.registers
        written: dict[str, float] = {}
        for name in names:
            value = [next(values) for _ in range(6)][0] if INPUTS[name] == "VECTOR6D" else next(values)
            if name.startswith("input_int_register_"):
                registers.int_in[int(name[19:])] = value
            elif name.startswith("input_double_register_"):
                registers.double_in[int(name[22:])] = value
            else:
                written[name] = value
        if written.get("speed_slider_mask"):
            self._state.speed_fraction = min(max(written["speed_slider_fraction"], 0.0), 1.0)
        self._on_input()


def _package(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HB", len(payload) + 3, kind) + payload


def _names(payload: bytes) -> list[str]:
    return [name for name in payload.decode("ascii").split(",") if name]
