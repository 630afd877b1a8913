"""Whole runs: number types, noise, heads, starts, processes; and what they leave behind."""

from __future__ import annotations

import dataclasses
import json
import socket
from pathlib import Path

import pytest
import torch
from dexgrasp_planner.checkpoints import Checkpoint, CheckpointError
from dexgrasp_planner.heuristic import HeuristicGenerator
from dexgrasp_planner.network.diffusion_head import DiffusionConfig
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from dexgrasp_training.cli import main
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.fit import command, view_lesson
from dexgrasp_training.fit import log as log_module
from dexgrasp_training.fit.command import FIT_PRESETS, FitSettings, load_fit_settings
from dexgrasp_training.fit.fitting import STATE
from dexgrasp_training.fit.log import LOG
from dexgrasp_training.fit.losses import collate, join, losses
from dexgrasp_training.fit.processes import Processes
from dexgrasp_training.fit.samples import ViewSamples
from dexgrasp_training.fit.seed_features import kept
from dexgrasp_training.fit.view_lesson import ViewFitConfig
from rich.console import Console
from torch.multiprocessing import start_processes

from dexgrasp_description import load_hand

from .labelled_boxes import CPU, SMALL, fit, fit_with_still_norms, make, samples
from .test_scene_stages import HAND

SMALL_NETWORK = NetworkConfig(backbone="small")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def run(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended."""
    folder = tmp_path_factory.mktemp("run")
    fit(dataset, folder, iterations=2, validate_every=2).run(ignore)
    return folder


def ignore(iteration: int, entry: dict) -> None:
    """No progress is shown."""


def learnt(folder: Path) -> list[dict[str, float]]:
    """Losses of every iteration of a run."""
    entries = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [entry["losses"] for entry in entries if "losses" in entry]


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in range(count)]


def test_sixteen_bits_learn_what_thirty_two_do(dataset: Dataset, tmp_path: Path) -> None:
    """A whole run: these scenes have a few hundred voxels, so that rounding matters more than in others."""
    for precision in ("fp32", "bf16"):
        fit(dataset, tmp_path / precision, precision=precision, iterations=6).run(ignore)
    exact, rounded = (learnt(tmp_path / precision) for precision in ("fp32", "bf16"))
    assert rounded[0] == pytest.approx(exact[0], rel=0.01)
    assert [one["total"] for one in rounded] == pytest.approx([one["total"] for one in exact], rel=0.06)
    weights = Checkpoint.load(tmp_path / "bf16" / "checkpoint").weights
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}
    assert all(bool(value.isfinite().all()) for value in weights.values())


def test_sixteen_bits_have_the_gradients_of_thirty_two(dataset: Dataset) -> None:
    loaded = samples(dataset)
    batch = collate(join([loaded[0], loaded[1]]), 0.005, CPU)
    gradients = []
    for enabled in (False, True):
        torch.manual_seed(0)
        network = GraspNetwork(16, SMALL_NETWORK)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses(network, batch, generators(2))["total"].backward()
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    for name, exact in gradients[0].items():
        rounded = gradients[1][name]
        assert exact is not None
        assert rounded is not None
        assert rounded.dtype == torch.float32
        # Where few voxels are left (stride 16 has 4 here), batch norms make much of small differences.
        if exact.numel() > 100 and "block4" not in name and "p8" not in name and "p16" not in name:
            assert torch.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.9, name


def test_noise_changes_what_is_seen_and_a_run_goes_on_with_it(dataset: Dataset, tmp_path: Path) -> None:
    for name, noise in (("clean", 0.0), ("noisy", 1.0)):
        fit(dataset, tmp_path / name, train=samples(dataset, noise=noise), iterations=3).run(ignore)
    clean, noisy = learnt(tmp_path / "clean"), learnt(tmp_path / "noisy")
    assert clean[0] != noisy[0]
    assert all(torch.isfinite(torch.tensor(list(one.values()))).all() for one in noisy)
    half = fit(dataset, tmp_path / "half", train=samples(dataset, noise=1.0), iterations=3)

    def stop(iteration: int, entry: dict) -> None:
        if iteration == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half.run(stop)
    fit(dataset, tmp_path / "half", train=samples(dataset, noise=1.0), iterations=3).run(ignore)
    assert learnt(tmp_path / "half") == noisy


def test_a_run_with_other_noise_is_another_run(dataset: Dataset, run: Path) -> None:
    with pytest.raises(SettingsError, match="other settings"):
        fit(dataset, run, train=samples(dataset, noise=1.0), iterations=2, validate_every=2)


def test_a_head_sees_the_largest_features_of_its_scene(dataset: Dataset) -> None:
    torch.manual_seed(0)
    network = GraspNetwork(16, dataclasses.replace(SMALL_NETWORK, conditioning="global")).double().eval()
    loaded = samples(dataset)
    batch = collate(join([loaded[0], loaded[1]]), 0.005, CPU)
    features, _ = network(batch.voxels)
    condition, _ = network.conditioned(batch.voxels, batch.seeds)
    scene = batch.voxels.coordinates[:, 0]
    for number, seen in enumerate(condition.chunk(2)):
        largest = features[scene == number].max(dim=0).values
        torch.testing.assert_close(seen, largest.expand_as(seen))
    torch.testing.assert_close(condition, network.condition(features, batch.voxels, batch.seeds))


def test_a_scenes_largest_features_have_gradients_and_train(dataset: Dataset, tmp_path: Path) -> None:
    fit(dataset, tmp_path, dataclasses.replace(SMALL_NETWORK, conditioning="global"), iterations=2).run(ignore)
    assert all(value < 1e3 for one in learnt(tmp_path) for value in one.values())


def test_features_of_seeds_alone_and_one_matrix_for_scores_change_nothing(dataset: Dataset) -> None:
    torch.manual_seed(0)
    network = GraspNetwork(16, SMALL_NETWORK).double()
    batch = collate(join([samples(dataset)[0], samples(dataset)[1]]), 0.005, CPU)
    features, expected = network(batch.voxels)
    condition, scores = network.conditioned(batch.voxels, batch.seeds)
    torch.testing.assert_close(condition, features[batch.seeds])
    torch.testing.assert_close(scores.object, expected.object)
    torch.testing.assert_close(scores.graspness, expected.graspness)
    weights = [parameter for name, parameter in network.named_parameters() if not name.startswith("head")]
    plain = torch.autograd.grad(
        features[batch.seeds].square().sum() + expected.object.sum(), weights, retain_graph=True
    )
    fused = torch.autograd.grad(condition.square().sum() + scores.object.sum(), weights)
    for one, other in zip(plain, fused, strict=True):
        torch.testing.assert_close(one, other)


def test_repeats_show_each_grasp_with_more_noise(dataset: Dataset) -> None:
    """The mean over many draws: it scatters less from seed to seed, about the same mean."""
    torch.manual_seed(0)
    network = GraspNetwork(16, SMALL_NETWORK).eval()
    batch = collate(join([samples(dataset)[0]]), 0.005, CPU)

    def drawn(repeats: int) -> torch.Tensor:
        with torch.no_grad():
            terms = [losses(network, batch, generators(9)[n : n + 1], repeats)["diffusion"] for n in range(8)]
        return torch.stack(terms)

    once, often = drawn(1), drawn(16)
    assert often.std() < once.std() / 2.0
    assert abs(float(often.mean() - once.mean())) < 3.0 * float(once.std()) / 8.0**0.5


def test_a_run_begins_with_the_weights_of_a_checkpoint(dataset: Dataset, run: Path, tmp_path: Path) -> None:
    start = Checkpoint.load(run / "checkpoint")
    begun = fit(dataset, tmp_path / "on", start=start, iterations=1)
    for name, value in begun.network.state_dict().items():
        assert torch.equal(value, start.weights[name]), name
    assert begun.run(ignore).about["start"] == {"iterations": 2, "start": None}
    again = fit(dataset, tmp_path / "on", iterations=1)  # a run that goes on does not begin again
    assert again.checkpoint().about["start"]["iterations"] == 2
    typed = NetworkConfig(backbone="small", diffusion=DiffusionConfig(model="typed", kinds=2))
    changed = fit(dataset, tmp_path / "typed", typed, start=start).network  # only the head begins anew
    for name, value in changed.state_dict().items():
        assert name.startswith("head.") or torch.equal(value, start.weights[name]), name
    with pytest.raises(SettingsError, match="another network"):
        fit(dataset, tmp_path / "other", NetworkConfig(voxel_size=0.004), start=start)
    with pytest.raises(CheckpointError, match="not for"):
        fit(dataset, tmp_path / "hand", start=dataclasses.replace(start, hand="panda_gripper"))


def test_another_head_learns_on_a_frozen_backbone(dataset: Dataset, run: Path, tmp_path: Path) -> None:
    start = Checkpoint.load(run / "checkpoint")
    joint = NetworkConfig(backbone="small", diffusion=DiffusionConfig(model="joint"))
    begun = fit(dataset, tmp_path, joint, start=start, frozen=True, iterations=2)
    before = {name: value.clone() for name, value in begun.network.state_dict().items()}
    begun.run(ignore)
    after = Checkpoint.load(tmp_path / "checkpoint").weights
    for name, value in after.items():
        if name.startswith("head."):
            assert not torch.equal(value, before[name]), name
        else:
            assert torch.equal(value, start.weights[name]), name
    again = fit(dataset, tmp_path, joint, frozen=True, iterations=2)  # a run that goes on need not be told again
    assert again.iteration == 2
    with pytest.raises(SettingsError, match="--from"):
        fit(dataset, tmp_path / "new", joint, frozen=True)
    with pytest.raises(SettingsError, match="another network"):
        fit(dataset, tmp_path / "other", NetworkConfig(voxel_size=0.004), start=start, frozen=True)


def test_a_run_ends_by_the_clock_with_the_rate_at_its_end(dataset: Dataset, tmp_path: Path) -> None:
    ended = fit(dataset, tmp_path, iterations=100_000, minutes=0.02, validate_every=100_000, rate=0.01, last_rate=0.001)
    ended.run(ignore)
    entries = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    rates = [entry["rate"] for entry in entries if "rate" in entry]
    assert 1 <= len(rates) == ended.iteration < 100_000
    assert rates == sorted(rates, reverse=True)
    assert entries[-1]["iteration"] == ended.iteration
    assert "validation" in entries[-1]
    again = fit(dataset, tmp_path, iterations=100_000, minutes=0.02, validate_every=100_000, rate=0.01, last_rate=0.001)
    again.run(ignore)
    assert again.iteration == ended.iteration  # the time is up


def test_a_head_learns_from_what_a_frozen_backbone_has_seen_once(
    dataset: Dataset, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = run / "checkpoint"
    joint = dataclasses.replace(SMALL_NETWORK, diffusion=DiffusionConfig(model="joint"))
    config = ViewFitConfig(iterations=3, batch=2, workers=0, validate_every=3, validated=1, frozen=True, seen=4)
    settings = FitSettings(network=joint, samples=SMALL, fit=config)
    command.fit(dataset, tmp_path, settings, "cpu", start, Console(quiet=True))
    weights, before = Checkpoint.load(tmp_path / "checkpoint").weights, Checkpoint.load(start).weights
    assert all(torch.equal(weights[name], before[name]) for name in weights if not name.startswith("head."))
    assert all(set(one) == {"diffusion", "total"} for one in learnt(tmp_path))
    seen = kept(tmp_path / "seen_train.pt", lambda: pytest.fail("they are there"))
    views_ = ViewSamples(dataset, HAND, "train", config.seed, SMALL)
    batch = collate(join([views_[number] for number in range(config.seen)]), 0.005, CPU)
    network = Checkpoint.load(start).make(load_hand(HAND)).eval()
    with torch.no_grad():
        expected, _ = network.conditioned(batch.voxels, batch.seeds)
    assert torch.cosine_similarity(seen.feature.float(), expected, dim=1).min() > 0.99
    torch.testing.assert_close(seen.translation, batch.grasps.translation)
    monkeypatch.setattr(command, "see", lambda *arguments: pytest.fail("it has seen them"))
    (tmp_path / "checkpoint" / "config.json").unlink()
    command.fit(dataset, tmp_path, settings, "cpu", None, Console(quiet=True))  # goes on where it ended
    assert Checkpoint.load(tmp_path / "checkpoint").about["iterations"] == 3


def test_a_validation_lifts_in_held_out_scenes(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network of two steps lifts nothing; grasps that lift are those of the heuristic."""
    shares = []
    for name, generator in (("learned", None), ("heuristic", HeuristicGenerator)):
        if generator:
            monkeypatch.setattr(view_lesson, "LearnedGenerator", lambda hand, network, made=generator: made(hand))
        fit(dataset, tmp_path / name, iterations=1, lifted=2).run(ignore)
        entries = [json.loads(line) for line in (tmp_path / name / LOG).read_text().splitlines()]
        shares.append([entry["validation"]["lift"] for entry in entries if "validation" in entry])
    assert shares[0][0] < shares[1][0]
    assert shares[1] in ([0.5], [1.0])


def test_a_run_is_exported_at_half_the_size_with_what_it_learnt_from(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "shipped"
    assert main(["export", "checkpoint", str(run), str(target)]) == 0
    shipped, whole = Checkpoint.load(target), Checkpoint.load(run / "checkpoint")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (target, run / "checkpoint")]
    assert sizes[0] < 0.51 * sizes[1]
    for name, value in whole.weights.items():
        torch.testing.assert_close(shipped.weights[name], value, rtol=1e-3, atol=1e-7)
        assert "running" not in name or torch.equal(shipped.weights[name], value)
    assert isinstance(shipped.make(load_hand(HAND)), GraspNetwork)
    with pytest.raises(CheckpointError, match="trained for leap_right"):
        shipped.make(load_hand("panda_gripper"))
    about = shipped.about
    assert about["data"]["train"] == {"scenes": 2, "views": 6, "objects": 2, "grasps": about["data"]["train"]["grasps"]}
    assert about["data"]["train"]["grasps"] > 0
    assert about["settings"]["samples"]["points"] == 1500
    assert about["hours"] >= 0.0
    assert set(about["losses"]) == set(about["validation"]) == {"object", "graspness", "diffusion", "joints", "total"}


def test_what_is_no_run_is_not_exported(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "checkpoint", str(tmp_path / "none"), str(tmp_path / "target")]) == 1
    assert "holds no training run" in capsys.readouterr().err
    (tmp_path / STATE).write_bytes((run / STATE).read_bytes()[:1000])
    assert main(["export", "checkpoint", str(tmp_path), str(tmp_path / "target")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "target").exists()


def test_curves_hold_what_the_log_holds(run: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run / log_module.CURVES)).Reload()
    told = [event.value for event in events.Scalars("losses/total")]
    assert told == pytest.approx([one["total"] for one in learnt(run)], rel=1e-6)
    assert {"validation/total", "rate", "waiting"} <= set(events.Tags()["scalars"])


