"""Renders the pictures of the README beside this file: cell.png and grasps.png.

Run `python docs/make_pictures.py` in the built workspace to make them anew.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco
import numpy as np
from dexgrasp.cli import main as dexgrasp
from dexgrasp_common.transforms import invert
from dexgrasp_perception.cloud import deproject
from dexgrasp_planner.generators import SceneCloud, make_generator
from dexgrasp_planner.ik import inverse_kinematics
from dexgrasp_sim.camera import CameraRenderer
from dexgrasp_sim.cell import CellConfig, SimCell
from dexgrasp_sim.picture import render_scene, write

from dexgrasp_description import load_arm, load_cell, load_hand

FOLDER = Path(__file__).resolve().parent
SAMPLES = FOLDER.parent / "launch" / "samples"
SEED, OBJECTS = 4, 8
BACK = 0.03  # how far the hand still is from the grasp [m]


def draw_cell() -> None:
    """The whole cell, with the hand about to close on an object."""
    cell = load_cell()
    arm, hand = load_arm(cell.arm), load_hand(cell.hand)
    sim = SimCell(cell, CellConfig(seed=SEED, objects=OBJECTS))
    state = sim.snapshot()
    data = state.data()
    depth = CameraRenderer(state.model).depth(data)
    view = SceneCloud(deproject(depth, cell.intrinsics).reshape(-1, 3), cell.world_T_camera, cell.area)
    grasps = make_generator("", hand).generate(view, 100, 0).grasps

    back = np.eye(4)
    back[:3, 3] = -BACK * hand.approach_axis
    flange = invert(cell.world_T_base) @ grasps.world_T_palm @ back @ invert(cell.flange_T_palm)
    reach = (inverse_kinematics(arm).solutions(pose, cell.home) for pose in flange)
    best, joints = next((rank, found[0]) for rank, found in enumerate(reach) if len(found))
    sim.arm_plant.place(data, joints)
    sim.hand_plant.place(data, grasps.pregrasp[best])
    mujoco.mj_forward(state.model, data)
    # The lamp's shadows reach no farther than this, so that they are fine where they fall.
    state.model.vis.map.shadowclip = 1.5
    eye, target = (0.84, 1.00, 0.70), (-0.07, -0.11, 0.215)
    write(FOLDER / "cell.png", render_scene(state.model, data, eye, target, size=(960, 600), field_of_view=35.0))


def draw_grasps() -> None:
    """What `dexgrasp generate` draws of the shipped sample."""
    options = ["generate", "--depth", "table.depth.png", "--intrinsics", "table.intrinsics.json"]
    options += ["--color", "table.color.png"]
    files = [str(SAMPLES / text) if text.startswith("table.") else text for text in options]
    if dexgrasp([*files, "--picture", str(FOLDER / "grasps.png")]):
        raise SystemExit("The sample's grasps could not be drawn.")


if __name__ == "__main__":
    draw_cell()
    draw_grasps()
