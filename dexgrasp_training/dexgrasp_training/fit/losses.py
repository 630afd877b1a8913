"""What training minimises (DexGraspNet 2.0, Sec. 4.3): scores of points, and the head's own terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from dexgrasp_planner.network.grasp_heads import TRANSLATION_UNIT, Grasps
from dexgrasp_planner.network.grasp_network import GraspNetwork
from dexgrasp_planner.network.voxels import Voxels, voxelize
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss

from dexgrasp_training.fit.processes import Processes
from dexgrasp_training.fit.samples import ViewSample

WEIGHTS = {
    "object": 1.0,
    "graspness": 1.0,
    "diffusion": 10.0,
    "joints": 1.0,
    "kind": 1.0,
    "regression": 10.0,
    "divergence": 1e-2,
}


class Batch(NamedTuple):
    """Several views as one cloud.

    Attributes:
        voxels: Of all their points (N points altogether).
        is_object: (N,) int64.
        graspness: (N,).
        seeds: (B,), rows of the voxels that the grasps belong to.
        grasps: (B,), relative to these voxels' middles.
    """

    voxels: Voxels
    is_object: Tensor
    graspness: Tensor
    seeds: Tensor
    grasps: Grasps


def collate(samples: Sequence[ViewSample], voxel_size: float, device: torch.device) -> Batch:
    """Put views together and their grasps into the frames of their seeds' voxels."""

    def joined(name: str) -> Tensor:
        return torch.cat([torch.as_tensor(getattr(sample, name)) for sample in samples]).to(device)

    starts = torch.tensor([0, *(len(sample.points) for sample in samples)]).cumsum(0)
    number = torch.repeat_interleave(torch.arange(len(samples)), starts.diff()).to(device)
    voxels = voxelize(joined("points"), voxel_size, number)
    points = torch.cat(
        [torch.as_tensor(sample.seeds) + start for sample, start in zip(samples, starts, strict=False)]
    ).to(device)
    seeds = voxels.voxel_of_point[points]
    translation = (joined("position") - voxels.centres()[seeds]) / TRANSLATION_UNIT
    grasps = Grasps(joined("rotation"), translation, joined("joints"), joined("kind"))
    return Batch(voxels, joined("is_object").long(), joined("graspness"), seeds, grasps)


def losses(
    network: GraspNetwork,
    batch: Batch,
    generators: Sequence[torch.Generator],
    repeats: int = 1,
    processes: Processes | None = None,
) -> dict[str, Tensor]:
    """Every term, unweighted, and their weighted sum under `total`.

    Args:
        generators: One for each view, so that what a view's grasps draw does not depend on the others; all views have
            the same number of grasps.
        repeats: How often each grasp is shown to the head, each time with noise of its own. The backbone, which takes
            most of the time, is passed once.
        processes: Among which a batch is shared; None: this one alone. The mean of the terms over them is that of the
            whole batch.
    """
    condition, scores = network.conditioned(batch.voxels, batch.seeds)
    rows = batch.voxels.voxel_of_point
    on_object = batch.is_object.bool()
    graspness = scores.graspness.index_select(0, rows[on_object])
    count = (processes or Processes()).mean(on_object.sum().clamp(min=1).float())
    terms = {
        "object": cross_entropy(scores.object.index_select(0, rows), batch.is_object),
        "graspness": smooth_l1_loss(graspness, batch.graspness[on_object], reduction="sum") / count,
    }
    views = [condition.chunk(len(generators)), *(part.chunk(len(generators)) for part in batch.grasps)]
    parts = [
        network.head.losses(_repeated(feature, repeats), Grasps(*(_repeated(part, repeats) for part in grasps)), own)
        for own, feature, *grasps in zip(generators, *views, strict=True)
    ]
    terms |= {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
    return terms | {"total": torch.stack([WEIGHTS[name] * value for name, value in terms.items()]).sum()}


def _repeated(rows: Tensor, repeats: int) -> Tensor:
    return rows if repeats == 1 else rows.repeat(repeats, *(1,) * (rows.ndim - 1))
