"""Who competes: generators by name, and checkpoints under each ranking, which share the grasps that they rank."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from dexgrasp_planner.checkpoints import Checkpoint
from dexgrasp_planner.finishing import CLOSED, FINISHES, PRESSED, SAMPLED
from dexgrasp_planner.generators import GRASP_GENERATORS, GenerateError, GraspGenerator, SceneCloud
from dexgrasp_planner.guidance import GUIDANCES, REFINE, UNGUIDED
from dexgrasp_planner.learned import (
    BOTH,
    JUDGED,
    MIXED,
    RANKINGS,
    SUCCESS,
    LearnedConfig,
    LearnedGenerator,
    Sampled,
)
from dexgrasp_planner.network.flow_sampling import FLOW_PRESETS

from dexgrasp_description import GraspSet, load_hand
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.storage import digest_of

HEURISTIC = "heuristic"  # what the others are compared with
_ALL = (
    *(ranking for ranking in RANKINGS if ranking != MIXED),
    *(f"{ranking}+{done}" for ranking in (BOTH, SUCCESS) for done in (CLOSED, *GUIDANCES[1:])),
    f"{MIXED}+{REFINE}",
    *(f"{ranking}+{REFINE}+{PRESSED}" for ranking in JUDGED),
)
SAMPLERS = tuple(FLOW_PRESETS)


@dataclass(frozen=True)
class Contestant:
    """One that is tested.

    Attributes:
        name: As tables call it.
        generator: Name in `GRASP_GENERATORS`; empty: a checkpoint.
        checkpoint: Its folder.
        ranking: What its grasps are ranked by.
        finish: What the hand does at them.
        guidance: When physics moves the best of them.
        sampler: How they are sampled.
        digest: Of the checkpoint's files: rows of one are not those of another.
    """

    name: str
    generator: str = ""
    checkpoint: str = ""
    ranking: str = ""
    finish: str = ""
    guidance: str = ""
    sampler: str = ""
    digest: str = ""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a contestant proposes for one view.

    Attributes:
        grasps: Best first; none where there is an error.
        candidates: How many were proposed before the filter.
        milliseconds: Of one generation. Rankings of the same samples count the sampling and the filter that they share.
        error: Why there are no grasps; None otherwise.
    """

    grasps: GraspSet
    candidates: int
    milliseconds: float
    error: GenerateError | None = None


def contestants(
    names: Sequence[str], checkpoints: Sequence[str], hand: str, sampler: str, *, compare_samplers: bool = False
) -> tuple[Contestant, ...]:
    """The contestants that a command asks for.

    Args:
        names: Generators, and rankings of every checkpoint, plain or with a guidance, a finish or both behind them:
            `success+refine+pressed`. Without a finish guided grasps are closed, others stay as sampled. None:
            `heuristic`, and with a checkpoint all that it can do.
        checkpoints: Folders, each as `FOLDER` or `NAME=FOLDER`; names are shown where there are several.
        hand: Its name.
        sampler: One of `SAMPLERS`.
        compare_samplers: Add `both` under every other sampler.

    Raises:
        SettingsError: An unknown or superfluous name, or no checkpoint where one is needed.
        CheckpointError: A checkpoint is missing, damaged or for another hand.
    """
    generators = [name for name, _ in GRASP_GENERATORS]
    if sampler not in SAMPLERS:
        raise SettingsError(f"There is no sampler {sampler!r}. Samplers: {', '.join(SAMPLERS)}.")
    if compare_samplers and not checkpoints:
        raise SettingsError("Samplers are compared on a checkpoint; give one: --checkpoint FOLDER.")
    folders = _named(checkpoints)
    digests = {folder: _digest(Path(folder), hand) for folder in folders.values()}
    tells = {folder: Checkpoint.load(Path(folder)).success_model() is not None for folder in folders.values()}
    found: list[Contestant] = []
    for name in names or (HEURISTIC, *(_ALL if checkpoints else ())):
        if name in generators:
            found.append(Contestant(name, generator=name))
            continue
        ranking, guidance, finish = _parts(name)
        if ranking not in RANKINGS:
            raise SettingsError(f"There is no contestant {name!r}. Contestants: {', '.join([*generators, *_ALL])}.")
        if not checkpoints:
            raise SettingsError(f"{name!r} ranks what a network samples; give one: --checkpoint FOLDER.")
        for prefix, folder in folders.items():
            if ranking not in JUDGED or tells[folder]:
                found.append(Contestant(prefix + name, "", folder, ranking, finish, guidance, sampler))
            elif names:
                raise SettingsError(f"{folder} cannot tell the chance of a lift; let it learn: dexgrasp-train score.")
    if compare_samplers:
        for prefix, folder in folders.items():
            for preset in SAMPLERS:
                one = Contestant(f"{prefix}{BOTH} ({preset})", "", folder, BOTH, SAMPLED, UNGUIDED, preset)
                if all(replace(other, name=one.name) != one for other in found):
                    found.append(one)
    twice = {one.name for one in found if sum(other.name == one.name for other in found) > 1}
    if twice:
        raise SettingsError(f"{', '.join(sorted(twice))} would compete twice; name each once.")
    return tuple(replace(one, digest=digests[one.checkpoint]) if one.checkpoint else one for one in found)


