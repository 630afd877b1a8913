"""The report says of a dataset what one counts by hand, shows what it says it shows, and takes names as they are."""

from __future__ import annotations

import io
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dexgrasp_sim.tester import HoldOutcome
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.clutter.rendering import INTRINSICS, SceneRenderer
from dexgrasp_training.clutter.view_files import SceneViews
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.object_grasps import ObjectGrasps
from dexgrasp_training.report.diversity import (
    LATITUDES,
    LONGITUDES,
    MethodGrasps,
    direction_cells,
    effective_directions,
)
from dexgrasp_training.report.framing import framing, picture_camera
from dexgrasp_training.report.grasp_pictures import GRASPS, draw_sheet, farthest, spread_grasps
from dexgrasp_training.report.inventory import missing_stages
from dexgrasp_training.report.page import write_report
from dexgrasp_training.report.scene_facts import read_scenes
from dexgrasp_training.report.scene_pictures import ScenePicture
from dexgrasp_training.scene_record import SceneRecord, save_clear_grasps
from dexgrasp_training.stages.objects import procedural_asset
from dexgrasp_training.storage import write_arrays
from dexgrasp_training.synthesis.method import METHODS
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from scipy.spatial.transform import Rotation

from dexgrasp_description import HandModel, load_hand

HAND = "leap_right"
SCRIPT, CUP = "<script>", "cup & 100$ of \"x_$y'"
CLOSING, FIELD = METHODS.index("closing"), METHODS.index("contact_field")
HELD, PENETRATES, DROPPED = HoldOutcome.HELD, HoldOutcome.PENETRATES, HoldOutcome.DROPPED
VIEW = 7  # number of the only view
QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def assets() -> dict[str, ObjectAsset]:
    return {
        SCRIPT: procedural_asset("box", 3, SCRIPT, "train"),
        CUP: procedural_asset("can", 4, CUP, "test"),
    }


