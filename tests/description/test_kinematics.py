"""Forward kinematics: published check values, pinocchio, MuJoCo, the DH table, and finite differences."""

from __future__ import annotations

import mujoco
import numpy as np
import pinocchio
import pytest
import torch
from dexgrasp_description.errors import MalformedDescriptionError
from dexgrasp_description.kinematics import ForwardKinematics

from dexgrasp_description import load_arm, load_hand

from .robots import ROBOTS, compiled, load, mujoco_positions, pinocchio_positions, random_positions

# The values are published with four decimals.
TABLE_TOLERANCE = 1.0e-4

# DexGraspNet 2.0's hand at q = 0: child link, origin and axis of each joint, in the base frame.
JOINT_FRAMES_AT_ZERO = {
    "j1": ("mcp_joint", (-0.0071, 0.0231, -0.0187), (0, 1, 0)),
    "j0": ("pip", (0.0310, 0.0086, -0.0065), (0, 0, -1)),
    "j2": ("dip", (0.0460, 0.0229, -0.0195), (0, 1, 0)),
    "j3": ("fingertip", (0.0821, 0.0227, -0.0195), (0, 1, 0)),
    "j12": ("pip_4", (-0.0694, -0.0012, -0.0216), (-1, 0, 0)),
    "j13": ("thumb_pip", (-0.0824, 0.0131, -0.0216), (0, 1, 0)),
    "j14": ("thumb_dip", (-0.0824, 0.0301, -0.0071), (0, 0, -1)),
    "j15": ("thumb_fingertip", (-0.0824, 0.0767, -0.0069), (0, 0, -1)),
}
TIPS_AT_ZERO = {
    "index": ((0.1169, 0.0082, -0.0203), (0, 0, -1)),
    "middle": ((0.1169, -0.0373, -0.0203), (0, 0, -1)),
    "ring": ((0.1169, -0.0827, -0.0203), (0, 0, -1)),
    "thumb": ((-0.0816, 0.1228, -0.0212), (1, 0, 0)),
}
TIPS_OPPOSED = {
    "index": ((-0.0086, 0.0082, -0.1427), (-1, 0, 0)),
    "thumb": ((-0.0816, -0.0007, -0.1456), (1, 0, 0)),
}


def _leap_poses(q: np.ndarray) -> dict[str, np.ndarray]:
    kinematics = ForwardKinematics(load_hand("leap_right"))
    return {link: pose[0].numpy() for link, pose in kinematics.link_poses(torch.as_tensor(q)[None]).items()}


