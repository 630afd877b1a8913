"""What training minimises (DexGraspNet 2.0, Sec. 4.3): scores of points, and the head's own terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
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


class Joined(NamedTuple):
    """Several views, one behind the other; the fields are those of `ViewSample`, and seeds count through all points.

    Attributes:
        counts: Points of each view.
    """

    points: Tensor
    is_object: Tensor
    graspness: Tensor
    seeds: Tensor
    rotation: Tensor
    position: Tensor
    joints: Tensor
    kind: Tensor
    counts: Tensor


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


def join(samples: Sequence[ViewSample]) -> Joined:
    """Put views together."""
    counts = np.array([len(sample.points) for sample in samples])
    parts = {name: np.concatenate([getattr(sample, name) for sample in samples]) for name in ViewSample._fields}
    grasps = [len(sample.seeds) for sample in samples]
    parts["seeds"] += np.repeat(counts.cumsum() - counts, grasps)
    return Joined(**{name: torch.as_tensor(part) for name, part in parts.items()}, counts=torch.as_tensor(counts))


def collate(joined: Joined, voxel_size: float, device: torch.device) -> Batch:
    """The voxels of views, and their grasps in the frames of their seeds' voxels."""
    here = Joined(*(part.to(device, non_blocking=True) for part in joined))
    number = torch.repeat_interleave(here.counts, output_size=len(joined.points))
    voxels = voxelize(here.points, voxel_size, number)
    seeds = voxels.voxel_of_point[here.seeds]
    translation = (here.position - voxels.centres()[seeds]) / TRANSLATION_UNIT
    grasps = Grasps(here.rotation, translation, here.joints, here.kind)
    return Batch(voxels, here.is_object.long(), here.graspness, seeds, grasps)


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
    shown = _repeated(condition, repeats, len(generators))
    grasps = Grasps(*(_repeated(part, repeats, len(generators)) for part in batch.grasps))
    terms |= network.head.losses(shown, grasps, generators)
    return weighted(terms)


def weighted(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms, and under `total` their weighted sum."""
    return terms | {"total": torch.stack([WEIGHTS[name] * value for name, value in terms.items()]).sum()}


def _repeated(rows: Tensor, repeats: int, views: int) -> Tensor:
    """The rows of each view, so many times one behind the other."""
    if repeats == 1:
        return rows
    return rows.unflatten(0, (views, 1, -1)).expand(-1, repeats, *(-1,) * rows.ndim).flatten(0, 2)
