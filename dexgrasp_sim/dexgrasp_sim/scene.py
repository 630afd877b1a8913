"""Objects and boxes in a MuJoCo scene, and the physics settings that every scene of the suite shares."""

from __future__ import annotations

import mujoco
import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_sim.objects import ObjectModel

TIMESTEP = 1.0 / 240.0  # [s]

# Who collides with whom: two geoms touch if one's type meets the other's affinity.
ROBOT, OBJECT, STATIC = 1, 2, 4

VISUAL_GROUP, COLLISION_GROUP = 2, 3  # MuJoCo's own habit: group 2 is drawn, group 3 is touched

# Contact stiffness of the measured hold tests; elliptic cones and impratio 10 make the friction limit exact.
SOLREF, SOLIMP = (0.004, 1.0), (0.95, 0.99, 0.001, 0.5, 2.0)

# Rotational drag of a free object [N m s/rad]: stands for rolling resistance, so that a ball comes to rest.
ROLLING_DAMPING = 2e-4

_GEOM_TYPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
    "mesh": mujoco.mjtGeom.mjGEOM_MESH,
}


def set_physics(spec: mujoco.MjSpec, timestep: float = TIMESTEP) -> None:
    """1/240 s, implicitfast, Newton, elliptic cones, impratio 10."""
    spec.option.timestep = timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0


def surface(friction: float) -> dict[str, object]:
    """Geom arguments of a touchable surface: condim 4, stiff contact.

    Args:
        friction: Sliding coefficient. MuJoCo takes the larger of the two geoms in contact.
    """
    return {"friction": [friction, 0.005, 0.0001], "condim": 4, "solref": SOLREF, "solimp": SOLIMP}


def add_object(
    spec: mujoco.MjSpec, model: ObjectModel, friction: float, world_T_object: NDArray[np.float64] | None = None
) -> mujoco.MjsBody:
    """Add an object with a free joint.

    Names in the scene: body `<name>`, joint `<name>/free`, drawn geom `<name>/visual`, touched geoms `<name>/part<i>`.

    Args:
        world_T_object: Pose at qpos0; `None`: the identity.
    """
    body = spec.worldbody.add_body(name=model.name)
    if world_T_object is not None:
        body.pos, body.quat = world_T_object[:3, 3], wxyz(world_T_object[:3, :3])
    body.add_freejoint(name=f"{model.name}/free").damping = [ROLLING_DAMPING, 0.0, 0.0]
    i = model.inertia
    body.explicitinertial = True
    body.mass, body.ipos = model.mass, np.zeros(3)
    body.fullinertia = [i[0, 0], i[1, 1], i[2, 2], i[0, 1], i[0, 2], i[1, 2]]
    visual = f"{model.name}/visual"
    add_mesh(spec, visual, model.mesh)
    body.add_geom(
        name=visual,
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=visual,
        rgba=[*model.colour, 1.0],
        contype=0,
        conaffinity=0,
        group=VISUAL_GROUP,
        mass=0.0,
    )
    for index, part in enumerate(model.parts):
        name = f"{model.name}/part{index}"
        mesh = {}
        if part.vertices is not None:
            add_mesh(spec, name, trimesh.convex.convex_hull(part.vertices))
            mesh = {"meshname": name}
        body.add_geom(
            name=name,
            type=_GEOM_TYPES[part.kind],
            size=[*part.size, 0.0, 0.0, 0.0][:3],
            pos=part.object_T_part[:3, 3],
            quat=wxyz(part.object_T_part[:3, :3]),
            contype=OBJECT,
            conaffinity=ROBOT | OBJECT | STATIC,
            group=COLLISION_GROUP,
            mass=0.0,
            **mesh,
            **surface(friction),
        )
    return body


def add_static_box(
    spec: mujoco.MjSpec, name: str, centre: ArrayLike, size: ArrayLike, friction: float, **drawing: object
) -> mujoco.MjsGeom:
    """Add a fixed box.

    Args:
        centre, size: Middle and full edge lengths, array (3,), world frame [m].
        drawing: Further geom arguments (`rgba`, `material`).
    """
    return spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=np.asarray(centre, dtype=np.float64),
        size=0.5 * np.asarray(size, dtype=np.float64),
        contype=STATIC,
        conaffinity=ROBOT | OBJECT,
        **surface(friction),
        **drawing,
    )


def add_mesh(spec: mujoco.MjSpec, name: str, mesh: trimesh.Trimesh) -> None:
    """Add a surface to the scene's assets; mass properties are never taken from it."""
    asset = spec.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    asset.uservert = np.asarray(mesh.vertices, dtype=np.float32).ravel()
    asset.userface = np.asarray(mesh.faces, dtype=np.int32).ravel()


def wxyz(A_R_B: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternion of a rotation matrix in MuJoCo's order."""
    return Rotation.from_matrix(A_R_B).as_quat(scalar_first=True)


def pose_of(qpos: NDArray[np.float64]) -> NDArray[np.float64]:
    """4x4 pose from position and wxyz quaternion (7,), as a free joint stores them."""
    A_T_B = np.eye(4)
    A_T_B[:3, :3] = Rotation.from_quat(qpos[3:7], scalar_first=True).as_matrix()
    A_T_B[:3, 3] = qpos[:3]
    return A_T_B


def qpos_of(A_T_B: NDArray[np.float64]) -> NDArray[np.float64]:
    """Position and wxyz quaternion (7,) of a 4x4 pose."""
    return np.concatenate([A_T_B[:3, 3], wxyz(A_T_B[:3, :3])])
