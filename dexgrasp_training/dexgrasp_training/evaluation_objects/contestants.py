"""Who competes: the dataset's own grasps, and checkpoints of the object-level generator with their options."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_generator import ObjectGeneratorConfig, ObjectGraspGenerator
from dexgrasp_planner.object_level.text_token import Descriptions, TextEncoder
from numpy.typing import NDArray

from dexgrasp_description import HandModel, load_hand
from dexgrasp_training.assets import ObjectAsset
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.storage import digest_of

DATA = "data"  # the dataset's own grasps
_THROUGH = ("network", "estimate")
_SCORER = {"on": "", "off": "random"}  # ranking of the generator
# An option of a checkpoint to the field of `ObjectGeneratorConfig` that it sets.
_GENERATOR_OPTIONS = ("sampler", "guidance", "physics", "through", "polish")


@dataclass(frozen=True)
class ToldText:
    """What a contestant is told of objects.

    Attributes:
        encoder: Folder of the text encoder.
        descriptions: JSON file of texts by object's name.
        digest: Of both: rows of one text are not those of another.
    """

    encoder: str
    descriptions: str
    digest: str

    def said(self) -> Descriptions:
        """The descriptions.

        Raises:
            TextError: The file is damaged.
        """
        return Descriptions(Path(self.descriptions))

    def embedding(self, name: str) -> NDArray[np.float32]:
        """What is said of an object, embedded (W,).

        Raises:
            TextError: Nothing is, the file is damaged, or the encoder cannot be loaded.
        """
        return _encoder(self.encoder).embed(self.said().of(name))


@dataclass(frozen=True)
class ObjectContestant:
    """One that is tested.

    Attributes:
        name: As tables call it.
        checkpoint: Folder of a checkpoint; empty: the dataset's own grasps.
        generator: How the checkpoint samples; None for the dataset's own grasps.
        of: Grasps that are drawn, the best of which are tested; 0: no more than are tested.
        squeeze: None: as the grasps have it; else by how much of the way from pregrasp to grasp the squeeze goes on
            behind the grasp, 1 as in BODex. Matters to `dexgraspbench`, whose drives are soft.
        digest: Of the checkpoint's files: rows of one are not those of another.
        text: What the checkpoint is told of objects; None: nothing.
    """

    name: str
    checkpoint: str = ""
    generator: ObjectGeneratorConfig | None = None
    of: int = 0
    squeeze: float | None = None
    digest: str = ""
    text: ToldText | None = None

    def settings(self) -> dict[str, Any]:
        """What decides its rows, wherever its files are."""
        entries = asdict(replace(self, checkpoint=""))
        text = entries.pop("text")
        return entries | ({"text": text["digest"]} if text else {})


@dataclass(frozen=True, eq=False)
class Proposal:
    """N grasps for one object.

    Attributes:
        object_T_palm: array (N, 4, 4).
        pregrasp: array (N, D) [rad or m].
        grasp: array (N, D) [rad or m].
        squeeze: array (N, D) [rad or m].
        milliseconds: That it took to make them; NaN: they were there.
    """

    object_T_palm: NDArray[np.float64]
    pregrasp: NDArray[np.float64]
    grasp: NDArray[np.float64]
    squeeze: NDArray[np.float64]
    milliseconds: float


def object_contestants(given: Sequence[str], hand: str) -> tuple[ObjectContestant, ...]:
    """The contestants that a command asks for.

    Args:
        given: Each `data` or `NAME=CHECKPOINT`, with options `:option=value` behind it: `squeeze=1`; and of a
            checkpoint `sampler=paper`, `guidance=0.5`, `physics=tuned`, `through=estimate`, `polish=10`, `scorer=off`,
            `of=128`: the best so many of 128 by the checkpoint's scorer, or by the physics terms where it has none; and
            `text=ENCODER` with `descriptions=FILE`, for one that was trained with text. None: `data`.
        hand: Its name.

    Raises:
        SettingsError: An unknown name, option or value, or two of one name.
        UnknownPhysicsError, UnknownSamplerError: There is no such preset.
        CheckpointError: A checkpoint is missing, damaged, of another kind or for another hand.
        TextError: The encoder cannot be loaded, or the descriptions are damaged.
    """
    found = [_contestant(one, hand) for one in given or (DATA,)]
    names = [one.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"{', '.join(twice)} would compete twice; name each once.")
    return tuple(found)


def propose(
    one: ObjectContestant, dataset: Dataset, asset: ObjectAsset, hand: HandModel, count: int, seed: int
) -> Proposal:
    """At most so many grasps of an object, the best first where the contestant can tell.

    Args:
        one: Who is asked.
        dataset: Where the object is from.
        asset: The object, of which a generator is shown points and normals of the whole surface.
        hand: The hand.
        count: How many.
        seed: Of every random choice.
    """
    milliseconds = float("nan")
    if one.generator is None:
        path = dataset.grasps_path(hand.name, asset.name)
        if not path.is_file():
            nothing = np.zeros((0, len(hand.joint_names)))
            return Proposal(np.zeros((0, 4, 4)), nothing, nothing, nothing, milliseconds)
        own = dataset.grasps(hand.name, asset.name)
        chosen = own[np.random.default_rng(seed).permutation(len(own))[:count]]
        poses = chosen.object_T_palm
        postures = chosen.pregrasp, chosen.grasp, chosen.squeeze
    else:
        generator = _generator(one, hand.name)
        text = one.text.embedding(asset.name) if one.text else None
        start = time.perf_counter()
        drawn = generator.sample(asset.points, asset.normals, max(count, one.of), seed, text)
        best = drawn[np.argsort(-drawn.score, kind="stable")[:count]]
        milliseconds = 1000.0 * (time.perf_counter() - start)
        poses = best.world_T_palm
        postures = best.pregrasp, best.grasp, best.squeeze
    pregrasp, grasp, squeeze = postures
    if one.squeeze is not None:
        squeeze = np.clip(grasp + one.squeeze * (grasp - pregrasp), hand.lower, hand.upper)
    return Proposal(poses, pregrasp, grasp, squeeze, milliseconds)


def about(competing: Sequence[ObjectContestant]) -> dict[str, Any]:
    """What the checkpoint of each contestant says of itself, by the contestant's name."""
    return {
        one.name: {
            "sha256": one.digest,
            **({"text": one.text.digest} if one.text else {}),
            **ObjectCheckpoint.load(Path(one.checkpoint)).about,
        }
        for one in competing
        if one.checkpoint
    }