def test_without_tensorboard_there_is_the_log_alone(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_curves", lambda folder, iteration: None)
    without = fit(dataset, tmp_path, iterations=1)
    without.run(ignore)
    assert without.log is not None
    assert not without.log.has_curves
    assert len(learnt(tmp_path)) == 1


def test_two_processes_learn_what_one_does(dataset: Dataset, tmp_path: Path) -> None:
    """Half of the batch each, without the norms' look at the batch: the same up to the order of sums."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fit_with_still_norms(0, 1, port, dataset.root, tmp_path / "one")
    start_processes(  # type: ignore[no-untyped-call]
        fit_with_still_norms, (2, port, dataset.root, tmp_path / "two"), nprocs=2, start_method="fork"
    )
    for one, two in zip(learnt(tmp_path / "one"), learnt(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    alone, shared = (Checkpoint.load(tmp_path / name / "checkpoint").weights for name in ("one", "two"))
    for name, value in alone.items():
        # Adam's first steps have the size of the rate, whatever the gradient: rounding, too, at times.
        assert float((value - shared[name]).abs().float().mean()) < 2e-5, name


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    assert [list(Processes(rank, 2).part(range(4, 8))) for rank in range(2)] == [[4, 5], [6, 7]]
    with pytest.raises(SettingsError, match="3 processes cannot share a batch of 4 views"):
        Processes(0, 3).part(range(4))


def test_presets_are_whole_and_name_what_they_do_not_know() -> None:
    assert {path.stem for path in FIT_PRESETS.glob("*.yaml")} == {"gpu", "paper", "small"}
    for name in ("paper", "small"):
        settings = load_fit_settings(name)
        assert isinstance(settings, FitSettings)
        assert settings.samples.noise == 1.0
        assert settings.network.backbone == name
    assert load_fit_settings("small", ["fit.batch=2"]).fit.batch == 2
    with pytest.raises(SettingsError, match=r"training preset \(gpu, paper, small\)"):
        load_fit_settings("tiny")
    with pytest.raises(SettingsError, match="unknown key magic"):
        load_fit_settings("small", ["fit.magic=2"])


def test_a_start_that_is_not_there_is_named(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", str(dataset.root), str(tmp_path / "run"), "--from", str(tmp_path / "nothing")]
    assert main(command) == 1
    assert "is not a checkpoint" in capsys.readouterr().err


def test_a_state_of_no_run_is_named(tmp_path: Path) -> None:
    from dexgrasp_training.fit.fitting import load_state

    with pytest.raises(DatasetError, match="Begin one with: dexgrasp-train fit"):
        load_state(tmp_path, CPU)
