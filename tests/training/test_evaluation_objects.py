"""Contestants are tested on the same objects and seeds, rows are kept, and figures say what the rows say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dexgrasp_planner.checkpoints import CheckpointError
from dexgrasp_planner.object_level.guided_sampling import UnknownSamplerError
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_generator import ObjectGraspGenerator
from dexgrasp_planner.object_level.object_network import ObjectGraspNetwork, object_network_config
from dexgrasp_planner.object_level.text_token import TextEncoder, TextError
from dexgrasp_sim.mujoco_tester import MujocoTester
from dexgrasp_training.cli import main
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.evaluation_objects.command import ObjectEvaluation, evaluate_objects
from dexgrasp_training.evaluation_objects.contestants import object_contestants, propose
from dexgrasp_training.evaluation_objects.measures import joint_deviation, penetration, position_deviation
from dexgrasp_training.evaluation_objects.summary import summarise, table
from dexgrasp_training.evaluation_objects.trial import ObjectEvaluationConfig
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.work import Workers
from rich.console import Console
from scipy.spatial.transform import Rotation

from dexgrasp_description import load_hand

from .boxes import box_asset

HAND = load_hand("panda_gripper")
CENTRE = 0.0584 + 0.0445  # of the pads, before the palm [m]
QUIET = Console(quiet=True)


def pinching(name: str, offsets: list[float], opening: float = 0.02) -> ObjectGrasps:
    """Grasps of a 4 cm cube by the middle of its sides, the cube that far off along the approach each time [m]."""
    count = len(offsets)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 2, 3] = [-CENTRE - offset for offset in offsets]
    joints = np.full((count, 2), opening)
    empty = ObjectGrasps.empty(HAND, name, ("closing",))
    return replace(
        empty,
        object_T_palm=poses,
        pregrasp=joints + 0.01,
        grasp=joints,
        squeeze=joints - 0.01,
        contacts=np.full((count, 6, 3), np.nan),
        method=np.zeros(count, np.uint8),
        quality=np.zeros(count),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two held-out cubes, of which one has grasps, three good ones and one aside; and a cube to train on."""
    made = Dataset.open(tmp_path_factory.mktemp("data") / "cubes", create=True)
    for name, split in (("red", "test"), ("blue", "test"), ("other", "train")):
        box_asset(name, (0.04, 0.04, 0.04), split).save(made.object_path(name))  # type: ignore[arg-type]
    pinching("red", [0.0, 0.002, -0.002, 0.1]).save(made.grasps_path(HAND.name, "red"))
    return made


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network."""
    torch.manual_seed(0)
    config = object_network_config("small", HAND, pinching("red", [0.0, 0.05]).object_T_palm)
    folder = tmp_path_factory.mktemp("run") / "checkpoint"
    network = ObjectGraspNetwork(config)
    ObjectCheckpoint(HAND.name, tuple(HAND.joint_names), config, network.state_dict(), {"seen": "nothing"}).save(folder)
    return folder


def wanted(folder: Path, *names: str, **changes: Any) -> ObjectEvaluation:
    competing = object_contestants(names, HAND.name)
    config = ObjectEvaluationConfig(hand=HAND.name, grasps=4, **changes)
    return ObjectEvaluation(competing, folder / "report.json", config=config, workers=Workers(jobs=1))


@pytest.fixture(scope="module")
def finished(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> ObjectEvaluation:
    folder = tmp_path_factory.mktemp("evaluation")
    asked = replace(wanted(folder, "data", "data:squeeze=1"), page=folder / "page.html", pictures=1)
    evaluate_objects(dataset, asked, QUIET)
    return asked


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.mark.parametrize("depth", [0.003, 0.015, -0.002])
def test_a_pad_in_a_block_is_as_deep_as_it_was_put(depth: float) -> None:
    block = box_asset("block", (0.08, 0.04, 0.05))
    pose, joints = pinching("block", [0.0]).object_T_palm, np.full((1, 2), 0.02)
    joints[0, 0] -= depth
    assert penetration(HAND, block.field, pose, joints)[0] == pytest.approx(max(depth, 0.0), abs=1e-4)


def test_a_plate_that_is_pierced_is_in_the_hand_by_half_its_thickness() -> None:
    plate = box_asset("plate", (0.08, 0.08, 0.004), spacing=0.001)
    pose = pinching("plate", [0.0]).object_T_palm
    turned = Rotation.from_euler("y", 0.4).as_matrix()  # about the axis along which the pads close
    for rotation in (np.eye(3), turned):
        aside = pose.copy()
        aside[:, :3, :3] = pose[:, :3, :3] @ rotation
        aside[:, :3, 3] = -CENTRE * aside[:, :3, 2]
        assert penetration(HAND, plate.field, aside, np.full((1, 2), 0.02))[0] == pytest.approx(0.002, abs=3e-4)


def test_penetration_turns_with_the_object() -> None:
    """A cube looks the same when it is turned by a right angle."""
    cube = box_asset("cube", (0.04,) * 3, spacing=0.001)
    grasps = pinching("cube", [0.0, 0.004, 0.05], 0.017)
    turned = grasps.object_T_palm.copy()
    quarter = np.eye(4)
    quarter[:3, :3] = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    turned = quarter @ turned
    first, second = (penetration(HAND, cube.field, poses, grasps.grasp) for poses in (grasps.object_T_palm, turned))
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert first[0] == pytest.approx(0.003, abs=2e-4)
    assert first[2] == 0.0
    assert penetration(HAND, cube.field, turned[:0], grasps.grasp[:0]).shape == (0,)


def test_diversity_is_the_deviation_over_grasps_of_one_object() -> None:
    joints = np.array([[0.0, 1.0], [0.2, 1.0]])
    assert joint_deviation(joints) == pytest.approx(0.05)  # 0.1 and 0
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, :3, 3] = 0.06, 0.0, 0.12
    assert position_deviation(poses) == pytest.approx(0.03)
    assert joint_deviation(joints[:1]) is None
    assert position_deviation(poses[:1]) is None


def test_the_datasets_own_grasps_hold_and_the_one_aside_does_not(finished: ObjectEvaluation) -> None:
    content = read(finished.report)
    figures = content["contestants"]
    assert list(figures) == ["data", "data:squeeze=1"]
    for figure in figures.values():
        assert (figure["objects"], figure["grasps"], figure["errors"]) == (1, 4, {})
        assert figure["dga"]["success"]["value"] == 0.75
        assert figure["dga"]["penetration"]["value"] < 1e-3
        assert figure["dexgraspbench"]["object_success"]["value"] in (0.0, 1.0)
        assert figure["dexgraspbench"]["contact_links"]["value"] == 1.5
    (row,) = [row for row in content["object_rows"][1]["rows"] if row["contestant"] == "data"]
    aside = int(np.argmin(np.array(row["object_T_palm"])[:, 2, 3]))
    assert [number for number, held in enumerate(row["dga"]["success"]) if not held] == [aside]
    page = finished.page.read_text()  # type: ignore[union-attr]
    assert page.count("data:image/png") >= 1
    assert "data:squeeze=1" in page
    assert table(figures, "title").row_count == 1 + 6 + 1 + 7 + 2


def test_the_same_grasps_are_simulated_once(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    plain = MujocoTester.dga
    monkeypatch.setattr(MujocoTester, "dga", lambda *arguments: calls.append(1) or plain(*arguments))
    asked = wanted(tmp_path, "data", "data:squeeze=1", protocols=("dga",))
    content = evaluate_objects(dataset, asked, QUIET)
    assert len(calls) == 2  # objects
    assert "dexgraspbench" not in content["contestants"]["data"]


def test_a_run_that_was_killed_gives_the_same_report(finished: ObjectEvaluation, dataset: Dataset) -> None:
    before = read(finished.report)
    folder = finished.report.with_name("report.rows")
    kept = folder / "blue.json"
    written = kept.stat().st_mtime_ns
    (folder / "red.json").unlink()
    finished.report.unlink()
    evaluate_objects(dataset, replace(finished, page=None), QUIET)
    after = read(finished.report)
    for content in (before, after):
        for figure in content["contestants"].values():
            del figure["dga"]["seconds"], figure["dexgraspbench"]["seconds"]
    assert after["contestants"] == before["contestants"]
    assert kept.stat().st_mtime_ns == written


def test_rows_of_other_settings_are_not_mixed(finished: ObjectEvaluation, dataset: Dataset) -> None:
    with pytest.raises(SettingsError, match="results of another config"):
        evaluate_objects(dataset, replace(finished, config=replace(finished.config, seed=1)), QUIET)
    with pytest.raises(SettingsError, match="results of another contestants"):
        evaluate_objects(dataset, replace(finished, competing=finished.competing[:1]), QUIET)


def test_a_checkpoint_competes_under_each_of_its_options(dataset: Dataset, checkpoint: Path, tmp_path: Path) -> None:
    options = "physics=tuned:through=estimate:scorer=off:of=6"
    names = (f"plain={checkpoint}:guidance=0", f"guided={checkpoint}:guidance=1:{options}:squeeze=0.5")
    asked = wanted(tmp_path, *names, protocols=("dga",))
    first, second = (one.generator for one in asked.competing)
    assert first is not None
    assert second is not None
    assert (first.guidance, first.physics, first.ranking) == (0.0, "tuned_sampling", "")
    assert (second.guidance, second.physics, second.through, second.ranking) == (1.0, "tuned", "estimate", "random")
    content = evaluate_objects(dataset, replace(asked, objects=1), QUIET)
    assert content["checkpoints"]["plain"]["seen"] == "nothing"
    for name in ("plain", "guided"):
        assert content["contestants"][name]["grasps"] == 4
        assert content["contestants"][name]["generate_ms"] > 0.0


def test_the_best_of_several_draws_are_tested(dataset: Dataset, checkpoint: Path) -> None:
    asset = dataset.asset("red")
    (many,) = object_contestants((f"all={checkpoint}:guidance=0:of=6",), HAND.name)
    whole = propose(many, dataset, asset, HAND, 6, 3)
    best = propose(many, dataset, asset, HAND, 2, 3)
    np.testing.assert_array_equal(whole.object_T_palm[:2], best.object_T_palm)
    again = propose(many, dataset, asset, HAND, 2, 4)
    assert not np.array_equal(again.object_T_palm, best.object_T_palm)


def test_a_squeeze_goes_on_as_far_as_is_said(dataset: Dataset) -> None:
    asset = dataset.asset("red")
    (own, half) = object_contestants(("data", "data:squeeze=0.5"), HAND.name)
    given, changed = (propose(one, dataset, asset, HAND, 4, 0) for one in (own, half))
    np.testing.assert_array_equal(given.grasp, changed.grasp)
    np.testing.assert_allclose(changed.squeeze - given.grasp, 0.5 * (given.grasp - given.pregrasp))
    np.testing.assert_allclose(given.squeeze - given.grasp, -0.01, atol=1e-4)


def test_a_contestant_is_told_of_objects(
    dataset: Dataset, checkpoint: Path, text_encoder: Path, tmp_path: Path
) -> None:
    encoder = TextEncoder(text_encoder)
    config = replace(ObjectCheckpoint.load(checkpoint).network, text_width=encoder.width)
    joints, weights = tuple(HAND.joint_names), ObjectGraspNetwork(config).state_dict()

    def trained_with(digest: str) -> Path:
        folder = tmp_path / digest
        ObjectCheckpoint(HAND.name, joints, config, weights, {"settings": {"text": {"encoder": digest}}}).save(folder)
        return folder

    folder, file = trained_with(encoder.digest), tmp_path / "said.json"
    file.write_text(json.dumps({"red": "a can"}))
    plain = f"{folder}:guidance=0:polish=0:scorer=off"
    asked = wanted(tmp_path, f"a={plain}", f"b={plain}:text={text_encoder}:descriptions={file}", protocols=("dga",))
    without, told = asked.competing
    first, second = (propose(one, dataset, dataset.asset("red"), HAND, 3, 0) for one in (without, told))
    drawn = ObjectGraspGenerator(HAND, ObjectCheckpoint.load(folder).make(HAND), told.generator).sample(
        dataset.asset("red").points, dataset.asset("red").normals, 3, 0, encoder.embed("a can")
    )
    best = np.argsort(-drawn.score, kind="stable")
    np.testing.assert_array_equal(second.grasp, drawn.grasp[best])
    assert not np.array_equal(first.grasp, second.grasp)
    with pytest.raises(TextError, match="says nothing of 'blue'"):
        evaluate_objects(dataset, asked, QUIET)
    assert not (tmp_path / "report.rows").exists()
    assert "text" not in without.settings(), "rows from before there was text are still good"
    file.write_text(json.dumps({"red": "a can", "blue": "metal"}))
    (later,) = object_contestants([f"b={plain}:text={text_encoder}:descriptions={file}"], HAND.name)
    assert later.settings() != told.settings()
    content = evaluate_objects(dataset, replace(asked, competing=(later,)), QUIET)
    assert content["contestants"]["b"]["grasps"] == 8
    for given, message in (
        (f"c={trained_with('another')}:text={text_encoder}:descriptions={file}", "another text encoder"),
        (f"c={checkpoint}:text={text_encoder}:descriptions={file}", "trained with text"),
        (f"c={folder}:text={text_encoder}", "go together"),
        (f"data:text={text_encoder}", "no contestant"),
    ):
        with pytest.raises(SettingsError, match=message):
            object_contestants([given], HAND.name)


def test_contestants_that_cannot_be_are_explained(checkpoint: Path, tmp_path: Path) -> None:
    def ask(*given: str) -> None:
        object_contestants(given, HAND.name)

    with pytest.raises(SettingsError, match="no contestant 'magic'.*data.*CHECKPOINT.*guidance"):
        ask("magic")
    with pytest.raises(SettingsError, match="no contestant 'data:sampler=fast'"):
        ask("data:sampler=fast")
    with pytest.raises(SettingsError, match="twice"):
        ask("data", "data")
    with pytest.raises(SettingsError, match="no option colour"):
        ask(f"a={checkpoint}:colour=red")
    with pytest.raises(SettingsError, match="no such value"):
        ask(f"a={checkpoint}:guidance=much")
    with pytest.raises(SettingsError, match="scorer is on or off"):
        ask(f"a={checkpoint}:scorer=maybe")
    with pytest.raises(UnknownSamplerError, match="slow"):
        ask(f"a={checkpoint}:sampler=slow")
    with pytest.raises(CheckpointError):
        ask(f"a={tmp_path / 'nowhere'}")
    with pytest.raises(CheckpointError, match="leap_right"):
        object_contestants((f"a={checkpoint}",), "leap_right")


def test_protocols_and_objects_that_are_not_there_are_named(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no protocol lift.*dga, dexgraspbench"):
        evaluate_objects(dataset, wanted(tmp_path, protocols=("lift",)), QUIET)
    with pytest.raises(DatasetError, match="no held-out objects"):
        evaluate_objects(Dataset.open(tmp_path / "none", create=True), wanted(tmp_path), QUIET)


def test_figures_are_means_over_grasps_and_diversity_over_objects() -> None:
    def row(name: str, success: list[bool], depth: list[float], joints: list[list[float]]) -> dict[str, Any]:
        poses = [np.eye(4).tolist()] * len(success)
        return {
            "object": name,
            "contestant": "a",
            "error": "",
            "generate_ms": 10.0 * len(success),
            "object_T_palm": poses,
            "joints": joints,
            "penetration": depth,
            "dga": {"success": success, "any_direction": [True] * len(success), "seconds": 1.0},
        }

    rows = [
        row("x", [True, True, False], [0.001, 0.003, 0.1], [[0.0], [0.4], [9.0]]),
        row("y", [False], [0.2], [[0.0]]),
        {"object": "z", "contestant": "a", "error": "no"},
    ]
    figure = summarise([{"rows": rows}])["a"]
    assert (figure["objects"], figure["grasps"], figure["errors"], figure["generate_ms"]) == (2, 4, {"z": "no"}, 10.0)
    found = {key: value["value"] for key, value in figure["dga"].items() if isinstance(value, dict)}
    assert found["success"] == 0.5
    assert found["any_direction"] == 1.0
    assert found["penetration"] == 0.002  # of those that hold
    assert found["penetration_of_all"] == 0.076
    assert found["joint_deviation"] == 0.2  # of the object with two that hold
    assert figure["dga"]["seconds"] == 0.5


def test_the_command_writes_report_and_page(dataset: Dataset, tmp_path: Path) -> None:
    report, page = tmp_path / "a.json", tmp_path / "a.html"
    options = ["--hand", HAND.name, "--grasps", "2", "--jobs", "1", "--pictures", "0", "--protocol", "dga"]
    assert main(["evaluate-objects", str(dataset.root), *options, "--report", str(report), "--page", str(page)]) == 0
    content = read(report)
    assert content["settings"]["protocols"] == ["dga"]
    assert content["contestants"]["data"]["grasps"] == 2
    assert "Suc.6" in page.read_text()


def test_the_command_says_what_is_wrong_in_one_line(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate-objects", str(dataset.root), "--hand", HAND.name, "--contestant", "magic"]) == 1
    assert "There is no contestant 'magic'" in capsys.readouterr().err
