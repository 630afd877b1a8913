"""From a cloud with normals to a few tokens: the encoder half of Point Transformer (Zhao et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from dexgrasp_common.parameters import param
from torch import Tensor, nn

from dexgrasp_planner.object_level.cloud_sampling import CloudSampling, sample_levels

SHARED = 8  # channels that share one attention weight


@dataclass(frozen=True)
class PointTransformerConfig:
    """Sizes; the defaults are those of DexGrasp Anything's code, 4.9 M parameters."""

    points: int = param(2048, "points of a cloud", range=(16, 100_000))
    planes: tuple[int, ...] = param((32, 64, 128, 256, 512), "channels of each level, multiples of 8")
    blocks: tuple[int, ...] = param((1, 2, 3, 5, 2), "attention blocks of each level, after the one that thins")
    strides: tuple[int, ...] = param((1, 4, 4, 4, 4), "which part of the points each level keeps; the first is 1")
    neighbours: tuple[int, ...] = param((8, 16, 16, 16, 16), "points that each point looks at")
    unit: float = param(1.0, "length that counts as one [m]", range=(1e-3, 10.0))
    placed: bool = param(False, "whether tokens are also told where they are, which the paper's are not")


def sample_cloud(clouds: Tensor, config: PointTransformerConfig) -> CloudSampling:
    """What the encoder needs to know of clouds (B, N, 3 or 6) once; see `cloud_sampling`.

    Raises:
        CloudShapeError: Another shape, or too few points.
    """
    return sample_levels(clouds, config.strides, config.neighbours)


class PointTransformer(nn.Module):
    """See the module.

    Args:
        config: None: the paper's.

    Attributes:
        width: Of a token, C.
    """

    def __init__(self, config: PointTransformerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PointTransformerConfig()
        self.width = config.planes[-1]
        self.enter = nn.Sequential(nn.Linear(6, config.planes[0], bias=False), _PointNorm(config.planes[0]), nn.ReLU())
        pairs = zip(config.planes, config.planes[1:], strict=False)
        self.thin = nn.ModuleList(_Thinning(narrow, wide) for narrow, wide in pairs)
        self.levels = nn.ModuleList(
            nn.ModuleList(_Block(width) for _ in range(count))
            for width, count in zip(config.planes, config.blocks, strict=True)
        )
        self.place = nn.Linear(3, self.width) if config.placed else None

    def forward(self, clouds: Tensor, sampling: CloudSampling) -> Tensor:
        """Tokens (B, T, C) of clouds (B, N, 6): xyz [m] and unit normals."""
        points = clouds[..., :3] / self.config.unit
        feature = self.enter(torch.cat([points, clouds[..., 3:]], dim=-1))
        for level, blocks in enumerate(self.levels):
            if level:
                around = sampling.around[level - 1]
                centres = _rows(points, sampling.kept[level - 1])
                feature = self.thin[level - 1](feature, _rows(points, around) - centres[:, :, None], around)
                points = centres
            beside = sampling.beside[level]
            offsets = _rows(points, beside) - points[:, :, None]
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                feature = block(feature, offsets, beside)
        tokens: Tensor = feature if self.place is None else feature + self.place(points)
        return tokens


class _PointNorm(nn.BatchNorm1d):
    """Batch norm over all points, neighbours and clouds; channels last."""

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(values.flatten(0, -2)).view_as(values)


class _Thinning(nn.Module):
    """Fewer points with wider features: the largest of what is around each (TransitionDown)."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.offset, self.feature = nn.Linear(3, wide, bias=False), nn.Linear(narrow, wide, bias=False)
        self.norm = _PointNorm(wide)

    def forward(self, feature: Tensor, offsets: Tensor, around: Tensor) -> Tensor:
        # One linear map of features and offsets together, applied to every point once and not to every pair.
        pairs = self.offset(offsets) + _rows(self.feature(feature), around)
        thinned: Tensor = torch.relu(self.norm(pairs)).amax(dim=2)
        return thinned


class _Block(nn.Module):
    """Vector attention between neighbours, between two linear layers, with a way around (Zhao et al., Fig. 4a)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(width, width, bias=False), _PointNorm(width), nn.ReLU())
        self.attention = _VectorAttention(width)
        self.leave = nn.Sequential(_PointNorm(width), nn.ReLU(), nn.Linear(width, width, bias=False), _PointNorm(width))

    def forward(self, feature: Tensor, offsets: Tensor, beside: Tensor) -> Tensor:
        added: Tensor = self.leave(self.attention(self.enter(feature), offsets, beside))
        return torch.relu(feature + added)


class _VectorAttention(nn.Module):
    """Zhao et al., Eq. 3: weights from keys less queries plus positions, one for every `SHARED`-th channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        group = width // SHARED
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.position = nn.Sequential(nn.Linear(3, 3), _PointNorm(3), nn.ReLU(), nn.Linear(3, width))
        self.weigh = nn.Sequential(
            _PointNorm(width), nn.ReLU(), nn.Linear(width, group), _PointNorm(group), nn.ReLU(), nn.Linear(group, group)
        )

    def forward(self, feature: Tensor, offsets: Tensor, beside: Tensor) -> Tensor:
        position = self.position(offsets)
        keys = _rows(self.key(feature), beside)
        weights = self.weigh(keys - self.query(feature)[:, :, None] + position).softmax(dim=2)
        values = (_rows(self.value(feature), beside) + position).unflatten(-1, (SHARED, -1))
        return (values * weights[..., None, :]).sum(dim=2).flatten(-2)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Of the values (B, N, C) those at each index (B, ...): (B, ..., C)."""
    start = values.shape[1] * torch.arange(len(values), device=index.device)
    flat = index + start.view(-1, *(1,) * (index.ndim - 1))
    return values.flatten(0, 1)[flat]
