"""Grasps of single objects: what the generator `object_diffusion` learns (DexGrasp Anything)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from dexgrasp_common.parameters import param
from dexgrasp_planner.object_level.cloud_sampling import CloudSampling
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_generator import ObjectGeneratorConfig, ObjectGraspGenerator
from dexgrasp_planner.object_level.object_network import (
    ObjectGraspNetwork,
    ObjectNetworkConfig,
    object_network_config,
)
from dexgrasp_planner.object_level.state_layouts import layout_class
from dexgrasp_planner.physics.constraints import Constraints, HandPhysics, PhysicsConfig, physics_preset
from dexgrasp_planner.physics.terms import Surface
from dexgrasp_sim.tester import GRASP_TESTERS
from torch import Tensor, nn

from dexgrasp_description import HandModel
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.fit.fitting import FitConfig
from dexgrasp_training.fit.object_samples import JoinedObjects, ObjectSamples, join
from dexgrasp_training.fit.processes import Processes
from dexgrasp_training.settings import seed_of

_TRIED = 16  # grasps of an object in a validation


@dataclass(frozen=True)
class ObjectNetworkSettings:
    """Which network."""

    preset: str = param("small", "sizes: `small` or `paper`")
    layout: str = param("full_pose_33d", "how grasps are written: `full_pose_33d` or `object_rotated_27d`")
    schedule: str = param("zero_terminal", "how noise is added: `zero_terminal` or `paper`")


@dataclass(frozen=True)
class PhysicsSettings:
    """Which physics a step minimises beside the diffusion loss, and of how many grasps."""

    preset: str = param("tuned", "a name for `physics_preset`; `none`: the diffusion loss alone")
    samples: int = param(0, "points on the hand's outside; 0: as many as the preset has", range=(0, 100_000))
    every: int = param(1, "of so many grasps one has its physics looked at, and counts so often", range=(1, 1024))


@dataclass(frozen=True)
class ObjectFitConfig(FitConfig):
    """How a network for single objects is trained."""

    held: int = param(0, "held-out objects on which a validation tests sampled grasps, too", range=(0, 4096))


class SomePhysics(HandPhysics):
    """The constraints on one grasp of so many, each of which counts so often: an estimate of the mean over all.

    Nearest points are found in 32 bits, whatever products are computed in.

    Args:
        hand: The hand.
        config: Weights and points.
        every: Of how many grasps one is looked at.
        device: Where.
    """

    def __init__(self, hand: HandModel, config: PhysicsConfig, every: int, device: torch.device) -> None:
        super().__init__(hand, config, device=device)
        self._every = every

    def __call__(self, object_T_palm: Tensor, q: Tensor, surface: Surface) -> Constraints:
        """As `HandPhysics` has it, with zeros for the others; surfaces are those of each grasp."""
        rows = slice(None, None, self._every)
        with torch.autocast(object_T_palm.device.type, enabled=False):
            some = Surface(*(part[rows] for part in surface))
            found = super().__call__(object_T_palm[rows].float(), q[rows].float(), some)
        count = len(q) / len(found.pulling)

        def spread(values: Tensor) -> Tensor:
            every = values.new_zeros(len(q))
            every[rows] = count * values
            return every

        return Constraints(*(spread(getattr(found, term.name)) for term in fields(Constraints)))


class ObjectLesson:
    """Implements `Lesson`.

    Args:
        hand: Whose grasps.
        train, test: Objects to learn from, and to validate on.
        network: What is trained.
        physics: What it minimises beside the diffusion loss.
        config: How.

    Raises:
        UnknownNetworkError, UnknownLayoutError, UnknownPhysicsError: There is no such preset.
    """

    kind = ObjectCheckpoint.KIND
    join = staticmethod(join)

    def __init__(
        self,
        hand: HandModel,
        train: ObjectSamples,
        test: ObjectSamples,
        network: ObjectNetworkSettings,
        physics: PhysicsSettings,
        config: ObjectFitConfig,
    ) -> None:
        self.hand, self.train, self.test, self._config = hand, train, test, config
        self._network = network_config(hand, train, network)
        self.settings: dict[str, Any] = {
            "network": asdict(self._network), "samples": asdict(train.config), "physics": asdict(physics)
        }  # fmt: skip
        if train.texts is not None:
            self.settings["text"] = dict(train.texts.source)
        preset = physics_preset(physics.preset)
        self._wanted = replace(preset, samples=physics.samples) if physics.samples else preset
        self._every = physics.every
        self._physics: dict[torch.device, SomePhysics] = {}

    def make(self, start: ObjectCheckpoint | None, begun: bool) -> ObjectGraspNetwork:
        """See `Lesson.make`. The network has the bounds of the one that it begins with."""
        if start is None:
            return ObjectGraspNetwork(self._network)
        if replace(start.network, bounds=self._network.bounds) != self._network:
            raise SettingsError(
                f"The checkpoint to begin with is another network: {start.network}, not {self._network}. "
                "Ask for that one, with --set network..., and text.encoder where it has a text_width."
            )
        self._network = start.network
        self.settings["network"] = asdict(self._network)
        return start.make(self.hand)

    def set_training(self, network: nn.Module) -> None:
        """See `Lesson.set_training`."""
        network.train()

    def losses(
        self,
        network: ObjectGraspNetwork,
        batch: JoinedObjects,
        generators: Sequence[torch.Generator],
        device: torch.device,
        processes: Processes | None = None,
    ) -> dict[str, Tensor]:
        """See `Lesson.losses`. The first sample's generator serves them all: steps are drawn in pairs over a batch."""
        clouds, palms, joints, text = (part.to(device, non_blocking=True) for part in batch[:4])
        of_grasp = torch.arange(len(clouds), device=device).repeat_interleave(palms.shape[1])
        generator = generators[0]
        # What dropout leaves out is drawn by torch's own generator.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed())
            terms = network.loss(
                clouds,
                of_grasp,
                palms.flatten(0, 1),
                joints.flatten(0, 1),
                generator,
                self._constraints(device),
                samplings=CloudSampling(*batch.sampling).to(device),
                text=text if text.shape[1] else None,
            )
        return terms | {"total": torch.stack(list(terms.values())).sum()}

    def trial(self, network: nn.Module) -> dict[str, float]:
        """The share of sampled grasps of held-out objects that hold in the tester, where they are asked for.

        They are drawn without guidance and none is preferred: what the network itself has learnt.
        """
        if not self._config.held:
            return {}
        assert isinstance(network, ObjectGraspNetwork)
        plain = ObjectGeneratorConfig(guidance=0.0, polish=0, ranking="random")
        generator = ObjectGraspGenerator(self.hand, network, plain)
        tester = GRASP_TESTERS.create("", self.hand)
        shares = []
        for name in self.test.names[: self._config.held]:
            asset = self.test.dataset.asset(name)
            seed = seed_of(self._config.seed, "trial", name)
            text = self.test.text(name) if self.test.text_width else None
            drawn = generator.sample(asset.points, asset.normals, _TRIED, seed, text)
            shares.append(tester.hold6(asset.model, drawn.world_T_palm, drawn.grasp, drawn.squeeze).success.mean())
        return {"hold": float(np.mean(shares))}

    def checkpoint(self, weights: dict[str, Tensor], about: dict[str, Any]) -> ObjectCheckpoint:
        """See `Lesson.checkpoint`."""
        return ObjectCheckpoint(self.hand.name, tuple(self.hand.joint_names), self._network, weights, about)

    def _constraints(self, device: torch.device) -> HandPhysics | None:
        wanted = self._wanted
        if not (wanted.pulling or wanted.penetration or wanted.self_penetration):
            return None
        if device not in self._physics:
            self._physics[device] = SomePhysics(self.hand, wanted, self._every, device)
        return self._physics[device]


def network_config(hand: HandModel, train: ObjectSamples, wanted: ObjectNetworkSettings) -> ObjectNetworkConfig:
    """The configuration of a network that is to learn these samples; bounds of translations come from them.

    Where objects are turned by any rotation, a palm may come to lie on any side at its distance.
    """
    palms = train.palms()
    if train.config.turned and not layout_class(wanted.layout).turned:
        farthest = float(np.linalg.norm(palms[:, :3, 3], axis=1).max())
        palms = np.tile(np.eye(4), (2, 1, 1))
        palms[:, :3, 3] = [[-farthest], [farthest]]
    return object_network_config(
        wanted.preset, hand, palms, layout=wanted.layout, schedule=wanted.schedule, text_width=train.text_width
    )
