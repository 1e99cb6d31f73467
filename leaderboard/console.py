"""What every command shares: errors that a user understands, and tables that fit the terminal."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

import leaderboard
import suite
from suite.errors import InputError

if TYPE_CHECKING:
    from leaderboard.tables import Table

FILE_WIDTH = 150
"""Columns of a table that is written to a file or a pipe."""


def _check_modules() -> None:
    """PyPI has unrelated packages that install modules named `leaderboard` and `suite`: name the culprit."""
    here = Path(__file__).resolve().parent.parent
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
    from leaderboard.formats import terminal

    out = output()
    for part in terminal(table, out.width):
        out.print(part)
    for note in table.notes:
        out.print(note, style="dim", highlight=False)


def progress(description: str) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """Hands on the items of a list one by one, with a bar and an estimate where a terminal shows them."""
    from rich.progress import track

    return lambda items: track(items, description, console=Console(stderr=True), transient=True)
