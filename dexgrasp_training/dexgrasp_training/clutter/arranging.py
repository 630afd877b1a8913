"""Scenes: objects dropped on the table and settled, or taken out of a settled heap; only what rests is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from dexgrasp_common.parameters import param
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.settle import Area, SettleConfig, UnsettledError, rest, settle

from dexgrasp_training.assets import Split
from dexgrasp_training.errors import SceneError, SettingsError
from dexgrasp_training.scene_record import Kind, SceneRecord

COUNTS: Mapping[Kind, tuple[int, int]] = {"dense": (8, 11), "loose": (1, 2)}  # objects that are dropped


@dataclass(frozen=True)
class ArrangeConfig:
    """How scenes come about. The area is that of DexGraspNet 2.0."""

    length: float = param(0.50, "Length of the area in which the centres of the objects lie, along y [m]")
    width: float = param(0.30, "Its width, along x [m]")
    friction: float = param(0.2, "Of everything: what rests at this friction also rests at a greater one")
    patience: float = param(3.0, "Time given to what still rolls before the scene is dropped anew [s]")
    attempts: int = param(20, "Draws of objects, or of what is taken away, before a scene is given up")

    @property
    def area(self) -> Area:
        """x0, x1, y0, y1 [m]."""
        return -self.width / 2, self.width / 2, -self.length / 2, self.length / 2


def drop(
    name: str,
    kind: Kind,
    split: Split,
    objects: Sequence[str],
    load: Callable[[str], ObjectModel],
    seed: int,
    config: ArrangeConfig | None = None,
) -> SceneRecord:
    """A dense scene of 8 to 11 objects or a loose one of 1 or 2, drawn without repetition while there are enough.

    Args:
        objects: Names of the objects to draw from.
        load: Gives the object of a name.
        seed: Fixes the scene.

    Raises:
        SettingsError: There are no objects.
        SceneError: No draw of objects came to rest inside the area.
    """
    config = config or ArrangeConfig()
    if not objects:
        raise SettingsError(f"There are no {split} objects for {name}; make some, or set scenes.test_share to 0.")
    rng = np.random.default_rng(seed)
    settling = SettleConfig(patience=config.patience, attempts=3)
    for _ in range(config.attempts):
        count = int(rng.integers(COUNTS[kind][0], COUNTS[kind][1] + 1))
        order = np.concatenate([rng.permutation(len(objects)) for _ in range(0, count, len(objects))])[:count]
        drawn = tuple(objects[index] for index in order)
        models = _apart([load(object_) for object_ in drawn])
        try:
            poses = settle(models, config.area, rng, friction=config.friction, config=settling)
        except UnsettledError:
            continue
        return SceneRecord(name, kind, split, drawn, np.stack(poses))
    raise SceneError(
        f"{name}: {config.attempts} draws of objects did not come to rest inside {config.width} x {config.length} m. "
        "Give smaller objects or a larger area."
    )


def thin_out(
    name: str, dense: SceneRecord, models: Sequence[ObjectModel], seed: int, config: ArrangeConfig | None = None
) -> SceneRecord:
    """A random scene: 1 to k - 1 of a dense scene's k objects are taken away (DexGraspNet 2.0, C.3).

    What is left is simulated for a second, and lies in the scene as it lies then; where it does not come to rest,
    others are taken away.

    Args:
        models: Of the dense scene's objects, in its order.
        seed: Fixes which are taken away.

    Raises:
        SceneError: Nothing that was tried came to rest, or the dense scene has but one object.
    """
    config = config or ArrangeConfig()
    rng = np.random.default_rng(seed)
    total = len(dense.objects)
    if total < 2:
        raise SceneError(f"{name}: {dense.name} has {total} object; nothing can be taken away.")
    for _ in range(config.attempts):
        kept = np.sort(rng.permutation(total)[: total - int(rng.integers(1, total))])
        left = _apart([models[index] for index in kept])
        poses = rest(left, dense.world_T_object[kept], config.area, friction=config.friction, patience=config.patience)
        if poses is not None:
            objects = tuple(dense.objects[index] for index in kept)
            return SceneRecord(name, "random", dense.split, objects, np.stack(poses), dense.name)
    raise SceneError(f"{name}: what is left of {dense.name} did not come to rest in {config.attempts} tries.")


def _apart(models: Sequence[ObjectModel]) -> list[ObjectModel]:
    """The models under names of their own, as one may stand in a scene twice."""
    return [model.named(str(index)) for index, model in enumerate(models)]
