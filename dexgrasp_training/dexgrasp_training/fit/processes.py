"""The processes of one training run: a single one, or those that `torchrun` started, each with its part of a batch."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dexgrasp_training.errors import SettingsError


@dataclass(frozen=True)
class Processes:
    """Which of how many this one is. All of them have the same weights at all times.

    Attributes:
        rank: Of this process; the first, 0, is the only one that writes.
        count: Of all processes.
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def join(device: torch.device) -> Processes:
        """The processes that `torchrun` started, or this one alone; they wait for each other here."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return Processes()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return Processes(dist.get_rank(), dist.get_world_size())

    @property
    def writes(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def part(self, batch: range) -> range:
        """This process's share of the numbers of a batch.

        Raises:
            SettingsError: It cannot be shared equally.
        """
        if len(batch) % self.count:
            raise SettingsError(
                f"{self.count} processes cannot share a batch of {len(batch)} views; set fit.batch to a multiple."
            )
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes, without gradients."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def share_gradients(self, network: nn.Module) -> None:
        """Replace gradients, and the running statistics of batch norms, by their means over the processes.

        A batch norm normalises by the views of its own process, as is usual with several GPUs.
        """
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        tensors = [*gradients, *statistics]
        mean = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))  # one message, not hundreds
        for tensor, part in zip(tensors, mean.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier()
