"""From which postures a hand closes, as data: one file per hand in `preshape_data/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from dexgrasp_description import HandModel
from dexgrasp_planner.generators import GeneratorUnavailableError

_FOLDER = Path(__file__).with_name("preshape_data")


@dataclass(frozen=True)
class Preshapes:
    """The ways in which one hand closes.

    Attributes:
        names: One a preshape.
        start: array (S, D) [rad], before closing.
        end: array (S, D) [rad], closed on nothing.
        jitter: array (D,) [rad], standard deviation of the variation of both.
    """

    names: tuple[str, ...]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    jitter: NDArray[np.float64]


def load_preshapes(hand: HandModel) -> Preshapes:
    """Preshapes of the hand.

    Raises:
        GeneratorUnavailableError: There are none for this hand, or they do not fit its joints.
    """
    path = _FOLDER / f"{hand.name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in _FOLDER.glob("*.yaml")))
        raise GeneratorUnavailableError(f"No preshapes for hand {hand.name!r}. There are some for: {known}.")
    data = yaml.safe_load(path.read_text())
    start = np.array([shape["start"] for shape in data["preshapes"].values()], dtype=float)
    end = np.array([shape["end"] for shape in data["preshapes"].values()], dtype=float)
    jitter = np.array(data["jitter"], dtype=float)
    joints = len(hand.joint_names)
    if start.shape[1:] != (joints,) or end.shape != start.shape or jitter.shape != (joints,):
        raise GeneratorUnavailableError(f"Preshapes in {path.name} must have {joints} joints each, as {hand.name} has.")
    return Preshapes(tuple(data["preshapes"]), start, end, jitter)
