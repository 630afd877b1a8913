"""Fields of fingertip contacts: what they hold, what they say is in reach, and what two fingers can pinch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_training.errors import SynthesisError
from dexgrasp_training.synthesis.contact_domains import (
    NORMAL_TOLERANCE,
    VOXEL,
    WIDEST_PINCH,
    ContactDomains,
    FingerFields,
    contact_domains,
    direction_cell,
    nearest_contacts,
    reaches,
)
from numpy.typing import NDArray

from dexgrasp_description import HandModel, Primitive, load_hand

SAMPLES = 20_000
CELL = 0.27  # no direction is farther than this from the middle of its cell [rad]


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return load_hand("leap_right")


@pytest.fixture(scope="module")
def domains(hand: HandModel) -> ContactDomains:
    return contact_domains(hand, SAMPLES)


def directions(count: int, seed: int) -> NDArray[np.float64]:
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def in_reach(
    fields: FingerFields, finger: int, points: NDArray[np.float64], normals: NDArray[np.float64]
) -> NDArray[np.bool_]:
    return np.array([reaches(fields, finger, *row) for row in zip(points, normals, strict=True)])


def fingers_of(fields: FingerFields) -> NDArray[np.int64]:
    """Which finger each stored contact belongs to."""
    return np.searchsorted(fields.start[fields.first], np.arange(len(fields.point)), side="right") - 1


def voxels_of(fields: FingerFields, finger: int, points: NDArray[np.float64]) -> NDArray[np.int64]:
    """The finger's voxel of each point along x, y and z."""
    return np.floor((points - fields.corner[finger]) / VOXEL).astype(int)


