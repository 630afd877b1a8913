"""The cables between the drivers and the robot: they carry bytes, remember when, and can be pulled out."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import termios
import threading
import time
import tty
from collections import deque
from dataclasses import dataclass
from pathlib import Path

UR_PORTS = (29999, 30003, 30004)


@dataclass(frozen=True)
class Chunk:
    """Bytes that went from the driver to the robot."""

    time: float  # time.monotonic()
    port: int  # 0: the serial line
    data: bytes


class Recorder:
    """Keeps the newest chunks."""

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque(maxlen=200_000)

    def add(self, port: int, data: bytes) -> None:
        """Remember bytes that arrived now."""
        self._chunks.append(Chunk(time.monotonic(), port, data))

    def between(self, start: float, end: float) -> list[Chunk]:
        """What was carried in a span of time.monotonic()."""
        return [chunk for chunk in list(self._chunks) if start <= chunk.time <= end]


class NetworkCable:
    """Listens where the driver connects and passes everything on to the controller's ports.

    Args:
        near: Address that the driver is told.
        far: Address of the emulated controller.
    """

    def __init__(self, near: str, far: str, ports: tuple[int, ...] = UR_PORTS) -> None:
        self.recorder = Recorder()
        self._near, self._far, self._ports = near, far, ports
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._plugged = threading.Event()
        self.plug()

    def plug(self) -> None:
        """Listen again after `pull`."""
        self._plugged.set()
        for port in self._ports:
            listener = socket.create_server((self._near, port), reuse_port=False)
            self._remember(listener)
            threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()

    def pull(self) -> None:
        """Close every connection and stop listening."""
        self._plugged.clear()
        with self._lock:
            for item in self._open:
                with contextlib.suppress(OSError):
                    item.shutdown(socket.SHUT_RDWR)
                item.close()
            self._open.clear()

    def _remember(self, item: socket.socket) -> None:
        with self._lock:
            self._open.append(item)

    def _accept(self, listener: socket.socket, port: int) -> None:
        while self._plugged.is_set():
            try:
                driver, _ = listener.accept()
                robot = socket.create_connection((self._far, port), timeout=5.0)
            except OSError:
                if listener.fileno() < 0:
                    return
                with contextlib.suppress(UnboundLocalError, OSError):
                    driver.close()
                continue
            robot.settimeout(None)
            for end in (driver, robot):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._remember(end)
            threading.Thread(target=self._carry, args=(driver, robot, port, True), daemon=True).start()
            threading.Thread(target=self._carry, args=(robot, driver, port, False), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, port: int, record: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if record:
                    self.recorder.add(port, data)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class SerialCable:
    """A pseudo-terminal for the driver whose bytes go to another one, behind which the emulated bus listens.

    Args:
        near: Path that the driver is told; a link to the pseudo-terminal.
        far: Path of the emulated bus.
    """

    def __init__(self, near: Path, far: Path) -> None:
        self.recorder = Recorder()
        self._near, self._far = near, far
        self._files: list[int] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def plug(self, deadline: float = 30.0) -> None:
        """Connect, waiting for the bus to be there."""
        end = time.monotonic() + deadline
        while not self._far.exists():
            assert time.monotonic() < end, f"{self._far} did not appear within {deadline} s"
            time.sleep(0.02)
        bus = os.open(self._far, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        master, slave = os.openpty()
        for file in (bus, slave):
            tty.setraw(file, termios.TCSANOW)
        self._near.parent.mkdir(parents=True, exist_ok=True)
        link = self._near.with_suffix(".new")
        link.symlink_to(os.ttyname(slave))
        link.replace(self._near)
        self._files = [bus, master, slave]
        self._stop.clear()
        self._thread = threading.Thread(target=self._carry, args=(bus, master), daemon=True)
        self._thread.start()

    def pull(self) -> None:
        """Close the driver's pseudo-terminal, as when a USB plug is pulled."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        self._near.unlink(missing_ok=True)
        for file in self._files:
            os.close(file)
        self._files = []

    def _carry(self, bus: int, master: int) -> None:
        while not self._stop.is_set():
            ready, _, _ = select.select([bus, master], [], [], 0.05)
            with contextlib.suppress(BlockingIOError):
                if master in ready:
                    data = os.read(master, 4096)
                    self.recorder.add(0, data)
                    os.write(bus, data)
                if bus in ready:
                    os.write(master, os.read(bus, 4096))
