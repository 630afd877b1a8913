"""What is taught: a network, the samples it learns from, and how its losses come about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from dexgrasp_planner.checkpoints import StoredNetwork
from torch import Tensor, nn

from dexgrasp_description import HandModel
from dexgrasp_training.fit.processes import Processes


class Samples(Protocol):
    """Samples that are told by their numbers alone, in loading processes, too."""

    def __len__(self) -> int:
        """How many different ones there are, about; samples may have any number."""
        ...

    def __getitem__(self, number: int) -> Any:
        """The sample of that number."""
        ...

    def facts(self) -> Mapping[str, int]:
        """How much there is to learn from."""
        ...


class Lesson(Protocol):
    """One kind of network and how it is trained; `Fit` does what all kinds have in common."""

    @property
    def hand(self) -> HandModel:
        """Whose grasps."""
        ...

    @property
    def train(self) -> Samples:
        """What is learnt from."""
        ...

    @property
    def test(self) -> Samples:
        """What is validated on."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Plain values that decide what is learnt, beside those of the fit; `network` among them."""
        ...

    @property
    def kind(self) -> str:
        """Of the checkpoint, see `StoredNetwork.KIND`."""
        ...

    def make(self, start: Any, begun: bool) -> nn.Module:
        """The network that is to be trained; which of its weights may change is said by `requires_grad`.

        Args:
            start: Checkpoint whose weights it begins with; None: random ones.
            begun: Whether a run goes on, which has the weights.

        Raises:
            SettingsError: The start is another network, or there must be one and there is none.
            CheckpointError: It is for another hand.
        """
        ...

    def set_training(self, network: nn.Module) -> None:
        """Training mode for whatever of the network learns."""
        ...

    @property
    def join(self) -> Callable[[list[Any]], Any]:
        """Puts samples together; their tensors, on the CPU, are in tuples. It runs where samples are loaded."""
        ...

    def losses(
        self,
        network: Any,
        batch: Any,
        generators: Sequence[torch.Generator],
        device: torch.device,
        processes: Processes | None = None,
    ) -> dict[str, Tensor]:
        """Every term, and what is minimised under `total`.

        Args:
            network: The one that learns, or its average.
            batch: Joined samples: all of a step, or this process's part of them.
            generators: One for each sample, of all that is random.
            device: Of the network.
            processes: That share the batch; None: this one alone.
        """
        ...

    def trial(self, network: nn.Module) -> dict[str, float]:
        """What a validation tells beside losses; may take a while. The network is a copy on the CPU."""
        ...

    def checkpoint(self, weights: dict[str, Tensor], about: dict[str, Any]) -> StoredNetwork[Any, Any]:
        """The network with these weights, as it is stored."""
        ...