def fresh_contacts(
    hand: HandModel, domains: ContactDomains, finger: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and normals of the finger's pad at other joints than those that were sampled."""
    rng = np.random.default_rng(77)
    q = torch.as_tensor(rng.uniform(hand.lower, hand.upper, (count, len(hand.lower))))
    palm_T_tip = ForwardKinematics(hand).link_poses(q)[hand.fingertips[finger].link].numpy()
    pad = rng.integers(0, domains.fields.pad_point.shape[1], count)
    points = np.einsum("nij,nj->ni", palm_T_tip[:, :3, :3], domains.fields.pad_point[finger, pad])
    normals = np.einsum("nij,nj->ni", palm_T_tip[:, :3, :3], domains.fields.pad_normal[finger, pad])
    return points + palm_T_tip[:, :3, 3], normals


def test_pads_are_the_gripping_side_of_the_tips(hand: HandModel, domains: ContactDomains) -> None:
    for finger, tip in enumerate(hand.fingertips):
        points, normals = domains.fields.pad_point[finger], domains.fields.pad_normal[finger]
        own = hand.primitives_of(tip.link)
        np.testing.assert_allclose(np.min([solid.signed_distance(points) for solid in own], axis=0), 0.0, atol=1e-6)
        outside = np.min([solid.signed_distance(points + 1e-4 * normals) for solid in own], axis=0)
        np.testing.assert_allclose(outside, 1e-4, rtol=0.01)
        assert (normals @ tip.inner_normal > np.cos(0.9)).all()
        # All over it: no other point of that side is far from one of them.
        samples, outward = hand.surface_samples(40_000)[tip.link]
        near_centre = np.linalg.norm(samples - tip.centre, axis=1) < 0.012
        facing = samples[near_centre & (outward @ tip.inner_normal > np.cos(0.85))]
        assert len(facing) > 20
        assert np.linalg.norm(facing[:, None] - points, axis=2).min(axis=1).max() < 0.003


def test_stored_contacts_are_what_their_joints_make_of_the_pad(hand: HandModel, domains: ContactDomains) -> None:
    fields, chains = domains.fields, domains.chains
    kinematics = ForwardKinematics(hand)
    of_finger = fingers_of(fields)
    np.testing.assert_array_equal(np.bincount(of_finger), SAMPLES)
    rng = np.random.default_rng(0)
    for finger, tip in enumerate(hand.fingertips):
        rows = rng.choice(np.flatnonzero(of_finger == finger), 200)
        columns = chains.columns[finger, : chains.length[finger]]
        q = np.tile(hand.home, (len(rows), 1))
        q[:, columns] = fields.joints[rows]
        assert (q >= hand.lower - 1e-6).all()
        assert (q <= hand.upper + 1e-6).all()
        poses = kinematics.link_poses(torch.as_tensor(q))
        palm_T_tip = poses[tip.link].numpy()
        pads = fields.pad_point[finger, fields.pad[rows]], fields.pad_normal[finger, fields.pad[rows]]
        points = np.einsum("nij,nj->ni", palm_T_tip[:, :3, :3], pads[0]) + palm_T_tip[:, :3, 3]
        np.testing.assert_allclose(fields.point[rows], points, atol=1e-6)
        np.testing.assert_allclose(
            fields.normal[rows], np.einsum("nij,nj->ni", palm_T_tip[:, :3, :3], pads[1]), atol=1e-5
        )
        # Every ball of the finger's other links is inside one of them, and no smaller than a third of a finger.
        own = [name for name, pose in poses.items() if (pose.numpy().std(axis=0) > 1e-6).any() and name != tip.link]
        for ball in np.flatnonzero(fields.probe_radius[finger] > 0):
            radius = fields.probe_radius[finger, ball]
            depths = []
            for name in own:
                link_T_palm = np.linalg.inv(poses[name].numpy())
                local = (
                    np.einsum("nij,nj->ni", link_T_palm[:, :3, :3], fields.probe[rows, ball]) + link_T_palm[:, :3, 3]
                )
                depths += [solid.signed_distance(local) for solid in hand.primitives_of(name)]
            assert (np.min(depths, axis=0) <= -radius + 1e-5).all()
            assert radius > 0.005


def test_contacts_are_stored_with_their_voxel(domains: ContactDomains) -> None:
    fields = domains.fields
    of_finger = fingers_of(fields)
    voxel = np.searchsorted(fields.start, np.arange(len(fields.point)), side="right") - 1
    for finger in range(len(fields.first)):
        rows = np.flatnonzero(of_finger == finger)
        cell = voxels_of(fields, finger, fields.point[rows].astype(float))
        expected = fields.first[finger] + np.ravel_multi_index(cell.T, fields.shape[finger], mode="clip")
        assert (expected == voxel[rows]).mean() > 0.999  # single precision moves a few over a border


def test_every_direction_has_the_cell_of_its_own() -> None:
    vectors = directions(20_000, 1)
    cells = np.array([direction_cell(*vector) for vector in vectors])
    assert set(cells) == set(range(256))
    for cell in range(256):
        own = vectors[cells == cell]
        middle = own.mean(axis=0) / np.linalg.norm(own.mean(axis=0))
        assert np.arccos(np.clip(own @ middle, -1.0, 1.0)).max() < CELL
    # On the borders of the map too.
    for axis in np.vstack([np.eye(3), -np.eye(3)]):
        around = [direction_cell(*(axis + 0.01 * vector)) for vector in vectors[:200]]
        assert 0 <= min(around) <= max(around) <= 255
        assert len(set(around)) <= 4


def test_what_was_stored_is_within_reach(domains: ContactDomains) -> None:
    fields = domains.fields
    of_finger = fingers_of(fields)
    rng = np.random.default_rng(2)
    for finger in range(len(fields.first)):
        rows = rng.choice(np.flatnonzero(of_finger == finger), 1000)
        points, normals = fields.point[rows].astype(float), fields.normal[rows].astype(float)
        assert in_reach(fields, finger, points, normals).mean() > 0.98


def test_fingers_reach_what_other_postures_touch(hand: HandModel, domains: ContactDomains) -> None:
    dense = contact_domains(hand, 3 * SAMPLES)
    for finger in range(4):
        points, normals = fresh_contacts(hand, domains, finger, 1000)
        share, more = (in_reach(of.fields, finger, points, normals).mean() for of in (domains, dense))
        assert share > 0.15
        assert more > max(1.4 * share, 0.4)


def test_nothing_is_in_reach_that_no_stored_contact_is_near(domains: ContactDomains) -> None:
    fields = domains.fields
    of_finger = fingers_of(fields)
    rng = np.random.default_rng(3)
    for finger in range(4):
        own = of_finger == finger
        stored, stored_normals = fields.point[own].astype(float), fields.normal[own].astype(float)
        near = rng.integers(0, len(stored), 400)
        points = stored[near] + rng.normal(0.0, 0.005, (400, 3))
        normals = stored_normals[near] + rng.normal(0.0, 0.3, (400, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        found = in_reach(fields, finger, points, normals)
        assert 50 < found.sum() < 350
        cells = voxels_of(fields, finger, stored)
        for point, normal, yes in zip(points, normals, found, strict=True):
            there = stored_normals[(cells == voxels_of(fields, finger, point)).all(axis=1)]
            nearest = np.arccos(np.clip(there @ normal, -1.0, 1.0)).min(initial=np.pi)
            # The middle of a cell of directions speaks for all of it, which blurs the border by most of a cell.
            assert nearest < NORMAL_TOLERANCE + 0.15 if yes else nearest > 0.05


def test_nothing_is_in_reach_beyond_the_field(domains: ContactDomains) -> None:
    fields = domains.fields
    stored = np.empty(3, dtype=np.int64)
    for finger in range(4):
        lower = fields.corner[finger]
        upper = lower + VOXEL * fields.shape[finger]
        for axis in range(3):
            for bound, side in ((lower, -1.0), (upper, 1.0)):
                point = 0.5 * (lower + upper)
                point[axis] = bound[axis] + side * 1e-6
                assert not in_reach(fields, finger, np.tile(point, (50, 1)), directions(50, 5)).any()
                assert nearest_contacts(fields, finger, point, np.array([0.0, 0.0, 1.0]), stored) == 0


def test_the_nearest_contacts_are_those_of_a_full_search(domains: ContactDomains) -> None:
    fields = domains.fields
    of_finger = fingers_of(fields)
    rng = np.random.default_rng(6)
    few = 0
    for finger in range(4):
        rows = np.flatnonzero(of_finger == finger)
        cells = voxels_of(fields, finger, fields.point[rows].astype(float))
        for row in rng.choice(rows, 60):
            point = fields.point[row] + rng.normal(0.0, 0.004, 3)
            direction = directions(1, int(row))[0]
            found = np.full(3, -1)
            count = nearest_contacts(fields, finger, point, direction, found)
            own = rows[(cells == voxels_of(fields, finger, point)).all(axis=1)]
            costs = ((fields.point[own] - point) ** 2).sum(axis=1)
            costs += 0.03**2 * ((fields.normal[own] - direction) ** 2).sum(axis=1)
            assert count == min(len(own), 3)
            np.testing.assert_array_equal(found[:count], own[np.argsort(costs)][:count])
            few += count < 3
    assert 0 < few < 200


def test_pinches_are_contacts_that_another_finger_opposes(domains: ContactDomains) -> None:
    fields, pinches = domains.fields, domains.pinches
    assert len(pinches.width) >= 100
    assert (pinches.width >= 0.0).all()
    assert (pinches.width <= WIDEST_PINCH).all()
    assert (np.diff(pinches.width) >= 0.0).all()
    assert np.ptp(pinches.width) > 0.06
    of_finger = fingers_of(fields)
    for i in np.random.default_rng(7).choice(len(pinches.width), 150):
        point, normal, width = pinches.point[i], pinches.normal[i], pinches.width[i]
        assert np.linalg.norm(normal) == pytest.approx(1.0, abs=1e-6)
        first = of_finger[np.linalg.norm(fields.point - point, axis=1).argmin()]
        np.testing.assert_allclose(np.linalg.norm(fields.point - point, axis=1).min(), 0.0, atol=1e-7)
        # A contact of another finger, in the voxel of the opposite place, faces it.
        near = np.linalg.norm(fields.point - (point + width * normal), axis=1) < np.sqrt(3.0) * VOXEL
        facing = fields.normal @ -normal > np.cos(NORMAL_TOLERANCE + CELL)
        assert (near & facing & (of_finger != first)).any()


def test_the_box_holds_nine_tenths_of_the_middles_of_what_is_pinched(domains: ContactDomains) -> None:
    pinches, (lower, upper) = domains.pinches, domains.box
    middles = pinches.point + 0.5 * pinches.width[:, None] * pinches.normal
    assert (lower < upper).all()
    np.testing.assert_allclose((middles < lower).mean(axis=0), 0.05, atol=0.002)
    np.testing.assert_allclose((middles > upper).mean(axis=0), 0.05, atol=0.002)
    # The palm faces -z, the thumb is on the +y side of the fingers.
    assert upper[2] < 0.0


def test_the_same_arguments_give_the_same_fields(hand: HandModel, domains: ContactDomains) -> None:
    assert contact_domains(hand, SAMPLES) is domains
    again = contact_domains.__wrapped__(hand, SAMPLES)
    for one, other in zip((*domains.fields, *domains.pinches), (*again.fields, *again.pinches), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_gripper_is_refused_with_its_joints_and_the_method_to_use() -> None:
    with pytest.raises(SynthesisError, match=r"panda_gripper has \{'left': 1, 'right': 1\}.*'closing'"):
        contact_domains(load_hand("panda_gripper"), 100)


def test_a_hand_with_one_finger_is_refused(hand: HandModel) -> None:
    with pytest.raises(SynthesisError, match="two or more fingertips"):
        contact_domains(replace(hand, fingertips=hand.fingertips[:1]), 100)


def test_fingers_that_cannot_face_each_other_are_refused(hand: HandModel) -> None:
    stiff = replace(hand, lower=hand.home - 0.05, upper=hand.home + 0.05, fingertips=hand.fingertips[:2])
    with pytest.raises(SynthesisError, match="No two fingertips of leap_right oppose each other"):
        contact_domains(stiff, 2000)


def test_a_tip_whose_gripping_side_is_covered_is_refused(hand: HandModel) -> None:
    tip = hand.fingertips[0]
    at_tip = np.eye(4)
    at_tip[:3, 3] = tip.centre
    within = Primitive(tip.link, "box", at_tip, np.full(3, 0.005))
    at_tip = at_tip.copy()
    at_tip[:3, 3] += 0.02 * tip.inner_normal
    cover = Primitive(tip.link, "box", at_tip, np.full(3, 0.019))
    others = tuple(solid for solid in hand.collision if solid.link != tip.link)
    covered = replace(hand, collision=(*others, within, cover))
    with pytest.raises(SynthesisError, match="index of leap_right has no surface that faces its inner normal"):
        contact_domains(covered, 100)