def test_leap_joint_frames_at_zero_are_the_published_ones() -> None:
    poses = _leap_poses(np.zeros(16))
    joints = {joint.name: joint for joint in load_hand("leap_right").joints}
    for name, (link, origin, axis) in JOINT_FRAMES_AT_ZERO.items():
        np.testing.assert_allclose(poses[link][:3, 3], origin, atol=TABLE_TOLERANCE, err_msg=name)
        np.testing.assert_allclose(poses[link][:3, :3] @ joints[name].axis, axis, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(("bent", "tips"), [(0.0, TIPS_AT_ZERO), (1.57, TIPS_OPPOSED)])
def test_leap_fingertips_are_the_published_ones(bent: float, tips: dict) -> None:
    q = np.zeros(16)
    q[[1, 5, 9, 12]] = bent
    poses = _leap_poses(q)
    for tip in load_hand("leap_right").fingertips:
        if tip.name in tips:
            centre, normal = tips[tip.name]
            found = poses[tip.link][:3, :3] @ tip.centre + poses[tip.link][:3, 3]
            np.testing.assert_allclose(found, centre, atol=TABLE_TOLERANCE, err_msg=tip.name)
            np.testing.assert_allclose(poses[tip.link][:3, :3] @ tip.inner_normal, normal, atol=1e-3)


@pytest.mark.parametrize("robot", ROBOTS)
def test_link_poses_agree_with_pinocchio_and_mujoco(robot: tuple[str, str]) -> None:
    model = load(robot)
    batch = random_positions(model, 20)
    poses = ForwardKinematics(model).link_poses(torch.as_tensor(batch))
    assert tuple(poses) == model.links
    pin_model = pinocchio.buildModelFromUrdf(str(model.urdf_path))
    pin_data = pin_model.createData()
    mj_model = compiled(model)
    mj_data = mujoco.MjData(mj_model)
    for b, q in enumerate(batch):
        pinocchio.framesForwardKinematics(pin_model, pin_data, pinocchio_positions(pin_model, model.joint_names, q))
        mj_data.qpos[:] = mujoco_positions(mj_model, model.joint_names, q)
        mujoco.mj_kinematics(mj_model, mj_data)
        for link in model.links:
            base_T_link = poses[link][b].numpy()
            np.testing.assert_allclose(
                base_T_link, pin_data.oMf[pin_model.getFrameId(link)].homogeneous, atol=1e-6, err_msg=link
            )
            np.testing.assert_allclose(base_T_link[:3, 3], mj_data.body(link).xpos, atol=1e-6, err_msg=link)
            rotation = mj_data.body(link).xmat.reshape(3, 3)
            np.testing.assert_allclose(base_T_link[:3, :3], rotation, atol=1e-6, err_msg=link)


@pytest.mark.parametrize("name", ["ur5", "ur5e"])
def test_flange_agrees_with_the_dh_table(name: str) -> None:
    arm = load_arm(name)
    batch = random_positions(arm, 20)
    flange = ForwardKinematics(arm).link_poses(torch.as_tensor(batch))[arm.flange_link].numpy()
    assert arm.dh is not None
    for q, base_T_flange in zip(batch, flange, strict=True):
        chain = np.eye(4)
        for angle, (a, d, alpha) in zip(q, arm.dh, strict=True):
            c, s, ca, sa = np.cos(angle), np.sin(angle), np.cos(alpha), np.sin(alpha)
            chain = chain @ [[c, -s * ca, s * sa, a * c], [s, c * ca, -c * sa, a * s], [0, sa, ca, d], [0, 0, 0, 1]]
        np.testing.assert_allclose(base_T_flange, chain, atol=1e-9)


@pytest.mark.parametrize("robot", ROBOTS)
def test_gradients_agree_with_finite_differences(robot: tuple[str, str]) -> None:
    model = load(robot)
    kinematics = ForwardKinematics(model)
    q = torch.as_tensor(random_positions(model, 2, seed=5)).requires_grad_()
    assert torch.autograd.gradcheck(kinematics.stacked_poses, (q,), eps=1e-6, atol=1e-7)


def test_a_batch_is_its_rows_and_single_precision_is_close() -> None:
    hand = load_hand("leap_right")
    q = torch.as_tensor(random_positions(hand, 7))
    whole = ForwardKinematics(hand).stacked_poses(q)
    rows = torch.cat([ForwardKinematics(hand).stacked_poses(row[None]) for row in q])
    torch.testing.assert_close(whole, rows, atol=1e-12, rtol=0.0)
    single = ForwardKinematics(hand, dtype=torch.float32).stacked_poses(q)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), whole, atol=1e-6, rtol=0.0)


def test_an_empty_batch_gives_empty_poses() -> None:
    kinematics = ForwardKinematics(load_hand("leap_right"))
    assert kinematics.stacked_poses(torch.zeros(0, 16)).shape == (0, 17, 4, 4)


def test_surface_points_follow_their_links() -> None:
    hand = load_hand("leap_right")
    q = torch.as_tensor(random_positions(hand, 3))
    kinematics = ForwardKinematics(hand)
    poses = kinematics.link_poses(q)
    for link, (points, normals) in kinematics.surface_points(q, n=400, seed=2).items():
        local, local_normals = hand.surface_samples(400, seed=2)[link]
        for b in range(3):
            base_T_link = poses[link][b].numpy()
            np.testing.assert_allclose(points[b].numpy(), local @ base_T_link[:3, :3].T + base_T_link[:3, 3])
            np.testing.assert_allclose(normals[b].numpy(), local_normals @ base_T_link[:3, :3].T)


@pytest.mark.parametrize("shape", [(16,), (2, 15), (1, 2, 16)])
def test_wrong_shapes_say_what_is_right(shape: tuple[int, ...]) -> None:
    with pytest.raises(MalformedDescriptionError, match=r"\(B, 16\) for leap_right"):
        ForwardKinematics(load_hand("leap_right")).stacked_poses(torch.zeros(shape))
