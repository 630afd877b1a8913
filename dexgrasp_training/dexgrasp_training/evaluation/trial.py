"""One scene: every contestant asked for every view, and what each of its grasps lifts, in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dexgrasp_common.parameters import param
from dexgrasp_planner.generators import GenerateError, GraspGenerator
from dexgrasp_planner.hand_shape import HandPoints
from dexgrasp_sim.tester import GRASP_TESTERS, LiftConfig, LiftOutcome, LiftResult
from numpy.typing import NDArray

from dexgrasp_description import GraspSet, HandModel, load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.evaluation.contestants import Answer, Contestant, ask
from dexgrasp_training.evaluation.samplers import compare
from dexgrasp_training.evaluation.scenes import TestScene, chosen_scenes
from dexgrasp_training.settings import seed_of
from dexgrasp_training.storage import write_json

Row = dict[str, Any]
_SURFACE = 1500  # points of the hand whose depth is looked at


@dataclass(frozen=True)
class EvaluationConfig:
    """What decides the rows of a scene.

    The lift is that of DexGraspNet 2.0's benchmark: friction 0.2, objects held still until the squeeze has ended.
    """

    hand: str = param("leap_right", "name of the hand")
    views: int = param(4, "views of each scene", range=(1, 256))
    top: int = param(1, "best grasps of each contestant that are tested", range=(1, 1000))
    seed: int = param(0, "of every random choice")
    noise: float = param(0.0, "size of the depth sensor's errors", range=(0.0, 2.0))
    tester: str = param(GRASP_TESTERS.default, "name of the grasp tester")
    lift: LiftConfig = field(default_factory=LiftConfig)


def try_scene(
    root: str,
    scene: str,
    competing: tuple[Contestant, ...],
    config: EvaluationConfig,
    train_families: frozenset[str],
    target: str,
) -> dict[str, Any]:
    """Task: test all contestants in one scene and write its rows.

    Args:
        root: Of the dataset.
        scene: Name of the scene.
        competing: Who.
        config: How.
        train_families: Procedural families that training objects came from.
        target: File to write.
    """
    test = TestScene(Dataset(Path(root)), scene)
    hand = load_hand(config.hand)
    asked: list[tuple[int, str, Answer]] = []
    compared: list[Row] = []
    for view in test.views.numbers[: config.views].tolist():
        seed = seed_of(config.seed, "evaluate", scene, view)
        cloud = test.cloud(view, config.noise, seed)
        answers, sampled = ask(competing, config.hand, cloud, config.top, seed)
        asked += [(view, name, answer) for name, answer in answers.items()]
        compared += [{"scene": scene, "view": view, **row} for row in compare(sampled)]
    lifted = _lifted(test, hand, config, [answer.grasps for _, _, answer in asked])
    families = [
        {"object": name, "family": family, "seen": family in train_families if family else None}
        for name, family in zip(test.record.objects, test.families, strict=True)
    ]
    rows = [
        {"scene": scene, "kind": test.record.kind, "view": view, "contestant": name, **_row(test, hand, answer, result)}
        for (view, name, answer), result in zip(asked, lifted, strict=True)
    ]
    write_json(Path(target), {"scene": scene, "objects": families, "rows": rows, "samplers": compared})
    return {"scene": scene, "rows": len(rows)}


def lift_success(
    generator: GraspGenerator, dataset: Dataset, hand: HandModel, scenes: int, views: int, seed: int
) -> float:
    """Share of views of held-out scenes in which the generator's best grasp lifts an object; nothing is written.

    Args:
        generator: Of grasps of that hand.
        dataset: With test scenes and views.
        hand: The hand.
        scenes: How many scenes at most, equal parts of each kind.
        views: Of each.
        seed: Of every random choice; the same as in `dexgrasp-train evaluate`, so are the numbers.

    Raises:
        DatasetError: There are no test scenes with views, or a file is damaged.
    """
    config = EvaluationConfig(hand=hand.name, views=views, seed=seed)
    successes: list[bool] = []
    for name in chosen_scenes(dataset, scenes):
        test = TestScene(dataset, name)
        found: list[GraspSet] = []
        for view in test.views.numbers[:views].tolist():
            view_seed = seed_of(seed, "evaluate", name, view)
            try:
                found.append(generator.generate(test.cloud(view, 0.0, view_seed), 1, view_seed).grasps)
            except GenerateError:
                successes.append(False)
        successes += [bool(result.success[0]) for result in _lifted(test, hand, config, found)]
    return float(np.mean(successes))


def _lifted(test: TestScene, hand: HandModel, config: EvaluationConfig, sets: Sequence[GraspSet]) -> list[LiftResult]:
    """What the tester says of each set; the scene is compiled once, and the same grasp simulated once."""
    keys = [[_key(grasps, i) for i in range(len(grasps))] for grasps in sets]
    where: dict[bytes, int] = {}
    firsts = []
    for grasps, own in zip(sets, keys, strict=True):
        for i, key in enumerate(own):
            if key not in where:
                where[key] = len(where)
                firsts.append(grasps[[i]])
    if not firsts:
        nothing = GraspSet.empty(hand.name, len(hand.joint_names))
        firsts = [nothing]
    tester = GRASP_TESTERS.create(config.tester, hand, config.lift)
    result: LiftResult = tester.lift(test.lift_scene, GraspSet.concatenate(firsts))
    return [_rows_of(result, np.array([where[key] for key in own], dtype=np.intp)) for own in keys]


def _key(grasps: GraspSet, i: int) -> bytes:
    arrays = (grasps.world_T_palm, grasps.pregrasp, grasps.grasp, grasps.squeeze)
    return b"".join(np.ascontiguousarray(array[i]).tobytes() for array in arrays)


def _rows_of(result: LiftResult, rows: NDArray[np.intp]) -> LiftResult:
    return LiftResult(**{name: array[rows] for name, array in vars(result).items()})


def _row(test: TestScene, hand: HandModel, answer: Answer, result: LiftResult) -> Row:
    grasps = answer.grasps
    aimed = test.targets(grasps.seed_point)
    return {
        "error_code": answer.error.code if answer.error else 0,
        "error_msg": str(answer.error) if answer.error else "",
        "candidates": answer.candidates,
        "generate_ms": round(answer.milliseconds, 1),
        "success": result.success.tolist(),
        "outcome": [LiftOutcome(value).name.lower() for value in result.outcome],
        "rise": np.round(result.rise, 4).tolist(),
        "aimed": aimed.tolist(),
        "held": result.held.tolist(),
        "depth": np.round(_depths(test, hand, grasps), 5).tolist(),
        "lifted": np.where(result.success, result.lifted, -1).tolist(),
        "best": _best(grasps),
    }


def _depths(test: TestScene, hand: HandModel, grasps: GraspSet) -> NDArray[np.float64]:
    """How deep the deepest point of the hand is in the true objects at each grasp (N,) [m]."""
    if not len(grasps):
        return np.zeros(0)
    points = _outside(hand).in_world(torch.as_tensor(grasps.world_T_palm), torch.as_tensor(grasps.grasp))
    return np.array([test.depth(own).max() for own in points.transpose(1, 2).numpy()])


@lru_cache(maxsize=1)
def _outside(hand: HandModel) -> HandPoints:
    samples = {link: points for link, (points, _) in hand.surface_samples(_SURFACE).items()}
    return HandPoints(hand, samples, torch.float64)


def _best(grasps: GraspSet) -> Row | None:
    """The first grasp, for pictures and for whoever wants to know what was tested."""
    if not len(grasps):
        return None
    numbers = {name: float(getattr(grasps, name)[0]) for name in ("score", "log_likelihood", "graspness")}
    return {
        "world_T_palm": np.round(grasps.world_T_palm[0], 6).tolist(),
        "grasp": np.round(grasps.grasp[0], 5).tolist(),
        **{name: round(value, 4) if np.isfinite(value) else None for name, value in numbers.items()},
    }
