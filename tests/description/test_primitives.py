"""Distances, surface points and face grids of the collision primitives, against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dexgrasp_description.errors import MalformedDescriptionError
from dexgrasp_description.primitives import Primitive, parse

SOLIDS = [
    {"box": [0.01, 0.02, 0.03], "at": [0.1, -0.2, 0.3], "rpy": [0.3, -0.4, 0.5]},
    {"capsule": [0.01, 0.02], "at": [0.1, -0.2, 0.3], "axis": "x"},
    {"cylinder": [0.03, 0.01], "at": [0.1, -0.2, 0.3], "rpy": [0.3, -0.4, 0.5]},
    {"sphere": [0.02], "at": [0.1, -0.2, 0.3]},
]


def _solid(entry: dict[str, Any]) -> Primitive:
    return parse("link", entry)


@pytest.mark.parametrize(
    ("entry", "area"),
    [
        ({"box": [1.0, 2.0, 3.0]}, 8.0 * (2.0 + 3.0 + 6.0)),
        ({"sphere": [2.0]}, 16.0 * np.pi),
        ({"cylinder": [2.0, 3.0]}, 2.0 * np.pi * 4.0 + 2.0 * np.pi * 2.0 * 6.0),
        ({"capsule": [2.0, 3.0]}, 16.0 * np.pi + 2.0 * np.pi * 2.0 * 6.0),
    ],
)
def test_area_is_the_closed_form(entry: dict[str, Any], area: float) -> None:
    assert _solid(entry).area() == pytest.approx(area)


@pytest.mark.parametrize(
    ("entry", "point", "distance"),
    [
        ({"box": [1.0, 2.0, 3.0]}, (2.0, 3.0, 3.0), np.sqrt(2.0)),
        ({"box": [1.0, 2.0, 3.0]}, (0.5, 0.0, 0.0), -0.5),
        ({"capsule": [1.0, 2.0]}, (0.0, 0.0, 4.0), 1.0),
        ({"capsule": [1.0, 2.0], "axis": "x"}, (4.0, 0.0, 0.0), 1.0),
        ({"capsule": [1.0, 2.0], "axis": "y"}, (0.0, 2.0, 0.0), -1.0),
        ({"cylinder": [1.0, 2.0]}, (4.0, 0.0, 6.0), 5.0),
        ({"cylinder": [1.0, 2.0]}, (0.0, 0.0, 1.5), -0.5),
        ({"sphere": [1.0], "at": [1.0, 0.0, 0.0]}, (3.0, 0.0, 0.0), 1.0),
    ],
)
def test_signed_distance_is_the_closed_form(
    entry: dict[str, Any], point: tuple[float, float, float], distance: float
) -> None:
    assert _solid(entry).signed_distance(np.array([point]))[0] == pytest.approx(distance)


@pytest.mark.parametrize("entry", SOLIDS)
def test_samples_lie_on_the_surface_and_normals_are_its_gradient(entry: dict[str, Any]) -> None:
    solid = _solid(entry)
    points, normals = solid.sample_surface(2000, np.random.default_rng(0))
    np.testing.assert_allclose(solid.signed_distance(points), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)
    # Moving along the normal raises the distance by as much; but near edges, the inside has another nearest face.
    np.testing.assert_allclose(solid.signed_distance(points + 1e-4 * normals), 1e-4, atol=1e-9)


@pytest.mark.parametrize("entry", SOLIDS)
def test_samples_are_uniform_by_area(entry: dict[str, Any]) -> None:
    """The share of points in a half space through the centre is one half; a box's faces get their share of the area."""
    solid = _solid(entry)
    count = 20000
    points, normals = solid.sample_surface(count, np.random.default_rng(1))
    for direction in np.eye(3):
        share = ((points - solid.link_T_geom[:3, 3]) @ direction > 0.0).mean()
        assert abs(share - 0.5) < 4.0 * 0.5 / np.sqrt(count)
    if solid.kind == "box":
        face = np.abs(normals @ solid.link_T_geom[:3, 0]) > 0.5
        expected = 8.0 * solid.size[1] * solid.size[2] / solid.area()
        assert abs(face.mean() - expected) < 4.0 * np.sqrt(expected / count)


def test_box_face_grid_covers_the_face_in_the_order_of_the_link_axes() -> None:
    solid = _solid({"box": [0.01, 0.02, 0.03], "at": [1.0, 0.0, 0.0]})
    points, normals = solid.face_grid("-x", (3, 2), margin=0.005, spread=0.0)
    np.testing.assert_allclose(points[:, 0], 0.99)
    np.testing.assert_allclose(points[::2, 1], [-0.015, 0.0, 0.015], atol=1e-15)
    np.testing.assert_allclose(points[:2, 2], [-0.025, 0.025])
    np.testing.assert_allclose(normals, np.tile([-1.0, 0.0, 0.0], (6, 1)))


