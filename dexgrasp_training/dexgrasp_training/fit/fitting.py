"""Training: batches to weights, with everything that a run needs to go on exactly where it was stopped.

What is random in an iteration is seeded by its number, so state is weights, averages, optimiser and that number.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from dexgrasp_common.parameters import param
from dexgrasp_common.report import machine, versions, write_whole
from dexgrasp_planner.checkpoints import Checkpoint
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from torch.utils.data import DataLoader

from dexgrasp_description import HandModel
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.fit.losses import collate, losses
from dexgrasp_training.fit.samples import ViewSample, ViewSamples
from dexgrasp_training.settings import seed_of

STATE = "state.pt"
LOG = "log.jsonl"


@dataclass(frozen=True)
class FitConfig:
    """How a network is trained. The defaults are the authors' but for the averaged weights, which they do not have."""

    iterations: int = param(50_000, "steps of the optimiser", range=(1, 10_000_000))
    batch: int = param(8, "views in a step", range=(1, 256))
    rate: float = param(1e-3, "learning rate at the start", range=(0.0, 1.0))
    last_rate: float = param(1e-7, "learning rate at the end; between them half a cosine", range=(0.0, 1.0))
    decay: float = param(0.0, "weight decay of AdamW", range=(0.0, 1.0))
    clip: float = param(10.0, "largest norm of a step's gradient", range=(0.0, 1e6))
    average: float = param(0.999, "share of the averaged weights that a step keeps", range=(0.0, 1.0))
    precision: Literal["fp32", "bf16"] = param("fp32", "`bf16`: products in 16 bits, on CPU and GPU")
    save_every: int = param(500, "iterations between saved states", range=(1, 1_000_000))
    validate_every: int = param(1000, "iterations between validations", range=(1, 1_000_000))
    validated: int = param(16, "views of a validation", range=(1, 4096))
    workers: int = param(2, "processes that load views; 0: none", range=(0, 256))
    seed: int = param(0, "of everything random")


