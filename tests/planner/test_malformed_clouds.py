"""Whatever cloud comes in, generators give grasps that are numbers, or an error with the code of what is wrong.

`DEXGRASP_MALFORMED_CLOUDS=10000 python -m pytest tests/planner/test_malformed_clouds.py -s --timeout=0` tries that many
in place of 300 and prints what came of each kind. `malformed(seed)` makes a cloud that failed again.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from dexgrasp_planner.generators import (
    EmptyCloudError,
    GenerateError,
    GraspGenerator,
    InvalidCloudError,
    NoGraspsError,
    NoObjectsError,
)
from dexgrasp_planner.heuristic import HeuristicConfig, HeuristicGenerator
from dexgrasp_planner.learned import LearnedConfig, LearnedGenerator
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from dexgrasp_planner.proposals import ProposalConfig

from dexgrasp_description import load_hand

from .malformed_clouds import KINDS, malformed

COUNT = int(os.environ.get("DEXGRASP_MALFORMED_CLOUDS", "300"))
HAND = load_hand("leap_right")
EXPECTED = (EmptyCloudError, InvalidCloudError, NoObjectsError, NoGraspsError)


@pytest.fixture(params=["heuristic", "diffusion"])
def generator(request: pytest.FixtureRequest) -> GraspGenerator:
    """Small searches; the network is untrained."""
    if request.param == "heuristic":
        proposals = ProposalConfig(total=200, per_cluster=100)
        return HeuristicGenerator(HAND, HeuristicConfig(proposals=proposals, parents=20, copies=2, filtered=60))
    torch.manual_seed(0)
    network = GraspNetwork(len(HAND.joint_names), NetworkConfig(backbone="small")).eval()
    return LearnedGenerator(HAND, network, LearnedConfig(points=2000, seeds=32))


@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_malformed_clouds_give_error_codes_or_grasps_that_are_numbers(generator: GraspGenerator) -> None:
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    slowest, started = (0.0, "", 0), time.perf_counter()
    for seed in range(COUNT):
        kind, scene = malformed(seed)
        start = time.perf_counter()
        try:
            grasps = generator.generate(scene, 5, 0).grasps
        except GenerateError as error:
            if type(error) not in EXPECTED:
                pytest.fail(f"{kind}, malformed({seed}): {error!r}")
            outcome = str(error.code)
        except Exception as error:
            pytest.fail(f"{kind}, malformed({seed}): {error!r}")
        else:
            assert len(grasps) > 0, f"{kind}, malformed({seed})"
            for name in ("world_T_palm", "pregrasp", "grasp", "squeeze", "score", "seed_point"):
                assert np.isfinite(getattr(grasps, name)).all(), f"{kind}, malformed({seed}): {name}"
            outcome = "grasps"
        outcomes[kind][outcome] += 1
        slowest = max(slowest, (time.perf_counter() - start, kind, seed))
    print(f"\n{type(generator).__name__}, {COUNT} clouds in {time.perf_counter() - started:.0f} s; slowest: {slowest}")
    for kind, counts in sorted(outcomes.items()):
        print(f"  {kind:16}", *(f"{outcome}: {count}" for outcome, count in sorted(counts.items())))
    assert set(outcomes) == set(KINDS), "some kind was never drawn: try more clouds"
    assert {"104", "105", "107", "grasps"} <= set(sum(outcomes.values(), Counter()))
