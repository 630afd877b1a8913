"""Renders the sample beside this file: a view of the simulated cell, as `dexgrasp generate --depth` takes it.

Run `python launch/samples/render.py` in the built workspace to make it anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
from dexgrasp_sim.camera import CameraRenderer
from dexgrasp_sim.cell import CellConfig, SimCell
from dexgrasp_sim.depth_noise import DepthNoise, to_millimetres

from dexgrasp_description import load_cell

SEED, OBJECTS = 3, 6


def main() -> None:
    """Write table.depth.png (16 bit, millimetres), table.color.png and table.intrinsics.json."""
    cell = SimCell(load_cell("ur5_leap"), CellConfig(seed=SEED, objects=OBJECTS))
    state = cell.snapshot()
    camera, data = CameraRenderer(state.model), state.data()
    k = cell.cell.intrinsics
    depth = to_millimetres(DepthNoise((k.height, k.width), seed=SEED).apply(camera.depth(data)))
    folder = Path(__file__).parent
    cv2.imwrite(str(folder / "table.depth.png"), depth)
    cv2.imwrite(str(folder / "table.color.png"), camera.colour(data)[..., ::-1])
    intrinsics = {"width": k.width, "height": k.height, "fx": k.fx, "fy": k.fy, "cx": k.cx, "cy": k.cy}
    (folder / "table.intrinsics.json").write_text(json.dumps(intrinsics, indent=2) + "\n")


if __name__ == "__main__":
    main()
