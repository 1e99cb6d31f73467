"""The versions of the board: of tasks, references, protocol and rules. No torch import here.

They are not those of the package: a release that makes no number another one keeps the board's version. docs/boards.md
says what each version changed, and docs/rules.md what changes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BOARD_VERSIONS = ("2026.0",)
"""All of them, the oldest first."""

BOARD_VERSION = BOARD_VERSIONS[-1]
"""Of the records that today's code makes."""


def board_version(record: Mapping[str, Any]) -> str:
    """The board that a record belongs to: the first one where it states none, since it is older than the field."""
    return str(record.get("board_version", BOARD_VERSIONS[0]))


def age(version: str) -> tuple[int, ...]:
    """What versions are sorted by, the newest last: 2026.10 comes after 2026.9."""
    return tuple(map(int, version.split(".")))
