"""Arranged scenes rest where they are said to, hold what they should, and are the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from dexgrasp_sim.families import make_object
from dexgrasp_sim.objects import ObjectModel
from dexgrasp_sim.settle import rest
from dexgrasp_training.clutter.arranging import COUNTS, ArrangeConfig, drop, thin_out
from dexgrasp_training.errors import SceneError, SettingsError
from dexgrasp_training.scene_record import Kind, SceneRecord

from .boxes import at, box_asset

FAMILIES = ("box", "can", "prism", "ball", "l_shape", "hammer")
OBJECTS = {f"{family}_{i}": make_object(family, i) for family in FAMILIES for i in range(2)}


def dropped(kind: Kind, seed: int, objects: tuple[str, ...] = tuple(OBJECTS)) -> SceneRecord:
    return drop(f"{kind}_train_0000", kind, "train", objects, OBJECTS.__getitem__, seed)


def models_of(record: SceneRecord) -> list[ObjectModel]:
    return [OBJECTS[name] for name in record.objects]


@pytest.mark.parametrize("kind", ["dense", "loose"])
def test_dropped_scenes_have_their_number_of_different_objects_inside_the_area(kind: Kind) -> None:
    seen = set()
    for seed in range(4 if kind == "dense" else 8):
        record = dropped(kind, seed)
        least, most = COUNTS[kind]
        assert least <= len(record.objects) <= most
        assert len(set(record.objects)) == len(record.objects)
        x, y = record.world_T_object[:, 0, 3], record.world_T_object[:, 1, 3]
        assert np.abs(x).max() < 0.15
        assert np.abs(y).max() < 0.25
        for model, pose in zip(models_of(record), record.world_T_object, strict=True):
            assert (model.mesh.vertices @ pose[:3, :3].T + pose[:3, 3])[:, 2].min() > -1e-3
        seen.add(len(record.objects))
    assert len(seen) > 1


def test_dropped_scenes_stay_as_they_are() -> None:
    record = dropped("dense", 5)
    models = [model.named(str(i)) for i, model in enumerate(models_of(record))]
    config = ArrangeConfig()
    later = rest(models, record.world_T_object, config.area, friction=config.friction, time=2.0)
    assert later is not None
    moved = np.linalg.norm(np.stack(later)[:, :3, 3] - record.world_T_object[:, :3, 3], axis=1)
    assert moved.max() < 3e-3


def test_the_seed_fixes_the_scene() -> None:
    first, again, other = dropped("dense", 1), dropped("dense", 1), dropped("dense", 2)
    assert first.objects == again.objects
    assert np.array_equal(first.world_T_object, again.world_T_object)
    assert first.objects != other.objects
    thin, thin_again = (thin_out("random_train_0000", first, models_of(first), 3) for _ in range(2))
    assert thin.objects == thin_again.objects
    assert np.array_equal(thin.world_T_object, thin_again.world_T_object)


def test_objects_come_again_only_where_there_are_too_few() -> None:
    record = dropped("dense", 0, ("box_0", "can_0", "prism_0"))
    counts = [record.objects.count(name) for name in ("box_0", "can_0", "prism_0")]
    assert sum(counts) >= 8
    assert max(counts) - min(counts) <= 1


def test_random_scenes_are_dense_ones_with_one_to_all_but_one_taken_away() -> None:
    dense = dropped("dense", 1)
    lengths = set()
    for seed in range(6):
        record = thin_out("random_train_0007", dense, models_of(dense), seed)
        assert (record.kind, record.split, record.parent) == ("random", "train", dense.name)
        assert 1 <= len(record.objects) < len(dense.objects)
        assert set(record.objects) < set(dense.objects)
        lengths.add(len(record.objects))
    assert len(lengths) > 2


def test_what_stood_alone_stays_and_what_lay_on_what_was_taken_away_falls() -> None:
    models = [box_asset(name, (0.06, 0.06, 0.04)).model for name in ("low", "high", "apart")]
    poses = np.stack([at(0.0, 0.0, 0.02), at(0.0, 0.0, 0.06), at(0.0, 0.15, 0.02)])
    dense = SceneRecord("dense_train_0000", "dense", "train", ("low", "high", "apart"), poses)
    seen = set()
    for seed in range(12):
        record = thin_out("random_train_0000", dense, models, seed)
        seen.add(record.objects)
        for name, pose in zip(record.objects, record.world_T_object, strict=True):
            before = poses[dense.objects.index(name)].copy()
            if name == "high" and "low" not in record.objects:
                before[2, 3] = 0.02
            assert np.allclose(pose, before, atol=2e-3), record.objects
    assert any("high" in objects and "low" not in objects for objects in seen)


def test_what_cannot_rest_is_said() -> None:
    with pytest.raises(SceneError, match="did not come to rest inside"):
        drop(
            "dense_train_0000",
            "dense",
            "train",
            tuple(OBJECTS),
            OBJECTS.__getitem__,
            0,
            ArrangeConfig(length=0.02, width=0.02, attempts=1),
        )
    with pytest.raises(SettingsError, match="no train objects"):
        dropped("loose", 0, ())
    lonely = SceneRecord("loose_train_0000", "loose", "train", ("box_0",), np.eye(4)[None])
    with pytest.raises(SceneError, match="nothing can be taken away"):
        thin_out("random_train_0000", lonely, [OBJECTS["box_0"]], 0)
