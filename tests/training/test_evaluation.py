"""Contestants are tested on the same views and seeds, rows are kept, and figures say what the rows say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dexgrasp_planner.checkpoints import Checkpoint, CheckpointError
from dexgrasp_planner.heuristic import HeuristicGenerator
from dexgrasp_planner.learned import JUDGED, RANKINGS, LearnedConfig, LearnedGenerator, Sampled
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from dexgrasp_sim.mujoco_tester import MujocoTester
from dexgrasp_training.assets import Split
from dexgrasp_training.cli import main
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError, SettingsError
from dexgrasp_training.evaluation import samplers
from dexgrasp_training.evaluation.command import Evaluation, evaluate
from dexgrasp_training.evaluation.contestants import ask, contestants, unguided
from dexgrasp_training.evaluation.intervals import clustered_mean, wilson
from dexgrasp_training.evaluation.scenes import TestScene, chosen_scenes
from dexgrasp_training.evaluation.summary import OUTCOMES, summarise, tables
from dexgrasp_training.evaluation.trial import EvaluationConfig, lift_success
from dexgrasp_training.scene_record import SceneRecord
from dexgrasp_training.settings import Settings, ViewSettings, seed_of
from dexgrasp_training.stages import views
from dexgrasp_training.work import Workers
from rich.console import Console

from dexgrasp_description import load_hand

from .boxes import at, box_asset
from .test_scene_stages import do

pytestmark = pytest.mark.timeout(900)  # half a minute of one core, which a busy machine may not give at once
HAND = load_hand("leap_right")
QUIET = Console(quiet=True)
PLAIN = [ranking for ranking in RANKINGS if ranking not in JUDGED]
VIEWS = 2


def scene(dataset: Dataset, name: str, *boxes: tuple[str, float]) -> None:
    """Boxes of 4 x 6 x 9 cm that stand on the table at some x [m]."""
    kind, split, _ = name.split("_")
    poses = np.stack([at(x, 0.0, 0.045) for _, x in boxes])
    record = SceneRecord(name, kind, split, tuple(object_ for object_, _ in boxes), poses)  # type: ignore[arg-type]
    record.save(dataset.scene_path(name))


def made(root: Path, split: Split = "test") -> Dataset:
    """Two scenes of one split, one of them of two boxes, with views."""
    dataset = Dataset.open(root, create=True)
    for name, of in (("red", split), ("blue", split), ("other", "train")):
        box_asset(name, (0.04, 0.06, 0.09), of).save(dataset.object_path(name))  # type: ignore[arg-type]
    scene(dataset, f"loose_{split}_0000", ("red", 0.0))
    scene(dataset, f"dense_{split}_0000", ("red", -0.08), ("blue", 0.08))
    do(views.tasks(dataset, Settings(views=ViewSettings(count=3))))
    return dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return made(tmp_path_factory.mktemp("data") / "boxes")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network that takes every voxel for an object."""
    folder, config = tmp_path_factory.mktemp("run") / "mine" / "checkpoint", NetworkConfig(backbone="small")
    torch.manual_seed(3)
    network = GraspNetwork(16, config)
    network.graspable.bias.data = torch.tensor([-5.0, 5.0, 0.0])
    Checkpoint(HAND.name, tuple(HAND.joint_names), config, network.state_dict(), {"seen": "nothing"}).save(folder)
    return folder


def wanted(folder: Path, names: tuple[str, ...] = (), *checkpoints: Path, **changes: Any) -> Evaluation:
    competing = contestants(names, [str(path) for path in checkpoints], HAND.name, "fast")
    config = EvaluationConfig(views=VIEWS, **changes)
    return Evaluation(competing, folder / "report.json", scenes=10, config=config, workers=Workers(jobs=1))


