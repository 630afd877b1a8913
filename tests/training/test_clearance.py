"""Which grasps are clear: closed forms against table and box, and a slow look at every surface point."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dexgrasp_common.transforms import apply, invert
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_training.clutter.clearance import ClearanceConfig, clear_grasps
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import load_hand

from .boxes import at, box_asset, grasps_at

HANDS = ["leap_right", "panda_gripper"]
FAR = at(0.0, 0.0, 3.0)  # the grasped object, out of the way
TOLERANCE = 3e-4  # by which the hand's lattice of points misses what is round [m]


def surface(hand_name: str, joints: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """About `count` points on the hand, palm frame (N, K, 3), for joints (N, D)."""
    moved = ForwardKinematics(load_hand(hand_name)).surface_points(torch.tensor(joints), count)
    return np.concatenate([points.numpy() for points, _ in moved.values()], axis=1)


def farthest(hand_name: str, joints: NDArray[np.float64], direction: NDArray[np.float64]) -> float:
    """How far the hand reaches from the palm's origin in a direction (3,) of the palm frame [m]: exact."""
    hand = load_hand(hand_name)
    poses = ForwardKinematics(hand).link_poses(torch.tensor(joints[None]))
    reach = -np.inf
    for solid in hand.collision:
        palm_T_solid = poses[solid.link][0].numpy() @ solid.link_T_geom
        local, at_centre = direction @ palm_T_solid[:3, :3], direction @ palm_T_solid[:3, 3]
        if solid.kind == "box":
            reach = max(reach, at_centre + np.abs(local) @ solid.size)
        else:
            assert solid.kind == "capsule"
            reach = max(reach, at_centre + abs(local[2]) * solid.size[1] + solid.size[0])
    return float(reach)


def random_rotations(count: int, seed: int) -> NDArray[np.float64]:
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, rng=np.random.default_rng(seed)).as_matrix()
    return poses


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize(("posture", "margin"), [("pregrasp", 0.0025), ("grasp", 0.0)])
def test_the_lowest_point_must_stay_above_the_table_by_the_margin(hand: str, posture: str, margin: float) -> None:
    home, count = load_hand(hand).home, 20
    palms = random_rotations(count, 0)
    lowest = np.array([-farthest(hand, home, -pose[2, :3]) for pose in palms])
    # The other posture's margin is out of the way.
    config = ClearanceConfig(
        pregrasp_margin=margin if posture == "pregrasp" else -1.0,
        grasp_margin=margin if posture == "grasp" else -1.0,
        approach=0.0,
    )
    thing = box_asset("thing", (0.02, 0.02, 0.02))
    for offset, wanted in ((TOLERANCE, range(count)), (-TOLERANCE, [])):
        world_T_palm = palms.copy()
        world_T_palm[:, 2, 3] = margin + offset - lowest
        grasps = grasps_at(hand, invert(FAR) @ world_T_palm)
        assert clear_grasps([thing], FAR[None], 0, grasps, config).tolist() == list(wanted)


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize(("posture", "margin"), [("pregrasp", 0.0025), ("grasp", 0.0)])
def test_a_wall_at_a_known_distance(hand: str, posture: str, margin: float) -> None:
    home, count = load_hand(hand).home, 20
    wall = box_asset("wall", (0.4, 0.6, 0.6), spacing=0.004)
    world_T_wall = at(0.2, 0.0, 2.0)  # its face is x = 0
    palms = random_rotations(count, 1)
    nearest = np.array([farthest(hand, home, pose[0, :3]) for pose in palms])
    config = ClearanceConfig(
        pregrasp_margin=margin if posture == "pregrasp" else -1.0,
        grasp_margin=margin if posture == "grasp" else -1.0,
        approach=0.0,
    )
    thing = box_asset("thing", (0.02, 0.02, 0.02))
    for gap, wanted in ((margin + TOLERANCE, range(count)), (margin - TOLERANCE, [])):
        world_T_palm = palms.copy()
        world_T_palm[:, :3, 3] = [0.0, 0.0, 2.0]
        world_T_palm[:, 0, 3] = -gap - nearest
        grasps = grasps_at(hand, invert(FAR) @ world_T_palm)
        rows = clear_grasps([wall, thing], np.stack([world_T_wall, FAR]), 1, grasps, config)
        assert rows.tolist() == list(wanted)


