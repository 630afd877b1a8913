"""One pattern for every swappable part: a name chosen by a parameter, imported only when asked for."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dexgrasp_common.errors import DexgraspError


class UnknownBackendError(DexgraspError):
    """The name is not one of the role's backends."""


class UnavailableBackendError(DexgraspError):
    """The backend exists, but something it needs is not installed."""


@dataclass(frozen=True)
class Backend:
    """One way to fill a role.

    Attributes:
        target: `module:attribute` of the factory, imported when the backend is created.
        requires: Importable modules that the backend needs beyond the suite's own dependencies; `$NAME` is an
            environment variable that must be set, for what runs outside this Python.
        install: What to type or do to get them.
        summary: One line for `dexgrasp doctor`.
    """

    target: str
    requires: tuple[str, ...] = ()
    install: str = ""
    summary: str = ""

    def missing(self) -> tuple[str, ...]:
        """Names of required modules and variables that cannot be found here."""
        return tuple(name for name in self.requires if not _present(name))


class Registry:
    """The backends of one role.

    Args:
        role: What the backends do, as it stands in error messages ("grasp generator").
        backends: Name to backend.
        default: Name used where the user chose none.
    """

    def __init__(self, role: str, backends: Mapping[str, Backend], default: str) -> None:
        if default not in backends:
            raise ValueError(f"Default {default!r} of role {role!r} is not among {sorted(backends)}.")
        self.role = role
        self.default = default
        self._backends = dict(backends)

    def __iter__(self) -> Iterator[tuple[str, Backend]]:
        return iter(self._backends.items())

    def get(self, name: str = "") -> Backend:
        """The backend of that name; the default where the name is empty.

        Raises:
            UnknownBackendError: There is no such backend.
        """
        try:
            return self._backends[name or self.default]
        except KeyError:
            valid = ", ".join(sorted(self._backends))
            raise UnknownBackendError(f"Unknown {self.role} {name!r}. Valid names: {valid}.") from None

    def create(self, name: str = "", *args: Any, **kwargs: Any) -> Any:
        """Import the backend and call its factory with the remaining arguments.

        Raises:
            UnknownBackendError: There is no such backend.
            UnavailableBackendError: A module it needs is missing.
        """
        return self.load(name)(*args, **kwargs)

    def load(self, name: str = "") -> Any:
        """Import the backend and return its factory.

        Raises:
            UnknownBackendError: There is no such backend.
            UnavailableBackendError: A module it needs is missing.
        """
        backend = self.get(name)
        missing = backend.missing()
        if missing:
            raise UnavailableBackendError(
                f"The {self.role} {name or self.default!r} needs {', '.join(missing)}, which is not here. "
                f"To get it: {backend.install}"
            )
        module, attribute = backend.target.split(":")
        return getattr(importlib.import_module(module), attribute)


def _present(name: str) -> bool:
    if name.startswith("$"):
        return bool(os.environ.get(name[1:]))
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
