"""What the object-level network learns from: an object's cloud with normals, and some grasps of it.

A sample is told by its number alone, as in `samples`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from dexgrasp_common.parameters import param
from dexgrasp_planner.object_level.point_transformer import PointTransformerConfig, sample_cloud
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from dexgrasp_training.assets import Split
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import DatasetError
from dexgrasp_training.settings import seed_of

_KEPT = 512  # clouds that a process remembers
Indices = tuple[tuple[NDArray[np.int32], ...], ...]


@dataclass(frozen=True)
class ObjectSampleConfig:
    """How samples are drawn."""

    grasps: int = param(32, "grasps of an object, drawn with repetition", range=(1, 4096))
    clouds: int = param(8, "different draws of the points of each object", range=(1, 1_000_000))
    turned: bool = param(True, "turn object and grasps together by any rotation")


class ObjectSample(NamedTuple):
    """One object, and G grasps of it, in one frame.

    Attributes:
        cloud: (N, 6) float32, points [m] and unit normals.
        sampling: The parts of its `CloudSampling`, for one cloud.
        object_T_palm: (G, 4, 4) float32.
        joints: (G, D) float32 [rad or m].
        text: (W,) float32, embedding of what is said of the object; W is 0 where nothing is.
    """

    cloud: NDArray[np.float32]
    sampling: Indices
    object_T_palm: NDArray[np.float32]
    joints: NDArray[np.float32]
    text: NDArray[np.float32]


class JoinedObjects(NamedTuple):
    """S samples, one behind the other; the fields are those of `ObjectSample`.

    Attributes:
        sampling: The three parts of a `CloudSampling` of all clouds.
    """

    cloud: Tensor
    object_T_palm: Tensor
    joints: Tensor
    text: Tensor
    sampling: tuple[tuple[Tensor, ...], ...]


class Texts(NamedTuple):
    """What is said of objects.

    Attributes:
        embeddings: (W,) float32 each, by the object's name.
        source: What they were made from; a run goes on only with the same.
    """

    embeddings: Mapping[str, NDArray[np.float32]]
    source: Mapping[str, str]


class _Object(NamedTuple):
    """One object with its surface samples (M, 6) and all its grasps."""

    surface: NDArray[np.float32]
    object_T_palm: NDArray[np.float32]
    joints: NDArray[np.float32]


class ObjectSamples:
    """Samples of one split of a dataset, an object as often as any other; indexed by any number.

    Args:
        dataset: With objects and grasps.
        hand: Whose grasps.
        split: Which objects.
        seed: Of all samples.
        encoder: That clouds are prepared for.
        config: None: the defaults.
        texts: Of all its objects; None: nothing is said.

    Attributes:
        names: Of the objects that have grasps.
        texts: As they were given.
        text_width: Numbers W of an embedding; 0 without texts.

    Raises:
        DatasetError: There is nothing to learn from.
    """

    def __init__(
        self,
        dataset: Dataset,
        hand: str,
        split: Split,
        seed: int,
        encoder: PointTransformerConfig,
        config: ObjectSampleConfig | None = None,
        texts: Texts | None = None,
    ) -> None:
        self.dataset, self.config, self.texts = dataset, config or ObjectSampleConfig(), texts
        self._split, self._seed, self._encoder = split, seed, encoder
        self.text_width = len(next(iter(texts.embeddings.values()))) if texts else 0
        self._objects: list[_Object] = []
        self.names: list[str] = []
        for name in dataset.objects(split):
            if not dataset.grasps_path(hand, name).is_file():
                continue
            asset, grasps = dataset.asset(name), dataset.grasps(hand, name)
            if len(grasps):
                surface = np.concatenate([asset.points, asset.normals], axis=1).astype(np.float32)
                palms = grasps.object_T_palm.astype(np.float32)
                self._objects.append(_Object(surface, palms, grasps.grasp.astype(np.float32)))
                self.names.append(name)
        if not self.names:
            raise DatasetError(
                f"{dataset.root} has no grasps of {hand} on {split} objects; make some: dexgrasp-train grasps and "
                f"dexgrasp-train filter {dataset.root} --set grasps.hand={hand}"
            )
        self._cloud = lru_cache(maxsize=_KEPT)(self._drawn_cloud)

    def text(self, name: str) -> NDArray[np.float32]:
        """Embedding (W,) of what is said of an object."""
        return self.texts.embeddings[name] if self.texts else np.zeros(0, dtype=np.float32)

    def palms(self) -> NDArray[np.float32]:
        """Palms (G, 4, 4) of all grasps."""
        return np.concatenate([one.object_T_palm for one in self._objects])

    def __len__(self) -> int:
        return len(self.names) * self.config.clouds

    def facts(self) -> dict[str, int]:
        """How many objects and grasps there are to learn from."""
        return {"objects": len(self.names), "grasps": sum(len(one.joints) for one in self._objects)}

    def __getitem__(self, number: int) -> ObjectSample:
        """The sample of that number. Objects take turns, in an order that changes from round to round."""
        count, config = len(self.names), self.config
        turn = np.random.default_rng(seed_of(self._seed, "round", self._split, number // count)).permutation(count)
        rng = np.random.default_rng(seed_of(self._seed, "sample", self._split, number))
        which = int(turn[number % count])
        cloud, sampling = self._cloud(which, int(rng.integers(config.clouds)))
        one = self._objects[which]
        rows = rng.integers(len(one.joints), size=config.grasps)
        palms = one.object_T_palm[rows]
        if config.turned:
            turn_ = Rotation.random(random_state=rng).as_matrix().astype(np.float32)
            cloud = (cloud.reshape(-1, 2, 3) @ turn_.T).reshape(-1, 6)
            palms = palms.copy()
            palms[:, :3] = turn_ @ palms[:, :3]
        return ObjectSample(cloud, sampling, palms, one.joints[rows], self.text(self.names[which]))

    def _drawn_cloud(self, which: int, draw: int) -> tuple[NDArray[np.float32], Indices]:
        """A draw of the points of an object, (N, 6), and its sampling, which survives rotations."""
        rng = np.random.default_rng(seed_of(self._seed, "cloud", self.names[which], draw))
        surface, points = self._objects[which].surface, self._encoder.points
        cloud = surface[rng.choice(len(surface), points, replace=len(surface) < points)]
        found = sample_cloud(torch.as_tensor(cloud)[None], self._encoder)
        parts = (found.kept, found.around, found.beside)
        return cloud, tuple(tuple(level.numpy().astype(np.int32) for level in part) for part in parts)


def join(samples: Sequence[ObjectSample]) -> JoinedObjects:
    """Put samples together."""
    arrays = zip(*((one.cloud, one.object_T_palm, one.joints, one.text) for one in samples), strict=True)
    clouds, palms, joints, text = (torch.as_tensor(np.stack(array)) for array in arrays)
    parts = zip(*(sample.sampling for sample in samples), strict=True)
    sampling = tuple(
        tuple(torch.as_tensor(np.concatenate(level)).long() for level in zip(*part, strict=True)) for part in parts
    )
    return JoinedObjects(clouds, palms, joints, text, sampling)
