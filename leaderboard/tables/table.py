"""What a table is: columns, rows of cells, and how to choose among them. `leaderboard.tables.formats` writes it."""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from leaderboard.analysis.statistics import Interval
from suite.errors import InputError, unknown

DASH = "–"
"""Stands for what is not there."""

DAGGER = "†"
"""Marks a submission that regularizes on purpose."""

EXPLICIT = f"{DAGGER} regularizes on purpose."

RETROSPECTIVE = (
    "‡ Written when its records were there already: the claim is older, but measure and form of the comparison could "
    "have been chosen by the outcome."
)

IN_BRACKETS, AFTER, EITHER = "in brackets", "after ±", "in brackets (or after ±)"
"""Where intervals stand: in wide tables, in narrow ones, and in a note that does not know which."""

ARROWS = {True: "↑", False: "↓", None: ""}
"""Whether higher values of a measure are better -> the mark that says so."""

RENAMED = {"stop": "target", "lanes": "runs", "null": "score_0", "ideal": "score_1", "shown": "reported"}
"""Former names of columns, and of the axis of what is reported, which commands still take."""

RELATIONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class TableCell:
    """One entry of a table.

    Attributes:
        value: what programs get; None where there is nothing.
        label: the value as people read it.
        best: whether it is among the best of its kind.
        detail: what follows the label in brackets, such as the bounds of an interval.
        explicit: whether it names a submission that regularizes on purpose.
    """

    value: str | float | int | bool | Interval | None
    label: str
    best: bool = False
    detail: str = ""
    explicit: bool = False

    @property
    def text(self) -> str:
        """All that people read, on one line."""
        return " ".join(filter(None, (self.label, DAGGER if self.explicit else "", self.detail)))

    @property
    def key(self) -> str | float:
        """What sorting and filtering look at: the estimate of an interval, a number, or words; NaN for nothing."""
        value = self.value.value if isinstance(self.value, Interval) else self.value
        if isinstance(value, int | float):
            return float(value)
        return math.nan if value is None else value


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: names it for the command, in CSV and in JSON.
        title: stands above it.
        words: its cells are words, not numbers.
        data: it is written to CSV and JSON only, or if asked for by name.
        short: the title where the terminal is narrow.
    """

    key: str
    title: str
    words: bool = False
    data: bool = False
    short: str = ""


def columns(*keys: str, words: bool = False) -> tuple[Column, ...]:
    """Columns whose keys are their titles."""
    return tuple(Column(key, key, words) for key in keys)


@dataclass(frozen=True)
class Table:
    """Rows of cells, one for each column. The first `stub` columns name a row."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    stub: int = 1
    notes: tuple[str, ...] = ()

    def position(self, key: str) -> int:
        """Where the column `key` stands; InputError with the nearest name if there is none."""
        keys = [column.key for column in self.columns]
        for name in (key, RENAMED.get(key)):
            if name in keys:
                return keys.index(name)
        raise unknown("column", key, keys)

    def choose(self, keys: Sequence[str]) -> Table:
        """The columns `keys` alone, in that order; all of them for people too."""
        table = self.at([self.position(key) for key in keys])
        return replace(table, columns=tuple(replace(column, data=False) for column in table.columns))

    def for_people(self) -> Table:
        """The table without the columns that are for programs."""
        return self.at([place for place, column in enumerate(self.columns) if not column.data])

    def at(self, places: Sequence[int]) -> Table:
        """The columns at `places` alone, in that order."""
        columns = tuple(self.columns[place] for place in places)
        rows = tuple(tuple(row[place] for place in places) for row in self.rows)
        return replace(self, columns=columns, rows=rows, stub=max(1, sum(place < self.stub for place in places)))

    def sort(self, key: str) -> Table:
        """Rows by the column `key`, from the highest with a leading minus; what is missing comes last."""
        falling = key.startswith("-") and key not in [column.key for column in self.columns]
        place = self.position(key[1:] if falling else key)

        def missing(row: tuple[TableCell, ...]) -> bool:
            value = row[place].key
            return not isinstance(value, str) and math.isnan(value)

        rows = [row for row in self.rows if not missing(row)]
        rows.sort(key=lambda row: row[place].key, reverse=falling)
        return replace(self, rows=(*rows, *filter(missing, self.rows)))

    def filter(self, condition: str) -> Table:
        """The rows that meet `condition`: ``submission=ada*`` (a pattern), ``overall>=0.5`` (a number).

        In a pattern ``*`` stands for any text and ``?`` for a letter. Brackets stand for themselves, since names have
        them; where no row has such a text, they stand for one of the letters in them.

        Raises:
            InputError: the condition has another form, or there is no such column.
        """
        place, relation, operand = self._parsed(condition)
        if relation in ("=", "=="):
            for pattern in (operand.replace("[", "[[]"), operand):
                if rows := tuple(row for row in self.rows if _is_like(row[place], pattern)):
                    break
            return replace(self, rows=rows)
        try:
            number = float(operand)
        except ValueError:
            raise InputError(f"The filter {condition!r} compares with {operand!r}, which is not a number.") from None
        keys = [row[place].key for row in self.rows]
        meets = [not isinstance(key, str) and RELATIONS[relation](key, number) for key in keys]
        return replace(self, rows=tuple(itertools.compress(self.rows, meets)))

    def _parsed(self, condition: str) -> tuple[int, str, str]:
        """The column, the relation and the operand of a condition; names of columns may hold relations themselves."""
        relations = r"\s*(==|>=|<=|>|<|=)\s*(.*?)\s*"
        keys = sorted((column.key for column in self.columns), key=len, reverse=True)
        for key in [*map(re.escape, keys), "[^<>=]+?"]:
            if match := re.fullmatch(rf"\s*({key}){relations}", condition, re.DOTALL):
                return self.position(match[1]), match[2], match[3]
        raise InputError(f"The filter {condition!r} must look like submission=ada* or overall>=0.5.")


