"""Renders the sample beside this file: a view of the simulated cell, as `dexgrasp generate --depth` takes it.

Run `python launch/samples/render.py` in the built workspace to make it anew.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from dexgrasp_sim.camera import CameraRenderer
from dexgrasp_sim.cell import CellConfig, SimCell
from dexgrasp_sim.depth_noise import DepthNoise, to_millimetres

from dexgrasp_description import load_cell

SEED, OBJECTS = 12, 5
ZOOM = 1.55  # over the cell's own lens: the objects fill the image, and hands over them are still in it
ASIDE = 0.08  # of where the cell has its camera, away from the bin [m]


def main() -> None:
    """Write table.depth.png (16 bit, millimetres), table.color.png and table.intrinsics.json."""
    workcell = load_cell("ur5_leap")
    own = workcell.intrinsics
    lens = replace(own, fx=ZOOM * own.fx, fy=ZOOM * own.fy)
    aside = np.eye(4)
    aside[0, 3] = ASIDE
    view = replace(workcell, intrinsics=lens, world_T_camera=workcell.world_T_camera @ aside)
    cell = SimCell(view, CellConfig(seed=SEED, objects=OBJECTS))
    state = cell.snapshot()
    camera, data = CameraRenderer(state.model), state.data()
    depth = to_millimetres(DepthNoise((lens.height, lens.width), seed=SEED).apply(camera.depth(data)))
    folder = Path(__file__).parent
    cv2.imwrite(str(folder / "table.depth.png"), depth)
    cv2.imwrite(str(folder / "table.color.png"), camera.colour(data)[..., ::-1])
    intrinsics = {
        "width": lens.width,
        "height": lens.height,
        "fx": lens.fx,
        "fy": lens.fy,
        "cx": lens.cx,
        "cy": lens.cy,
    }
    (folder / "table.intrinsics.json").write_text(json.dumps(intrinsics, indent=2) + "\n")


if __name__ == "__main__":
    main()
