"""`python -m dexgrasp.bench`: the figures of this machine, as a table and as bench_report.json.

A figure is a function and its row in `LIBRARY` or in `SYSTEM`; the latter are given a running bringup. What spreads is
given as its median. The learned and the object-level generator have tables of their own, see `generator_bench` and
`object_generator_bench`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from dexgrasp_common.nodes.clients import call_action, call_service
from dexgrasp_common.report import commit, machine, write_report
from dexgrasp_planner.generators import SceneCloud
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image, PointCloud2

from dexgrasp import generator_bench, object_generator_bench
from dexgrasp.cli import add_bringup_arguments, bringup_arguments
from dexgrasp.demo import bringup, log_tail, nanoseconds, reset_scene, wait_for_nodes
from dexgrasp.nodes import share_folder
from dexgrasp.session import Session, SessionError
from dexgrasp_description import load_arm, load_hand
from dexgrasp_msgs.action import GenerateGrasp
from dexgrasp_msgs.msg import GroundTruth
from dexgrasp_msgs.srv import PlanGrasp

SECONDS = 10.0  # of watching, for rates [s]
OBJECTS = 5
SEED = 0
LEARNED_GENERATOR, OBJECT_GENERATOR = "learned_generator", "object_generator"  # the names of their tables
_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Figure:
    """One figure and how it is measured; the function's name is its name.

    Attributes:
        target: Value that the suite promises on two cores; None where it promises nothing.
        better: Which direction is better.
    """

    measure: Callable[..., float]
    unit: str
    better: Literal["higher", "lower"]
    target: float | None = None

    @property
    def name(self) -> str:
        return self.measure.__name__

    def met(self, value: float) -> bool:
        """Whether a value reaches the target; true without a target."""
        if self.target is None:
            return True
        return value >= self.target if self.better == "higher" else value <= self.target


@dataclass(frozen=True)
class Running:
    """A simulated bringup with a scene on the table and no goal in progress."""

    session: Session
    first_grasps_s: float
    grasps: tuple[Any, ...]


def hand_bus_cycle() -> float:
    """Goals of 16 motors written and everything they measure read, on a bus emulated by another process [ms]."""
    from dexgrasp_control.dynamixel import BusError, DynamixelChain
    from dexgrasp_control.leap import LeapConfig

    home = load_hand("leap_right").home
    times, lost = [], 0
    with _emulated_bus() as port:
        chain = DynamixelChain(port, LeapConfig().baud, range(len(home)))
        for cycle in range(500):
            start = time.perf_counter()
            try:
                chain.write_goals(home + 0.05 * np.sin(0.05 * cycle))
                chain.read_present()
            except BusError:  # as on a real line, the driver's next cycle makes up for one that was lost
                lost += 1
                chain.settle()
                continue
            times.append(time.perf_counter() - start)
        chain.close()
    if lost > 50:
        raise RuntimeError(f"{lost} of 500 cycles were lost.")
    return _median_ms(times)


def inverse_kinematics() -> float:
    """All solutions of a UR5 flange pose [ms]."""
    import torch
    from dexgrasp_description.kinematics import ForwardKinematics
    from dexgrasp_planner.ik import inverse_kinematics

    arm = load_arm("ur5")
    joints = np.random.default_rng(SEED).uniform(-np.pi, np.pi, (500, 6))
    poses = iter(ForwardKinematics(arm).link_poses(torch.as_tensor(joints))[arm.flange_link].numpy())
    solver = inverse_kinematics(arm)
    return _median_ms(_timed(lambda: solver.solutions(next(poses), arm.home), len(joints)))


def depth_restoration() -> float:
    """`classical` on the sample image with a further quarter of its pixels missing [ms]."""
    from dexgrasp_perception.frame import Frame
    from dexgrasp_perception.restoration import DEPTH_RESTORATIONS

    depth, intrinsics = _sample()
    blocks = np.random.default_rng(SEED).random((depth.shape[0] // 20, depth.shape[1] // 20)) < 0.25
    depth[np.kron(blocks, np.ones((20, 20), bool))] = 0.0
    restoration = DEPTH_RESTORATIONS.create("classical")
    return _median_ms(_timed(lambda: restoration.restore(Frame(depth, intrinsics)), 10))


def generate_grasps() -> float:
    """Grasps on the sample image, from its cloud on [ms]."""
    from dexgrasp_planner.generators import make_generator

    view = sample_cloud()
    generator = make_generator("", load_hand("leap_right"))
    return _median_ms(_timed(lambda: generator.generate(view, 100, SEED), 3))


def depth_frames(running: Running) -> float:
    """Depth images a second that this process receives BEST_EFFORT from the camera's [1/s]."""
    frames = running.session.latest(Image, "camera/depth/image_rect_raw")
    frames.wait(5.0)
    before, start = frames.count, time.monotonic()
    time.sleep(SECONDS)
    return (frames.count - before) / (time.monotonic() - start)


