"""Table -> markdown, LaTeX, CSV, HTML, JSON, or tables for the terminal."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from leaderboard.analysis.statistics import Interval
from leaderboard.tables.table import Table, TableCell, digits
from suite.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table as RichTable


DAGGER = "†"


def render(table: Table, style: str) -> str:
    """`table` as `style`: markdown, latex, csv, html or json. CSV and JSON carry numbers, not texts of them."""
    if style not in WRITERS:
        raise InputError(f"There is no table format {style!r}.")
    return WRITERS[style](table if style in ("csv", "json") else for_people(table))


def document(tables: Sequence[Table], style: str) -> str:
    """Several tables as one document: a blank line between them, JSON as a list of them.

    Raises:
        InputError: there is no such format, or it is CSV, which holds one table.
    """
    if style == "csv" and len(tables) > 1:
        raise InputError(f"A CSV file holds one table, and here are {len(tables)}: choose a kind with --kind.")
    written = [render(table, style) for table in tables]
    return f"[{', '.join(written)}]" if style == "json" else "\n\n".join(written)


def for_people(table: Table) -> Table:
    """`table` without the columns that are for machines."""
    shown = [place for place, column in enumerate(table.columns) if not column.data]
    return replace(
        table,
        columns=tuple(table.columns[place] for place in shown),
        rows=tuple(tuple(row[place] for place in shown) for row in table.rows),
    )


def _aligned(table: Table, style: str, entry: Callable[[TableCell], str]) -> str:
    return str(
        tabulate(
            [[entry(cell) for cell in row] for row in table.rows],
            [column.title for column in table.columns],
            tablefmt=style,
            disable_numparse=True,
            colalign=["left" if column.words else "right" for column in table.columns] if table.rows else None,
        )
    )


def _markdown(table: Table) -> str:
    def entry(cell: TableCell) -> str:
        # An underscore within a word is one, at its edge it would begin or end emphasis.
        escaped = re.sub(r"([|<*`\\]|(?<!\w)_|_(?!\w))", r"\\\1", cell.text)
        return f"**{escaped}**" if cell.best else escaped

    return _aligned(table, "pipe", entry)


BOLD = ("\x02", "\x03")
"""Stand for the bounds of bold type while tabulate escapes what LaTeX would read as commands."""


def _latex(table: Table) -> str:
    made = _aligned(table, "latex_booktabs", lambda cell: cell.text.join(BOLD) if cell.best else cell.text)
    # A bracket at the start of a row would be read as the argument of the row before it.
    made = re.sub(r"^(\s*)\[", r"\1{[}", made, flags=re.MULTILINE)
    for letter, command in (
        (BOLD[0], r"\textbf{"),
        (BOLD[1], "}"),
        (DAGGER, r"$\dagger$"),
        ("–", "--"),
        ("±", r"$\pm$"),
    ):
        made = made.replace(letter, command)
    return made


def _html(table: Table) -> str:
    def entry(cell: TableCell, tag: str) -> str:
        words = html.escape(cell.text)
        return f"<{tag}>{f'<strong>{words}</strong>' if cell.best else words}</{tag}>"

    head = "".join(f"<th>{html.escape(column.title)}</th>" for column in table.columns)
    body = "\n".join(f"<tr>{''.join(entry(cell, 'td') for cell in row)}</tr>" for row in table.rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _csv(table: Table) -> str:
    spread = [any(isinstance(row[place].value, Interval) for row in table.rows) for place in range(len(table.columns))]
    header = [
        f"{column.key}{end}"
        for column, wide in zip(table.columns, spread, strict=True)
        for end in (("", "_low", "_high") if wide else ("",))
    ]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        writer.writerow(
            number for cell, wide in zip(row, spread, strict=True) for number in _numbers(cell, 3 if wide else 1)
        )
    return stream.getvalue().rstrip("\n")


def _numbers(cell: TableCell, width: int) -> list[Any]:
    if isinstance(cell.value, Interval):
        return [cell.value.value, cell.value.low, cell.value.high]
    return ["" if cell.value is None else cell.value, *[""] * (width - 1)]


def _json(table: Table) -> str:
    def entry(cell: TableCell) -> Any:
        return asdict(cell.value) if isinstance(cell.value, Interval) else cell.value

    rows = [
        {column.key: entry(cell) for column, cell in zip(table.columns, row, strict=True)}
        | {"best": [column.key for column, cell in zip(table.columns, row, strict=True) if cell.best]}
        for row in table.rows
    ]
    return json.dumps({"title": table.title, "rows": _without_nan(rows), "notes": table.notes}, indent=1)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if value != value else value


WRITERS: dict[str, Callable[[Table], str]] = {
    "markdown": _markdown, "latex": _latex, "csv": _csv, "html": _html, "json": _json,
}  # fmt: skip


def terminal(table: Table, width: int) -> list[RichTable]:
    """`table` for a terminal of `width` columns.

    Where it does not fit, intervals are written as ± half their width and titles are shortened; where it still does not
    fit, its columns are spread over several tables, each with the columns that name the rows.
    """
    shown = for_people(table)
    # Wide tables have a line and two spaces between columns and lines at both ends, narrow ones two spaces in between.
    narrow = sum(_widths(shown, gap=3)) + 1 > width
    if narrow:
        shown = _shortened(shown)
    parts = _parts(shown, _widths(shown, gap=2), width + 2) if narrow else [shown]
    made = [_rich(part, narrow) for part in parts]
    made[0].title = table.title
    return made


def _shortened(table: Table) -> Table:
    return replace(
        table,
        columns=tuple(replace(column, title=column.short or column.title) for column in table.columns),
        rows=tuple(tuple(map(_short, row)) for row in table.rows),
    )


def _short(cell: TableCell) -> TableCell:
    """An interval in brackets as ± half its width."""
    if not isinstance(cell.value, Interval) or "[" not in cell.text:
        return cell
    value, low, high = cell.value.value, cell.value.low, cell.value.high
    shown = digits([value, low, high], frugal=True)[0]
    mantissa, _, exponent = shown.partition("e")
    half = (high - low) / 2 / 10 ** int(exponent or 0)
    places = len(mantissa.partition(".")[2])
    return replace(cell, text=f"{mantissa}±{half:.{places}f}{f'e{exponent}' if exponent else ''}")


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
    return [table.choose([table.columns[place].key for place in part]) for part in parts]


def _rich(table: Table, narrow: bool) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(
        title_justify="left",
        box=box.SIMPLE_HEAD if narrow else box.HEAVY_HEAD,
        show_edge=not narrow,
        pad_edge=not narrow,
        collapse_padding=narrow,
    )
    for column in table.columns:
        made.add_column(column.title, justify="left" if column.words else "right", no_wrap=True)
    last = ""
    for row in table.rows:
        cells = [Text(cell.text, style="bold" if cell.best else "") for cell in row]
        if table.stub > 1 and table.columns[0].words and row[0].text == last:
            cells[0] = Text("")  # of several rows of one task, the first names it
        last = row[0].text
        made.add_row(*cells)
    return made
