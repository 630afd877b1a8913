"""The data files: against their own URDFs, and what they promise about frames, points and postures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from dexgrasp_description.errors import MalformedDescriptionError, UnknownNameError
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_description.models import names
from dexgrasp_description.tree import read_inertias

from dexgrasp_description import load_arm, load_hand

from .robots import ROBOTS, compiled, load, penetrations, random_positions

HANDS = names("hand")


# Contact points of the LEAP hand: how many on each link, their sum [m] and sum of squares [m^2]; and its key points.
LEAP_CONTACTS = {
    **dict.fromkeys(("fingertip", "fingertip_2", "fingertip_3"), 15),
    **dict.fromkeys(("dip", "dip_2", "dip_3"), 9),
    **dict.fromkeys(("pip", "pip_2", "pip_3", "mcp_joint", "mcp_joint_2", "mcp_joint_3"), 6),
    **{"thumb_fingertip": 21, "thumb_dip": 8, "hand_base_link": 21},
}
LEAP_SUM = (-2.188311556, -3.232596, -0.1828)
LEAP_SQUARES = (0.09974326074, 0.2208359714, 0.06847476616)
LEAP_KEY_POINTS = 63


def test_unknown_names_list_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match="leap_right, panda_gripper"):
        load_hand("allegro")
    with pytest.raises(UnknownNameError, match="panda, ur5, ur5e"):
        load_arm("leap_right")


@pytest.mark.parametrize("robot", ROBOTS)
def test_limits_are_those_of_the_urdf(robot: tuple[str, str]) -> None:
    model = load(robot)
    joints = {joint.name: joint for joint in model.joints}
    for i, name in enumerate(model.joint_names):
        joint = joints[name]
        data = (model.lower[i], model.upper[i], model.velocity_limit[i], model.effort_limit[i])
        assert data == pytest.approx((joint.lower, joint.upper, joint.velocity, joint.effort), abs=1e-12), name


@pytest.mark.parametrize("robot", ROBOTS)
def test_home_is_within_limits_and_free_of_self_collision(robot: tuple[str, str]) -> None:
    model = load(robot)
    assert (model.home >= model.lower).all()
    assert (model.home <= model.upper).all()
    assert penetrations(compiled(model), model.joint_names, model.home) == []


def test_opposed_pinch_of_the_leap_hand_is_free_of_self_collision() -> None:
    hand = load_hand("leap_right")
    q = np.zeros(16)
    q[[1, 5, 9, 12]] = 1.57
    assert penetrations(compiled(hand), hand.joint_names, q) == []


def test_leap_fingertip_pressed_into_the_thumb_is_a_self_collision() -> None:
    """Not everything is ignored: fully bent fingers meet the opposed thumb."""
    hand = load_hand("leap_right")
    q = np.zeros(16)
    q[[1, 5, 9]], q[[2, 6, 10]], q[12], q[13], q[14] = 1.8, 1.2, 2.0, 0.4, 0.6
    assert penetrations(compiled(hand), hand.joint_names, q)


@pytest.mark.parametrize("robot", ROBOTS)
def test_arrays_are_read_only_because_models_are_shared(robot: tuple[str, str]) -> None:
    model = load(robot)
    assert load(robot) is model
    with pytest.raises(ValueError, match="read-only"):
        model.home[0] = 1.0


@pytest.mark.parametrize("name", HANDS)
def test_contact_points_lie_on_the_outside_of_their_link(name: str) -> None:
    hand = load_hand(name)
    for link, (points, normals) in hand.contact_points.items():
        distances = np.min([p.signed_distance(points) for p in hand.primitives_of(link)], axis=0)
        np.testing.assert_allclose(distances, 0.0, atol=1e-9, err_msg=link)
        outside = np.min([p.signed_distance(points + 1e-4 * normals) for p in hand.primitives_of(link)], axis=0)
        np.testing.assert_allclose(outside, 1e-4, atol=1e-9, err_msg=link)


@pytest.mark.parametrize("name", HANDS)
def test_every_fingertip_has_contact_points_about_its_inner_normal(name: str) -> None:
    hand = load_hand(name)
    for tip in hand.fingertips:
        _, normals = hand.contact_points[tip.link]
        assert np.linalg.norm(tip.inner_normal) == pytest.approx(1.0)
        assert (normals @ tip.inner_normal).min() > np.cos(np.deg2rad(40.0))
        assert min(p.signed_distance(tip.centre[None])[0] for p in hand.primitives_of(tip.link)) < 0.0


@pytest.mark.parametrize("name", HANDS)
def test_at_home_contact_normals_face_the_inside_of_the_grasp(name: str) -> None:
    """Each fingertip's points look at the middle of the others: the thumb's at the fingers, the fingers' at the thumb.

    The palm's look along the approach.
    """
    hand = load_hand(name)
    at_home = ForwardKinematics(hand).link_poses(torch.tensor(hand.home)[None])
    poses = {link: pose[0].numpy() for link, pose in at_home.items()}
    centres = {tip.name: poses[tip.link][:3, :3] @ tip.centre + poses[tip.link][:3, 3] for tip in hand.fingertips}
    opposing = {tip.name for tip in hand.fingertips if tip.name in ("thumb", "left")}
    for tip in hand.fingertips:
        facing = [centres[other] for other in centres if (other in opposing) != (tip.name in opposing)]
        inward = np.mean(facing, axis=0) - centres[tip.name]
        normals = hand.contact_points[tip.link][1] @ poses[tip.link][:3, :3].T
        assert normals.mean(axis=0) @ inward > 0.2 * np.linalg.norm(inward), tip.name
    if hand.base_link in hand.contact_points:
        np.testing.assert_allclose(hand.contact_points[hand.base_link][1] @ hand.approach_axis, 1.0)


@pytest.mark.parametrize("robot", ROBOTS)
def test_inertias_are_those_of_bodies(robot: tuple[str, str]) -> None:
    """Symmetric by their format; positive, and no moment is larger than the two others together."""
    for link, inertia in read_inertias(load(robot).urdf_path).items():
        moments = np.linalg.eigvalsh(inertia.matrix)
        assert inertia.mass > 0.0, link
        assert moments[0] > 0.0, link
        assert moments[2] < moments[:2].sum() * (1.0 + 1e-6), link


def test_contact_points_of_leap_are_those_that_its_grasps_were_made_with() -> None:
    """What was learned from this hand depends on them."""
    hand = load_hand("leap_right")
    assert {link: len(points) for link, (points, _) in hand.contact_points.items()} == LEAP_CONTACTS
    points = np.concatenate([points for points, _ in hand.contact_points.values()])
    np.testing.assert_allclose(points.sum(axis=0), LEAP_SUM, atol=1e-9)
    np.testing.assert_allclose((points**2).sum(axis=0), LEAP_SQUARES, atol=1e-9)
    assert sum(len(spheres) for spheres in hand.key_points.values()) == LEAP_KEY_POINTS


def test_a_spacing_lays_the_grid_that_comes_nearest_to_it() -> None:
    points, normals = load_hand("allegro_right").contact_points["palm"]
    for axis, half in ((1, 0.0565 - 0.006), (2, 0.0475 - 0.006)):
        lines = np.unique(points[:, axis].round(9))
        assert np.ptp(lines) == pytest.approx(2.0 * half)
        assert np.diff(lines) == pytest.approx(0.01, rel=0.1)
    np.testing.assert_allclose(normals - [1.0, 0.0, 0.0], 0.0)


def test_what_another_primitive_of_the_link_hides_is_no_contact_point() -> None:
    """A turned box at the foot of Shadow's palm covers some of the places of the face beside it."""
    hand = load_hand("shadow_right")
    points, _ = hand.contact_points["rh_palm"]
    box = hand.primitives_of("rh_palm")[1]
    whole, _ = box.face_grid("-y", box.grid_shape("-y", 0.008, 0.004, 0.0), 0.004, 0.0)
    kept = (np.abs(points[:, None] - whole).max(axis=2) < 1e-12).any(axis=0)
    hidden = np.min([p.signed_distance(whole) for p in hand.primitives_of("rh_palm")], axis=0) < -1e-9
    np.testing.assert_array_equal(kept, ~hidden)
    assert hidden.any()


