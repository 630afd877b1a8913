"""Objects at rest: poses and chances of a box in closed form, and grasps that a hand can come to there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dexgrasp_common.transforms import apply
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.stages.grasps import Chunk, synthesise
from dexgrasp_training.synthesis.method import GRASP_METHODS, Candidates
from dexgrasp_training.synthesis.resting import Resting
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_hand

from .boxes import box_asset

SIZE = (0.04, 0.06, 0.08)
HAND = "leap_right"


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_hand(HAND)


@pytest.fixture(scope="module")
def box() -> ObjectAsset:
    return box_asset("box", SIZE)


@pytest.fixture(scope="module")
def resting(hand: HandModel, box: ObjectAsset) -> Resting:
    return Resting(hand, box)


def solid_angle(face: tuple[float, float], distance: float) -> float:
    """Of a rectangle seen from above its middle [sr]."""
    a, b = face[0] / 2, face[1] / 2
    return 4.0 * np.arctan(a * b / (distance * np.sqrt(a**2 + b**2 + distance**2)))


def facing_down(hand: HandModel, height: float) -> NDArray[np.float64]:
    """`object_T_palm` of a palm that far above the object's middle, along its z, that looks down on it."""
    approach = hand.approach_axis
    aside = np.eye(3)[np.abs(approach).argmin()]
    aside = np.cross(approach, aside) / np.linalg.norm(np.cross(approach, aside))
    palm = np.stack([aside, np.cross(approach, aside), approach], axis=1)
    wanted = np.diag([1.0, -1.0, -1.0])  # the palm's approach is the object's -z
    pose = np.eye(4)
    pose[:3, :3] = wanted @ palm.T
    pose[2, 3] = height
    return pose


def test_a_box_rests_on_its_faces(resting: Resting, box: ObjectAsset) -> None:
    corners = np.asarray(box.model.mesh.vertices)
    for pose in resting.world_T_object:
        height = apply(pose, corners)[:, 2]
        assert np.sort(height)[:4] == pytest.approx(np.zeros(4), abs=1e-6)
        assert any(height.max() == pytest.approx(edge) for edge in SIZE)


def test_the_chance_of_a_face_is_its_solid_angle(resting: Resting, box: ObjectAsset) -> None:
    x, y, z = SIZE
    faces = {x: solid_angle((y, z), x / 2), y: solid_angle((x, z), y / 2), z: solid_angle((x, y), z / 2)}
    for pose, chance in zip(resting.world_T_object, resting.chance, strict=True):
        height = apply(pose, np.asarray(box.model.mesh.vertices))[:, 2].max()
        angle = next(angle for edge, angle in faces.items() if abs(edge - height) < 1e-6)
        assert chance == pytest.approx(angle / (4.0 * np.pi), rel=0.02)


def test_a_grasp_along_an_axis_is_usable_when_that_axis_is_up(hand: HandModel, resting: Resting) -> None:
    up = np.array([pose[2, 2] > 0.99 for pose in resting.world_T_object])
    palms = np.stack([facing_down(hand, 0.3)])
    home = hand.home[None]
    assert resting.usable(palms, home, home) == pytest.approx([resting.chance[up].sum()])


def test_palms_above_the_table_come_first(hand: HandModel) -> None:
    resting = Resting(hand, box_asset("plate", (0.2, 0.2, 0.01)))  # it lies on one of its large faces
    above, below = facing_down(hand, 0.15), facing_down(hand, -0.03)  # the second is in the table, or comes from it
    palms = np.stack([below] * 40 + [above] * 40)
    rows = resting.preferred(palms, 40, np.random.default_rng(0))
    first = int((rows >= 40).argmin())  # so many of the upper palms were looked at with their side up
    assert 10 <= first <= 30
    assert (rows[first:] == np.arange(40 - first)).all()


@pytest.mark.parametrize("method", ["closing", "contact_field"])
def test_grasps_of_an_object_at_rest_are_usable_more_often(hand: HandModel, resting: Resting, method: str) -> None:
    box = box_asset("box", SIZE)
    attempts = {"closing": 1500, "contact_field": 60}[method]
    maker = GRASP_METHODS.create(method, hand)

    def usable(made: Candidates) -> float:
        return float(resting.usable(made.object_T_palm, made.pregrasp, made.grasp).sum())

    free, at_rest = maker.generate(box, attempts, 0), maker.generate(box, attempts, 0, resting)
    again = maker.generate(box, attempts, 0, resting)
    assert usable(at_rest) > usable(free)
    assert np.array_equal(at_rest.grasp, again.grasp)


def test_a_task_for_objects_at_rest_keeps_what_is_usable(tmp_path: Path, resting: Resting) -> None:
    dataset = Dataset(tmp_path)
    box_asset("box", SIZE).save(dataset.object_path("box"))
    shares = {}
    for share in (0.0, 1.0):
        chunk = Chunk(HAND, "box", "contact_field", 0)
        shutil.rmtree(tmp_path / "candidates", ignore_errors=True)
        synthesise(str(tmp_path), chunk, 40, 0, share)
        made = Candidates.load(dataset.candidates_path(HAND, "box", "contact_field", 0))
        shares[share] = resting.usable(made.object_T_palm, made.pregrasp, made.grasp)
    assert (shares[1.0] > 0.0).all()
    assert shares[1.0].mean() > shares[0.0].mean()


def test_tasks_of_objects_at_rest_are_spread_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    class Recorder:
        def generate(self, asset: ObjectAsset, attempts: int, seed: int, resting: Resting | None = None) -> Candidates:
            asked.append(resting is not None)
            rows = {"object_T_palm": np.zeros((0, 4, 4)), "contacts": np.zeros((0, 6, 3)), "quality": np.zeros(0)}
            joints = {name: np.zeros((0, 16)) for name in ("pregrasp", "grasp", "squeeze")}
            return Candidates(HAND, "closing", attempts, **rows, **joints)

    monkeypatch.setattr("dexgrasp_training.stages.grasps.method_of", lambda hand, method: Recorder())
    box_asset("box", SIZE).save(Dataset(tmp_path).object_path("box"))
    for number in range(8):
        synthesise(str(tmp_path), Chunk(HAND, "box", "closing", number), 1, 0, 0.75)
    assert asked == [False, True, True, True] * 2
