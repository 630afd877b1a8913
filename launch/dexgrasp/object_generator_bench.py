"""How long the object-level generator takes: 100 grasps of one can for the Shadow hand, from its cloud to their scores.

The network is the one that ships for the hand, or, where none does, one of the preset `small` with random weights:
its hands are seldom near the can, and guidance has less to do. One of the paper's size stands beside it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import trimesh
from dexgrasp_planner.generators import checkpoint_folder
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_generator import ObjectGeneratorConfig, ObjectGraspGenerator
from dexgrasp_planner.object_level.object_network import ObjectGraspNetwork, object_network_config
from rich.table import Table

from dexgrasp_description import HandModel, load_hand

HAND = "shadow_right"
TARGETS_S = {("paper", "guided"): 3.0, ("fast", "unguided"): 0.5, ("fast", "guided"): 0.5, ("fast", "offered"): 0.5}
_POINTS = 4096  # of the can's surface
_REACH = 0.15  # palms of the random network are within this of the can's middle, along each axis [m]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        grasps: That are sampled.
        repetitions: Of which the medians and ranges are taken, after one to warm up.
        networks: `usual`: the one that ships, or else `small`; `paper`: of the paper's size, unguided and `fast` only.
        samplers: Names in `SAMPLERS`.
    """

    grasps: int = 100
    repetitions: int = 5
    networks: tuple[str, ...] = ("usual", "paper")
    samplers: tuple[str, ...] = ("fast", "paper")


@dataclass(frozen=True)
class Row:
    """One configuration.

    Attributes:
        name: Network, sampler, and how it is guided.
        wall_s: Of each repetition [s].
        cpu_s: The same, as processor time of all threads.
        target_s: What the median is promised to stay below; None: nothing is.
        note: Where the weights are from.
    """

    name: tuple[str, ...]
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    target_s: float | None
    note: str

    def figures(self) -> Iterator[dict[str, Any]]:
        """As the bench's report has them."""
        yield {
            "name": "_".join(("object_generator", *self.name)).replace(" ", "_"),
            "value": round(float(np.median(self.wall_s)), 4),
            "unit": "s",
            "target": self.target_s,
            "better": "lower",
            "range": [round(min(self.wall_s), 4), round(max(self.wall_s), 4)],
            "cpu_s": round(float(np.median(self.cpu_s)), 4),
            "note": self.note,
        }


def rows(size: Size | None = None) -> list[Row]:
    """All rows.

    Args:
        size: None: that of the promise.
    """
    size, hand = size or Size(), load_hand(HAND)
    measured = []
    for kind in size.networks:
        name, network, note = _network(hand, kind)
        for way, config in _configurations(kind, size.samplers):
            wall, cpu = _times(ObjectGraspGenerator(hand, network, config), size)
            target = TARGETS_S.get((config.sampler, way)) if kind == "usual" else None
            measured.append(Row((name, config.sampler, way), wall, cpu, target, note))
    return measured


def table(measured: Sequence[Row]) -> Table:
    """Medians and ranges [s], and what was promised."""
    shown = Table(
        title="Object-level generator: 100 grasps of one object, Shadow hand; wall time", title_justify="left"
    )
    shown.add_column("generator")
    for column in ("median s", "range", "target", "cpu s"):
        shown.add_column(column, justify="right")
    shown.add_column("weights")
    for row in measured:
        median = float(np.median(row.wall_s))
        colour = "green" if row.target_s is None or median <= row.target_s else "red"
        value, target = (
            (f"{median:.2f}", "") if row.target_s is None else (f"[{colour}]{median:.2f}[/]", f"<= {row.target_s:g}")
        )
        spread = f"{min(row.wall_s):.2f} - {max(row.wall_s):.2f}"
        shown.add_row(" ".join(row.name), value, spread, target, f"{np.median(row.cpu_s):.2f}", row.note)
    return shown


def _configurations(kind: str, samplers: Sequence[str]) -> Iterator[tuple[str, ObjectGeneratorConfig]]:
    """Names and settings: not guided, as the authors guide, by the estimate alone, and as the generator is offered."""
    plain = ObjectGeneratorConfig(guidance=0.0, polish=0)
    guided = replace(plain, guidance=1.0, physics="paper_sampling")
    ways = {"unguided": plain, "guided": guided, "guided by the estimate": replace(guided, through="estimate")}
    for sampler in samplers:
        for way, config in ways.items():
            if kind == "usual" or (sampler, way) == ("fast", "unguided"):
                yield way, replace(config, sampler=sampler)
    if kind == "usual":
        yield "offered", ObjectGeneratorConfig()


def _network(hand: HandModel, kind: str) -> tuple[str, ObjectGraspNetwork, str]:
    """Its name, itself, and where its weights are from."""
    folder = checkpoint_folder(f"{hand.name}_objects")
    if kind == "usual" and folder.is_dir():
        return "shipped", ObjectCheckpoint.load(folder).make(hand), "shipped"
    preset = "small" if kind == "usual" else kind
    palms = np.tile(np.eye(4), (2, 1, 1))
    palms[:, :3, 3] = [[-_REACH] * 3, [_REACH] * 3]
    torch.manual_seed(0)
    return preset, ObjectGraspNetwork(object_network_config(preset, hand, palms)).eval(), "random"


def _times(generator: ObjectGraspGenerator, size: Size) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Wall and processor time of each repetition [s]."""
    can = trimesh.creation.cylinder(radius=0.033, height=0.12)
    points, faces = trimesh.sample.sample_surface(can, _POINTS, seed=0)
    wall, cpu = [], []
    for seed in range(1 + size.repetitions):
        start = time.perf_counter(), time.process_time()
        found = generator.sample(points, can.face_normals[faces], size.grasps, seed)
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
        assert len(found) == size.grasps
    return tuple(wall[1:]), tuple(cpu[1:])
