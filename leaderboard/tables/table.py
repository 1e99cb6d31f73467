"""What a table is: columns, rows of entries, and how to choose among them. `leaderboard.tables.formats` writes it."""

from __future__ import annotations

import difflib
import fnmatch
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from leaderboard.analysis.statistics import Interval
from suite.errors import InputError

DASH = "–"


RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


@dataclass(frozen=True)
class TableCell:
    """One entry of a table: the value, its text for people, and whether it is among the best of its kind."""

    value: str | float | int | bool | Interval | None
    text: str
    best: bool = False

    @property
    def key(self) -> str | float:
        """What sorting and filtering look at: the estimate of an interval, a number, or the text."""
        value = self.value.value if isinstance(self.value, Interval) else self.value
        if isinstance(value, int | float):
            return float(value)
        return math.nan if value is None else value


@dataclass(frozen=True)
class Column:
    """`key` names the column for the command, in CSV and in JSON; `title` stands above it.

    `words`: its entries are words, not numbers. `data`: it is written to CSV and JSON, or if asked for by name.
    `short` is the title where the terminal is narrow.
    """

    key: str
    title: str
    words: bool = False
    data: bool = False
    short: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of entries, one for each column. The first `stub` columns name a row."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    stub: int = 1
    notes: tuple[str, ...] = field(default=())

    def position(self, key: str) -> int:
        """Where the column `key` stands; an unknown one raises InputError with the nearest name."""
        keys = [column.key for column in self.columns]
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(keys)}."
            raise InputError(f"The table has no column {key!r}: {hint}")
        return keys.index(key)

    def choose(self, keys: Sequence[str]) -> Table:
        """The columns `keys` alone, in that order."""
        places = [self.position(key) for key in keys]
        return replace(
            self,
            columns=tuple(replace(self.columns[place], data=False) for place in places),
            rows=tuple(tuple(row[place] for place in places) for row in self.rows),
            stub=max(1, sum(place < self.stub for place in places)),
        )

    def sort(self, key: str) -> Table:
        """Rows by the column `key`, from the highest with a leading minus; what is not known comes last."""
        place = self.position(key.removeprefix("-"))

        def known(row: tuple[TableCell, ...]) -> bool:
            value = row[place].key
            return isinstance(value, str) or not math.isnan(value)

        rows = sorted(filter(known, self.rows), key=lambda row: row[place].key, reverse=key.startswith("-"))
        return replace(self, rows=(*rows, *(row for row in self.rows if not known(row))))

    def filter(self, condition: str) -> Table:
        """The rows that meet `condition`: ``submission=ada*`` (a pattern), ``overall>=0.5`` (a number)."""
        match = re.fullmatch(r"\s*([^<>=]+?)\s*(>=|<=|>|<|=)\s*(.*?)\s*", condition)
        if match is None:
            raise InputError(f"The filter {condition!r} must look like submission=ada* or overall>=0.5.")
        place, relation, wanted = self.position(match[1]), match[2], match[3]
        if relation == "=":
            return replace(self, rows=tuple(row for row in self.rows if _matches(row[place], wanted)))
        try:
            number = float(wanted)
        except ValueError:
            raise InputError(f"The filter {condition!r} compares with {wanted!r}, which is not a number.") from None
        keys = [row[place].key for row in self.rows]
        kept = [not isinstance(key, str) and RELATIONS[relation](key, number) for key in keys]
        return replace(self, rows=tuple(row for row, keep in zip(self.rows, kept, strict=True) if keep))


def _matches(entry: TableCell, pattern: str) -> bool:
    return fnmatch.fnmatchcase(str(entry.value), pattern) or fnmatch.fnmatchcase(entry.text, pattern)


def text(value: str) -> TableCell:
    """An entry of words."""
    return TableCell(value, value)


def number(value: float | None, style: str = ".3g", unit: str = "", best: bool = False) -> TableCell:
    """An entry of a number without an interval."""
    if value is None or not math.isfinite(value):
        return TableCell(None, DASH)
    return TableCell(value, f"{value:{style}}{unit}", best)


def estimate(interval: Interval | None, best: bool = False, bounds: bool = True) -> TableCell:
    """An entry of an estimate: as many digits as its interval bears, with the interval in brackets if `bounds`."""
    if interval is None or math.isnan(interval.value):
        return TableCell(None, DASH)
    numbers = [interval.value, interval.low, interval.high]
    shown = digits(numbers if not math.isnan(interval.low) else numbers[:1])
    return TableCell(interval, f"{shown[0]} [{shown[1]}, {shown[2]}]" if bounds and len(shown) > 1 else shown[0], best)


def digits(numbers: Sequence[float], frugal: bool = False) -> list[str]:
    """An estimate (and its bounds) as text, with as many digits as half the interval bears; three without one.

    Half an interval is shown with one digit, or with two if the first is a 1 (0.013 is a third more than 0.01) and
    `frugal` does not forbid it. Very small and very large numbers are written with a power of ten.
    """
    value = numbers[0]
    half = (numbers[2] - numbers[1]) / 2 if len(numbers) > 1 else 0.0
    size = max(abs(number) for number in numbers)
    exponent = math.floor(math.log10(size)) if size else 0
    # Half an interval of nothing, or of more than the value itself, still leaves a digit to read.
    lead = float(f"{half if frugal else half / 2:.0e}")  # rounded first: half an interval of 0.0098 is one of 0.01
    last = math.floor(math.log10(lead)) if half > size * 1e-12 else exponent - 2
    last = min(last, math.floor(math.log10(abs(value))) if value else last)
    if -4 <= exponent < 5:
        return [f"{number:.{max(0, -last)}f}" for number in numbers]
    return [f"{number:.{max(0, exponent - last)}e}" if number else "0" for number in numbers]
