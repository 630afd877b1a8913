"""Fingers that touch press into what they touch, by one joint each; all others stay where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dexgrasp_planner.hand_shape import HandPoints
from dexgrasp_planner.pressing import TOUCH, Pressing, fingers_of_links
from dexgrasp_planner.scene_field import SceneField

from dexgrasp_description import HandModel, load_hand

from .cylinder_scene import CylinderScene

LEAP = load_hand("leap_right")


def depths(hand: HandModel, space: SceneField, palms: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least distance (N, F) of each finger's inner points from the scene [m], and the finger of each joint (D,)."""
    points = HandPoints(hand, {link: rows for link, (rows, _) in hand.contact_points.items()})
    finger = fingers_of_links(hand, points)
    gaps = space.distance(points.in_world(torch.as_tensor(palms).float(), torch.as_tensor(q).float()))
    own = [gaps[:, finger[points.link_of_point] == i].amin(dim=1) for i in range(len(hand.fingertips))]
    owner = np.full(len(hand.joint_names), -1)
    for i in range(len(hand.fingertips)):
        owner[points.moves[finger == i].any(dim=0).numpy()] = i
    return torch.stack(own, dim=1).numpy(), owner


def test_a_finger_that_touches_presses_with_one_joint_and_the_others_stay(cylinder_scene: CylinderScene) -> None:
    _, space, grasps = cylinder_scene
    squeezed = Pressing(LEAP, depth=0.002).squeezed(space, grasps.world_T_palm, grasps.grasp)
    before, owner = depths(LEAP, space, grasps.world_T_palm, grasps.grasp)
    after, _ = depths(LEAP, space, grasps.world_T_palm, squeezed)
    moved = np.abs(squeezed - grasps.grasp) > 1e-9
    assert (before < TOUCH).sum() > 20
    for finger in range(4):
        by_finger = moved[:, owner == finger].sum(axis=1)
        np.testing.assert_array_equal(by_finger, (before[:, finger] < TOUCH).astype(int))
    pressing = before < TOUCH
    assert np.median(after[pressing]) == pytest.approx(-0.002, abs=7e-4), (
        "contacts go as far beyond the surface as asked"
    )
    deeper = Pressing(LEAP, depth=0.008).squeezed(space, grasps.world_T_palm, grasps.grasp)
    assert (np.abs(deeper - grasps.grasp)[moved] > np.abs(squeezed - grasps.grasp)[moved]).mean() > 0.9


def test_far_from_everything_nothing_presses(cylinder_scene: CylinderScene) -> None:
    _, space, grasps = cylinder_scene
    away = grasps.world_T_palm.copy()
    away[:, 2, 3] += 0.3
    np.testing.assert_array_equal(Pressing(LEAP).squeezed(space, away, grasps.grasp), grasps.grasp)
    assert Pressing(LEAP).squeezed(space, away[:0], grasps.grasp[:0]).shape == (0, 16)


def test_limits_are_kept(cylinder_scene: CylinderScene) -> None:
    _, space, grasps = cylinder_scene
    squeezed = Pressing(LEAP, depth=0.5).squeezed(space, grasps.world_T_palm, grasps.grasp)
    assert (squeezed >= LEAP.lower).all()
    assert (squeezed <= LEAP.upper).all()


def test_a_gripper_closes_and_a_wrist_never_presses(cylinder_scene: CylinderScene) -> None:
    space = cylinder_scene.space
    gripper = load_hand("panda_gripper")
    # Straight down over the cylinder's top, the fingers to its sides.
    palm = np.diag([1.0, -1.0, -1.0, 1.0])[None].copy()
    top = float(max(cluster.points[:, 2].max() for cluster in space.clusters))
    palm[0, 2, 3] = top + 0.09
    for width in np.linspace(0.04, 0.0, 41):
        q = np.full((1, 2), width)
        gap, _ = depths(gripper, space, palm, q)
        if (gap < 0.003).all():
            break
    assert (gap < 0.003).all()
    expected = np.maximum(q - np.maximum(gap, 0.0) - 0.001, 0.0)
    np.testing.assert_allclose(Pressing(gripper, depth=0.001).squeezed(space, palm, q), expected, atol=1e-4)
    shadow = load_hand("shadow_right")
    pressing = Pressing(shadow)
    wrist = [shadow.joint_names.index(name) for name in ("rh_WRJ2", "rh_WRJ1")]
    assert not pressing._movable[:, wrist].any()
    assert pressing._movable[:, [i for i in range(24) if i not in wrist]].any(axis=0).all()
