"""Shadow and Allegro hands against the tables of numbers that their files were written from.

The tables list bodies as MuJoCo Menagerie does: position and quaternion in the parent, hinge axis, limits. The Shadow
hand's are rooted at the forearm, ours at the palm; the Allegro hand's tips are bodies of their own, ours are not.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dexgrasp_common.transforms import invert
from dexgrasp_description.errors import UnknownNameError
from dexgrasp_description.kinematics import ForwardKinematics
from dexgrasp_description.tree import read_inertias
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import HandModel, load_hand

from .robots import random_positions

UNIT = (1.0, 0.0, 0.0, 0.0)
TURN = (0.707107, 0.0, 0.0, 0.707107)  # 90 degrees about z
# Bodies of the Shadow hand: parent, position, quaternion wxyz, joint, its axis. Quaternions are given to six digits.
SHADOW = {
    "rh_wrist": ("rh_forearm", (0.01, 0, 0.21301), TURN, "rh_WRJ2", (0, 1, 0)),
    "rh_palm": ("rh_wrist", (0, 0, 0.034), UNIT, "rh_WRJ1", (1, 0, 0)),
    "rh_lfmetacarpal": ("rh_palm", (-0.033, 0, 0.02071), UNIT, "rh_LFJ5", (0.573576, 0, 0.819152)),
    "rh_thbase": ("rh_palm", (0.034, -0.00858, 0.029), (0.92388, 0, 0.382683, 0), "rh_THJ5", (0, 0, -1)),
    "rh_thproximal": ("rh_thbase", (0, 0, 0), UNIT, "rh_THJ4", (1, 0, 0)),
    "rh_thhub": ("rh_thproximal", (0, 0, 0.038), UNIT, "rh_THJ3", (1, 0, 0)),
    "rh_thmiddle": ("rh_thhub", (0, 0, 0), UNIT, "rh_THJ2", (0, -1, 0)),
    "rh_thdistal": ("rh_thmiddle", (0, 0, 0.032), (0.707107, 0, 0, -0.707107), "rh_THJ1", (1, 0, 0)),
}
for _f, _parent, _at, _side in (
    ("ff", "rh_palm", (0.033, 0, 0.095), -1),
    ("mf", "rh_palm", (0.011, 0, 0.099), -1),
    ("rf", "rh_palm", (-0.011, 0, 0.095), 1),
    ("lf", "rh_lfmetacarpal", (0, 0, 0.06579), 1),
):
    _j = f"rh_{_f.upper()}J"
    SHADOW |= {
        f"rh_{_f}knuckle": (_parent, _at, UNIT, f"{_j}4", (0, _side, 0)),
        f"rh_{_f}proximal": (f"rh_{_f}knuckle", (0, 0, 0), UNIT, f"{_j}3", (1, 0, 0)),
        f"rh_{_f}middle": (f"rh_{_f}proximal", (0, 0, 0.045), UNIT, f"{_j}2", (1, 0, 0)),
        f"rh_{_f}distal": (f"rh_{_f}middle", (0, 0, 0.025), UNIT, f"{_j}1", (1, 0, 0)),
    }
SHADOW_ORDER = [
    *("WRJ2", "WRJ1"),
    *(f"{finger}J{joint}" for finger in ("FF", "MF", "RF") for joint in (4, 3, 2, 1)),
    *(f"{finger}J{joint}" for finger in ("LF", "TH") for joint in (5, 4, 3, 2, 1)),
]
SHADOW_LIMITS = {
    "WRJ2": (-0.5236, 0.17453), "WRJ1": (-0.69813, 0.48869), "J4": (-0.34907, 0.34907), "J3": (-0.2618, 1.5708),
    "J2": (0, 1.5708), "J1": (0, 1.5708), "LFJ5": (0, 0.7854), "THJ5": (-1.0472, 1.0472), "THJ4": (0, 1.2217),
    "THJ3": (-0.20944, 0.20944), "THJ2": (-0.69813, 0.69813), "THJ1": (-0.2618, 1.5708),
}  # fmt: skip

ALLEGRO = {
    "th_base": (
        "palm", (-0.0182, 0.019333, -0.045987), (0.477714, -0.521334, -0.521334, -0.477714), "thj0", (-1, 0, 0)
    ),
    "th_proximal": ("th_base", (-0.027, 0.005, 0.0399), UNIT, "thj1", (0, 0, 1)),
    "th_medial": ("th_proximal", (0, 0, 0.0177), UNIT, "thj2", (0, 1, 0)),
    "th_distal": ("th_medial", (0, 0, 0.0514), UNIT, "thj3", (0, 1, 0)),
}  # fmt: skip
for _f, _at, _turn in (
    ("ff", (0, 0.0435, -0.001542), (0.999048, -0.0436194, 0, 0)),
    ("mf", (0, 0, 0.0007), UNIT),
    ("rf", (0, -0.0435, -0.001542), (0.999048, 0.0436194, 0, 0)),
):
    ALLEGRO |= {
        f"{_f}_base": ("palm", _at, _turn, f"{_f}j0", (0, 0, 1)),
        f"{_f}_proximal": (f"{_f}_base", (0, 0, 0.0164), UNIT, f"{_f}j1", (0, 1, 0)),
        f"{_f}_medial": (f"{_f}_proximal", (0, 0, 0.054), UNIT, f"{_f}j2", (0, 1, 0)),
        f"{_f}_distal": (f"{_f}_medial", (0, 0, 0.0384), UNIT, f"{_f}j3", (0, 1, 0)),
    }
TABLES = {"shadow_right": SHADOW, "allegro_right": ALLEGRO}
# Six digits of a quaternion, over the length of the hand.
TOLERANCE = 2e-6


def in_table(hand: HandModel, link: str, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """`root_T_link` (4, 4) as the table has it: multiplied out from the table's root, in its own frames."""
    table = TABLES[hand.name]
    if link not in table:
        return np.eye(4)
    parent, at, quaternion, joint, axis = table[link]
    parent_T_link = np.eye(4)
    parent_T_link[:3, 3] = at
    unit = np.array(axis) / np.linalg.norm(axis)
    turned = Rotation.from_rotvec(q[hand.joint_names.index(joint)] * unit)
    parent_T_link[:3, :3] = (Rotation.from_quat(quaternion, scalar_first=True) * turned).as_matrix()
    return in_table(hand, parent, q) @ parent_T_link


