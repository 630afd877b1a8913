"""What of the Isaac Gym bench can be tested without Isaac Gym: the files that it is given, and how it fails."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
import trimesh
from dexgrasp_common.registry import UnavailableBackendError
from dexgrasp_sim.families import FAMILIES
from dexgrasp_sim.isaacgym_assets import SLIDES, write_flying_hand, write_hand, write_object
from dexgrasp_sim.isaacgym_tester import PYTHON_VARIABLE, IsaacGymError, IsaacGymTester
from dexgrasp_sim.objects import part_mesh
from dexgrasp_sim.tester import GRASP_TESTERS

import dexgrasp_sim
from dexgrasp_description import load_hand

from .grasps import cylinder, enveloping

WORKER = Path(dexgrasp_sim.__file__).with_name("isaacgym_worker.py")


@pytest.mark.parametrize("family", ["box", "ball", "can", "mug", "superquadric"])
def test_an_object_file_has_the_objects_mass_inertia_and_parts(family: str, tmp_path: Path) -> None:
    model = FAMILIES[family](np.random.default_rng(3))
    read = mujoco.MjModel.from_xml_path(str(write_object(model, tmp_path, "thing")))
    # MuJoCo fixes a URDF's first link to the world, and keeps its geoms there.
    assert read.ngeom == len(model.parts)
    text = (tmp_path / "thing.urdf").read_text()
    assert f'<mass value="{model.mass:.12g}"' in text
    assert f'ixx="{model.inertia[0, 0]:.12g}"' in text
    corners = np.concatenate([part_mesh(part).vertices for part in model.parts])
    for number, part in enumerate(model.parts):
        file = tmp_path / f"thing_{number}.obj"
        if file.is_file():
            written = trimesh.load_mesh(file)
            np.testing.assert_allclose(written.bounds, part_mesh(part).bounds, atol=1e-6)
            assert (written.bounds[0] >= corners.min(axis=0) - 1e-6).all()
        else:
            assert part.kind in ("box", "sphere")


def test_a_hand_file_is_the_hands_own(tmp_path: Path) -> None:
    hand = load_hand("leap_right")
    read = mujoco.MjModel.from_xml_path(str(write_hand(hand, tmp_path)))
    assert {read.joint(i).name for i in range(read.njnt)} == set(hand.joint_names)


@pytest.mark.parametrize("name", ["leap_right", "panda_gripper"])
def test_a_flying_hand_moves_along_its_palms_axes(name: str, tmp_path: Path) -> None:
    hand = load_hand(name)
    model = mujoco.MjModel.from_xml_path(str(write_flying_hand(hand, tmp_path)))
    data = mujoco.MjData(model)
    assert {model.joint(i).name for i in range(model.njnt)} == {*SLIDES, *hand.joint_names}
    tip = hand.fingertips[0].link
    mujoco.mj_kinematics(model, data)
    before = data.body(tip).xpos.copy()
    for slide, distance in zip(SLIDES, (0.1, -0.2, 0.3), strict=True):
        data.joint(slide).qpos[0] = distance
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(data.body(tip).xpos - before, [0.1, -0.2, 0.3], atol=1e-9)


def test_the_worker_is_python_3_8_and_needs_nothing_of_the_suite() -> None:
    tree = ast.parse(WORKER.read_text(), feature_version=(3, 8))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules - sys.stdlib_module_names == {"numpy", "torch", "isaacgym"}


def test_without_the_variable_the_registry_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    with pytest.raises(UnavailableBackendError, match=rf"{PYTHON_VARIABLE}.*Isaac Gym Preview 4.*Python 3\.8"):
        GRASP_TESTERS.create("isaacgym", load_hand("leap_right"))


@pytest.mark.skipif(importlib.util.find_spec("isaacgym") is not None, reason="this Python has Isaac Gym")
def test_a_python_without_isaac_gym_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, sys.executable)
    with pytest.raises(IsaacGymError, match="No module named 'isaacgym'"):
        IsaacGymTester(load_hand("leap_right")).hold6(cylinder(), *enveloping())
    monkeypatch.setenv(PYTHON_VARIABLE, "/nowhere/python")
    with pytest.raises(IsaacGymError, match="must name a Python that has Isaac Gym"):
        IsaacGymTester(load_hand("leap_right")).hold6(cylinder(), *enveloping())


def test_protocols_that_it_does_not_play_are_named() -> None:
    tester = IsaacGymTester(load_hand("leap_right"))
    pose, grasp, squeeze = enveloping()
    with pytest.raises(IsaacGymError, match="dga.*Use the mujoco tester"):
        tester.dga(cylinder(), pose, grasp)
    with pytest.raises(IsaacGymError, match="dexgraspbench.*Use the mujoco tester"):
        tester.dexgraspbench(cylinder(), pose, grasp, grasp, squeeze)
