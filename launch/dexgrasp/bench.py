"""`python -m dexgrasp.bench`: the figures of this machine, as a table and as bench_report.json.

A figure is a function in `LIBRARY` or `SYSTEM`; the latter are given a running bringup. Values that spread are medians.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from dexgrasp_common.nodes.clients import call_action, call_service
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image, PointCloud2

from dexgrasp.demo import bringup, log_tail, nanoseconds, reset_scene, wait_for_nodes
from dexgrasp.nodes import Arguments
from dexgrasp.report import commit, machine, write_report
from dexgrasp.session import Session, SessionError
from dexgrasp_msgs.action import GenerateGrasp
from dexgrasp_msgs.msg import GroundTruth
from dexgrasp_msgs.srv import PlanGrasp

SECONDS = 10.0  # of watching, for rates [s]
OBJECTS = 5
SEED = 0


@dataclass(frozen=True)
class Figure:
    """One measured value.

    Attributes:
        target: Value that the suite promises on two cores; None where it promises nothing.
        better: Which direction is better.
    """

    name: str
    value: float
    unit: str
    target: float | None
    better: Literal["higher", "lower"]

    def met(self) -> bool:
        """Whether the target is reached; true without a target."""
        if self.target is None:
            return True
        return self.value >= self.target if self.better == "higher" else self.value <= self.target


@dataclass(frozen=True)
class Running:
    """A simulated bringup with a scene on the table and no goal in progress."""

    session: Session
    first_generate_s: float
    grasps: tuple[Any, ...]


def hand_bus_cycle() -> Figure:
    """One write of 16 goal positions and one read of 16 states by the driver over the emulated bus."""
    from dexgrasp_control.hand import HANDS
    from dexgrasp_sim.emulators.dynamixel_bus import DynamixelBus
    from dexgrasp_sim.plant import KinematicPlant

    from dexgrasp_description import load_hand

    hand = load_hand("leap_right")
    plant = KinematicPlant(hand.joint_names, hand.home)
    with tempfile.TemporaryDirectory() as folder:
        bus = DynamixelBus(plant, link=f"{folder}/leap")
        bus.start()
        try:
            driver = HANDS.create("leap", hand, f"{folder}/leap")
            driver.connect()
            times = _timed(lambda: (driver.command(hand.home), driver.read()), 500)
            driver.disconnect()
        finally:
            bus.stop()
    return Figure("hand bus cycle", _median_ms(times), "ms", 3.0, "lower")


def inverse_kinematics() -> Figure:
    """All solutions of a UR5 flange pose."""
    from dexgrasp_planner.ik import UrInverseKinematics, inverse_kinematics

    from dexgrasp_description import load_arm

    arm = load_arm("ur5")
    solver = inverse_kinematics(arm)
    assert isinstance(solver, UrInverseKinematics)
    random = np.random.default_rng(SEED)
    poses = [solver.forward(random.uniform(-np.pi, np.pi, 6)) for _ in range(300)]
    reference = np.zeros(6)
    remaining = iter(poses)
    times = _timed(lambda: solver.solutions(next(remaining), reference), len(poses))
    return Figure("inverse kinematics", _median_ms(times), "ms", None, "lower")


def depth_restoration() -> Figure:
    """`classical` on a 640x480 image with a quarter of its pixels missing."""
    from dexgrasp_perception.depth_image import load_depth, load_intrinsics
    from dexgrasp_perception.frame import Frame
    from dexgrasp_perception.restoration import DEPTH_RESTORATIONS

    from dexgrasp.nodes import share_folder

    samples = share_folder() / "samples"
    depth = load_depth(samples / "table.depth.png")
    intrinsics = load_intrinsics(samples / "table.intrinsics.yaml", (depth.shape[1], depth.shape[0]))
    holes = np.random.default_rng(SEED).random((24, 32)) < 0.25
    depth[np.kron(holes, np.ones((20, 20), bool))] = 0.0
    restoration = DEPTH_RESTORATIONS.create("classical")
    frame = Frame(depth.astype(np.float32), intrinsics)
    times = _timed(lambda: restoration.restore(frame), 10)
    return Figure("depth restoration (classical)", _median_ms(times), "ms", None, "lower")


def depth_rate(running: Running) -> Figure:
    """Depth frames that a BEST_EFFORT subscriber in another process than the camera's receives."""
    frames = running.session.latest(Image, "camera/depth/image_rect_raw")
    frames.wait(5.0)
    before, start = frames.count, time.monotonic()
    time.sleep(SECONDS)
    rate = (frames.count - before) / (time.monotonic() - start)
    return Figure("depth frames received", rate, "1/s", 28.0, "higher")


def real_time_factor(running: Running) -> Figure:
    """Simulated over wall time of the cell, with a subscriber on the depth images."""
    running.session.latest(Image, "camera/depth/image_rect_raw")
    factors: list[float] = []
    running.session.node.create_subscription(
        GroundTruth, "sim/ground_truth", lambda message: factors.append(message.real_time_factor), 10
    )
    time.sleep(SECONDS)
    if not factors:
        raise SessionError("No message on sim/ground_truth.")
    return Figure("real-time factor", float(np.mean(factors)), "", 0.95, "higher")


