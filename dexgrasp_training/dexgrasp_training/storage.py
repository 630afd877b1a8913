"""Files that are written whole or not at all, with the same bytes for the same content."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from dexgrasp_common.report import write_whole
from numpy.typing import NDArray

from dexgrasp_training.errors import DatasetError


def write_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it; missing folders are made.

    Raises:
        DatasetError: The disk is full or the place cannot be written; nothing is left behind.
    """
    try:
        write_whole(path, write)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = " Free some space and run the same command again: it goes on where it stopped." if full else ""
        raise DatasetError(f"{path} cannot be written: {error.strerror or error}.{remedy}") from error


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a compressed npz file; equal arrays give equal bytes.

    Raises:
        DatasetError: The file cannot be written.
    """
    write_file(path, lambda stream: np.savez_compressed(stream, **arrays))


def read_arrays(path: Path, names: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """All arrays of an npz file.

    Args:
        names: Arrays that must be there.

    Raises:
        DatasetError: The file is missing, damaged, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = dict(data)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist; run the stage that makes it first.") from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DatasetError(f"{path} is damaged ({error}); delete it and run its stage again.") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DatasetError(f"{path} lacks {', '.join(missing)}: it was written by another version, or is another file.")
    return arrays


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys.

    Raises:
        DatasetError: The file cannot be written.
    """
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    write_file(path, lambda stream: stream.write(text.encode()))
