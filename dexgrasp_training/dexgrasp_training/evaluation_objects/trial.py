"""One object: every contestant asked, and what the protocols and measures say of each of its grasps, in rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_common.parameters import param
from dexgrasp_planner.generators import GenerateError
from dexgrasp_sim.tester import GRASP_TESTERS, DexGraspBenchConfig, DexGraspBenchOutcome, DgaConfig, GraspTester
from numpy.typing import NDArray

from dexgrasp_description import load_hand
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.evaluation.scenes import family_of
from dexgrasp_training.evaluation_objects.contestants import ObjectContestant, Proposal, propose
from dexgrasp_training.evaluation_objects.measures import penetration
from dexgrasp_training.settings import seed_of
from dexgrasp_training.storage import write_json

Row = dict[str, Any]
DGA, DEXGRASPBENCH = PROTOCOLS = ("dga", "dexgraspbench")


@dataclass(frozen=True)
class ObjectEvaluationConfig:
    """What decides the rows of an object.

    Attributes:
        protocols: Which of `PROTOCOLS` are played.
    """

    hand: str = param("leap_right", "name of the hand")
    grasps: int = param(32, "of each contestant on each object", range=(1, 10_000))
    seed: int = param(0, "of every random choice")
    tester: str = param(GRASP_TESTERS.default, "name of the grasp tester")
    protocols: tuple[str, ...] = PROTOCOLS
    dga: DgaConfig = field(default_factory=DgaConfig)
    dexgraspbench: DexGraspBenchConfig = field(default_factory=DexGraspBenchConfig)


def try_object(
    root: str, name: str, competing: tuple[ObjectContestant, ...], config: ObjectEvaluationConfig, target: str
) -> dict[str, Any]:
    """Task: test all contestants on one object and write its rows.

    Args:
        root: Of the dataset.
        name: Of the object.
        competing: Who.
        config: How.
        target: File to write.
    """
    dataset = Dataset(Path(root))
    asset, hand = dataset.asset(name), load_hand(config.hand)
    tester = GRASP_TESTERS.create(config.tester, hand, dga=config.dga, dexgraspbench=config.dexgraspbench)
    rows: list[Row] = []
    played: dict[bytes, Row] = {}
    for one in competing:
        row: Row = {"object": name, "contestant": one.name, "error": ""}
        try:
            found = propose(one, dataset, asset, hand, config.grasps, seed_of(config.seed, "evaluate-objects", name))
        except GenerateError as error:
            rows.append({**row, "error": str(error)})
            continue
        row["generate_ms"] = None if np.isnan(found.milliseconds) else round(found.milliseconds, 1)
        row["object_T_palm"] = np.round(found.object_T_palm, 6).tolist()
        row["joints"] = np.round(found.grasp, 5).tolist()
        row["penetration"] = _metres(penetration(hand, asset.field, found.object_T_palm, found.grasp))
        for protocol in config.protocols:
            key = protocol.encode() + b"".join(array.tobytes() for array in _LOOKED_AT[protocol](found))
            if key not in played:  # the same grasps are simulated once
                played[key] = _played(protocol, tester, asset, found)
            row[protocol] = played[key]
        rows.append(row)
    write_json(Path(target), {"object": name, "family": family_of(asset.source) or "mesh", "rows": rows})
    return {"object": name, "rows": len(rows)}


def _played(protocol: str, tester: GraspTester, asset: ObjectAsset, found: Proposal) -> Row:
    start = time.process_time()
    row = _PLAYS[protocol](tester, asset, *_LOOKED_AT[protocol](found))
    return {**row, "seconds": round(time.process_time() - start, 3)}


def _dga(tester: GraspTester, asset: ObjectAsset, *arrays: NDArray[np.float64]) -> Row:
    result = tester.dga(asset.model, *arrays)
    return {
        "success": result.success.tolist(),
        "any_direction": result.any_direction.tolist(),
        "displacement": _metres(result.displacement),
    }


def _dexgraspbench(tester: GraspTester, asset: ObjectAsset, *arrays: NDArray[np.float64]) -> Row:
    result = tester.dexgraspbench(asset.model, *arrays)
    return {
        "success": result.success.tolist(),
        "outcome": [DexGraspBenchOutcome(value).name.lower() for value in result.outcome],
        "contact_links": result.contact_links.tolist(),
        **{
            key: _metres(getattr(result, key))
            for key in ("penetration", "self_penetration", "contact_distance", "contact_consistency")
        },
    }


_PLAYS: dict[str, Callable[..., Row]] = {DGA: _dga, DEXGRASPBENCH: _dexgraspbench}
_LOOKED_AT: dict[str, Callable[[Proposal], tuple[NDArray[np.float64], ...]]] = {
    DGA: lambda found: (found.object_T_palm, found.grasp),
    DEXGRASPBENCH: lambda found: (found.object_T_palm, found.pregrasp, found.grasp, found.squeeze),
}


def _metres(values: NDArray[np.float64]) -> list[Any]:
    """As they go into JSON: to the hundredth of a millimetre, None for NaN."""
    rounded = np.round(values, 5).astype(object)
    rounded[np.isnan(values)] = None
    return list(rounded.tolist())
