"""Meshes from files: formats and units, what is mended, what is refused and with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from dexgrasp_sim.families.shapes import tube
from dexgrasp_training.errors import MeshError
from dexgrasp_training.meshes.importing import ImportConfig, ImportedMesh, import_mesh
from dexgrasp_training.meshes.surface import ray_scene, signed_distance

BOX = (0.03, 0.05, 0.08)
BOX_VOLUME = 0.03 * 0.05 * 0.08


def box() -> trimesh.Trimesh:
    return trimesh.creation.box(extents=BOX)


def ball(radius: float = 0.05, subdivisions: int = 3) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)


def without(mesh: trimesh.Trimesh, dropped: np.ndarray) -> trimesh.Trimesh:
    """The mesh less the faces of a mask."""
    left = mesh.copy()
    left.update_faces(~dropped)
    left.remove_unreferenced_vertices()
    return left


def imported(mesh: trimesh.Trimesh, folder: Path, suffix: str = ".stl", **options: object) -> ImportedMesh:
    path = folder / f"thing{suffix}"
    mesh.export(path)
    result = import_mesh(path, ImportConfig(**options))
    assert result.mesh.is_watertight
    assert result.mesh.is_winding_consistent
    assert result.mesh.volume > 0
    return result


@pytest.mark.parametrize("suffix", [".stl", ".obj", ".ply"])
def test_every_format_gives_the_same_solid(suffix: str, tmp_path: Path) -> None:
    result = imported(box(), tmp_path, suffix)
    assert np.allclose(np.sort(result.mesh.extents), BOX)
    assert result.mesh.volume == pytest.approx(BOX_VOLUME)
    assert result.faces_read == 12
    assert result.repairs == ()


def test_gltf_has_y_up(tmp_path: Path) -> None:
    cone = trimesh.creation.cone(radius=0.03, height=0.1)  # its tip is up
    lying = cone.copy()
    lying.vertices = cone.vertices[:, [0, 2, 1]] * np.array([1, 1, -1])
    result = imported(lying, tmp_path, ".glb")
    assert np.allclose(result.mesh.bounds, cone.bounds, atol=1e-6)
    assert result.mesh.center_mass[2] == pytest.approx(0.025, abs=1e-6)


def test_parts_of_a_gltf_scene_are_placed_and_joined(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(box())
    scene.add_geometry(box(), transform=trimesh.transformations.translation_matrix((0.02, 0.0, 0.0)))
    path = tmp_path / "two.glb"
    scene.export(path)
    mesh = import_mesh(path).mesh
    assert mesh.volume == pytest.approx(BOX_VOLUME * 5 / 3, rel=1e-4)
    assert mesh.body_count == 1


def test_unit_and_scale_multiply(tmp_path: Path) -> None:
    large = box().apply_scale(1000 / 2.5)
    assert imported(large, tmp_path, unit="mm", scale=2.5).mesh.volume == pytest.approx(BOX_VOLUME, rel=1e-4)
    inches = box().apply_scale(1 / 0.0254)
    assert imported(inches, tmp_path, unit="inch").mesh.volume == pytest.approx(BOX_VOLUME, rel=1e-4)


def test_millimetres_read_as_metres_are_refused_with_the_unit_to_give(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match=r"thing.stl is 180 m long .* give --unit mm\."):
        imported(box().apply_scale(180 / 0.08), tmp_path)
    with pytest.raises(MeshError, match=r"0\.0001 m long .* the right --unit, or a --scale"):
        imported(box().apply_scale(1e-4 / 0.08), tmp_path)


def test_unknown_unit_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="m, cm, mm, inch"):
        imported(box(), tmp_path, unit="yard")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.stl", b"", "is empty"),
        ("noise.stl", b"\x80\x81\x82 not a mesh" * 40, "cannot be read|no triangles"),
        ("text.obj", b"hello\n", "cannot be read|no triangles"),
        ("half.glb", b"glTF\x02\x00\x00\x00\xff\x00\x00\x00", "cannot be read"),
        ("points.ply", b"", "no triangles"),
        ("mesh.step", b"x", r"kind .* \.stl, \.obj"),
    ],
)
def test_files_that_are_no_meshes_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    if name == "points.ply":
        trimesh.PointCloud(np.eye(3)).export(path)
    with pytest.raises(MeshError, match=message):
        import_mesh(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="does not exist"):
        import_mesh(tmp_path / "nowhere.stl")


def test_vertices_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    broken = box()
    vertices = np.array(broken.vertices)
    vertices[0, 1] = np.nan
    trimesh.Trimesh(vertices, broken.faces, process=False).export(tmp_path / "nan.stl")
    with pytest.raises(MeshError, match="not finite"):
        import_mesh(tmp_path / "nan.stl")


def test_flat_mesh_is_refused(tmp_path: Path) -> None:
    sheet = trimesh.Trimesh([[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0.1, 0]], [[0, 1, 2], [0, 2, 3]])
    with pytest.raises(MeshError, match="flat"):
        imported(sheet, tmp_path)


def test_small_holes_are_closed(tmp_path: Path) -> None:
    whole = ball()
    missing = np.zeros(len(whole.faces), dtype=bool)
    missing[np.random.default_rng(0).choice(len(whole.faces), 20, replace=False)] = True
    result = imported(without(whole, missing), tmp_path)
    assert "closed" in result.repairs[0]
    assert result.mesh.volume == pytest.approx(whole.volume, rel=1e-3)
    assert result.deviation < 0.003


def test_slit_is_closed_along_its_length_and_not_across_the_inside(tmp_path: Path) -> None:
    tube = trimesh.creation.annulus(r_min=0.025, r_max=0.03, height=0.08, sections=64)
    centre = tube.triangles_center
    result = imported(without(tube, (np.abs(centre[:, 1]) < 0.0025) & (centre[:, 0] > 0.0299)), tmp_path)
    assert result.mesh.volume == pytest.approx(tube.volume, rel=0.01)


def test_scan_without_the_side_it_stood_on_is_closed_there(tmp_path: Path) -> None:
    whole = trimesh.creation.cylinder(radius=0.04, height=0.06, sections=48)
    result = imported(without(whole, whole.face_normals[:, 2] < -0.9), tmp_path)
    assert result.mesh.volume == pytest.approx(whole.volume, rel=1e-6)


def test_vessel_without_thickness_becomes_a_shell_and_says_so(tmp_path: Path) -> None:
    whole = ball(radius=0.016)
    half = without(whole, whole.triangles_center[:, 2] > 0.0)
    result = imported(half, tmp_path)
    assert "shell 3 mm thick" in result.repairs[-1]
    assert result.mesh.volume == pytest.approx(half.area * 0.003, rel=0.1)
    assert 0.001 < result.deviation < 0.002
    # Hollow: the middle of the mouth is outside.
    assert signed_distance(ray_scene(result.mesh), np.array([[0.0, 0.0, -0.005]]))[0] > 0.008


def test_what_cannot_be_closed_faithfully_is_refused(tmp_path: Path) -> None:
    whole = ball(radius=0.012)
    half = without(whole, whole.triangles_center[:, 2] > 0.0)
    with pytest.raises(MeshError, match="cannot be closed .* off by more than 0.1 mm"):
        imported(half, tmp_path, deviation=1e-4)


def test_winding_is_mended(tmp_path: Path) -> None:
    inside_out = ball()
    inside_out.invert()
    assert imported(inside_out, tmp_path).repairs == ("turned inside out",)
    mixed = ball()
    faces = np.array(mixed.faces)
    faces[::3] = faces[::3, ::-1]
    result = imported(trimesh.Trimesh(mixed.vertices, faces, process=False), tmp_path)
    assert result.mesh.volume == pytest.approx(ball().volume)


def test_degenerate_and_double_faces_and_specks_are_dropped(tmp_path: Path) -> None:
    clean = ball()
    speck = trimesh.creation.box(extents=(0.0005, 0.0005, 0.0005))
    speck.apply_translation((0.0, 0.0, 0.06))
    faces = np.concatenate([clean.faces, clean.faces[:1], [[0, 0, 1]], [[5, 9, 300], [300, 9, 5]]])
    dirty = trimesh.util.concatenate([trimesh.Trimesh(clean.vertices, faces, process=False), speck])
    result = imported(dirty, tmp_path)
    assert len(result.mesh.faces) == len(clean.faces)
    assert result.mesh.volume == pytest.approx(clean.volume)
    assert "dropped 4 degenerate or double faces" in result.repairs
    assert "dropped 1 floating specks" in result.repairs


def test_overlapping_bodies_count_once(tmp_path: Path) -> None:
    pair = [trimesh.creation.box(extents=(0.04, 0.04, 0.04)) for _ in range(2)]
    pair[1].apply_translation((0.02, 0.0, 0.0))
    result = imported(trimesh.util.concatenate(pair), tmp_path)
    assert result.mesh.volume == pytest.approx(0.06 * 0.04 * 0.04)
    assert result.mesh.body_count == 1


def test_surface_that_runs_through_itself_is_refused(tmp_path: Path) -> None:
    turns = np.linspace(0.0, 1.7 * 2 * np.pi, 80)  # the ring's second turn lies in its first
    path = 0.03 * np.stack([np.cos(turns), np.sin(turns), 0 * turns], axis=1)
    ring = tube(path, 0.01, 16)
    assert ring.is_watertight
    with pytest.raises(MeshError, match="runs through itself"):
        imported(ring, tmp_path)


@pytest.mark.parametrize("turned", [False, True])
def test_closed_cavities_are_filled(turned: bool, tmp_path: Path) -> None:
    inner = ball(radius=0.03)
    if turned:
        inner.invert()
    result = imported(trimesh.util.concatenate([ball(), inner]), tmp_path)
    assert result.mesh.volume == pytest.approx(ball().volume)


def test_fine_mesh_is_simplified(tmp_path: Path) -> None:
    fine = ball(subdivisions=6)
    result = imported(fine, tmp_path, most_faces=4000)
    assert result.faces_read == len(fine.faces) == 81920
    assert len(result.mesh.faces) <= 4000
    assert result.mesh.volume == pytest.approx(fine.volume, rel=0.01)
    assert result.deviation < 2e-4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_million_faces(tmp_path: Path) -> None:
    fine = ball(subdivisions=8)  # 1.3 million; each face of one cap is cut in four
    fine = trimesh.Trimesh(*trimesh.remesh.subdivide(fine.vertices, fine.faces, np.arange(240000)), process=False)
    assert len(fine.faces) > 2_000_000
    vertices = fine.vertices * (1 + 0.02 * np.sin(60 * fine.vertices[:, :1]))
    fine = trimesh.Trimesh(vertices, fine.faces, process=False)
    path = tmp_path / "fine.stl"
    fine.export(path)
    result = import_mesh(path)
    assert result.mesh.is_watertight
    assert len(result.mesh.faces) <= 1.01 * ImportConfig().most_faces, "patches may come on top"
    assert result.deviation < 5e-4


def test_same_file_same_mesh(tmp_path: Path) -> None:
    lumps = trimesh.util.concatenate([ball(), box().apply_translation((0.05, 0.0, 0.0))])
    first, again = imported(lumps, tmp_path), imported(lumps, tmp_path)
    assert np.array_equal(first.mesh.vertices, again.mesh.vertices)
    assert np.array_equal(first.mesh.faces, again.mesh.faces)


@pytest.mark.slow
def test_everyday_meshes_all_become_solids(shared: Path) -> None:
    paths = sorted((shared / "objects").glob("*.stl"))
    mended = {}
    for path in paths:
        result = import_mesh(path)
        assert result.mesh.is_watertight, path.name
        assert result.mesh.body_count == 1, path.name
        assert result.deviation < 5e-4, path.name
        assert result.mesh.volume == pytest.approx(trimesh.load_mesh(path).volume, rel=0.005), path.name
        if result.repairs:
            mended[path.stem] = result.repairs
    assert set(mended) >= {"bowl", "camera", "headphones", "phone", "stapler", "waterbottle"}
