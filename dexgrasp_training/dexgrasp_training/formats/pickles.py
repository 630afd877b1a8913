"""Pickled arrays from strangers: only numbers, containers, NumPy arrays and torch tensors are ever built.

A pickle names the functions that rebuild its content. Here each name is looked up in a list; one that is not in it is
refused before anything runs.
"""

from __future__ import annotations

import builtins
import collections
import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray, numeric

from dexgrasp_training.errors import FormatError

_BUILTINS = (
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "set",
    "str",
    "tuple",
)
_DAMAGED = (ValueError, EOFError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, OSError)
_STORAGES = ("Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")


def _tensor_bytes(content: bytes) -> Any:
    """What torch keeps a tensor's numbers in: a file of its own, read as strictly."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _RefusedError(_asked(error) or "what torch does not load") from error


def _asked(error: Exception) -> str:
    """The name that torch refused; empty where that was not the error."""
    found = re.search(r"[Uu]nsupported (?:global: )?GLOBAL (\S+)", str(error))
    return found[1] if found else ""


def _allowed() -> dict[tuple[str, str], Callable[..., Any]]:
    names: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): _latin1,  # how protocol 2 writes bytes
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        ("torch.storage", "_load_from_bytes"): _tensor_bytes,
    }
    for name in _BUILTINS:
        names["builtins", name] = names["__builtin__", name] = getattr(builtins, name)
    for package in ("numpy.core", "numpy._core"):
        names[f"{package}.multiarray", "_reconstruct"] = multiarray._reconstruct
        names[f"{package}.multiarray", "scalar"] = multiarray.scalar
        names[f"{package}.numeric", "_frombuffer"] = numeric._frombuffer  # type: ignore[attr-defined]
    for name in _STORAGES:
        names["torch", f"{name}Storage"] = getattr(torch, f"{name}Storage")
    return names


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


_ALLOWED = _allowed()


class _RefusedError(pickle.UnpicklingError):
    """A pickle that asks for something that is not in the list."""


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None


def read_pickle(path: Path) -> Any:
    """Content of a pickle of plain data.

    Raises:
        FormatError: The file is missing or damaged, or asks for anything but numbers, containers, arrays and tensors.
    """
    return _unpickled(_content(path), path)


def read_pickled_array(path: Path, name: str = "arr_0") -> Any:
    """The Python object that NumPy pickled into an array of objects of an npz file (`np.savez(path, {...})`).

    Raises:
        FormatError: As `read_pickle`; or there is no such array.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(_content(path))) as archive:
            stream = io.BytesIO(archive.read(f"{name}.npy"))
    except (KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(
            f"{path} is damaged or holds no array {name!r} ({error}). Unpack the archive that it came in again."
        ) from error
    return _pickled_object(stream, path, name)


def _pickled_object(stream: io.BytesIO, path: Path, name: str) -> Any:
    """The object in NumPy's format of arrays of objects."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            _, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            _, _, dtype = np.lib.format.read_array_header_2_0(stream)
    except (ValueError, EOFError) as error:
        raise FormatError(f"{path} is damaged ({error}). Unpack the archive that it came in again.") from error
    if dtype != np.dtype(object):
        raise FormatError(f"{path}: {name} holds {dtype}; a pickled dict is expected.")
    objects = _unpickled(stream.read(), path)
    return objects.item() if isinstance(objects, np.ndarray) and objects.size == 1 else objects


def read_pickled_dict(path: Path) -> dict[str, Any]:
    """The dict that NumPy pickled into an `.npy` file (`np.save(path, {...})`).

    Raises:
        FormatError: As `read_pickle`; or it holds something else.
    """
    content = _pickled_object(io.BytesIO(_content(path)), path, path.name)
    if not isinstance(content, dict):
        raise FormatError(f"{path} must hold a dict; it holds a {type(content).__name__}.")
    return content


def read_torch(path: Path) -> Any:
    """Content of a file that `torch.save` wrote, with tensors on the CPU.

    Raises:
        FormatError: As `read_pickle`.
    """
    try:
        with torch.serialization.safe_globals(_numpy_names()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist.") from error
    except (pickle.UnpicklingError, *_DAMAGED) as error:
        asked = _asked(error)
        if asked:
            raise FormatError(f"{path} is refused: {_refusal(asked)}") from error
        reason = str(error).split(". ", 1)[0]
        raise FormatError(f"{path} is damaged or was not written by torch.save ({reason}). Fetch it again.") from error


def _numpy_names() -> list[Any]:
    """What NumPy scalars and arrays need within a torch file, under the names of NumPy 1 and 2."""
    functions = [multiarray._reconstruct, multiarray.scalar]
    names: list[Any] = [np.ndarray, np.dtype, *functions]
    names += [(function, f"numpy.core.multiarray.{function.__name__}") for function in functions]
    names += [getattr(np.dtypes, kind) for kind in np.dtypes.__all__ if kind.endswith("DType")]
    return names


def _unpickled(content: bytes, path: Path) -> Any:
    try:
        return _DataUnpickler(io.BytesIO(content)).load()
    except _RefusedError as error:
        raise FormatError(f"{path} is refused: {_refusal(str(error))}") from error
    except (pickle.UnpicklingError, *_DAMAGED) as error:
        raise FormatError(f"{path} is damaged or no pickle ({error}). Fetch it again.") from error


def _refusal(name: str) -> str:
    return (
        f"it asks for {name}. Pickles can run code, so only numbers, containers, NumPy arrays and torch tensors are "
        "read from them. If you trust the file, load it elsewhere and save its arrays alone."
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path} cannot be read ({error.strerror}).") from error
