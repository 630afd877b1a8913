"""Many independent tasks, spread by joblib over the cores of one machine or over a Ray cluster, with progress.

A task is a plain function's arguments. It writes its own file, whole or not at all, and returns a small dict for the
manifest; whether it runs in this process, in another or on another machine makes no difference to the file.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import torch
from dexgrasp_common.errors import DexgraspError
from dexgrasp_common.registry import Backend, Registry
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dexgrasp_training.errors import DatasetError, TrainingError

_ANSWER = 5.0  # within which a cluster must take a connection [s]
_RAY_SLICE = 8  # tasks handed to each Ray worker before progress is shown: its joblib backend returns lists only


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        backend: A name of `WORK_BACKENDS`. The machines of a Ray cluster must share the dataset's folder.
        jobs: Processes at once; 0: as many as there are cores.
        address: Of the Ray cluster (`auto`: the running one; empty: one on this machine).
    """

    backend: str = "loky"
    jobs: int = 0
    address: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of one task.

    Attributes:
        task: Its name.
        summary: What its function returned; empty where it failed.
        error: Why it could not be done; empty otherwise.
        seconds: How long it took.
    """

    task: str
    summary: dict[str, Any]
    error: str
    seconds: float


@dataclass(frozen=True)
class Task:
    """A call to make: `function(*arguments)`.

    Attributes:
        name: For messages.
        function: Importable by name.
        arguments: What it is called with; picklable.
    """

    name: str
    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]


def spread(tasks: Sequence[Task], workers: Workers, title: str, console: Console) -> list[Outcome]:
    """Run every task; one that cannot be done (a mesh that is no solid) is reported and the rest go on.

    Returns:
        Outcomes in the order of the tasks.

    Raises:
        DatasetError: A file could not be written or read: whatever it was, the next task would meet it, too.
        TrainingError: The workers cannot be started, or one died.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    found: dict[int, Outcome] = {}
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        bar = progress.add_task(title, total=len(tasks))
        for index, outcome in WORK_BACKENDS.load(workers.backend)(list(enumerate(tasks)), workers):
            found[index] = outcome
            progress.advance(bar)
            if outcome.error:
                progress.console.print(f"[yellow]{outcome.task}[/]: {outcome.error}", highlight=False)
    return [found[index] for index in range(len(tasks))]


def _on_cores(numbered: Sequence[tuple[int, Task]], workers: Workers) -> Iterator[tuple[int, Outcome]]:
    """This process for one job, loky's processes for more."""
    jobs = _jobs(numbered, workers)
    if jobs == 1:
        yield from (_run(*item) for item in numbered)
        return
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
    try:
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1), warnings.catch_warnings():
            # loky replaces a process whose memory has grown, here by the tables that it keeps, and nothing is lost.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs")
            yield from parallel(joblib.delayed(_run)(*item) for item in numbered)
    except joblib.externals.loky.process_executor.TerminatedWorkerError as error:
        raise TrainingError(
            "A worker process was killed, most likely for want of memory. Run the same command again with fewer "
            "workers (--jobs): it goes on where it stopped."
        ) from error


def _on_ray(numbered: Sequence[tuple[int, Task]], workers: Workers) -> Iterator[tuple[int, Outcome]]:
    """The workers of a Ray cluster."""
    with _cluster(workers):
        jobs = _jobs(numbered, workers)
        step = _RAY_SLICE * jobs
        for start in range(0, len(numbered), step):
            calls = (joblib.delayed(_run)(*item) for item in numbered[start : start + step])
            yield from joblib.Parallel(n_jobs=jobs, backend="ray", batch_size=1)(calls)


WORK_BACKENDS = Registry(
    "work backend",
    {
        "loky": Backend("dexgrasp_training.work:_on_cores", summary="processes on this machine, through joblib"),
        "ray": Backend(
            "dexgrasp_training.work:_on_ray", ("ray",), "pip install ray", "a Ray cluster, through joblib's Ray backend"
        ),
    },
    default="loky",
)


def _jobs(numbered: Sequence[tuple[int, Task]], workers: Workers) -> int:
    """As many as are wanted, or as there are cores; no more than there are tasks."""
    cores = len(os.sched_getaffinity(0))
    if workers.backend == "ray":
        import ray

        cores = int(ray.cluster_resources().get("CPU", 1))
    return min(workers.jobs or cores, max(len(numbered), 1))


def _run(index: int, task: Task) -> tuple[int, Outcome]:
    torch.set_num_threads(1)  # one thread in every worker: no fight for cores, and the same sums everywhere
    start = time.perf_counter()
    summary, error = {}, ""
    try:
        summary = task.function(*task.arguments)
    except DatasetError:
        raise
    except DexgraspError as failure:
        error = str(failure)
    except Exception as failure:  # one object on which a library stumbles must not end a run of hours
        last = traceback.extract_tb(failure.__traceback__)[-1]
        error = f"{type(failure).__name__} in {Path(last.filename).name}:{last.lineno}: {str(failure)[:300]}"
    return index, Outcome(task.name, summary, error, time.perf_counter() - start)


@contextmanager
def _cluster(workers: Workers) -> Iterator[None]:
    import ray
    from ray.util.joblib import register_ray

    try:
        if ":" in workers.address:  # Ray itself would wait for minutes where nobody listens
            host, port = workers.address.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=_ANSWER).close()
        ray.init(
            address=workers.address or None,
            num_cpus=None if workers.address else workers.jobs or None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise TrainingError(f"No Ray cluster answers at {workers.address or 'this machine'}: {error}") from error
    register_ray()
    try:
        yield
    finally:
        ray.shutdown()
