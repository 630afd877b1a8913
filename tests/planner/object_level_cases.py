"""A ball to grasp, a small network that learns in seconds, and grasps around the ball."""

from __future__ import annotations

import numpy as np
import torch
from dexgrasp_planner.network.rotations import rotation_of
from dexgrasp_planner.object_level.denoiser import DenoiserConfig
from dexgrasp_planner.object_level.object_network import ObjectGraspNetwork, ObjectNetworkConfig
from dexgrasp_planner.object_level.point_transformer import PointTransformerConfig
from dexgrasp_planner.object_level.state_layouts import StateBounds
from numpy.typing import NDArray
from torch import Tensor

from dexgrasp_description import load_hand

HAND = load_hand("leap_right")
RADIUS = 0.035
ENCODER = PointTransformerConfig(
    points=128,
    planes=(16, 32, 32),
    blocks=(0, 1, 1),
    strides=(1, 4, 4),
    neighbours=(8, 8, 8),
    unit=0.05,
    placed=True,
)
DENOISER = DenoiserConfig(width=64, blocks=1, heads=2, head_width=16, dropout=0.0)


def ball(count: int, seed: int = 0, radius: float = RADIUS) -> NDArray[np.float32]:
    """Points and normals (count, 6)."""
    normals = np.random.default_rng(seed).normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return np.concatenate([radius * normals, normals], axis=1).astype(np.float32)


def grasps(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Palms (count, 4, 4) that look at the ball from all around, 8 cm away, and half-closed postures (count, D)."""
    generator = torch.Generator().manual_seed(seed)
    palm = torch.eye(4).repeat(count, 1, 1)
    palm[:, :3, :3] = rotation_of(torch.randn(count, 4, generator=generator))
    approach = torch.tensor(HAND.approach_axis, dtype=torch.float32)
    palm[:, :3, 3] = -0.08 * palm[:, :3, :3] @ approach
    lower, upper = (torch.tensor(limit, dtype=torch.float32) for limit in (HAND.lower, HAND.upper))
    q = 0.5 * (lower + upper) + 0.1 * (upper - lower) * torch.rand(count, len(lower), generator=generator)
    return palm, q


def network(
    layout: str = "full_pose_33d", schedule: str = "zero_terminal", text_width: int = 0, seed: int = 0
) -> ObjectGraspNetwork:
    """Untrained, in evaluation mode; the bounds are those of `grasps`."""
    torch.manual_seed(seed)
    bounds = StateBounds.of(HAND, layout, grasps(200)[0].numpy())
    return ObjectGraspNetwork(ObjectNetworkConfig(bounds, layout, schedule, ENCODER, DENOISER, text_width)).eval()
