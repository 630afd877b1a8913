"""How long the learned generator takes, stage by stage: 40,000 points shown to the network, 1,024 ranked grasps out.

The weights are random and seeded, and make every voxel a possible seed, so that no stage has less to do than it may
have with trained ones. The generator's own calls are timed from outside; each configuration has a process of its own,
whose memory says what it needed. Beside it stand what it is measured against: the divergence as the authors compute it
(DexGraspNet 2.0, Sec. E.2), by one backward pass for each of 12 dimensions, and MinkowskiEngine where it is installed.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from dexgrasp_planner.finishing import SAMPLED, FinishConfig, Finishing
from dexgrasp_planner.generators import SceneCloud
from dexgrasp_planner.guidance import UNGUIDED
from dexgrasp_planner.hand_clearance import ClearanceConfig
from dexgrasp_planner.learned import LearnedConfig, LearnedGenerator
from dexgrasp_planner.network import diffusion_head
from dexgrasp_planner.network.backends import SPARSE_CONVOLUTIONS
from dexgrasp_planner.network.diffusion_head import DiffusionHead
from dexgrasp_planner.network.flow_sampling import FLOW_PRESETS
from dexgrasp_planner.network.folded import FoldedResUNet14, VoxelOutputs
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from dexgrasp_planner.network.resunet import ResUNet14, ResUNetConfig
from dexgrasp_planner.network.velocity_field import VelocityField
from dexgrasp_planner.network.voxels import Voxels, voxelize
from rich.table import Table

from dexgrasp_description import load_hand

# What is not one of the others counts as `prepare`: points into world, clusters, the field of distances.
STAGES = ("prepare", "voxels", "backbone", "seeds", "sampling", "decoding", "filter", "ranking")
PEAK_MB = 1500.0
TARGETS_MS = {("paper", "fast", "fp32"): 1000.0, ("paper", "fast", "bf16"): 500.0, ("small", "fast", "fp32"): 400.0}


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        points: That the network is shown.
        seeds: Grasps that are sampled, filtered and ranked.
        repetitions: Of which the medians are taken, after one to warm up.
        traced: Steps of the sampler that the authors' divergence is measured on.
        backbones, samplers, precisions, devices: What is combined.
    """

    points: int = 40_000
    seeds: int = 1024
    repetitions: int = 5
    traced: int = 3
    backbones: tuple[str, ...] = ("paper", "small")
    samplers: tuple[str, ...] = ("fast", "paper")
    precisions: tuple[str, ...] = ("fp32", "bf16")
    devices: tuple[str, ...] = ("cpu", "cuda")


@dataclass(frozen=True)
class Row:
    """One configuration, or one thing that it is measured against.

    Attributes:
        name: Backbone, sampler and precision, and `cuda` where it ran on a GPU; or what else it is.
        wall_ms: Median time of each stage [ms].
        cpu_ms: The same, as processor time of all threads.
        peak_mb: What the process grew by at most [MB]; None where that was not measured.
        target_ms: What the sum of the stages is promised to stay below; None: nothing is.
        note: How it was measured, where that is not plain.
    """

    name: tuple[str, ...]
    wall_ms: dict[str, float]
    cpu_ms: dict[str, float]
    peak_mb: float | None = None
    target_ms: float | None = None
    note: str = ""

    def figures(self) -> Iterator[dict[str, Any]]:
        """As the bench's report has them."""
        name = "_".join(("generator", *self.name))
        yield {
            "name": name,
            "value": round(sum(self.wall_ms.values()), 1),
            "unit": "ms",
            "target": self.target_ms,
            "better": "lower",
            "cpu_ms": round(sum(self.cpu_ms.values()), 1),
            "stages_ms": {stage: round(value, 1) for stage, value in self.wall_ms.items()},
            "note": self.note,
        }
        if self.peak_mb is not None:
            yield {"name": f"{name}_peak", "value": round(self.peak_mb, 1), "unit": "MB"} | {
                "target": PEAK_MB,
                "better": "lower",
            }


