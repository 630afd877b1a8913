"""Samples say what the dataset says; training goes on where it was killed, with the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from dexgrasp_common.transforms import apply
from dexgrasp_planner.checkpoints import Checkpoint
from dexgrasp_planner.network.grasp_heads import TRANSLATION_UNIT
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from dexgrasp_training.cli import main
from dexgrasp_training.clutter.graspness import FLOOR
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.fit.fitting import STATE
from dexgrasp_training.fit.log import LOG
from dexgrasp_training.fit.losses import collate, join, losses
from dexgrasp_training.fit.samples import ViewSamples
from dexgrasp_training.scene_record import load_clear_grasps

from dexgrasp_description import load_hand

from .labelled_boxes import CPU, SMALL, fit, make, samples
from .test_scene_stages import HAND


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make(tmp_path_factory.mktemp("data") / "dataset")


def test_a_sample_holds_the_scenes_grasps_in_the_cameras_frame(dataset: Dataset) -> None:
    """Every grasp of a sample, taken back to some object of some view, is one of those that are clear there."""
    sample = samples(dataset, turned=False)[0]
    fitting = []
    for scene in (name for name in dataset.scenes() if "train" in name):
        record = dataset.scene(scene)
        clear = load_clear_grasps(dataset.clear_grasps_path(scene, HAND))
        loaded = samples(dataset)
        known = next(s for group in loaded._scenes.values() for s in group if s.record.name == scene)
        for world_T_camera in known.views.world_T_camera:
            palms = np.concatenate(
                [
                    record.world_T_object[i] @ dataset.grasps(HAND, name).object_T_palm[rows]
                    for i, (name, rows) in enumerate(zip(record.objects, clear, strict=True))
                ]
            )
            ours = apply(world_T_camera, sample.position.astype(float))
            gap = np.linalg.norm(palms[:, :3, 3] - ours[:, None], axis=-1).min(axis=1)
            fitting.append(gap.max())
    assert min(fitting) < 1e-4
    assert np.median(fitting) > 1e-3  # and in other views they are not


def test_scores_and_seeds_belong_to_the_points(dataset: Dataset) -> None:
    sample = samples(dataset)[1]
    assert sample.points.shape == (1500, 3)
    assert 0.05 < sample.is_object.mean() < 0.95
    floor = np.float16(np.log(FLOOR)).astype(np.float32)
    assert (sample.graspness[~sample.is_object] <= floor + 1e-3).all()
    assert sample.graspness[sample.is_object].max() > floor + 1.0
    assert sample.is_object[sample.seeds].mean() > 0.9
    reach = np.linalg.norm(sample.points[sample.seeds] - sample.position, axis=1)
    assert (reach < 0.25).all()
    np.testing.assert_allclose(np.linalg.det(sample.rotation), 1.0, atol=1e-4)


def test_a_turn_moves_points_and_grasps_together(dataset: Dataset) -> None:
    still, turned = samples(dataset, turned=False)[2], samples(dataset)[2]
    np.testing.assert_allclose(still.points[:, 2], turned.points[:, 2], atol=1e-6)
    assert np.abs(still.points - turned.points).max() > 0.01
    for one in (still, turned):
        relative = np.einsum("nji,nj->ni", one.rotation, one.points[one.seeds] - one.position)
        np.testing.assert_allclose(
            relative,
            np.einsum("nji,nj->ni", still.rotation, still.points[still.seeds] - still.position),
            atol=1e-5,
        )


def test_a_number_is_a_sample(dataset: Dataset) -> None:
    first, again, other = samples(dataset)[3], samples(dataset)[3], samples(dataset)[4]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first.points, other.points)
    noisy = samples(dataset, noise=1.0)[3]
    assert not np.array_equal(noisy.points, first.points)


def test_a_dataset_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no labelled scenes"):
        ViewSamples(Dataset.open(tmp_path / "empty", create=True), HAND, "train", 0)


def test_grasps_are_told_from_the_middle_of_their_seeds_voxel(dataset: Dataset) -> None:
    loaded = samples(dataset)
    views_ = [loaded[0], loaded[1]]
    batch = collate(join(views_), 0.005, CPU)
    assert len(batch.voxels.voxel_of_point) == 3000
    centres = batch.voxels.centres()[batch.seeds].numpy()
    seeds = np.concatenate([view.points[view.seeds] for view in views_])
    assert np.abs(centres - seeds).max() <= 0.0025 + 1e-6
    palms = centres + TRANSLATION_UNIT * batch.grasps.translation.numpy()
    np.testing.assert_allclose(palms, np.concatenate([view.position for view in views_]), atol=1e-6)


def test_the_losses_are_the_papers(dataset: Dataset) -> None:
    torch.manual_seed(0)
    network = GraspNetwork(16, NetworkConfig(backbone="small"))
    loaded = samples(dataset)
    terms = losses(network, collate(join([loaded[0], loaded[1]]), 0.005, CPU), [torch.Generator() for _ in range(2)])
    assert set(terms) == {"object", "graspness", "diffusion", "joints", "total"}
    expected = terms["object"] + terms["graspness"] + 10.0 * terms["diffusion"] + terms["joints"]
    torch.testing.assert_close(terms["total"], expected)


class Killed(Exception):
    """In place of the signal."""


def test_a_run_that_was_stopped_gives_the_same_weights_and_losses(dataset: Dataset, tmp_path: Path) -> None:
    whole = fit(dataset, tmp_path / "whole").run(lambda iteration, entry: None)

    def stop(iteration: int, entry: dict) -> None:
        if iteration == 2:
            raise Killed

    with pytest.raises(Killed):
        fit(dataset, tmp_path / "parts").run(stop)
    # A kill between two states loses what came after the first of them: the log goes back, too.
    with (tmp_path / "parts" / LOG).open("a") as log:
        log.write(json.dumps({"iteration": 3, "losses": {}}) + "\n")
    parts = fit(dataset, tmp_path / "parts")
    assert parts.iteration == 2
    resumed = parts.run(lambda iteration, entry: None)
    for name, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[name]), name
    logs = [(tmp_path / name / LOG).read_text().splitlines() for name in ("whole", "parts")]
    learnt = [[json.loads(line).get("losses") for line in log] for log in logs]
    assert learnt[0] == learnt[1]


def test_processes_that_load_do_not_change_what_is_loaded(dataset: Dataset, tmp_path: Path) -> None:
    losses_ = []
    for workers in (0, 2):
        fit(dataset, tmp_path / str(workers), iterations=2, workers=workers).run(
            lambda iteration, entry: losses_.append(entry["losses"])
        )
    assert losses_[:2] == losses_[2:]


def test_other_settings_do_not_go_on_with_a_run(dataset: Dataset, tmp_path: Path) -> None:
    fit(dataset, tmp_path, iterations=1).run(lambda iteration, entry: None)
    with pytest.raises(SettingsError, match="other settings"):
        fit(dataset, tmp_path, iterations=2)
    (tmp_path / STATE).write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match="cannot be read"):
        fit(dataset, tmp_path, iterations=1)


def test_a_run_leaves_a_checkpoint_and_a_log(dataset: Dataset, tmp_path: Path) -> None:
    fit(dataset, tmp_path, iterations=2).run(lambda iteration, entry: None)
    network = Checkpoint.load(tmp_path / "checkpoint").make(load_hand(HAND))
    assert isinstance(network, GraspNetwork)
    entries = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [entry["iteration"] for entry in entries] == [1, 2, 2]
    assert set(entries[-1]["validation"]) >= {"object", "diffusion", "total"}
    assert all(entry["rate"] <= 1e-3 for entry in entries[:2])


def test_the_command_trains_and_says_what_it_cannot(dataset: Dataset, tmp_path: Path, capsys) -> None:
    changes = [f"samples.{name}={getattr(SMALL, name)}" for name in ("points", "grasps", "draws")]
    changes += ["fit.iterations=1", "fit.batch=2", "fit.workers=0", "fit.validated=1", "fit.lifted=0"]
    command = ["fit", str(dataset.root), str(tmp_path / "run"), *(f"--set={change}" for change in changes)]
    assert main(command) == 0
    assert Checkpoint.load(tmp_path / "run" / "checkpoint").about["iterations"] == 1
    assert main([*command, "--set=network.magic=1"]) == 1
    assert "unknown key magic" in capsys.readouterr().err