def ask(
    competing: Sequence[Contestant], hand: str, cloud: SceneCloud, top: int, seed: int
) -> tuple[dict[str, Answer], dict[tuple[str, str], Sampled]]:
    """What each proposes for a view, by its name; and what was sampled, by checkpoint and sampler.

    Args:
        competing: The same cloud and seed for all.
        top: Grasps of each, at most.
        seed: Of every random choice.
    """
    answers: dict[str, Answer] = {}
    sampled: dict[tuple[str, str], Sampled] = {}
    for one in competing:
        if one.generator:
            answers[one.name] = _timed(_generator(one.generator, hand), hand, cloud, top, seed)
    for key in dict.fromkeys((one.checkpoint, one.sampler) for one in competing if not one.generator):
        same = [one for one in competing if (one.checkpoint, one.sampler) == key]
        generator, start = learned(key[0], hand, same[0].digest), time.perf_counter()
        try:
            sampled[key] = found = generator.sample(cloud, seed, key[1])
        except GenerateError as error:
            answers.update({one.name: Answer(_nothing(hand), 0, _since(start), error) for one in same})
            continue
        sampling, filters = _since(start), dict[int, float]()
        for one in same:
            grasps, missing, start = _nothing(hand), None, time.perf_counter()
            filtering = 0.0
            try:
                executable = generator.executable(found, one.finish)
                filtering = filters.setdefault(id(executable), _since(start))
                start = time.perf_counter()
                grasps = generator.rank(found, top, one.ranking, one.finish, one.guidance)
            except GenerateError as error:
                missing = error
            answers[one.name] = Answer(grasps, found.drawn, sampling + filtering + _since(start), missing)
    return {one.name: answers[one.name] for one in competing}, sampled


def about(competing: Sequence[Contestant]) -> dict[str, Any]:
    """What each checkpoint says of itself, by its name."""
    folders: Mapping[str, str] = {one.checkpoint: one.digest for one in competing if one.checkpoint}
    return {
        checkpoint_name(folder): {"sha256": digest, **Checkpoint.load(Path(folder)).about}
        for folder, digest in folders.items()
    }


def unguided(one: Contestant, competing: Sequence[Contestant]) -> Contestant | None:
    """The one that differs from a guided contestant by its guidance alone; None if it does not compete."""
    plain = replace(one, guidance=UNGUIDED)
    return next((other for other in competing if other != one and replace(other, name=one.name) == plain), None)


def checkpoint_name(folder: str) -> str:
    """Of a checkpoint where none is given: that of its folder, or of the run's folder that holds it."""
    path = Path(folder)
    return path.parent.name if path.name == "checkpoint" else path.name


def _parts(name: str) -> tuple[str, str, str]:
    """Ranking, guidance and finish that a contestant's name means; no ranking if it means nothing."""
    ranking, *rest = name.split("+")
    guidance = rest.pop(0) if rest and rest[0] in GUIDANCES[1:] else UNGUIDED
    finish = rest.pop(0) if rest and rest[0] in FINISHES else SAMPLED if guidance == UNGUIDED else CLOSED
    return ("" if rest else ranking), guidance, finish


def _named(checkpoints: Sequence[str]) -> dict[str, str]:
    """Prefix of the names, and folder, of each checkpoint."""
    folders: dict[str, str] = {}
    for given in checkpoints:
        name, _, folder = given.rpartition("=")
        path = Path(folder).expanduser().absolute()
        name = name or checkpoint_name(str(path))
        prefix = f"{name}/" if len(checkpoints) > 1 else ""
        if prefix in folders:
            raise SettingsError(f"Two checkpoints would be named {name!r}; say NAME=FOLDER.")
        folders[prefix] = str(path)
    return folders


def _digest(folder: Path, hand: str) -> str:
    Checkpoint.load(folder).make(load_hand(hand))
    return digest_of(folder)


@lru_cache(maxsize=8)
def _generator(name: str, hand: str) -> GraspGenerator:
    made: GraspGenerator = GRASP_GENERATORS.create(name, load_hand(hand))
    return made


@lru_cache(maxsize=8)
def learned(checkpoint: str, hand: str, digest: str) -> LearnedGenerator:
    """The generator of a checkpoint, kept; another digest is another network in the same folder."""
    loaded, read = load_hand(hand), Checkpoint.load(Path(checkpoint))
    return LearnedGenerator(loaded, read.make(loaded), LearnedConfig(), read.success_model())


def _timed(generator: GraspGenerator, hand: str, cloud: SceneCloud, top: int, seed: int) -> Answer:
    start = time.perf_counter()
    try:
        generation = generator.generate(cloud, top, seed)
    except GenerateError as error:
        return Answer(_nothing(hand), 0, _since(start), error)
    return Answer(generation.grasps, generation.candidates, _since(start))


def _nothing(hand: str) -> GraspSet:
    return GraspSet.empty(hand, len(load_hand(hand).joint_names))


def _since(start: float) -> float:
    return 1e3 * (time.perf_counter() - start)
