"""Files that are written whole or not at all, with the same bytes for the same content."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from dexgrasp_common.report import write_whole
from numpy.typing import NDArray

from dexgrasp_training.errors import DatasetError, SettingsError


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
    with _opened(path) as data:
        arrays = dict(data)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise _lacking(path, missing)
    return arrays


def read_array(path: Path, name: str) -> NDArray[Any]:
    """One array of an npz file; the others are not unpacked.

    Raises:
        DatasetError: The file is missing, damaged, or lacks the array.
    """
    with _opened(path) as data:
        if name not in data:
            raise _lacking(path, [name])
        array: NDArray[Any] = data[name]
    return array


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with np.load(path, allow_pickle=False) as data:
            yield data
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist; run the stage that makes it first.") from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DatasetError(f"{path} is damaged ({error}); delete it and run its stage again.") from error


def _lacking(path: Path, missing: list[str]) -> DatasetError:
    return DatasetError(f"{path} lacks {', '.join(missing)}: it was written by another version, or is another file.")


def remember(folder: Path, content: Mapping[str, Any]) -> None:
    """Keep with results, in their folder, what decides them, or see that it is the same as before.

    Raises:
        SettingsError: What is there is of something else.
        DatasetError: It cannot be read or written.
    """
    path = folder / "settings.json"
    if not path.is_file():
        write_json(path, content)
        return
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is damaged ({error}); delete {folder} to begin anew.") from error
    changed = [key for key, value in json.loads(json.dumps(content)).items() if before.get(key) != value]
    if changed:
        raise SettingsError(
            f"{folder} holds results of another {' and another '.join(changed)}. Ask for the same again, or delete "
            "that folder to begin anew."
        )


def digest_of(folder: Path, names: str = "*") -> str:
    """Sixteen hexadecimal digits that stand for the content of a folder's files of these names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.glob(names) if path.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is damaged ({error}); delete it and run the same command again.") from error
    return content


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys.

    Raises:
        DatasetError: The file cannot be written.
    """
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    write_file(path, lambda stream: stream.write(text.encode()))