def random_grasps(asset: ObjectAsset, method: int, count: int, seed: int, hand: HandModel) -> ObjectGrasps:
    """Wrists about the object that face it, any joints, contacts on its surface."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    for pose in poses:
        towards = rng.normal(size=3)
        towards /= np.linalg.norm(towards)
        turned = Rotation.align_vectors([-towards], [hand.approach_axis])[0]
        pose[:3, :3] = turned.as_matrix() @ Rotation.from_rotvec(rng.uniform(0, 6) * hand.approach_axis).as_matrix()
        pose[:3, 3] = 0.12 * towards
    joints = rng.uniform(hand.lower, hand.upper, (count, len(hand.joint_names)))
    contacts = np.full((count, 6, 3), np.nan)
    contacts[:, :3] = asset.points[rng.integers(0, 2048, (count, 3))]
    kinds = np.full(count, method, np.uint8)
    return ObjectGrasps(
        hand.name, asset.name, METHODS, poses, joints, joints, joints, contacts, kinds, rng.random(count)
    )


def write_tested(dataset: Dataset, grasps: ObjectGrasps, number: int, attempts: int, outcomes: dict[int, int]) -> None:
    """A chunk as the filter leaves it."""
    outcome = np.repeat(list(outcomes), list(outcomes.values())).astype(np.uint8)
    assert outcomes.get(HELD, 0) == len(grasps)
    path = dataset.tested_path(grasps.hand, grasps.object, METHODS[grasps.method[0]], number)
    write_arrays(path, {**grasps.encoded(), "attempts": attempts, "outcome": outcome})


def resting(z: float, x: float = 0.0) -> NDArray[np.float64]:
    pose = np.eye(4)
    pose[:3, 3] = x, 0.0, z
    return pose


@pytest.fixture(scope="module")
def dataset(assets: dict[str, ObjectAsset], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two objects, grasps by two methods on one and by one on the other, two scenes; one with views and labels."""
    hand = load_hand(HAND)
    made = Dataset.open(tmp_path_factory.mktemp("report") / "tiny", create=True)
    for asset in assets.values():
        asset.save(made.object_path(asset.name))
    box, cup = assets.values()
    first, second = random_grasps(box, CLOSING, 3, 0, hand), random_grasps(box, CLOSING, 1, 1, hand)
    third, fourth = random_grasps(box, FIELD, 5, 2, hand), random_grasps(cup, FIELD, 2, 3, hand)
    write_tested(made, first, 0, 100, {HELD: 3, PENETRATES: 2, DROPPED: 5})
    write_tested(made, second, 1, 50, {HELD: 1, DROPPED: 4})
    write_tested(made, third, 0, 10, {HELD: 5, HoldOutcome.TURNED: 15})
    write_tested(made, fourth, 0, 20, {HELD: 2, HoldOutcome.UNSETTLED: 6})
    ObjectGrasps.concatenate([first, second, third]).save(made.grasps_path(HAND, box.name))
    fourth.save(made.grasps_path(HAND, cup.name))
    poses = np.stack([resting(0.5 * box.model.mesh.extents[2]), resting(0.2, x=0.15)])
    dense = SceneRecord("dense_train_0000", "dense", "train", (box.name, cup.name), poses)
    loose = SceneRecord("loose_test_0000", "loose", "test", (cup.name,), poses[1:])
    for scene in (dense, loose):
        scene.save(made.scene_path(scene.name))
    save_clear_grasps(
        made.clear_grasps_path(dense.name, HAND), [np.arange(6, dtype=np.uint32), np.arange(1, dtype=np.uint32)], [9, 2]
    )
    looking = np.eye(4)
    looking[:3, :3], looking[:3, 3] = np.diag([1.0, -1.0, -1.0]), (0.0, 0.0, 0.6)
    views = SceneViews(made.views_path(dense.name), np.array([VIEW]), looking[None], INTRINSICS)
    with SceneRenderer([box.model, cup.model], poses) as renderer:
        depth, ids = renderer.draw(looking)
    views.write(VIEW, depth, ids)
    views.save()
    write_arrays(made.labels_path(dense.name, HAND), {str(VIEW): np.linspace(-7, 2, int((ids > 0).sum()))})
    made.record(
        "objects",
        {"tasks": 2, "seconds": 300.0, "machine": "a machine", "failures": {"bad <b>.stl": "it has <holes>"}},
    )
    return made