def test_leap_contact_normals_face_the_palm_side_when_the_fingers_are_straight() -> None:
    hand = load_hand("leap_right")
    poses = ForwardKinematics(hand).link_poses(torch.zeros(1, 16, dtype=torch.float64))
    for link, (_, normals) in hand.contact_points.items():
        base_R_link = poses[link][0, :3, :3].numpy()
        facing = normals @ base_R_link.T
        # Straight fingers face -z like the palm; the thumb, stretched along +y, faces +x.
        expected = np.array([1.0, 0.0, 0.0]) if link.startswith("thumb") else hand.approach_axis
        assert (facing @ expected).min() > 0.7, link


def test_inner_faces_of_leap_are_where_the_tables_put_the_real_surface() -> None:
    """Gripping side of each primitive against the bounding boxes of the real parts, 0.7 mm."""
    hand = load_hand("leap_right")
    inner = {"dip": (0, -0.0101), "fingertip": (0, -0.01126), "pip": (2, -0.0231), "thumb_fingertip": (0, -0.01126)}
    for link, (axis, real) in inner.items():
        lowest = min(hand.contact_points[link][0][:, axis])
        assert abs(lowest - real) < 7e-4, link
    assert hand.contact_points["thumb_dip"][0][:, 0].max() == pytest.approx(0.0099, abs=7e-4)
    assert hand.contact_points["hand_base_link"][0][:, 2].min() == pytest.approx(-0.0345, abs=7e-4)


