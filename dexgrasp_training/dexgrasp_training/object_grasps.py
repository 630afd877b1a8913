"""The validated grasps of one hand on one object, in at most 80 bytes each where there are some hundreds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dexgrasp_description import HandModel, load_hand
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.storage import read_arrays, write_arrays

CONTACTS = 6  # at most, of one grasp

_LENGTH = 1e-5  # unit of the palm's position; 16 bits reach 0.32 m, and where a palm is farther the unit grows [m]
_GRASP_LEVELS = 8192  # of a joint over its limits: 0.2 mrad off at most on a finger
_PREGRASP_LEVELS = 255  # an open finger needs no more
_SQUEEZE_LEVELS = 2000
_NO_CONTACT = -128


@dataclass(frozen=True, eq=False)
class ObjectGrasps:
    """N grasps that held. Joint positions are in the hand's joint order.

    Attributes:
        hand: Name of the hand.
        object: Name of the object.
        methods: Names that `method` counts through.
        object_T_palm: array (N, 4, 4).
        pregrasp: array (N, D), opened joints [rad or m].
        grasp: array (N, D), joints in contact [rad or m].
        squeeze: array (N, D), joint targets that press [rad or m].
        contacts: array (N, 6, 3), object frame [m]; NaN rows where a grasp has fewer.
        method: array (N,), uint8: which of `methods` made the grasp.
        quality: array (N,), the method's own measure; not comparable between methods.
    """

    hand: str
    object: str
    methods: tuple[str, ...]
    object_T_palm: NDArray[np.float64]
    pregrasp: NDArray[np.float64]
    grasp: NDArray[np.float64]
    squeeze: NDArray[np.float64]
    contacts: NDArray[np.float64]
    method: NDArray[np.uint8]
    quality: NDArray[np.float64]

    def __post_init__(self) -> None:
        count, joints = len(self.object_T_palm), self.grasp.shape[-1]
        shapes = {
            "object_T_palm": (count, 4, 4),
            "pregrasp": (count, joints),
            "grasp": (count, joints),
            "squeeze": (count, joints),
            "contacts": (count, CONTACTS, 3),
            "method": (count,),
            "quality": (count,),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise DatasetError(f"ObjectGrasps.{name} must be {shape}; got {getattr(self, name).shape}.")

    def __len__(self) -> int:
        return len(self.object_T_palm)

    def __getitem__(self, which: slice | Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> ObjectGrasps:
        """The grasps of a slice, of indices, or where a mask is true."""
        rows = {item.name: getattr(self, item.name)[which] for item in fields(self)[3:]}
        return replace(self, **rows)

    @classmethod
    def empty(cls, hand: HandModel, object: str, methods: tuple[str, ...]) -> ObjectGrasps:
        """No grasps."""
        joints = np.zeros((0, len(hand.joint_names)))
        contacts, method = np.zeros((0, CONTACTS, 3)), np.zeros(0, np.uint8)
        return cls(
            hand.name, object, methods, np.zeros((0, 4, 4)), joints, joints, joints, contacts, method, np.zeros(0)
        )

    @classmethod
    def concatenate(cls, sets: Sequence[ObjectGrasps]) -> ObjectGrasps:
        """All grasps of several sets of one hand, one object and the same methods, in order.

        Raises:
            DatasetError: No sets, or sets that differ in one of these.
        """
        kinds = {(grasps.hand, grasps.object, grasps.methods) for grasps in sets}
        if len(kinds) != 1:
            raise DatasetError(
                f"Only grasps of one hand, object and list of methods can be joined; got {sorted(kinds)}."
            )
        rows = {item.name: np.concatenate([getattr(grasps, item.name) for grasps in sets]) for item in fields(cls)[3:]}
        hand, name, methods = kinds.pop()
        return cls(hand, name, methods, **rows)

    def named_by(self, methods: tuple[str, ...]) -> ObjectGrasps:
        """The same grasps with `method` counting through another list.

        Raises:
            DatasetError: One of them was made by a method that is not in it.
        """
        if methods == self.methods:
            return self
        missing = {self.methods[index] for index in np.unique(self.method)} - set(methods)
        if missing:
            raise DatasetError(f"Grasps on {self.object} were made by {', '.join(sorted(missing))}: a newer version?")
        number = np.array([methods.index(name) if name in methods else 0 for name in self.methods], dtype=np.uint8)
        return replace(self, methods=methods, method=number[self.method])

    def save(self, path: Path) -> None:
        """Write one npz file; the package's README documents its arrays.

        Raises:
            DatasetError: The file cannot be written.
        """
        write_arrays(path, self.encoded())

    def encoded(self) -> dict[str, Any]:
        """The arrays of the file: positions, quaternions and joints as small integers."""
        hand = load_hand(self.hand)
        reach = max(float(np.nanmax(np.abs(self.contacts), initial=0.0)), 1e-3)
        position = self.object_T_palm[:, :3, 3]
        unit = max(_LENGTH, float(np.abs(position).max(initial=0.0)) / 32767)
        contacts = np.nan_to_num(np.rint(self.contacts * (127 / reach)), nan=_NO_CONTACT).astype(np.int8)
        squeeze = np.rint((self.squeeze - self.grasp) / _range(hand) * _SQUEEZE_LEVELS)
        narrow = np.abs(squeeze).max(initial=0.0) < 128
        return {
            "hand": self.hand,
            "object": self.object,
            "methods": np.array(self.methods),
            "position": np.rint(position / unit).astype(np.int16),
            "position_unit": unit,
            "quaternion": np.rint(_quaternions(self.object_T_palm) * 32767).astype(np.int16),
            "grasp": _levels(self.grasp, hand, _GRASP_LEVELS).astype(np.uint16),
            "pregrasp": _levels(self.pregrasp, hand, _PREGRASP_LEVELS).astype(np.uint8),
            "squeeze": squeeze.astype(np.int8 if narrow else np.int16),
            "contacts": contacts,
            "contact_unit": np.float32(reach / 127),
            "method": self.method,
            "quality": self.quality.astype(np.float16),
        }

    @classmethod
    def load(cls, path: Path) -> ObjectGrasps:
        """Read what `save` wrote.

        Raises:
            DatasetError: The file is missing, damaged or of another kind.
        """
        return cls.decoded(
            read_arrays(path, ("hand", "object", "methods", "position", "quaternion", "grasp", "squeeze"))
        )

    @classmethod
    def decoded(cls, data: dict[str, NDArray[Any]]) -> ObjectGrasps:
        """The grasps of a file's arrays."""
        hand = load_hand(str(data["hand"]))
        object_T_palm = np.tile(np.eye(4), (len(data["position"]), 1, 1))
        if len(object_T_palm):
            object_T_palm[:, :3, :3] = Rotation.from_quat(data["quaternion"].astype(np.float64)).as_matrix()
        object_T_palm[:, :3, 3] = data["position"] * float(data["position_unit"])
        grasp = hand.lower + data["grasp"] / _GRASP_LEVELS * _range(hand)
        contacts = data["contacts"].astype(np.float64)
        contacts[(contacts == _NO_CONTACT).any(axis=-1)] = np.nan
        return cls(
            hand.name,
            str(data["object"]),
            tuple(str(name) for name in data["methods"]),
            object_T_palm,
            hand.lower + data["pregrasp"] / _PREGRASP_LEVELS * _range(hand),
            grasp,
            grasp + data["squeeze"].astype(np.float64) / _SQUEEZE_LEVELS * _range(hand),
            contacts * float(data["contact_unit"]),
            data["method"],
            data["quality"].astype(np.float64),
        )


def _range(hand: HandModel) -> NDArray[np.float64]:
    return hand.upper - hand.lower


def _levels(joints: NDArray[np.float64], hand: HandModel, levels: int) -> NDArray[np.float64]:
    return np.rint(np.clip((joints - hand.lower) / _range(hand), 0.0, 1.0) * levels)


def _quaternions(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(poses):
        return np.zeros((0, 4))
    return Rotation.from_matrix(poses[:, :3, :3]).as_quat(canonical=True)
