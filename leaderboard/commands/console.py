"""What every command shares: quantities with units, and tables that fit the terminal."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

if TYPE_CHECKING:
    from leaderboard.tables.table import Table

FILE_WIDTH = 150
"""Columns of a table that is written to a file or a pipe."""


class Quantity(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """A positive number with a unit, as the type of an option; messages show the `example`.

    `units` maps a unit in lower case to its size; values have the type of the sizes, int or float.
    """

    def __init__(self, name: str, units: Mapping[str, float], example: str) -> None:
        self.name, self.units, self.example = name, units, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number that a text such as ``90s`` says; fails with click's BadParameter."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", value.strip().lower())
        if match is None or match[2] not in self.units or not float(match[1]):
            units = ", ".join(self.units)
            self.fail(f"{value!r} is not a number with a unit, such as {self.example} (units: {units}).", param, ctx)
        unit = self.units[match[2]]
        return type(unit)(float(match[1]) * unit)


class FiniteRange(click.FloatRange):
    """A finite number in a range, as the type of an option: ``nan`` and ``inf`` are in every range of click's."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number that a text says; fails with click's BadParameter."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


SECONDS = Quantity("seconds", {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}, "90s or 8h")
BYTES = Quantity("bytes", {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}, "4GB")


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


def file_stem(name: str) -> str:
    """What a file of a submission or a task of this name is called, without its ending."""
    return re.sub(r"[^\w.-]+", "_", name)


def output() -> Console:
    """Standard output, where no text is markup; a file or a pipe has no width of its own, and cuts no lines."""
    console = Console(markup=False)
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(markup=False, width=FILE_WIDTH)


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table as wide as the terminal is."""
    from leaderboard.tables.formats import legend, terminal

    console = console or output()
    for part in terminal(table, console.width):
        console.print(part)
    for note in legend(table, console.width):
        console.print(note, style="dim", highlight=False)


def progress(description: str) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """Hands on the items of a list one by one, with a bar and an estimate where a terminal shows them."""
    from rich.progress import track

    return lambda items: track(items, description, console=Console(stderr=True), transient=True)
