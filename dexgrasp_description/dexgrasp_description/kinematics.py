"""Batched, differentiable forward kinematics in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from dexgrasp_description.errors import MalformedDescriptionError
from dexgrasp_description.models import RobotModel


class ForwardKinematics:
    """Poses of every link of a hand or an arm, for many joint positions at once.

    A joint's pose in its parent is `O (I + s K + (1 - c) K^2)` with `O` its origin, `K` the cross-product matrix of its
    axis, `s` and `c` sine and cosine: `A + s B + c C` with constant `A, B, C`. All joints are evaluated together, then
    the tree is multiplied out depth by depth, all branches together: four products for a hand, whatever its fingers.

    Args:
        model: The robot.
        dtype: Of every result.
        device: Of every result.
    """

    def __init__(
        self, model: RobotModel, dtype: torch.dtype = torch.float64, device: str | torch.device = "cpu"
    ) -> None:
        self.model = model
        self.link_names = model.links
        self.dtype = dtype
        self.device = torch.device(device)
        constants = [_joint_constants(joint.parent_T_joint, joint.axis, joint.kind) for joint in model.joints]
        # (J, 4, 4, 4): constant, sine, cosine and linear part of each joint's pose in its parent.
        self._parts = torch.stack(constants).to(dtype=dtype, device=self.device)
        number = {link: i for i, link in enumerate(model.links)}
        depth = {model.base_link: 0}
        for joint in model.joints:
            depth[joint.child] = depth[joint.parent] + 1
        columns = {name: i for i, name in enumerate(model.joint_names)}
        # A fixed joint reads column 0 and multiplies it by zero.
        self._columns = torch.tensor([columns.get(joint.name, 0) for joint in model.joints], device=self.device)
        self._levels: list[tuple[Tensor, Tensor]] = []
        order = [0]
        previous = {0: 0}
        for level in range(1, max(depth.values()) + 1):
            joints = [i for i, joint in enumerate(model.joints) if depth[joint.child] == level]
            parents = [previous[number[model.joints[i].parent]] for i in joints]
            self._levels.append((torch.tensor(joints, device=self.device), torch.tensor(parents, device=self.device)))
            previous = {number[model.joints[i].child]: k for k, i in enumerate(joints)}
            order += [number[model.joints[i].child] for i in joints]
        self._order = torch.argsort(torch.tensor(order, device=self.device))

    def stacked_poses(self, q: Tensor) -> Tensor:
        """`base_link_T_link` of every link, in the order of `link_names`: (B, L, 4, 4).

        Args:
            q: Joint positions (B, D) in the order of `model.joint_names` [rad or m].

        Raises:
            MalformedDescriptionError: `q` is not (B, D).
        """
        count = len(self.model.joint_names)
        if q.ndim != 2 or q.shape[1] != count:
            raise MalformedDescriptionError(f"q must be (B, {count}) for {self.model.name}; got {tuple(q.shape)}.")
        position = q.to(dtype=self.dtype, device=self.device)[:, self._columns]
        basis = torch.stack([torch.ones_like(position), position.sin(), position.cos(), position], dim=-1)
        parent_T_child = torch.einsum("bjk,jkmn->bjmn", basis, self._parts)
        base_T_level = torch.eye(4, dtype=self.dtype, device=self.device).expand(len(q), 1, 4, 4)
        poses = [base_T_level]
        for joints, parents in self._levels:
            base_T_level = base_T_level[:, parents] @ parent_T_child[:, joints]
            poses.append(base_T_level)
        return torch.cat(poses, dim=1)[:, self._order]

    def link_poses(self, q: Tensor) -> dict[str, Tensor]:
        """`base_link_T_link` (B, 4, 4) of every link by name, for joint positions q (B, D)."""
        poses = self.stacked_poses(q)
        return {link: poses[:, i] for i, link in enumerate(self.link_names)}

    def surface_points(self, q: Tensor, n: int = 2000, seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
        """The model's surface samples moved by the joints.

        Args:
            q: Joint positions (B, D).
            n: Number of points over all links.
            seed: Seed of the draw; the same seed gives the same points on the links.

        Returns:
            Link to points (B, K, 3) [m] and outward normals (B, K, 3), base frame.
        """
        poses = self.link_poses(q)
        moved: dict[str, tuple[Tensor, Tensor]] = {}
        for link, (points, normals) in self.model.surface_samples(n, seed).items():
            base_R_link = poses[link][:, :3, :3].transpose(1, 2)
            local = torch.as_tensor(points, dtype=self.dtype, device=self.device)
            direction = torch.as_tensor(normals, dtype=self.dtype, device=self.device)
            moved[link] = (local @ base_R_link + poses[link][:, None, :3, 3], direction @ base_R_link)
        return moved


def _joint_constants(parent_T_joint: object, axis: object, kind: str) -> Tensor:
    origin = torch.as_tensor(parent_T_joint, dtype=torch.float64)
    x, y, z = torch.as_tensor(axis, dtype=torch.float64).tolist()
    parts = torch.zeros(4, 4, 4, dtype=torch.float64)
    parts[0] = origin
    if kind == "revolute":
        cross = torch.zeros(4, 4, dtype=torch.float64)
        cross[:3, :3] = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
        parts[0] = origin + origin @ cross @ cross
        parts[1] = origin @ cross
        parts[2] = -origin @ cross @ cross
    elif kind == "prismatic":
        shift = torch.zeros(4, 4, dtype=torch.float64)
        shift[:3, 3] = torch.tensor([x, y, z], dtype=torch.float64)
        parts[3] = origin @ shift
    return parts
