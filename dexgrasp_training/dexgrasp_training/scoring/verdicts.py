"""One scene: what grasps lift, a checkpoint's and those it competes with, refined or not, by either squeeze."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_common.parameters import param
from dexgrasp_planner.finishing import CLOSED
from dexgrasp_planner.generators import GenerateError
from dexgrasp_planner.guidance import REFINE
from dexgrasp_planner.learned import MIXED, SUCCESS
from dexgrasp_sim.tester import GRASP_TESTERS, LiftConfig
from numpy.typing import NDArray

from dexgrasp_description import GraspSet, load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.evaluation.contestants import learned
from dexgrasp_training.evaluation.scenes import TestScene
from dexgrasp_training.settings import seed_of
from dexgrasp_training.storage import read_arrays, write_arrays


@dataclass(frozen=True)
class VerdictConfig:
    """What is tried in a scene."""

    hand: str = param("leap_right", "name of the hand")
    views: int = param(2, "views of each scene", range=(1, 256))
    best: int = param(4, "best grasps of a view by the network's own score", range=(1, 1000))
    others: int = param(4, "sampled grasps of the same view drawn at random", range=(0, 1000))
    geometric: int = param(6, "grasps of the geometric search drawn at random", range=(0, 1000))
    favourites: int = param(
        12, "best grasps of a view by what the checkpoint has learnt of lifts before", range=(0, 1000)
    )
    noise: float = param(0.0, "size of the depth sensor's errors", range=(0.0, 2.0))
    seed: int = param(0, "of every random choice")
    lift: LiftConfig = field(default_factory=LiftConfig)


@dataclass(frozen=True)
class Verdicts:
    """Grasps that were tried, of any number of views.

    Attributes:
        features: array (N, F), see `holding.FEATURES`.
        lifted: array (N,) bool.
        score: array (N,), the network's own; NaN where it has none.
        view: array (N,), number of the view, counted over all scenes.
        scene: array (N,), number of the scene.
        refined: array (N,) bool.
    """

    features: NDArray[np.float64]
    lifted: NDArray[np.bool_]
    score: NDArray[np.float64]
    view: NDArray[np.int64]
    scene: NDArray[np.int64]
    refined: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.lifted)

    def __getitem__(self, rows: NDArray[Any]) -> Verdicts:
        return Verdicts(**{name: array[rows] for name, array in vars(self).items()})


def try_own_grasps(
    root: str, scene: str, checkpoint: str, digest: str, config: VerdictConfig, target: str
) -> dict[str, Any]:
    """Task: try a checkpoint's grasps in one scene and write what came of them.

    Args:
        root: Of the dataset.
        scene: Name of the scene.
        checkpoint: Its folder.
        digest: Of its files.
        config: How.
        target: File to write.
    """
    shown = TestScene(Dataset(Path(root)), scene)
    generator = learned(checkpoint, config.hand, digest)
    sets: list[GraspSet] = []
    rows: list[dict[str, NDArray[Any]]] = []
    for view in shown.views.numbers[: config.views].tolist():
        seed = seed_of(config.seed, "score", scene, view)
        try:
            sampled = generator.sample(shown.cloud(view, config.noise, seed), seed)
            found = generator.executable(sampled, CLOSED).grasps
        except GenerateError:
            continue
        draw, finishing = np.random.default_rng(seed), generator.finishing
        order = np.argsort(-found.score, kind="stable")
        others = draw.permutation(order[config.best :])[: config.others]
        found = found[np.concatenate([order[: config.best], others])]
        if generator.searches:
            searched = generator.geometric(sampled)
            chosen = draw.permutation(len(searched))[: config.geometric]
            found = GraspSet.concatenate([found, _unknown(searched[chosen])])
        moved = finishing.moved(sampled.space, found).grasps
        tried = [(found, False), (moved, True)]
        if finishing.success is not None and config.favourites:
            ranking = MIXED if generator.searches else SUCCESS
            best = generator.rank(sampled, config.favourites, ranking, CLOSED, REFINE)
            tried.append((_unknown(best), True))
        for some, refined in tried:
            for grasps, features in finishing.variants(sampled.space, some):
                sets.append(grasps)
                count = len(grasps)
                rows.append(
                    {
                        "features": features,
                        "score": grasps.score,
                        "view": np.full(count, view),
                        "refined": np.full(count, refined),
                    }
                )
    content: dict[str, NDArray[Any]] = {}
    if sets:
        tester = GRASP_TESTERS.create("", load_hand(config.hand), config.lift)
        content = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        content["lifted"] = tester.lift(shown.lift_scene, GraspSet.concatenate(sets)).success
    write_arrays(Path(target), content)
    return {"grasps": len(content.get("lifted", ()))}


def _unknown(grasps: GraspSet) -> GraspSet:
    """The grasps, of which nobody asked the network."""
    return replace(grasps, score=np.full(len(grasps), np.nan))


def read_verdicts(paths: list[Path]) -> Verdicts:
    """What was tried in these scenes, together.

    Raises:
        DatasetError: A file is missing or damaged, or nothing was tried.
    """
    parts: list[dict[str, NDArray[Any]]] = []
    views = 0
    for scene, path in enumerate(paths):
        content = read_arrays(path)
        if not len(content.get("lifted", ())):
            continue
        _, view = np.unique(content["view"], return_inverse=True)
        parts.append(content | {"view": view + views, "scene": np.full(len(view), scene)})
        views += int(view.max()) + 1
    if not parts:
        raise DatasetError(
            f"The checkpoint gives no grasp that is clear in any of {len(paths)} scenes; train it longer."
        )
    together = {name: np.concatenate([part[name] for part in parts]) for name in Verdicts.__dataclass_fields__}
    return Verdicts(**together)