def _contestant(given: str, hand: str) -> ObjectContestant:
    what, *parts = given.split(":")
    options = dict(part.partition("=")[::2] for part in parts)
    name, _, folder = what.partition("=")
    try:
        squeeze = float(options.pop("squeeze")) if "squeeze" in options else None
        encoder, descriptions = (options.pop(key, "") for key in _TEXT_OPTIONS)
        if not folder:
            if name != DATA or options or encoder or descriptions:
                raise SettingsError(
                    f"There is no contestant {given!r}. Contestants: {DATA}[:squeeze=NUMBER], "
                    f"NAME=CHECKPOINT[:option=value...] with {', '.join(_OPTIONS)}."
                )
            return ObjectContestant(given, squeeze=squeeze)
        config, of = _generator_config(given, options)
    except ValueError as error:
        raise SettingsError(f"An option of {given!r} has no such value ({error}).") from error
    path = Path(folder).expanduser().absolute()
    found = ObjectContestant(name, str(path), config, of, squeeze, digest_of(path) if path.is_dir() else "")
    generator = _generator(found, hand)  # whatever is wrong with it shows now
    if not (encoder or descriptions):
        return found
    width = generator.network.config.text_width
    if not (encoder and descriptions and width):
        raise SettingsError(
            f"{given!r}: text=ENCODER and descriptions=FILE go together, with a checkpoint that was trained with text."
        )
    return replace(found, text=_told_text(given, found, width, encoder, descriptions))


def _told_text(given: str, one: ObjectContestant, width: int, encoder: str, descriptions: str) -> ToldText:
    folder, file = (Path(path).expanduser().absolute() for path in (encoder, descriptions))
    loaded = _encoder(str(folder))
    trained = ObjectCheckpoint.load(Path(one.checkpoint)).about.get("settings", {}).get("text", {}).get("encoder")
    if loaded.width != width or trained not in (None, loaded.digest):
        raise SettingsError(f"{given!r}: the checkpoint was trained with another text encoder than {folder}.")
    text = ToldText(str(folder), str(file), f"{loaded.digest} {digest_of(file.parent, file.name)}")
    text.said()  # a damaged file shows now
    return text


_TEXT_OPTIONS = ("text", "descriptions")
_OPTIONS = (*_GENERATOR_OPTIONS, "scorer", "of", "squeeze", *_TEXT_OPTIONS)


def _generator_config(given: str, options: Mapping[str, str]) -> tuple[ObjectGeneratorConfig, int]:
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise SettingsError(f"{given!r} has no option {', '.join(unknown)}. Options: {', '.join(_OPTIONS)}.")
    defaults = ObjectGeneratorConfig()
    kinds = {item.name: type(getattr(defaults, item.name)) for item in fields(defaults)}
    changes: dict[str, Any] = {name: kinds[name](options[name]) for name in _GENERATOR_OPTIONS if name in options}
    scorer = options.get("scorer", "on")
    if scorer not in _SCORER or changes.get("through", _THROUGH[0]) not in _THROUGH:
        raise SettingsError(f"{given!r}: scorer is on or off, through is {' or '.join(_THROUGH)}.")
    config = replace(defaults, ranking=_SCORER[scorer], **changes)
    return config, int(options.get("of", "0"))


@lru_cache(maxsize=1)
def _encoder(folder: str) -> TextEncoder:
    return TextEncoder(Path(folder))


@lru_cache(maxsize=4)
def _generator(one: ObjectContestant, hand: str) -> ObjectGraspGenerator:
    """Kept; another digest is another network in the same folder."""
    loaded, checkpoint = load_hand(hand), ObjectCheckpoint.load(Path(one.checkpoint))
    return ObjectGraspGenerator(loaded, checkpoint.make(loaded), one.generator, checkpoint.success_model())
