"""Batched, differentiable forward kinematics in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from dexgrasp_description.errors import MalformedDescriptionError, UnknownNameError
from dexgrasp_description.models import HandModel, RobotModel
from dexgrasp_description.tree import Joint


class ForwardKinematics:
    """Poses of every link of a hand or an arm, for many joint positions at once.

    A joint's pose in its parent is `O (I + s K + (1 - c) K^2)` with `O` its origin, `K` the cross-product matrix of its
    axis, `s` and `c` sine and cosine of its position: `A + s B + c C` with constant `A, B, C`. All joints are evaluated
    in one product; then the tree is multiplied out depth by depth, all branches together: four steps for a hand,
    whatever its fingers. The batch is the innermost dimension throughout, so that each step is a few long vector
    operations in place of thousands of 4x4 products.

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
        # (J, 12, 4): of each joint's 3x4 pose in its parent, the constant, sine, cosine and linear part.
        self._parts = torch.stack([_joint_parts(joint) for joint in model.joints]).to(dtype=dtype, device=self.device)
        columns = {name: i for i, name in enumerate(model.joint_names)}
        # A fixed joint reads column 0 and multiplies it by zero.
        self._columns = torch.tensor([columns.get(joint.name, 0) for joint in model.joints], device=self.device)
        depth = {model.base_link: 0}
        for joint in model.joints:
            depth[joint.child] = depth[joint.parent] + 1
        # Of each depth: its joints, and where their parents stand in the depth before.
        self._levels: list[tuple[Tensor, Tensor]] = []
        order: list[str] = [model.base_link]
        above = [model.base_link]
        for level in range(1, max(depth.values()) + 1):
            numbers = [i for i, joint in enumerate(model.joints) if depth[joint.child] == level]
            parents = [above.index(model.joints[i].parent) for i in numbers]
            self._levels.append((torch.tensor(numbers, device=self.device), torch.tensor(parents, device=self.device)))
            above = [model.joints[i].child for i in numbers]
            order += above
        self._order = torch.tensor([order.index(link) for link in model.links], device=self.device)

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
        position = q.to(dtype=self.dtype, device=self.device).T[self._columns]
        basis = torch.stack([torch.ones_like(position), position.sin(), position.cos(), position], dim=1)
        parent_T_child = torch.bmm(self._parts, basis).view(len(self._parts), 3, 4, len(q))
        unit = torch.eye(4, dtype=self.dtype, device=self.device)[..., None]
        base_T_level = unit[None, :3].expand(1, 3, 4, len(q))
        poses = [base_T_level]
        for joints, parents in self._levels:
            base_T_level = _compose(base_T_level[parents], parent_T_child[joints], unit[3])
            poses.append(base_T_level)
        stacked = torch.cat(poses)[self._order]
        last_rows = unit[None, 3:].expand(len(stacked), 1, 4, len(q))
        return torch.cat([stacked, last_rows], dim=1).permute(3, 0, 1, 2)

    def link_poses(self, q: Tensor) -> dict[str, Tensor]:
        """`base_link_T_link` (B, 4, 4) of every link by name, for joint positions q (B, D)."""
        poses = self.stacked_poses(q)
        return {link: poses[:, i] for i, link in enumerate(self.link_names)}

    def frame_poses(self, q: Tensor, name: str) -> Tensor:
        """`palm_T_frame` (B, 4, 4) of one of a hand's `frames`, for joint positions q (B, D).

        Raises:
            UnknownNameError: The model has no such frame.
        """
        frames = self.model.frames if isinstance(self.model, HandModel) else {}
        if name not in frames:
            known = ", ".join(sorted(frames)) or "none"
            raise UnknownNameError(f"{self.model.name} has no frame {name!r}. Its frames: {known}.")
        link_T_frame = torch.as_tensor(frames[name].link_T_frame.copy(), dtype=self.dtype, device=self.device)
        return self.link_poses(q)[frames[name].link] @ link_T_frame

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


def _compose(A_T_B: Tensor, B_T_C: Tensor, last_row: Tensor) -> Tensor:
    """`A_T_C` (J, 3, 4, B) of poses (J, 3, 4, B) whose last row (4, 1) is not stored."""
    x, y, z, origin = A_T_B.unbind(2)
    rows = B_T_C.unbind(1)
    rotated = x[:, :, None] * rows[0][:, None] + y[:, :, None] * rows[1][:, None] + z[:, :, None] * rows[2][:, None]
    return rotated + origin[:, :, None] * last_row


def _joint_parts(joint: Joint) -> Tensor:
    """(12, 4): constant, sine, cosine and linear part of the joint's 3x4 pose in its parent, row by row."""
    origin = torch.as_tensor(joint.parent_T_joint, dtype=torch.float64)
    x, y, z = joint.axis.tolist()
    parts = torch.zeros(4, 4, 4, dtype=torch.float64)
    parts[0] = origin
    if joint.kind == "revolute":
        cross = torch.zeros(4, 4, dtype=torch.float64)
        cross[:3, :3] = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
        parts[0] += origin @ cross @ cross
        parts[1] = origin @ cross
        parts[2] = -origin @ cross @ cross
    elif joint.kind == "prismatic":
        shift = torch.zeros(4, 4, dtype=torch.float64)
        shift[:3, 3] = torch.tensor([x, y, z], dtype=torch.float64)
        parts[3] = origin @ shift
    return parts[:, :3].reshape(4, 12).T
