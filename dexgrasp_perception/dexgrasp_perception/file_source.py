"""Recorded depth images as a depth source."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dexgrasp_perception.depth_image import load_color, load_depth, load_intrinsics
from dexgrasp_perception.errors import SourceError
from dexgrasp_perception.frame import Frame
from dexgrasp_perception.sources import SourceConfig

DEPTH_SUFFIX = ".depth.png"


class FileSource:
    """Plays `NAME.depth.png` with `NAME.color.png` where there is one, in the order of their names.

    Raises:
        SourceError: No such images or no intrinsics.
        DepthError, IntrinsicsError: Files that cannot be used; the first image is read at once, so that a
            mistake shows at start.
    """

    live = False

    def __init__(self, config: SourceConfig) -> None:
        if not config.path:
            raise SourceError("Depth source 'files' needs `path`: a depth image or a folder of *.depth.png.")
        path = Path(config.path)
        self._images = sorted(path.glob("*" + DEPTH_SUFFIX)) if path.is_dir() else [path]
        if not self._images or not self._images[0].is_file():
            raise SourceError(f"There are no depth images at {path}: a 16-bit PNG, or a folder of *{DEPTH_SUFFIX}.")
        self._intrinsics = Path(config.intrinsics) if config.intrinsics else _intrinsics_beside(self._images[0])
        self._unit, self._loop = config.depth_unit, config.loop
        self.rate = config.rate
        self._next = 0
        # One image is the commonest recording; reading it anew for each frame would only cost time.
        self._single = self._load(self._images[0])

    def read(self) -> Frame | None:
        if self._next == len(self._images):
            if not self._loop:
                return None
            self._next = 0
        index, self._next = self._next, self._next + 1
        return self._single if index == 0 else self._load(self._images[index])

    def close(self) -> None:
        self._next, self._loop = len(self._images), False

    def _load(self, image: Path) -> Frame:
        depth = load_depth(image, self._unit)
        height, width = depth.shape
        color = image.with_name(image.name.removesuffix(DEPTH_SUFFIX) + ".color.png")
        return Frame(
            depth=depth.astype(np.float32),
            intrinsics=load_intrinsics(self._intrinsics, (width, height)),
            color=load_color(color) if color != image and color.is_file() else None,
        )


def _intrinsics_beside(image: Path) -> Path:
    stem = image.name.removesuffix(DEPTH_SUFFIX)
    for name in (f"{stem}.intrinsics", "intrinsics"):
        for suffix in (".yaml", ".json", ".txt"):
            if (image.parent / (name + suffix)).is_file():
                return image.parent / (name + suffix)
    raise SourceError(f"No `intrinsics` given, and no intrinsics.yaml, .json or .txt lies beside {image}.")
