"""`python -m dexgrasp.lift_benchmark`: how often the best grasp of a generator lifts an object of a simulated table.

Seeded scenes are settled, seen by the cell's depth camera, and given to the generator as they would be at run time;
the best grasps are then executed by a free-flying hand. The arm, and what it can reach, are no part of this.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from dexgrasp_common.report import machine, versions, write_report
from dexgrasp_perception.cloud import deproject
from dexgrasp_planner.generators import GenerateError, Generation, SceneCloud, generator_name, make_generator
from dexgrasp_sim.camera import CameraRenderer, add_camera, set_depth_range
from dexgrasp_sim.families import sample_objects
from dexgrasp_sim.scene import add_object, add_static_box, set_physics
from dexgrasp_sim.settle import settle
from dexgrasp_sim.tester import GRASP_TESTERS, LiftConfig, LiftScene
from rich.console import Console
from rich.table import Table

from dexgrasp_description import Cell, load_cell, load_hand


def settled_scene(cell: Cell, objects: int, seed: int, friction: float) -> LiftScene:
    """Objects at rest in the cell's object area; the same numbers give the same scene."""
    rng = np.random.default_rng(seed)
    models = sample_objects(objects, rng)
    return LiftScene(models, np.array(settle(models, cell.area, rng, friction=friction)))


def view_of(cell: Cell, scene: LiftScene) -> SceneCloud:
    """What the cell's camera sees of the scene, without noise and without the robot."""
    spec = mujoco.MjSpec()
    set_physics(spec)
    set_depth_range(spec)
    add_static_box(spec, "table", cell.table.center, cell.table.size, 0.6)
    for model, pose in zip(scene.objects, scene.world_T_object, strict=True):
        add_object(spec, model, 0.6, pose)
    add_camera(spec, cell.world_T_camera, cell.intrinsics)
    compiled = spec.compile()
    data = mujoco.MjData(compiled)
    mujoco.mj_forward(compiled, data)
    renderer = CameraRenderer(compiled)
    try:
        depth = renderer.depth(data)
    finally:
        renderer.close()
    return SceneCloud(deproject(depth, cell.intrinsics).reshape(-1, 3), cell.world_T_camera, cell.area)


def run(parsed: argparse.Namespace) -> dict[str, Any]:
    """All scenes; see the arguments of `main`."""
    cell = load_cell(parsed.cell)
    hand = load_hand(cell.hand)
    generator = make_generator(parsed.generator, hand)
    config = LiftConfig(friction=parsed.friction, effort_limit=parsed.effort_limit, held_still=parsed.held_still)
    tester = GRASP_TESTERS.create(parsed.tester, hand, config)
    scenes: list[dict[str, Any]] = []
    for seed in range(parsed.seed, parsed.seed + parsed.scenes):
        scene = settled_scene(cell, parsed.objects, seed, parsed.friction)
        start = time.perf_counter()
        try:
            generation: Generation = generator.generate(view_of(cell, scene), parsed.max_grasps, seed)
        except GenerateError as error:
            scenes.append({"seed": seed, "error_code": error.code, "error_msg": str(error), "grasps": 0})
            continue
        elapsed = time.perf_counter() - start
        result = tester.lift(scene, generation.grasps[: parsed.top])
        scenes.append(
            {
                "seed": seed,
                "grasps": len(generation.grasps),
                "candidates": generation.candidates,
                "generate_ms": round(1e3 * elapsed, 1),
                "success": result.success.tolist(),
                "pregrasp_clear": result.pregrasp_clear.tolist(),
                "rise": np.round(result.rise, 4).tolist(),
                "lifted": [scene.objects[i].family for i in result.lifted],
            }
        )
    return {
        "generator": generator_name(parsed.generator, hand.name),
        "objects": parsed.objects,
        "physics": asdict(config),
        "top1": float(np.mean([scene["grasps"] > 0 and scene["success"][0] for scene in scenes])),
        "all": float(np.mean([s for scene in scenes if scene["grasps"] for s in scene["success"]] or [0.0])),
        "generate_ms": float(np.median([scene["generate_ms"] for scene in scenes if scene["grasps"]] or [np.nan])),
        "scenes": scenes,
        "machine": machine(),
        "versions": versions(),
    }


def main() -> None:
    """Parse arguments, run, print a table, write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generator", default="", help="name of the grasp generator; empty: that of the hand")
    parser.add_argument("--tester", default="", help="name of the grasp tester; empty: the default")
    parser.add_argument("--cell", default="ur5_leap", help="name or path of the cell")
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--objects", type=int, default=5, help="objects in each scene")
    parser.add_argument("--seed", type=int, default=0, help="of the first scene")
    parser.add_argument("--max-grasps", type=int, default=100, help="grasps asked for")
    parser.add_argument("--top", type=int, default=5, help="how many of them, best first, are executed")
    parser.add_argument("--friction", type=float, default=0.6)
    parser.add_argument("--effort-limit", type=float, default=0.95, help="of the finger joints [N m]")
    parser.add_argument(
        "--held-still", action="store_true", help="objects float until the squeeze has ended, as in the benchmark"
    )
    parser.add_argument("--report", type=Path, help="JSON file to write")
    parsed = parser.parse_args()
    figures = run(parsed)
    table = Table(title=f"Lift test, {parsed.objects} objects, friction {parsed.friction}, 0.1 kg")
    for column in ("seed", "grasps", "generate [ms]", "rank 1", f"of the first {parsed.top}", "rank 1 lifted or tried"):
        table.add_column(column)
    for scene in figures["scenes"]:
        if not scene["grasps"]:
            table.add_row(str(scene["seed"]), "0", "", "", "", scene["error_msg"])
            continue
        share = f"{sum(scene['success'])}/{len(scene['success'])}"
        outcome = "lifted" if scene["success"][0] else "lost"
        table.add_row(
            str(scene["seed"]), str(scene["grasps"]), f"{scene['generate_ms']:.0f}", outcome, share, scene["lifted"][0]
        )
    console = Console()
    console.print(table)
    console.print(f"Rank 1 lifted in {100 * figures['top1']:.0f} % of the scenes, {100 * figures['all']:.0f} % of all.")
    if parsed.report:
        write_report(parsed.report, figures)


if __name__ == "__main__":
    main()
