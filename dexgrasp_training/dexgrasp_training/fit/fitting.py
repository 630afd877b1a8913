"""Training: batches to weights, with everything that a run needs to go on exactly where it was stopped.

What is random in an iteration is seeded by the numbers of its samples, so state is weights, averages, optimiser and the
iteration, and several processes that share a batch draw what one would. Only a run that is to end after so many minutes
is another each time: its learning rate follows the clock.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from dexgrasp_common.parameters import param
from dexgrasp_common.report import machine, versions, write_whole
from dexgrasp_planner.checkpoints import StoredNetwork
from torch.utils.data import DataLoader

from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.fit.lesson import Lesson
from dexgrasp_training.fit.log import Log
from dexgrasp_training.fit.processes import Processes
from dexgrasp_training.settings import seed_of

STATE = "state.pt"
_GPU_EVERY = 20  # iterations between questions how busy the GPU is


@dataclass(frozen=True)
class FitConfig:
    """How a network is trained, whatever it is. The defaults are DexGraspNet 2.0's but for the averaged weights."""

    iterations: int = param(50_000, "steps of the optimiser", range=(1, 10_000_000))
    minutes: float = param(0.0, "end after so long, too, with the rate where it ends; 0: never", range=(0.0, 1e5))
    batch: int = param(8, "samples in a step, of all processes together", range=(1, 1024))
    rate: float = param(1e-3, "learning rate at the start", range=(0.0, 1.0))
    last_rate: float = param(1e-7, "learning rate at the end; between them half a cosine", range=(0.0, 1.0))
    decay: float = param(0.0, "weight decay of AdamW", range=(0.0, 1.0))
    clip: float = param(10.0, "largest norm of a step's gradient", range=(0.0, 1e6))
    average: float = param(0.999, "share of the averaged weights that a step keeps", range=(0.0, 1.0))
    precision: Literal["fp32", "bf16"] = param("fp32", "`bf16`: products and features in 16 bits, on CPU and GPU")
    save_every: int = param(500, "iterations between saved states", range=(1, 1_000_000))
    validate_every: int = param(1000, "iterations between validations", range=(1, 1_000_000))
    validated: int = param(16, "samples of a validation", range=(1, 4096))
    workers: int = param(2, "processes that load samples, for each that trains; 0: none", range=(0, 256))
    seed: int = param(0, "of everything random")


