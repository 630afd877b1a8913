"""Plays a job in Isaac Gym Preview 4: `python isaacgym_worker.py FOLDER`, with a Python that has it.

Isaac Gym exists for Python 3.6 to 3.8 only, so this file runs in a process and an environment of its own: it imports
nothing of this suite, and its syntax is Python 3.8's. It reads `job.json` and `job.npz` in FOLDER and writes
`result.npz`; `dexgrasp_sim.isaacgym_tester` writes the one and reads the other.

job.json
    hand, objects: URDF files in FOLDER. The hand's root is fixed; object `i` is one free link named `object`.
    joints: the D moving joints of the hand, in the order of every array.
    stiffness, damping, effort, armature: D numbers each, of the joints' drives.
    friction: of everything. ground: whether there is a floor at z = 0. batch: environments at once.
    links: the hand's links; contacts name them by their index here.
    contacts_after: number of the phase after which contacts are read, -1: none.
    phases: a list of
        steps: how many, at 60 Hz.
        targets: name of the array of joint targets; null: they stay.
        ramp: go there linearly over the phase; otherwise at once.
        relative: targets are added to where the joints are when the phase begins.
        after: number of the phase whose final state this one begins from; null: the phase before.
        pull: acceleration on every object [m/s^2], world frame.
        still: objects are stopped after every step.
job.npz
    hand_pose (N, 7), object_pose (N, M, 7): positions and xyzw quaternions to begin with, world frame.
    joints (N, D): joint positions to begin with, and any (N, D) array that a phase names; mass (M,) of the objects.
result.npz
    object_pose_<phase> (N, steps, M, 7); joints_<phase> (N, D), at its end;
    contacts (N, 6, 3), in the frame of object 0, NaN where there are fewer, and links (N, 6), -1 there.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
from isaacgym import gymapi, gymtorch  # must come before torch

import torch  # isort: skip

DT, SUBSTEPS = 1.0 / 60.0, 2
POSITION_ITERATIONS, VELOCITY_ITERATIONS = 8, 0
CONTACT_OFFSET = 0.002  # [m]
MAX_CONTACTS = 6
HAND_BIT, OBJECT_BIT = 1, 0  # actors of which a filter bit is the same do not collide: no finger with another finger


class Stage:
    """`batch` environments on one spot; actors of different environments do not meet."""

    def __init__(self, folder: str, job: dict[str, Any], masses: torch.Tensor, batch: int) -> None:
        self.job = job
        self.masses = masses
        self.gym = gym = gymapi.acquire_gym()
        self.sim = gym.create_sim(0, -1, gymapi.SIM_PHYSX, _sim_params())
        if self.sim is None:
            raise RuntimeError("Isaac Gym could not create a simulation; see its messages above.")
        if job["ground"]:
            plane = gymapi.PlaneParams()
            plane.normal = gymapi.Vec3(0.0, 0.0, 1.0)
            plane.static_friction = plane.dynamic_friction = job["friction"]
            plane.restitution = 0.0
            gym.add_ground(self.sim, plane)
        hand = _load(gym, self.sim, folder, job["hand"], fixed=True)
        objects = [_load(gym, self.sim, folder, name, fixed=False) for name in job["objects"]]
        names = list(gym.get_asset_dof_names(hand))
        if sorted(names) != sorted(job["joints"]):
            raise RuntimeError("The hand's joints are {}; the job has {}.".format(names, job["joints"]))
        self.columns = torch.tensor(
            [names.index(name) for name in job["joints"]]
        )  # of Isaac Gym's joints, in our order
        self.envs = [self._add_environment(hand, objects, number) for number in range(batch)]
        self.batch, self.actors = batch, 1 + len(objects)
        env = self.envs[0]
        find = gym.find_actor_rigid_body_index
        self.link_of_body = {find(env, 0, name, gymapi.DOMAIN_ENV): i for i, name in enumerate(job["links"])}
        self.object_bodies = [find(env, 1 + i, "object", gymapi.DOMAIN_ENV) for i in range(len(objects))]
        gym.prepare_sim(self.sim)
        wrap = gymtorch.wrap_tensor
        self.roots = wrap(gym.acquire_actor_root_state_tensor(self.sim)).view(batch, self.actors, 13)
        self.dofs = wrap(gym.acquire_dof_state_tensor(self.sim)).view(batch, len(names), 2)
        bodies = gym.get_env_rigid_body_count(env)
        self.forces = torch.zeros(batch, bodies, 3)
        self.targets = torch.zeros(batch, len(names))
        every = torch.arange(batch * self.actors, dtype=torch.int32).view(batch, self.actors)
        self.all_actors = every.flatten().contiguous()
        self.object_actors = every[:, 1:].flatten().contiguous()
        self.hand_actors = every[:, 0].contiguous()

    def _add_environment(self, hand: Any, objects: list[Any], number: int) -> Any:
        gym, job = self.gym, self.job
        here = gymapi.Vec3(0.0, 0.0, 0.0)
        env = gym.create_env(self.sim, here, here, max(1, int(job["batch"] ** 0.5)))
        actor = gym.create_actor(env, hand, gymapi.Transform(), "hand", number, HAND_BIT)
        names = list(gym.get_asset_dof_names(hand))
        drives = gym.get_asset_dof_properties(hand)
        drives["driveMode"].fill(gymapi.DOF_MODE_POS)
        for ours, name in enumerate(job["joints"]):
            for key in ("stiffness", "damping", "effort", "armature"):
                drives[key][names.index(name)] = job[key][ours]
        drives["friction"].fill(0.0)
        gym.set_actor_dof_properties(env, actor, drives)
        self._set_friction(env, actor)
        for i, asset in enumerate(objects):
            actor = gym.create_actor(env, asset, gymapi.Transform(), f"object{i}", number, OBJECT_BIT)
            self._set_friction(env, actor)
        return env

    def _set_friction(self, env: Any, actor: int) -> None:
        """PhysX averages the coefficients of two shapes in contact; here all are the same."""
        shapes = self.gym.get_actor_rigid_shape_properties(env, actor)
        for shape in shapes:
            shape.friction = self.job["friction"]
            shape.rolling_friction = shape.torsion_friction = shape.restitution = 0.0
        self.gym.set_actor_rigid_shape_properties(env, actor, shapes)

    def play(self, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """One batch through all phases.

        Args:
            given: the arrays of job.npz, `batch` rows each.

        Returns:
            the arrays of result.npz, `batch` rows each.
        """
        self.roots[:, 0, :7] = given["hand_pose"]
        self.roots[:, 1:, :7] = given["object_pose"]
        self.roots[..., 7:] = 0.0
        self.dofs[:, self.columns, 0] = given["joints"]
        self.dofs[..., 1] = 0.0
        self.targets[:, self.columns] = given["joints"]
        self._push_state()
        result: dict[str, torch.Tensor] = {}
        states: dict[int, tuple[torch.Tensor, ...]] = {}
        for number, phase in enumerate(self.job["phases"]):
            if phase["after"] is not None:
                roots, dofs, targets = states[phase["after"]]
                self.roots.copy_(roots)
                self.dofs.copy_(dofs)
                self.targets.copy_(targets)
                self._push_state()
            result[f"object_pose_{number}"] = self._run(phase, given)
            result[f"joints_{number}"] = self.dofs[:, self.columns, 0].clone()
            states[number] = (self.roots.clone(), self.dofs.clone(), self.targets.clone())
            if number == self.job["contacts_after"]:
                result["contacts"], result["links"] = self._contacts()
        return result

    def _run(self, phase: dict[str, Any], given: dict[str, torch.Tensor]) -> torch.Tensor:
        """Simulate one phase; the objects' poses after each step (batch, steps, M, 7)."""
        start, end = self.targets.clone(), self.targets.clone()
        if phase["targets"] is not None:
            end[:, self.columns] = given[phase["targets"]]
            if phase["relative"]:
                end[:, self.columns] += self.dofs[:, self.columns, 0]
        pull = torch.tensor(phase["pull"], dtype=torch.float32)
        self.forces.zero_()
        for body, mass in zip(self.object_bodies, self.masses):  # noqa: B905
            self.forces[:, body] = mass * pull
        poses = []
        for step in range(1, phase["steps"] + 1):
            share = step / phase["steps"] if phase["ramp"] else 1.0
            self.targets.copy_(start + (end - start) * share)
            self.gym.set_dof_position_target_tensor(self.sim, gymtorch.unwrap_tensor(self.targets))
            # Forces act during one step only.
            self.gym.apply_rigid_body_force_tensors(
                self.sim, gymtorch.unwrap_tensor(self.forces), None, gymapi.ENV_SPACE
            )
            self.gym.simulate(self.sim)
            self.gym.fetch_results(self.sim, True)
            self.gym.refresh_actor_root_state_tensor(self.sim)
            self.gym.refresh_dof_state_tensor(self.sim)
            if phase["still"]:
                self.roots[:, 1:, 7:] = 0.0
                self._push_roots(self.object_actors)
            poses.append(self.roots[:, 1:, :7].clone())
        return torch.stack(poses, dim=1)

    def _push_state(self) -> None:
        self._push_roots(self.all_actors)
        self.gym.set_dof_state_tensor_indexed(
            self.sim,
            gymtorch.unwrap_tensor(self.dofs),
            gymtorch.unwrap_tensor(self.hand_actors),
            len(self.hand_actors),
        )
        self.gym.set_dof_position_target_tensor(self.sim, gymtorch.unwrap_tensor(self.targets))

    def _push_roots(self, actors: torch.Tensor) -> None:
        self.gym.set_actor_root_state_tensor_indexed(
            self.sim, gymtorch.unwrap_tensor(self.roots), gymtorch.unwrap_tensor(actors), len(actors)
        )

    def _contacts(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The strongest contact of each link with object 0, strongest first."""
        points = torch.full((self.batch, MAX_CONTACTS, 3), float("nan"))
        links = torch.full((self.batch, MAX_CONTACTS), -1, dtype=torch.int64)
        for row, env in enumerate(self.envs):
            found = []
            for contact in self.gym.get_env_rigid_contacts(env):
                bodies = (int(contact["body0"]), int(contact["body1"]))
                for which in (0, 1):
                    link = self.link_of_body.get(bodies[1 - which])
                    if bodies[which] == self.object_bodies[0] and link is not None and contact["lambda"] > 0.0:
                        point = contact[f"localPos{which}"]
                        found.append((-float(contact["lambda"]), link, [float(point[axis]) for axis in "xyz"]))
            seen: list[int] = []
            for _, link, point in sorted(found):
                if link not in seen and len(seen) < MAX_CONTACTS:
                    points[row, len(seen)] = torch.tensor(point)
                    links[row, len(seen)] = link
                    seen.append(link)
        return points, links


def _sim_params() -> Any:
    params = gymapi.SimParams()
    params.dt, params.substeps = DT, SUBSTEPS
    params.up_axis = gymapi.UP_AXIS_Z
    params.gravity = gymapi.Vec3(0.0, 0.0, 0.0)  # the pull acts on the objects alone, as a force
    # Contacts can be read from the CPU pipeline only; physics still runs on the GPU where there is one.
    params.use_gpu_pipeline = False
    physx = params.physx
    physx.use_gpu = torch.cuda.is_available()
    physx.solver_type = 1  # TGS
    physx.num_position_iterations, physx.num_velocity_iterations = POSITION_ITERATIONS, VELOCITY_ITERATIONS
    physx.contact_offset, physx.rest_offset = CONTACT_OFFSET, 0.0
    physx.bounce_threshold_velocity, physx.max_depenetration_velocity = 0.2, 1000.0
    physx.num_threads = 4
    return params


def _load(gym: Any, sim: Any, folder: str, name: str, fixed: bool) -> Any:
    options = gymapi.AssetOptions()
    options.fix_base_link = fixed
    options.disable_gravity = True
    options.collapse_fixed_joints = False
    options.override_com = options.override_inertia = False  # the file's inertia, not one made of the shapes
    options.default_dof_drive_mode = int(gymapi.DOF_MODE_POS)
    options.thickness = 0.0
    options.angular_damping = options.linear_damping = 0.0
    asset = gym.load_asset(sim, folder, name, options)
    if asset is None:
        raise RuntimeError(f"Isaac Gym could not read {os.path.join(folder, name)}.")
    return asset


def main() -> None:
    """Play the job in the folder of the command line."""
    folder = os.path.abspath(sys.argv[1])
    with open(os.path.join(folder, "job.json")) as stream:
        job = json.load(stream)
    with np.load(os.path.join(folder, "job.npz")) as data:
        arrays = {name: torch.from_numpy(data[name].astype(np.float32)) for name in data.files}
    masses = arrays.pop("mass")
    count = len(arrays["joints"])
    batch = min(count, job["batch"])
    stage = Stage(folder, job, masses, batch)
    pieces: dict[str, list[Any]] = {}
    for first in range(0, count, batch):
        # The last batch is filled up with its last row.
        rows = torch.arange(first, first + batch).clamp(max=count - 1)
        played = stage.play({name: array[rows] for name, array in arrays.items()})
        for name, array in played.items():
            pieces.setdefault(name, []).append(array[: min(batch, count - first)].numpy())
    result: dict[str, Any] = {name: np.concatenate(parts) for name, parts in pieces.items()}
    np.savez(os.path.join(folder, "result.npz"), **result)


if __name__ == "__main__":
    main()