@pytest.mark.parametrize("name", TABLES)
def test_links_are_where_the_tables_put_them(name: str) -> None:
    hand = load_hand(name)
    batch = np.concatenate([np.zeros((1, len(hand.joint_names))), hand.home[None], random_positions(hand, 10)])
    poses = ForwardKinematics(hand).link_poses(torch.as_tensor(batch))
    assert set(TABLES[name]) | {"rh_forearm", "palm"} >= set(hand.links)
    for row, q in enumerate(batch):
        palm_T_root = invert(in_table(hand, hand.base_link, q))
        for link in TABLES[name]:
            if link == "rh_wrist":
                continue  # our wrist's frame is where WRJ1 turns it; the forearm beyond it is compared below
            expected = palm_T_root @ in_table(hand, link, q)
            np.testing.assert_allclose(poses[link][row].numpy(), expected, atol=TOLERANCE, err_msg=link)


def test_shadow_forearm_hangs_on_the_palm_by_the_wrist_of_the_table() -> None:
    """The table's forearm frame is DexGrasp Anything's, turned by 90 degrees about z: the wrist's turn in the table."""
    hand = load_hand("shadow_right")
    batch = random_positions(hand, 10)
    found = ForwardKinematics(hand).frame_poses(torch.as_tensor(batch), "dexgrasp_anything").numpy()
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_quat(TURN, scalar_first=True).as_matrix()
    for q, palm_T_frame in zip(batch, found, strict=True):
        np.testing.assert_allclose(palm_T_frame, invert(in_table(hand, "rh_palm", q)) @ turn, atol=TOLERANCE)


def test_shadow_palm_in_dexgrasp_anythings_frame_is_the_closed_form() -> None:
    """Root of their URDF: WRJ2 about y at (0, -0.010, 0.21301) m, WRJ1 about x 34 mm further along z."""
    hand = load_hand("shadow_right")
    q = hand.home.copy()
    q[:2] = (-0.3, 0.25)
    palm_T_frame = ForwardKinematics(hand).frame_poses(torch.as_tensor(q)[None], "dexgrasp_anything")[0].numpy()
    frame_T_palm = invert(palm_T_frame)
    c, s = np.cos(-0.3), np.sin(-0.3)
    np.testing.assert_allclose(frame_T_palm[:3, 3], [0.034 * s, -0.01, 0.21301 + 0.034 * c], atol=1e-9)
    turn = Rotation.from_euler("YX", [-0.3, 0.25]).as_matrix()
    np.testing.assert_allclose(frame_T_palm[:3, :3], turn, atol=1e-9)
    with pytest.raises(UnknownNameError, match="Its frames: dexgrasp_anything, dexgraspbench"):
        ForwardKinematics(hand).frame_poses(torch.as_tensor(q)[None], "mano")
    with pytest.raises(UnknownNameError, match="Its frames: none"):
        ForwardKinematics(load_hand("panda_gripper")).frame_poses(torch.zeros(1, 2), "mano")


@pytest.mark.parametrize(
    ("name", "position", "wxyz"),
    [
        ("shadow_right", [0.0, 0.0, 0.034], [1.0, 0.0, 0.0, 0.0]),
        ("allegro_right", [0.0, 0.0, 0.0], [0.0, 0.707107, 0.0, 0.707107]),
        ("leap_right", [0.0, 0.0, 0.1], [0.0, 1.0, 0.0, 0.0]),
    ],
)
def test_palms_in_dexgraspbenchs_roots_are_where_menageries_models_have_them(
    name: str, position: list[float], wxyz: list[float]
) -> None:
    """Pose of the palm's body in the root; of Shadow, whose forearm and wrist joints are left out, in the wrist."""
    hand = load_hand(name)
    palm_T_root = ForwardKinematics(hand).frame_poses(torch.as_tensor(hand.home[None].copy()), "dexgraspbench")[0]
    root_T_palm = invert(palm_T_root.numpy())
    np.testing.assert_allclose(root_T_palm[:3, 3], position, atol=1e-9)
    turn = Rotation.from_quat(wxyz, scalar_first=True).as_matrix()
    np.testing.assert_allclose(root_T_palm[:3, :3], turn, atol=1e-6)


