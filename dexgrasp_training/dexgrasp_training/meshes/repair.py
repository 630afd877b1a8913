"""Mending of triangle meshes: cleaning, closing of holes, and a new surface where these do not suffice."""

from __future__ import annotations

import manifold3d
import numpy as np
import trimesh
from numpy.typing import NDArray

from dexgrasp_training.meshes.surface import ray_scene, signed_distance
from dexgrasp_training.synthesis.kernels import sdf

SPECK = 0.02  # bodies smaller than this share of the whole are dropped
GROUND = 0.05  # holes lower than this share of the height are where a scan stood
SHELL = 0.003  # thickness given to a surface that encloses nothing [m]

_FINEST = 0.0008  # voxels of a rebuilt surface [m]
_MOST_VOXELS = 200  # of them along the longest side
_PROBES = 20000  # surface samples by which two surfaces are compared
_LONGEST_LOOP = 400  # corners of a hole's edge for which the smallest patch is looked for


def clean(mesh: trimesh.Trimesh) -> tuple[trimesh.Trimesh, list[str]]:
    """Equal vertices merged, faces without area, double faces and floating specks dropped, winding made consistent."""
    said = []
    mesh = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    count = len(mesh.faces)
    mesh.merge_vertices()
    faces = np.asarray(mesh.faces)
    distinct = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    mesh.update_faces(distinct)
    # A face that is there twice with opposite winding is a fold without inside: both go. With equal winding one goes.
    _, first, group, times = np.unique(
        np.sort(mesh.faces, axis=1), axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    signs = _parity(mesh.faces)
    total = np.bincount(group.ravel(), signs)
    keep = np.zeros(len(mesh.faces), dtype=bool)
    keep[first[(times == 1) | (total != 0)]] = True
    mesh.update_faces(keep)
    mesh.remove_unreferenced_vertices()
    if len(mesh.faces) < count:
        said.append(f"dropped {count - len(mesh.faces)} degenerate or double faces")
    if not len(mesh.faces):
        return mesh, said
    bodies = trimesh.graph.connected_components(mesh.face_adjacency, nodes=np.arange(len(mesh.faces)))
    if len(bodies) > 1:
        sizes = np.array([np.ptp(mesh.triangles[body].reshape(-1, 3), axis=0).max() for body in bodies])
        specks = [body for body, size in zip(bodies, sizes, strict=True) if size < SPECK * mesh.extents.max()]
        if specks:
            keep = np.ones(len(mesh.faces), dtype=bool)
            keep[np.concatenate(specks)] = False
            mesh.update_faces(keep)
            mesh.remove_unreferenced_vertices()
            said.append(f"dropped {len(specks)} floating specks")
    if not mesh.is_winding_consistent:
        trimesh.repair.fix_winding(mesh)
        said.append("turned faces the same way")
    if mesh.is_watertight and mesh.volume < 0 and mesh.body_count == 1:
        mesh.invert()
        said.append("turned inside out")
    return mesh, said


def close_holes(mesh: trimesh.Trimesh, most: float) -> tuple[trimesh.Trimesh, list[str]]:
    """Close each hole by the patch of least area over its corners.

    A large hole may well be the mouth of a vessel without thickness. Only one in the ground is surely none: scans lack
    the side that they stood on.

    Args:
        most: Share of the mesh's area that the patches of all holes that are not in the ground may have together;
            with more, all holes stay open.
    """
    loops = _loops(mesh)
    if not loops or max(len(loop) for loop in loops) > _LONGEST_LOOP:
        return mesh, []
    patches = [_patch(mesh.vertices, loop) for loop in loops]
    added = np.concatenate(patches)
    areas = np.array([trimesh.triangles.area(mesh.vertices[patch]).sum() for patch in patches])
    ground = mesh.bounds[0, 2] + GROUND * mesh.extents[2]
    grounded = np.array([mesh.vertices[loop, 2].max() < ground for loop in loops])
    if areas[~grounded].sum() > most * mesh.area:
        return mesh, [f"left {len(loops)} holes of {areas.sum() / mesh.area:.0%} of the area open"]
    closed, _ = clean(trimesh.Trimesh(mesh.vertices, np.concatenate([mesh.faces, added]), process=False))
    if not closed.is_watertight:
        closed = _parted(closed)
    return closed, [f"closed {len(loops)} holes ({areas.sum() / mesh.area:.2%} of the area)"]


def joined_bodies(mesh: trimesh.Trimesh) -> tuple[trimesh.Trimesh, list[str]]:
    """Outer surface of closed bodies: overlaps are joined, closed cavities filled."""
    bodies = mesh.split(only_watertight=True)
    if len(bodies) < 2:
        return mesh, []
    for body in bodies:
        if body.volume < 0:
            body.invert()
    joined = trimesh.boolean.union(list(bodies), engine="manifold")
    return joined, [f"joined {len(bodies)} bodies"]


def rebuilt(mesh: trimesh.Trimesh, read: trimesh.Trimesh, most: float) -> tuple[trimesh.Trimesh, list[str]]:
    """A new closed surface: where the mesh has an inside, its zero level; else a shell about it.

    Args:
        mesh: What is to be rebuilt.
        read: What the result is compared with.
        most: `deviation` from what was read at most [m].

    Returns:
        The surface, and what was done; the mesh as it was if neither is that close to what was read.
    """
    longest = float(mesh.extents.max())
    spacing = max(_FINEST, longest / _MOST_VOXELS)
    margin = SHELL / 2 + 2 * spacing
    low, high = mesh.bounds[0] - margin, mesh.bounds[1] + margin
    axes = [np.arange(low[i], high[i] + spacing, spacing) for i in range(3)]
    distance = signed_distance(ray_scene(mesh), np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    voxels = f"from voxels of {spacing * 1e3:.2g} mm"
    ways = (
        (distance, f"rebuilt its surface {voxels}"),
        (np.abs(distance) - np.float32(SHELL / 2), f"made it a shell {SHELL * 1e3:g} mm thick {voxels}"),
    )
    for values, said in ways:
        found = _zero_level(values, low, spacing)
        if len(found.faces):
            found, _ = joined_bodies(found)
            if deviation(read, found) <= most:
                return found, [said]
    return mesh, [f"a new surface {voxels} would be off by more than {most * 1e3:g} mm"]


def deviation(read: trimesh.Trimesh, mesh: trimesh.Trimesh) -> float:
    """Greatest distance [m] from the closed `mesh` to what was read, and from what was read and lies outside it."""
    there = trimesh.sample.sample_surface(mesh, _PROBES, seed=0)[0]
    back = trimesh.sample.sample_surface(read, _PROBES, seed=0)[0]
    added = ray_scene(read).compute_distance(np.ascontiguousarray(there, dtype=np.float32)).numpy().max()
    lost = signed_distance(ray_scene(mesh), back).max()
    return float(max(added, lost, 0.0))


def _parted(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh with the sheets that meet in one edge told apart, where each edge has as many faces either way."""
    solid = manifold3d.Manifold(manifold3d.Mesh64(np.array(mesh.vertices), np.array(mesh.faces, dtype=np.uint64)))
    if solid.status() != manifold3d.Error.NoError:
        return mesh
    return _from_manifold(solid)


def _from_manifold(solid: manifold3d.Manifold) -> trimesh.Trimesh:
    found = solid.to_mesh64()
    return trimesh.Trimesh(found.vert_properties[:, :3], found.tri_verts.astype(np.int64), process=False)


def _zero_level(values: NDArray[np.float32], origin: NDArray[np.float64], spacing: float) -> trimesh.Trimesh:
    """Closed surface of where a grid's values are negative, by marching tetrahedra."""
    last = origin + (np.array(values.shape) - 1) * spacing

    def depth(x: float, y: float, z: float) -> float:
        return -float(sdf(values, origin, spacing, (x, y, z)))

    return _from_manifold(manifold3d.Manifold.level_set(depth, [*origin, *last], spacing))


def _parity(faces: NDArray[np.integer]) -> NDArray[np.int64]:
    """+1 for faces whose corners are an even permutation of their sorted order, -1 for the others."""
    a, b, c = faces.T
    return np.where((a < b).astype(int) + (b < c) + (c < a) == 2, 1, -1)


def _loops(mesh: trimesh.Trimesh) -> list[NDArray[np.int64]]:
    """Edges of the holes as closed chains of vertices, in the direction that patches need."""
    edges = np.sort(mesh.edges, axis=1)
    _, group, times = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    border = mesh.edges[times[group.ravel()] == 1]
    onward: dict[int, list[int]] = {}
    for start, end in border[:, ::-1].tolist():  # a patch runs along the edge the other way
        onward.setdefault(start, []).append(end)
    loops = []
    while onward:
        chain = [min(onward)]
        place = {chain[0]: 0}
        while True:
            ends = onward.get(chain[-1])
            if not ends:
                return []  # a border that does not close: the winding is inconsistent
            step = ends.pop()
            if not ends:
                del onward[chain[-1]]
            if step in place:
                cut = place[step]
                loops.append(np.array(chain[cut:]))
                for corner in chain[cut + 1 :]:
                    del place[corner]
                chain = chain[: cut + 1]
                if len(chain) == 1:
                    break
            else:
                place[step] = len(chain)
                chain.append(step)
    return [loop for loop in loops if len(loop) > 2]


def _patch(vertices: NDArray[np.float64], loop: NDArray[np.int64]) -> NDArray[np.int64]:
    """Triangles (N - 2, 3) of least total area over a closed chain of N vertices (Barequet and Sharir, 1995)."""
    points = vertices[loop]
    count = len(loop)
    cost = np.zeros((count, count))
    split = np.zeros((count, count), dtype=int)
    for span in range(2, count):
        for first in range(count - span):
            last = first + span
            middle = np.arange(first + 1, last)
            cross = np.cross(points[middle] - points[first], points[last] - points[first])
            total = cost[first, middle] + cost[middle, last] + np.linalg.norm(cross, axis=1) / 2
            best = int(total.argmin())
            cost[first, last], split[first, last] = total[best], middle[best]
    faces, waiting = [], [(0, count - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        middle_corner = int(split[first, last])
        faces.append((loop[first], loop[middle_corner], loop[last]))
        waiting += [(first, middle_corner), (middle_corner, last)]
    return np.array(faces)
