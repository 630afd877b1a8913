"""The optimiser that both methods share: annealed descent on palm pose and joints, with contacts that switch.

Each iteration moves every pose along its gradient, scaled by the gradient's running size (RMSProp), and swaps a contact
point of some poses for another of the hand's; a move that raises the energy is kept with the probability
`exp(-rise / temperature)`, else it is taken back (DexGraspNet 1's Metropolis-adjusted descent). Step sizes and
temperature fall over the iterations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import torch
from dexgrasp_common.parameters import param
from numpy.typing import NDArray
from torch import Tensor

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.synthesis import energies
from dexgrasp_training.synthesis.field_batch import FieldBatch
from dexgrasp_training.synthesis.fingers import find_fingers
from dexgrasp_training.synthesis.hand_arrays import hand_arrays
from dexgrasp_training.synthesis.initial_poses import InitialPoses
from dexgrasp_training.synthesis.moving_hand import MovingHand, Points, cross, moved

_PAIR_POSTURES = 4000  # random postures that tell which of the hand's spheres can meet
_SMALLEST = 0.004  # spheres inside the hand smaller than this stand for nothing that could be felt [m]
_SLIDE = 0.06  # step of a sliding joint over that of a turning one: what a fingertip moves [m/rad]
# Closing: a joint turns by at most this for each metre that is left, and this much at a step.
_TURN, _STRIDE = 10.0, 0.15  # [rad/m], [rad]
_TOUCH = 0.002  # a link this near the object after closing touches it [m]
_NEAR = 0.004  # contact points this much farther from the object are less likely to be chosen by a factor e [m]


@dataclass(frozen=True)
class DescentConfig:
    """Iterations, steps and weights."""

    contacts: int = param(4, "contact points of a grasp, each on a link of its own", range=(2, 6))
    iterations: int = param(100, "steps of the descent", range=(1, 100000))
    closing_steps: int = param(24, "steps in which the fingers close on the object first", range=(0, 1000))
    trials: int = param(16, "sets of contact points of which each pose starts with the best", range=(1, 1000))
    translation_step: float = param(0.002, "of the palm, at the start [m]", range=(0.0, 0.1))
    rotation_step: float = param(0.02, "of the palm, at the start [rad]", range=(0.0, 1.0))
    joint_step: float = param(0.03, "at the start [rad]", range=(0.0, 1.0))
    last_step: float = param(0.05, "step at the end over step at the start", range=(0.0, 1.0))
    memory: float = param(0.95, "of the running mean of squared gradients", range=(0.0, 1.0))
    temperature: float = param(0.2, "at the start, in units of energy; 0: nothing that rises is kept", range=(0, 100))
    switching: float = param(0.3, "probability with which a pose swaps a contact point at a step", range=(0.0, 1.0))
    switching_ends: float = param(0.6, "share of the iterations after which contacts are final", range=(0.0, 1.0))
    distance_weight: float = param(100.0, "of the contacts' distance from the object [1/m]", range=(0.0, 1e5))
    distance_width: float = param(0.001, "below which that distance counts squared [m]", range=(1e-6, 0.1))
    alignment_weight: float = param(0.2, "of the contacts' normals against the object's", range=(0.0, 1e3))
    penetration_weight: float = param(100.0, "of the hand's spheres inside the object [1/m]", range=(0.0, 1e5))
    self_weight: float = param(100.0, "of the hand's spheres inside one another [1/m]", range=(0.0, 1e5))
    limit_weight: float = param(1.0, "of joints beyond their limits [1/rad or 1/m]", range=(0.0, 1e3))


@dataclass(frozen=True)
class State:
    """B grasps in the making.

    Attributes:
        object_T_palm: tensor (3, 4, B).
        q: tensor (D, B) [rad or m].
        contact: tensor (C, B), indices into the hand's contact points.
    """

    object_T_palm: Tensor
    q: Tensor
    contact: Tensor

    def where(self, keep: Tensor, other: State) -> State:
        """These grasps where `keep` (B,), elsewhere the other's."""
        return State(*(torch.where(keep, getattr(self, f.name), getattr(other, f.name)) for f in fields(State)))


@dataclass(frozen=True)
class Objects:
    """The object of each of B grasps.

    Attributes:
        field: Their distance.
        arm: tensor (B,), distance at which torques count as forces [m].
    """

    field: FieldBatch
    arm: Tensor