@pytest.mark.parametrize("hand", HANDS)
def test_the_way_to_the_pregrasp_must_be_clear_where_that_is_asked(hand: str) -> None:
    axis = load_hand(hand).approach_axis
    home = load_hand(hand).home
    behind = farthest(hand, home, -axis)
    thing, obstacle = box_asset("thing", (0.02, 0.02, 0.02)), box_asset("obstacle", (0.05, 0.05, 0.05))
    world_T_palm = at(0.0, 0.0, 2.0)
    grasps = grasps_at(hand, (invert(FAR) @ world_T_palm)[None])
    for distance, along_way, wanted in (
        (0.03, 0.0, 1),  # the obstacle is 3 cm behind the back of the hand
        (0.03, 0.10, 0),
        (0.03, 0.02, 1),
        (0.13, 0.10, 1),
    ):
        world_T_obstacle = world_T_palm.copy()
        world_T_obstacle[:3, :3] = Rotation.align_vectors([axis], [[0, 0, 1]])[0].as_matrix()
        middle = surface(hand, home[None], 2000)[0].mean(axis=0)
        middle -= (middle @ axis) * axis
        world_T_obstacle[:3, 3] += middle - (behind + distance + 0.025) * axis
        config = ClearanceConfig(approach=along_way)
        rows = clear_grasps([thing, obstacle], np.stack([FAR, world_T_obstacle]), 0, grasps, config)
        assert len(rows) == wanted, (distance, along_way)


def test_the_own_object_is_never_in_the_way() -> None:
    thing = box_asset("thing", (0.1, 0.1, 0.1))
    grasps = grasps_at("leap_right", random_rotations(5, 2))
    assert len(clear_grasps([thing], at(0.0, 0.0, 1.0)[None], 0, grasps)) == 5


def test_no_grasps_no_rows() -> None:
    rows = clear_grasps(
        [box_asset("thing", (0.1, 0.1, 0.1))], FAR[None], 0, grasps_at("leap_right", np.zeros((0, 4, 4)))
    )
    assert rows.dtype == np.uint32
    assert len(rows) == 0


@pytest.mark.parametrize("hand", HANDS)
def test_agrees_with_a_look_at_every_surface_point(hand: str) -> None:
    rng = np.random.default_rng(4)
    assets = [box_asset("a", (0.05, 0.06, 0.04)), box_asset("b", (0.03, 0.1, 0.08)), box_asset("c", (0.06, 0.06, 0.1))]
    world_T_object = np.stack([at(0.0, 0.0, 0.02), at(0.09, 0.02, 0.04), at(-0.1, -0.05, 0.05)])
    world_T_object[1, :3, :3] = Rotation.from_euler("z", 0.5).as_matrix()
    model, count = load_hand(hand), 100
    palms = random_rotations(count, 3)
    palms[:, :3, 3] = rng.uniform([-0.15, -0.15, 0.03], [0.15, 0.15, 0.25], (count, 3))
    spread = model.upper - model.lower
    joints = [model.lower + rng.uniform(0.2, 0.6, (count, len(model.lower))) * spread for _ in range(2)]
    grasps = grasps_at(hand, palms, *joints)
    config = ClearanceConfig(approach=0.0)
    clear = np.zeros(count, bool)
    clear[clear_grasps(assets, world_T_object, 0, grasps, config)] = True
    assert 5 < clear.sum() < count - 5
    postures = ((grasps.grasp, config.grasp_margin), (grasps.pregrasp, config.pregrasp_margin))
    looked = [(surface(hand, joints, 4000), margin) for joints, margin in postures]
    for row in range(count):
        room = np.inf
        for palm_p, margin in looked:
            world_p = apply(world_T_object[0] @ palms[row], palm_p[row])
            gaps = [world_p[:, 2].min()]
            gaps += [assets[i].field.distance(apply(invert(world_T_object[i]), world_p)).min() for i in (1, 2)]
            room = min(room, min(gaps) - margin)
        # Samples and the hand's lattice of points miss corners by a little, in either direction.
        if abs(room) > 1.5e-3:
            assert clear[row] == (room > 0.0), (row, room)
