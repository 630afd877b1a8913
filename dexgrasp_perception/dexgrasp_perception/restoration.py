"""Depth restoration: a raw frame in, the depth that a perfect camera would have seen out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import yaml
from dexgrasp_common.registry import Backend, Registry
from numpy.typing import NDArray

from dexgrasp_perception.errors import PerceptionError
from dexgrasp_perception.frame import Frame

DEPTH_RESTORATIONS = Registry(
    "depth restoration",
    {
        "none": Backend("dexgrasp_perception.restoration:Unrestored", summary="the sensor's own depth"),
        "classical": Backend(
            "dexgrasp_perception.classical_restoration:create",
            summary="small holes filled within flat surroundings, edge-aware smoothing (OpenCV)",
        ),
        "onnx": Backend(
            "dexgrasp_perception.onnx_restoration:create",
            requires=("onnxruntime",),
            install="pip install onnxruntime",
            summary="a restoration network of your own, as ONNX file",
        ),
    },
    default="classical",
)

Options = TypeVar("Options")


@dataclass(frozen=True, eq=False)
class Restored:
    """Depth after restoration.

    Attributes:
        depth: (H, W) float32 [m], 0 where there is none.
        confidence: (H, W) float32 between 0 and 1, or None where the method has no notion of it.
    """

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32] | None = None


class Restoration(Protocol):
    """One method. Factories in `DEPTH_RESTORATIONS` take the path of a YAML file with options, or ""."""

    needs: frozenset[str]
    """Which optional parts of a frame it cannot do without: "color", "infrared"."""

    def restore(self, frame: Frame) -> Restored:
        """Depth of the size of the frame's.

        Raises:
            PerceptionError: The frame lacks something of `needs`, or the method failed.
        """
        ...


class Unrestored:
    """The sensor's own depth."""

    needs: frozenset[str] = frozenset()

    def __init__(self, options_file: str = "") -> None:
        if options_file:
            raise PerceptionError(f"Depth restoration 'none' has no options; remove {options_file}.")

    def restore(self, frame: Frame) -> Restored:
        return Restored(frame.depth)


def read_options(options_file: str, kind: type[Options]) -> Options:
    """The options dataclass `kind` with the values of a YAML file; its defaults where the path is empty.

    Raises:
        PerceptionError: No such file, or keys that `kind` does not have.
    """
    if not options_file:
        return kind()
    try:
        values: Any = yaml.safe_load(Path(options_file).read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise PerceptionError(f"The restoration options {options_file} cannot be read: {error}.") from error
    known = [spec.name for spec in fields(kind)]  # type: ignore[arg-type]
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise PerceptionError(f"{options_file} must map option to value; the options are {', '.join(known)}.")
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise PerceptionError(f"{options_file}: {error}") from error
