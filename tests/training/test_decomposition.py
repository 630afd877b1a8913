"""Convex parts: they fill the mesh, keep their bounds, come again from the cache, and are the same every time."""

from __future__ import annotations

from pathlib import Path

import coacd
import numpy as np
import pytest
import trimesh
from dexgrasp_sim.families import make_object
from dexgrasp_sim.objects import Part, part_mesh
from dexgrasp_training.meshes.decomposition import DecompositionConfig, decompose
from dexgrasp_training.meshes.surface import ray_scene, signed_distance


def union(parts: list[Part]) -> trimesh.Trimesh:
    return trimesh.boolean.union([part_mesh(part) for part in parts], engine="manifold")


def test_box_is_its_own_hull() -> None:
    parts = decompose(trimesh.creation.box(extents=(0.03, 0.05, 0.08)))
    assert len(parts) == 1
    assert parts[0].kind == "mesh"
    assert len(parts[0].vertices) == 8
    assert part_mesh(parts[0]).volume == pytest.approx(0.03 * 0.05 * 0.08)


def test_ball_is_one_hull_of_its_own_volume() -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.04)
    parts = decompose(ball)
    assert len(parts) == 1
    assert len(parts[0].vertices) == 4 * DecompositionConfig().most_vertices
    assert part_mesh(parts[0]).volume == pytest.approx(ball.volume)
    radii = np.linalg.norm(parts[0].vertices, axis=1)
    assert np.ptp(radii) < 1e-3
    assert radii == pytest.approx(0.04, abs=1e-3)


@pytest.mark.parametrize("family", ["l_shape", "hammer"])
def test_parts_fill_the_mesh_and_stay_near_it(family: str) -> None:
    mesh = make_object(family, 0).mesh
    parts = decompose(mesh)
    assert 2 <= len(parts) <= 48
    assert all(part_mesh(part).is_convex for part in parts)
    assert all(len(part.vertices) <= 48 for part in parts)
    filled = union(parts)
    assert filled.volume == pytest.approx(mesh.volume, rel=0.03)
    beyond = signed_distance(ray_scene(mesh), trimesh.sample.sample_surface(filled, 4000, seed=0)[0])
    missed = signed_distance(ray_scene(filled), trimesh.sample.sample_surface(mesh, 4000, seed=0)[0])
    assert np.percentile(beyond, 95) < 1e-3
    assert beyond.max() < 2.5e-3
    assert np.percentile(missed, 95) < 1e-3


def test_bounds_are_kept() -> None:
    config = DecompositionConfig(most_hulls=5, most_vertices=12)
    parts = decompose(make_object("torus", 0).mesh, config)
    assert 2 <= len(parts) <= 5
    assert all(len(part.vertices) <= 12 for part in parts)


def test_same_mesh_same_parts_and_not_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    mesh = make_object("t_shape", 1).mesh
    first, again = decompose(mesh), decompose(mesh.copy())
    assert len(first) == len(again)
    assert all(np.array_equal(a.vertices, b.vertices) for a, b in zip(first, again, strict=True))
    assert capfd.readouterr() == ("", "")


def test_cache_knows_mesh_and_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = make_object("l_shape", 2).mesh
    made = decompose(mesh, cache=tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("taken apart again")

    monkeypatch.setattr(coacd, "run_coacd", refuse)
    kept = decompose(mesh, cache=tmp_path)
    assert all(np.array_equal(a.vertices, b.vertices) for a, b in zip(made, kept, strict=True))
    with pytest.raises(AssertionError, match="taken apart again"):
        decompose(mesh, DecompositionConfig(most_hulls=9), tmp_path)
    with pytest.raises(AssertionError, match="taken apart again"):
        decompose(make_object("l_shape", 3).mesh, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1, "nothing half-written"
