"""The `dexgraspbench` protocol in MuJoCo: force closure as DexGraspBench tests it (Chen et al. 2025, `fc`).

A hand closes from its pregrasp by way of the grasp to the squeeze, whose excess over the grasp presses through soft
drives; then a force pulls at the object along each axis. Their hand hangs on a stiff weld, ours does not move at all.
The closing is the same for each direction, so it is simulated once.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_sim.driven_hand import HAND, add_driven_hand
from dexgrasp_sim.held_object import HeldObject, floating_spec, travel
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.scene import add_object
from dexgrasp_sim.tester import (
    DIRECTIONS,
    DexGraspBenchConfig,
    DexGraspBenchOutcome,
    DexGraspBenchResult,
)

TOUCHING = 0.002  # a link this near to the object is in contact [m]
NEAR = 0.01  # distances are told of what is this near [m]
_STAGES = 10  # of each phase: drives step from one to the next, and the object is looked at after each of the hold
_NOSLIP = 2  # iterations
_HAND_SOLREF, _HAND_SOLIMP = (0.005, 1.0), (0.5, 0.99, 1e-4, 0.5, 2.0)
_OBJECT_SOLREF, _OBJECT_SOLIMP = (0.02, 1.0), (0.9, 0.95, 1e-3, 0.5, 2.0)  # MuJoCo's defaults


class DexGraspBench:
    """One object in one hand, compiled once for all grasps."""

    def __init__(self, hand: HandModel, config: DexGraspBenchConfig, model: ObjectModel) -> None:
        self._config = config
        spec = floating_spec(config.timestep)
        spec.option.noslip_iterations = _NOSLIP
        add_object(spec, model.weighing(config.mass), config.friction).joints[0].damping = np.zeros(3)
        add_driven_hand(
            spec,
            spec.worldbody,
            hand,
            friction=config.friction,
            stiffness=config.stiffness,
            damping=config.damping,
            effort_limit=np.full(len(hand.joint_names), config.effort_limit),
            touches_itself=True,
        )
        for geom in spec.geoms:
            of_hand = geom.parent.name.startswith(HAND)
            geom.friction[1] = config.torsion
            geom.solref = _HAND_SOLREF if of_hand else _OBJECT_SOLREF
            geom.solimp = _HAND_SOLIMP if of_hand else _OBJECT_SOLIMP
        self._held = HeldObject(spec, hand, model.name)
        self._finger_of_link = _fingers(hand)

    def run(
        self,
        object_T_palm: NDArray[np.float64],
        pregrasp: NDArray[np.float64],
        grasp: NDArray[np.float64],
        squeeze: NDArray[np.float64],
    ) -> DexGraspBenchResult:
        """See `GraspTester.dexgraspbench`; the arguments have been checked."""
        count, config = len(grasp), self._config
        result = DexGraspBenchResult(
            success=np.zeros(count, dtype=bool),
            outcome=np.zeros(count, dtype=np.uint8),
            displacement=np.full((count, 6), np.nan),
            rotation=np.full((count, 6), np.nan),
            penetration=np.zeros(count),
            self_penetration=np.zeros(count),
            contact_links=np.zeros(count, dtype=np.int64),
            contact_distance=np.full(count, np.nan),
            contact_consistency=np.full(count, np.nan),
        )
        for row in range(count):
            self._measure(result, row, object_T_palm[row], grasp[row])
            if not result.penetration[row] <= config.penetration_limit:
                result.outcome[row] = DexGraspBenchOutcome.PENETRATES
            elif not result.self_penetration[row] <= config.penetration_limit:
                result.outcome[row] = DexGraspBenchOutcome.SELF_PENETRATES
            else:
                postures = np.array([pregrasp[row], grasp[row], squeeze[row]])
                result.outcome[row] = self._test(result, row, object_T_palm[row], postures)
        result.success[:] = result.outcome == DexGraspBenchOutcome.HELD
        return result

    def _test(
        self, result: DexGraspBenchResult, row: int, object_T_palm: NDArray[np.float64], postures: NDArray[np.float64]
    ) -> DexGraspBenchOutcome:
        """One grasp with its three postures (3, D), into a row of the result."""
        config, held = self._config, self._held
        held.place(object_T_palm, postures[0])
        before = held.data.qpos[held.pose].copy()
        for start, end in zip(postures[:-1], postures[1:], strict=True):
            for stage in range(1, _STAGES + 1):
                held.data.ctrl[held.drives] = start + (end - start) * (stage / _STAGES)
                self._simulate(config.phase_time / _STAGES)
        held.save()
        for number, direction in enumerate(DIRECTIONS):
            held.restore()
            force = config.mass * config.acceleration * direction
            held.data.xfrc_applied[held.body, :3] = force @ object_T_palm[:3, :3]
            for _ in range(_STAGES):
                self._simulate(config.hold_time / _STAGES)
                moved, turned = travel(before, held.data.qpos[held.pose])
                result.displacement[row, number], result.rotation[row, number] = moved, turned
                if not moved < config.displacement_limit:
                    return DexGraspBenchOutcome.DROPPED
                if not turned < config.rotation_limit:
                    return DexGraspBenchOutcome.TURNED
        return DexGraspBenchOutcome.HELD

    def _simulate(self, duration: float) -> None:
        held = self._held
        mujoco.mj_step(held.model, held.data, round(duration / self._config.timestep))

    def _measure(
        self, result: DexGraspBenchResult, row: int, object_T_palm: NDArray[np.float64], grasp: NDArray[np.float64]
    ) -> None:
        """Overlaps and contacts at the grasp, into a row of the result."""
        held = self._held
        self._set_margin(NEAR)  # near counts as contact, for as long as nothing is simulated
        held.place(object_T_palm, grasp)
        self._set_margin(0.0)
        contact = held.data.contact
        links = held.link_of_body[held.model.geom_bodyid[contact.geom]]
        own = (links >= 0).all(axis=1)
        result.self_penetration[row] = max(0.0, -contact.dist[own].min(initial=0.0))
        nearest = np.full(len(self._finger_of_link), np.inf)
        np.minimum.at(nearest, links[~own].max(axis=1), contact.dist[~own])
        result.penetration[row] = max(0.0, -nearest.min())
        result.contact_links[row] = int((nearest < TOUCHING).sum())
        fingers = np.full(self._finger_of_link.max() + 1, np.inf)
        on_finger = self._finger_of_link >= 0
        np.minimum.at(fingers, self._finger_of_link[on_finger], nearest[on_finger])
        fingers = fingers[fingers < NEAR]
        if len(fingers):
            result.contact_distance[row] = np.abs(fingers).mean()
            result.contact_consistency[row] = np.ptp(fingers)

    def _set_margin(self, margin: float) -> None:
        """Let the object's contacts begin at a distance [m]."""
        held = self._held
        held.model.geom_margin[held.model.geom_bodyid == held.body] = margin
        held.model.body_margin[held.body] = margin


def _fingers(hand: HandModel) -> NDArray[np.intp]:
    """Number of the finger that each of `hand.links` belongs to, -1: to none, or to several.

    A link belongs to the finger whose tip it carries, or by whose tip it is carried.
    """
    parents: Mapping[str, str] = {joint.child: joint.parent for joint in hand.joints}

    def above(link: str) -> list[str]:
        return [link, *above(parents[link])] if link in parents else [link]

    tips = [tip.link for tip in hand.fingertips]
    chains = [set(above(tip)) for tip in tips]
    found = np.full(len(hand.links), -1)
    for number, link in enumerate(hand.links):
        carried = [finger for finger, tip in enumerate(tips) if tip in above(link)]
        carries = [finger for finger, chain in enumerate(chains) if link in chain]
        if carried or len(carries) == 1:
            found[number] = (carried or carries)[0]
    return found