@pytest.fixture(scope="module")
def finished(dataset: Dataset, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """Heuristic and all rankings, with a page."""
    folder = tmp_path_factory.mktemp("evaluation")
    asked = replace(wanted(folder, (), checkpoint), page=folder / "page.html", pictures=1)
    evaluate(dataset, asked, QUIET)
    return asked


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def without_times(content: Any) -> Any:
    """Without what two runs may differ in: times, and versions, as the commit may have changed in between."""
    if isinstance(content, dict):
        return {key: without_times(value) for key, value in content.items() if key not in ("generate_ms", "versions")}
    return [without_times(value) for value in content] if isinstance(content, list) else content


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilsons_interval_is_that_of_the_literature(successes: int, trials: int, low: float, high: float) -> None:
    """The last is an example of Newcombe (1998), Table I: 0.2553 to 0.3662."""
    interval = wilson(successes, trials)
    assert interval is not None
    assert interval.value == successes / trials
    np.testing.assert_allclose([interval.low, interval.high], [low, high], atol=5e-5)
    assert wilson(0, 0) is None


def test_differences_are_as_sure_as_scenes_are_many_not_views() -> None:
    assert clustered_mean([]) is None
    same = clustered_mean([[0.5, 0.5], [0.5]])
    assert same is not None
    assert tuple(same) == (0.5, 0.5, 0.5)
    few = clustered_mean([[1.0] * 50] * 10 + [[0.0] * 50] * 10)
    many = clustered_mean([[1.0]] * 500 + [[0.0]] * 500)
    assert few is not None
    assert many is not None
    assert few.value == many.value == 0.5
    # 1.96 sqrt(0.25 / n) on either side.
    np.testing.assert_allclose([few.low, few.high], [0.281, 0.719], atol=0.04)
    np.testing.assert_allclose([many.low, many.high], [0.469, 0.531], atol=0.005)


def test_kinds_take_turns_and_others_fill_up(dataset: Dataset, tmp_path: Path) -> None:
    assert chosen_scenes(dataset, 10) == ["dense_test_0000", "loose_test_0000"]
    assert chosen_scenes(dataset, 1) == ["dense_test_0000"]


def test_a_dataset_without_test_scenes_or_views_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no test scenes.*test_share"):
        chosen_scenes(made(tmp_path / "train", "train"), 5)
    bare = Dataset.open(tmp_path / "bare", create=True)
    scene(bare, "loose_test_0000", ("red", 0.0))
    with pytest.raises(DatasetError, match=r"None of the 1 test scenes .* dexgrasp-train views"):
        chosen_scenes(bare, 5)


def test_depth_is_that_in_the_true_objects(dataset: Dataset) -> None:
    test = TestScene(dataset, "dense_test_0000")  # boxes of 4 x 6 x 9 cm at x = -8 and 8 cm
    places = np.array(
        [[-0.08, 0.0, 0.045], [0.08, 0.0, 0.085], [0.095, 0.0, 0.045], [0.0, 0.0, 0.045], [0.0, 0.0, 9.0]]
    )
    np.testing.assert_allclose(test.depth(places), [0.02, 0.005, 0.005, 0.0, 0.0], atol=1e-3)


def test_contestants_are_told_by_name_and_checkpoint(checkpoint: Path) -> None:
    hand = HAND.name
    assert [one.name for one in contestants((), (), hand, "fast")] == ["heuristic"]
    assert [one.name for one in contestants((), (str(checkpoint),), hand, "fast")] == [
        "heuristic",
        *PLAIN,
        "both+closed",
        "both+sampler",
        "both+refine",
        "both+both",
    ]
    names = ("both", "both+closed", "both+refine", "random+sampler+sampled", "both+both+pressed")
    ways = [(one.ranking, one.guidance, one.finish) for one in contestants(names, (str(checkpoint),), hand, "fast")]
    assert ways == [
        ("both", "none", "sampled"),
        ("both", "none", "closed"),
        ("both", "refine", "closed"),
        ("random", "sampler", "sampled"),
        ("both", "both", "pressed"),
    ]
    competing = contestants(names, (str(checkpoint),), hand, "fast")
    before = [unguided(one, competing) for one in competing]
    assert [one and one.name for one in before] == [None, None, "both+closed", None, None]
    several = contestants(("both",), (f"a={checkpoint}", f"b={checkpoint}"), hand, "fast")
    assert [one.name for one in several] == ["a/both", "b/both"]
    compared = contestants(("both",), (str(checkpoint),), hand, "fast", compare_samplers=True)
    assert [(one.name, one.sampler) for one in compared] == [("both", "fast"), ("both (paper)", "paper")]
    with pytest.raises(SettingsError, match="no contestant 'magic'.*heuristic.*log_likelihood"):
        contestants(("magic",), (), hand, "fast")
    with pytest.raises(SettingsError, match="'both' ranks what a network samples"):
        contestants(("both",), (), hand, "fast")
    with pytest.raises(SettingsError, match="no contestant 'both\\+magic'"):
        contestants(("both+magic",), (str(checkpoint),), hand, "fast")
    with pytest.raises(SettingsError, match="no contestant 'both\\+pressed\\+refine'"):
        contestants(("both+pressed+refine",), (str(checkpoint),), hand, "fast")
    with pytest.raises(SettingsError, match="dexgrasp-train score"):
        contestants(("success+refine",), (str(checkpoint),), hand, "fast")
    with pytest.raises(SettingsError, match="no sampler 'slow'"):
        contestants((), (), hand, "slow")
    with pytest.raises(SettingsError, match="twice"):
        contestants(("heuristic", "heuristic"), (), hand, "fast")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        contestants((), (str(checkpoint / "nowhere"),), hand, "fast")


def test_rankings_share_the_samples_of_one_pass(
    dataset: Dataset, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    plain = LearnedGenerator.sample

    def counted(self: LearnedGenerator, *arguments: Any) -> Sampled:
        calls.append(arguments)
        return plain(self, *arguments)

    monkeypatch.setattr(LearnedGenerator, "sample", counted)
    cloud = TestScene(dataset, "dense_test_0000").cloud(0, 0.0, 0)
    competing = contestants((), (str(checkpoint),), HAND.name, "fast")
    answers, sampled = ask(competing, HAND.name, cloud, 3, 7)
    assert len(calls) == 1
    assert list(answers) == ["heuristic", *PLAIN, "both+closed", "both+sampler", "both+refine", "both+both"]
    (everything,) = sampled.values()
    known = {pose.tobytes() for pose in everything.grasps.world_T_palm}
    for ranking in PLAIN:
        for pose in answers[ranking].grasps.world_T_palm:
            assert pose.tobytes() in known
    chance = [one for one in competing if one.name == "random"]
    alone = ask(chance, HAND.name, cloud, 3, 7)[0]["random"]
    np.testing.assert_array_equal(alone.grasps.world_T_palm, answers["random"].grasps.world_T_palm)


def test_there_is_a_row_for_every_view_and_contestant(finished: Evaluation) -> None:
    content = read(finished.report)
    rows = [row for one in content["scene_rows"] for row in one["rows"]]
    keys = {(row["scene"], row["view"], row["contestant"]) for row in rows}
    assert len(rows) == len(keys) == 2 * VIEWS * 9
    assert (content["scenes"], content["views"]) == (2, 2 * VIEWS)
    for row in rows:
        tested = len(row["success"])
        assert tested == (0 if row["error_code"] else 1)
        assert len(row["outcome"]) == len(row["rise"]) == len(row["aimed"]) == tested
        assert (row["best"] is None) == (tested == 0)
    heuristic = content["contestants"]["heuristic"]
    assert heuristic["successes"] >= 2, "a box that stands free is easy"
    assert heuristic["families"] == {"seen family": {key: heuristic[key] for key in ("views", "successes", "success")}}
    assert content["contestants"]["random"]["against_heuristic"]["value"] <= 0.0
    assert content["checkpoints"]["mine"]["seen"] == "nothing"
    page = finished.page.read_text()  # type: ignore[union-attr]
    assert "data:image/jpeg" in page
    assert "log_likelihood" in page


def test_a_run_that_was_killed_gives_the_same_report(finished: Evaluation, dataset: Dataset) -> None:
    before = read(finished.report)
    folder = finished.report.with_name("report.rows")
    kept = folder / "loose_test_0000.json"
    written = kept.stat().st_mtime_ns
    (folder / "dense_test_0000.json").unlink()
    finished.report.unlink()
    evaluate(dataset, replace(finished, page=None), QUIET)
    assert without_times(read(finished.report)) == without_times(before)
    assert kept.stat().st_mtime_ns == written


def test_rows_of_other_settings_are_not_mixed(finished: Evaluation, dataset: Dataset) -> None:
    with pytest.raises(SettingsError, match="results of another config"):
        evaluate(dataset, replace(finished, config=replace(finished.config, seed=1)), QUIET)
    with pytest.raises(SettingsError, match="results of another contestants"):
        evaluate(dataset, replace(finished, competing=finished.competing[:1]), QUIET)


def test_the_same_grasp_is_simulated_once(
    dataset: Dataset, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = []
    plain = MujocoTester.lift

    def counted(self: MujocoTester, scene: Any, grasps: Any) -> Any:
        tested.append(len(grasps))
        return plain(self, scene, grasps)

    monkeypatch.setattr(MujocoTester, "lift", counted)
    same = f"a={checkpoint}", f"b={checkpoint}"
    competing = contestants(("both",), same, HAND.name, "fast")
    asked = replace(wanted(tmp_path), competing=competing, scenes=1)
    content = evaluate(dataset, asked, QUIET)
    rows = content["scene_rows"][0]["rows"]
    assert tested == [sum(len(row["success"]) for row in rows) // 2]
    a, b = (without_times([row for row in rows if row["contestant"] == name]) for name in ("a/both", "b/both"))
    assert [{**row, "contestant": ""} for row in a] == [{**row, "contestant": ""} for row in b]


def test_lift_success_is_the_share_of_the_evaluation(finished: Evaluation, dataset: Dataset) -> None:
    share = lift_success(HeuristicGenerator(HAND), dataset, HAND, scenes=10, views=VIEWS, seed=0)
    assert share == read(finished.report)["contestants"]["heuristic"]["success"]["value"]


def test_seeds_belong_to_the_object_that_they_lie_on_and_noise_is_seeded(dataset: Dataset) -> None:
    test = TestScene(dataset, "dense_test_0000")
    assert test.targets(np.array([[0.08, 0.0, 0.09], [-0.08, 0.03, 0.05]])).tolist() == [1, 0]
    assert test.families == ["box", "box"]
    plain, noisy, again = (test.cloud(1, noise, 5).points for noise in (0.0, 1.0, 1.0))
    np.testing.assert_array_equal(noisy, again)
    assert not np.array_equal(plain, noisy)
    off = np.linalg.norm(noisy - plain, axis=1)
    assert 0.0 < np.nanmedian(off) < 0.01


def test_samplers_are_compared_grasp_by_grasp(dataset: Dataset, checkpoint: Path) -> None:
    cloud = TestScene(dataset, "loose_test_0000").cloud(0, 0.0, 0)
    competing = contestants(("both",), (str(checkpoint),), HAND.name, "fast", compare_samplers=True)
    sampled = ask(competing, HAND.name, cloud, 1, seed_of("x"))[1]
    fast, paper = sampled.values()
    np.testing.assert_array_equal(fast.grasps.seed_point, paper.grasps.seed_point)
    (row,) = samplers.compare(sampled)
    assert row["samplers"] == ["fast", "paper"]
    assert 0.0 < row["millimetres"][0] < row["millimetres"][1]
    assert row["spearman"] > 0.9
    turned = fast.grasps.world_T_palm.copy()
    turned[:, :3, :3] = turned[:, :3, :3] @ [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    turned[:, 2, 3] += 0.004
    moved = Sampled(replace(fast.grasps, world_T_palm=turned), 1, None, np.zeros(0))  # type: ignore[arg-type]
    (row,) = samplers.compare({("c", "fast"): fast, ("c", "paper"): moved})
    np.testing.assert_allclose(row["millimetres"], 4.0, atol=1e-3)
    np.testing.assert_allclose(row["degrees"], 90.0, atol=1e-3)
    assert row["spearman"] == 1.0
    assert samplers.summarise([row, row])[0]["views"] == 2


def test_figures_count_what_became_of_the_best_grasps() -> None:
    def row(view: int, name: str, outcome: str, lifted: int = -1, aimed: int = 0) -> dict[str, Any]:
        none = outcome == "no_grasp"
        return {
            "scene": "s",
            "kind": "dense",
            "view": view,
            "contestant": name,
            "error_code": 108 if none else 0,
            "error_msg": "nothing" if none else "",
            "generate_ms": 10.0 * view,
            "success": [] if none else [outcome == "lifted", False],
            "outcome": [] if none else [outcome, "missed"],
            "aimed": [] if none else [aimed, 0],
            "lifted": [] if none else [lifted, -1],
            "depth": [] if none else [0.001 * view, 0.1],
        }

    objects = [{"seen": True}, {"seen": None}, {"seen": False}]
    rows = [row(1, "heuristic", "lifted", 0), row(2, "heuristic", "dropped"), row(3, "heuristic", "no_grasp")]
    rows += [row(1, "a", "lifted", 1, 0), row(2, "a", "lifted", 2, 2), row(3, "a", "collides", -1, 1)]
    figures = summarise([{"scene": "s", "objects": objects, "rows": rows, "samplers": []}])
    first, other = figures["heuristic"], figures["a"]
    expected = dict.fromkeys(OUTCOMES, 0) | {"lifted": 1, "dropped": 1, "no_grasp": 1}
    assert first["outcomes"] == expected
    assert first["errors"] == {"108": {"views": 1, "example": "nothing"}}
    assert (first["tested"], first["tested_success"], first["generate_ms"]) == (4, 0.25, 20.0)
    assert (other["successes"], other["lifted_another_object"]) == (2, 1)
    assert (first["depth_mm"], other["depth_mm"]) == ({"mean": 1.5, "most": 2.0}, {"mean": 2.0, "most": 3.0})
    assert other["against_heuristic"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert {name: part["views"] for name, part in other["families"].items()} == {
        "seen family": 1,
        "unseen family": 1,
        "mesh": 1,
    }
    assert [table.row_count for table in tables(figures, "title")] == [2, 2]


def test_the_command_says_what_is_wrong_in_one_line(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(dataset.root), "--contestant", "magic"]) == 1
    assert "There is no contestant 'magic'" in capsys.readouterr().err


def test_the_command_writes_report_and_page(dataset: Dataset, tmp_path: Path) -> None:
    report, page = tmp_path / "lifts.json", tmp_path / "lifts.html"
    options = ["--scenes", "1", "--views", "1", "--jobs", "1", "--top", "2", "--pictures", "0"]
    assert main(["evaluate", str(dataset.root), *options, "--report", str(report), "--page", str(page)]) == 0
    content = read(report)
    assert content["settings"]["views"] == 1
    assert len(content["scene_rows"][0]["rows"][0]["success"]) == 2
    assert "heuristic" in page.read_text()


def test_an_untrained_network_is_asked_as_any_other(dataset: Dataset, checkpoint: Path) -> None:
    network = Checkpoint.load(checkpoint).make(HAND)
    config = LearnedConfig(points=2000, seeds=16)
    share = lift_success(LearnedGenerator(HAND, network, config), dataset, HAND, scenes=1, views=1, seed=2)
    assert share in (0.0, 1.0)
