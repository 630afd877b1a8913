"""Grasps by the relaxed force-closure energy (DexGraspNet 2.0, D.2.2, after DexGraspNet 1 and Liu et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dexgrasp_common.parameters import param
from torch import Tensor

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.synthesis.descent import DescentConfig
from dexgrasp_training.synthesis.energies import contact_wrenches, relaxed_force_closure, wrench_derivative
from dexgrasp_training.synthesis.method import Candidates
from dexgrasp_training.synthesis.optimising import Optimiser, OptimiserConfig
from dexgrasp_training.synthesis.resting import Resting


@dataclass(frozen=True)
class ForceClosureConfig:
    """The energy's thresholds, and the optimiser's settings.

    The paper does not give its thresholds; these are ours.
    """

    optimiser: OptimiserConfig = OptimiserConfig()
    balanced: float = param(0.5, "tau_FC: residual below which contact forces count as balanced", range=(0.0, 10.0))
    least: float = param(0.1, "tau_lambda: least force of each contact then, the largest being 1", range=(0.0, 1.0))
    relaxed: float = param(0.9, "P(B = 1): probability with which a balanced grasp is let be", range=(0.0, 1.0))


PRESETS = {
    "fast": ForceClosureConfig(),
    "paper": ForceClosureConfig(OptimiserConfig(descent=DescentConfig(iterations=600, closing_steps=0))),
}


class ForceClosure:
    """Implements `GraspMethod`.

    Args:
        hand: A hand with fingers that face each other.
        config: `None`: the preset `fast`.

    Raises:
        SynthesisError: The hand has no such fingers or too few links to touch with, or the device is missing.
    """

    def __init__(self, hand: HandModel, config: ForceClosureConfig | None = None) -> None:
        self._config = config or PRESETS["fast"]
        self._optimiser = Optimiser(hand, "force_closure", self._config.optimiser, lambda: self.energy)

    def generate(self, asset: ObjectAsset, attempts: int, seed: int, resting: Resting | None = None) -> Candidates:
        """See `GraspMethod.generate`."""
        return self._optimiser.generate(asset, attempts, seed, resting)

    def generate_batch(self, assets: Sequence[ObjectAsset], attempts: int, seeds: Sequence[int]) -> list[Candidates]:
        """See `Optimiser.generate_batch`."""
        return self._optimiser.generate_batch(assets, attempts, seeds)

    def energy(self, places: Tensor, normals: Tensor, arm: Tensor, chance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        config = self._config
        wrenches = contact_wrenches(places, -normals, arm)
        energy, slope, _, _ = relaxed_force_closure(wrenches, chance < config.relaxed, config.balanced, config.least)
        to_place, to_force = wrench_derivative(places, -normals, arm, slope)
        return energy, to_place, -to_force
