"""Where a palm might go: above local patches of the scene, across their short side, tilted, at several heights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from dexgrasp_description.kinematics import ForwardKinematics
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import HandModel
from dexgrasp_planner.preshapes import Preshapes
from dexgrasp_planner.scene_field import Cluster

_PER_PATCH = 12  # fewer palms above one patch would not try every way round
_PARTLY = 0.3  # share of the closing at which thumb and fingers face each other


@dataclass(frozen=True)
class ProposalConfig:
    """How proposals are drawn.

    Attributes:
        total: Proposals for all clusters together, at most.
        per_cluster: Proposals for one cluster, at most.
        patches: Local patches looked at in each cluster.
        wide_radius: Radius of a patch that sees a whole object [m].
        narrow_radius: Radius of a patch that sees a rim, a handle, an end [m].
        aligned: Share of proposals that close across the patch's short side; the rest close in any direction.
        yaw_spread: Standard deviation about the short side [rad].
        tilt_spread: Standard deviation of the approach from straight down [rad].
        max_tilt: Largest tilt [rad].
        offset_spread: Standard deviation of the grasp's centre about the patch's [m].
        fingertip_height: Lowest height of the middle between the fingertips [m].
    """

    total: int = 2000
    per_cluster: int = 400
    patches: int = 14
    wide_radius: float = 0.060
    narrow_radius: float = 0.022
    aligned: float = 0.65
    yaw_spread: float = 0.20
    tilt_spread: float = 0.25
    max_tilt: float = 0.80
    offset_spread: float = 0.007
    fingertip_height: float = 0.014


@dataclass(frozen=True)
class Proposals:
    """Palm poses and closing motions still to be tried; arrays of equal length N.

    Attributes:
        world_T_palm: (N, 4, 4).
        start: (N, D) [rad], fingers before closing.
        end: (N, D) [rad], fingers closed on nothing.
        target: (N,) index of the cluster aimed at.
        centre: (N, 3) [m], world: middle of the patch.
        seed_point: (N, 3) [m], world: a seen point of the patch.
    """

    world_T_palm: NDArray[np.float64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    target: NDArray[np.intp]
    centre: NDArray[np.float64]
    seed_point: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, chosen: NDArray) -> Proposals:
        return Proposals(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def joined(parts: list[Proposals]) -> Proposals:
    """All proposals in one."""
    return Proposals(*(np.concatenate([getattr(p, n) for p in parts]) for n in Proposals.__dataclass_fields__))


class HandCentre:
    """Where a preshape holds things, and along which line it closes, in the palm frame.

    Attributes:
        opposing: Index of the fingertip that presses against all others (the thumb).
        centre: array (S, 3) [m], middle between it and the others, partly closed.
        axis: array (S, 3), unit, from it to the others, normal to the approach.
        reach: array (S,) [m], distance of the centre from the palm's surface along the approach.
    """

    def __init__(self, hand: HandModel, preshapes: Preshapes, palm_points: NDArray[np.floating]) -> None:

        fk = ForwardKinematics(hand, dtype=torch.float64)
        poses = fk.link_poses(torch.as_tensor(preshapes.start + _PARTLY * (preshapes.end - preshapes.start)))
        tips, normals = [], []
        for fingertip in hand.fingertips:
            palm_T_tip = poses[fingertip.link].numpy()
            tips.append(palm_T_tip[:, :3, :3] @ fingertip.centre + palm_T_tip[:, :3, 3])
            normals.append(palm_T_tip[:, :3, :3] @ fingertip.inner_normal)
        tip, normal = np.stack(tips, 1), np.stack(normals, 1)  # (S, F, 3)
        agreement = np.einsum("sfk,sgk->fg", normal, normal).sum(axis=1)
        self.opposing = int(agreement.argmin())
        others = [f for f in range(len(tips)) if f != self.opposing]
        approach = np.asarray(hand.approach_axis, dtype=float)
        # A finger held out of the way presses nothing: those nearest to the opposing one make the centre.
        gap = np.linalg.norm(tip[:, others] - tip[:, self.opposing][:, None], axis=-1)
        weight = np.exp(-((gap - gap.min(axis=1, keepdims=True)) / 0.03))[..., None]
        middle = (weight * tip[:, others]).sum(axis=1) / weight.sum(axis=1)
        self.centre = 0.5 * (tip[:, self.opposing] + middle)
        axis = middle - tip[:, self.opposing]
        axis -= (axis @ approach)[:, None] * approach
        self.axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
        self.reach = self.centre @ approach - (palm_points @ approach).max()
        self.approach = approach


def propose(
    clusters: list[Cluster],
    hand: HandCentre,
    preshapes: Preshapes,
    limits: tuple[NDArray[np.float64], NDArray[np.float64]],
    rng: np.random.Generator,
    config: ProposalConfig,
) -> Proposals:
    """Proposals for every target cluster, equally many for each."""
    targets = [index for index, cluster in enumerate(clusters) if cluster.is_target]
    share = min(config.per_cluster, max(1, config.total // len(targets)))
    patches = min(config.patches, max(1, share // _PER_PATCH))
    parts = []
    for index in targets:
        for patch in range(patches):
            narrow = patch % 3 == 2
            parts.append(
                _above_patch(clusters[index], index, narrow, share // patches, hand, preshapes, limits, rng, config)
            )
    return joined(parts)


def perturbed(
    proposals: Proposals, copies: int, limits: tuple[NDArray[np.float64], NDArray[np.float64]],
    jitter: NDArray[np.float64], rng: np.random.Generator,
) -> Proposals:  # fmt: skip
    """`copies` neighbours of each proposal: moved by millimetres, turned by degrees, fingers a little different."""
    near = proposals[np.repeat(np.arange(len(proposals)), copies)]
    count = len(near)
    turn = Rotation.from_rotvec(rng.normal(0.0, 0.10, (count, 3))).as_matrix()
    world_T_palm = near.world_T_palm.copy()
    lever = world_T_palm[:, :3, 3] - near.centre
    world_T_palm[:, :3, :3] = turn @ world_T_palm[:, :3, :3]
    world_T_palm[:, :3, 3] = near.centre + (turn @ lever[..., None])[..., 0] + rng.normal(0.0, 0.006, (count, 3))
    change = rng.normal(0.0, 0.6, (count, near.start.shape[1])) * jitter
    start, end = np.clip(near.start + change, *limits), np.clip(near.end + change, *limits)
    return Proposals(world_T_palm, start, end, near.target, near.centre, near.seed_point)


def _above_patch(
    cluster: Cluster, index: int, narrow: bool, count: int, hand: HandCentre, preshapes: Preshapes,
    limits: tuple[NDArray[np.float64], NDArray[np.float64]], rng: np.random.Generator, config: ProposalConfig,
) -> Proposals:  # fmt: skip
    points = cluster.points
    seed = points[rng.integers(len(points))]
    away = np.linalg.norm(points[:, :2] - seed[:2], axis=1)
    patch = points[away < (config.narrow_radius if narrow else config.wide_radius)]
    cells = np.unique(np.round(patch[:, :2] / 0.005), axis=0) * 0.005  # a tall side counts as much as a flat one
    middle = 0.5 * (cells.min(axis=0) + cells.max(axis=0)) if not narrow else cells.mean(axis=0)
    spread = np.cov((cells - cells.mean(axis=0)).T + 1e-9) if len(cells) > 2 else np.eye(2)
    short = np.linalg.eigh(spread)[1][:, 0]
    top = np.quantile(patch[:, 2], 0.98)

    shape = rng.integers(len(preshapes.names), size=count)
    aligned = rng.random(count) < config.aligned
    across = np.arctan2(short[1], short[0]) + np.pi * rng.integers(2, size=count)
    yaw = np.where(aligned, across + rng.normal(0, config.yaw_spread, count), rng.uniform(-np.pi, np.pi, count))
    closing = np.stack([np.cos(yaw), np.sin(yaw), np.zeros(count)], axis=1)
    down = np.array([0.0, 0.0, -1.0])
    world = np.stack([closing, np.broadcast_to(down, (count, 3)), np.cross(closing, down)], axis=2)
    palm = np.stack([hand.axis, np.broadcast_to(hand.approach, hand.axis.shape)], axis=2)
    palm = np.concatenate([palm, np.cross(hand.axis, hand.approach)[..., None]], axis=2)[shape]
    tilt_axis = rng.uniform(-np.pi, np.pi, count)
    tilt = np.clip(np.abs(rng.normal(0.0, config.tilt_spread, count)), 0, config.max_tilt)
    rotation_vectors = np.stack([np.cos(tilt_axis), np.sin(tilt_axis), np.zeros(count)], axis=1) * tilt[:, None]
    rotation = Rotation.from_rotvec(rotation_vectors).as_matrix() @ world @ palm.transpose(0, 2, 1)

    deepest = np.maximum(config.fingertip_height, top - hand.reach[shape] + 0.004)
    highest = np.maximum(deepest, top - 0.008)
    height = deepest + rng.random(count) ** 2 * (highest - deepest)
    centre = np.column_stack([middle + rng.normal(0.0, config.offset_spread, (count, 2)), height])
    world_T_palm = np.tile(np.eye(4), (count, 1, 1))
    world_T_palm[:, :3, :3] = rotation
    world_T_palm[:, :3, 3] = centre - (rotation @ hand.centre[shape][..., None])[..., 0]

    change = rng.normal(size=(count, preshapes.start.shape[1])) * preshapes.jitter
    start = np.clip(preshapes.start[shape] + change, *limits)
    end = np.clip(preshapes.end[shape] + change, *limits)
    target = np.full(count, index)
    patch_centre = np.array([*middle, 0.5 * top])
    return Proposals(
        world_T_palm, start, end, target, np.tile(patch_centre, (count, 1)), np.tile(seed.astype(float), (count, 1))
    )