def _is_like(cell: TableCell, operand: str) -> bool:
    """Whether the cell is what `operand` says: its number, or its words, of which `operand` may be a pattern."""
    if isinstance(cell.value, bool):
        return operand.lower() == str(cell.value).lower()
    if isinstance(cell.value, int | float):
        with contextlib.suppress(ValueError):
            return float(operand) == cell.value
    patterns = {operand, RENAMED.get(operand, operand)}
    pattern = re.compile("|".join(map(fnmatch.translate, patterns)))
    return any(map(pattern.match, (str(cell.value), cell.label, cell.text)))


def text(value: str) -> TableCell:
    """A cell of words."""
    return TableCell(value, value)


def marked(formula: str, retrospective: bool) -> str:
    """The formula of a prediction, with the mark of `RETROSPECTIVE` if it is `retrospective`."""
    return f"{formula} ‡" if retrospective else formula


def number(value: float | None, style: str = ".3g", unit: str = "", best: bool = False) -> TableCell:
    """A cell of a number without an interval; a dash for None and for what is not finite."""
    if value is None or not math.isfinite(value):
        return TableCell(None, DASH)
    return TableCell(value, f"{value:{style}}{unit}", best)


def measure_name(name: str, higher: bool | None) -> TableCell:
    """A cell that names a measure and says which direction is better."""
    return TableCell(name, f"{name} {ARROWS[higher]}".rstrip())


def estimate(
    interval: Interval | None, best: bool = False, bounds: bool = True, decimals: int | None = None
) -> TableCell:
    """A cell of an estimate, with the interval in brackets if `bounds`.

    It has as many digits as its interval justifies, or so many `decimals`.
    """
    if interval is None or math.isnan(interval.value):
        return TableCell(None, DASH)
    numbers = [interval.value, interval.low, interval.high]
    known = numbers if not math.isnan(interval.low) else numbers[:1]
    value, *limits = digits(known) if decimals is None else [f"{number:.{decimals}f}" for number in known]
    return TableCell(interval, value, best, f"[{', '.join(limits)}]" if bounds and limits else "")


def digits(numbers: Sequence[float], frugal: bool = False) -> list[str]:
    """An estimate (and its bounds) as text, with as many digits as half the interval justifies; three without one.

    Half an interval is shown with one digit, or with two if the first is a 1 (0.013 is a third more than 0.01) and the
    text need not be `frugal`. Very small and very large numbers are written with a power of ten.
    """
    value = numbers[0]
    half = (numbers[2] - numbers[1]) / 2 if len(numbers) > 1 else 0.0
    size = max(abs(number) for number in numbers)
    exponent = math.floor(math.log10(size)) if size else 0
    # If half an interval is nothing, or more than the value itself, one digit still remains to be read.
    lead = float(f"{half if frugal else half / 2:.0e}")  # rounded first: half an interval of 0.0098 is one of 0.01
    last = math.floor(math.log10(lead)) if half > size * 1e-12 else exponent - 2
    last = min(last, math.floor(math.log10(abs(value))) if value else last)
    if -4 <= exponent < 5:
        return [f"{number:.{max(0, -last)}f}" for number in numbers]
    return [f"{number:.{max(0, exponent - last)}e}" if number else "0" for number in numbers]
