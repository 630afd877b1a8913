"""The test bench in MuJoCo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_sim.dexgraspbench import DexGraspBench
from dexgrasp_sim.dga import DgaBench
from dexgrasp_sim.hold import HoldBench
from dexgrasp_sim.lift import LiftBench
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.tester import (
    DexGraspBenchConfig,
    DexGraspBenchResult,
    DgaConfig,
    DgaResult,
    HoldConfig,
    HoldResult,
    LiftConfig,
    LiftOutcome,
    LiftResult,
    LiftScene,
    check_hold,
    check_lift,
)


class MujocoTester:
    """See `dexgrasp_sim.tester.GraspTester`. Runs on one thread and can be pickled.

    In `lift` the hand hangs on three position-controlled slides, its orientation fixed as in the protocol; in the other
    protocols its palm is fixed.
    """

    def __init__(
        self,
        hand: HandModel,
        lift: LiftConfig | None = None,
        hold: HoldConfig | None = None,
        dga: DgaConfig | None = None,
        dexgraspbench: DexGraspBenchConfig | None = None,
    ) -> None:
        self._hand = hand
        self._lift = lift or LiftConfig()
        self._hold = hold or HoldConfig()
        self._dga = dga or DgaConfig()
        self._dexgraspbench = dexgraspbench or DexGraspBenchConfig()

    def lift(self, scene: LiftScene, grasps: GraspSet) -> LiftResult:
        """See `GraspTester.lift`."""
        check_lift(self._hand.name, scene, grasps)
        bench = LiftBench(self._hand, self._lift, scene)
        lifts = [
            bench.run(grasps.world_T_palm[i], grasps.pregrasp[i], grasps.grasp[i], grasps.squeeze[i])
            for i in range(len(grasps))
        ]
        outcome = np.array([lift.outcome for lift in lifts], dtype=np.uint8)
        rises = np.array([lift.rises for lift in lifts]).reshape(len(lifts), len(scene.objects))
        return LiftResult(
            success=outcome == LiftOutcome.LIFTED,
            pregrasp_clear=outcome != LiftOutcome.COLLIDES,
            rise=rises.max(axis=1),
            lifted=rises.argmax(axis=1),
            outcome=outcome,
            held=np.array([lift.held for lift in lifts], dtype=np.intp),
        )

    def hold6(
        self,
        model: ObjectModel,
        object_T_palm: NDArray[np.float64],
        grasp: NDArray[np.float64],
        squeeze: NDArray[np.float64],
    ) -> HoldResult:
        """See `GraspTester.hold6`."""
        arrays = self._checked(object_T_palm, grasp=grasp, squeeze=squeeze)
        return HoldBench(self._hand, self._hold, model).run(*arrays)

    def dga(self, model: ObjectModel, object_T_palm: NDArray[np.float64], grasp: NDArray[np.float64]) -> DgaResult:
        """See `GraspTester.dga`."""
        arrays = self._checked(object_T_palm, grasp=grasp)
        return DgaBench(self._hand, self._dga, model).run(*arrays)

    def dexgraspbench(
        self,
        model: ObjectModel,
        object_T_palm: NDArray[np.float64],
        pregrasp: NDArray[np.float64],
        grasp: NDArray[np.float64],
        squeeze: NDArray[np.float64],
    ) -> DexGraspBenchResult:
        """See `GraspTester.dexgraspbench`."""
        arrays = self._checked(object_T_palm, pregrasp=pregrasp, grasp=grasp, squeeze=squeeze)
        return DexGraspBench(self._hand, self._dexgraspbench, model).run(*arrays)

    def _checked(
        self, object_T_palm: NDArray[np.float64], **postures: NDArray[np.float64]
    ) -> list[NDArray[np.float64]]:
        """Poses and postures in 64 bits, after `check_hold`."""
        poses = np.asarray(object_T_palm, dtype=np.float64)
        arrays = {name: np.asarray(array, dtype=np.float64) for name, array in postures.items()}
        check_hold(len(self._hand.joint_names), poses, **arrays)
        return [poses, *arrays.values()]
