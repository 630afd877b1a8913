"""How different the valid grasps of each method are: where the hand comes from, its joints, its contacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from dexgrasp_description import HandModel, load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.object_grasps import CONTACTS
from dexgrasp_training.report.yields import in_order

LONGITUDES, LATITUDES = 12, 6  # cells of equal area on the sphere of directions
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, eq=False)
class MethodGrasps:
    """The N valid grasps of one method over all objects.

    Attributes:
        object: array (N,), number of the object.
        direction: array (N, 3), along which the hand approaches, object frame.
        distance: array (N,), from the palm frame's origin to the object's centre of mass [m].
        joints: array (N, D), of the grasp [rad or m].
        contacts: array (N,), number of links that touch.
    """

    object: NDArray[np.int64]
    direction: NDArray[np.float64]
    distance: NDArray[np.float64]
    joints: NDArray[np.float64]
    contacts: NDArray[np.int64]

    def as_dict(self, hand: HandModel) -> dict[str, Any]:
        """Numbers of the report."""
        deviation = self.joints.std(axis=0)
        within = _deviation_within(self.joints, self.object)
        turning = [joint_unit(hand, joint) == "rad" for joint in hand.joint_names]
        return {
            "grasps": len(self.object),
            "objects": len(np.unique(self.object)),
            "effective_directions": effective_directions(self.direction, self.object),
            "direction_cells": LONGITUDES * LATITUDES,
            "palm_distance_m": _quantiles(self.distance),
            "joint_spread_rad": float(deviation[turning].mean()) if any(turning) else None,
            "joint_spread_on_one_object_rad": (
                None if within is None or not any(turning) else float(within[turning].mean())
            ),
            "joints": {
                joint: {
                    "unit": joint_unit(hand, joint),
                    "deviation": float(deviation[i]),
                    "deviation_on_one_object": None if within is None else float(within[i]),
                    "quantiles": _quantiles(self.joints[:, i]),
                }
                for i, joint in enumerate(hand.joint_names)
            },
            "contacts": np.bincount(self.contacts, minlength=CONTACTS + 1).tolist(),
            "mean_contacts": float(self.contacts.mean()),
        }


def read_methods(dataset: Dataset, hand: str, progress: Progress) -> dict[str, MethodGrasps]:
    """The valid grasps of every method that has any.

    Raises:
        DatasetError: A file is damaged.
    """
    model = load_hand(hand)
    found: dict[str, list[MethodGrasps]] = {}
    paths = sorted((dataset.root / "grasps" / hand).glob("*.npz"))
    for number, path in enumerate(progress.track(paths, description="diversity")):
        grasps = dataset.grasps(hand, path.stem)
        for index, method in enumerate(grasps.methods):
            mine = grasps[grasps.method == index]
            if not len(mine):
                continue
            rows = MethodGrasps(
                np.full(len(mine), number),
                mine.object_T_palm[:, :3, :3] @ model.approach_axis,
                np.linalg.norm(mine.object_T_palm[:, :3, 3], axis=1),
                mine.grasp,
                np.isfinite(mine.contacts[..., 0]).sum(axis=1),
            )
            found.setdefault(method, []).append(rows)
    return {method: together(found[method]) for method in in_order(found)}


def direction_cells(direction: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which cell of the sphere each unit vector (N, 3) lies in: longitude * LATITUDES + latitude, all of equal area."""
    longitude = (np.arctan2(direction[:, 1], direction[:, 0]) + np.pi) / (2.0 * np.pi)
    height = (np.clip(direction[:, 2], -1.0, 1.0) + 1.0) / 2.0
    column = np.minimum((longitude * LONGITUDES).astype(np.int64), LONGITUDES - 1)
    row = np.minimum((height * LATITUDES).astype(np.int64), LATITUDES - 1)
    return column * LATITUDES + row


def effective_directions(direction: NDArray[np.float64], owner: NDArray[np.int64]) -> float | None:
    """Number of equally used cells in which two grasps of one object would meet as often as they do (Simpson's index).

    Unlike a count of cells that are hit it does not grow with the number of grasps. An estimate above the
    number of cells is cut to it. None where no object has two grasps.
    """
    cells = direction_cells(direction)
    pairs = meetings = 0
    for number in np.unique(owner):
        counts = np.bincount(cells[owner == number])
        pairs += int(counts.sum()) * (int(counts.sum()) - 1)
        meetings += int((counts * (counts - 1)).sum())
    most = LONGITUDES * LATITUDES
    return min(pairs / meetings, most) if meetings else most if pairs else None


def joint_unit(hand: HandModel, joint: str) -> str:
    """`rad` or `m`."""
    return "m" if next(item for item in hand.joints if item.name == joint).kind == "prismatic" else "rad"


def _deviation_within(values: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Standard deviation about the mean of each group, pooled and unbiased; None where every group is one row."""
    numbers, inverse = np.unique(group, return_inverse=True)
    freedom = len(values) - len(numbers)
    if not freedom:
        return None
    sums = np.zeros((len(numbers), values.shape[1]))
    np.add.at(sums, inverse, values)
    rest = values - (sums / np.bincount(inverse)[:, None])[inverse]
    return np.sqrt((rest**2).sum(axis=0) / freedom)


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    return {f"{q:.2f}": float(np.quantile(values, q)) for q in QUANTILES}


def together(parts: Sequence[MethodGrasps]) -> MethodGrasps:
    """The grasps of several methods, or of one on several objects."""
    names = ("object", "direction", "distance", "joints", "contacts")
    return MethodGrasps(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