class Clock:
    """Wall and processor time of stages inside each other: what an inner one takes, the outer one does not.

    Attributes:
        wall, cpu: Seconds of each stage so far.
        voxels: That the network saw last.
    """

    def __init__(self) -> None:
        self.wall, self.cpu = dict.fromkeys(STAGES, 0.0), dict.fromkeys(STAGES, 0.0)
        self.voxels = 0
        self._open: list[str] = []
        self._since = 0.0, 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What runs inside is this stage."""
        self._credit()
        self._open.append(name)
        try:
            yield
        finally:
            self._credit()
            self._open.pop()

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, as that stage."""

        @functools.wraps(work)
        def watched(*arguments: Any, **named: Any) -> Any:
            with self.stage(name):
                return work(*arguments, **named)

        return watched

    def _credit(self) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = time.perf_counter(), time.process_time()
        if self._open:
            self.wall[self._open[-1]] += now[0] - self._since[0]
            self.cpu[self._open[-1]] += now[1] - self._since[1]
        self._since = now


def rows(scene: SceneCloud, size: Size | None = None) -> tuple[list[Row], list[str]]:
    """All rows, and for each that is left out the reason.

    Args:
        scene: The cloud.
        size: None: that of the promise.
    """
    size = size or Size()
    measured, left_out = [], []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as processes:
        for device in size.devices:
            if device == "cuda" and not torch.cuda.is_available():
                left_out.append("The generator on a GPU is left out: there is no CUDA device here.")
                continue
            for name in itertools.product(size.backbones, size.samplers, size.precisions):
                measured.append(processes.submit(_generator_row, name, device, scene, size).result())
        measured.append(processes.submit(_reference_row, size).result())
        missing = dict(SPARSE_CONVOLUTIONS)["minkowski"].missing()
        if missing:
            left_out.append(f"The backbone by MinkowskiEngine is left out: {', '.join(missing)} is not installed.")
        else:
            measured.append(processes.submit(_minkowski_row, scene, size).result())
    return measured, left_out


def table(measured: Sequence[Row], title: str) -> Table:
    """Wall times of the stages [ms], their sums, and what was promised."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("generator")
    for column in (*STAGES, "sum ms", "target", "cpu ms", "peak MB"):
        shown.add_column(column, justify="right")
    for row in measured:
        total = sum(row.wall_ms.values())
        target = "" if row.target_ms is None else f"<= {row.target_ms:g}"
        sum_ = f"{total:.0f}" if row.target_ms is None else _coloured(total, row.target_ms)
        peak = "" if row.peak_mb is None else _coloured(row.peak_mb, PEAK_MB)
        stages = (f"{row.wall_ms[stage]:.0f}" if stage in row.wall_ms else "" for stage in STAGES)
        name = " ".join(row.name) + (f" ({row.note})" if row.note else "")
        shown.add_row(name, *stages, sum_, target, f"{sum(row.cpu_ms.values()):.0f}", peak)
    return shown


def _coloured(value: float, target: float) -> str:
    return f"[{'green' if value <= target else 'red'}]{value:.0f}[/]"


def _generator_row(name: tuple[str, str, str], device: str, scene: SceneCloud, size: Size) -> Row:
    backbone, sampler, precision = name
    before = _memory_mb("VmRSS")
    hand = load_hand("leap_right")
    torch.manual_seed(0)
    network = GraspNetwork(len(hand.joint_names), NetworkConfig(backbone=backbone)).eval()
    network.graspable.bias.data = torch.tensor([0.0, 9.0, 0.0])
    # Margins that every grasp keeps: the filter does its work, and all grasps are there to be ranked.
    everything = ClearanceConfig(open_margin=-np.inf, grasp_margin=-np.inf, table_margin=-np.inf)
    config = LearnedConfig(
        points=size.points,
        seeds=size.seeds,
        finish=SAMPLED,
        guidance=UNGUIDED,
        finishing=FinishConfig(apart=0.0, clearance=everything),
        sampler=sampler,
        precision=precision,
        device=device,
    )
    generator = LearnedGenerator(hand, network, config)
    clocks = []
    for seed in range(1 + size.repetitions):
        clock = Clock()
        with watched(clock), clock.stage("prepare"):
            ranked = generator.generate(scene, size.seeds, seed).grasps
        assert len(ranked) == size.seeds
        clocks.append(clock)
    wall, cpu = (_medians_ms([getattr(clock, kind) for clock in clocks[1:]]) for kind in ("wall", "cpu"))
    note = f"{clocks[-1].voxels} voxels"
    if device == "cuda":
        note += f", {torch.cuda.max_memory_allocated() / 2**20:.0f} MB of {torch.cuda.get_device_name()}"
        return Row((*name, device), wall, cpu, note=note)
    return Row(name, wall, cpu, _memory_mb("VmHWM") - before, TARGETS_MS.get(name), note)


@contextmanager
def watched(clock: Clock) -> Iterator[None]:
    """The learned generator's calls are timed as stages, inside."""
    inference = clock.timed("backbone", FoldedResUNet14.__call__)

    def with_maps(network: FoldedResUNet14, voxels: Voxels) -> VoxelOutputs:
        clock.voxels = len(voxels)
        with clock.stage("voxels"):
            network.make_maps(voxels.pyramid)
        outputs: VoxelOutputs = inference(network, voxels)
        return outputs

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(FoldedResUNet14, "__call__", with_maps))
        for owner, name, stage in (
            (LearnedGenerator, "_seen", "voxels"),
            (LearnedGenerator, "_seeds", "seeds"),
            (VoxelOutputs, "features", "backbone"),
            (diffusion_head, "sample_flow", "sampling"),
            (DiffusionHead, "propose", "decoding"),
            (LearnedGenerator, "_grasps", "decoding"),
            (LearnedGenerator, "executable", "filter"),
            (Finishing, "chosen", "ranking"),
        ):
            stack.enter_context(mock.patch.object(owner, name, clock.timed(stage, getattr(owner, name))))
        yield


