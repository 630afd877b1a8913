"""Grasps of single objects: samples say what the dataset says, and training goes on where it was killed."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_generator import ObjectGeneratorConfig, ObjectGraspGenerator
from dexgrasp_planner.object_level.object_network import NETWORK_PRESETS, ObjectGraspNetwork
from dexgrasp_planner.object_level.text_token import Endpoint, TextEncoder
from dexgrasp_planner.physics.constraints import HandPhysics, physics_preset
from dexgrasp_planner.physics.terms import Surface
from dexgrasp_training.cli import main
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.fit.fitting import Fit
from dexgrasp_training.fit.log import LOG
from dexgrasp_training.fit.object_command import OBJECT_FIT_PRESETS, TextSettings, load_object_fit_settings
from dexgrasp_training.fit.object_lesson import (
    ObjectFitConfig,
    ObjectLesson,
    ObjectNetworkSettings,
    PhysicsSettings,
    SomePhysics,
    network_config,
)
from dexgrasp_training.fit.object_samples import ObjectSampleConfig, ObjectSamples, Texts, join
from dexgrasp_training.fit.processes import Processes
from rich.console import Console
from torch import distributed
from torch.multiprocessing import start_processes

from dexgrasp_description import load_hand

from .boxes import box_asset
from .test_scene_stages import HAND, from_all_sides

CPU = torch.device("cpu")
ENCODER = NETWORK_PRESETS["small"][0]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two boxes to learn from, and one that is held out."""
    dataset = Dataset.open(tmp_path_factory.mktemp("data") / "dataset", create=True)
    for number, split in enumerate(("train", "train", "test")):
        name = f"box_{number}"
        box_asset(name, (0.05 + 0.01 * number, 0.06, 0.07), split).save(dataset.object_path(name))
        from_all_sides(40, name, number).save(dataset.grasps_path(HAND, name))
    return dataset


def samples(dataset: Dataset, split: str = "train", texts: Texts | None = None, **changes: object) -> ObjectSamples:
    config = replace(ObjectSampleConfig(grasps=4, clouds=2), **changes)  # type: ignore[arg-type]
    return ObjectSamples(dataset, HAND, split, 5, ENCODER, config, texts)  # type: ignore[arg-type]


def lesson(
    dataset: Dataset, network: ObjectNetworkSettings, config: ObjectFitConfig, texts: Texts | None = None
) -> ObjectLesson:
    train, test = (samples(dataset, split, texts) for split in ("train", "test"))
    return ObjectLesson(load_hand(HAND), train, test, network, PhysicsSettings("tuned", samples=64, every=2), config)


def fit(
    dataset: Dataset,
    folder: Path,
    layout: str = "full_pose_33d",
    start: object = None,
    texts: Texts | None = None,
    **changes: object,
) -> Fit:
    wanted = {"iterations": 4, "batch": 2, "workers": 0, "validate_every": 2, "validated": 1, "save_every": 1}
    config = ObjectFitConfig(**wanted | changes)  # type: ignore[arg-type]
    network = ObjectNetworkSettings(layout=layout)
    return Fit(folder, lesson(dataset, network, config, texts), config, CPU, start)  # type: ignore[arg-type]


def said(description: str = "d") -> Texts:
    """Five numbers of each of the three boxes."""
    drawn = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    return Texts(
        {f"box_{number}": row for number, row in enumerate(drawn)}, {"encoder": "e", "descriptions": description}
    )


def ignore(iteration: int, entry: dict) -> None:
    """No progress is shown."""


def learnt(folder: Path) -> list[dict[str, float] | None]:
    """Losses of every iteration of a run."""
    return [json.loads(line).get("losses") for line in (folder / LOG).read_text().splitlines()]


