"""The grasps of one wrist pose keep the rules that they were searched by."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_training.synthesis.balance import contact_wrenches, imbalance, shortfall
from dexgrasp_training.synthesis.contact_field import ContactFieldConfig
from dexgrasp_training.synthesis.contact_search import FRICTION, Rules, grasps_at, nothing_known
from dexgrasp_training.synthesis.kernels import sdf_gradient
from numpy.typing import NDArray

from .ball import GRID_ERROR, ball, fingered, palms, to_ball

Found = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]  # joints, contacts, quality


def rules(**changed: float) -> Rules:
    return Rules(*(getattr(ContactFieldConfig(), name) for name in Rules._fields))._replace(**changed)


def search(by: Rules, object_T_palm: NDArray[np.float64], seed: int = 0) -> Found:
    """The grasps of one wrist pose on the ball."""
    joints, contacts = np.empty((by.per_pose, 3, 16)), np.empty((by.per_pose, 4, 3))
    quality, rng = np.empty(by.per_pose), np.random.default_rng(seed)
    known = nothing_known(fingered(), len(ball().points))
    count = grasps_at(fingered(), ball(), by, known, object_T_palm, rng, joints, contacts, quality)
    return joints[:count], contacts[:count], quality[:count]


def search_all(by: Rules) -> list[Found]:
    return [search(by, palm) for palm in palms()]


@pytest.mark.parametrize(("two", "most"), [(1.0, 2), (0.0, 3)])
def test_as_many_fingers_touch_as_were_asked_for_where_as_many_can(two: float, most: int) -> None:
    made = np.concatenate([contacts for _, contacts, _ in search_all(rules(two=two, four=0.0))])
    touching = ~np.isnan(made).any(axis=2)
    counts = touching.sum(axis=1)
    assert set(counts) <= {2, most}
    assert (counts == most).mean() > 0.6
    assert np.abs(to_ball(made[touching])).max() < GRID_ERROR


def test_quality_is_what_the_contacts_can_hold_and_none_breaks_the_limits() -> None:
    by = rules(two=0.3, imbalance=0.12, shortfall=0.3)
    errors = []
    for _, contacts, quality in search_all(by):
        for of_grasp, value in zip(contacts, quality, strict=True):
            points = of_grasp[~np.isnan(of_grasp).any(axis=1)]
            slopes = np.array(
                [sdf_gradient(ball().values, ball().origin, ball().spacing, tuple(p))[1:] for p in points]
            )
            inward = -slopes / np.linalg.norm(slopes, axis=1, keepdims=True)
            found = imbalance(contact_wrenches(points, inward), np.arange(len(points)), np.empty(len(points)))
            assert found < by.imbalance + 0.03
            assert value >= 1.0 - by.shortfall
            errors.append(abs(value - (1.0 - shortfall(points, inward, FRICTION))))
    assert len(errors) > 10
    assert np.quantile(errors, 0.8) < 1e-3  # a tip's own place may be in the next cell of the grid


def test_there_are_no_more_than_asked_for_and_no_two_alike() -> None:
    counts = []
    for most in (1, 6):
        of_poses = search_all(rules(per_pose=most))
        assert max(len(joints) for joints, _, _ in of_poses) <= most
        counts.append(sum(len(joints) for joints, _, _ in of_poses))
    assert counts[1] > counts[0] > 0
    for joints, _, _ in of_poses:
        for i, j in np.ndindex(len(joints), len(joints)):
            assert i == j or np.abs(joints[i, 1] - joints[j, 1]).max() > 0.15


def test_touching_fingers_open_and_press_and_the_others_rest_where_they_are() -> None:
    for joints, contacts, _ in search_all(rules(squeeze=0.02)):
        for (opened, grasp, squeeze), of_grasp in zip(joints, contacts, strict=True):
            count = (~np.isnan(of_grasp).any(axis=1)).sum()
            of_finger = np.abs(np.stack([opened, squeeze]) - grasp).reshape(2, 4, 4)  # motor order: finger by finger
            assert (of_finger[0].max(axis=1) > 1e-3).sum() == count
            # One joint of each finger, the strongest by all of the angle.
            assert ((of_finger[1] > 0.0).sum(axis=1) <= 1).all()
            assert of_finger[1].max() == pytest.approx(0.02)
            assert not of_finger[1][of_finger[0].max(axis=1) == 0.0].any()


def test_a_palm_in_the_object_or_far_from_it_has_no_grasps() -> None:
    inside, away = np.eye(4), np.eye(4)
    inside[:3, 3] = 0.05, 0.03, 0.01  # the palm's middle on the ball's
    away[:3, 3] = 1.0
    for palm in (inside, away):
        assert len(search(rules(), palm)[2]) == 0


def test_the_same_seed_finds_the_same_grasps_and_another_finds_others() -> None:
    by = rules()
    first, again, other = (np.concatenate([search(by, palm, seed)[0] for palm in palms()]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or (first != other).any()