class Fit:
    """One training run in one folder.

    Args:
        folder: Where state, log and checkpoint go; a run that is there already goes on.
        hand: Whose grasps.
        train, test: Samples to learn from, and to validate on.
        network: What is trained.
        config: How.
        device: Where.

    Raises:
        SettingsError: The folder holds a run with other settings.
        DatasetError: Its state cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        hand: HandModel,
        train: ViewSamples,
        test: ViewSamples,
        network: NetworkConfig,
        config: FitConfig,
        device: torch.device,
    ) -> None:
        self._folder, self._hand, self._config, self._device = folder, hand, config, device
        self._train, self._test = train, test
        torch.manual_seed(seed_of(config.seed, "weights"))
        self.network = GraspNetwork(len(hand.joint_names), network).to(device)
        self.average = copy.deepcopy(self.network).eval()
        self._optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.rate, weight_decay=config.decay)
        self.iteration = self._validated = 0
        self._fixed = {"network": asdict(network), "fit": asdict(config)}
        self._resume()

    def run(self, progress: Callable[[int, dict[str, float]], None]) -> Checkpoint:
        """Train to the end; what was reached is saved on the way, and when it is interrupted.

        Args:
            progress: Called after every iteration with its number and what the log says of it.
        """
        try:
            self._validate_when_due()  # a run may have been stopped between a step and its validation
            for samples, waited in self._batches():
                entry = self._step(samples) | {"waiting": waited}
                self._write(entry)
                progress(self.iteration, entry)
                self._validate_when_due()
                if self.iteration % self._config.save_every == 0:
                    self._save()
        finally:
            self._save()
        checkpoint = self.checkpoint()
        checkpoint.save(self._folder / "checkpoint")
        return checkpoint

    def checkpoint(self) -> Checkpoint:
        """The averaged weights as they stand."""
        about = {"iterations": self.iteration, "settings": self._fixed, "machine": machine(), "versions": versions()}
        names = tuple(self._hand.joint_names)
        return Checkpoint(self._hand.name, names, self.network.config, self.average.state_dict(), about)

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Mean losses of the averaged weights on the same views of the other split, whenever it is called."""
        sums: dict[str, float] = {}
        for number in range(self._config.validated):
            batch = collate([self._test[number]], self.network.config.voxel_size, self._device)
            generator = torch.Generator().manual_seed(seed_of(self._config.seed, "validation", number))
            for name, value in losses(self.average, batch, generator).items():
                sums[name] = sums.get(name, 0.0) + float(value) / self._config.validated
        return {"iteration": self.iteration, "validation": sums}

    def _validate_when_due(self) -> None:
        due = self.iteration % self._config.validate_every == 0 or self.iteration == self._config.iterations
        if self.iteration and due and self._validated < self.iteration:
            self._write(self.validate())
            self._validated = self.iteration

    def _batches(self) -> Iterator[tuple[list[ViewSample], float]]:
        """Batches from where the run stands, each with the seconds that it was waited for."""
        size = self._config.batch
        loader: DataLoader[ViewSample] = DataLoader(
            self._train,  # type: ignore[arg-type]
            batch_sampler=[
                list(range(i * size, (i + 1) * size)) for i in range(self.iteration, self._config.iterations)
            ],
            num_workers=self._config.workers,
            collate_fn=list,
        )
        since = time.perf_counter()
        for samples in loader:
            yield samples, time.perf_counter() - since
            since = time.perf_counter()

    def _step(self, samples: list[ViewSample]) -> dict[str, Any]:
        config, start = self._config, time.perf_counter()
        rate = _rate(config, self.iteration)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        batch = collate(samples, self.network.config.voxel_size, self._device)
        generator = torch.Generator().manual_seed(seed_of(config.seed, "iteration", self.iteration))
        self.network.train()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            terms = losses(self.network, batch, generator)
        self._optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        # One broken batch must not spoil the weights.
        if torch.isfinite(norm):
            self._optimiser.step()
        self.iteration += 1
        self._follow()
        figures = {name: float(value.detach()) for name, value in terms.items()}
        return {
            "iteration": self.iteration,
            "losses": figures,
            "gradient": float(norm),
            "rate": rate,
            "seconds": time.perf_counter() - start,
        }

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights; the statistics of batch norms are averages already."""
        keep = min(self._config.average, self.iteration / (self.iteration + 10.0))
        ours = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point() and "running" not in name:
                value.lerp_(ours[name], 1.0 - keep)
            else:
                value.copy_(ours[name])

    def _write(self, entry: dict[str, Any]) -> None:
        with (self._folder / LOG).open("a") as log:
            log.write(json.dumps(entry) + "\n")

    def _save(self) -> None:
        state = {
            "fixed": self._fixed,
            "iteration": self.iteration,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        write_whole(self._folder / STATE, lambda file: torch.save(state, file))

    def _resume(self) -> None:
        path = self._folder / STATE
        self._folder.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            return
        try:
            state = torch.load(path, map_location=self._device, weights_only=True)
        except Exception as error:
            raise DatasetError(f"{path} cannot be read ({error}); remove it to begin anew.") from error
        if state["fixed"] != self._fixed:
            raise SettingsError(
                f"{self._folder} holds a run with other settings; give those of {path}, or another folder."
            )
        self.iteration = int(state["iteration"])
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        entries = _keep_until(self._folder / LOG, self.iteration)
        self._validated = max((entry["iteration"] for entry in entries if "validation" in entry), default=0)


def _rate(config: FitConfig, iteration: int) -> float:
    along = 0.5 * (1.0 + math.cos(math.pi * iteration / config.iterations))
    return config.last_rate + (config.rate - config.last_rate) * along


def _keep_until(path: Path, iteration: int) -> list[dict[str, Any]]:
    """Drop the entries of a log that came after the state that a run goes on from, and give those that stay."""
    if not path.is_file():
        return []
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    entries = [entry for entry in entries if entry["iteration"] <= iteration]
    text = "".join(f"{json.dumps(entry)}\n" for entry in entries)
    write_whole(path, lambda file: file.write(text.encode()))
    return entries
