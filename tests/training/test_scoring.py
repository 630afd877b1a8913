"""A checkpoint's own grasps are tried, and what is learnt from them tells lifts apart."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dexgrasp_planner.checkpoints import Checkpoint, CheckpointError
from dexgrasp_planner.finishing import Finished, Finishing
from dexgrasp_planner.generators import SceneCloud
from dexgrasp_planner.heuristic import HeuristicGenerator
from dexgrasp_planner.holding import FEATURES
from dexgrasp_planner.learned import Sampled
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from dexgrasp_planner.scene_field import FieldConfig, SceneField
from dexgrasp_planner.success import SuccessModel
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.evaluation.scenes import chosen_scenes
from dexgrasp_training.scoring import verdicts as verdicts_module
from dexgrasp_training.scoring.command import score
from dexgrasp_training.scoring.learning import learn
from dexgrasp_training.scoring.verdicts import VerdictConfig, Verdicts, try_own_grasps
from dexgrasp_training.storage import read_arrays
from dexgrasp_training.work import Workers
from rich.console import Console

from dexgrasp_description import GraspSet, load_hand

from .labelled_boxes import make
from .test_scene_stages import HAND

QUIET = Console(file=io.StringIO())


def drawn(count: int, seed: int = 0) -> Verdicts:
    """Grasps that lift where two of the features say so, with some noise; the own score knows one of them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, len(FEATURES)))
    logit = 3.0 * features[:, FEATURES.index("residual")] - 3.0 * features[:, FEATURES.index("gap")]
    return Verdicts(
        features=features,
        lifted=logit + rng.logistic(size=count) > 0.0,
        score=features[:, FEATURES.index("residual")],
        view=np.arange(count) // 20,
        scene=np.arange(count) // 40,
        refined=np.arange(count) % 2 == 1,
    )


def test_what_decides_is_learnt_and_told_better_than_by_the_own_score() -> None:
    known = drawn(2000)
    model, about = learn(known, FEATURES, seed=0)
    held_out = about["held_out"]
    assert held_out["area_under_curve"] > held_out["area_under_curve_of_own_score"] + 0.05
    assert held_out["area_under_curve"] > 0.9
    assert held_out["best_of_view"] > held_out["mean_of_view"] + 0.3
    assert about["grasps"] == 2000
    fresh = drawn(2000, seed=1)
    logit = model.logits(fresh.features)
    assert (fresh.lifted[logit > 2.0]).mean() > 0.85
    assert (fresh.lifted[logit < -2.0]).mean() < 0.15
    again, _ = learn(known, FEATURES, seed=0)
    np.testing.assert_array_equal(again.logits(fresh.features), logit)


def test_too_few_verdicts_are_refused() -> None:
    with pytest.raises(DatasetError, match="too few of either.*--scenes"):
        learn(drawn(60), FEATURES, seed=0)


class Heuristic:
    """Stands in for a trained network: grasps of the heuristic, half of them off to one side."""

    searches = True

    def __init__(self) -> None:
        self._generator, self.finishing = HeuristicGenerator(load_hand(HAND)), Finishing(load_hand(HAND))

    def sample(self, cloud: SceneCloud, seed: int) -> Sampled:
        grasps = self._generator.generate(cloud, 30, seed).grasps
        palms = grasps.world_T_palm.copy()
        palms[::2, :2, 3] += 0.02
        nothing = np.zeros(len(grasps))
        changed = replace(grasps, world_T_palm=palms, log_likelihood=nothing, graspness=nothing)
        space = SceneField.seen_from(cloud.world_points(), FieldConfig(), None)
        return Sampled(changed, len(grasps), space, nothing)

    def executable(self, sampled: Sampled, finish: str) -> Finished:
        return self.finishing.executable(sampled.space, sampled.grasps, finish)

    def geometric(self, sampled: Sampled) -> GraspSet:
        return sampled.grasps[::3]

    def rank(self, sampled: Sampled, count: int, ranking: str, finish: str, guidance: str) -> GraspSet:
        assert (ranking, finish, guidance) == ("mixed", "closed", "refine")
        return self.executable(sampled, finish).grasps[:count]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    config = NetworkConfig(backbone="small")
    torch.manual_seed(0)
    weights = GraspNetwork(16, config).state_dict()
    folder = tmp_path / "net"
    Checkpoint(HAND, tuple(load_hand(HAND).joint_names), config, weights, {"iterations": 7}).save(folder, half=True)
    return folder


def test_the_command_tries_learns_and_adds_to_the_checkpoint(
    dataset: Dataset, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts_module, "learned", lambda *known: Heuristic())
    monkeypatch.setattr("dexgrasp_training.scoring.learning._HELD_OUT", 2)
    monkeypatch.setattr("dexgrasp_training.scoring.learning._LEAST", 2)
    before = (checkpoint / "model.safetensors").read_bytes()
    config = VerdictConfig(views=2, best=5, others=5)
    score(dataset, checkpoint, 2, config, Workers(jobs=1), QUIET)
    assert (checkpoint / "model.safetensors").read_bytes() == before
    loaded = Checkpoint.load(checkpoint)
    model = loaded.success_model()
    assert model is not None
    assert model.features == FEATURES
    assert loaded.about["iterations"] == 7
    assert loaded.about["success"]["grasps"] >= 30
    kept = sorted(path.name for path in checkpoint.with_name("net.verdicts").iterdir())
    assert len(kept) == 3
    assert "settings.json" in kept
    monkeypatch.setattr(verdicts_module, "learned", lambda *known: pytest.fail("what is known is not tried again"))
    score(dataset, checkpoint, 2, config, Workers(jobs=1), QUIET)
    with pytest.raises(SettingsError, match="results of another config"):
        score(dataset, checkpoint, 2, VerdictConfig(views=1), Workers(jobs=1), QUIET)


def test_more_scenes_also_try_the_favourites_of_what_is_known(
    dataset: Dataset, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Heuristic()
    monkeypatch.setattr(verdicts_module, "learned", lambda *of: known)
    name = chosen_scenes(dataset, 1, "train")[0]
    config = VerdictConfig(views=1, best=2, others=1, geometric=2, favourites=3)

    def tried(target: str) -> dict[str, np.ndarray]:
        path = checkpoint.parent / target
        try_own_grasps(str(dataset.root), name, str(checkpoint), "", config, str(path))
        return read_arrays(path)

    first = tried("first.npz")
    plain = ~first["refined"]
    assert plain.sum() == 2 * (2 + 1 + 2), "each with both squeezes"
    assert np.isnan(first["score"][plain]).sum() == 2 * 2, "the network knows nothing of what a search found"
    known.finishing.success = SuccessModel(FEATURES)
    second = tried("second.npz")
    assert len(second["lifted"]) == len(first["lifted"]) + 2 * 3


def test_a_success_model_of_a_newer_version_is_refused(dataset: Dataset, checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"success_features": ["weather"]}))
    with pytest.raises(CheckpointError, match=r"success\.safetensors cannot be read"):
        Checkpoint.load(checkpoint)
    (checkpoint / "success.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="weather.*update dexgrasp"):
        Checkpoint.load(checkpoint).success_model()
    (checkpoint / "config.json").write_text(json.dumps(config | {"success_features": ["residual"]}))
    with pytest.raises(CheckpointError, match="do not fit"):
        Checkpoint.load(checkpoint).success_model()