def objects_of(moving: MovingHand, assets: Sequence[ObjectAsset], which: NDArray[np.integer]) -> Objects:
    """The object `assets[which[b]]` of each of B grasps, where the hand is; torques count at its radius."""
    rows = torch.as_tensor(np.array(which), device=moving.device)
    field = FieldBatch([asset.field for asset in assets], rows, moving.dtype, moving.device)
    return Objects(field, moving.tensor(np.array([asset.model.radius for asset in assets]))[rows])


class HoldingEnergy(Protocol):
    """What a set of contacts cannot hold. Made anew for each run: it may remember its last solution."""

    def __call__(self, places: Tensor, normals: Tensor, arm: Tensor, chance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Energy (B,), and derivatives (C, 3, B) with respect to places and normals.

        Args:
            places: tensor (C, 3, B) [m], object frame.
            normals: tensor (C, 3, B), unit, out of the object.
            arm: tensor (B,) [m], see `Objects`.
            chance: tensor (B,), uniform in 0..1, for energies with a random part.
        """
        ...


class Draws:
    """Random numbers for some poses of each of several objects: each object's own, whatever it is batched with.

    Args:
        seeds: One for each object.
        counts: Poses of each object.
        dtype, device: Of the numbers. They are drawn on the CPU, so that a GPU gets the same.
    """

    def __init__(self, seeds: Sequence[int], counts: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._counts, self._dtype, self._device = list(counts), dtype, device

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in 0..1: (*shape, B)."""
        parts = [
            torch.rand(*shape, count, generator=generator, dtype=self._dtype)
            for generator, count in zip(self._generators, self._counts, strict=True)
        ]
        return torch.cat(parts, dim=-1).to(self._device)


class Descent:
    """See the module.

    Args:
        hand: The hand.
        config: Iterations, steps and weights.
        dtype, device: Of the computation.
    """

    def __init__(
        self,
        hand: HandModel,
        config: DescentConfig,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.config = config
        self.moving = moving = MovingHand(hand, dtype, device)
        self.contacts = moving.points([(link, *rows, 0.0) for link, rows in hand.contact_points.items()])
        self._real = torch.nonzero(self.contacts.weight)[:, 0]
        self._body = moving.points(
            [(link, own[:, :3], None, own[:, 3]) for link, own in _solid_spheres(hand).items() if len(own)]
        )
        self._spheres = moving.points([(link, own[:, :3], None, own[:, 3]) for link, own in hand.key_points.items()])
        self._pairs, self._least = _meeting_pairs(moving, self._spheres)
        joints = {joint.name: joint.kind for joint in hand.joints}
        reach = [1.0 if joints[name] == "revolute" else _SLIDE for name in hand.joint_names]
        moves = np.where(find_fingers(hand).idle, 0.0, config.joint_step)
        steps = [config.translation_step] * 3 + [config.rotation_step] * 3 + list(moves * reach)
        self._steps = moving.tensor(np.array(steps))[:, None]
        self._reach = moving.tensor(np.array(reach))[:, None]

    def objects(self, assets: Sequence[ObjectAsset], which: NDArray[np.integer]) -> Objects:
        """See `objects_of`."""
        return objects_of(self.moving, assets, which)

    def start(self, poses: Sequence[InitialPoses]) -> State:
        """Initial poses, with any contacts."""
        tensor = self.moving.tensor
        palm = tensor(np.concatenate([part.object_T_palm for part in poses])[:, :3].transpose(1, 2, 0))
        q = tensor(np.concatenate([part.q for part in poses]).T)
        contact = torch.zeros(self.config.contacts, q.shape[1], dtype=torch.int64, device=self.moving.device)
        return State(palm, q, contact)

    def closed(self, state: State, objects: Objects, speed: Tensor) -> State:
        """Fingers closed along `speed` (D, B) until they touch the object or one another.

        A joint advances by at most what the nearest link that it carries has left; joints none of whose links come to
        touch the object go back.
        """
        moving = self.moving
        q = state.q
        below = moving.carries.T  # (D, L)
        for _ in range(self.config.closing_steps):
            links = moving.links(state.object_T_palm, q)
            gap = torch.minimum(self._object_gap(links, objects), self._own_gap(links))
            room = torch.where(below.unsqueeze(-1), gap, 1.0).amin(1)  # (D, B)
            q = q + self._reach * speed * (room * _TURN).clamp(0.0, _STRIDE)
            q = q.clamp(moving.lower, moving.upper)
        gap = self._object_gap(moving.links(state.object_T_palm, q), objects)
        touches = (below.to(q.dtype) @ (gap < _TOUCH).to(q.dtype)) > 0
        return State(state.object_T_palm, torch.where(touches, q, state.q), state.contact)

    def with_contacts(self, state: State, objects: Objects, energy: HoldingEnergy, draws: Draws) -> State:
        """Contact points for each pose: of random sets that favour what is near the object, the one of least energy."""
        moving, config = self.moving, self.config
        links = moving.links(state.object_T_palm, state.q)
        near, _ = objects.field.near(moving.place(links, self.contacts))
        near = near + (1.0 - self.contacts.weight[:, None])
        slices = [rows for _, rows in self.contacts.by_link]
        best, lowest = state.contact, near.new_full((near.shape[1],), torch.inf)
        for _ in range(config.trials):
            # The largest of values with Gumbel noise is a draw with probabilities exp(value).
            noise = -(-draws.uniform(len(near)).clamp(1e-9, 1.0 - 1e-7).log()).log()
            score = noise - near.abs() / _NEAR
            own = [score[rows].max(0) for rows in slices]
            points = torch.stack([one.indices + rows.start for one, rows in zip(own, slices, strict=True)])
            picked = torch.stack([one.values for one in own]).topk(config.contacts, dim=0).indices
            chosen = points.gather(0, picked)
            value, _, _ = self._contact_terms(links, chosen, objects, energy, draws.uniform())
            best = torch.where(value < lowest, chosen, best)
            lowest = torch.minimum(lowest, value)
        return State(state.object_T_palm, state.q, best)

    def run(self, state: State, objects: Objects, energy: HoldingEnergy, draws: Draws) -> tuple[State, Tensor]:
        """The optimised state and its energies (B,)."""
        config, moving = self.config, self.moving
        chance = draws.uniform(2)
        current = state
        lowest, gradient = self.evaluate(state, objects, energy, chance[0])
        square = gradient.square()
        for iteration in range(config.iterations):
            fall = iteration / config.iterations
            scale = self._steps * config.last_step**fall
            change = -scale * (gradient / (square + 1e-12).sqrt()).clamp(-3.0, 3.0)
            q = (current.q + change[6:]).clamp(moving.lower, moving.upper)
            chance = draws.uniform(5)
            contact = current.contact
            if fall < config.switching_ends:
                contact = self._switched(contact, chance[2:])
            state = State(moved(current.object_T_palm, change[:6]), q, contact)
            value, slope = self.evaluate(state, objects, energy, chance[0])
            square = config.memory * square + (1.0 - config.memory) * slope.square()
            rise = (value - lowest).clamp_min(0.0)
            temperature = max(config.temperature * (1.0 - fall) ** 2, 1e-9)
            keep = chance[1] < (-rise / temperature).exp()
            current = state.where(keep, current)
            lowest, gradient = torch.where(keep, value, lowest), torch.where(keep, slope, gradient)
        return current, lowest

    def evaluate(self, state: State, objects: Objects, energy: HoldingEnergy, chance: Tensor) -> tuple[Tensor, Tensor]:
        """Energy (B,) and its derivative with respect to the palm's twist and the joints: (6 + D, B)."""
        moving, config = self.moving, self.config
        links = moving.links(state.object_T_palm, state.q)
        value, force, moment = self._contact_terms(links, state.contact, objects, energy, chance)

        centres = moving.place(links, self._body)
        distance, normal = objects.field.near(centres)
        depth, slope = energies.penetration(distance, self._body.radius, config.penetration_weight * self._body.weight)
        push = moving.per_link(self._body, slope.unsqueeze(1) * normal, centres)
        value, force, moment = value + depth, force + push[0], moment + push[1]

        centres = moving.place(links, self._spheres)
        overlap, apart = energies.self_penetration(centres, self._pairs, self._least)
        push = moving.per_link(self._spheres, config.self_weight * apart, centres)
        value, force, moment = value + config.self_weight * overlap, force + push[0], moment + push[1]

        twist, joints = moving.pull_back(state.object_T_palm, links, force, moment)
        beyond, inward = energies.joint_limits(state.q, moving.lower, moving.upper)
        return value + config.limit_weight * beyond, torch.cat([twist, joints + config.limit_weight * inward])

    def _contact_terms(
        self, links: Tensor, contact: Tensor, objects: Objects, energy: HoldingEnergy, chance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Energy (B,) of the contacts; derivative and its moment, summed by link (L, 3, B)."""
        moving, config = self.moving, self.config
        places, hand_normal, link = moving.chosen(links, self.contacts, contact)
        surface = objects.field.surface(places)
        value, to_place, to_normal = energy(places, surface.normal, objects.arm, chance)
        gap, to_gap = energies.contact_distance(surface.distance, config.distance_width)
        tilt, to_hand, to_object = energies.misalignment(hand_normal, surface.normal)
        value = value + config.distance_weight * gap + config.alignment_weight * tilt
        to_place = to_place + config.distance_weight * to_gap.unsqueeze(1) * surface.gradient
        to_place = to_place + surface.bent(to_normal + config.alignment_weight * to_object)
        moment = cross(places, to_place) + config.alignment_weight * cross(hand_normal, to_hand)
        return value, moving.to_links(link, to_place), moving.to_links(link, moment)

    def _switched(self, contact: Tensor, chance: Tensor) -> Tensor:
        """Contacts (C, B), some swapped for random ones on links that have none; chance (3, B)."""
        count = len(contact)
        number = (chance[1] * count).long().clamp(max=count - 1)
        fresh = self._real[(chance[2] * len(self._real)).long().clamp(max=len(self._real) - 1)]
        swapped = torch.arange(count, device=contact.device)[:, None] == number
        link = self.contacts.link
        taken = ((link[contact] == link[fresh]) & ~swapped).any(0)
        return torch.where(swapped & (chance[0] < self.config.switching) & ~taken, fresh, contact)

    def _object_gap(self, links: Tensor, objects: Objects) -> Tensor:
        """Distance (L, B) of each link's spheres from the object [m]."""
        distance, _ = objects.field.near(self.moving.place(links, self._body))
        return _least_by_link(len(links), self._body.link, distance - self._body.radius[:, None])

    def _own_gap(self, links: Tensor) -> Tensor:
        """Distance (L, B) of each link's key-point spheres from those of other links [m]."""
        centres = self.moving.place(links, self._spheres)
        first, second = self._pairs.unbind(1)
        gap = (centres[first] - centres[second]).norm(dim=1) - self._least[:, None]
        link = self._spheres.link[torch.cat([first, second])]
        return _least_by_link(len(links), link, torch.cat([gap, gap]))


def _least_by_link(count: int, link: Tensor, values: Tensor) -> Tensor:
    """Smallest of the values (P, B) of each link, (L, B); 1 where there are none."""
    result = values.new_ones(count, values.shape[-1])
    return result.scatter_reduce(0, link[:, None].expand_as(values), values, "amin")


def _solid_spheres(hand: HandModel) -> dict[str, NDArray[np.float64]]:
    """Link to spheres (S, 4) that fill its solids but for edges and corners, link frame [m]."""
    arrays = hand_arrays(hand)
    parts = np.split(arrays.spheres, arrays.sphere_start[1:-1])
    return {link: own[own[:, 3] > _SMALLEST] for link, own in zip(hand.links, parts, strict=True)}


def _meeting_pairs(moving: MovingHand, spheres: Points) -> tuple[Tensor, Tensor]:
    """Pairs (M, 2) of spheres that may not meet and do in some random posture, and the sums of their radii (M,)."""
    hand = moving.hand
    rng = np.random.default_rng(0)
    q = rng.uniform(hand.lower, hand.upper, (_PAIR_POSTURES, len(hand.joint_names)))
    still = torch.eye(4, dtype=moving.dtype, device=moving.device)[:3, :, None].expand(3, 4, len(q))
    centres = moving.place(moving.links(still, moving.tensor(q.T)), spheres).permute(2, 0, 1)
    least = spheres.radius[:, None] + spheres.radius
    meet = torch.zeros_like(least, dtype=torch.bool)
    for part in centres.split(256):
        meet |= (torch.cdist(part, part) < least).any(0)
    names = [hand.links[int(link)] for link in spheres.link]
    may_not = [[a != b and frozenset((a, b)) not in hand.ignored_pairs for b in names] for a in names]
    real = spheres.weight > 0
    meet &= torch.tensor(may_not, device=moving.device) & real & real[:, None]
    pairs = torch.nonzero(meet.triu(1))
    return pairs, least[pairs[:, 0], pairs[:, 1]]
