"""Tasks for the test of how work is spread."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from dexgrasp_training.errors import DatasetError, MeshError
from dexgrasp_training.storage import write_arrays


def square(folder: str, number: int) -> dict[str, Any]:
    """Writes its number's square; refuses thirteen, stumbles at fourteen."""
    if number == 13:
        raise MeshError("thirteen is no mesh")
    if number == 14:
        raise ZeroDivisionError("a library stumbles")
    write_arrays(Path(folder) / f"{number}.npz", {"square": np.array(number * number)})
    return {"square": number * number}


def no_disk(number: int) -> dict[str, Any]:
    """As on a full disk."""
    raise DatasetError("the disk is full")


def die(number: int) -> dict[str, Any]:
    """As when the system kills a process for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}
