"""What diffusion learns: a state, how noisy it is and the tokens of an object in; its noise or velocity out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from dexgrasp_common.parameters import param
from torch import Tensor, nn


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes; the defaults are those of DexGrasp Anything's code."""

    width: int = param(512, "of the features; a multiple of 16", range=(32, 4096))
    blocks: int = param(4, "pairs of a residual block and a transformer block", range=(1, 64))
    heads: int = param(8, "of cross-attention", range=(1, 64))
    head_width: int = param(64, "channels of a head", range=(8, 256))
    dropout: float = param(0.1, "share of channels left out in training, in the transformer blocks", range=(0.0, 0.9))


@dataclass(frozen=True)
class Condition:
    """What cross-attention sees of B objects, for each block a key and a value (B, T, H, E)."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    def __getitem__(self, rows: Tensor) -> Condition:
        """That of the objects in these rows (G,)."""
        return Condition(tuple(key[rows] for key in self.keys), tuple(value[rows] for value in self.values))

    @staticmethod
    def join(conditions: Sequence[Condition]) -> Condition:
        """That of all objects of several, in order."""
        keys = zip(*(condition.keys for condition in conditions), strict=True)
        values = zip(*(condition.values for condition in conditions), strict=True)
        return Condition(tuple(map(torch.cat, keys)), tuple(map(torch.cat, values)))


class Denoiser(nn.Module):
    """The network that DexGrasp Anything calls a U-Net: it has one level, and a state is a sequence of one.

    Attention of one element to itself is a linear map. It is written as one here, without the queries, keys and second
    matrix of the authors' code (3.1 of 22.6 M parameters), which add nothing to what can be computed.

    Args:
        size: Of a state, S.
        tokens: Width of a token.
        config: None: the paper's.
    """

    def __init__(self, size: int, tokens: int, config: DenoiserConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DenoiserConfig()
        width = config.width
        self.time = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width))
        self.enter = nn.Linear(size, width)
        self.residual = nn.ModuleList(_Residual(width) for _ in range(config.blocks))
        self.attending = nn.ModuleList(_Attending(config) for _ in range(config.blocks))
        inner = config.heads * config.head_width
        self.keys, self.values = (
            nn.ModuleList(nn.Linear(tokens, inner, bias=False) for _ in range(config.blocks)) for _ in range(2)
        )
        self.leave = nn.Sequential(_norm(width), nn.SiLU(), nn.Linear(width, size))

    def condition(self, tokens: Tensor) -> Condition:
        """What is to be known of objects with tokens (B, T, C): the same in every step."""
        heads = (self.config.heads, self.config.head_width)
        keys, values = ([part(tokens).unflatten(-1, heads) for part in parts] for parts in (self.keys, self.values))
        return Condition(tuple(keys), tuple(values))

    def forward(self, state: Tensor, step: Tensor, condition: Condition) -> Tensor:
        """Noise or velocity (G, S) of states (G, S) at steps (G,) or (1,); each has its condition, or all share one."""
        time = self.time(_sinusoids(step, self.config.width).to(state.dtype))
        feature = self.enter(state)
        pairs = zip(self.residual, self.attending, condition.keys, condition.values, strict=True)
        for residual, attending, key, value in pairs:
            feature = attending(residual(feature, time), key, value)
        predicted: Tensor = self.leave(feature)
        return predicted


class _Residual(nn.Module):
    """Two layers with the time between them, and a way around."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(width), nn.SiLU(), nn.Linear(width, width))
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(2 * width, width))
        self.second = nn.Sequential(_norm(width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, feature: Tensor, time: Tensor) -> Tensor:
        added: Tensor = self.second(self.first(feature) + self.time(time))
        return feature + added


class _Attending(nn.Module):
    """A transformer block: its own linear map, cross-attention to the tokens, a gated layer (GEGLU)."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        width, inner = config.width, config.heads * config.head_width
        self._heads = (config.heads, config.head_width)
        self.enter = nn.Sequential(_norm(width), nn.Linear(width, width))
        self.own = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.Dropout(config.dropout))
        self.query = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner, bias=False))
        self.crossed = nn.Sequential(nn.Linear(inner, width), nn.Dropout(config.dropout))
        self.gated = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width))
        self.mixed = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(2 * width, width))
        self.leave = nn.Linear(width, width)

    def forward(self, feature: Tensor, key: Tensor, value: Tensor) -> Tensor:
        x = self.enter(feature)
        x = x + self.own(x)
        query = self.query(x).unflatten(-1, self._heads) / math.sqrt(self._heads[1])
        weights = (key * query[:, None]).sum(dim=-1, keepdim=True).softmax(dim=1)
        x = x + self.crossed((weights * value).sum(dim=1).flatten(-2))
        linear, gate = self.gated(x).chunk(2, dim=-1)
        x = x + self.mixed(linear * nn.functional.gelu(gate))
        left: Tensor = self.leave(x)
        return feature + left


def _norm(width: int) -> nn.GroupNorm:
    """Groups of 16 channels, as in the paper's 512; a sequence of one gives a group nothing else to average over."""
    return nn.GroupNorm(width // 16, width)


def _sinusoids(step: Tensor, width: int) -> Tensor:
    """Steps (G,) as waves (G, width), from one a step to one in 10,000."""
    rates = torch.exp(-math.log(1e4) * torch.arange(width // 2, device=step.device) / (width // 2))
    angles = step[:, None] * rates
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)
