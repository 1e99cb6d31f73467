"""Table -> markdown, LaTeX, CSV, HTML, JSON, or tables for the terminal."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, replace
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from leaderboard.analysis.frames import inert
from leaderboard.analysis.statistics import Interval
from leaderboard.tables.table import AFTER, DAGGER, EITHER, EXPLICIT, IN_BRACKETS, Table, TableCell, digits
from suite.errors import InputError, unknown
from suite.storage.record import clean

if TYPE_CHECKING:
    from rich.table import Table as RichTable


def render(table: Table, style: str) -> str:
    """`table` as text.

    Args:
        table: what to write.
        style: one of `leaderboard.tables.FORMATS`. CSV and JSON carry numbers, the others what people read.

    Raises:
        InputError: there is no such format.
    """
    if style not in WRITERS:
        raise unknown("table format", style, WRITERS)
    return WRITERS[style](table if style in ("csv", "json") else table.for_people())


def document(tables: Sequence[Table], style: str) -> str:
    """Several tables as one document: a blank line between them, JSON as a list of them.

    Raises:
        InputError: there is no such format, or it is CSV, which holds one table.
    """
    if style == "csv" and len(tables) > 1:
        raise InputError(f"A CSV file holds one table, and here are {len(tables)}: choose a kind with --kind.")
    texts = [render(table, style) for table in tables]
    return f"[{', '.join(texts)}]" if style == "json" else "\n\n".join(texts)


def _aligned(table: Table, style: str, render_cell: Callable[[TableCell], str]) -> str:
    return str(
        tabulate(
            [[render_cell(cell) for cell in row] for row in table.rows],
            [column.title for column in table.columns],
            tablefmt=style,
            disable_numparse=True,
            colalign=["left" if column.words else "right" for column in table.columns] if table.rows else None,
        )
    )


def _markdown(table: Table) -> str:
    def render_cell(cell: TableCell) -> str:
        escaped = markdown_text(cell.text).strip()
        return f"**{escaped}**" if cell.best and escaped else escaped

    titles = tuple(replace(column, title=markdown_text(column.title)) for column in table.columns)
    return _aligned(replace(table, columns=titles), "pipe", render_cell)


ACTIVE = re.compile(
    r"@|://|www\.|\]\s*[(\[:]|#\d|\bGH-\d|\b(?=\d*[a-f])[0-9a-f]{7,40}\b|&#?\w+;|[`\x00-\x1f\x7f-\x9f\u2028\u2029]",
    re.I,
)
"""What GitHub turns into links, mentions, references and entities wherever it stands, or what ends a line or a span."""


def markdown_text(text: str) -> str:
    """`text` as GitHub's markdown shows it, in a cell of a table too: no markup, no link, no mention."""
    if ACTIVE.search(text):
        # Nothing is active in a span of code. Only a bar still ends the cell, and a backslash before it is removed.
        words = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split()).replace("|", "\\|")
        fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
        return f"{fence} {words} {fence}" if "`" in words else f"{fence}{words}{fence}"
    # An underscore within a word is one, at its edge it would begin or end emphasis; a tilde alone strikes nothing out.
    struck = "~" if text.count("~") > 1 else ""
    return re.sub(rf"([|<*\\{struck}]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def linked(text: str) -> str:
    """Markdown in which the numbers of papers are links to them."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[\g<0>](https://arxiv.org/abs/\1)", text)


BOLD = ("\x02", "\x03")
"""Stand for the bounds of bold type while tabulate escapes what LaTeX would read as commands."""

LATEX_SYMBOLS = {
    BOLD[0]: r"\textbf{",
    BOLD[1]: "}",
    DAGGER: r"$\dagger$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    "±": r"$\pm$",
}


NEEDS_BOOKTABS = "% \\usepackage{booktabs}\n"
"""What a document needs so that LaTeX knows the rules of the table."""


def _latex(table: Table) -> str:
    source = _aligned(table, "latex_booktabs", lambda cell: cell.text.join(BOLD) if cell.best else cell.text)
    # A bracket at the start of a row would be read as the argument of the row before it.
    source = re.sub(r"^(\s*)\[", r"\1{[}", source, flags=re.MULTILINE)
    if DAGGER in source:  # what marks a name is said where the table stands
        source = f"{source}\n\n{{\\footnotesize {EXPLICIT}}}"
    title = re.sub(r"\s+", " ", table.title)
    return f"{NEEDS_BOOKTABS}% {title}\n" + "".join(LATEX_SYMBOLS.get(letter, letter) for letter in source)


def _html(table: Table) -> str:
    def render_cell(cell: TableCell) -> str:
        words = html.escape(cell.text)
        return f"<td>{f'<strong>{words}</strong>' if cell.best else words}</td>"

    head = "".join(f"<th>{html.escape(column.title)}</th>" for column in table.columns)
    body = "\n".join(f"<tr>{''.join(map(render_cell, row))}</tr>" for row in table.rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _csv(table: Table) -> str:
    """One column for each number; a column with estimates becomes three."""
    lines: list[list[Any]] = [[] for _ in range(len(table.rows) + 1)]
    for n, column in enumerate(table.columns):
        values = [row[n].value for row in table.rows]
        ends = ("", "_low", "_high") if any(isinstance(value, Interval) for value in values) else ("",)
        lines[0] += [inert(f"{column.key}{end}") for end in ends]
        for line, value in zip(lines[1:], values, strict=True):
            line += astuple(value) if isinstance(value, Interval) else (inert(value), None, None)[: len(ends)]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue().rstrip("\n")


def _json(table: Table) -> str:
    rows = []
    for row in table.rows:
        cells = [(column.key, cell) for column, cell in zip(table.columns, row, strict=True)]
        values = {key: asdict(cell.value) if isinstance(cell.value, Interval) else cell.value for key, cell in cells}
        rows.append(values | {"best": [key for key, cell in cells if cell.best]})
    return json.dumps({"title": table.title, "rows": clean(rows), "notes": table.notes}, indent=1)


WRITERS = {"markdown": _markdown, "latex": _latex, "csv": _csv, "html": _html, "json": _json}


def fits(table: Table, width: int) -> bool:
    """Whether the terminal has `width` for the whole table."""
    # Wide tables have a line and two spaces between columns and lines at both ends, narrow ones two spaces in between.
    return sum(_widths(table.for_people(), gap=3)) + 1 <= width


def legend(table: Table, width: int) -> tuple[str, ...]:
    """The notes of a table as it is printed in a terminal of `width` columns: they say what that has, and no more."""
    if fits(table, width):
        return tuple(note.replace(EITHER, IN_BRACKETS) for note in table.notes)
    short = [f"{column.short} {column.title}" for column in table.for_people().columns if column.short]
    return (*(note.replace(EITHER, AFTER) for note in table.notes), *([f"Short: {', '.join(short)}."] if short else []))


def terminal(table: Table, width: int) -> list[RichTable]:
    """`table` for a terminal of `width` columns; `legend` has its notes.

    Where it does not fit, intervals are written as ± half their width and titles are shortened; where it still does not
    fit, its columns are spread over several tables, each with the columns that name the rows.
    """
    from rich.text import Text

    table = table.for_people()
    if fits(table, width):
        parts = [_rich(table, narrow=False)]
    else:
        titles = tuple(replace(column, title=column.short or column.title) for column in table.columns)
        short = replace(table, columns=titles, rows=tuple(tuple(map(_short, row)) for row in table.rows))
        parts = [_rich(part, narrow=True) for part in _parts(short, _widths(short, gap=2), width + 2)]
    parts[0].title = Text(table.title)
    return parts


def _short(cell: TableCell) -> TableCell:
    """An interval in brackets as ± half its width, with the label's unit."""
    if not isinstance(cell.value, Interval) or not cell.detail:
        return cell
    value, low, high = cell.value.value, cell.value.low, cell.value.high
    if not (math.isfinite(low) and math.isfinite(high)):
        return cell
    _, space, unit = cell.label.partition(" ")
    mantissa, _, exponent = digits([value, low, high], frugal=True)[0].partition("e")
    half = (high - low) / 2 / 10 ** int(exponent or 0)
    places = len(mantissa.partition(".")[2])
    label = f"{mantissa}±{half:.{places}f}{f'e{exponent}' if exponent else ''}{space}{unit}"
    return replace(cell, label=label, detail="")


def _widths(table: Table, gap: int) -> list[int]:
    columns = zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns)
    return [
        max(len(column.title), *(len(cell.text) for cell in cells), 0) + gap
        for column, cells in zip(table.columns, columns, strict=True)
    ]


def _parts(table: Table, widths: Sequence[int], width: int) -> list[Table]:
    """Tables of as many columns as fit, each with the stub."""
    stub = list(range(table.stub))
    parts, used = [list(stub)], 0
    for place in range(table.stub, len(widths)):
        if used and sum(widths[: table.stub]) + used + widths[place] > width:
            parts.append(list(stub))
            used = 0
        parts[-1].append(place)
        used += widths[place]
    return [table.at(part) for part in parts]


def _rich(table: Table, narrow: bool) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rich = RichTable(
        title_justify="left",
        box=box.SIMPLE_HEAD if narrow else box.HEAVY_HEAD,
        show_edge=not narrow,
        pad_edge=not narrow,
        collapse_padding=narrow,
    )
    for column in table.columns:
        rich.add_column(Text(column.title), justify="left" if column.words else "right", no_wrap=True)
    previous = ""
    for row in table.rows:
        cells = [Text(cell.text, style="bold" if cell.best else "") for cell in row]
        if table.stub > 1 and table.columns[0].words and row[0].text == previous:
            cells[0] = Text("")  # of several rows of one task, the first names it
        previous = row[0].text
        rich.add_row(*cells)
    return rich
