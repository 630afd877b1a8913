"""An object-level checkpoint's own grasps are tried, and what is learnt from them tells which hold."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_features import OBJECT_FEATURES
from dexgrasp_planner.object_level.object_generator import ObjectGeneratorConfig, ObjectGraspGenerator
from dexgrasp_planner.object_level.object_network import ObjectGraspNetwork, object_network_config
from dexgrasp_sim.tester import GRASP_TESTERS
from dexgrasp_training.cli import main
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.scoring import object_scoring
from dexgrasp_training.scoring.object_scoring import ObjectVerdictConfig, score_objects
from dexgrasp_training.stages.objects import procedural_asset
from dexgrasp_training.storage import read_arrays
from dexgrasp_training.synthesis.method import GRASP_METHODS, Candidates
from dexgrasp_training.work import Workers
from rich.console import Console

from dexgrasp_description import GraspSet, load_hand

HAND = "leap_right"
QUIET = Console(file=io.StringIO())


class Sampler:
    """In place of a network: half of the grasps are known ones, half are 3 cm beside them."""

    def __init__(self, known: Candidates, network: ObjectGraspNetwork) -> None:
        self._known, self.network = known, network

    def sample(self, points: np.ndarray, normals: np.ndarray, count: int, seed: int) -> GraspSet:
        rng = np.random.default_rng(seed)
        known = self._known[rng.integers(len(self._known), size=count)]
        palms, none = known.object_T_palm.copy(), np.full(count, np.nan)
        palms[::2, :3, 3] *= 1.5
        score = rng.random(count)
        return GraspSet(
            HAND, palms, known.pregrasp, known.grasp, known.squeeze, score, none, none, np.zeros((count, 3))
        )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The same can, ten times."""
    dataset = Dataset.open(tmp_path_factory.mktemp("data") / "dataset", create=True)
    can = procedural_asset("can", 3, "can", "train")
    for number in range(10):
        replace(can, model=replace(can.model, name=f"can_{number}")).save(dataset.object_path(f"can_{number}"))
    return dataset


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    hand = load_hand(HAND)
    config = object_network_config("small", hand, np.tile(np.eye(4), (2, 1, 1)))
    weights = ObjectGraspNetwork(config).state_dict()
    ObjectCheckpoint(HAND, tuple(hand.joint_names), config, weights).save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_what_holds_is_learnt_and_kept_with_the_checkpoint(
    dataset: Dataset, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = load_hand(HAND)
    known = GRASP_METHODS.create("closing", hand).generate(dataset.asset("can_0"), 1000, 0)
    network = ObjectCheckpoint.load(checkpoint).make(hand)
    monkeypatch.setattr(object_scoring, "_generator", lambda *arguments: Sampler(known, network))
    config = ObjectVerdictConfig(hand=HAND, grasps=40, guided=(False,), protocol="hold6")
    score_objects(dataset, checkpoint, 10, config, Workers(jobs=1), QUIET)
    stored = ObjectCheckpoint.load(checkpoint)
    assert stored.success_features == OBJECT_FEATURES
    about = stored.about["success"]
    assert about["protocol"] == "hold6"
    assert (about["grasps"], about["scenes"]) == (400, 10)
    assert about["held_out"]["area_under_curve"] > 0.8
    assert about["held_out"]["area_under_curve"] > about["held_out"]["area_under_curve_of_own_score"]
    file = checkpoint.with_name("checkpoint.hold6_verdicts") / "can_3.npz"
    verdicts = read_arrays(file)
    assert verdicts["lifted"][1::2].mean() > 0.2
    assert verdicts["lifted"][::2].mean() < 0.1
    # A run that was stopped makes what is missing, and nothing else.
    before = file.read_bytes()
    file.unlink()
    score_objects(dataset, checkpoint, 10, config, Workers(jobs=1), QUIET)
    assert file.read_bytes() == before
    generator = ObjectGraspGenerator(hand, network, ObjectGeneratorConfig(), stored.success_model())
    asset = dataset.asset("can_0")
    assert np.isfinite(generator.sample(asset.points, asset.normals, 4, 0).score).all()


def test_grasps_that_hold_in_both_protocols_hold_in_either(dataset: Dataset, checkpoint: Path) -> None:
    hand, asset = load_hand(HAND), dataset.asset("can_0")
    tester = GRASP_TESTERS.create("mujoco", hand)
    known = GRASP_METHODS.create("closing", hand).generate(asset, 1000, 0)
    drawn = Sampler(known, ObjectCheckpoint.load(checkpoint).make(hand)).sample(asset.points, asset.normals, 24, 0)
    names = ("dga", "dexgraspbench", "both")
    dga, bench, both = (object_scoring._held(tester, asset.model, drawn, name) for name in names)
    assert (both == dga & bench).all()
    assert both.any()
    assert (dga != bench).any()


def test_too_little_to_learn_from_and_wrong_names_are_said(
    dataset: Dataset, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ObjectVerdictConfig(hand=HAND, grasps=2)
    with pytest.raises(DatasetError, match="too few"):
        score_objects(dataset, checkpoint, 2, config, Workers(jobs=1), QUIET)
    assert not ObjectCheckpoint.load(checkpoint).success_features
    with pytest.raises(SettingsError, match="Protocols: dga, dexgraspbench, both, hold6"):
        score_objects(dataset, checkpoint, 2, replace(config, protocol="lift"), Workers(jobs=1), QUIET)
    assert main(["score-objects", str(dataset.root), str(checkpoint.parent / "nothing")]) == 1
    assert "is not a checkpoint" in capsys.readouterr().err
