"""The network of DexGrasp Anything for one hand: an encoder of objects, a denoiser of grasps, and what they learn."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from dexgrasp_common.parameters import param
from numpy.typing import NDArray
from torch import Tensor, nn

from dexgrasp_description import HandModel
from dexgrasp_planner.errors import PlannerError
from dexgrasp_planner.network.grasp_heads import noise_like
from dexgrasp_planner.object_level.cloud_sampling import CloudSampling
from dexgrasp_planner.object_level.denoiser import Denoiser, DenoiserConfig
from dexgrasp_planner.object_level.noise_schedule import STEPS, ZERO_TERMINAL, NoiseSchedule
from dexgrasp_planner.object_level.point_transformer import PointTransformer, PointTransformerConfig, sample_cloud
from dexgrasp_planner.object_level.state_layouts import StateBounds, layout_class
from dexgrasp_planner.physics.constraints import TERMS, HandPhysics
from dexgrasp_planner.physics.terms import Surface


class UnknownNetworkError(PlannerError):
    """There is no preset of that name."""


@dataclass(frozen=True)
class ObjectNetworkConfig:
    """Everything that the weights depend on."""

    bounds: StateBounds
    layout: str = param("full_pose_33d", "how grasps are written: a name in `STATE_LAYOUTS`")
    schedule: str = param(ZERO_TERMINAL, "how noise is added: one of `SCHEDULES`")
    encoder: PointTransformerConfig = field(default_factory=PointTransformerConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    text_width: int = param(0, "numbers of a text's embedding, which becomes one more token; 0: none", range=(0, 65536))

    @property
    def points(self) -> int:
        """How many points a cloud has."""
        return self.encoder.points


# `small` is to be trained on two CPU cores.
NETWORK_PRESETS = {
    "paper": (PointTransformerConfig(), DenoiserConfig()),
    "small": (
        PointTransformerConfig(
            points=1024,
            planes=(16, 32, 64, 128, 256),
            blocks=(0, 1, 1, 2, 2),
            strides=(1, 4, 4, 4, 2),
            neighbours=(8, 12, 12, 16, 16),
            unit=0.05,
            placed=True,
        ),
        DenoiserConfig(width=224, blocks=2, heads=8, head_width=16, dropout=0.0),
    ),
}


def object_network_config(
    preset: str,
    hand: HandModel,
    object_T_palm: NDArray[np.floating],
    *,
    layout: str = "full_pose_33d",
    schedule: str = ZERO_TERMINAL,
    text_width: int = 0,
) -> ObjectNetworkConfig:
    """The configuration of a network that is to learn grasps of a hand.

    Args:
        preset: A name in `NETWORK_PRESETS`.
        hand: The hand.
        object_T_palm: Palms of all grasps that it is to learn (G, 4, 4); bounds of translations come from them.
        layout: A name in `STATE_LAYOUTS`.
        schedule: One of `SCHEDULES`.
        text_width: Numbers of a text's embedding; 0: no text.

    Raises:
        UnknownNetworkError: There is no such preset.
        UnknownLayoutError: There is no such layout.
    """
    if preset not in NETWORK_PRESETS:
        raise UnknownNetworkError(f"There is no network {preset!r}. Presets: {', '.join(NETWORK_PRESETS)}.")
    bounds = StateBounds.of(hand, layout, object_T_palm)
    return ObjectNetworkConfig(bounds, layout, schedule, *NETWORK_PRESETS[preset], text_width)


def stored_config(entries: dict[str, Any]) -> ObjectNetworkConfig:
    """A configuration from its entries, as `asdict` gives them, or as JSON gives these back.

    Raises:
        KeyError, TypeError: There are others, or of another kind.
    """
    parts: dict[str, type] = {"bounds": StateBounds, "encoder": PointTransformerConfig, "denoiser": DenoiserConfig}
    return _made(ObjectNetworkConfig, {**entries, **{name: _made(kind, entries[name]) for name, kind in parts.items()}})


def _made(kind: type, entries: dict[str, Any]) -> Any:
    unknown = set(entries) - {field_.name for field_ in dataclasses.fields(kind)}
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()})


class ObjectGraspNetwork(nn.Module):
    """See the module.

    Args:
        config: Sizes and bounds, see `object_network_config`.

    Attributes:
        layout: How grasps are written.
        schedule: How noise is added.
    """

    def __init__(self, config: ObjectNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.layout = layout_class(config.layout)(config.bounds)
        self.schedule = NoiseSchedule(config.schedule)
        self.encoder = PointTransformer(config.encoder)
        self.text = nn.Linear(config.text_width, self.encoder.width) if config.text_width else None
        self.denoiser = Denoiser(self.layout.size, self.encoder.width, config.denoiser)

    def tokens(self, clouds: Tensor, sampling: CloudSampling | None = None, text: Tensor | None = None) -> Tensor:
        """What cross-attention looks at (B, T, C).

        Args:
            clouds: (B, N, 6), xyz [m] and unit normals; turned into the palm's axes where the layout asks for it.
            sampling: Of these clouds; None: made here.
            text: Embeddings (B, W) of what is said of the objects; None: nothing is.
        """
        seen = self.encoder(clouds, sampling or sample_cloud(clouds, self.config.encoder))
        if self.text is None:
            return seen
        said = self.text(clouds.new_zeros(len(clouds), self.config.text_width) if text is None else text)
        return torch.cat([said[:, None], seen], dim=1)

    def loss(
        self,
        clouds: Tensor,
        cloud_of_grasp: Tensor,
        object_T_palm: Tensor,
        q: Tensor,
        generator: torch.Generator,
        physics: HandPhysics | None = None,
        *,
        samplings: CloudSampling | None = None,
        text: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Terms whose plain sum is to be small (DexGrasp Anything, Eq. 12).

        `diffusion` is the mean absolute error of the prediction; `pulling`, `penetration`, ... are the
        physics of the estimated clean grasps, weighted by `physics.config` and `NoiseSchedule.physics_weight`.
        Steps are drawn in pairs that mirror each other, as in the authors' code.

        Args:
            clouds: Of B objects (B, N, 6): xyz [m] and unit normals, object's frame.
            cloud_of_grasp: Which of them each grasp is of (G,).
            object_T_palm: (G, 4, 4).
            q: Joints (G, D) [rad or m].
            generator: Of noise and steps, on the CPU.
            physics: None: no such terms.
            samplings: Of the B clouds; None: made here.
            text: Embeddings (B, W); None: nothing is said.
        """
        x0 = self.layout.encode(object_T_palm, q)
        samplings = samplings or sample_cloud(clouds, self.config.encoder)
        rotation = object_T_palm[:, :3, :3]
        if self.layout.turned:
            said = None if text is None else text[cloud_of_grasp]
            tokens = self.tokens(turned(clouds[cloud_of_grasp], rotation.mT), samplings[cloud_of_grasp], said)
            condition = self.denoiser.condition(tokens)
        else:
            condition = self.denoiser.condition(self.tokens(clouds, samplings, text))[cloud_of_grasp]
        step = torch.randint(STEPS, ((len(q) + 1) // 2,), generator=generator)
        step = torch.cat([step, STEPS - 1 - step])[: len(q)].to(x0.device)
        noise = noise_like(x0, x0.shape[1], generator)
        x = self.schedule.noised(x0, noise, step)
        predicted = self.denoiser(x, step, condition)
        terms = {"diffusion": (predicted - self.schedule.target(x0, noise, step)).abs().mean()}
        if physics is not None:
            estimate = self.layout.decode(self.schedule.estimate(x, predicted, step), rotation)
            found = physics(*estimate, surface_of(clouds[cloud_of_grasp]))
            weight, config = self.schedule.physics_weight(step), physics.config
            for name in TERMS.values():
                terms[name] = getattr(config, name) * (weight * getattr(found, name)).mean()
        return terms


def turned(clouds: Tensor, rotation: Tensor) -> Tensor:
    """Clouds (K, N, 6), points and normals turned by rotations (K, 3, 3)."""
    return (clouds.unflatten(-1, (2, 3)) @ rotation.mT[:, None]).flatten(-2)


def surface_of(clouds: Tensor) -> Surface:
    """Clouds (K, N, 6) as surfaces that a hand may touch."""
    points, normals = clouds.mT.split(3, dim=1)
    return Surface(points, normals)