def _reference_row(size: Size) -> Row:
    """The paper's sampler with the authors' divergence, on a few steps."""
    torch.manual_seed(0)
    field = VelocityField(12)
    feature, sample = torch.randn(size.seeds, field.features), torch.randn(size.seeds, 12)
    clock = Clock()
    traced_flow(field, sample, feature, 0)
    with clock.stage("sampling"):
        for step in range(size.traced):
            traced_flow(field, sample, feature, step)
    steps = FLOW_PRESETS["paper"].evaluations
    wall, cpu = ({"sampling": 1e3 * seconds["sampling"] * steps / size.traced} for seconds in (clock.wall, clock.cpu))
    note = f"12 backward passes a step, extrapolated from {size.traced} of {steps} steps"
    return Row(("sampling", "paper", "by", "autograd"), wall, cpu, note=note)


def traced_flow(
    field: VelocityField, sample: torch.Tensor, feature: torch.Tensor, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Velocity (B, C) and divergence (B,) of samples (B, C) under features (B, F), one dimension after the other."""
    sample = sample.detach().requires_grad_()
    velocity = field(sample, feature, torch.full((len(sample),), step))
    divergence = torch.zeros(len(sample))
    for channel in range(field.channels):
        (slope,) = torch.autograd.grad(velocity[:, channel].sum(), sample, retain_graph=True)
        divergence += slope[:, channel]
    return velocity.detach(), divergence


def _minkowski_row(scene: SceneCloud, size: Size) -> Row:
    torch.manual_seed(0)
    network = ResUNet14(ResUNetConfig.preset("paper"), "minkowski").eval()
    drawn = np.random.default_rng(0).integers(len(scene.points), size=size.points)
    voxels = voxelize(torch.as_tensor(scene.points[drawn]), NetworkConfig().voxel_size)
    clocks = [Clock() for _ in range(1 + size.repetitions)]
    for clock in clocks:
        with torch.no_grad(), clock.stage("backbone"):
            network(voxels)
    wall, cpu = (_medians_ms([getattr(clock, kind) for clock in clocks[1:]]) for kind in ("wall", "cpu"))
    note = f"MinkowskiEngine, maps included, {len(voxels)} voxels"
    return Row(
        ("backbone", "paper", "minkowski"), {"backbone": wall["backbone"]}, {"backbone": cpu["backbone"]}, note=note
    )


def _medians_ms(seconds: list[dict[str, float]]) -> dict[str, float]:
    return {stage: 1e3 * float(np.median([one[stage] for one in seconds])) for stage in STAGES}


def _memory_mb(entry: str) -> float:
    """Of this process, as the kernel tells: `VmRSS`, what it has, or `VmHWM`, the most that it ever had [MB]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{entry}:")) / 1024.0
