"""Sets of grasps: shapes, selection, and files."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dexgrasp_description.errors import MalformedDescriptionError

from dexgrasp_description import GraspSet


def _arrays(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(count)
    return {
        "world_T_palm": rng.normal(size=(count, 4, 4)),
        "pregrasp": rng.normal(size=(count, 16)),
        "grasp": rng.normal(size=(count, 16)),
        "squeeze": rng.normal(size=(count, 16)),
        "score": rng.normal(size=count),
        "log_likelihood": np.full(count, np.nan),
        "graspness": rng.normal(size=count),
        "seed_point": rng.normal(size=(count, 3)),
    }


def _grasps(count: int) -> GraspSet:
    return GraspSet("leap_right", **_arrays(count))


def _assert_same(found: GraspSet, expected: GraspSet) -> None:
    for item in fields(GraspSet):
        np.testing.assert_array_equal(getattr(found, item.name), getattr(expected, item.name), err_msg=item.name)


def test_a_file_holds_what_was_saved_and_leaves_no_temporary_files(tmp_path: Path) -> None:
    grasps = _grasps(5)
    path = tmp_path / "grasps.npz"
    grasps.save(path)
    grasps.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["grasps.npz"]
    _assert_same(GraspSet.load(path), grasps)


def test_no_grasps_can_be_saved_and_selected(tmp_path: Path) -> None:
    none = GraspSet.empty("leap_right", 16)
    assert len(none) == 0
    none.save(tmp_path / "none.npz")
    assert len(GraspSet.load(tmp_path / "none.npz")) == 0
    assert len(_grasps(3)[[]]) == 0


def test_slices_lists_and_masks_select_in_order() -> None:
    grasps = _grasps(6)
    _assert_same(grasps[1:3], grasps[[1, 2]])
    _assert_same(grasps[np.arange(6) % 2 == 0], grasps[[0, 2, 4]])
    np.testing.assert_array_equal(grasps[[4, 1]].score, grasps.score[[4, 1]])
    ranked = grasps[np.argsort(-grasps.score)]
    assert (np.diff(ranked.score) <= 0.0).all()


def test_one_number_is_refused_because_it_would_not_be_a_set() -> None:
    with pytest.raises(TypeError, match=r"\[2 : 2 \+ 1\]"):
        _grasps(3)[2]  # type: ignore[index]


def test_sets_of_one_hand_join() -> None:
    parts = [_grasps(2), _grasps(3)]
    joined = GraspSet.concatenate(parts)
    _assert_same(joined[:2], parts[0])
    _assert_same(joined[2:], parts[1])
    with pytest.raises(MalformedDescriptionError, match="panda_gripper"):
        GraspSet.concatenate([parts[0], GraspSet.empty("panda_gripper", 2)])


@pytest.mark.parametrize(
    ("name", "shape", "right"),
    [
        ("world_T_palm", (4, 3, 4), r"\(4, 4, 4\)"),
        ("squeeze", (4, 15), r"\(4, 16\)"),
        ("seed_point", (3, 3), r"\(4, 3\)"),
        ("log_likelihood", (4, 1), r"\(4,\)"),
    ],
)
def test_wrong_shapes_say_what_is_right(name: str, shape: tuple[int, ...], right: str) -> None:
    with pytest.raises(MalformedDescriptionError, match=f"{name} must have shape {right}"):
        GraspSet("leap_right", **_arrays(4) | {name: np.zeros(shape)})


def test_a_file_that_is_no_grasp_set_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", hand="leap_right", score=np.zeros(3))
    with pytest.raises(MalformedDescriptionError, match="lacks world_T_palm, pregrasp"):
        GraspSet.load(tmp_path / "other.npz")
