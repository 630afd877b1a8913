"""What a frozen backbone sees at the seeds of grasps, computed once: a head then learns from it in minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from dexgrasp_common.report import write_whole
from dexgrasp_planner.network.folded import FoldedResUNet14
from dexgrasp_planner.network.grasp_network import GraspNetwork
from torch import Tensor
from torch.utils.data import DataLoader

from dexgrasp_training.errors import DatasetError
from dexgrasp_training.fit.losses import collate, join
from dexgrasp_training.fit.samples import ViewSamples
from dexgrasp_training.settings import seed_of


class SeedFeatures(NamedTuple):
    """N grasps with the feature (N, F), float16, that a head sees of each; the other fields are those of `Grasps`."""

    feature: Tensor
    rotation: Tensor
    translation: Tensor
    joints: Tensor
    kind: Tensor


class FeatureSamples:
    """Implements `Samples`: some of the grasps, drawn at random, told by number.

    Args:
        seen: All of them.
        count: Of a sample.
        seed: Of all samples.
        facts: Where they came from.
    """

    def __init__(self, seen: SeedFeatures, count: int, seed: int, facts: dict[str, int]) -> None:
        self._seen, self._count, self._seed, self._facts = seen, count, seed, facts

    def __len__(self) -> int:
        return len(self._seen.feature)

    def __getitem__(self, number: int) -> SeedFeatures:
        """The sample of that number."""
        rng = np.random.default_rng(seed_of(self._seed, "features", number))
        rows = torch.as_tensor(rng.integers(len(self), size=self._count))
        return SeedFeatures(*(part[rows] for part in self._seen))

    def facts(self) -> dict[str, int]:
        """How much there is to learn from."""
        return self._facts | {"seen": len(self)}


def joined(samples: Sequence[SeedFeatures]) -> SeedFeatures:
    """Put samples together."""
    return SeedFeatures(*(torch.cat(parts) for parts in zip(*samples, strict=True)))


@torch.no_grad()
def see(
    network: GraspNetwork,
    samples: ViewSamples,
    views: int,
    device: torch.device,
    workers: int,
    progress: Callable[[int], None],
) -> SeedFeatures:
    """What the backbone of a network sees in the first so many samples; in 16 bits, whatever it was trained in.

    Args:
        progress: Called with the number of views so far.
    """
    backbone = FoldedResUNet14(network.backbone, network.graspable, torch.bfloat16, device)
    numbers = [[number] for number in range(views)]
    parts = []
    loader: DataLoader[ViewSamples] = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=numbers,
        num_workers=workers,
        collate_fn=join,
    )
    for number, one in enumerate(loader, start=1):
        batch = collate(one, network.config.voxel_size, device)
        outputs = backbone(batch.voxels)
        if network.config.conditioning == "local":
            feature = outputs.features(batch.seeds)
        else:
            everywhere = outputs.features(torch.arange(len(batch.voxels), device=device))
            feature = network.condition(everywhere, batch.voxels, batch.seeds)
        parts.append(SeedFeatures(feature.half().cpu(), *(part.cpu() for part in batch.grasps)))
        progress(number)
    return joined(parts)


def kept(path: Path, make: Callable[[], SeedFeatures]) -> SeedFeatures:
    """What is in a file, made and written if there is none.

    Raises:
        DatasetError: It cannot be read.
    """
    if not path.is_file():
        made = make()
        write_whole(path, lambda file: torch.save(made._asdict(), file))
        return made
    try:
        return SeedFeatures(**torch.load(path, weights_only=True))
    except Exception as error:
        raise DatasetError(f"{path} cannot be read ({error}); remove it to see anew.") from error
