"""Procedural families: closed surfaces, parts that fill them, and inertia against closed forms."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import trimesh
from dexgrasp_sim.families import CELL_FAMILIES, FAMILIES, make_object, sample_objects
from dexgrasp_sim.objects import MASS, ObjectError, part_mesh, solid
from dexgrasp_sim.scene import add_object

everything = pytest.mark.parametrize("family", FAMILIES)


def test_there_are_at_least_sixteen_families() -> None:
    assert len(FAMILIES) >= 16


@everything
def test_surface_is_closed_and_parts_fill_it(family: str) -> None:
    for seed in range(2):
        model = make_object(family, seed)
        assert model.mesh.is_watertight
        assert model.mesh.is_winding_consistent
        assert len(model.mesh.split()) == 1, "one solid, not several that overlap"
        assert np.allclose(model.mesh.center_mass, 0.0, atol=1e-6)
        parts = [part_mesh(part) for part in model.parts]
        assert all(part.is_convex for part in parts)
        union = trimesh.boolean.union(parts, engine="manifold") if len(parts) > 1 else parts[0]
        # Convex parts of a thin curved wall are straight: the wall's inside is where they differ.
        assert union.volume == pytest.approx(model.mesh.volume, rel=0.15)
        assert np.allclose(union.bounds, model.mesh.bounds, atol=1.5e-3)


@everything
def test_size_fits_a_hand(family: str) -> None:
    for seed in range(6):
        extents = np.sort(make_object(family, seed).mesh.extents)
        assert extents[0] < 0.09
        assert 0.04 < extents[2] < 0.25


@everything
def test_same_seed_same_object_other_seed_another(family: str) -> None:
    one, again, other = make_object(family, 3), make_object(family, 3), make_object(family, 4)
    assert one.parameters == again.parameters
    assert one.colour == again.colour
    assert np.array_equal(one.mesh.vertices, again.mesh.vertices)
    assert one.parameters != other.parameters


def test_inertia_of_simple_solids() -> None:
    box = make_object("box", 0)
    x, y, z = (box.parameters[axis] for axis in "xyz")
    assert np.diag(box.inertia) == pytest.approx(MASS / 12 * np.array([y**2 + z**2, x**2 + z**2, x**2 + y**2]))
    ball = make_object("ball", 0)
    assert np.diag(ball.inertia) == pytest.approx(3 * [0.4 * MASS * ball.parameters["radius"] ** 2], rel=0.01)
    can = make_object("can", 0)
    r, h = can.parameters["radius"], can.parameters["height"]
    across = MASS * (3 * r**2 + h**2) / 12
    assert np.diag(can.inertia) == pytest.approx([across, across, MASS * r**2 / 2], rel=0.01)
    ring = make_object("torus", 0)
    big, small = ring.parameters["ring"], ring.parameters["tube"]
    assert ring.inertia[2, 2] == pytest.approx(MASS * (big**2 + 0.75 * small**2), rel=0.02)


@everything
def test_simulator_gets_the_mass_properties_of_the_solid(family: str) -> None:
    model = make_object(family, 1)
    spec = mujoco.MjSpec()
    add_object(spec, model, friction=0.4)
    compiled = spec.compile()
    body = compiled.body(model.name)
    assert body.mass[0] == pytest.approx(MASS)
    assert np.allclose(body.ipos, 0.0)
    assert np.sort(body.inertia) == pytest.approx(np.linalg.eigvalsh(model.inertia), rel=1e-4)
    touched = [g for g in range(compiled.ngeom) if compiled.geom_contype[g]]
    assert len(touched) == len(model.parts)
    assert np.allclose(compiled.geom_friction[touched, 0], 0.4)


def test_mug_is_hollow_and_has_an_ear() -> None:
    mug = make_object("mug", 0)
    full = np.pi * mug.parameters["radius"] ** 2 * mug.parameters["height"]
    assert mug.mesh.volume < 0.5 * full
    assert mug.mesh.euler_number == 0, "one hole: the ear's"


def test_sampled_scene_has_distinct_names_and_families() -> None:
    models = sample_objects(len(FAMILIES), np.random.default_rng(0), tuple(FAMILIES))
    assert {model.family for model in models} == set(FAMILIES)
    assert len({model.name for model in models}) == len(models)


def test_new_families_leave_the_cells_scenes_as_they_were() -> None:
    models = sample_objects(5, np.random.default_rng(0))
    assert [model.name for model in models] == ["prism_0", "bowl_1", "l_shape_2", "can_3", "cup_4"]
    assert models[0].parameters == pytest.approx({"corners": 5, "radius": 0.0334431985, "height": 0.1355604171})
    assert models[4].parameters["rim"] == pytest.approx(0.0392705539)
    assert {model.family for model in sample_objects(24, np.random.default_rng(1))} == set(CELL_FAMILIES)


def test_open_surface_is_refused() -> None:
    sheet = trimesh.creation.box(extents=(0.1, 0.1, 0.1))
    sheet.update_faces(np.arange(len(sheet.faces)) > 0)
    with pytest.raises(ObjectError, match="closed"):
        solid("sheet", {}, sheet, [], (1.0, 1.0, 1.0))


def test_unknown_family_names_the_valid_ones() -> None:
    with pytest.raises(ObjectError, match="torus"):
        make_object("teapot", 0)
