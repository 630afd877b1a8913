"""Checkpoints come back as they were saved, and what is wrong with one is said."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from dexgrasp_planner.checkpoints import Checkpoint, CheckpointError
from dexgrasp_planner.network.diffusion_head import DiffusionConfig
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from dexgrasp_planner.network.voxels import voxelize

from dexgrasp_description import load_hand

HAND = load_hand("leap_right")
CONFIG = NetworkConfig(backbone="small", diffusion=DiffusionConfig(model="typed", kinds=2))


@pytest.fixture(scope="module")
def network() -> GraspNetwork:
    torch.manual_seed(0)
    return GraspNetwork(len(HAND.joint_names), CONFIG).eval()


@pytest.fixture
def saved(network: GraspNetwork, tmp_path: Path) -> Path:
    folder = tmp_path / "net"
    Checkpoint(HAND.name, tuple(HAND.joint_names), CONFIG, network.state_dict(), {"iterations": 7}).save(folder)
    return folder


def test_a_checkpoint_comes_back(network: GraspNetwork, saved: Path) -> None:
    loaded = Checkpoint.load(saved)
    assert loaded.network == CONFIG
    assert loaded.about == {"iterations": 7}
    again = loaded.make(HAND)
    assert not again.training
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * 0.1
    voxels = voxelize(points, CONFIG.voxel_size)
    with torch.no_grad():
        (features, scores), (expected, expected_scores) = again(voxels), network(voxels)
    assert torch.equal(features, expected)
    assert torch.equal(scores.graspness, expected_scores.graspness)
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]


def test_another_hand_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="trained for leap_right"):
        Checkpoint.load(saved).make(load_hand("panda_gripper"))


def test_another_preset_is_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["network"]["backbone"] = "paper"
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="do not fit"):
        Checkpoint.load(saved).make(HAND)


@pytest.mark.parametrize("kept", [0, 100, 10_000])
def test_a_file_cut_short_is_refused(saved: Path, kept: int) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Checkpoint.load(saved)


def test_a_pickle_in_place_of_the_weights_is_not_run(saved: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "sprung",)

    (saved / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="cannot be read"):
        Checkpoint.load(saved)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged"),
        ("[]", "does not say which format"),
        ('{"format": 99}', "update dexgrasp"),
        ('{"format": 1}', "does not describe a network"),
        ('{"format": 1, "hand": "h", "joint_names": [], "network": {"magic": 1}}', "magic"),
    ],
)
def test_a_damaged_config_is_named(saved: Path, text: str, message: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        Checkpoint.load(saved)


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it has no config\.json"):
        Checkpoint.load(tmp_path)