@pytest.mark.parametrize("name", HANDS)
def test_key_points_fill_their_links_without_sticking_out(name: str) -> None:
    hand = load_hand(name)
    assert set(hand.key_points) == {primitive.link for primitive in hand.collision}
    directions = np.random.default_rng(0).normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for link, spheres in hand.key_points.items():
        for sphere in spheres:
            points = sphere[:3] + sphere[3] * directions
            out = np.min([p.signed_distance(points) for p in hand.primitives_of(link)], axis=0)
            assert out.max() < 0.005, (link, sphere)
            assert np.median(out) < 0.001, (link, sphere)


@pytest.mark.parametrize("name", HANDS)
def test_key_points_do_not_touch_at_home(name: str) -> None:
    hand = load_hand(name)
    poses = ForwardKinematics(hand).link_poses(torch.tensor(hand.home)[None])
    spheres = [
        (link, poses[link][0, :3, :3].numpy() @ sphere[:3] + poses[link][0, :3, 3].numpy(), sphere[3])
        for link, rows in hand.key_points.items()
        for sphere in rows
    ]
    for i, (link_a, centre_a, radius_a) in enumerate(spheres):
        for link_b, centre_b, radius_b in spheres[:i]:
            if link_a != link_b and frozenset((link_a, link_b)) not in hand.ignored_pairs:
                assert np.linalg.norm(centre_a - centre_b) > radius_a + radius_b, (link_a, link_b)


@pytest.mark.parametrize("robot", ROBOTS)
def test_surface_samples_lie_on_the_outside_with_outward_normals(robot: tuple[str, str]) -> None:
    model = load(robot)
    samples = model.surface_samples(3000, seed=1)
    assert abs(sum(len(points) for points, _ in samples.values()) - 3000) <= len(samples)
    for link, (points, normals) in samples.items():
        own = model.primitives_of(link)
        np.testing.assert_allclose(np.min([p.signed_distance(points) for p in own], axis=0), 0.0, atol=1e-8)
        outside = np.min([p.signed_distance(points + 1e-6 * normals) for p in own], axis=0)
        assert (outside > -1e-8).all(), link
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)


