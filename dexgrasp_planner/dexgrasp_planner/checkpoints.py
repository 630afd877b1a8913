"""Trained networks as folders: `model.safetensors` with the weights and `config.json` with all that they need."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from dexgrasp_common.report import write_whole
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from dexgrasp_description import HandModel
from dexgrasp_planner.errors import PlannerError
from dexgrasp_planner.holding import FEATURES
from dexgrasp_planner.network.diffusion_head import DiffusionConfig
from dexgrasp_planner.network.grasp_network import GraspNetwork, NetworkConfig
from dexgrasp_planner.success import SuccessModel

FORMAT = 1
SCENE = "scene"  # the kind of network that a checkpoint holds where it says nothing about that
WEIGHTS, _SUCCESS, _CONFIG = "model.safetensors", "success.safetensors", "config.json"


class CheckpointError(PlannerError):
    """A checkpoint is missing, damaged, or made for something else."""


ConfigT = TypeVar("ConfigT")
NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True)
class StoredNetwork(Generic[ConfigT, NetworkT]):
    """A trained network of some kind and where it comes from.

    Attributes:
        hand: Name of the hand.
        joint_names: Of its joints, in the order of the network's outputs.
        network: Its configuration.
        weights: Its state dict.
        about: What data it saw and what it scored, as the report has it.
        success: State dict of a `SuccessModel`; empty: it cannot tell the chance of a lift.
        success_features: What that model looks at.
    """

    KIND: ClassVar[str]
    TRAINED_BY: ClassVar[str]  # the command
    KNOWN_FEATURES: ClassVar[tuple[str, ...]]  # that a success model may look at

    hand: str
    joint_names: tuple[str, ...]
    network: ConfigT
    weights: dict[str, torch.Tensor]
    about: dict[str, Any] = field(default_factory=dict)
    success: dict[str, torch.Tensor] = field(default_factory=dict)
    success_features: tuple[str, ...] = ()

    @staticmethod
    def _config(entries: dict[str, Any]) -> ConfigT:
        """The configuration from its entries, as `asdict` gives them.

        Raises:
            KeyError, TypeError: There are others, or of another kind.
        """
        raise NotImplementedError

    def save(self, folder: Path, *, half: bool = False) -> None:
        """Write both files, the weights first: a folder with a `config.json` is whole.

        Args:
            half: Store weights in 16 bits (three digits), for half the size; the statistics of batch norms, whose range
                may be wider, stay in 32.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: _stored(name, value, half) for name, value in self.weights.items()}
        write_whole(folder / WEIGHTS, lambda file: file.write(save(tensors)))
        if self.success:
            _write_success(folder, self.success)
        config = {
            "format": FORMAT,
            "kind": self.KIND,
            "hand": self.hand,
            "joint_names": list(self.joint_names),
            "network": asdict(self.network),  # type: ignore[call-overload]
            "success_features": list(self.success_features),
            "about": self.about,
        }
        _write_config(folder, config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder; only numbers are read, no code. Weights that are stored in 16 bits are given in 32.

        Raises:
            CheckpointError: It is missing, cut short, damaged, of another kind or of a newer version.
        """
        config = _read_config(folder)
        kind = config.get("kind", SCENE)
        if kind != cls.KIND:
            raise CheckpointError(
                f"{folder} holds a network of the kind {kind!r}; wanted is one of the kind {cls.KIND!r}, see "
                f"{cls.TRAINED_BY}."
            )
        stored = _read_tensors(folder / WEIGHTS)
        success_features = tuple(config.get("success_features", ()))
        success = _read_tensors(folder / _SUCCESS) if success_features else {}
        try:
            return cls(
                str(config["hand"]),
                tuple(config["joint_names"]),
                cls._config(config["network"]),
                {name: value.float() if value.dtype == torch.float16 else value for name, value in stored.items()},
                dict(config.get("about", {})),
                success,
                success_features,
            )
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{folder / _CONFIG} does not describe a network ({error!r}); get the checkpoint again."
            ) from error

    def _filled(self, hand: HandModel, network: Callable[[], NetworkT]) -> NetworkT:
        """A network with these weights, in evaluation mode.

        Raises:
            CheckpointError: It was made for another hand, or weights are missing, superfluous or of another shape.
        """
        if (self.hand, self.joint_names) != (hand.name, tuple(hand.joint_names)):
            raise CheckpointError(
                f"This checkpoint was trained for {self.hand} ({len(self.joint_names)} joints), not for {hand.name}. "
                f"Choose that hand, or train one for yours: {self.TRAINED_BY}."
            )
        made = network()
        try:
            made.load_state_dict(self.weights)
        except RuntimeError as error:
            raise CheckpointError(f"The weights do not fit the network that {_CONFIG} describes: {error}") from error
        return made.eval()

    def success_model(self) -> SuccessModel | None:
        """What tells the chance of a lift; None: the checkpoint has no such thing.

        Raises:
            CheckpointError: It looks at what this version does not know, or its weights do not fit.
        """
        if not self.success_features:
            return None
        unknown = set(self.success_features) - set(self.KNOWN_FEATURES)
        if unknown:
            raise CheckpointError(
                f"The success model looks at {', '.join(sorted(unknown))}, which this version does not know; "
                "update dexgrasp."
            )
        try:
            model = SuccessModel(self.success_features, len(self.success["weights.0"]))
            model.load_state_dict(self.success)
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"The weights in {_SUCCESS} do not fit ({error}); get it again.") from error
        return model.eval()


class Checkpoint(StoredNetwork[NetworkConfig, GraspNetwork]):
    """A network that proposes grasps in clutter."""

    KIND = SCENE
    TRAINED_BY = "dexgrasp-train fit"
    KNOWN_FEATURES = FEATURES

    @staticmethod
    def _config(entries: dict[str, Any]) -> NetworkConfig:
        return network_config(entries)

    def make(self, hand: HandModel, sparse: str = "") -> GraspNetwork:
        """The network with these weights, in evaluation mode.

        Args:
            hand: The hand that it is to grasp with.
            sparse: Name in `SPARSE_CONVOLUTIONS`; empty: the default.

        Raises:
            CheckpointError: It was made for another hand, or weights are missing, superfluous or of another shape.
        """
        return self._filled(hand, lambda: GraspNetwork(len(self.joint_names), self.network, sparse))


def add_success(folder: Path, model: SuccessModel, about: dict[str, Any]) -> None:
    """Give a checkpoint what tells the chance of a lift, in place of what it has of that; its network stays as it is.

    Args:
        folder: Of the checkpoint.
        model: What tells it.
        about: What it learnt from and how well it tells.

    Raises:
        CheckpointError: There is no checkpoint.
    """
    config = _read_config(folder)
    _write_success(folder, model.state_dict())
    config["success_features"] = list(model.features)
    config["about"] = {**config.get("about", {}), "success": about}
    _write_config(folder, config)


def _write_success(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_whole(folder / _SUCCESS, lambda file: file.write(save(tensors)))


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    text = json.dumps(config, indent=2) + "\n"
    write_whole(folder / _CONFIG, lambda file: file.write(text.encode()))


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / _CONFIG).read_text())
    except OSError as error:
        raise CheckpointError(
            f"{folder} is not a checkpoint: it has no {_CONFIG}. Give the folder that holds it and {WEIGHTS}."
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{folder / _CONFIG} is damaged ({error}); get the checkpoint again.") from error
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise CheckpointError(f"{folder / _CONFIG} does not say which format it has; get the checkpoint again.")
    if config["format"] > FORMAT:
        raise CheckpointError(
            f"{folder} has format {config['format']} and this version reads up to {FORMAT}; update dexgrasp."
        )
    return config


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        stored: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); get the checkpoint again.") from error
    return stored


def _stored(name: str, value: torch.Tensor, half: bool) -> torch.Tensor:
    value = value.detach().cpu().contiguous()
    if not half or not value.is_floating_point() or "running_" in name:
        return value
    rounded = value.half()
    return rounded if bool(rounded.isfinite().all()) else value


def network_config(entries: dict[str, Any]) -> NetworkConfig:
    """A network's configuration from its entries, as `asdict` gives them.

    Raises:
        KeyError, TypeError: There are others, or of another kind.
    """
    known = {field_.name for field_ in dataclasses.fields(NetworkConfig)}
    unknown = set(entries) - known
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    return NetworkConfig(**{**entries, "diffusion": DiffusionConfig(**entries["diffusion"])})
