"""What can be wrong with what a camera delivers."""

from __future__ import annotations

from dexgrasp_common.errors import DexgraspError


class PerceptionError(DexgraspError):
    """A frame, file or cloud that cannot be worked with."""


class DepthError(PerceptionError):
    """A depth image of the wrong type or shape, or without one valid pixel."""


class IntrinsicsError(PerceptionError):
    """Intrinsics that cannot be read or do not belong to the image."""


class TableError(PerceptionError):
    """No table plane in a cloud."""


class SourceError(PerceptionError):
    """A depth source that cannot be opened, or that stopped delivering."""