def test_surface_samples_repeat_for_a_seed_and_differ_between_seeds() -> None:
    hand = load_hand("leap_right")
    first, again, other = (hand.surface_samples(500, seed)["dip"][0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_surface_samples_are_uniform_by_area_over_links() -> None:
    """thumb_pip is one box, so its share of the points is its area over the whole; the fingers are alike."""
    hand = load_hand("leap_right")
    samples = hand.surface_samples(20000, seed=0)
    density = {link: len(samples[link][0]) / hand.primitives_of(link)[0].area() for link in ("thumb_pip", "thumb_dip")}
    assert density["thumb_pip"] == pytest.approx(density["thumb_dip"], rel=0.1)
    counts = [len(samples[link][0]) for link in ("dip", "dip_2", "dip_3")]
    assert max(counts) < 1.15 * min(counts)


def test_malformed_hands_say_what_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dexgrasp_description import models

    source = models.ROBOTS
    monkeypatch.setattr(models, "ROBOTS", tmp_path)
    (tmp_path / "bad.urdf").write_text((source / "panda_gripper.urdf").read_text())
    good = yaml.safe_load((source / "panda_gripper.yaml").read_text())
    cases = [
        ({"joint_names": ["panda_finger_joint1"]}, "moving joints"),
        ({"home": [0.0]}, "home needs 2 finite numbers"),
        ({"base_link": "palm"}, "the URDF starts at 'panda_hand'"),
        ({"key_points": {"thumb": [[0, 0, 0, 0.01]]}}, "link 'thumb' does not exist"),
        ({"ignored_pairs": [["panda_hand", "thumb"]]}, "link 'thumb' does not exist"),
        ({"contact_points": [{"links": ["panda_hand"], "primitive": 4, "face": "+x", "grid": [1, 1]}]}, "which has 1"),
        ({"contact_points": [{"links": ["panda_hand"], "primitive": 0, "face": "+x"}]}, "grid or a spacing"),
        ({"contact_points": [{"links": ["panda_hand"], "face": "+x", "grid": [1, 1]}]}, "keys face, links, primitive"),
        ({"contact_points": [{"links": [], "primitive": 0, "face": "+x", "spacing": 0}]}, "must be positive"),
        ({"key_points": [{"links": ["panda_hand"], "primitive": 1}]}, "primitive 1 of link 'panda_hand', which has 1"),
        ({"key_points": [{"links": ["panda_hand"], "primitive": 0, "radius": 1}]}, "may have spacing"),
        ({"frames": {"mano": {"link": "wrist"}}}, "link 'wrist' does not exist"),
        ({"frames": {"mano": {"at": [0, 0, 0]}}}, "A frame needs a link"),
        ({"colour": "grey"}, "unknown keys: colour"),
    ]
    for change, message in cases:
        (tmp_path / "bad.yaml").write_text(yaml.safe_dump(good | change))
        models.load_hand.cache_clear()
        with pytest.raises(MalformedDescriptionError, match=message):
            models.load_hand("bad")
    monkeypatch.undo()
    models.load_hand.cache_clear()


@pytest.mark.parametrize("robot", ROBOTS)
def test_no_pair_of_links_collides_in_most_postures(robot: tuple[str, str]) -> None:
    """Primitives that always overlapped would forbid all motion: such a pair belongs in `ignored_pairs`."""
    model = load(robot)
    mj_model = compiled(model)
    counts: Counter[frozenset[str]] = Counter()
    for q in random_positions(model, 100):
        touching = penetrations(mj_model, model.joint_names, q)
        counts.update({frozenset((a.rsplit("_", 1)[0], b.rsplit("_", 1)[0])) for a, b, _ in touching})
    assert all(count < 30 for count in counts.values()), counts.most_common(3)
