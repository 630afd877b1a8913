"""Settings: presets load, and what is misspelt is refused before any work is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.settings import PRESETS, Settings, from_dict, load_settings, seed_of


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_every_preset_loads_and_survives_the_manifest(preset: str) -> None:
    settings = load_settings(preset)
    assert from_dict(settings.as_dict()) == settings


def test_single_settings_can_be_changed() -> None:
    settings = load_settings("tiny", ["grasps.valid=7", "views.noise=1", "grasps.shares.closing=0"])
    assert (settings.grasps.valid, settings.views.noise, settings.grasps.shares["closing"]) == (7, 1.0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("grasps.vaild=7", "unknown key vaild.*Keys:.*valid"),
        ("grasps.valid=many", "of the kind of"),
        ("grasps.valid=-1", "must not be negative"),
        ("objects.test_share=2", "between 0 and 1"),
        ("views.count=true", "of the kind of"),
        ("views=3", "must be a mapping"),
        ("grasps.valid", "key=value"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings("tiny", [change])


def test_an_unknown_preset_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="starter, tiny"):
        load_settings("huge")
    (tmp_path / "bad.yaml").write_text("{")
    with pytest.raises(SettingsError, match="not YAML"):
        load_settings(tmp_path / "bad.yaml")


def test_seeds_depend_on_every_part_and_on_nothing_else() -> None:
    assert seed_of(0, "mug", "closing", 1) == seed_of(0, "mug", "closing", 1)
    assert len({seed_of(s, o, m, c) for s in (0, 1) for o in ("mug", "can") for m in "ab" for c in range(5)}) == 40


def test_defaults_are_a_dataset() -> None:
    assert sum(Settings().grasps.shares.values()) == pytest.approx(1.0)
