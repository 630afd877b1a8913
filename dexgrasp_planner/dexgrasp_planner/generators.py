"""What every grasp generator takes and gives, and the registry of those there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from dexgrasp_common.registry import Backend, Registry
from dexgrasp_common.transforms import apply
from numpy.typing import NDArray

from dexgrasp_description import GraspSet, HandModel
from dexgrasp_planner.errors import PlannerError

CHECKPOINT = "DEXGRASP_CHECKPOINT"  # environment variable: folder of the checkpoint, in place of the one that ships
TRAINED = Path(__file__).parent / "trained"  # checkpoints that ship, a folder for each hand
FARTHEST = 10.0  # no camera above a table measures more along an axis [m]


class GenerateError(PlannerError):
    """No grasps were generated. Codes are those of GenerateGrasp.action."""

    code: ClassVar[int] = 199


class InvalidGenerateGoalError(GenerateError):
    """A number in the request lies outside what the generator can do."""

    code: ClassVar[int] = 100


class UnknownGeneratorError(GenerateError):
    """No generator has that name."""

    code: ClassVar[int] = 101


class GeneratorUnavailableError(GenerateError):
    """The generator exists, but cannot run here or not for this hand."""

    code: ClassVar[int] = 102


class NoCloudError(GenerateError):
    """No fresh point cloud came in before the deadline."""

    code: ClassVar[int] = 103


class EmptyCloudError(GenerateError):
    """The cloud has no points at all."""

    code: ClassVar[int] = 104


class InvalidCloudError(GenerateError):
    """The cloud has points, but no xyz that could be a measurement."""

    code: ClassVar[int] = 105


class CloudFrameError(GenerateError):
    """The cloud is in a frame that nothing is known about."""

    code: ClassVar[int] = 106


class NoObjectsError(GenerateError):
    """Nothing stands on the table."""

    code: ClassVar[int] = 107


class NoGraspsError(GenerateError):
    """There are objects, but no proposed grasp survived the filters."""

    code: ClassVar[int] = 108


class GenerationCancelledError(GenerateError):
    """The caller cancelled between two stages."""

    code: ClassVar[int] = 109


class Stage(IntEnum):
    """Stages of a generation; the numbers of GenerateGrasp's feedback."""

    PREPARE = 1
    GENERATE = 2
    FILTER = 3
    RANK = 4


@dataclass(frozen=True)
class SceneCloud:
    """One view of a scene.

    Attributes:
        points: array (N, 3) [m], camera frame; rows that are not finite, or not within `FARTHEST` along every axis,
            count as missing.
        world_T_camera: array (4, 4); the support plane is z = 0 of `world`, its normal is up.
        area: Where objects may be taken from, `(x0, x1, y0, y1)` in world [m]; None: wherever most points are.
    """

    points: NDArray[np.floating]
    world_T_camera: NDArray[np.float64]
    area: tuple[float, float, float, float] | None = None

    def world_points(self) -> NDArray[np.float32]:
        """The points that are not missing (M, 3), float32 [m], in world.

        Raises:
            EmptyCloudError: The cloud has no points.
            InvalidCloudError: Not an (N, 3) array of real numbers, or every point is missing.
        """
        try:
            points = np.asarray(self.points)
        except ValueError as error:
            raise InvalidCloudError(f"A cloud is an array of shape (N, 3); got rows that differ: {error}") from error
        if points.size == 0:
            raise EmptyCloudError("The cloud has no points. Send one with at least the objects and the table in view.")
        if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
            raise InvalidCloudError(f"A cloud is numbers [m] of shape (N, 3); got {points.dtype}, {points.shape}.")
        seen = points[((points > -FARTHEST) & (points < FARTHEST)).all(axis=1)]  # false where it is not finite
        if not len(seen):
            raise InvalidCloudError(
                f"None of the {len(points)} points is finite and within {FARTHEST:.0f} m: the depth image holds no "
                "measurement, or the cloud is not in metres."
            )
        return apply(self.world_T_camera, seen.astype(np.float32))


@dataclass(frozen=True)
class Generation:
    """Outcome of one generation.

    Attributes:
        grasps: Best first, in world, clear of the cloud and the support plane.
        candidates: How many were proposed before the collision filter.
        stage_ms: Wall time of each stage, by its lower-case name [ms].
    """

    grasps: GraspSet
    candidates: int
    stage_ms: dict[str, float] = field(default_factory=dict)


def _no_progress(stage: Stage) -> None:
    """Default progress callback."""


def _never_cancelled() -> bool:
    """Default cancel callback."""
    return False


class GraspGenerator(Protocol):
    """Proposes grasps of one hand; made once, called often, from one thread at a time."""

    def generate(
        self,
        scene: SceneCloud,
        max_grasps: int,
        seed: int,
        progress: Callable[[Stage], None] = _no_progress,
        cancelled: Callable[[], bool] = _never_cancelled,
    ) -> Generation:
        """Ranked grasps of the scene; the same scene and seed give the same grasps.

        Args:
            scene: What the camera sees.
            max_grasps: At most this many.
            seed: Of every random choice.
            progress: Called at the start of each stage.
            cancelled: Asked between stages and inside long ones.

        Raises:
            GenerateError: Bad cloud, nothing to grasp, no grasp found, or cancelled.
        """
        ...


GRASP_GENERATORS = Registry(
    "grasp generator",
    {
        "heuristic": Backend(
            "dexgrasp_planner.heuristic:HeuristicGenerator",
            summary="enveloping grasps from local geometry, fingers closed on the completed cloud; for any hand",
        ),
        "diffusion": Backend(
            "dexgrasp_planner.learned:with_checkpoint",
            summary="seeds by predicted graspness, grasps by diffusion, refined, ranked by the chance of a lift",
        ),
        "object_diffusion": Backend(
            "dexgrasp_planner.object_level.object_generator:with_checkpoint",
            summary="grasps of one object after the other by diffusion that physics guides (DexGrasp Anything)",
        ),
    },
    default="diffusion",
)


def checkpoint_folder(hand: str) -> Path:
    """Where the checkpoint for a hand is: what `DEXGRASP_CHECKPOINT` names, or else the one that ships, if one does."""
    return Path(os.environ.get(CHECKPOINT) or TRAINED / hand)


def generator_name(asked: str, hand: str) -> str:
    """The generator that is meant: the one asked for, or else `diffusion` where a checkpoint for the hand is at hand.

    Args:
        asked: A name in `GRASP_GENERATORS`, or empty.
        hand: Name of the hand.
    """
    return asked or (GRASP_GENERATORS.default if checkpoint_folder(hand).is_dir() else "heuristic")


def make_generator(asked: str, hand: HandModel, guidance: str = "", finish: str = "") -> GraspGenerator:
    """The generator that `generator_name` tells.

    Args:
        asked: A name in `GRASP_GENERATORS`, or empty.
        hand: The hand.
        guidance: When physics moves the grasps of `diffusion`, see `LearnedConfig`; empty: its default.
        finish: What the hand does at its grasps, see there, too.

    Raises:
        UnknownBackendError: There is no such generator.
        GeneratorUnavailableError: It cannot run here, or not for this hand.
        InvalidGenerateGoalError: There is no such guidance or finish, or not for this checkpoint.
    """
    name = generator_name(asked, hand.name)
    settings = {"guidance": guidance, "finish": finish} if name == GRASP_GENERATORS.default else {}
    generator: GraspGenerator = GRASP_GENERATORS.create(name, hand, **settings)
    return generator