def first_grasps(running: Running) -> Figure:
    """From the start of the processes to the first GenerateGrasp result."""
    return Figure("start to first grasps", running.first_generate_s, "s", 30.0, "lower")


def generate_time(running: Running) -> Figure:
    """Round trip of a GenerateGrasp goal on a table of five objects."""
    client = running.session.action(GenerateGrasp, "generate_grasp")
    times = _timed(lambda: call_action(client, GenerateGrasp.Goal(seed=SEED), 60.0), 3)
    return Figure("generate grasps", _median_ms(times), "ms", None, "lower")


def plan_time(running: Running) -> Figure:
    """Round trip of PlanGrasp for the best grasps that can be reached."""
    client = running.session.node.create_client(PlanGrasp, "plan_grasp")
    times = []
    for grasp in running.grasps[:20]:
        start = time.perf_counter()
        answer = call_service(client, PlanGrasp.Request(grasp=grasp), 60.0)
        if answer.error_code == PlanGrasp.Response.SUCCESS:
            times.append(time.perf_counter() - start)
        if len(times) == 5:
            break
    if not times:
        raise SessionError("None of the best twenty grasps could be planned.")
    return Figure("plan a grasp", _median_ms(times), "ms", None, "lower")


LIBRARY: tuple[Callable[[], Figure], ...] = (hand_bus_cycle, inverse_kinematics, depth_restoration)
SYSTEM: tuple[Callable[[Running], Figure], ...] = (
    depth_rate,
    real_time_factor,
    first_grasps,
    generate_time,
    plan_time,
)


def main() -> int:
    """Measure everything; the exit status says whether every figure could be measured, not whether it is good."""
    parser = argparse.ArgumentParser(prog="python -m dexgrasp.bench", description="Measure this machine.")
    parser.add_argument("--report", type=Path, default=Path("bench_report.json"), metavar="JSON")
    parsed = parser.parse_args()
    figures, failures = [], []
    for measure in LIBRARY:
        _collect(measure, (), figures, failures)
    log = parsed.report.with_suffix(".log")
    start = time.monotonic()
    with bringup(Arguments(), log) as suite, Session() as session:
        try:
            running = _prepare(session, suite, start)
        except Exception as error:
            failures.append(f"bringup: {error} The log is {log}; its end: {log_tail(log)}")
        else:
            for measure_running in SYSTEM:
                _collect(measure_running, (running,), figures, failures)
    Console().print(_table(figures))
    for failure in failures:
        print(f"dexgrasp bench: {failure}", file=sys.stderr)
    common = {"machine": machine(), "commit": commit()}
    write_report(
        parsed.report,
        [
            {
                "name": figure.name,
                "value": round(figure.value, 4),
                "unit": figure.unit,
                "target": figure.target,
                "better": figure.better,
                **common,
            }
            for figure in figures
        ],
    )
    return 1 if failures else 0


def _prepare(session: Session, suite: Any, start: float) -> Running:
    cloud = session.latest(PointCloud2, "perception/points")
    wait_for_nodes(session, lambda: suite.poll() is not None)
    reset_scene(session, SEED, OBJECTS)
    stamp = session.node.get_clock().now().nanoseconds
    cloud.wait(20.0, lambda message: nanoseconds(message) > stamp)
    client = session.action(GenerateGrasp, "generate_grasp")
    result = call_action(client, GenerateGrasp.Goal(seed=SEED), 60.0)
    if result.error_code:
        raise SessionError(f"generate_grasp: error {result.error_code}: {result.error_msg}")
    return Running(session, time.monotonic() - start, tuple(result.grasps.grasps))


def _collect(
    measure: Callable[..., Figure], arguments: tuple[Running, ...], figures: list[Figure], failures: list[str]
) -> None:
    print(f"{measure.__name__} ...", file=sys.stderr, flush=True)
    try:
        figures.append(measure(*arguments))
    except Exception as error:  # one figure that fails must not hide the others
        failures.append(f"{measure.__name__}: {type(error).__name__}: {error}")


def _timed(work: Callable[[], Any], repetitions: int) -> list[float]:
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def _median_ms(times: list[float]) -> float:
    return 1000 * float(np.median(times))


def _table(figures: list[Figure]) -> Table:
    table = Table(title=f"{machine()}, commit {commit()}", title_justify="left")
    for column, side in (("figure", "left"), ("value", "right"), ("unit", "left"), ("target", "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for figure in figures:
        sign = ">=" if figure.better == "higher" else "<="
        target = "" if figure.target is None else f"{sign} {figure.target:g}"
        colour = "green" if figure.met() else "red"
        value = f"[{colour}]{figure.value:.3g}[/]" if figure.target is not None else f"{figure.value:.3g}"
        table.add_row(figure.name, value, figure.unit, target)
    return table


if __name__ == "__main__":
    sys.exit(main())
