"""A hand at many palm poses: its points in the object's frame, and forces on them pulled back to palm and joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from numpy.typing import NDArray
from torch import Tensor

from dexgrasp_description import HandModel

Array = NDArray[np.float64]
GROUP = 16  # points of one link that are moved together


@dataclass(frozen=True)
class Points:
    """P points fixed to the links of a hand.

    Attributes:
        link: tensor (P,), index of the link that carries each.
        place: tensor (P, 3) [m], link frame.
        normal: tensor (P, 3), outward, link frame; zero where there is none.
        radius: tensor (P,) [m], of a sphere about each; 0: a mere point.
        weight: tensor (P,), 0 for points that only fill up a group.
    """

    link: Tensor
    place: Tensor
    normal: Tensor
    radius: Tensor
    weight: Tensor

    @cached_property
    def by_link(self) -> list[tuple[int, slice]]:
        """Each link that has points, and where they stand."""
        links, counts = torch.unique_consecutive(self.link, return_counts=True)
        ends = counts.cumsum(0).tolist()
        return [
            (link, slice(end - count, end))
            for link, end, count in zip(links.tolist(), ends, counts.tolist(), strict=True)
        ]


class MovingHand:
    """Kinematics of one hand for a batch of B poses, which is the innermost dimension of every tensor.

    Args:
        hand: The hand.
        dtype, device: Of every tensor.
    """

    def __init__(self, hand: HandModel, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> None:
        self.hand, self.dtype, self.device = hand, dtype, torch.device(device)
        self._fk = ForwardKinematics(hand, dtype=dtype, device=device)
        links, names = hand.links, hand.joint_names
        joints = {joint.name: joint for joint in hand.joints}
        carries = torch.zeros(len(links), len(names), dtype=torch.bool)
        for joint in hand.joints:
            child = links.index(joint.child)
            carries[child] = carries[links.index(joint.parent)]
            if joint.kind != "fixed":
                carries[child, names.index(joint.name)] = True
        self.carries = carries.to(self.device)
        self._below = self.carries.T.to(dtype)  # (D, L): which links a joint moves
        self._child = torch.tensor([links.index(joints[name].child) for name in names], device=self.device)
        self._axis = self.tensor(np.array([joints[name].axis for name in names]))
        self._slides = torch.tensor([joints[name].kind == "prismatic" for name in names], device=self.device)
        self.lower, self.upper = self.tensor(hand.lower)[:, None], self.tensor(hand.upper)[:, None]

    def tensor(self, values: NDArray[np.floating]) -> Tensor:
        """An array in this hand's dtype, on its device."""
        return torch.as_tensor(np.array(values), dtype=self.dtype, device=self.device)

    def links(self, object_T_palm: Tensor, q: Tensor) -> Tensor:
        """Poses of the links in the object's frame, transposed: (L, 4, 3, B), the last of the four columns the origin.

        Args:
            object_T_palm: tensor (3, 4, B).
            q: tensor (D, B) [rad or m].
        """
        palm_T_link = self._fk.stacked_poses(q.T).permute(1, 3, 2, 0)  # (L, 4 columns, 4 rows, B)
        turned = sum(object_T_palm[None, None, :, i] * palm_T_link[:, :, i, None] for i in range(3))
        assert isinstance(turned, Tensor)
        turned[:, 3] += object_T_palm[:, 3]
        return turned

    def points(self, rows: Sequence[tuple[str, Array, Array | None, Array | float]]) -> Points:
        """Points in groups of `GROUP` on one link each.

        Args:
            rows: Link, points (K, 3) [m] and normals (K, 3) or `None` in the link's frame, and radii [m].
        """
        link, place, normal, radius, weight = [], [], [], [], []
        per_link: dict[str, list[Array]] = {}
        for name, points, normals, size in rows:
            directions = np.zeros_like(points) if normals is None else normals
            row = np.column_stack([points, directions, np.broadcast_to(size, len(points))])
            per_link.setdefault(name, []).append(row)
        for name, parts in per_link.items():
            own = np.concatenate(parts)
            fill = -len(own) % GROUP
            filled = np.concatenate([own, np.repeat(own[:1], fill, axis=0)])
            link.append(np.full(len(filled), self.hand.links.index(name)))
            place.append(filled[:, :3])
            normal.append(filled[:, 3:6])
            radius.append(filled[:, 6])
            weight.append(np.arange(len(filled)) < len(own))
        return Points(
            torch.tensor(np.concatenate(link), device=self.device),
            self.tensor(np.concatenate(place)),
            self.tensor(np.concatenate(normal)),
            self.tensor(np.concatenate(radius)),
            self.tensor(np.concatenate(weight)),
        )

    def place(self, links: Tensor, points: Points) -> Tensor:
        """Points made by `points` in the object's frame: (P, 3, B) [m]."""
        count, batch = len(points.link), links.shape[-1]
        poses = links[points.link[::GROUP]].reshape(count // GROUP, 4, 3 * batch)
        local = torch.cat([points.place, torch.ones_like(points.place[:, :1])], dim=1).view(-1, GROUP, 4)
        return torch.bmm(local, poses).view(count, 3, batch)

    def per_link(self, points: Points, forces: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Forces (P, 3, B) at the placed points (P, 3, B) summed by link (L, 3, B), and their moments."""
        shape = len(self.hand.links), 3, forces.shape[-1]
        force, moment = forces.new_zeros(shape), forces.new_zeros(shape)
        for link, rows in points.by_link:
            force[link] = forces[rows].sum(0)
            moment[link] = cross(places[rows], forces[rows]).sum(0)
        return force, moment

    def chosen(self, links: Tensor, points: Points, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Some points of each pose, by index (C, B): places (C, 3, B) [m], normals (C, 3, B) and links (C, B)."""
        link = points.link[which]
        batch = torch.arange(links.shape[-1], device=self.device)
        poses = links.permute(0, 3, 1, 2)[link, batch]  # (C, B, 4, 3)
        place = poses[..., 3, :] + (points.place[which].unsqueeze(-1) * poses[..., :3, :]).sum(-2)
        normal = (points.normal[which].unsqueeze(-1) * poses[..., :3, :]).sum(-2)
        return place.movedim(-1, -2), normal.movedim(-1, -2), link

    def to_links(self, link: Tensor, values: Tensor) -> Tensor:
        """Sum of values (C, 3, B) that belong to links (C, B): (L, 3, B)."""
        numbers = torch.arange(len(self.hand.links), device=self.device)
        belongs = (link.unsqueeze(0) == numbers[:, None, None]).to(values.dtype)  # (L, C, B)
        return (belongs.unsqueeze(2) * values.unsqueeze(0)).sum(1)

    def pull_back(self, object_T_palm: Tensor, links: Tensor, force: Tensor, moment: Tensor) -> tuple[Tensor, Tensor]:
        """Derivative with respect to the palm's twist (6, B) and the joints (D, B).

        Args:
            object_T_palm: tensor (3, 4, B).
            links: As `links` gave them.
            force: tensor (L, 3, B), derivative with respect to the points of each link, summed.
            moment: tensor (L, 3, B), the same crossed with the points: `sum x * dE/dx` about the object's origin, with
                `sum n * dE/dn` for directions.

        Returns:
            Twist: translation, then rotation about the palm's origin, both in the object's frame.
        """
        whole = force.sum(0)
        twist = torch.cat([whole, moment.sum(0) - cross(object_T_palm[:, 3], whole)])
        batch = links.shape[-1]
        child = links[self._child]  # (D, 4, 3, B)
        axis = (self._axis[:, :, None, None] * child[:, :3]).sum(1)  # (D, 3, B)
        below_force = (self._below @ force.reshape(len(force), -1)).view(-1, 3, batch)
        below_moment = (self._below @ moment.reshape(len(moment), -1)).view(-1, 3, batch)
        turning = below_moment - cross(child[:, 3], below_force)
        return twist, (axis * torch.where(self._slides[:, None, None], below_force, turning)).sum(1)

    def motion(self, object_T_palm: Tensor, links: Tensor, place: Tensor, direction: Tensor) -> Tensor:
        """Motion of one place of each link along a direction, for a unit of each twist and joint: (B, L, 6 + D).

        Args:
            place, direction: tensors (L, 3, B), object frame.
        """
        arm = place - object_T_palm[:, 3]
        child = links[self._child]
        axis = (self._axis[:, :, None, None] * child[:, :3]).sum(1)  # (D, 3, B)
        # axis . ((place - origin) x direction) = (axis x (place - origin)) . direction
        lever = place.unsqueeze(0) - child[:, 3].unsqueeze(1)  # (D, L, 3, B)
        turning = cross(lever, direction.expand_as(lever))
        motion = torch.where(self._slides[:, None, None, None], direction.unsqueeze(0), turning)
        joints = (axis.unsqueeze(1) * motion).sum(2) * self._below.unsqueeze(-1)  # (D, L, B)
        palm = torch.cat([direction, cross(arm, direction)], dim=1)  # (L, 6, B)
        return torch.cat([palm.permute(2, 0, 1), joints.permute(2, 1, 0)], dim=2)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross products along the last but one dimension, (..., 3, B); three times as fast as torch's own there."""
    ax, ay, az = a.unbind(-2)
    bx, by, bz = b.unbind(-2)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim=-2)


def moved(object_T_palm: Tensor, twist: Tensor) -> Tensor:
    """Palm poses (3, 4, B) moved and turned about the palm's origin by a twist (6, B) [m, rad], object frame."""
    angle = twist[3:].norm(dim=0).clamp_min(1e-12)
    x, y, z = (twist[3:] / angle).unbind(0)
    s, c = angle.sin(), angle.cos()
    v = 1.0 - c
    turn = torch.stack(
        [
            torch.stack([c + x * x * v, x * y * v - z * s, x * z * v + y * s]),
            torch.stack([x * y * v + z * s, c + y * y * v, y * z * v - x * s]),
            torch.stack([x * z * v - y * s, y * z * v + x * s, c + z * z * v]),
        ]
    )  # (3, 3, B)
    rotation = (turn.unsqueeze(2) * object_T_palm[None, :, :3]).sum(1)
    return torch.cat([rotation, (object_T_palm[:, 3] + twist[:3]).unsqueeze(1)], dim=1)
