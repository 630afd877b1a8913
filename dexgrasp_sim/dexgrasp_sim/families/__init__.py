"""Procedural families of household objects, sized for a hand with fingers of 10 cm.

A family is a function from a random generator to an `ObjectModel`; `FAMILIES` names them. Surfaces are closed
meshes, and the convex parts are made with them from the same parameters, so nothing needs to be decomposed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dexgrasp_sim.families import simple, tools, vessels
from dexgrasp_sim.objects import ObjectError, ObjectModel

FAMILIES: dict[str, Callable[[np.random.Generator], ObjectModel]] = {
    family.__name__: family
    for family in (
        simple.ball,
        simple.blocks,
        vessels.bottle,
        vessels.bowl,
        simple.box,
        simple.bracket,
        tools.brush,
        simple.can,
        simple.capsule,
        vessels.cup,
        simple.dumbbell,
        tools.hammer,
        vessels.jar,
        simple.l_shape,
        vessels.mug,
        vessels.pan,
        tools.pen,
        vessels.plate,
        simple.prism,
        tools.screwdriver,
        tools.spatula,
        simple.superquadric,
        simple.t_shape,
        simple.torus,
        vessels.turned,
        simple.u_shape,
        vessels.vase,
        vessels.wine_glass,
        tools.wrench,
    )
}

# What lies on the simulated cell's table. Their order decides which object a seed brings: append only.
CELL_FAMILIES = (
    "ball",
    "bottle",
    "bowl",
    "box",
    "can",
    "cup",
    "hammer",
    "l_shape",
    "mug",
    "prism",
    "superquadric",
    "torus",
)


def make_object(family: str, seed: int) -> ObjectModel:
    """The object that a family makes of a seed.

    Raises:
        ObjectError: There is no such family.
    """
    if family not in FAMILIES:
        raise ObjectError(f"There is no family {family!r}. Families: {', '.join(FAMILIES)}.")
    return FAMILIES[family](np.random.default_rng(seed))


def sample_objects(count: int, rng: np.random.Generator, families: Sequence[str] = CELL_FAMILIES) -> list[ObjectModel]:
    """Objects named `<family>_<index>`; no family comes again before each has come once."""
    order = [name for _ in range(0, count, len(families)) for name in rng.permutation(families)]
    models = [make_object(str(name), int(rng.integers(2**32))) for name in order[:count]]
    return [model.named(f"{model.family}_{index}") for index, model in enumerate(models)]
