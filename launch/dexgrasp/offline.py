"""`dexgrasp generate --depth`: grasps on one depth image, without ROS and without a calibrated table."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from dexgrasp_common.report import machine, versions, write_report
from dexgrasp_perception.depth_image import load_color, load_depth, load_intrinsics
from dexgrasp_perception.frame import Frame
from dexgrasp_perception.restoration import DEPTH_RESTORATIONS
from dexgrasp_perception.scene import TableScene, look_at_table
from dexgrasp_planner.generators import Generation, SceneCloud, generator_name, make_generator

from dexgrasp.heat_map import heat_map
from dexgrasp.picture import grey, picture, save
from dexgrasp_description import load_hand


def run(parsed: argparse.Namespace) -> int:
    """Restore the depth, find the table, generate and filter grasps; the frame `world` lies on the table found.

    Raises:
        DexgraspError: A file, the image or the scene in it cannot be used, or no grasp was found.
    """
    raw = load_depth(parsed.depth, parsed.depth_unit)
    height, width = raw.shape
    intrinsics = load_intrinsics(parsed.intrinsics, (width, height))
    color = None if parsed.color is None else load_color(parsed.color)
    if color is not None and color.shape[:2] != raw.shape:
        raise ValueError(f"--color has {color.shape[1]}x{color.shape[0]} pixels, --depth has {width}x{height}.")
    hand = load_hand(parsed.hand)
    generator = make_generator(parsed.generator, hand)
    if parsed.heat_map and not hasattr(generator, "graspness"):
        raise ValueError("--heat-map needs a generator that predicts graspness: --generator diffusion.")

    start = time.perf_counter()
    frame = Frame(raw.astype(np.float32), intrinsics, color)
    restored = DEPTH_RESTORATIONS.create(parsed.restoration).restore(frame).depth
    restored_at = time.perf_counter()
    scene = look_at_table(restored, intrinsics, seed=parsed.seed)
    looked_at = time.perf_counter()
    view = SceneCloud(scene.cloud[scene.workspace], scene.table_T_camera, scene.area)
    bgr = None if color is None else np.ascontiguousarray(color[..., ::-1])
    if parsed.heat_map:  # before anything may fail for want of good grasps
        image = grey(restored) if bgr is None else bgr
        voxels, graspness = generator.graspness(view, parsed.seed)
        save(parsed.heat_map, heat_map(image, scene.cloud, scene.table_T_camera, voxels, graspness))
    generation: Generation = generator.generate(view, parsed.max_grasps or 100, parsed.seed)

    milliseconds = {
        "restore": 1000 * (restored_at - start),
        "find_table": 1000 * (looked_at - restored_at),
        **generation.stage_ms,
    }
    figures = _report(parsed, raw, scene, generation, milliseconds)
    print(f"{figures['grasps']} grasps of {figures['candidates']} candidates in {sum(milliseconds.values()):.0f} ms.")
    if parsed.report:
        write_report(parsed.report, figures)
    if parsed.picture:
        palms, joints = generation.grasps.world_T_palm, generation.grasps.grasp
        save(parsed.picture, picture(bgr, restored, intrinsics.matrix, scene.table_T_camera, palms, joints, hand))
    return 0


def _report(
    parsed: argparse.Namespace,
    raw: np.ndarray,
    scene: TableScene,
    generation: Generation,
    milliseconds: dict[str, float],
) -> dict[str, Any]:
    grasps = generation.grasps
    return {
        "depth": parsed.depth.name,
        "seed": parsed.seed,
        "generator": generator_name(parsed.generator, parsed.hand),
        "restoration": parsed.restoration,
        "hand": parsed.hand,
        "missing_share": round(float((raw <= 0).mean()), 4),
        "points_on_table": int(scene.on_table.sum()),
        "area": np.round(scene.area, 4).tolist(),
        "candidates": generation.candidates,
        "grasps": len(grasps),
        "scores": np.round(grasps.score, 5).tolist(),
        "world_T_camera": scene.table_T_camera.tolist(),
        "world_T_palm": grasps.world_T_palm.tolist(),
        "joints": grasps.grasp.tolist(),
        "stage_ms": {stage: round(value, 2) for stage, value in milliseconds.items()},
        "machine": machine(),
        "versions": versions(),
    }