def test_a_sample_is_an_object_with_its_grasps(dataset: Dataset) -> None:
    drawn = samples(dataset, turned=False)
    for number in range(4):
        sample = drawn[number]
        fits = []
        for name in drawn.names:
            grasps, points = dataset.grasps(HAND, name), dataset.asset(name).points
            gap = np.abs(sample.object_T_palm[:, None] - grasps.object_T_palm.astype(np.float32)).max((2, 3))
            row = gap.argmin(axis=1)
            same = gap.min() == 0.0 and np.array_equal(sample.joints, grasps.grasp[row].astype(np.float32))
            fits.append(same and np.isin(sample.cloud[:, 0], points[:, 0].astype(np.float32)).all())
        assert sum(fits) == 1
    # Objects take turns.
    volumes = [np.ptp(drawn[number].cloud[:, 0]) for number in range(8)]
    assert all(abs(one - other) > 0.005 for one, other in zip(volumes[::2], volumes[1::2], strict=True))


def test_a_turn_moves_object_and_grasps_together(dataset: Dataset) -> None:
    still, turned = samples(dataset, turned=False)[3], samples(dataset)[3]
    assert np.abs(still.cloud - turned.cloud).max() > 0.01
    for part in (slice(0, 3), slice(3, 6)):
        first, second = (
            (sample.cloud[:, part] - (part.start == 0) * sample.object_T_palm[0, :3, 3])
            @ sample.object_T_palm[0, :3, :3]
            for sample in (still, turned)
        )
        np.testing.assert_allclose(first, second, atol=1e-5)
    for one, other in zip(still.sampling, turned.sampling, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_number_is_a_sample(dataset: Dataset) -> None:
    first, again, other = samples(dataset)[3], samples(dataset)[3], samples(dataset)[4]
    assert np.array_equal(first.cloud, again.cloud)
    assert np.array_equal(first.object_T_palm, again.object_T_palm)
    assert not np.array_equal(first.object_T_palm, other.object_T_palm)
    assert [len(part) for part in join([first, other]).sampling[2]] == [2] * len(first.sampling[2])


def test_a_dataset_without_grasps_is_refused(dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match="no grasps of shadow_right on train objects"):
        ObjectSamples(dataset, "shadow_right", "train", 0, ENCODER)


def test_turned_palms_stay_within_the_bounds(dataset: Dataset) -> None:
    drawn = samples(dataset)
    bounds = network_config(load_hand(HAND), drawn, ObjectNetworkSettings()).bounds
    palms = np.concatenate([drawn[number].object_T_palm for number in range(50)])[:, :3, 3]
    assert (palms > bounds.translation_lower).all()
    assert (palms < bounds.translation_upper).all()
    farthest = np.linalg.norm(drawn.palms()[:, :3, 3], axis=1).max()
    assert max(bounds.translation_upper) < 1.2 * farthest


def test_some_physics_is_that_of_all_on_average(dataset: Dataset) -> None:
    hand, config = load_hand(HAND), replace(physics_preset("tuned"), samples=64)
    grasps = dataset.grasps(HAND, "box_0")[:12]
    palms, q = (torch.as_tensor(array, dtype=torch.float32) for array in (grasps.object_T_palm, grasps.grasp))
    asset = dataset.asset("box_0")
    arrays = (asset.points[:500], asset.normals[:500])
    surface = Surface(*(torch.as_tensor(rows.T.copy())[None].expand(12, -1, -1) for rows in arrays))
    whole = HandPhysics(hand, config)(palms, q, surface)
    some = SomePhysics(hand, config, 3, CPU)
    shifts = [torch.arange(12).roll(-shift) for shift in range(3)]
    for name in ("pulling", "penetration", "self_penetration", "object_penetration"):
        parts = [
            getattr(some(palms[rows], q[rows], Surface(*(part[rows] for part in surface))), name).mean()
            for rows in shifts
        ]
        torch.testing.assert_close(torch.stack(parts).mean(), getattr(whole, name).mean())


class Killed(Exception):
    """In place of the signal."""


@pytest.mark.parametrize("layout", ["full_pose_33d", "object_rotated_27d"])
def test_a_run_that_was_stopped_gives_the_same_weights_and_losses(
    dataset: Dataset, tmp_path: Path, layout: str
) -> None:
    whole = fit(dataset, tmp_path / "whole", layout).run(ignore)

    def stop(iteration: int, entry: dict) -> None:
        if iteration == 2:
            raise Killed

    with pytest.raises(Killed):
        fit(dataset, tmp_path / "parts", layout).run(stop)
    parts = fit(dataset, tmp_path / "parts", layout)
    assert parts.iteration == 2
    resumed = parts.run(ignore)
    for name, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[name]), name
    assert learnt(tmp_path / "whole") == learnt(tmp_path / "parts")


