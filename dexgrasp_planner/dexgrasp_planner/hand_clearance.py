"""Whether a hand, and the wrist behind it, are clear of a scene on the way to a grasp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_planner import postures
from dexgrasp_planner.hand_shape import HandPoints
from dexgrasp_planner.scene_field import SceneField


@dataclass(frozen=True)
class ClearanceConfig:
    """What counts as clear.

    Attributes:
        samples: Points on the hand's surface.
        wrist_radius: Of the cylinder behind the palm that stands for bracket, flange and wrist [m].
        wrist_length: Of that cylinder [m].
        open_margin: Distance that opened fingers and the palm keep from the scene; below zero because the field is
            sampled on voxels and rounds edges [m].
        grasp_margin: How deep fingers may be in the field at the grasp, where they touch [m].
        table_margin: Height that every point keeps above the support [m].
    """

    samples: int = 420
    wrist_radius: float = 0.045
    wrist_length: float = 0.14
    open_margin: float = -0.001
    grasp_margin: float = -0.006
    table_margin: float = 0.002


class HandClearance:
    """Surface points of one hand against the distance field of a scene."""

    def __init__(self, hand: HandModel, config: ClearanceConfig) -> None:
        self.config = config
        samples = {link: points for link, (points, _) in hand.surface_samples(config.samples, seed=0).items()}
        palm = samples[hand.base_link]
        samples[hand.base_link] = np.concatenate([palm, _wrist(palm, hand.approach_axis, config)])
        self.points = HandPoints(hand, samples)
        self.palm_points = palm
        self._approach = hand.approach_axis
        self._palm_rows = self.points.link_of_point == self.points.links.index(hand.base_link)

    def palm_is_clear(self, field: SceneField, world_T_palm: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Whether palm and wrist alone are clear, (N,), the quick first question."""
        placed = self.points.in_world(world_T_palm, q)[..., self._palm_rows]
        return field.beyond(placed, self.config.open_margin, self.config.table_margin)

    def is_clear(self, field: SceneField, world_T_palm: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Whether every surface point keeps `open_margin` to the scene and `table_margin` to the support, (N,)."""
        placed = self.points.in_world(world_T_palm, q)
        return field.beyond(placed, self.config.open_margin, self.config.table_margin)

    def approach_is_clear(
        self, field: SceneField, world_T_palm: NDArray[np.float64], pregrasp: NDArray[np.float64],
        grasp: NDArray[np.float64],
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Whether pregrasp, the way down, cover and grasp are all clear, (N,)."""
        config = self.config
        palms, opened, closed = (
            torch.as_tensor(array, dtype=torch.float32) for array in (world_T_palm, pregrasp, grasp)
        )
        clear = field.beyond(self.points.in_world(palms, closed), config.grasp_margin, config.table_margin)
        rows = torch.nonzero(clear)[:, 0]
        approach = torch.as_tensor(postures.approach_directions(world_T_palm, self._approach), dtype=torch.float32)
        placed, approach = self.points.in_world(palms[rows], opened[rows]), approach[rows, :, None]
        for back in np.linspace(0.0, postures.RETREAT, 5):
            good = field.beyond(placed - back * approach, config.open_margin, config.table_margin)
            rows, placed, approach = rows[good], placed[good], approach[good]
        found = np.zeros(len(palms), dtype=bool)
        found[rows.numpy()] = True
        return found


def _wrist(palm: NDArray[np.float64], approach: NDArray[np.float64], config: ClearanceConfig) -> NDArray[np.float64]:
    """Points (K, 3) [m] of a cylinder behind the palm's back, on the axis through the palm frame's origin."""
    back = (palm @ approach).min()
    helper = np.eye(3)[np.abs(approach).argmin()]
    first = np.cross(approach, helper) / np.linalg.norm(np.cross(approach, helper))
    second = np.cross(approach, first)
    centre = palm.mean(axis=0) - (palm.mean(axis=0) @ approach) * approach
    angles, depths = np.meshgrid(
        np.linspace(0, 2 * np.pi, 10, endpoint=False), np.linspace(0.01, config.wrist_length, 6)
    )
    ring = np.cos(angles.ravel())[:, None] * first + np.sin(angles.ravel())[:, None] * second
    return centre + config.wrist_radius * ring + (back - depths.ravel())[:, None] * approach