def real_time_factor(running: Running) -> float:
    """Simulated over wall time, with every node up and idle and the depth images received here."""
    frames = running.session.latest(Image, "camera/depth/image_rect_raw")
    truth = running.session.latest(GroundTruth, "sim/ground_truth")
    frames.wait(5.0)
    time.sleep(SECONDS)  # the cell's own average is over less than this
    return truth.wait(5.0).real_time_factor


def first_grasps(running: Running) -> float:
    """From the start of the processes to the first result of GenerateGrasp [s]."""
    return running.first_grasps_s


def plan_grasp(running: Running) -> float:
    """Round trip of PlanGrasp for the best grasps that can be reached [ms]."""
    client = running.session.service(PlanGrasp, "plan_grasp")
    times: list[float] = []
    for grasp in running.grasps[:20]:
        start = time.perf_counter()
        answer = call_service(client, PlanGrasp.Request(grasp=grasp), 60.0)
        if answer.error_code == PlanGrasp.Response.SUCCESS:
            times.append(time.perf_counter() - start)
        if len(times) == 5:
            break
    if not times:
        raise SessionError("None of the best twenty grasps could be planned.")
    return _median_ms(times)


LIBRARY = (
    Figure(hand_bus_cycle, "ms", "lower", 3.0),
    Figure(inverse_kinematics, "ms", "lower"),
    Figure(depth_restoration, "ms", "lower"),
    Figure(generate_grasps, "ms", "lower"),
)
SYSTEM = (
    Figure(depth_frames, "1/s", "higher", 28.0),
    Figure(real_time_factor, "", "higher", 0.95),
    Figure(first_grasps, "s", "lower", 30.0),
    Figure(plan_grasp, "ms", "lower"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; the exit status says whether every figure could be measured, not whether it is good."""
    names = [*(figure.name for figure in LIBRARY + SYSTEM), LEARNED_GENERATOR, OBJECT_GENERATOR]
    parser = argparse.ArgumentParser(prog="python -m dexgrasp.bench", description="Measure this machine.")
    parser.add_argument("--report", type=Path, default=Path("bench_report.json"), metavar="JSON")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    add_bringup_arguments(parser)
    parsed = parser.parse_args(argv)
    wanted = parsed.only or names
    values: dict[Figure, float] = {}
    failures: list[str] = []
    _measure([figure for figure in LIBRARY if figure.name in wanted], (), values, failures)
    learned = _tabled(LEARNED_GENERATOR, _learned_generator, failures) if LEARNED_GENERATOR in wanted else []
    objects = _tabled(OBJECT_GENERATOR, object_generator_bench.rows, failures) if OBJECT_GENERATOR in wanted else []
    system = [figure for figure in SYSTEM if figure.name in wanted]
    if system:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
        log, start = parsed.report.with_suffix(".log"), time.monotonic()
        with bringup(bringup_arguments(parsed), log) as suite:
            try:
                first_grasps_s, grasps = _prepare(suite, start)
            except Exception as error:
                failures.append(f"bringup: {error} The log is {log}; its end: {log_tail(log)}")
            else:
                with Session() as session:
                    _measure(system, (Running(session, first_grasps_s, grasps),), values, failures)
    Console().print(_table(values))
    if learned:
        Console(width=180).print(
            generator_bench.table(
                learned, "Learned generator: 40,000 points shown, 1,024 grasps ranked; wall time [ms]"
            )
        )
    if objects:
        Console(width=180).print(object_generator_bench.table(objects))
    for failure in failures:
        print(f"dexgrasp bench: {failure}", file=sys.stderr)
    common = {"machine": machine(), "commit": commit()}
    rows = [
        {"name": figure.name, "value": round(value, 4), "unit": figure.unit, "target": figure.target}
        | {"better": figure.better, **common}
        for figure, value in values.items()
    ]
    write_report(parsed.report, rows + [figure | common for row in (*learned, *objects) for figure in row.figures()])
    return 1 if failures else 0


def _prepare(suite: Any, start: float) -> tuple[float, tuple[Any, ...]]:
    """Time to the first grasps [s] and the grasps, by a client that does not stay to burden what is measured."""
    with Session() as session:
        cloud = session.latest(PointCloud2, "perception/points")
        wait_for_nodes(session, lambda: suite.poll() is not None)
        reset_scene(session, SEED, OBJECTS)
        stamp = session.node.get_clock().now().nanoseconds
        cloud.wait(20.0, lambda message: nanoseconds(message) > stamp)
        client = session.action(GenerateGrasp, "generate_grasp")
        result = call_action(client, GenerateGrasp.Goal(seed=SEED), 60.0)
        elapsed = time.monotonic() - start
    if result.error_code:
        raise SessionError(f"generate_grasp: error {result.error_code}: {result.error_msg}")
    return elapsed, tuple(result.grasps.grasps)


def _measure(
    figures: list[Figure], arguments: tuple[Running, ...], values: dict[Figure, float], failures: list[str]
) -> None:
    for figure in figures:
        print(f"{figure.name} ...", file=sys.stderr, flush=True)
        try:
            values[figure] = float(figure.measure(*arguments))
        except Exception as error:  # one figure that fails must not hide the others
            failures.append(f"{figure.name}: {type(error).__name__}: {error}")


def _tabled(name: str, measure: Callable[[], list[_Row]], failures: list[str]) -> list[_Row]:
    """The rows of a table; none if they cannot be measured."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        return measure()
    except Exception as error:
        failures.append(f"{name}: {type(error).__name__}: {error}")
        return []


def _learned_generator() -> list[generator_bench.Row]:
    measured, left_out = generator_bench.rows(sample_cloud())
    print(*left_out, sep="\n", file=sys.stderr)
    return measured


@contextmanager
def _emulated_bus() -> Iterator[str]:
    """Port of an emulated Dynamixel bus that another process answers, for as long as this one lives."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        port = f"{folder}/leap"
        process = context.Process(target=_serve_bus, args=(port, theirs))
        process.start()
        theirs.close()
        try:
            if not ours.poll(60.0):
                raise RuntimeError("The emulated bus did not start within 60 s.")
            ours.recv()
            yield port
        finally:
            ours.close()
            process.join(10.0)


def _serve_bus(port: str, client: Connection) -> None:
    from dexgrasp_sim.emulators.dynamixel_bus import DynamixelBus
    from dexgrasp_sim.plant import KinematicPlant

    hand = load_hand("leap_right")
    with DynamixelBus(KinematicPlant(hand.joint_names, hand.home), link=port):
        client.send("started")
        client.poll(None)  # until the other end closes, by itself or with its process


def sample_cloud() -> SceneCloud:
    """The shipped sample as generators want it."""
    from dexgrasp_perception.scene import look_at_table

    scene = look_at_table(*_sample(), seed=SEED)
    return SceneCloud(scene.cloud[scene.workspace], scene.table_T_camera, scene.area)


def _sample() -> tuple[Any, Any]:
    """Depth (H, W), float32 [m], of the shipped sample, and its intrinsics."""
    from dexgrasp_perception.depth_image import load_depth, load_intrinsics

    folder = share_folder() / "samples"
    depth = load_depth(folder / "table.depth.png").astype(np.float32)
    return depth, load_intrinsics(folder / "table.intrinsics.json", (depth.shape[1], depth.shape[0]))


def _timed(work: Callable[[], Any], repetitions: int) -> list[float]:
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def _median_ms(times: list[float]) -> float:
    return 1000 * float(np.median(times))


def _table(values: dict[Figure, float]) -> Table:
    table = Table(title=f"{machine()}, commit {commit()}", title_justify="left")
    for column, side in (("figure", "left"), ("value", "right"), ("unit", "left"), ("target", "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for figure, value in values.items():
        sign = ">=" if figure.better == "higher" else "<="
        target = "" if figure.target is None else f"{sign} {figure.target:g}"
        colour = "green" if figure.met(value) else "red"
        shown = f"[{colour}]{value:.4g}[/]" if figure.target is not None else f"{value:.4g}"
        table.add_row(figure.name.replace("_", " "), shown, figure.unit, target)
    return table


if __name__ == "__main__":
    sys.exit(main())