@pytest.mark.parametrize("layout", ["full_pose_33d", "object_rotated_27d"])
def test_a_run_with_text_learns_from_it_and_goes_on_with_the_same_alone(
    dataset: Dataset, tmp_path: Path, layout: str
) -> None:
    short = {"iterations": 2, "validate_every": 9, "texts": said()}
    begun = fit(dataset, tmp_path / "whole", layout, **short)  # type: ignore[arg-type]
    before = begun.network.text.weight.detach().clone()  # type: ignore[union-attr, operator]
    whole = begun.run(ignore)
    assert whole.network.text_width == 5
    assert not torch.equal(begun.network.text.weight, before)  # type: ignore[union-attr]
    assert whole.about["settings"]["text"] == {"encoder": "e", "descriptions": "d"}

    def stop(iteration: int, entry: dict) -> None:
        raise Killed

    with pytest.raises(Killed):
        fit(dataset, tmp_path / "parts", layout, **short).run(stop)  # type: ignore[arg-type]
    for other in (said("another"), None):
        with pytest.raises(SettingsError, match="other settings"):
            fit(dataset, tmp_path / "parts", layout, **short | {"texts": other})  # type: ignore[arg-type]
    parts = fit(dataset, tmp_path / "parts", layout, **short)  # type: ignore[arg-type]
    assert parts.iteration == 1
    resumed = parts.run(ignore)
    for name, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[name]), name
    without = fit(dataset, tmp_path / "without", layout, **short | {"texts": None})  # type: ignore[arg-type]
    assert "text" not in without.checkpoint().about["settings"], "runs from before there was text go on"
    assert learnt(tmp_path / "whole") == learnt(tmp_path / "parts")


def test_a_sample_has_the_text_of_its_object(dataset: Dataset) -> None:
    texts, bare = said(), samples(dataset, turned=False)
    told = samples(dataset, texts=texts, turned=False)
    lengths = {name: np.ptp(dataset.asset(name).points[:, 0]) for name in told.names}
    seen = set()
    for number in range(6):
        length = np.ptp(told[number].cloud[:, 0])
        name = min(lengths, key=lambda name: abs(lengths[name] - length))
        np.testing.assert_array_equal(told[number].text, texts.embeddings[name])
        assert bare[number].text.shape == (0,)
        seen.add(name)
    assert seen == {"box_0", "box_1"}


