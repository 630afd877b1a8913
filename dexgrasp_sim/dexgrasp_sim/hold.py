"""The `hold6` protocol in MuJoCo: an object in a fixed hand, pulled in six directions (DexGraspNet 2.0, D.3)."""

from __future__ import annotations

import mujoco
import numpy as np
from dexgrasp_common.transforms import invert
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_sim.driven_hand import add_driven_hand
from dexgrasp_sim.held_object import HeldObject, floating_spec, travel
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.scene import add_object, pose_of
from dexgrasp_sim.tester import DIRECTIONS, HoldConfig, HoldOutcome, HoldResult

GRAVITY = 9.81  # [m/s^2]
_LOOK = 1.0 / 30.0  # how often a running simulation is looked at, to stop it once its outcome is clear [s]
_REST_LOOKS = 3  # the object rests if it was slow between this look and so many before


class HoldBench:
    """One object in one hand, compiled once for all grasps. The world is the palm's frame."""

    def __init__(self, hand: HandModel, config: HoldConfig, model: ObjectModel) -> None:
        self._config = config
        spec = floating_spec(config.timestep)
        spec.option.impratio = config.impratio
        add_object(spec, model, config.friction)
        add_driven_hand(
            spec,
            spec.worldbody,
            hand,
            friction=config.friction,
            stiffness=config.stiffness,
            damping=config.damping,
            effort_limit=hand.effort_limit,
        )
        self._held = HeldObject(spec, hand, model.name)
        self._weight = model.mass * GRAVITY
        # Away from the palm comes first: that is where most grasps fail, and a failure ends the test.
        self._order = np.argsort(-DIRECTIONS @ hand.approach_axis, kind="stable")

    def run(
        self, object_T_palm: NDArray[np.float64], grasp: NDArray[np.float64], squeeze: NDArray[np.float64]
    ) -> HoldResult:
        """See `GraspTester.hold6`; the arguments have been checked."""
        result = HoldResult.untested(object_T_palm, grasp, squeeze)
        for row in range(len(grasp)):
            result.outcome[row] = self._test(result, row)
        return result.judged(self._config)

    def overlap(self, object_T_palm: NDArray[np.float64], grasp: NDArray[np.float64]) -> float:
        """How deep the hand reaches into the object's parts at one grasp, not yet squeezed [m]; 0: not at all."""
        self._held.place(object_T_palm, grasp)
        return self._held.overlap()

    def _test(self, result: HoldResult, row: int) -> HoldOutcome:
        """One grasp, from its row of the result's arrays, into that row."""
        held, data, config = self._held, self._held.data, self._config
        grasp, squeeze = result.grasp[row], result.squeeze[row]
        result.penetration[row] = self.overlap(result.object_T_palm[row], grasp)
        if not result.penetration[row] < config.penetration_limit:
            return HoldOutcome.PENETRATES
        data.ctrl[held.drives] = squeeze
        for phase in range(2):
            moved, turned = self._simulate(config.settle_time, until_rest=False)
            result.settling[row, phase] = moved
            if not (moved < config.displacement_limit and turned < config.rotation_limit):
                return HoldOutcome.UNSETTLED
            if phase == 0:
                settled = data.qpos[held.joints]
                squeeze += settled - grasp
                grasp[:] = settled
                result.object_T_palm[row] = invert(pose_of(data.qpos[held.pose]))
                data.ctrl[held.drives] = squeeze
        self._read_contacts(result.contacts[row], result.links[row])
        if result.links[row, 0] < 0:
            return HoldOutcome.UNSETTLED
        held.save()
        for direction in self._order:
            held.restore()
            data.xfrc_applied[held.body, :3] = self._weight * DIRECTIONS[direction]
            moved, turned = self._simulate(config.hold_time, until_rest=True)
            result.displacement[row, direction], result.rotation[row, direction] = moved, turned
            if not moved < config.displacement_limit:
                return HoldOutcome.DROPPED
            if not turned < config.rotation_limit:
                return HoldOutcome.TURNED
        return HoldOutcome.HELD

    def _simulate(self, duration: float, *, until_rest: bool) -> tuple[float, float]:
        """Let time pass; how far the object moved [m] and turned [rad].

        Ends early once the object is lost, and with `until_rest` once it rests: what static friction holds against a
        constant force it holds for the rest of the time, too.
        """
        config, held = self._config, self._held
        steps, stride = round(duration / config.timestep), max(1, round(_LOOK / config.timestep))
        window = _REST_LOOKS * stride * config.timestep
        seen = [held.data.qpos[held.pose].copy()]
        moved = turned = 0.0
        for done in range(0, steps, stride):
            mujoco.mj_step(held.model, held.data, min(stride, steps - done))
            seen.append(held.data.qpos[held.pose].copy())
            moved, turned = travel(seen[0], seen[-1])
            if not (moved < config.displacement_limit and turned < config.rotation_limit):
                break
            if until_rest and len(seen) > _REST_LOOKS:
                crept, twisted = travel(seen[-1 - _REST_LOOKS], seen[-1])
                if crept < config.rest_speed * window and twisted < config.rest_turn * window:
                    break
        return moved, turned

    def _read_contacts(self, points: NDArray[np.float64], links: NDArray[np.int64]) -> None:
        """Fill in the strongest contact of each touching link, strongest first, object frame."""
        held, data = self._held, self._held.data
        mujoco.mj_forward(held.model, data)
        contact = data.contact
        solved = np.flatnonzero(contact.efc_address >= 0)
        force = data.efc_force[contact.efc_address[solved]]  # elliptic cones: a contact's first row is its normal
        link = held.link_of_body[held.model.geom_bodyid[contact.geom[solved]]].max(axis=1)
        found = 0
        seen: set[int] = set()
        for i in np.argsort(-force, kind="stable"):
            if force[i] > 0.0 and link[i] not in seen and found < len(links):
                seen.add(link[i])
                world_R_object = data.xmat[held.body].reshape(3, 3)
                points[found] = (contact.pos[solved[i]] - data.xpos[held.body]) @ world_R_object
                links[found] = link[i]
                found += 1
