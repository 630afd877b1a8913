"""The root of every error that the suite raises on purpose."""

from __future__ import annotations

from typing import ClassVar


class DexgraspError(Exception):
    """An error with a message for the user: what is wrong and what would be right.

    Attributes:
        code: The `uint16 error_code` under which a node reports this error; each package's subclasses
            set theirs to the constants of its action or service.
    """

    code: ClassVar[int] = 0
