"""`dexgrasp-train score-objects`: an object-level checkpoint tries its grasps and learns to tell which of them hold.

What is tried is what the generator samples, without and with guidance, so that the model sees grasps of either kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_common.parameters import param
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_features import OBJECT_FEATURES, ObjectFeatures
from dexgrasp_planner.object_level.object_generator import ObjectGeneratorConfig, ObjectGraspGenerator
from dexgrasp_planner.success import SuccessModel
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.tester import GRASP_TESTERS, GraspTester
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from dexgrasp_description import GraspSet, load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.scoring.trying import Trial, learn_by_trying
from dexgrasp_training.settings import seed_of
from dexgrasp_training.storage import write_arrays
from dexgrasp_training.work import Workers

DGA, DEXGRASPBENCH, BOTH, HOLD6 = PROTOCOLS = ("dga", "dexgraspbench", "both", "hold6")


@dataclass(frozen=True)
class ObjectVerdictConfig:
    """What is tried on an object."""

    hand: str = param("shadow_right", "name of the hand")
    grasps: int = param(32, "samples of an object of either kind", range=(1, 4096))
    guided: tuple[bool, ...] = param((False, True), "kinds: as the network makes them, or guided as the generator does")
    sampler: str = param("fast", "`fast` or `paper`")
    protocol: str = param(
        BOTH, "that decides: `dga` (in all six directions), `dexgraspbench`, `both` of them, or `hold6`"
    )
    seed: int = param(0, "of every random choice")


def score_objects(
    dataset: Dataset, checkpoint: Path, objects: int, config: ObjectVerdictConfig, workers: Workers, console: Console
) -> SuccessModel:
    """Try the checkpoint's grasps of training objects, learn from what holds, and write that into its folder.

    What was tried is kept in a folder beside it: a run that was killed goes on, and one with more objects adds to it.

    Args:
        objects: Training objects at most.

    Raises:
        DatasetError: There are no training objects, or too little to learn from.
        SettingsError: There is no such protocol, or what was tried before is of another network or other settings.
        CheckpointError: There is no checkpoint, or it is for another hand.
    """
    if config.protocol not in PROTOCOLS:
        raise SettingsError(f"There is no protocol {config.protocol!r}. Protocols: {', '.join(PROTOCOLS)}.")
    names = dataset.objects("train")[:objects]
    if not names:
        raise DatasetError(f"{dataset.root} has no training objects; make some: dexgrasp-train objects {dataset.root}")
    kept, said = f"{config.protocol}_verdicts", {"protocol": config.protocol}
    trial = Trial(names, "objects", try_own_grasps_of, config, kept, OBJECT_FEATURES, said)
    model, about = learn_by_trying(dataset, checkpoint, trial, workers, console)
    console.print(_table(about))
    return model


def try_own_grasps_of(
    root: str, name: str, checkpoint: str, digest: str, config: ObjectVerdictConfig, target: str
) -> dict[str, Any]:
    """Task: try a checkpoint's grasps of one object and write what came of them.

    Args:
        root: Of the dataset.
        name: Of the object.
        checkpoint: Its folder.
        digest: Of its network.
        config: How.
        target: File to write.
    """
    hand, model = load_hand(config.hand), Dataset(Path(root)).asset(name)
    tester, seed = GRASP_TESTERS.create("", hand), seed_of(config.seed, "score", name)
    parts: list[dict[str, Any]] = []
    for number, guided in enumerate(config.guided):
        generator = _generator(checkpoint, digest, config, guided)
        drawn = generator.sample(model.points, model.normals, config.grasps, seed + number)
        # As many points as the generator itself sees when it ranks.
        rows = np.random.default_rng(seed).permutation(len(model.points))[: generator.network.config.points]
        features = ObjectFeatures(hand)(model.points[rows], model.normals[rows], drawn)
        held = _held(tester, model.model, drawn, config.protocol)
        none = np.zeros(len(drawn), dtype=bool)
        # One view: an object is what a scene is in clutter, and seen whole.
        view = np.zeros(len(drawn), dtype=np.int64)
        parts.append({"features": features, "lifted": held, "score": drawn.score, "view": view, "refined": none})
    content = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    write_arrays(Path(target), content)
    return {"grasps": len(content["lifted"]), "hold": int(content["lifted"].sum())}


def _held(tester: GraspTester, model: ObjectModel, drawn: GraspSet, protocol: str) -> NDArray[np.bool_]:
    """Which of the grasps hold the object (N,)."""
    palms = drawn.world_T_palm
    if protocol == HOLD6:
        return tester.hold6(model, palms, drawn.grasp, drawn.squeeze).success
    held = np.ones(len(drawn), dtype=bool)
    if protocol in (DGA, BOTH):
        held &= tester.dga(model, palms, drawn.grasp).success
    if protocol in (DEXGRASPBENCH, BOTH):
        held &= tester.dexgraspbench(model, palms, drawn.pregrasp, drawn.grasp, drawn.squeeze).success
    return held


@lru_cache(maxsize=4)
def _generator(checkpoint: str, digest: str, config: ObjectVerdictConfig, guided: bool) -> ObjectGraspGenerator:
    """Kept by each process; ranked by physics, which is what the model has to be better than."""
    hand = load_hand(config.hand)
    network = ObjectCheckpoint.load(Path(checkpoint)).make(hand)
    sampling = ObjectGeneratorConfig(config.sampler, ranking="physics")
    return ObjectGraspGenerator(hand, network, sampling if guided else replace(sampling, guidance=0.0, polish=0))


def _table(about: dict[str, Any]) -> Table:
    held_out = about["held_out"]
    table = Table(
        title=f"{about['grasps']} grasps of {about['scenes']} objects; {held_out['grasps']} of them held out",
        title_justify="left",
    )
    for column in ("told by", "area under the curve", "best of an object holds [%]"):
        table.add_column(column, justify="left" if column == "told by" else "right")
    for name, area, best in (
        ("success model", "area_under_curve", "best_of_view"),
        ("physics", "area_under_curve_of_own_score", "best_of_view_by_own_score"),
    ):
        table.add_row(name, f"{held_out[area]:.3f}", f"{100 * held_out[best]:.0f}")
    table.add_row("chance", "0.500", f"{100 * held_out['mean_of_view']:.0f}")
    return table
