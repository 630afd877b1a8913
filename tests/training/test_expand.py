"""Grasps that a network proposes are brought into contact, tested, and join the dataset; a stopped round goes on."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_network import ObjectGraspNetwork, object_network_config
from dexgrasp_sim.tester import GRASP_TESTERS
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.cli import main
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.pipeline import Run
from dexgrasp_training.settings import Settings
from dexgrasp_training.stages import expand
from dexgrasp_training.stages.expand import ExpandConfig, run_expand
from dexgrasp_training.stages.objects import procedural_asset
from dexgrasp_training.synthesis.generated import Generated
from dexgrasp_training.synthesis.method import GENERATED, GRASP_METHODS, METHODS, Candidates
from dexgrasp_training.work import Workers
from rich.console import Console
from scipy.spatial.transform import Rotation

from dexgrasp_description import GraspSet, load_hand

HAND = "leap_right"
QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def can() -> ObjectAsset:
    return procedural_asset("can", 3, "can", "train")


@pytest.fixture(scope="module")
def good(can: ObjectAsset) -> Candidates:
    return GRASP_METHODS.create("closing", load_hand(HAND)).generate(can, 1000, 0)


class Nearly:
    """In place of a network: known grasps, some millimetres and degrees off."""

    def __init__(self, known: Candidates, shift: float, turn: float) -> None:
        self._known, self._shift, self._turn = known, shift, turn

    def sample(self, points: np.ndarray, normals: np.ndarray, count: int, seed: int) -> GraspSet:
        rng = np.random.default_rng(seed)
        known = self._known[rng.integers(len(self._known), size=count)]
        palms = known.object_T_palm.copy()
        palms[:, :3, 3] += rng.normal(0.0, self._shift, (count, 3))
        palms[:, :3, :3] = palms[:, :3, :3] @ Rotation.from_rotvec(rng.normal(0.0, self._turn, (count, 3))).as_matrix()
        none = np.full(count, np.nan)
        return GraspSet(HAND, palms, known.pregrasp, known.grasp, known.squeeze, none, none, none, np.zeros((count, 3)))


def test_grasps_that_are_nearly_right_are_made_right(can: ObjectAsset, good: Candidates) -> None:
    hand, tester = load_hand(HAND), GRASP_TESTERS.create("mujoco", load_hand(HAND))
    nearly = Nearly(good, 0.004, 0.05)
    raw = nearly.sample(can.points, can.normals, 60, 0)
    before = tester.hold6(can.model, raw.world_T_palm, raw.grasp, raw.squeeze).success
    found = Generated(hand, nearly).generate(can, 60, 0)  # type: ignore[arg-type]
    assert (found.method, found.attempts) == (GENERATED, 60)
    after = tester.hold6(can.model, found.object_T_palm, found.grasp, found.squeeze).success
    assert after.sum() > before.sum()
    assert after.mean() > 3.0 * before.mean()
    assert (found.grasp >= hand.lower - 1e-9).all()
    assert (found.grasp <= hand.upper + 1e-9).all()
    again = Generated(hand, nearly).generate(can, 60, 0)  # type: ignore[arg-type]
    assert np.array_equal(found.grasp, again.grasp)


def test_grasps_that_are_far_off_give_nothing(can: ObjectAsset, good: Candidates) -> None:
    palms = good.object_T_palm.copy()
    palms[:, :3, 3] *= 3.0
    away = Nearly(replace(good, object_T_palm=palms), 0.0, 0.0)
    assert len(Generated(load_hand(HAND), away).generate(can, 8, 0)) == 0  # type: ignore[arg-type]


def test_a_round_adds_grasps_and_goes_on_where_it_was_stopped(
    can: ObjectAsset, good: Candidates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Dataset.open(tmp_path / "data", create=True)
    for name in ("can", "other"):
        replace(can, model=replace(can.model, name=name)).save(dataset.object_path(name))
    replace(can, model=replace(can.model, name="held_out"), split="test").save(dataset.object_path("held_out"))
    good[np.arange(4)].save(dataset.candidates_path(HAND, "can", "closing", 0))
    hand = load_hand(HAND)
    network = object_network_config("small", hand, good.object_T_palm)
    weights = ObjectGraspNetwork(network).state_dict()
    for folder in ("first", "second"):
        ObjectCheckpoint(HAND, tuple(hand.joint_names), network, weights).save(tmp_path / folder)
        weights = {name: value + 1.0 for name, value in weights.items()}
    monkeypatch.setattr(expand, "ObjectGraspGenerator", lambda *arguments: Nearly(good, 0.002, 0.02))
    expand._method.cache_clear()
    run = Run(dataset, Settings(), (), Workers(jobs=1), QUIET)
    config = ExpandConfig(attempts=24)
    done = run_expand(run, tmp_path / "first", config)
    grasps = dataset.grasps(HAND, "can")
    of_network = grasps.method == METHODS.index(GENERATED)
    assert of_network.sum() > 3
    assert done["after"]["all"]["grasps"] == len(grasps) + len(dataset.grasps(HAND, "other"))
    assert done["before"] == {}
    assert not dataset.candidates_path(HAND, "held_out", GENERATED, 0).exists()
    files = {path: path.read_bytes() for path in dataset.root.rglob("*-000.npz")}
    tested = dataset.tested_path(HAND, "other", GENERATED, 0)
    tested.unlink()
    dataset.candidates_path(HAND, "other", GENERATED, 0).unlink()
    assert run_expand(run, tmp_path / "first", config)["after"] == done["after"]
    assert {path: path.read_bytes() for path in dataset.root.rglob("*-000.npz")} == files
    more = run_expand(run, tmp_path / "second", config)
    assert dataset.candidates_path(HAND, "can", GENERATED, 1).is_file()
    assert more["before"] == done["after"]
    assert more["after"][GENERATED]["grasps"] > done["after"][GENERATED]["grasps"]


def test_the_command_says_where_there_is_no_checkpoint(
    can: ObjectAsset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset.open(tmp_path / "data", create=True)
    can.save(dataset.object_path("can"))
    assert main(["expand", str(dataset.root), str(tmp_path / "nothing")]) == 1
    assert "is not a checkpoint" in capsys.readouterr().err
