"""Fingers on a ball: where they touch, how they leave and how they press, by the description's kinematics."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_training.synthesis.contact_domains import nearest_contacts, reaches
from dexgrasp_training.synthesis.fingertip_contacts import (
    TOUCH,
    finger_clear,
    into_palm,
    press,
    reached,
    touch,
    withdraw,
)
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_hand

from .ball import GRID_ERROR, HAND, RADIUS, ball, fingered, palms, to_ball

GRAZE = 0.003  # how deep a finger's balls may reach in, see `reached` [m]


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_hand(HAND)


@cache
def kinematics() -> ForwardKinematics:
    return ForwardKinematics(load_hand(HAND))


def link_poses(object_T_palm: NDArray[np.float64], q: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """`object_T_link` (4, 4) of every link."""
    poses = kinematics().link_poses(torch.as_tensor(q)[None])
    return {link: object_T_palm @ pose[0].numpy() for link, pose in poses.items()}


def moved(pose: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ pose[:3, :3].T + pose[:3, 3]


class Touching:
    """A finger that was put on the ball."""

    def __init__(self, object_T_palm: NDArray[np.float64], finger: int, row: int) -> None:
        hand = fingered()
        self.palm, self.finger, self.row = object_T_palm, finger, row
        self.columns = hand.chains.columns[finger, : hand.chains.length[finger]]
        self.own, self.contact, self.inward = np.empty(len(self.columns)), np.empty(3), np.empty(3)
        self.done = touch(hand, ball(), object_T_palm, finger, row, np.cos(0.25), self.own, self.contact, self.inward)
        self.q = hand.home.copy()
        self.q[self.columns] = self.own


@pytest.fixture(scope="module")
def tried() -> list[Touching]:
    """Every finger on up to six of the points that it reaches, from every palm."""
    rng, found = np.random.default_rng(2), []
    for palm in palms()[::5]:
        domains, sizes = np.empty((4, len(ball().points)), dtype=np.int64), np.zeros(4, dtype=np.int64)
        reached(fingered().fields, ball(), palm, domains, sizes)
        for finger in range(4):
            for row in rng.permutation(domains[finger, : sizes[finger]])[:6]:
                found.append(Touching(palm, finger, int(row)))
    return found


@pytest.fixture(scope="module")
def touching(tried: list[Touching]) -> list[Touching]:
    return [one for one in tried if one.done]


def test_points_and_directions_are_written_in_the_palm_frame() -> None:
    point, direction = np.array([0.01, -0.02, 0.03]), np.array([0.6, 0.0, 0.8])
    for palm in palms()[::5]:
        palm_T_object = np.linalg.inv(palm)
        found, turned = np.empty(3), np.empty(3)
        into_palm(palm, point, direction, found, turned)
        np.testing.assert_allclose(found, moved(palm_T_object, point), atol=1e-12)
        np.testing.assert_allclose(turned, palm_T_object[:3, :3] @ direction, atol=1e-12)


def test_reached_points_are_in_a_field_and_leave_the_finger_outside() -> None:
    fields, stored = fingered().fields, np.empty(3, dtype=np.int64)
    kept = refused = 0
    for palm in palms()[::5]:
        domains, sizes = np.empty((4, len(ball().points)), dtype=np.int64), np.full(4, 99)
        reached(fields, ball(), palm, domains, sizes)
        palm_T_object = np.linalg.inv(palm)
        points, inward = moved(palm_T_object, ball().points), ball().inward @ palm_T_object[:3, :3].T
        for finger in range(4):
            found = set(domains[finger, : sizes[finger]])
            assert len(found) == sizes[finger]
            for row in range(len(points)):
                if not reaches(fields, finger, points[row], inward[row]):
                    assert row not in found
                    continue
                count = nearest_contacts(fields, finger, points[row], inward[row], stored)
                used = fields.probe_radius[finger] > 0.0
                gaps = to_ball(moved(palm, fields.probe[stored[:count]][:, used])) - fields.probe_radius[finger, used]
                deepest = gaps.min(axis=1).max()
                if abs(deepest + GRAZE) > GRID_ERROR:
                    assert (row in found) == (deepest > -GRAZE)
                    kept, refused = kept + (deepest > -GRAZE), refused + (deepest < -GRAZE)
    assert kept > 100
    assert refused > 20


def test_most_reached_points_can_be_touched(tried: list[Touching]) -> None:
    assert len(tried) > 60
    assert np.mean([one.done for one in tried]) > 0.85


def test_a_touching_tip_is_on_the_surface_near_its_point(hand: HandModel, touching: list[Touching]) -> None:
    for one in touching:
        assert (one.q >= hand.lower - 1e-9).all()
        assert (one.q <= hand.upper + 1e-9).all()
        tip = hand.fingertips[one.finger].link
        object_T_tip = link_poses(one.palm, one.q)[tip]
        pad = moved(object_T_tip, fingered().fields.pad_point[one.finger])
        gaps = to_ball(pad)
        assert abs(gaps.min()) < TOUCH + GRID_ERROR
        # The contact is the foot of the pad's nearest point, with the ball's own normal.
        assert abs(to_ball(one.contact)) < GRID_ERROR
        np.testing.assert_allclose(one.inward, -one.contact / RADIUS, atol=0.05)
        assert np.linalg.norm(pad - one.contact, axis=1).min() < TOUCH + 2.0 * GRID_ERROR
        normal = object_T_tip[:3, :3] @ fingered().fields.pad_normal[one.finger, gaps.argmin()]
        assert normal @ one.inward > np.cos(0.25) - 0.01
        assert np.linalg.norm(one.contact - ball().points[one.row]) < 0.012


def test_no_tip_touches_where_the_finger_does_not_reach() -> None:
    away = palms()[0].copy()
    away[:3, 3] += 0.5
    for finger in range(4):
        assert not any(Touching(away, finger, row).done for row in range(0, 400, 20))


def test_tips_whose_normal_is_not_the_surface_s_are_refused(touching: list[Touching]) -> None:
    own, contact, inward = np.empty(4), np.empty(3), np.empty(3)
    for one in touching[:40]:
        assert not touch(fingered(), ball(), one.palm, one.finger, one.row, 1.001, own, contact, inward)
        assert touch(fingered(), ball(), one.palm, one.finger, one.row, -1.001, own, contact, inward)


def test_a_finger_is_clear_where_no_surface_point_of_it_is_near(
    hand: HandModel,
) -> None:
    samples = hand.surface_samples(16_000)
    scratch = np.empty((len(hand.links), 3, 4))
    rng = np.random.default_rng(3)
    clear = blocked = 0
    for palm in palms()[::5]:
        for q in hand.home + rng.uniform(0.0, 0.6, (15, 1)) * (
            rng.uniform(hand.lower, hand.upper, (15, 16)) - hand.home
        ):
            poses = link_poses(palm, q)
            for finger, tip in enumerate(hand.fingertips):
                columns = fingered().chains.columns[finger]
                links = [i for i in range(len(hand.links)) if fingered().arrays.carries[i, columns].any()]
                names = [hand.links[i] for i in links if hand.links[i] in samples]
                gap = {name: to_ball(moved(poses[name], samples[name][0])).min() for name in names}
                others = min(value for name, value in gap.items() if name != tip.link)
                for at_tip, elsewhere in ((0.001, 0.001), (-0.005, 0.001), (0.001, -0.005)):
                    spare = min(gap[tip.link] - at_tip, others - elsewhere)
                    if abs(spare) > 0.001:  # sampled surfaces are a little farther away
                        found = finger_clear(fingered(), ball(), palm, finger, q, scratch, at_tip, elsewhere)
                        assert found == (spare > 0.0)
                        clear, blocked = clear + found, blocked + (not found)
    assert clear > 100
    assert blocked > 40


def test_a_withdrawn_tip_has_left_along_the_normal(hand: HandModel, touching: list[Touching]) -> None:
    misses = []
    for one in touching:
        tip = hand.fingertips[one.finger].link
        opened = np.empty(len(one.own))
        withdraw(fingered(), one.palm, one.finger, one.contact, one.inward, 0.015, one.own, opened)
        q = one.q.copy()
        q[one.columns] = opened
        assert (q >= hand.lower - 1e-9).all()
        assert (q <= hand.upper + 1e-9).all()
        before, after = (link_poses(one.palm, joints)[tip] for joints in (one.q, q))
        place = moved(after @ np.linalg.inv(before), one.contact)
        misses.append(np.linalg.norm(place - (one.contact - 0.015 * one.inward)))
        assert (place - one.contact) @ -one.inward > 0.0
    # A few fingers meet their limits on the way.
    assert np.quantile(misses, 0.7) < 1e-3


def test_pressing_moves_the_one_joint_that_drives_the_contact_most(hand: HandModel, touching: list[Touching]) -> None:
    angle = 1e-4
    for one in touching:
        tip = hand.fingertips[one.finger].link
        q = one.q.copy()
        press(fingered(), one.palm, one.finger, one.contact, one.inward, angle, q)
        local = np.linalg.inv(link_poses(one.palm, one.q)[tip])
        drives = []
        for column in one.columns:
            turned = one.q.copy()
            turned[column] += angle
            drives.append((moved(link_poses(one.palm, turned)[tip] @ local, one.contact) - one.contact) @ one.inward)
        best = int(np.abs(drives).argmax())
        expected = one.q.copy()
        expected[one.columns[best]] += np.sign(drives[best]) * angle
        np.testing.assert_allclose(q, np.clip(expected, hand.lower, hand.upper), atol=1e-12)


def test_pressing_stops_at_the_limit(hand: HandModel, touching: list[Touching]) -> None:
    for one in touching:
        q = one.q.copy()
        press(fingered(), one.palm, one.finger, one.contact, one.inward, 10.0, q)
        changed = np.flatnonzero(q != one.q)
        assert len(changed) <= 1
        for column in changed:
            assert q[column] in (hand.lower[column], hand.upper[column])
