"""Stored grasps: small, and as good as what was stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.object_grasps import CONTACTS, ObjectGrasps
from dexgrasp_training.synthesis.method import METHODS
from scipy.spatial.transform import Rotation

from dexgrasp_description import load_hand


def some_grasps(count: int, seed: int = 0, hand_name: str = "leap_right") -> ObjectGrasps:
    """Random palms about an object of 20 cm, fingers anywhere within their limits, two to six contacts."""
    rng = np.random.default_rng(seed)
    hand = load_hand(hand_name)
    joints = len(hand.joint_names)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, rng=rng).as_matrix()
    poses[:, :3, 3] = rng.uniform(-0.2, 0.2, (count, 3))
    spread = hand.upper - hand.lower
    grasp = hand.lower + rng.uniform(0.1, 0.9, (count, joints)) * spread
    squeeze = grasp + 0.02 * rng.integers(-1, 2, (count, joints)) * spread / spread.max()
    contacts = rng.uniform(-0.1, 0.1, (count, CONTACTS, 3))
    contacts[np.arange(CONTACTS) >= rng.integers(2, CONTACTS + 1, count)[:, None]] = np.nan
    pregrasp = hand.lower + rng.uniform(0, 1, (count, joints)) * spread
    method = rng.integers(len(METHODS), size=count).astype(np.uint8)
    return ObjectGrasps(
        hand.name, "thing", METHODS, poses, pregrasp, grasp, squeeze, contacts, method, rng.normal(size=count)
    )


@pytest.mark.parametrize("hand", ["leap_right", "panda_gripper"])
def test_what_is_loaded_is_what_was_saved_to_a_fifth_of_a_milliradian(tmp_path: Path, hand: str) -> None:
    grasps = some_grasps(300, hand_name=hand)
    grasps.save(tmp_path / "thing.npz")
    loaded = ObjectGrasps.load(tmp_path / "thing.npz")
    spread = load_hand(hand).upper - load_hand(hand).lower
    turned = Rotation.from_matrix(loaded.object_T_palm[:, :3, :3].transpose(0, 2, 1) @ grasps.object_T_palm[:, :3, :3])
    assert np.abs(loaded.object_T_palm[:, :3, 3] - grasps.object_T_palm[:, :3, 3]).max() <= 0.51e-5
    assert turned.magnitude().max() < 1e-4
    assert (np.abs(loaded.grasp - grasps.grasp) <= 0.51 * spread / 8192).all()
    assert (np.abs(loaded.pregrasp - grasps.pregrasp) <= 0.51 * spread / 255).all()
    assert (np.abs((loaded.squeeze - loaded.grasp) - (grasps.squeeze - grasps.grasp)) <= 0.51 * spread / 2000).all()
    assert np.array_equal(np.isnan(loaded.contacts), np.isnan(grasps.contacts))
    assert np.nanmax(np.abs(loaded.contacts - grasps.contacts)) < 0.5e-3
    assert np.array_equal(loaded.method, grasps.method)
    assert (loaded.hand, loaded.object, loaded.methods) == (grasps.hand, grasps.object, grasps.methods)


def test_saving_what_was_loaded_changes_nothing(tmp_path: Path) -> None:
    some_grasps(50).save(tmp_path / "a.npz")
    ObjectGrasps.load(tmp_path / "a.npz").save(tmp_path / "b.npz")
    ObjectGrasps.load(tmp_path / "b.npz").save(tmp_path / "c.npz")
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()


def test_a_palm_far_from_the_object_survives(tmp_path: Path) -> None:
    grasps = some_grasps(5)
    grasps.object_T_palm[:, 0, 3] = 0.46  # from a forearm
    grasps.save(tmp_path / "thing.npz")
    assert np.abs(ObjectGrasps.load(tmp_path / "thing.npz").object_T_palm - grasps.object_T_palm)[:, :3, 3].max() < 1e-5


def test_a_large_squeeze_survives(tmp_path: Path) -> None:
    grasps = some_grasps(5)
    grasps.squeeze[:] = np.clip(grasps.grasp + 0.8, None, load_hand(grasps.hand).upper)
    grasps.save(tmp_path / "thing.npz")
    assert np.abs(ObjectGrasps.load(tmp_path / "thing.npz").squeeze - grasps.squeeze).max() < 2e-3


def test_a_grasp_takes_at_most_eighty_bytes_even_where_nothing_repeats(tmp_path: Path) -> None:
    some_grasps(3000).save(tmp_path / "thing.npz")
    assert (tmp_path / "thing.npz").stat().st_size / 3000 <= 80


def test_no_grasps_can_be_stored(tmp_path: Path) -> None:
    ObjectGrasps.empty(load_hand("leap_right"), "thing", METHODS).save(tmp_path / "none.npz")
    assert len(ObjectGrasps.load(tmp_path / "none.npz")) == 0


def test_sets_of_different_objects_are_not_joined() -> None:
    first = some_grasps(2)
    second = ObjectGrasps.empty(load_hand("leap_right"), "other", METHODS)
    with pytest.raises(DatasetError, match="one hand, object"):
        ObjectGrasps.concatenate([first, second])
    assert len(ObjectGrasps.concatenate([first, first[:1]])) == 3
