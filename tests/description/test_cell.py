"""The workcell: what its file must hold, and that the robot can work in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pinocchio
import pytest
import torch
import yaml
from dexgrasp_common.transforms import apply, invert
from dexgrasp_description.cell import CELLS, cell_names
from dexgrasp_description.errors import MalformedDescriptionError, UnknownNameError
from dexgrasp_description.kinematics import ForwardKinematics
from scipy.spatial.transform import Rotation

from dexgrasp_description import Cell, load_arm, load_cell, load_hand


def _corners(cell: Cell, height: float) -> np.ndarray:
    x0, x1, y0, y1 = cell.area
    return np.array([[x, y, height] for x in (x0, x1) for y in (y0, y1)])


def test_unknown_names_list_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match="ur5_leap"):
        load_cell("kitchen")
    with pytest.raises(UnknownNameError, match=r"path of a \.yaml"):
        load_cell("/nowhere/cell.yaml")


def test_a_cell_is_also_found_by_its_path() -> None:
    by_path, by_name = load_cell(CELLS / "ur5_leap.yaml"), load_cell("ur5_leap")
    np.testing.assert_array_equal(by_path.world_T_camera, by_name.world_T_camera)
    assert by_path.arm == "ur5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": "ur50"}, "panda, ur5, ur5e"),
        ({"hand": "hook"}, "leap_right, panda_gripper"),
        ({"home": [0.0] * 5}, "home needs 6 finite numbers"),
        ({"home": [0.0, 0.0, 4.0, 0.0, 0.0, 0.0]}, "within the limits of ur5"),
        ({"world_T_base": [0.0, 0.0, 0.0, 1.0]}, "world_T_base: .*seven finite numbers"),
        ({"world_T_camera": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]}, "world_T_camera"),
        ({"area": [0.2, -0.2, 0.0, 0.1]}, "x0 < x1"),
        ({"table": {"center": [0, 0, 0], "size": [1, 1, 0.1]}}, "table top must be z = 0"),
        ({"table": {"center": [0, 0, -0.05]}}, "keys center, size"),
        ({"intrinsics": {"width": 640, "height": 480, "fx": 385, "fy": 385, "cx": 700, "cy": 240}}, "640x480 image"),
        ({"bin": {"center": [0, 0], "inner_size": [0.3, 0.3, -0.1], "wall": 0.01}}, "must be positive"),
        ({"bracket": [{"cone": [1.0]}]}, "box, capsule, cylinder, sphere"),
        ({"colour": "blue"}, r"unknown keys: \['colour'\]"),
    ],
)
def test_malformed_cells_say_what_is_right(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    data = yaml.safe_load((CELLS / "ur5_leap.yaml").read_text()) | change
    path = tmp_path / "cell.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(MalformedDescriptionError, match=message):
        load_cell(path)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    (tmp_path / "cell.yaml").write_text("arm: ur5\nhand: leap_right\n")
    with pytest.raises(MalformedDescriptionError, match="'area', 'bin'"):
        load_cell(tmp_path / "cell.yaml")


@pytest.mark.parametrize("name", cell_names())
def test_the_table_carries_area_bin_and_base(name: str) -> None:
    cell = load_cell(name)
    low, high = cell.table.center - cell.table.size / 2.0, cell.table.center + cell.table.size / 2.0
    walls = np.array([wall.center + sign * wall.size / 2.0 for wall in cell.bin.walls() for sign in (-1.0, 1.0)])
    for x, y, *_ in [*_corners(cell, 0.0), *walls, cell.world_T_base[:3, 3]]:
        assert low[0] < x < high[0]
        assert low[1] < y < high[1]


def test_bin_walls_enclose_its_inner_size() -> None:
    bin_ = load_cell("ur5_leap").bin
    left, right, far, near = bin_.walls()
    inner_x = (far.center[0] - far.size[0] / 2.0) - (near.center[0] + near.size[0] / 2.0)
    inner_y = (left.center[1] - left.size[1] / 2.0) - (right.center[1] + right.size[1] / 2.0)
    assert (inner_x, inner_y) == pytest.approx(tuple(bin_.inner_size[:2]))
    assert all(wall.center[2] - wall.size[2] / 2.0 == pytest.approx(0.0) for wall in bin_.walls())


@pytest.mark.parametrize("name", cell_names())
def test_the_camera_sees_the_whole_area(name: str) -> None:
    cell = load_cell(name)
    for height in (0.0, 0.15):
        points = apply(invert(cell.world_T_camera), _corners(cell, height))
        assert (points[:, 2] > 0.2).all()
        pixels = points @ cell.intrinsics.matrix.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        assert (pixels > 5.0).all()
        assert (pixels < [cell.intrinsics.width - 5.0, cell.intrinsics.height - 5.0]).all()


@pytest.mark.parametrize("name", cell_names())
def test_at_home_the_robot_hides_nothing_of_the_area_and_stands_over_nothing(name: str) -> None:
    cell = load_cell(name)
    eye = cell.world_T_camera[:3, 3]
    x0, x1, y0, y1 = cell.area
    bin_low, bin_high = cell.bin.center - cell.bin.inner_size[:2] / 2.0, cell.bin.center + cell.bin.inner_size[:2] / 2.0
    for link, points in _robot_points(cell).items():
        over_area = (points[:, 0] > x0) & (points[:, 0] < x1) & (points[:, 1] > y0) & (points[:, 1] < y1)
        assert not over_area.any(), link
        assert not ((points[:, :2] > bin_low) & (points[:, :2] < bin_high)).all(axis=1).any(), link
        for height in (0.0, 0.15):
            # Where the ray from the camera through the point meets this height.
            below = points[:, 2] < eye[2] - 1e-3
            reach = (eye[2] - height) / (eye[2] - points[below, 2])
            hit = eye[:2] + (points[below, :2] - eye[:2]) * reach[:, None]
            hidden = (hit > [x0, y0]).all(axis=1) & (hit < [x1, y1]).all(axis=1) & (reach > 1.0)
            assert not hidden.any(), link


def _robot_points(cell: Cell) -> dict[str, np.ndarray]:
    arm, hand = load_arm(cell.arm), load_hand(cell.hand)
    arm_kinematics = ForwardKinematics(arm)
    q = torch.tensor(cell.home)[None]
    world_T_flange = cell.world_T_base @ arm_kinematics.link_poses(q)[arm.flange_link][0].numpy()
    placed = {
        link: apply(cell.world_T_base, points[0].numpy())
        for link, (points, _) in arm_kinematics.surface_points(q, n=3000).items()
    }
    in_palm = ForwardKinematics(hand).surface_points(torch.tensor(hand.home)[None], n=3000)
    for link, (points, _) in in_palm.items():
        placed[link] = apply(world_T_flange @ cell.flange_T_palm, points[0].numpy())
    return placed


@pytest.mark.parametrize("name", cell_names())
def test_top_down_palms_over_area_and_bin_are_reached_well_within_limits(name: str) -> None:
    """At every corner and over the bin, palm 8 to 35 cm up, fingers in four directions; the elbow is never straight."""
    cell = load_cell(name)
    arm, hand = load_arm(cell.arm), load_hand(cell.hand)
    pin_model = pinocchio.buildModelFromUrdf(str(arm.urdf_path))
    bin_point = np.array([[*cell.bin.center, 0.0]])
    down = Rotation.align_vectors([[0.0, 0.0, -1.0]], [hand.approach_axis])[0]
    lower, upper = arm.lower + 0.1, arm.upper - 0.1
    for point in np.concatenate([_corners(cell, 0.0), bin_point]):
        heights = (0.25, 0.35) if point[1] == bin_point[0, 1] else (0.08, 0.35)
        for height in heights:
            for yaw in (0.0, np.pi / 2, np.pi, -np.pi / 2):
                world_T_palm = np.eye(4)
                world_T_palm[:3, :3] = (Rotation.from_euler("z", yaw) * down).as_matrix()
                world_T_palm[:3, 3] = point + [0.0, 0.0, height]
                base_T_flange = invert(cell.world_T_base) @ world_T_palm @ invert(cell.flange_T_palm)
                q = _inverse_kinematics(pin_model, arm.flange_link, base_T_flange, cell.home, lower, upper)
                assert q is not None, (point, height, yaw)
                if arm.dh is not None:
                    assert abs(np.sin(q[2])) > 0.15, (point, height, yaw)


def _inverse_kinematics(
    pin_model: pinocchio.Model,
    flange: str,
    base_T_flange: np.ndarray,
    start: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> np.ndarray | None:
    """A configuration within 0.1 mm and 0.1 mrad, by damped least squares from a few starts."""
    data, frame = pin_model.createData(), pin_model.getFrameId(flange)
    target = pinocchio.SE3(base_T_flange)
    rng = np.random.default_rng(0)
    for attempt in range(40):
        q = start.copy() if attempt == 0 else np.clip(start + rng.normal(scale=0.7, size=len(start)), lower, upper)
        for _ in range(100):
            pinocchio.framesForwardKinematics(pin_model, data, q)
            error = pinocchio.log6(data.oMf[frame].actInv(target)).vector
            if np.abs(error).max() < 1e-4:
                return q
            jacobian = pinocchio.computeFrameJacobian(pin_model, data, q, frame, pinocchio.ReferenceFrame.LOCAL)
            step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-4 * np.eye(6), error)
            q = np.clip(q + np.clip(step, -0.5, 0.5), lower, upper)
    return None
