"""Errors of the data engine: what is wrong, and what would be right."""

from __future__ import annotations

from dexgrasp_common.errors import DexgraspError


class TrainingError(DexgraspError):
    """The root of this package's errors."""


class DatasetError(TrainingError):
    """A dataset folder that cannot be read, continued or written."""


class MeshError(TrainingError):
    """A mesh that cannot be used as an object."""


class SynthesisError(TrainingError):
    """Grasps cannot be made for this hand or this object."""


class SceneError(TrainingError):
    """Objects that do not come to rest as a scene."""


class FormatError(TrainingError):
    """A file in somebody else's format that is not as documented."""


class SettingsError(TrainingError):
    """Settings with an unknown key or an impossible value."""
