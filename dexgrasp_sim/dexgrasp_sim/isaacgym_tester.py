"""The test bench in Isaac Gym Preview 4 (PhysX), the simulator of the papers' own figures.

Isaac Gym needs Python 3.8, so a process of its own plays the simulation: see `isaacgym_worker.py`. The environment
variable `DEXGRASP_ISAACGYM_PYTHON` names that Python. Whether hand and object overlap to begin with is measured by the
MuJoCo benches, whose geometry is the same: PhysX does not tell depths.

None of this has been run: it is written against the public documentation and use of the API.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_common.transforms import from_xyz_quat, invert, to_xyz_quat
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_sim.driven_hand import ARMATURE
from dexgrasp_sim.hold import GRAVITY, HoldBench
from dexgrasp_sim.isaacgym_assets import SLIDES, write_flying_hand, write_hand, write_object
from dexgrasp_sim.lift import CARRIER_DAMPING, CARRIER_STIFFNESS, PHASE_TIMES, LiftBench, phases
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.plant import SimError
from dexgrasp_sim.tester import (
    DIRECTIONS,
    RISE,
    DexGraspBenchResult,
    DgaResult,
    HoldConfig,
    HoldOutcome,
    HoldResult,
    LiftConfig,
    LiftOutcome,
    LiftResult,
    LiftScene,
    check_hold,
    check_lift,
)

PYTHON_VARIABLE = "DEXGRASP_ISAACGYM_PYTHON"
RATE = 60  # steps a second, of two substeps each
ENVIRONMENTS = 100  # simulated at once; the papers' evaluator warns of more
_START_TIME, _TIME_PER_GRASP = 300.0, 5.0  # what the worker may take before it is given up [s]


class IsaacGymError(SimError):
    """The worker did not play its job."""


class IsaacGymTester:
    """See `dexgrasp_sim.tester.GraspTester`.

    Of the configurations, `timestep`, `impratio`, `rest_speed` and `rest_turn` are MuJoCo's; this bench always runs at
    60 Hz with two substeps, and every direction to its end.
    """

    def __init__(self, hand: HandModel, lift: LiftConfig | None = None, hold: HoldConfig | None = None) -> None:
        self._hand = hand
        self._lift = lift or LiftConfig()
        self._hold = hold or HoldConfig()

    def lift(self, scene: LiftScene, grasps: GraspSet) -> LiftResult:
        """See `GraspTester.lift`.

        Raises:
            IsaacGymError: The simulation failed.
        """
        check_lift(self._hand.name, scene, grasps)
        hand, config, count = self._hand, self._lift, len(grasps)
        bench = LiftBench(hand, config, scene)
        ways = np.zeros((count, 5, 3 + len(hand.joint_names)))
        clear = np.zeros(count, dtype=bool)
        for i in range(count):
            world_T_palm = grasps.world_T_palm[i]
            ways[i] = phases(hand, world_T_palm, grasps.pregrasp[i], grasps.grasp[i], grasps.squeeze[i])
            clear[i] = bench.clear_at(world_T_palm, ways[i, 0])
            # The slides start from the palm's grasp pose and run along the palm's axes.
            ways[i, :, :3] = (ways[i, :, :3] - world_T_palm[:3, 3]) @ world_T_palm[:3, :3]
        rise = np.zeros((count, len(scene.objects)))
        if clear.any():
            still = config.held_still
            job = self._job(np.full(len(hand.joint_names), config.effort_limit), flying=True) | {
                "friction": config.friction,
                "ground": True,
                "contacts_after": -1,
                "phases": [
                    _phase(
                        duration,
                        targets=f"way_{i}",
                        ramp=True,
                        pull=[0.0, 0.0, 0.0 if still and i < 4 else -GRAVITY],
                        still=still and i < 4,
                    )
                    for i, duration in enumerate(PHASE_TIMES, start=1)
                ],
            }
            arrays = {f"way_{i}": ways[clear, i] for i in range(1, 5)}
            arrays |= {"joints": ways[clear, 0], "hand_pose": _rows(grasps.world_T_palm[clear])}
            arrays["object_pose"] = np.repeat(_rows(scene.world_T_object)[None], int(clear.sum()), axis=0)
            played = _play(job, arrays, hand, list(scene.objects))
            rise[clear] = played["object_pose_3"][:, -1, :, 2] - arrays["object_pose"][:, :, 2]
        highest = rise.max(axis=1, initial=-np.inf)
        success = clear & (highest > RISE)
        outcome = np.where(success, LiftOutcome.LIFTED, np.where(clear, LiftOutcome.FAILED, LiftOutcome.COLLIDES))
        held = np.full(count, -1, dtype=np.intp)
        return LiftResult(success, clear, highest, rise.argmax(axis=1), outcome.astype(np.uint8), held)

    def hold6(
        self,
        model: ObjectModel,
        object_T_palm: NDArray[np.float64],
        grasp: NDArray[np.float64],
        squeeze: NDArray[np.float64],
    ) -> HoldResult:
        """See `GraspTester.hold6`.

        Raises:
            IsaacGymError: The simulation failed.
        """
        poses, grasp, squeeze = (np.asarray(array, dtype=np.float64) for array in (object_T_palm, grasp, squeeze))
        check_hold(len(self._hand.joint_names), poses, grasp=grasp, squeeze=squeeze)
        config, result = self._hold, HoldResult.untested(poses, grasp, squeeze)
        bench = HoldBench(self._hand, config, model)
        for row in range(len(poses)):
            result.penetration[row] = bench.overlap(poses[row], grasp[row])
        free = np.flatnonzero(result.penetration < config.penetration_limit)
        result.outcome[:] = HoldOutcome.PENETRATES
        if len(free):
            job = self._job(self._hand.effort_limit, flying=False) | {
                "friction": config.friction,
                "ground": False,
                "contacts_after": 1,
                "phases": [
                    _phase(config.settle_time, targets="squeeze"),
                    _phase(config.settle_time, targets="press", relative=True),
                    *(_phase(config.hold_time, after=1, pull=(GRAVITY * pull).tolist()) for pull in DIRECTIONS),
                ],
            }
            arrays = {
                "joints": grasp[free],
                "squeeze": squeeze[free],
                "press": squeeze[free] - grasp[free],
                "hand_pose": np.tile(to_xyz_quat(np.eye(4)), (len(free), 1)),
                "object_pose": _rows(invert(poses[free]))[:, None],
            }
            played = _play(job, arrays, self._hand, [model])
            for i, start in enumerate(arrays["object_pose"][:, 0]):
                result.outcome[free[i]] = self._judge(result, int(free[i]), start, played, i)
        return result.judged(config)

    def dga(self, model: ObjectModel, object_T_palm: NDArray[np.float64], grasp: NDArray[np.float64]) -> DgaResult:
        """See `GraspTester.dga`; not here.

        Raises:
            IsaacGymError: Always.
        """
        raise IsaacGymError(
            "The isaacgym tester does not play `dga`: its worker knows no damping of objects. Use the mujoco tester."
        )

    def dexgraspbench(
        self,
        model: ObjectModel,
        object_T_palm: NDArray[np.float64],
        pregrasp: NDArray[np.float64],
        grasp: NDArray[np.float64],
        squeeze: NDArray[np.float64],
    ) -> DexGraspBenchResult:
        """See `GraspTester.dexgraspbench`; not here.

        Raises:
            IsaacGymError: Always.
        """
        raise IsaacGymError(
            "The isaacgym tester does not play `dexgraspbench`: that is a protocol of MuJoCo, and PhysX knows no "
            "torsional friction. Use the mujoco tester."
        )

    def _judge(
        self, result: HoldResult, row: int, start: NDArray[np.float64], played: dict[str, NDArray[Any]], i: int
    ) -> HoldOutcome:
        """Row `i` of what was played into a row of the result."""
        config = self._hold
        for number in range(8):
            path = played[f"object_pose_{number}"][i, :, 0].astype(np.float64)
            moved, turned = _travel(start, path, config)
            lost, upset = not moved < config.displacement_limit, not turned < config.rotation_limit
            if number < 2:
                result.settling[row, number] = moved
                if lost or upset:
                    return HoldOutcome.UNSETTLED
                start = path[-1]
            else:
                result.displacement[row, number - 2], result.rotation[row, number - 2] = moved, turned
                if lost or upset:
                    return HoldOutcome.DROPPED if lost else HoldOutcome.TURNED
            if number == 0:
                result.object_T_palm[row] = invert(from_xyz_quat(start))
                settled = played["joints_0"][i].astype(np.float64)
                result.squeeze[row] += settled - result.grasp[row]
                result.grasp[row] = settled
            if number == 1:
                result.contacts[row], result.links[row] = played["contacts"][i], played["links"][i]
                if result.links[row, 0] < 0:
                    return HoldOutcome.UNSETTLED
        return HoldOutcome.HELD

    def _job(self, effort: NDArray[np.float64], *, flying: bool) -> dict[str, Any]:
        """The drives; of a flying hand the slides come first."""
        hand = self._hand
        slides = len(SLIDES) if flying else 0
        kinds = {joint.name: joint.kind for joint in hand.joints}
        config = self._lift if flying else self._hold
        count = len(hand.joint_names)
        return {
            "flying": flying,
            "joints": [*SLIDES[:slides], *hand.joint_names],
            "stiffness": [CARRIER_STIFFNESS] * slides + [config.stiffness] * count,
            "damping": [CARRIER_DAMPING] * slides + [config.damping] * count,
            "effort": [1000.0] * slides + effort.tolist(),
            "armature": [0.0] * slides + [ARMATURE[kinds[name]] for name in hand.joint_names],
            "links": list(hand.links),
            "batch": ENVIRONMENTS,
        }


def _phase(
    duration: float,
    *,
    targets: str | None = None,
    ramp: bool = False,
    relative: bool = False,
    after: int | None = None,
    pull: list[float] | None = None,
    still: bool = False,
) -> dict[str, Any]:
    """See `isaacgym_worker`."""
    return {
        "steps": max(1, round(RATE * duration)),
        "targets": targets,
        "ramp": ramp,
        "relative": relative,
        "after": after,
        "pull": pull or [0.0, 0.0, 0.0],
        "still": still,
    }


def _play(
    job: dict[str, Any], arrays: dict[str, NDArray[Any]], hand: HandModel, objects: list[ObjectModel]
) -> dict[str, NDArray[Any]]:
    """Write the job, run the worker, read its result."""
    python = Path(os.environ[PYTHON_VARIABLE])
    with tempfile.TemporaryDirectory(prefix="dexgrasp-isaacgym-") as name:
        folder = Path(name)
        job["hand"] = (write_flying_hand if job["flying"] else write_hand)(hand, folder).name
        job["objects"] = [write_object(model, folder, f"object_{i}").name for i, model in enumerate(objects)]
        (folder / "job.json").write_text(json.dumps(job))
        numbers: dict[str, Any] = arrays | {"mass": np.array([model.mass for model in objects])}
        np.savez(folder / "job.npz", **numbers)
        # The worker's Python must find its own libraries and none of ours.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        libraries = [str(python.parent.parent / "lib"), environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
        command = [str(python), str(Path(__file__).with_name("isaacgym_worker.py")), name]
        limit = _START_TIME + _TIME_PER_GRASP * len(arrays["joints"])
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit, check=False)
        except OSError as error:
            raise IsaacGymError(f"{PYTHON_VARIABLE} must name a Python that has Isaac Gym: {error}.") from error
        except subprocess.TimeoutExpired as error:
            raise IsaacGymError(f"Isaac Gym did not finish within {limit:.0f} s. Ask for fewer grasps.") from error
        if done.returncode or not (folder / "result.npz").is_file():
            last = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
            raise IsaacGymError(f"Isaac Gym ended with {done.returncode}. Its last words:\n{last}")
        with np.load(folder / "result.npz") as data:
            return {key: data[key] for key in data.files}


def _travel(start: NDArray[np.float64], path: NDArray[np.float64], config: HoldConfig) -> tuple[float, float]:
    """Distance [m] and angle [rad] from a pose (7,) along a path (steps, 7): where it was lost first, or at the end."""
    moved = np.linalg.norm(path[:, :3] - start[:3], axis=1)
    turned = (Rotation.from_quat(start[3:]).inv() * Rotation.from_quat(path[:, 3:])).magnitude()
    lost = ~((moved < config.displacement_limit) & (turned < config.rotation_limit))
    when = int(np.argmax(lost)) if lost.any() else -1
    return float(moved[when]), float(turned[when])


def _rows(A_T_B: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions and quaternions (N, 7) of poses (N, 4, 4)."""
    return np.array([to_xyz_quat(matrix) for matrix in A_T_B]).reshape(-1, 7)
