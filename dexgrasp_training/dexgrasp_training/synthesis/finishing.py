"""From optimised poses to grasps: contacts brought onto the surface, penetration removed, forces, squeeze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from dexgrasp_common.parameters import param
from torch import Tensor

from dexgrasp_training.synthesis.descent import Objects, State
from dexgrasp_training.synthesis.energies import balancing_forces, contact_wrenches
from dexgrasp_training.synthesis.fingers import find_fingers
from dexgrasp_training.synthesis.hand_arrays import hand_arrays
from dexgrasp_training.synthesis.moving_hand import MovingHand, cross, moved

CONTACTS = 6  # of a grasp, at most
_PATCH = 16  # points of a patch of the hand's surface, at most
_LOOKED_AT = 3  # patches of a link, the nearest ones, whose points are looked up
_IDLE = 1e-3  # share of the strongest finger's torque below which a finger does not press
_FAR = 1.0  # distance of links without a surface [m]
# What counts as one unit of each unknown of the least squares: palm [m, rad], joints [rad].
_UNITS = (0.03, 0.5, 1.0)
_LONGEST = (0.01, 0.2)  # error [m] and joint step [rad] at one least-squares step


@dataclass(frozen=True)
class FinishConfig:
    """How optimised poses become grasps, and which are kept."""

    steps: int = param(10, "least-squares steps that bring the contacts onto the surface", range=(0, 100))
    damping: float = param(0.003, "of these steps [m]", range=(1e-6, 1.0))
    gap: float = param(0.001, "between a contact and the surface, at most [m]", range=(0.0, 0.1))
    penetration: float = param(0.001, "of the hand into the object, at most [m]", range=(0.0, 0.1))
    imbalance: float = param(0.6, "what the best contact forces leave unbalanced, the largest force being 1, at most")
    squeeze: float = param(0.02, "motion of a finger's joint that presses most [rad or m]", range=(0.0, 0.5))
    opposing_squeeze: float = param(0.05, "the same of the opposing finger [rad or m]", range=(0.0, 0.5))


@dataclass(frozen=True)
class Touch:
    """Where the links come nearest to the object.

    Attributes:
        distance: tensor (L, B) [m], signed; large for links without a surface.
        place: tensor (L, 3, B) [m], object frame.
        normal: tensor (L, 3, B), outward normal of the object there.
    """

    distance: Tensor
    place: Tensor
    normal: Tensor


@dataclass(frozen=True)
class Finished:
    """What became of B poses.

    Attributes:
        state: Palm and joints.
        good: bool tensor (B,), kept.
        squeeze: tensor (D, B), joint targets that press.
        contacts: tensor (K, 3, B) [m], object frame; NaN where there are fewer.
        imbalance: tensor (B,), what the best contact forces leave.
    """

    state: State
    good: Tensor
    squeeze: Tensor
    contacts: Tensor
    imbalance: Tensor


class Finishing:
    """See the module.

    Args:
        moving: The hand's kinematics.
        config: How poses become grasps.
    """

    def __init__(self, moving: MovingHand, config: FinishConfig) -> None:
        self._moving, self._config = moving, config
        arrays = hand_arrays(moving.hand)
        numbers = [range(start, end) for start, end in zip(arrays.patch_start, arrays.patch_start[1:], strict=False)]
        balls = arrays.patch_ball
        self._patches = moving.points(
            [
                (link, balls[own.start : own.stop, :3], None, balls[own.start : own.stop, 3])
                for link, own in zip(moving.hand.links, numbers, strict=True)
                if own
            ]
        )
        members = np.zeros((len(self._patches.link), _PATCH, 3))
        for patch, row in enumerate(torch.nonzero(self._patches.weight)[:, 0].tolist()):
            own = arrays.points[arrays.point_start[patch] : arrays.point_start[patch + 1]]
            members[row] = own[np.arange(_PATCH) % len(own)]
        self._members = moving.tensor(members)
        joints = len(moving.hand.joint_names)
        fingers = find_fingers(moving.hand)
        self._units = moving.tensor(np.repeat(_UNITS, [3, 3, joints]))
        self._units[6:] *= moving.tensor(np.where(fingers.idle, 0.0, 1.0))
        self._fingers = [
            (torch.nonzero(moving.carries[tip])[:, 0], finger == fingers.opposing)
            for finger, tip in enumerate(fingers.tips.tolist())
        ]

    def touch(self, links: Tensor, objects: Objects) -> Touch:
        """The nearest place of each link, out of the points of its nearest patches."""
        moving, field, patches = self._moving, objects.field, self._patches
        bound = field.near(moving.place(links, patches))[0] - patches.radius[:, None]
        bound = bound + (1.0 - patches.weight[:, None])
        count, batch = len(moving.hand.links), links.shape[-1]
        lowest = bound.new_full((count, batch), _FAR)
        place, normal = bound.new_zeros(count, 3, batch), bound.new_zeros(count, 3, batch)
        for link, rows in patches.by_link:
            best = bound[rows].topk(min(_LOOKED_AT, rows.stop - rows.start), dim=0, largest=False).indices
            local = self._members[rows][best].permute(0, 2, 3, 1).reshape(-1, 3, batch)
            pose = links[link]  # (4, 3, B)
            points = pose[3] + local[:, 0, None] * pose[0] + local[:, 1, None] * pose[1] + local[:, 2, None] * pose[2]
            distance, gradient = field.near(points)
            value, which = distance.min(0)
            index = which.expand(1, 3, -1)
            lowest[link], place[link], normal[link] = value, points.gather(0, index)[0], gradient.gather(0, index)[0]
        return Touch(lowest, place, normal / normal.norm(dim=1, keepdim=True).clamp_min(1e-6))

    def settled(self, state: State, objects: Objects, touching: Tensor) -> tuple[State, Tensor, Touch]:
        """Poses whose touching links touch and whose other links stay clear, as nearly as can be had close by.

        Damped least squares (Levenberg-Marquardt) on palm and joints, one row for the nearest place of each link.

        Args:
            touching: bool tensor (L, B), links that hold the object.

        Returns:
            The state, its links as `MovingHand.links` gives them, and where they touch.
        """
        moving, config = self._moving, self._config
        for _ in range(config.steps):
            links = moving.links(state.object_T_palm, state.q)
            touch = self.touch(links, objects)
            error = torch.where(touching, touch.distance, touch.distance.clamp(max=0.0))
            error = error.clamp(-_LONGEST[0], _LONGEST[0])
            rows = moving.motion(state.object_T_palm, links, touch.place, touch.normal) * self._units
            rows = rows * (error != 0.0).T.unsqueeze(-1)
            normal = rows.transpose(1, 2) @ rows
            normal.diagonal(dim1=1, dim2=2).add_(config.damping**2)
            right = (rows * error.T.unsqueeze(-1)).sum(1)
            change = -torch.cholesky_solve(right.unsqueeze(-1), torch.linalg.cholesky(normal))[..., 0] * self._units
            q = state.q + change.T[6:].clamp(-_LONGEST[1], _LONGEST[1])
            palm = moved(state.object_T_palm, change.T[:6])
            state = State(palm, q.clamp(moving.lower, moving.upper), state.contact)
        links = moving.links(state.object_T_palm, state.q)
        return state, links, self.touch(links, objects)

    def finished(self, state: State, objects: Objects, holding: Tensor) -> Finished:
        """Settle the poses, find the forces of all contacts and squeeze with them.

        Args:
            holding: tensor (C, B), the links that hold each object.
        """
        moving, config = self._moving, self._config
        numbers = torch.arange(len(moving.hand.links), device=moving.device)[:, None, None]
        touching = (holding == numbers).any(1)
        state, links, touch = self.settled(state, objects, touching)
        gap = torch.where(touching, touch.distance.abs(), 0.0).amax(0)
        near = touch.distance.topk(min(CONTACTS, len(links)), dim=0, largest=False)
        present = near.values < config.gap
        rows = near.indices.unsqueeze(1).expand(-1, 3, -1)
        places = touch.place.gather(0, rows)
        outward = objects.field.surface(places).gradient
        inward = -outward / outward.norm(dim=1, keepdim=True).clamp_min(1e-6)
        forces, imbalance = balancing_forces(contact_wrenches(places, inward, objects.arm), present)
        push = forces.unsqueeze(1) * inward
        force, moment = moving.to_links(near.indices, push), moving.to_links(near.indices, cross(places, push))
        _, torque = moving.pull_back(state.object_T_palm, links, force, moment)
        press = self._pressed(torque)
        good = (gap < config.gap) & (-touch.distance.amin(0) < config.penetration) & (imbalance < config.imbalance)
        good &= present.sum(0) > 1
        contacts = torch.where(present.unsqueeze(1), places, torch.nan)
        squeeze = (state.q + press).clamp(moving.lower, moving.upper)
        return Finished(state, good, squeeze, contacts, imbalance)

    def _pressed(self, torque: Tensor) -> Tensor:
        """Joint motions (D, B) along the torques (D, B) of the contact forces, scaled finger by finger."""
        most = torque.abs().amax(0)
        press = torch.zeros_like(torque)
        for joints, opposing in self._fingers:
            own = torque[joints]
            strongest = own.abs().amax(0)
            reach = self._config.opposing_squeeze if opposing else self._config.squeeze
            # Fingers next to idle stay so.
            scale = torch.where(strongest > _IDLE * most, reach / strongest.clamp_min(1e-9), 0.0)
            press[joints] = own * scale
        return press
