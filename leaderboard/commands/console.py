"""What every command shares: errors that a user understands, and tables that fit the terminal."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

import leaderboard
import suite
from suite.errors import InputError

if TYPE_CHECKING:
    from leaderboard.tables.table import Table


SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


BYTES = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}


def _quantity(text: str, units: Mapping[str, float], example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if match is None or match[2] not in units or not float(match[1]):
        raise click.BadParameter(
            f"{text!r} is not a number with a unit, such as {example} (units: {', '.join(units)})."
        )
    return float(match[1]) * units[match[2]]


def seconds(text: str) -> float:
    """The seconds that a text such as ``90s``, ``30m`` or ``8h`` says. An option's `type`."""
    return _quantity(text, SECONDS, "90s or 8h")


def size(text: str) -> int:
    """The bytes that a text such as ``500MB`` or ``4GB`` says. An option's `type`."""
    return int(_quantity(text, BYTES, "4GB"))


def duration(seconds: float) -> str:
    """`seconds` for people: ``40 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


FILE_WIDTH = 150
"""Columns of a table that is written to a file or a pipe."""


def _check_modules() -> None:
    """PyPI has unrelated packages that install modules named `leaderboard` and `suite`: name the culprit."""
    here = Path(__file__).resolve().parents[2]
    for module in (leaderboard, suite):
        found = Path(module.__file__ or "").resolve().parent.parent
        if found != here:
            raise InputError(
                f"The module {module.__name__!r} comes from {found}, not from Lowlands: uninstall the other package "
                f"or use a fresh virtual environment."
            )


def clear_errors(command: Callable[..., None]) -> Callable[..., None]:
    """One clear sentence and exit status 2 for everything that the user can mend."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            _check_modules()
            command(*args, **kwargs)
        except InputError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    return guarded


def output() -> Console:
    """Standard output; a file or a pipe has no width of its own, and lines must not be cut there."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=FILE_WIDTH)


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal is."""
    from leaderboard.tables.formats import terminal

    out = output()
    for part in terminal(table, out.width):
        out.print(part)
    for note in table.notes:
        out.print(note, style="dim", highlight=False)


def progress(description: str) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """Hands on the items of a list one by one, with a bar and an estimate where a terminal shows them."""
    from rich.progress import track

    return lambda items: track(items, description, console=Console(stderr=True), transient=True)
