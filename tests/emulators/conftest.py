"""Emulators in a process of their own, as ur_rtde holds Python's lock while it connects."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from dexgrasp_sim.emulators.dynamixel_bus import DynamixelBus
from dexgrasp_sim.emulators.ur_controller import UrController
from dexgrasp_sim.plant import KinematicPlant

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([UrController.__module__, DynamixelBus.__module__])

ARM_START = (0.0, -1.57, 1.57, -1.57, -1.57, 0.0)


class Served:
    """An emulator over there: `call(name, ...)` calls its method, `call("plant.read")` its plant's."""

    def __init__(self, factory: Callable[..., tuple[Any, KinematicPlant]], *arguments: str) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        # From a clean process: a fork of this one would inherit the locks and threads of earlier tests.
        self._process = _PROCESSES.Process(target=_serve, args=(factory, arguments, theirs), daemon=True)
        self._process.start()
        theirs.close()
        assert self._pipe.recv() == "started"

    def call(self, name: str, *arguments: Any) -> Any:
        self._pipe.send((name, arguments))
        assert self._pipe.poll(10.0), f"{name} has not answered"
        return self._pipe.recv()

    def close(self) -> None:
        self.call("stop")
        self._process.terminate()
        self._process.join()


def _serve(factory: Callable[..., tuple[Any, KinematicPlant]], arguments: tuple[str, ...], pipe: Any) -> None:
    emulator, plant = factory(*arguments)
    emulator.start()
    pipe.send("started")
    while True:
        name, arguments = pipe.recv()
        owner = plant if name.startswith("plant.") else emulator
        pipe.send(getattr(owner, name.removeprefix("plant."))(*arguments))


@contextmanager
def served(factory: Callable[..., tuple[Any, KinematicPlant]], *arguments: str) -> Iterator[Served]:
    server = Served(factory, *arguments)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(params=["cb3", "e"])
def series(request: pytest.FixtureRequest) -> str:
    return request.param


def _controller(ip: str, series: str) -> tuple[UrController, KinematicPlant]:
    plant = KinematicPlant([f"joint_{i}" for i in range(6)], ARM_START)
    return UrController(plant, ip, series, unlock_delay=0.5), plant


@pytest.fixture
def controller(series: str, loopback_ip: str) -> Iterator[Served]:
    with served(_controller, loopback_ip, series) as server:
        yield server


@pytest.fixture
def port(tmp_path) -> str:
    return str(tmp_path / "leap")


def _bus(port: str) -> tuple[DynamixelBus, KinematicPlant]:
    upper = np.full(16, np.inf)
    upper[1] = 0.5
    plant = KinematicPlant([f"j{i}" for i in range(16)], effort_limit=0.95, upper=upper, stiffness=3.0)
    return DynamixelBus(plant, port), plant


@pytest.fixture
def bus(port: str) -> Iterator[Served]:
    """Sixteen joints, of which joint 1 meets a wall at 0.5 rad."""
    with served(_bus, port) as server:
        yield server