class Fit:
    """One training run in one folder.

    Args:
        folder: Where state, log and checkpoint go; a run that is there already goes on.
        lesson: What is trained, and on what.
        config: How.
        device: Where.
        start: Checkpoint whose weights a new run begins with; None: random ones.
        processes: Among which batches are shared; None: this one alone.

    Raises:
        SettingsError: The folder holds a run with other settings, the start is another network, or a backbone is to be
            frozen and there is none to begin with.
        DatasetError: Its state cannot be read.
        CheckpointError: The start is for another hand.
    """

    def __init__(
        self,
        folder: Path,
        lesson: Lesson,
        config: FitConfig,
        device: torch.device,
        start: StoredNetwork[Any, Any] | None = None,
        processes: Processes | None = None,
    ) -> None:
        self._folder, self._lesson, self._config, self._device = folder, lesson, config, device
        self._processes = processes or Processes()
        self._processes.part(range(config.batch))
        torch.manual_seed(seed_of(config.seed, "weights"))
        self.network = lesson.make(start, begun=(folder / STATE).is_file()).to(device)
        self._start = None if start is None else {name: start.about.get(name) for name in ("iterations", "start")}
        self.average = copy.deepcopy(self.network).eval()
        learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.AdamW(learning, lr=config.rate, weight_decay=config.decay, fused=True)
        self.iteration, self._seconds = 0, 0.0
        self._fixed = {**lesson.settings, "fit": asdict(config)}
        self._made_with = {"machine": machine(), "versions": versions()}
        self._resume()
        self.log = Log(folder, self.iteration) if self._processes.writes else None

    def run(self, progress: Callable[[int, dict[str, Any]], None]) -> StoredNetwork[Any, Any]:
        """Train to the end; what was reached is saved on the way, and when it is interrupted.

        Args:
            progress: Called after every iteration with its number and what the log says of it.
        """
        try:
            self._validate_when_due()  # a run may have been stopped between a step and its validation
            since = time.perf_counter()
            for batch, waited in self._batches() if self._done() < 1.0 else ():
                entry = self._step(batch) | {"waiting": waited}
                now = time.perf_counter()
                self._seconds, since = self._seconds + now - since, now
                if self.log is not None:
                    self.log.write(entry)
                    progress(self.iteration, entry)
                self._validate_when_due()
                if self.iteration % self._config.save_every == 0:
                    self._save()
                if self._done() >= 1.0:
                    break
        finally:
            self._save()
            if self.log is not None:
                self.log.close()
        checkpoint = self.checkpoint()
        if self._processes.writes:
            checkpoint.save(self._folder / "checkpoint")
        self._processes.wait()
        return checkpoint

    def checkpoint(self) -> StoredNetwork[Any, Any]:
        """The averaged weights as they stand."""
        return self._lesson.checkpoint(self.average.state_dict(), self._about())

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """Mean losses of the averaged weights on the same samples of the other split, whenever it is called.

        What the lesson tells by trial stands beside them.
        """
        sums: dict[str, float] = {}
        for number in range(self._config.validated):
            generator = torch.Generator().manual_seed(seed_of(self._config.seed, "validation", number))
            with self._precision():
                batch = self._lesson.join([self._lesson.test[number]])
                terms = self._lesson.losses(self.average, batch, [generator], self._device)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value) / self._config.validated
        trial = self._lesson.trial(copy.deepcopy(self.average).cpu())
        return {"iteration": self.iteration, "validation": sums | trial}

    def _validate_when_due(self) -> None:
        due = self.iteration % self._config.validate_every == 0 or self._done() >= 1.0
        if self.log is None or not self.iteration or not due:
            return
        if self.log.validation is None or self.log.validation["iteration"] < self.iteration:
            self.log.write(self.validate())

    def _batches(self) -> Iterator[tuple[Any, float]]:
        """This process's parts of the batches from where the run stands, and the seconds that each was waited for."""
        loader: DataLoader[Any] = DataLoader(
            self._lesson.train,  # type: ignore[arg-type]
            batch_sampler=(list(self._numbers(i)) for i in range(self.iteration, self._config.iterations)),
            num_workers=self._config.workers,
            collate_fn=self._lesson.join,
            pin_memory=self._device.type == "cuda",
        )
        since = time.perf_counter()
        for batch in loader:
            yield batch, time.perf_counter() - since
            since = time.perf_counter()

    def _numbers(self, iteration: int) -> range:
        size = self._config.batch
        return self._processes.part(range(iteration * size, (iteration + 1) * size))

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.precision == "bf16")

    def _step(self, batch: Any) -> dict[str, Any]:
        config, start = self._config, time.perf_counter()
        rate = _rate(config, self._done())
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        seeds = [seed_of(config.seed, "noise", number) for number in self._numbers(self.iteration)]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._lesson.set_training(self.network)
        with self._precision():
            terms = self._lesson.losses(self.network, batch, generators, self._device, self._processes)
        self._optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()
        self._processes.share_gradients(self.network)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        # One broken batch must not spoil the weights.
        if torch.isfinite(norm):
            self._optimiser.step()
        self.iteration += 1
        self._follow()
        means = self._processes.mean(torch.stack([value.detach() for value in terms.values()])).tolist()
        return {
            "iteration": self.iteration,
            "losses": dict(zip(terms, means, strict=True)),
            "gradient": float(norm),
            "rate": rate,
            "seconds": time.perf_counter() - start,
        } | (_gpu(self._device) if self.iteration % _GPU_EVERY == 0 else {})

    def _done(self) -> float:
        """How much of the run is done, by iterations or by time."""
        config, share = self._config, self.iteration / self._config.iterations
        if config.minutes:
            seconds = float(self._processes.mean(torch.tensor(self._seconds, device=self._device)))
            share = max(share, seconds / (60.0 * config.minutes))
        return min(share, 1.0)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights; the statistics of batch norms are averages already."""
        keep = min(self._config.average, self.iteration / (self.iteration + 10.0))
        ours, averages = self.network.state_dict(), self.average.state_dict()
        moved = [name for name, value in averages.items() if value.is_floating_point() and "running" not in name]
        torch._foreach_lerp_([averages[name] for name in moved], [ours[name] for name in moved], 1.0 - keep)
        for name in averages.keys() - set(moved):
            averages[name].copy_(ours[name])

    def _about(self) -> dict[str, Any]:
        """What a checkpoint says of its training."""
        about: dict[str, Any] = {
            "iterations": self.iteration,
            "hours": round(self._seconds / 3600.0, 3),
            "settings": self._fixed,
            "data": {"train": dict(self._lesson.train.facts()), "test": dict(self._lesson.test.facts())},
        }
        if self._start is not None:
            about["start"] = self._start
        if self.log is not None:
            about["losses"] = self.log.losses()
            if self.log.validation is not None:
                about["validation"] = self.log.validation["validation"]
        return about | self._made_with

    def _save(self) -> None:
        if not self._processes.writes:
            return
        state = {
            "fixed": self._fixed,
            "iteration": self.iteration,
            "seconds": self._seconds,
            "start": self._start,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "kind": self._lesson.kind,
            "hand": self._lesson.hand.name,
            "joint_names": list(self._lesson.hand.joint_names),
            "about": self._about(),
        }
        write_whole(self._folder / STATE, lambda file: torch.save(state, file))

    def _resume(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / STATE).is_file():
            return
        state = load_state(self._folder, self._device)
        if state["fixed"] != self._fixed:
            raise SettingsError(
                f"{self._folder} holds a run with other settings; give those of {self._folder / STATE}, "
                "or another folder."
            )
        self.iteration, self._seconds, self._start = int(state["iteration"]), state["seconds"], state["start"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])


def load_state(folder: Path, device: torch.device) -> dict[str, Any]:
    """What a run last saved; only numbers are read, no code.

    Raises:
        DatasetError: There is none, or it cannot be read.
    """
    path = folder / STATE
    if not path.is_file():
        raise DatasetError(f"{folder} holds no training run: it has no {STATE}. Begin one with: dexgrasp-train fit")
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise DatasetError(f"{path} cannot be read ({error}); remove it to begin anew.") from error
    return state


def _rate(config: FitConfig, done: float) -> float:
    along = 0.5 * (1.0 + math.cos(math.pi * done))
    return config.last_rate + (config.rate - config.last_rate) * along


def _gpu(device: torch.device) -> dict[str, float]:
    """The share of the last second in which the GPU was busy [%], where NVIDIA's library (pynvml) is there to ask."""
    if device.type != "cuda":
        return {}
    try:
        return {"gpu": float(torch.cuda.utilization(device))}
    except (ModuleNotFoundError, RuntimeError):
        return {}
