"""What both optimisers do with an object: initial poses, closing, descent, finishing, candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from dexgrasp_common.parameters import param

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.errors import SynthesisError
from dexgrasp_training.synthesis.candidate_making import CandidateMaker
from dexgrasp_training.synthesis.descent import Descent, DescentConfig, Draws, HoldingEnergy
from dexgrasp_training.synthesis.finishing import CONTACTS, FinishConfig
from dexgrasp_training.synthesis.initial_poses import PoseConfig, initial_poses
from dexgrasp_training.synthesis.method import Candidates
from dexgrasp_training.synthesis.resting import Resting

BLOCK = 128  # poses of one object that are drawn together


@dataclass(frozen=True)
class OptimiserConfig:
    """From initial poses to candidates."""

    poses: PoseConfig = PoseConfig()
    descent: DescentConfig = DescentConfig()
    finish: FinishConfig = FinishConfig()
    batch: int = param(256, "poses that are optimised together", range=(1, 1000000))
    device: str = param("cpu", "where: cpu, cuda, cuda:1")


@dataclass(frozen=True)
class _Block:
    """Some of the poses of one object."""

    asset: int
    count: int
    seed: tuple[int, int]


class Optimiser:
    """A hand's optimiser with an energy.

    Args:
        hand: The hand.
        method: Name of the method, for its candidates.
        config: From initial poses to candidates.
        holding: Makes the energy of what the contacts cannot hold.
    """

    def __init__(
        self, hand: HandModel, method: str, config: OptimiserConfig, holding: Callable[[], HoldingEnergy]
    ) -> None:
        if config.device.startswith("cuda") and not torch.cuda.is_available():
            raise SynthesisError(f"Device {config.device!r} needs CUDA, which torch does not find; use device 'cpu'.")
        if config.descent.contacts > len(hand.contact_points):
            raise SynthesisError(
                f"{config.descent.contacts} contacts need as many links with contact points; {hand.name} has "
                f"{len(hand.contact_points)}. Set descent.contacts to at most that."
            )
        self._hand, self._method, self._config, self._holding = hand, method, config, holding
        self._descent = Descent(hand, config.descent, device=config.device)
        self._maker = CandidateMaker(method, self._descent.moving, config.finish)

    def generate(self, asset: ObjectAsset, attempts: int, seed: int, resting: Resting | None = None) -> Candidates:
        """See `GraspMethod.generate`."""
        return self.generate_batch([asset], attempts, [seed], [resting])[0]

    def generate_batch(
        self,
        assets: Sequence[ObjectAsset],
        attempts: int,
        seeds: Sequence[int],
        resting: Sequence[Resting | None] | None = None,
    ) -> list[Candidates]:
        """Candidates of each of several objects, optimised side by side.

        Each object's are those that `generate` makes of it alone with its seed, but for rounding.
        """
        resting = resting or [None] * len(assets)
        blocks = [
            _Block(asset, min(BLOCK, attempts - start), (seed, start // BLOCK))
            for asset, seed in enumerate(seeds)
            for start in range(0, attempts, BLOCK)
        ]
        per_batch = max(1, self._config.batch // BLOCK)
        found: list[list[Candidates]] = [[] for _ in assets]
        for start in range(0, len(blocks), per_batch):
            some = blocks[start : start + per_batch]
            for block, candidates in zip(some, self._optimised(assets, some, resting), strict=True):
                found[block.asset].append(candidates)
        return [self._joined(parts, attempts) for parts in found]

    def _optimised(
        self, assets: Sequence[ObjectAsset], blocks: Sequence[_Block], resting: Sequence[Resting | None]
    ) -> list[Candidates]:
        config, descent, moving = self._config, self._descent, self._descent.moving
        poses = [
            initial_poses(
                self._hand, assets[b.asset], b.count, np.random.default_rng(b.seed), config.poses, resting[b.asset]
            )
            for b in blocks
        ]
        used = sorted({block.asset for block in blocks})
        which = np.repeat([used.index(block.asset) for block in blocks], [block.count for block in blocks])
        objects = descent.objects([assets[i] for i in used], which)
        seeds = [int(np.random.SeedSequence(block.seed).generate_state(1)[0]) for block in blocks]
        draws = Draws(seeds, [block.count for block in blocks], moving.dtype, moving.device)
        start = descent.start(poses)
        speed = moving.tensor(np.concatenate([part.speed for part in poses]).T)
        with torch.no_grad():
            state = descent.closed(start, objects, speed)
            state = descent.with_contacts(state, objects, self._holding(), draws)
            state, _ = descent.run(state, objects, self._holding(), draws)
            several, rows = self._maker.finished(state, start.q, objects, descent.contacts.link[state.contact])
        ends = np.searchsorted(rows.cpu().numpy(), np.cumsum([block.count for block in blocks]))
        starts = np.append(0, ends[:-1])
        return [
            self._maker.checked(several[begin:end], assets[block.asset])
            for block, begin, end in zip(blocks, starts, ends, strict=True)
        ]

    def _joined(self, parts: Sequence[Candidates], attempts: int) -> Candidates:
        joints = len(self._hand.joint_names)
        sizes = {"object_T_palm": (4, 4), "pregrasp": (joints,), "grasp": (joints,), "squeeze": (joints,)}
        sizes |= {"contacts": (CONTACTS, 3), "quality": ()}
        arrays = {
            name: np.concatenate([np.zeros((0, *size)), *(getattr(part, name) for part in parts)])
            for name, size in sizes.items()
        }
        return Candidates(self._hand.name, self._method, attempts, **arrays)
