"""Grasps by the wrenches that they can resist (DexGraspNet 2.0, D.2.1: a task wrench space that is a unit ball)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dexgrasp_common.parameters import param
from torch import Tensor

from dexgrasp_description import HandModel
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.synthesis.descent import DescentConfig
from dexgrasp_training.synthesis.energies import (
    cone_derivative,
    cone_edges,
    contact_wrenches,
    wrench_derivative,
    wrench_space,
)
from dexgrasp_training.synthesis.method import Candidates
from dexgrasp_training.synthesis.optimising import Optimiser, OptimiserConfig
from dexgrasp_training.synthesis.resting import Resting


@dataclass(frozen=True)
class WrenchSpaceConfig:
    """The energy's settings, and the optimiser's."""

    optimiser: OptimiserConfig = OptimiserConfig()
    friction: float = param(0.2, "coefficient of friction of the contacts", range=(0.0, 2.0))
    regular: float = param(0.02, "rho: cost of contact forces against what they leave unresisted", range=(1e-4, 1.0))
    weight: float = param(3.0, "of the energy", range=(0.0, 1e3))
    solver_steps: int = param(8, "steps of the force solver at each iteration, from the last forces", range=(1, 1000))


PRESETS = {
    "fast": WrenchSpaceConfig(),
    # D.2.1: naive gradient descent, 600 iterations, from predefined joints.
    "paper": WrenchSpaceConfig(
        OptimiserConfig(descent=DescentConfig(iterations=600, closing_steps=0, temperature=0.0))
    ),
}


class WrenchSpace:
    """Implements `GraspMethod`.

    Args:
        hand: A hand with fingers that face each other.
        config: `None`: the preset `fast`.

    Raises:
        SynthesisError: The hand has no such fingers or too few links to touch with, or the device is missing.
    """

    def __init__(self, hand: HandModel, config: WrenchSpaceConfig | None = None) -> None:
        self._config = config or PRESETS["fast"]
        self._optimiser = Optimiser(hand, "wrench_space", self._config.optimiser, lambda: WrenchEnergy(self._config))

    def generate(self, asset: ObjectAsset, attempts: int, seed: int, resting: Resting | None = None) -> Candidates:
        """See `GraspMethod.generate`."""
        return self._optimiser.generate(asset, attempts, seed, resting)

    def generate_batch(self, assets: Sequence[ObjectAsset], attempts: int, seeds: Sequence[int]) -> list[Candidates]:
        """See `Optimiser.generate_batch`."""
        return self._optimiser.generate_batch(assets, attempts, seeds)


class WrenchEnergy:
    """A `HoldingEnergy` that starts each solution from the last."""

    def __init__(self, config: WrenchSpaceConfig) -> None:
        self._config = config
        self._forces: Tensor | None = None

    def __call__(self, places: Tensor, normals: Tensor, arm: Tensor, chance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        config = self._config
        count, _, batch = places.shape
        edges, tangents, axis = cone_edges(normals, config.friction)
        sides = edges.shape[1]
        where, edges = places.repeat_interleave(sides, dim=0), edges.reshape(-1, 3, batch)
        wrenches = contact_wrenches(where, edges, arm)
        start = wrenches.new_zeros(batch, len(wrenches), 12) if self._forces is None else self._forces
        energy, slope, self._forces = wrench_space(wrenches, start, config.regular, config.solver_steps)
        to_where, to_edge = wrench_derivative(where, edges, arm, slope)
        to_place = to_where.view(count, sides, 3, batch).sum(1)
        to_normal = cone_derivative(normals, tangents, axis, config.friction, to_edge.view(count, sides, 3, batch))
        return config.weight * energy, config.weight * to_place, config.weight * to_normal
