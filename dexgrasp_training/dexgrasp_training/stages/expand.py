"""Stage `expand`: a trained network proposes grasps on training objects; what the filter keeps joins the others.

DexGrasp Anything (Sec. 4) grew its data set so. A round is one chunk of the method `generated` on every training
object, told by the checkpoint and its settings; asking for the same again goes on with it, another checkpoint begins
another round.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from dexgrasp_common.parameters import param
from dexgrasp_planner.checkpoints import WEIGHTS
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_generator import ObjectGeneratorConfig, ObjectGraspGenerator
from rich.progress import Progress

from dexgrasp_description import load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.pipeline import Run, run_elsewhere, run_filter
from dexgrasp_training.report.diversity import read_methods, together
from dexgrasp_training.settings import seed_of
from dexgrasp_training.storage import digest_of
from dexgrasp_training.synthesis.generated import Generated
from dexgrasp_training.synthesis.method import GENERATED
from dexgrasp_training.work import Task

STAGE = "expand"


@dataclass(frozen=True)
class ExpandConfig:
    """What is proposed."""

    attempts: int = param(256, "samples of each object", range=(1, 1_000_000))
    sampler: str = param("fast", "`fast` or `paper`")
    guidance: float = param(0.2, "g_r of the sampler", range=(0.0, 1.0))
    physics: str = param("tuned_sampling", "what guides: a name for `physics_preset`")
    polish: int = param(60, "steps of descent on the physics alone at the end", range=(0, 1000))
    seed: int = param(0, "of every random choice")


def run_expand(run: Run, checkpoint: Path, config: ExpandConfig) -> dict[str, Any]:
    """A round of a checkpoint's grasps, tested as any others; returns what was before and after it.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged or of another kind.
    """
    checkpoint = checkpoint.expanduser().absolute()
    hand = ObjectCheckpoint.load(checkpoint).hand
    run = replace(run, settings=replace(run.settings, grasps=replace(run.settings.grasps, hand=hand)))
    digest = digest_of(checkpoint, WEIGHTS)
    number = begin(run.dataset, hand, digest, config)
    run_elsewhere(run, STAGE)(tasks(run.dataset, hand, number, checkpoint, digest, config), STAGE)
    run_filter(run)
    return end(run.dataset, number)


def begin(dataset: Dataset, hand: str, digest: str, config: ExpandConfig) -> int:
    """The number of the round of this checkpoint with these settings; a new one is noted with what there was before."""
    entry = dataset.manifest()["stages"].get(STAGE, {})
    rounds = list(entry.get("rounds", ()))
    asked = {"hand": hand, "network": digest, "config": asdict(config)}
    for number, known in enumerate(rounds):
        if {name: known[name] for name in asked} == asked:
            return number
    rounds.append({**asked, "before": measured(dataset, hand)})
    dataset.record(STAGE, {**entry, "rounds": rounds})
    return len(rounds) - 1


def tasks(dataset: Dataset, hand: str, number: int, checkpoint: Path, digest: str, config: ExpandConfig) -> list[Task]:
    """One task for each training object on which this round has not proposed yet."""
    where = (str(dataset.root), hand)
    return [
        Task(f"{GENERATED} on {name}", propose, (*where, name, number, str(checkpoint), digest, config))
        for name in dataset.objects("train")
        if not dataset.candidates_path(hand, name, GENERATED, number).is_file()
    ]


def propose(
    root: str, hand: str, name: str, number: int, checkpoint: str, digest: str, config: ExpandConfig
) -> dict[str, Any]:
    """Make one object's candidates and write them."""
    dataset = Dataset(Path(root))
    found = _method(hand, checkpoint, digest, config).generate(
        dataset.asset(name), config.attempts, seed_of(config.seed, name, GENERATED, number)
    )
    found.save(dataset.candidates_path(hand, name, GENERATED, number))
    return {"object": name, "attempts": config.attempts, "candidates": len(found)}


def end(dataset: Dataset, number: int) -> dict[str, Any]:
    """Note what there is now; returns the round, with `before` and `after`.

    Raises:
        DatasetError: There is no such round.
    """
    entry = dataset.manifest()["stages"].get(STAGE, {})
    rounds = list(entry.get("rounds", ()))
    if number >= len(rounds):
        raise DatasetError(f"{dataset.root} knows no round {number} of {STAGE}.")
    done = {**rounds[number], "after": measured(dataset, rounds[number]["hand"])}
    rounds[number] = done
    dataset.record(STAGE, {**entry, "rounds": rounds})
    return done


def measured(dataset: Dataset, hand: str) -> dict[str, dict[str, Any]]:
    """How many grasps there are and how different, by method and, under `all`, together; empty where there are none."""
    model = load_hand(hand)
    methods = read_methods(dataset, hand, Progress(disable=True))
    if methods:
        methods |= {"all": together(list(methods.values()))}
    left_out = ("joints", "contacts", "palm_distance_m", "direction_cells")  # the report has them
    return {
        name: {key: value for key, value in grasps.as_dict(model).items() if key not in left_out}
        for name, grasps in methods.items()
    }


@lru_cache(maxsize=2)
def _method(hand: str, checkpoint: str, digest: str, config: ExpandConfig) -> Generated:
    """Kept by each process; another digest is another network in the same folder."""
    loaded = load_hand(hand)
    network = ObjectCheckpoint.load(Path(checkpoint)).make(loaded)
    sampling = ObjectGeneratorConfig(
        config.sampler, config.guidance, config.physics, polish=config.polish, ranking="random"
    )
    return Generated(loaded, ObjectGraspGenerator(loaded, network, sampling))
