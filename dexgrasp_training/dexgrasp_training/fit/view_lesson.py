"""Grasps in clutter: what the generator `diffusion` learns from labelled views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from dexgrasp_common.parameters import param
from dexgrasp_planner.checkpoints import Checkpoint
from dexgrasp_planner.learned import LearnedGenerator
from dexgrasp_planner.network.grasp_heads import Grasps
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from torch import Tensor, nn

from dexgrasp_description import HandModel
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.evaluation.trial import lift_success
from dexgrasp_training.fit.fitting import FitConfig
from dexgrasp_training.fit.lesson import Samples
from dexgrasp_training.fit.losses import Joined, collate, join, losses, weighted
from dexgrasp_training.fit.processes import Processes
from dexgrasp_training.fit.samples import ViewSamples
from dexgrasp_training.fit.seed_features import FeatureSamples, SeedFeatures, joined


@dataclass(frozen=True)
class ViewFitConfig(FitConfig):
    """How a network for clutter is trained. The defaults are the authors' but for the averaged weights."""

    repeats: int = param(1, "times that a grasp is noised and shown to the head in a step", range=(1, 1024))
    lifted: int = param(0, "held-out scenes in which a validation lifts the best grasp, too", range=(0, 4096))
    frozen: bool = param(False, "train a head on the backbone and scores of the checkpoint to begin with, as they are")
    seen: int = param(1500, "views of which a frozen backbone's features are kept for the head", range=(1, 1_000_000))


class ViewLesson:
    """Implements `Lesson`.

    Args:
        hand: Whose grasps.
        train, test: Views to learn from, and to validate on.
        network: What is trained.
        config: How.
    """

    kind = Checkpoint.KIND
    join = staticmethod(join)

    def __init__(
        self, hand: HandModel, train: ViewSamples, test: ViewSamples, network: NetworkConfig, config: ViewFitConfig
    ) -> None:
        self.hand = hand
        self.train: Samples = train
        self.test: Samples = test
        self.views, self.network, self.config = (train, test), network, config
        self.settings = {"network": asdict(network), "samples": asdict(train.config)}

    def make(self, start: Checkpoint | None, begun: bool) -> GraspNetwork:
        """See `Lesson.make`. A head of another kind than the start's begins with random weights."""
        ours, frozen = self.network, self.config.frozen
        network = GraspNetwork(len(self.hand.joint_names), ours)
        if start is not None:
            if replace(start.network, head=ours.head, diffusion=ours.diffusion) != ours:
                raise SettingsError(
                    f"The checkpoint to begin with is another network: {start.network}, not {ours}. "
                    "Ask for that one, with --set network...."
                )
            weights = start.make(self.hand).state_dict()
            if start.network != ours:
                weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
            network.load_state_dict(weights, strict=start.network == ours)
        elif frozen and not begun:
            raise SettingsError("A frozen backbone must come from somewhere; say which checkpoint: --from DIR.")
        if frozen:
            for parameter in network.parameters():
                parameter.requires_grad_(False)
            network.head.requires_grad_(True)  # type: ignore[attr-defined]
        return network

    def set_training(self, network: nn.Module) -> None:
        """See `Lesson.set_training`."""
        network.train()
        if self.config.frozen:
            network.backbone.eval()  # type: ignore[union-attr]  # its batch norms, too, stay as they are

    def losses(
        self,
        network: GraspNetwork,
        batch: Joined,
        generators: Sequence[torch.Generator],
        device: torch.device,
        processes: Processes | None = None,
    ) -> dict[str, Tensor]:
        """See `Lesson.losses`. Grasps are repeated while the network learns."""
        views = collate(batch, self.network.voxel_size, device)
        return losses(network, views, generators, self.config.repeats if network.training else 1, processes)

    def trial(self, network: nn.Module) -> dict[str, float]:
        """The share of held-out scenes in which the best grasp of one view lifts, where they are asked for."""
        if not self.config.lifted:
            return {}
        learned = LearnedGenerator(self.hand, network)  # type: ignore[arg-type]
        return {"lift": lift_success(learned, self.views[1].dataset, self.hand, self.config.lifted, 1, 0)}

    def checkpoint(self, weights: dict[str, Tensor], about: dict[str, Any]) -> Checkpoint:
        """See `Lesson.checkpoint`."""
        return Checkpoint(self.hand.name, tuple(self.hand.joint_names), self.network, weights, about)


class HeadLesson(ViewLesson):
    """A head on what a frozen backbone sees. Implements `Lesson`.

    Args:
        lesson: The same on views.
        train, test: What the backbone sees in them.
    """

    join = staticmethod(joined)  # type: ignore[assignment]

    def __init__(self, lesson: ViewLesson, train: FeatureSamples, test: FeatureSamples) -> None:
        super().__init__(lesson.hand, *lesson.views, lesson.network, lesson.config)
        self.train, self.test = train, test

    def losses(  # type: ignore[override]
        self,
        network: GraspNetwork,
        batch: SeedFeatures,
        generators: Sequence[torch.Generator],
        device: torch.device,
        processes: Processes | None = None,
    ) -> dict[str, Tensor]:
        """See `Lesson.losses`; only those of the head."""
        feature, *grasps = (part.to(device, non_blocking=True) for part in batch)
        return weighted(network.head.losses(feature.float(), Grasps(*grasps), generators))
