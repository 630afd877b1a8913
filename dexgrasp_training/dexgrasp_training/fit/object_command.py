"""`dexgrasp-train fit-objects`: settings, and what is taught."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from dexgrasp_common.parameters import param
from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint
from dexgrasp_planner.object_level.object_network import NETWORK_PRESETS
from dexgrasp_planner.object_level.text_token import Descriptions, Endpoint, TextEncoder
from rich.console import Console

from dexgrasp_description import load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.fit.command import chosen_device, teach
from dexgrasp_training.fit.fitting import Fit
from dexgrasp_training.fit.object_lesson import ObjectFitConfig, ObjectLesson, ObjectNetworkSettings, PhysicsSettings
from dexgrasp_training.fit.object_samples import ObjectSampleConfig, ObjectSamples, Texts
from dexgrasp_training.fit.processes import Processes
from dexgrasp_training.settings import PRESETS, build, read_preset, with_changes

OBJECT_FIT_PRESETS = PRESETS / "fit_objects"


@dataclass(frozen=True)
class TextSettings:
    """What is said of objects; without an encoder the network is told nothing."""

    encoder: str = param("", "folder of a text encoder of the library transformers; empty: no text")
    descriptions: str = param("descriptions.json", "JSON file of texts by object's name; what is asked is added to it")
    endpoint: Endpoint = Endpoint()

    def embed(self, names: Sequence[str], processes: Processes, console: Console) -> Texts | None:
        """What is said of objects, embedded; None without an encoder, or objects.

        Of several processes the first alone asks for what the file lacks, and the others read it from the file then:
        a language model asked twice says two things.

        Raises:
            TextError: The encoder cannot be loaded, or nothing is known of an object and nobody answers.
        """
        if not (self.encoder and names):
            return None
        encoder, path = TextEncoder(Path(self.encoder).expanduser()), Path(self.descriptions)
        if not processes.writes:
            processes.wait()
        said = Descriptions(path, self.endpoint if processes.writes else None)
        with console.status(f"Descriptions of {len(names)} objects") if processes.writes else nullcontext():
            texts = {name: said.of(name) for name in names}
            if processes.writes:
                processes.wait()
            embeddings = {name: encoder.embed(text) for name, text in texts.items()}
        digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:16]
        return Texts(embeddings, {"encoder": encoder.digest, "descriptions": digest})


@dataclass(frozen=True)
class ObjectFitSettings:
    """Everything that decides what a training run makes of a dataset's grasps of single objects."""

    hand: str = "shadow_right"
    network: ObjectNetworkSettings = ObjectNetworkSettings()
    samples: ObjectSampleConfig = ObjectSampleConfig()
    physics: PhysicsSettings = PhysicsSettings()
    text: TextSettings = TextSettings()
    fit: ObjectFitConfig = ObjectFitConfig()


def load_object_fit_settings(name: str | Path, changes: Sequence[str] = ()) -> ObjectFitSettings:
    """A training preset by name, or a YAML file by path.

    Args:
        name: `small`, `paper`, or a path.
        changes: `key=value` pairs that replace single settings: `physics.preset=paper`.

    Raises:
        SettingsError: No such preset or file, an unknown key, or a value of the wrong kind.
    """
    content = read_preset(name, OBJECT_FIT_PRESETS, "training preset")
    settings: ObjectFitSettings = build(ObjectFitSettings, with_changes(content, changes), "settings")
    return settings


def fit_objects(
    dataset: Dataset, folder: Path, settings: ObjectFitSettings, device: str, start: Path | None, console: Console
) -> Path:
    """Train an object-level network, or go on with it; returns the folder of its checkpoint.

    Args:
        device: `cpu`, `cuda`, or empty for the best there is.
        start: Folder of the checkpoint whose weights a new run begins with; None: random ones.

    Raises:
        SettingsError: Another device than there is, no such network, or settings of another run.
        DatasetError: There is nothing to learn from, or the run's state is damaged.
        CheckpointError: The checkpoint to begin with cannot be read, or is for another hand.
        UnknownLayoutError, UnknownPhysicsError: There is no such name.
        TextError: Objects are to be described, and cannot be.
    """
    first = ObjectCheckpoint.load(start) if start else None
    chosen, config = chosen_device(device), settings.fit
    processes = Processes.join(chosen)
    preset = settings.network.preset
    if preset not in NETWORK_PRESETS:
        raise SettingsError(f"network.preset must be one of {', '.join(NETWORK_PRESETS)}; got {preset!r}.")
    encoder = NETWORK_PRESETS[preset][0]
    named = [name for name in dataset.objects() if dataset.grasps_path(settings.hand, name).is_file()]
    texts = settings.text.embed(named, processes, console)
    train, test = (
        ObjectSamples(dataset, settings.hand, split, config.seed, encoder, settings.samples, texts)
        for split in ("train", "test")
    )
    lesson = ObjectLesson(load_hand(settings.hand), train, test, settings.network, settings.physics, config)
    return teach(Fit(folder, lesson, config, chosen, first, processes), folder, lesson, config, console)