def test_face_of_a_turned_box_is_named_in_the_link_frame() -> None:
    solid = _solid({"box": [0.01, 0.02, 0.03], "rpy": [0.0, np.pi / 2, 0.0]})
    points, normals = solid.face_grid("+x", (2, 2), margin=0.0, spread=0.0)
    np.testing.assert_allclose(points[:, 0], 0.03)
    np.testing.assert_allclose(np.abs(points[:, 1]), 0.02)
    np.testing.assert_allclose(normals[:, 0], 1.0)


def test_capsule_grid_spreads_about_the_face_direction() -> None:
    solid = _solid({"capsule": [0.01, 0.02], "axis": "y"})
    points, normals = solid.face_grid("-x", (2, 3), margin=0.0, spread=0.5)
    np.testing.assert_allclose(np.sort(np.unique(points[:, 1].round(12))), [-0.02, 0.02])
    np.testing.assert_allclose(normals @ [-1.0, 0.0, 0.0], np.cos([-0.5, 0.0, 0.5, -0.5, 0.0, 0.5]))
    np.testing.assert_allclose(solid.signed_distance(points), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"box": [0.1, 0.1]}, "3 positive numbers"),
        ({"sphere": [-0.1]}, "1 positive number"),
        ({"ball": [0.1]}, "box, capsule, cylinder, sphere"),
        ({"sphere": [0.1], "radius": 1.0}, "may have at, rpy or axis"),
        ({"sphere": [0.1], "box": [0.1, 0.1, 0.1]}, "needs one of"),
        ({"capsule": [0.1, 0.1], "axis": "w"}, "axis"),
        ({"box": [0.1, 0.1, 0.1], "axis": "x"}, "axis"),
    ],
)
def test_malformed_primitives_say_what_is_right(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedDescriptionError, match=message):
        _solid(entry)


@pytest.mark.parametrize(
    ("entry", "face", "message"),
    [
        ({"box": [0.1, 0.1, 0.1]}, "front", r"\+x, \+y"),
        ({"box": [0.1, 0.1, 0.1], "rpy": [0.0, 0.0, 0.4]}, "+x", "not a face"),
        ({"capsule": [0.1, 0.1]}, "+z", "sides of capsules"),
    ],
)
def test_faces_that_do_not_exist_are_refused(entry: dict[str, Any], face: str, message: str) -> None:
    with pytest.raises(MalformedDescriptionError, match=message):
        _solid(entry).face_grid(face, (2, 2), 0.0, 0.0)


@pytest.mark.parametrize("entry", [*SOLIDS, {"cylinder": [0.009, 0.02], "axis": "y"}, {"box": [0.02, 0.02, 0.02]}])
@pytest.mark.parametrize("spacing", [None, 0.005])
def test_inner_spheres_are_the_largest_inside_and_stand_no_further_apart(
    entry: dict[str, Any], spacing: float | None
) -> None:
    solid = _solid(entry)
    spheres = solid.inner_spheres(spacing)
    np.testing.assert_allclose(-solid.signed_distance(spheres[:, :3]), spheres[:, 3], atol=1e-12)
    assert len(np.unique(spheres[:, :3].round(9), axis=0)) == len(spheres)
    # No point of the solid is farther from its surface than the radius.
    inside = solid.link_T_geom[:3, 3] + np.random.default_rng(0).uniform(-0.05, 0.05, (5000, 3))
    assert -solid.signed_distance(inside).min() <= spheres[0, 3] + 1e-9
    if len(spheres) > 1:
        apart = np.linalg.norm(spheres[:, None, :3] - spheres[None, :, :3], axis=2) + np.eye(len(spheres))
        assert (apart.min(axis=1) <= (spacing or 2.0 * spheres[0, 3]) + 1e-9).all()


def test_a_grid_has_the_counts_that_come_nearest_to_its_spacing() -> None:
    box = _solid({"box": [0.01, 0.02, 0.03]})
    assert box.grid_shape("+x", 0.01, 0.005, 0.0) == (1 + 3, 1 + 5)
    assert box.grid_shape("-z", 0.01, 0.01, 0.0) == (1, 1 + 2)
    capsule = _solid({"capsule": [0.01, 0.02], "axis": "x"})
    assert capsule.grid_shape("-z", 0.01, 0.0, 0.5) == (1 + 4, 1 + 1)
    with pytest.raises(MalformedDescriptionError, match="sides of capsules"):
        _solid({"sphere": [0.01]}).grid_shape("+x", 0.01, 0.0, 0.0)