def asking(rank: int, port: int, settings: TextSettings, folder: Path) -> None:
    """One of two processes that embed what is said of two objects; the first comes late."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = Processes.join(CPU)
    time.sleep(0.0 if rank else 2.0)
    found = settings.embed(["box_0", "box_1"], processes, Console(quiet=True))
    assert found is not None
    np.savez(folder / f"{rank}.npz", **found.embeddings)
    distributed.destroy_process_group()


def test_of_two_processes_the_first_asks_and_both_learn_the_same(
    tmp_path: Path, text_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"

    def describe(endpoint: Endpoint, name: str) -> str:
        with asked.open("a") as stream:
            stream.write(f"{os.environ['RANK']} {name}\n")
        return f"a {'round' if name == 'box_0' else 'tall'} can\n"

    monkeypatch.setattr(Endpoint, "describe", describe)
    settings = TextSettings(str(text_encoder), str(tmp_path / "said.json"), Endpoint("http://nowhere", "m"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(asking, (port, settings, tmp_path), nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]
    assert asked.read_text().splitlines() == ["0 box_0", "0 box_1"]
    one, two = (np.load(tmp_path / f"{rank}.npz") for rank in range(2))
    for name in ("box_0", "box_1"):
        np.testing.assert_array_equal(one[name], two[name])
    assert not np.array_equal(one["box_0"], one["box_1"])


def test_a_run_learns_and_leaves_a_checkpoint_of_its_kind(dataset: Dataset, tmp_path: Path) -> None:
    fit(dataset, tmp_path / "run", iterations=40, validate_every=40, held=1, rate=3e-3).run(ignore)
    losses = [one["diffusion"] for one in learnt(tmp_path / "run") if one]
    assert np.mean(losses[-10:]) < 0.9 * losses[0]
    network = ObjectCheckpoint.load(tmp_path / "run" / "checkpoint").make(load_hand(HAND))
    assert isinstance(network, ObjectGraspNetwork)
    last = json.loads((tmp_path / "run" / LOG).read_text().splitlines()[-1])
    assert 0.0 <= last["validation"]["hold"] <= 1.0
    target = tmp_path / "shipped"
    assert main(["export", "checkpoint", str(tmp_path / "run"), str(target)]) == 0
    assert ObjectCheckpoint.load(target).about["data"]["train"] == {"objects": 2, "grasps": 80}


def test_a_run_begins_with_a_checkpoint_and_its_bounds(dataset: Dataset, tmp_path: Path) -> None:
    start = fit(dataset, tmp_path / "first", iterations=1).run(ignore)
    begun = fit(dataset, tmp_path / "second", start=start, iterations=1)
    for name, value in begun.network.state_dict().items():
        assert torch.equal(value, start.weights[name]), name
    with pytest.raises(SettingsError, match="another network"):
        fit(dataset, tmp_path / "third", "object_rotated_27d", start=start)


def test_the_command_trains_and_says_what_it_cannot(dataset: Dataset, tmp_path: Path, capsys) -> None:
    changes = [f"hand={HAND}", "samples.grasps=2", "physics.samples=64"]
    changes += ["fit.iterations=1", "fit.batch=2", "fit.validated=1", "fit.held=0"]
    command = ["fit-objects", str(dataset.root), str(tmp_path / "run"), *(f"--set={change}" for change in changes)]
    assert main([*command, "--physics", "paper"]) == 0
    about = ObjectCheckpoint.load(tmp_path / "run" / "checkpoint").about
    assert about["settings"]["physics"]["preset"] == "paper"
    for wrong, message in (("network.magic=1", "unknown key magic"), ("network.preset=huge", "small")):
        assert main([*command, f"--set={wrong}"]) == 1
        assert message in capsys.readouterr().err


def test_what_is_said_of_objects_is_learnt_with_them(
    dataset: Dataset, tmp_path: Path, text_encoder: Path, capsys
) -> None:
    said = tmp_path / "said.json"
    said.write_text(json.dumps({f"box_{number}": f"a can\nround and {number}" for number in range(2)}))
    changes = [f"hand={HAND}", "samples.grasps=2", "fit.batch=2", "fit.validated=1", "fit.held=1", "fit.iterations=2"]
    changes += [f"text.encoder={text_encoder}", f"text.descriptions={said}", "fit.validate_every=2"]
    command = ["fit-objects", str(dataset.root), str(tmp_path / "run"), "--physics", "none"]
    command += [f"--set={change}" for change in changes]
    assert main(command) == 1
    assert "says nothing of 'box_2'" in capsys.readouterr().err
    said.write_text(json.dumps(json.loads(said.read_text()) | {"box_2": "metal"}))
    assert main(command) == 0
    checkpoint = ObjectCheckpoint.load(tmp_path / "run" / "checkpoint")
    assert checkpoint.network.text_width == 16
    hand, asset = load_hand(HAND), dataset.asset("box_0")
    config = ObjectGeneratorConfig(sampler="fast", guidance=0.0, polish=0, ranking="random")
    generator = ObjectGraspGenerator(hand, checkpoint.make(hand), config)
    texts = [None, TextEncoder(text_encoder).embed("a can"), TextEncoder(text_encoder).embed("metal")]
    first, second, third = (generator.sample(asset.points, asset.normals, 3, 0, text).grasp for text in texts)
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


def test_presets_are_whole() -> None:
    assert {path.stem for path in OBJECT_FIT_PRESETS.glob("*.yaml")} == {"paper", "small"}
    for name in ("paper", "small"):
        assert load_object_fit_settings(name).network.preset == name