def test_the_wrist_of_shadow_moves_no_finger() -> None:
    hand = load_hand("shadow_right")
    moved = hand.home.copy()
    moved[:2] = (-0.5, 0.4)
    poses = ForwardKinematics(hand).link_poses(torch.as_tensor(np.stack([hand.home, moved])))
    still = {link for link in hand.links if torch.equal(poses[link][0], poses[link][1])}
    assert set(hand.links) - still == {"rh_wrist", "rh_forearm"}


def test_bent_fingers_are_the_closed_form() -> None:
    """Every bending joint at 90, 0 and 0 degrees: straight fingers that stand on the palm."""
    shadow, allegro = load_hand("shadow_right"), load_hand("allegro_right")
    q = np.zeros(24)
    q[[shadow.joint_names.index(f"rh_{finger}J3") for finger in ("FF", "MF", "RF", "LF")]] = np.pi / 2
    poses = ForwardKinematics(shadow).link_poses(torch.as_tensor(q)[None])
    for finger, x, z in (("ff", 0.033, 0.095), ("mf", 0.011, 0.099), ("rf", -0.011, 0.095), ("lf", -0.033, 0.0865)):
        np.testing.assert_allclose(poses[f"rh_{finger}distal"][0, :3, 3], [x, -0.07, z], atol=1e-12)
    q = np.zeros(16)
    q[allegro.joint_names.index("mfj1")] = np.pi / 2
    poses = ForwardKinematics(allegro).link_poses(torch.as_tensor(q)[None])
    np.testing.assert_allclose(poses["mf_distal"][0, :3, 3], [0.054 + 0.0384, 0, 0.0007 + 0.0164], atol=1e-12)


def test_joints_are_in_the_order_and_within_the_limits_of_the_tables() -> None:
    shadow, allegro = load_hand("shadow_right"), load_hand("allegro_right")
    assert shadow.joint_names == tuple(f"rh_{joint}" for joint in SHADOW_ORDER)
    for i, joint in enumerate(SHADOW_ORDER):
        limits = SHADOW_LIMITS.get(joint) or SHADOW_LIMITS[joint[2:]]
        assert (shadow.lower[i], shadow.upper[i]) == limits, joint
    assert allegro.joint_names == tuple(f"{finger}j{i}" for finger in ("ff", "mf", "rf", "th") for i in range(4))
    finger, thumb = [(-0.47, 0.47), (-0.196, 1.61), (-0.174, 1.709), (-0.227, 1.618)], [
        (0.263, 1.396), (-0.105, 1.163), (-0.189, 1.644), (-0.162, 1.719)
    ]  # fmt: skip
    assert list(zip(allegro.lower, allegro.upper, strict=True)) == [*finger, *finger, *finger, *thumb]


def test_masses_and_inertias_are_those_of_the_tables() -> None:
    shadow = read_inertias(load_hand("shadow_right").urdf_path)
    assert sum(inertia.mass for inertia in shadow.values()) == pytest.approx(3.0 + 0.1 + 0.3 + 4 * 0.068 + 0.03 + 0.092)
    assert shadow["rh_forearm"].mass == 3.0
    # The table's forearm is turned by 90 degrees and its origin is the other end.
    np.testing.assert_allclose(shadow["rh_forearm"].centre, [0.0, 0.01, 0.09 - 0.21301], atol=1e-9)
    np.testing.assert_allclose(np.diag(shadow["rh_palm"].matrix), [0.0003581, 0.0005287, 0.000191], atol=1e-9)
    allegro = read_inertias(load_hand("allegro_right").urdf_path)
    finger, thumb = 0.007232 + 0.02728 + 0.01846 + 0.007512 + 0.006845, 0.03826 + 0.007219 + 0.0225 + 0.01633 + 0.006845
    assert sum(inertia.mass for inertia in allegro.values()) == pytest.approx(0.3514 + 3 * finger + thumb)
    # A distal link and its tip together: their centres are 18 mm apart along z, and off it by less than a millimetre.
    share = 0.007512 * 0.006845 / (0.007512 + 0.006845)
    turn = Rotation.from_quat((0.6878, 0.6877, 0.1645, -0.1643), scalar_first=True).as_matrix()
    own = turn @ np.diag((7.964e-7, 7.282e-7, 3.778e-7)) @ turn.T
    expected = share * (0.025403 - 0.0072513) ** 2 + 4.558e-7 + own[1, 1]
    assert allegro["ff_distal"].matrix[1, 1] == pytest.approx(expected, rel=1e-3)