@pytest.fixture(scope="module")
def report(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("page") / "report"
    return folder, write_report(dataset, HAND, folder, QUIET)


class Links(HTMLParser):
    """What a page links to, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.slow
def test_numbers_are_those_counted_by_hand(report: tuple[Path, dict[str, Any]], dataset: Dataset) -> None:
    content = json.loads((report[0] / "report.json").read_text())
    assert content == report[1]
    summary = content["summary"]
    expected = {
        "objects": 2, "train_objects": 1, "test_objects": 1, "attempts": 180, "candidates": 43, "untested_files": 0,
        "valid": 11, "scenes": 2, "train_scenes": 1, "test_scenes": 1, "views": 1, "labelled_scenes": 1,
        "scene_references": 7, "objects_without_grasps": [],
    }  # fmt: skip
    assert {key: summary[key] for key in expected} == expected
    methods, of = content["yield"]["methods"], content["yield"]["objects"]
    assert (methods["closing"]["attempts"], methods["closing"]["candidates"], methods["closing"]["valid"]) == (
        150,
        15,
        4,
    )
    assert methods["closing"]["outcomes"] == {
        "held": 4,
        "penetrates": 2,
        "unsettled": 0,
        "dropped": 9,
        "turned": 0,
    }
    assert methods["contact_field"]["valid_per_attempt"] == 7 / 30
    assert of[SCRIPT]["closing"]["valid_per_candidate"] == 4 / 15
    assert of[CUP] == {"contact_field": {**of[CUP]["contact_field"], "attempts": 20, "candidates": 8, "valid": 2}}
    assert content["diversity"]["closing"]["grasps"] == 4
    assert content["diversity"]["contact_field"]["contacts"] == [0, 0, 0, 7, 0, 0, 0]
    assert content["objects"][SCRIPT]["grasps"] == 9
    grasps = sum(path.stat().st_size for path in (dataset.root / "grasps" / HAND).iterdir())
    assert content["disk_bytes"]["grasps"] == grasps
    assert summary["bytes_per_valid_grasp"] == grasps / 11
    assert (
        summary["bytes_per_scene_reference"] == dataset.clear_grasps_path("dense_train_0000", HAND).stat().st_size / 7
    )


@pytest.mark.slow
def test_scenes_are_described(report: tuple[Path, dict[str, Any]], assets: dict[str, ObjectAsset]) -> None:
    scene = report[1]["scenes"]["dense_train_0000"]
    assert scene["height_m"] == pytest.approx(0.2 + assets[CUP].model.mesh.vertices[:, 2].max())
    assert (scene["objects"], scene["clear"], scene["grasps"], scene["views"]) == (2, [6, 1], [9, 2], 1)
    groups = report[1]["scene_groups"]
    assert list(groups) == ["dense train", "loose test"]
    assert groups["dense train"]["clear_share"] == 7 / 11
    assert groups["dense train"]["clear_per_object"] == 3.5
    assert groups["loose test"]["clear_share"] is None
    assert report[1]["missing"] == {
        "scenes": f"Scenes of which it is not known which grasps of {HAND} stay clear: loose_test_0000.",
        "views": "Scenes without views: loose_test_0000.",
        "labels": f"Scenes without graspness for {HAND}: loose_test_0000.",
    }


@pytest.mark.slow
def test_page_names_every_object_and_takes_names_as_text(report: tuple[Path, dict[str, Any]]) -> None:
    page = (report[0] / "index.html").read_text()
    parsed = Links(page)
    assert SCRIPT in parsed.text
    assert CUP in parsed.text
    assert "it has <holes>" in parsed.text
    assert not parsed.tags & {"script", "holes", "link", "iframe"}
    assert "&lt;script&gt;" in page


@pytest.mark.slow
def test_page_links_to_files_that_exist_and_to_nothing_else(report: tuple[Path, dict[str, Any]]) -> None:
    folder, content = report
    links = Links((folder / "index.html").read_text()).links
    files = [link for link in links if not link.startswith("#")]
    assert all((folder / link).is_file() for link in files)
    assert not any(":" in link or link.startswith("/") for link in files)
    pictures = {picture["file"] for section in content["pictures"].values() for picture in section}
    assert pictures | {"report.json"} == set(files)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.png")} == pictures
    assert {section: len(found) for section, found in content["pictures"].items()} == {
        "yield": 3, "outcomes": 1, "diversity": 3, "scene_charts": 1, "sheets": 2, "scenes": 2,
    }  # fmt: skip


def test_empty_dataset_says_what_is_missing(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "empty", create=True)
    content = write_report(dataset, HAND, tmp_path / "page", QUIET)
    assert list(content["missing"]) == ["objects", "grasps", "filter", "scenes", "views", "labels"]
    assert content["summary"]["bytes_per_valid_grasp"] is None
    page = Links((tmp_path / "page" / "index.html").read_text())
    for words in content["missing"].values():
        assert words in page.text
    assert "dexgrasp-train objects empty" in page.text
    assert [link for link in page.links if not link.startswith("#")] == ["report.json"]


def test_candidates_that_are_not_tested_are_said(assets: dict[str, ObjectAsset], tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "begun", create=True)
    write_arrays(dataset.candidates_path(HAND, SCRIPT, "closing", 0), {"anything": np.zeros(1)})
    content = write_report(dataset, HAND, tmp_path / "page", QUIET)
    assert content["missing"]["filter"] == "Files of candidates that are not tested: 1."
    assert "grasps" not in content["missing"]
    assert content["summary"]["untested_files"] == 1


def test_grasps_that_came_after_the_scenes_are_said(dataset: Dataset) -> None:
    with Progress(console=QUIET) as progress:
        scenes = read_scenes(dataset, HAND, {}, {SCRIPT: 9, CUP: 3}, progress)
    assert [scene.stale for scene in scenes] == [True, False]
    words = missing_stages(dataset, HAND, scenes[:1])
    assert words == {
        "scenes": "Scenes whose clear grasps were told before the last grasps were made: dense_train_0000."
    }


@pytest.mark.slow
def test_scenes_without_their_objects_or_grasps_do_not_stop_the_report(dataset: Dataset, tmp_path: Path) -> None:
    copy = Dataset(Path(shutil.copytree(dataset.root, tmp_path / "copy")))
    few = copy.grasps(HAND, SCRIPT)[:2]
    few.save(copy.grasps_path(HAND, SCRIPT))  # the scene has rows beyond these
    content = write_report(copy, HAND, tmp_path / "page", QUIET)
    assert content["scenes"]["dense_train_0000"]["stale"]
    assert len(content["pictures"]["scenes"]) == 2
    copy.grasps_path(HAND, SCRIPT).unlink()
    copy.object_path(CUP).unlink()
    content = write_report(copy, HAND, tmp_path / "page", QUIET)
    assert "scenes" not in content["pictures"]
    assert content["missing"]["filter"] == f"There are no valid grasps for {HAND}."


def test_damaged_file_is_named(tmp_path: Path) -> None:
    dataset = Dataset.open(tmp_path / "damaged", create=True)
    path = dataset.tested_path(HAND, "mug", "closing", 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    with pytest.raises(DatasetError, match=r"mug/closing-000.npz is damaged"):
        write_report(dataset, HAND, tmp_path / "page", QUIET)


def test_cells_of_the_sphere_have_equal_area() -> None:
    direction = np.random.default_rng(0).normal(size=(72_000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    counts = np.bincount(direction_cells(direction), minlength=LONGITUDES * LATITUDES)
    assert len(counts) == 72
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)
    poles = np.array([[0, 0, 1.0], [0, 0, -1.0], [-1.0, 0, 0], [-1.0, -1e-300, 0]])
    assert set(direction_cells(poles)) <= set(range(72))


def test_effective_directions_do_not_depend_on_the_number_of_grasps() -> None:
    rng = np.random.default_rng(0)
    middles = np.array([[1.0, 0.2, 0.1], [-0.2, 1.0, 0.1], [0.2, 0.1, 1.0]])
    few, many = middles[rng.integers(0, 3, 60)], middles[rng.integers(0, 3, 6000)]
    assert effective_directions(few, np.zeros(60, int)) == pytest.approx(3.0, rel=0.15)
    assert effective_directions(many, np.zeros(6000, int)) == pytest.approx(3.0, rel=0.01)
    # Two grasps of different objects never meet: each object has its one direction.
    assert effective_directions(middles.repeat(5, axis=0), np.repeat([0, 1, 2], 5)) == 1.0
    assert effective_directions(middles, np.arange(3)) is None


def test_joint_spread_on_one_object_leaves_out_what_differs_between_objects() -> None:
    hand, rng = load_hand(HAND), np.random.default_rng(0)
    owner = np.repeat(np.arange(50), 40)
    joints = rng.normal(0.0, 0.1, (2000, 16)) + rng.normal(0.0, 0.3, (50, 16))[owner]
    direction = np.tile([1.0, 0.0, 0.0], (2000, 1))
    facts = MethodGrasps(owner, direction, np.ones(2000), joints, np.full(2000, 3)).as_dict(hand)
    assert facts["joint_spread_on_one_object_rad"] == pytest.approx(0.1, rel=0.03)
    assert facts["joint_spread_rad"] == pytest.approx(np.hypot(0.1, 0.3), rel=0.1)
    assert facts["palm_distance_m"]["0.50"] == 1.0


def test_farthest_takes_one_of_each_cluster_before_a_second_of_any() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(middle, 0.01, (20, 2)) for middle in ([0, 0], [1, 0], [0, 1], [5, 5])])
    assert sorted(row // 20 for row in farthest(points, 4)) == [0, 1, 2, 3]
    assert farthest(points[:2], 4) == [0, 1]


def test_grasps_are_spread_over_places_and_turns_of_the_wrist() -> None:
    rng = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (60, 1, 1))
    poses[:, :3, 3] = rng.normal(0.0, 1e-3, (60, 3))
    poses[20:40, :3, 3] += [0.2, 0.0, 0.0]
    poses[40:, :3, :3] = Rotation.from_rotvec([0.0, 0.0, 3.0]).as_matrix()
    chosen = spread_grasps(poses, 3)
    assert chosen[0] == 0
    assert sorted(row // 20 for row in chosen) == [0, 1, 2]


@pytest.mark.parametrize("towards", [(0.5, -0.4, 0.6), (0.0, 0.0, 1.0), (-1.0, 0.2, -0.3)])
@pytest.mark.parametrize("aspect", [1.0, 1.6])
def test_framing_has_every_point_in_the_picture_and_no_more_room_than_needed(
    towards: tuple[float, float, float], aspect: float
) -> None:
    points = np.random.default_rng(0).normal(0.0, (0.1, 0.02, 0.05), (200, 3))
    pose = framing(points, np.array(towards), 0.0, aspect)
    camera_p = (points - pose[:3, 3]) @ pose[:3, :3]
    k = picture_camera(round(400 * aspect), 400)
    pixels = np.stack([k.fx * camera_p[:, 0], k.fy * camera_p[:, 1]], axis=1) / camera_p[:, 2:]
    reach = np.abs(pixels).max(axis=0) / [k.width / 2, k.height / 2]
    assert (camera_p[:, 2] > 0.0).all()
    assert reach.max() == pytest.approx(1.0)
    assert pose[2, 1] <= 1e-9  # the picture's down is not up in the world


def pictures_of(figure: Figure) -> list[NDArray[np.uint8]]:
    return [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes if axes.get_images()]


@pytest.mark.parametrize("name", [HAND, "panda_gripper"])
def test_sheet_shows_hand_and_object_whole_in_every_picture(assets: dict[str, ObjectAsset], name: str) -> None:
    hand, asset = load_hand(name), assets[SCRIPT]
    grasps = random_grasps(asset, FIELD, 2, 0, hand)
    pictures = pictures_of(draw_sheet(asset, grasps, asset.name))
    assert len(pictures) == 2 * len(grasps) < 2 * GRASPS
    for picture in pictures:
        red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
        background = (abs(red - green) < 12) & (red > 200)
        edge = np.concatenate([background[0], background[-1], background[:, 0], background[:, -1]])
        assert edge.all()
        assert (blue > red + 40).sum() > 200  # the object
        assert (red > blue + 40).sum() > 20  # fingertips
        assert (~background).mean() > 0.1


@pytest.mark.slow
def test_surfaces_are_coloured_where_clear_grasps_touch_them(
    dataset: Dataset, assets: dict[str, ObjectAsset], tmp_path: Path
) -> None:
    copy = Dataset(Path(shutil.copytree(dataset.root, tmp_path / "copy")))
    scene, cup = copy.scene("dense_train_0000"), assets[CUP]
    grasps = random_grasps(cup, FIELD, 200, 0, load_hand(HAND))
    top = cup.points[:, 2] > cup.points[:, 2].max() - 0.001
    grasps.save(copy.grasps_path(HAND, CUP))

    def coloured(clear: int) -> int:
        rows = [np.zeros(0, np.uint32), np.arange(clear, dtype=np.uint32)]
        save_clear_grasps(copy.clear_grasps_path(scene.name, HAND), rows, [9, 200])
        touched = pictures_of(ScenePicture(copy, HAND, scene).draw())[2].astype(int)
        return int((touched.max(axis=-1) - touched.min(axis=-1) > 40).sum())

    everywhere = coloured(200)
    assert coloured(0) == 0 < everywhere
    grasps.contacts[:, :3] = cup.points[top][np.random.default_rng(0).integers(0, top.sum(), (200, 3))]
    grasps.save(copy.grasps_path(HAND, CUP))
    assert 0.05 * everywhere < coloured(200) < 0.5 * everywhere
